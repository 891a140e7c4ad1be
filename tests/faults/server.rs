//! The real binary: start, wait for it, stop it in every way, run its offline verbs. Ends only
//! processes it started, by their id.

use crate::http::Client;
use crate::util::{now_us, pause_ms, spawn, wait_until};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// The binary under test: the one Cargo built, or `KWQ_FAULTS_BIN` (say, an instrumented one).
fn binary() -> PathBuf {
    std::env::var_os("KWQ_FAULTS_BIN").map_or_else(|| env!("CARGO_BIN_EXE_kwq").into(), Into::into)
}

/// Settings every server of these tests is started with.
const SETTINGS: [&str; 2] = ["log.segment=4MiB", "drain.delay=0s"];

/// How to start.
#[derive(Clone, Default)]
pub(crate) struct Start {
    /// Data directory.
    pub(crate) dir: PathBuf,
    /// Where it listens; any free port if nothing is said.
    pub(crate) listen: Option<SocketAddr>,
    /// Further `--set KEY=VALUE`.
    pub(crate) sets: Vec<String>,
    /// Arguments of strace, when the server is to run under it.
    pub(crate) strace: Option<Vec<String>>,
    /// Words before the command, such as `ip netns exec NAME`; what they run takes their process.
    pub(crate) within: Vec<String>,
}

#[derive(Default)]
struct Seen {
    lines: VecDeque<String>,
    addr: Option<SocketAddr>,
}

/// A started server.
pub(crate) struct Server {
    child: Child,
    traced: bool,
    pid: Option<u32>,
    seen: Arc<Mutex<Seen>>,
    ended: Option<ExitStatus>,
    started_us: u64,
}

impl Server {
    /// Starts the process and does not wait for anything.
    pub(crate) fn spawn(start: &Start) -> Self {
        let mut words: Vec<OsString> = start.within.iter().map(OsString::from).collect();
        if let Some(args) = &start.strace {
            words.push("strace".into());
            words.extend(args.iter().map(OsString::from));
        }
        words.push(binary().into());
        let mut command = Command::new(words.remove(0));
        command.args(words);
        let listen = start.listen.map_or_else(|| "127.0.0.1:0".to_owned(), |addr| addr.to_string());
        command.args(["serve", "--listen", &listen, "--data-dir"]).arg(&start.dir);
        for set in SETTINGS.iter().copied().chain(start.sets.iter().map(String::as_str)) {
            command.args(["--set", set]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary (or strace) can be started");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (into, pipe) = (Arc::clone(&seen), child.stderr.take().expect("piped"));
        spawn("stderr", move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                note(&into, &String::from_utf8_lossy(&line));
            }
        });
        let traced = start.strace.is_some();
        Self { child, traced, pid: None, seen, ended: None, started_us: now_us() }
    }

    /// Starts and waits until it is ready; what it said if it is not within 60 s.
    pub(crate) fn start(start: &Start) -> Result<Self, String> {
        let mut server = Self::spawn(start);
        if server.wait_ready(60_000) {
            return Ok(server);
        }
        let code = server.try_wait();
        Err(format!("not ready, exit {code:?}: {}", server.stderr()))
    }

    /// Waits until the process says where it listens and answers ready.
    pub(crate) fn wait_ready(&mut self, limit_ms: u64) -> bool {
        let mut ready = false;
        wait_until(limit_ms, || {
            if self.try_wait().is_some() {
                return true;
            }
            let Some(addr) = self.addr() else { return false };
            let answer = Client::with_timeout(addr, 2_000).get("/kwq/health/ready");
            ready = answer.is_ok_and(|a| a.status == 200);
            ready
        });
        ready
    }

    /// The address, once it was printed.
    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).addr
    }

    /// The last 200 lines of stderr.
    pub(crate) fn stderr(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.lines.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// Microseconds since it was started.
    pub(crate) fn age_us(&self) -> u64 {
        now_us() - self.started_us
    }

    /// Id of the server process itself, also when strace is its parent.
    fn pid(&mut self) -> Option<u32> {
        if !self.traced {
            return Some(self.child.id());
        }
        if self.pid.is_none() {
            let id = self.child.id();
            let children = format!("/proc/{id}/task/{id}/children");
            let text = std::fs::read_to_string(children).unwrap_or_default();
            self.pid = text.split_whitespace().next().and_then(|p| p.parse().ok());
        }
        self.pid
    }

    /// Sends a signal by name (`KILL`, `TERM`, `STOP`, `CONT`) to the server process.
    pub(crate) fn signal(&mut self, name: &str) {
        if self.try_wait().is_some() {
            return;
        }
        let Some(pid) = self.pid() else { return };
        let line = format!("kill -{name} {pid}");
        let done = Command::new("sh").args(["-c", &line]).stderr(Stdio::null()).status();
        assert!(done.is_ok(), "sh can be run");
    }

    /// SIGKILL; returns when the process (and the trace) is gone.
    pub(crate) fn kill(mut self) -> String {
        self.kill_in_place();
        self.stderr()
    }

    fn say_what_is_odd(&self) {
        let said = self.stderr();
        let odd = said.lines().filter(|l| l.contains("WARN") || l.contains("ERROR"));
        odd.for_each(crate::util::say);
    }

    fn kill_in_place(&mut self) {
        // Under strace the child may not be there yet: killing strace alone would set it free.
        for _ in 0..500 {
            if self.try_wait().is_some() {
                return;
            }
            self.signal("KILL");
            if !self.traced || self.pid.is_some() {
                break;
            }
            pause_ms(2);
        }
        self.ended = self.child.wait().ok();
    }

    /// The exit status if the process has ended.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// SIGTERM; the exit code and the milliseconds it took; `None` = not gone within `limit_ms`.
    pub(crate) fn terminate(mut self, limit_ms: u64) -> (Option<i32>, u64) {
        let start = now_us();
        self.signal("TERM");
        wait_until(limit_ms, || self.try_wait().is_some());
        let code = self.try_wait().and_then(|s| s.code());
        if code != Some(0) {
            self.say_what_is_odd();
        }
        (code, (now_us() - start) / 1_000)
    }

    /// Waits for the end by itself; the exit code (`None` = signal or still there).
    pub(crate) fn wait_end(&mut self, limit_ms: u64) -> Option<i32> {
        wait_until(limit_ms, || self.try_wait().is_some());
        self.try_wait().and_then(|s| s.code())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.say_what_is_odd();
        }
        self.kill_in_place();
    }
}

fn note(seen: &Mutex<Seen>, line: &str) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, rest)) = line.split_once("listening on http://") {
        let addr: String =
            rest.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
        seen.addr = addr.parse().ok().or(seen.addr);
    }
    if seen.lines.len() == 200 {
        seen.lines.pop_front();
    }
    seen.lines.push_back(line.to_owned());
}

/// Result of an offline verb.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `kwq ARGS --data-dir DIR` with the server stopped.
pub(crate) fn offline(args: &[&str], dir: &Path) -> Ran {
    let mut command = Command::new(binary());
    command.args(args).arg("--data-dir").arg(dir).stdin(Stdio::null());
    let out = command.output().expect("the binary can be started");
    Ran {
        code: out.status.code(),
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    }
}
