//! The page in a real browser against the real server: what it shows is what the API says, text
//! from outside stays text, and the console stays empty. Without Chromium the test prints SKIP.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Text that would act if it ever became markup.
const HOSTILE: &str = "<img src=x onerror=alert(1)>";
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

#[test]
fn every_page_shows_what_the_api_says_and_hostile_text_stays_text() {
    let Some(browser) = find_browser() else {
        println!("SKIP: no Chromium");
        return;
    };
    let server = Server::start();
    server.fill();
    let now = server.ask("GET", "/kwq/stats/now", None);
    let overview = server.dump(&browser, "#/", "light");
    for (label, state) in [("Waiting", "PENDING"), ("Done", "COMPLETED"), ("Running", "RUNNING")] {
        assert_eq!(tile(&overview, label), number(&now, state), "{label} of {overview}");
    }
    assert_eq!(tile(&overview, "Waiting"), Some(3), "the load is on the page");
    for (page, wanted) in [
        ("#/", "ui-job"),
        ("#/queues", "KWQ-9"),
        ("#/jobs", "1 of 4"),
        ("#/jobs/ui-job", "25 %"),
        ("#/tasks", "ui-task-3"),
        ("#/tasks?job=ui-job&state=PENDING", "ui-task-2"),
        ("#/dlq", "No dead letters"),
        ("#/workers", "ui-worker"),
    ] {
        for theme in ["light", "dark"] {
            let dom = server.dump(&browser, page, theme);
            assert!(dom.contains(wanted), "{page} ({theme}) shows no `{wanted}`: {dom}");
            assert!(!dom.contains("<img"), "{page}: text became an element");
        }
    }
    let tasks = server.dump(&browser, "#/tasks", "light");
    assert!(tasks.contains("&lt;img src=x onerror=alert(1)&gt;"), "the hostile tag is not shown");
}

#[test]
fn swagger_ui_shows_the_document_and_asks_nobody_else() {
    let Some(browser) = find_browser() else {
        println!("SKIP: no Chromium");
        return;
    };
    let server = Server::start();
    // The console holds what the policy of the page forbids: nothing was tried elsewhere.
    let dom = server.dump_at(&browser, "/swagger/index.html", "light");
    for wanted in ["id=\"operations-jobs-createJob\"", "/kwq/heartbeat", "OAS 3.1"] {
        assert!(dom.contains(wanted), "no `{wanted}` in {dom}");
    }
    assert!(!dom.contains("validator.swagger.io"), "{dom}");
}

/// The server of this test; it dies with the value.
struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        let _removed = std::fs::remove_dir_all(&self.folder);
    }
}

impl Server {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let folder = std::env::temp_dir().join(format!("kwq-ui-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the data");
        let child = Command::new(env!("CARGO_BIN_EXE_kwq"))
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"])
            .arg(folder.join("data"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let server = Self { child, port, folder };
        for _ in 0..300 {
            if server.try_ask("GET", "/kwq/health/ready", None).is_some() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server is not ready after 15 s");
    }

    /// Four tasks of one job, one of them done.
    fn fill(&self) {
        let mut items = String::new();
        for i in 0..4 {
            let comma = if i == 0 { "" } else { "," };
            write!(
                items,
                r#"{comma}{{"id":"ui-task-{i}","payload":{i},"tags":["currency:USD","{HOSTILE}"]}}"#
            )
            .expect("a string takes all");
        }
        let sent = self.ask("POST", "/kwq/jobs/ui-job/tasks", Some(&format!("[{items}]")));
        assert_eq!(number(&sent, "accepted"), Some(4), "{sent}");
        let got = self.ask("POST", "/kwq/consume", Some(r#"{"worker":"ui-worker","waitMs":2000}"#));
        let lease = between(&got, "\"lease\":\"", "\"").expect("a lease");
        let done = format!(r#"{{"lease":"{lease}","result":1}}"#);
        assert!(self.ask("POST", "/kwq/complete", Some(&done)).contains("COMPLETED"));
        for _ in 0..100 {
            let now = self.ask("GET", "/kwq/stats/now", None);
            if number(&now, "COMPLETED") == Some(1) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the tracker does not count the completion");
    }

    fn ask(&self, method: &str, path: &str, body: Option<&str>) -> String {
        self.try_ask(method, path, body).unwrap_or_else(|| panic!("{method} {path} failed"))
    }

    /// Body of a 2xx answer.
    fn try_ask(&self, method: &str, path: &str, body: Option<&str>) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let text = body.unwrap_or("");
        let kind = body.map_or("", |_| "Content-Type: application/json\r\n");
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        let request = format!("{head}{kind}Content-Length: {}\r\n\r\n{text}", text.len());
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 2").then_some(answer)
    }

    /// A view of the page, see [`Self::dump_at`].
    fn dump(&self, browser: &str, page: &str, theme: &str) -> String {
        self.dump_at(browser, &format!("/ui/index.html{page}"), theme)
    }

    /// The page after some seconds of its life, as markup; the console must have stayed empty.
    fn dump_at(&self, browser: &str, page: &str, theme: &str) -> String {
        let scheme = if theme == "dark" { 0 } else { 1 };
        let profile = self.folder.join(format!("profile-{theme}"));
        let output = Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--enable-logging=stderr", "--dump-dom"])
            .args(["--window-size=1440,900", "--virtual-time-budget=4000"])
            .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("http://127.0.0.1:{}{page}", self.port))
            .output()
            .expect("the browser runs");
        let log = String::from_utf8_lossy(&output.stderr);
        let console: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
        assert!(console.is_empty(), "{page}: {console:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn find_browser() -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let found = |name: &str| folders.iter().any(|folder| Path::new(folder).join(name).is_file());
    BROWSERS.into_iter().find(|name| found(name)).map(str::to_owned)
}

/// Number on a tile of the Overview.
fn tile(dom: &str, label: &str) -> Option<u64> {
    let (_, after) = dom.split_once(&format!("</span>{label}</span>"))?;
    between(after, "class=\"tile-number\">", "<")?.replace(',', "").parse().ok()
}

/// First `"name":number` of a JSON text.
fn number(json: &str, name: &str) -> Option<u64> {
    let (_, after) = json.split_once(&format!("\"{name}\":"))?;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}
