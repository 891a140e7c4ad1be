//! A real server process on a free loopback port and a fresh directory. Must not outlive the test
//! run: a watchdog whose stdin closes with this process ends the server and removes its files.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::Builder;
use std::time::Duration;

use serde_json::Value;

use super::folder::Folder;
use super::http::{Answer, Conn, Req};
use super::process::{clean, signal};
use super::wait::{eventually, pause};

/// How long a start may take on a crowded machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The words in front of the URL on the server's line of greeting.
const GREETING: &str = "listening on http://";

/// A server with default settings and three partitions, for tests that keep to their own jobs.
pub(crate) fn shared() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[]))
}

/// One partition and strict submit order: here the whole queue is exact.
pub(crate) fn single() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&["log.partitions=1", "queue.share=fifo"]))
}

/// One partition with the default fair share.
pub(crate) fn fair() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&["log.partitions=1"]))
}

/// One running server and its directory.
pub(crate) struct Server {
    dir: Folder,
    settings: Vec<String>,
    running: Option<Running>,
}

struct Running {
    child: Child,
    watchdog: Child,
    addr: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
}

/// With `KWQ_TEST_LOG_KAFKA=HOST:PORT` every server has its log there, on topics of its own.
fn on_kafka(dir: &Folder) -> Vec<String> {
    let Ok(brokers) = std::env::var("KWQ_TEST_LOG_KAFKA") else { return Vec::new() };
    let name = dir.path().file_name().expect("a folder has a name").to_string_lossy();
    vec![
        "log.backend=kafka".to_owned(),
        format!("kafka.bootstrap-servers={brokers}"),
        "topics.inboxes=false".to_owned(),
        format!("topics.prefix={name}"),
    ]
}

impl Server {
    /// Starts a server on a fresh directory with these `key=value` settings and waits until ready.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let dir = Folder::new("kwq-it");
        // Small segments keep the run cheap; no delay, because no load balancer is watching.
        let common = ["log.segment=4MiB", "drain.delay=0s"];
        let mut settings: Vec<String> =
            common.iter().chain(settings).map(|s| (*s).to_owned()).collect();
        settings.extend(on_kafka(&dir));
        let mut server = Self { dir, settings, running: None };
        server.launch();
        server
    }

    /// The data directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.running.as_ref().expect("the server runs").addr
    }

    /// Starts again on the same directory.
    pub(crate) fn launch(&mut self) {
        assert!(self.running.is_none(), "one process a directory");
        let mut command = clean(self.dir());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(self.dir());
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let watchdog = watchdog(child.id(), self.dir());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (tell, hear) = sync_channel(2);
        follow(child.stderr.take().expect("piped"), Arc::clone(&lines), tell.clone());
        follow(child.stdout.take().expect("piped"), Arc::clone(&lines), tell);
        let addr = greeting(&hear, &lines);
        self.running = Some(Running { child, watchdog, addr, lines });
        eventually("the server is ready", || {
            let ready = self.try_call(&Req::new("GET", "/kwq/health/ready")).ok()?;
            (ready.status == 200).then_some(())
        });
    }

    /// SIGKILL: death at any instruction.
    pub(crate) fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.disarm();
            running.child.kill().expect("our own child");
            running.child.wait().expect("our own child");
        }
    }

    /// Sends SIGTERM and does not wait for what it leads to.
    pub(crate) fn signal_term(&self) {
        self.signal("TERM");
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.running.as_ref().expect("the server runs").child.id()
    }

    /// Sends a signal, by its name without SIG.
    pub(crate) fn signal(&self, name: &str) {
        let running = self.running.as_ref().expect("the server runs");
        signal(running.child.id(), name);
    }

    /// Everything it has said since it was launched.
    pub(crate) fn said(&self) -> String {
        let running = self.running.as_ref().expect("the server runs");
        running.lines.lock().expect("no test panics while it holds this").join("\n")
    }

    /// Waits for words in what it says.
    pub(crate) fn says(&self, words: &str) {
        eventually(words, || self.said().contains(words).then_some(()));
    }

    /// SIGTERM; the end it leads to must be 0 (P23).
    #[track_caller]
    pub(crate) fn terminate(&mut self) {
        self.signal_term();
        self.wait_end();
    }

    /// Waits for the end that a signal leads to; it must be 0.
    #[track_caller]
    pub(crate) fn wait_end(&mut self) {
        let mut running = self.running.take().expect("the server runs");
        running.disarm();
        let lines = running.lines.clone();
        for _ in 0..1_200 {
            if let Some(status) = running.child.try_wait().expect("our own child") {
                assert!(status.success(), "{status} after SIGTERM: {:?}", lines.lock());
                return;
            }
            pause(50);
        }
        running.child.kill().expect("our own child");
        running.child.wait().expect("our own child");
        panic!("no end within a minute of SIGTERM: {:?}", lines.lock());
    }

    /// Asserts that the process still lives and answers.
    #[track_caller]
    pub(crate) fn assert_alive(&self) {
        let answer = self.get("/kwq/health/live");
        assert_eq!(answer.ok()["live"], true);
    }

    pub(crate) fn try_call(&self, req: &Req) -> std::io::Result<Answer> {
        Conn::open(self.addr())?.call(req)
    }

    #[track_caller]
    pub(crate) fn call(&self, req: &Req) -> Answer {
        match self.try_call(req) {
            Ok(answer) => answer,
            Err(e) => panic!("no answer: {e}; server said {:?}", self.last_lines()),
        }
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call(&Req::new("GET", path))
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(&Req::new("POST", path).json(body))
    }

    #[track_caller]
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call(&Req::new("PATCH", path).json(body))
    }

    /// `POST` without body and type, as verbs with an optional body allow.
    #[track_caller]
    pub(crate) fn poke(&self, path: &str) -> Answer {
        self.call(&Req::new("POST", path).header("Content-Length", "0"))
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.call(&Req::new("DELETE", path))
    }

    /// Writes raw bytes and reads what comes back; `None` = closed without a whole answer.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Option<Answer> {
        let mut conn = Conn::open(self.addr()).ok()?;
        // The server may close while we still write: what it answered before counts.
        let sent = conn.send(bytes);
        conn.answer(false).ok().filter(|answer| sent.is_ok() || answer.status >= 400)
    }

    fn last_lines(&self) -> Vec<String> {
        let Some(running) = &self.running else { return Vec::new() };
        let lines = running.lines.lock().expect("no test panics while it holds this");
        lines.iter().rev().take(20).cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Running {
    /// Ends the watchdog first, so that it never signals a process id that was reused.
    fn disarm(&mut self) {
        self.watchdog.kill().expect("our own child");
        self.watchdog.wait().expect("our own child");
    }
}

/// Statics are never dropped, so somebody else must end their servers.
fn watchdog(pid: u32, dir: &Path) -> Child {
    Command::new("sh")
        .args(["-c", r#"read -r _; kill -KILL "$0"; sleep 1; rm -rf "$1""#])
        .arg(pid.to_string())
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh exists")
}

fn follow(
    pipe: impl Read + Send + 'static,
    lines: Arc<Mutex<Vec<String>>>,
    tell: SyncSender<String>,
) {
    let body = move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if line.contains(GREETING) {
                // Nobody listens after the first greeting; that is no fault.
                drop(tell.try_send(line.clone()));
            }
            lines.lock().expect("no test panics while it holds this").push(line);
        }
    };
    Builder::new().spawn(body).expect("a thread can be had");
}

fn greeting(hear: &Receiver<String>, lines: &Arc<Mutex<Vec<String>>>) -> SocketAddr {
    let Ok(line) = hear.recv_timeout(START_LIMIT) else {
        panic!("no line with its URL; the server said {:?}", lines.lock());
    };
    let (_, rest) = line.split_once(GREETING).expect("that is how the line was found");
    let addr: String =
        rest.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
    addr.trim_end_matches([':', '.']).parse().unwrap_or_else(|e| panic!("{e}: {line}"))
}
