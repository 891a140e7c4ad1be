//! Calls through a real socket to a server whose engine does nothing: what is refused before the
//! engine, and how.

use crate::actor::handle::idle_engine;
use crate::api::serve::{ServerHandle, Spawner, start};
use crate::api::{ApiContext, routes};
use crate::config::{Config, Http};
use crate::model::reject::Code;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

pub(super) struct Server {
    handle: ServerHandle,
    /// Runs the connections for as long as the server is used.
    _runtime: tokio::runtime::Runtime,
}

pub(super) fn usual() -> Http {
    Config::default().http
}

pub(super) fn server(http: Http) -> Server {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let on = runtime.handle().clone();
    let spawner: Spawner = Arc::new(move |future| {
        on.spawn(future);
    });
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let config = Config { http, ..Config::default() };
    let metrics = crate::metrics::install("0", "test");
    let context = ApiContext::new(idle_engine(), &config, metrics);
    let handle = start(listener, vec![spawner], context).expect("starts");
    Server { handle, _runtime: runtime }
}

fn quick() -> Http {
    Http { first_byte_ms: 150, head_ms: 300, body_ms: 400, idle_ms: 200, ..usual() }
}

impl Server {
    fn connect(&self) -> TcpStream {
        self.try_connect().expect("connects")
    }

    fn try_connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(self.handle.addr())?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(stream)
    }

    /// Sends bytes, closes the sending side, reads everything.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        drop(stream.write_all(bytes));
        drop(stream.shutdown(Shutdown::Write));
        let mut out = Vec::new();
        drop(stream.read_to_end(&mut out));
        String::from_utf8_lossy(&out).into_owned()
    }

    pub(super) fn call(&self, method: &str, path: &str, headers: &str, body: &str) -> Seen {
        ask(self.connect(), method, path, headers, body)
    }

    pub(super) fn json(&self, method: &str, path: &str, body: &str) -> Seen {
        self.call(method, path, "Content-Type: application/json\r\n", body)
    }
}

/// One request over a connection of its own. The connection stays open while it is answered: a
/// closed side counts as a client that left.
fn ask(mut stream: TcpStream, method: &str, path: &str, headers: &str, body: &str) -> Seen {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
         {headers}\r\n{body}",
        body.len()
    );
    drop(stream.write_all(request.as_bytes()));
    let mut out = Vec::new();
    drop(stream.read_to_end(&mut out));
    Seen::of(&String::from_utf8_lossy(&out))
}

#[derive(Debug)]
pub(super) struct Seen {
    status: u16,
    head: String,
    pub(super) body: String,
}

impl Seen {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
    }
    fn problem(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        serde_json::from_str(&self.body).expect("a JSON problem")
    }
    #[track_caller]
    fn refused(&self, code: Code) -> serde_json::Value {
        let problem = self.problem();
        assert_eq!(problem["code"], code.word(), "{self:?}");
        assert_eq!(problem["type"], format!("/docs/errors/{}", code.word()));
        assert_eq!(problem["status"], self.status);
        assert!(problem["title"].is_string() && problem["detail"].is_string());
        problem
    }
}

#[test]
fn unknown_paths_are_404_and_known_ones_with_another_method_405_with_allow() {
    let server = server(usual());
    let seen = server.call("GET", "/kwq/nothing", "", "");
    assert_eq!(seen.status, 404);
    seen.refused(Code::NoRoute);
    assert_eq!(seen.header("cache-control"), Some("no-store"));
    for (method, path, allow) in [
        ("GET", "/kwq/submit", "post"),
        ("OPTIONS", "/kwq/consume", "post"),
        ("POST", "/kwq/jobs/a", "delete, get, patch"),
        ("PATCH", "/kwq/tasks/5-0-1", "get"),
        ("GET", "/kwq/jobs/a/tasks", "post"),
        ("PUT", "/kwq/workers/w", "delete, get"),
        ("POST", "/kwq/health/live", "get, head"),
        ("HEAD", "/kwq/jobs", "get, post"),
    ] {
        let seen = server.call(method, path, "", "");
        assert_eq!(seen.status, 405, "{method} {path}");
        assert_eq!(seen.header("allow"), Some(allow), "{method} {path}");
        if method != "HEAD" {
            seen.refused(Code::MethodNotAllowed);
        }
    }
}

#[test]
fn routes_of_later_builds_are_404() {
    let server = server(usual());
    let seen = server.json("GET", "/kwq/autoscale", "{}");
    assert_eq!(seen.status, 404);
    seen.refused(Code::NoRoute);
    server.call("GET", "/kwq/simulate/1/1/1", "", "").refused(Code::SimulatorDisabled);
}

#[test]
fn every_row_of_the_table_is_routed() {
    let server = server(usual());
    for route in routes::table() {
        let path = route.row.pattern.replace("{p}", "all").replace("{code}", "bad_json");
        let path: Vec<&str> = path
            .split('/')
            .map(|part| match part {
                "{waitSec}" => "0",
                "*" => "index.html",
                part if part.starts_with('{') => "x1",
                part => part,
            })
            .collect();
        let seen = server.json(route.method.as_str(), &path.join("/"), "{}");
        let lost = seen.status == 404 && seen.body.contains("\"no_route\"");
        let wrong = lost || seen.status == 405 || seen.status == 0;
        assert!(!wrong, "{} {}: {seen:?}", route.method, route.row.pattern);
    }
}

#[test]
fn a_body_must_say_that_it_is_json_and_be_it() {
    let server = server(usual());
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for path in ["/kwq/submit", "/kwq/consume", "/kwq/complete", "/kwq/jobs", "/kwq/workers"] {
        let seen = server.call("POST", path, form, "a=b");
        assert_eq!(seen.status, 415, "{path}");
        seen.refused(Code::UnsupportedMediaType);
        assert_eq!(server.call("POST", path, "", "{}").status, 415, "{path}");
        server.call("POST", path, "", "").refused(Code::BadJson);
        server.json("POST", path, "{\"a\":1,").refused(Code::BadJson);
        server.json("POST", path, "{\"worker\":\"a\",\"worker\":\"b\"}").refused(Code::BadJson);
        assert_eq!(server.json("POST", path, "5").status, 400, "{path}");
    }
    let charset = "Content-Type: Application/JSON; charset=utf-8\r\n";
    let seen = server.call("POST", "/kwq/submit", charset, "{\"priority\":12}");
    assert_eq!(seen.refused(Code::InvalidField)["field"], "priority");
}

#[test]
fn fields_and_parameters_are_known_or_refused_with_the_nearest_name() {
    let server = server(usual());
    let problem = server.json("POST", "/kwq/submit", "{\"priorty\":5}").refused(Code::UnknownField);
    assert_eq!(problem["hint"], "did you mean `priority`?");
    let lenient = server.json("POST", "/kwq/submit?lenient=true", "{\"priorty\":5}");
    lenient.refused(Code::LogUnavailable);
    assert_eq!(lenient.status, 503);
    assert!(lenient.header("retry-after").is_some());
    let seen = server.call("GET", "/kwq/tasks?stat=ERROR", "", "");
    assert_eq!(seen.refused(Code::UnknownField)["hint"], "did you mean `state`?");
    for path in [
        "/kwq/tasks?limit=0",
        "/kwq/tasks?limit=1001",
        "/kwq/tasks?state=WRONG",
        "/kwq/tasks?fresh=perhaps",
        "/kwq/tasks?job=%ff",
        "/kwq/tasks?job=a&job=b",
        "/kwq/jobs/%zz",
        "/kwq/jobs/a/wait?waitMs=60001",
        "/kwq/jobs?sort=name",
        "/kwq/consume/a/b/soon",
        "/kwq/consume/a/b/-1",
    ] {
        let seen = server.call("GET", path, "", "");
        assert_eq!(seen.status, 400, "{path}");
        seen.refused(Code::BadRequest);
    }
}

#[test]
fn what_this_build_lacks_is_refused_and_not_ignored() {
    let server = server(usual());
    for body in ["{\"deadline_ts\":1}", "{\"ttlMs\":1}", "{\"requires\":{}}"] {
        let seen = server.json("POST", "/kwq/submit", body);
        assert_eq!(seen.status, 422, "{body}");
        seen.refused(Code::NotSupported);
    }
}

#[test]
fn a_key_must_be_printable_and_single() {
    let server = server(usual());
    let long = "k".repeat(129);
    for keys in ["Idempotency-Key:", "Idempotency-Key: \u{e9}", &format!("Idempotency-Key: {long}")]
    {
        let head = format!("Content-Type: application/json\r\n{keys}\r\n");
        for path in ["/kwq/submit", "/kwq/jobs", "/kwq/jobs/a/tasks"] {
            server.call("POST", path, &head, "{}").refused(Code::BadRequest);
        }
    }
    let twice = "Content-Type: application/json\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n";
    server.call("POST", "/kwq/submit", twice, "{}").refused(Code::BadRequest);
}

#[test]
fn a_batch_answers_every_item_even_when_all_break_a_rule() {
    let server = server(usual());
    let body = "[{\"id\":\"a\",\"priority\":12},5,{\"id\":\"1-0-7\"},{\"groupId\":\"other\"}]";
    let seen = server.json("POST", "/kwq/jobs/var/tasks", body);
    assert_eq!(seen.status, 200, "{seen:?}");
    let answer: serde_json::Value = serde_json::from_str(&seen.body).expect("JSON");
    assert_eq!(answer["job"], "var");
    assert_eq!(answer["rejected"], 4);
    assert_eq!(answer["results"][0]["id"], "a");
    assert_eq!(answer["results"][1]["i"], 1);
    assert_eq!(answer["results"][2]["code"], "reserved_id");
    assert_eq!(answer["results"][3]["field"], "groupId");
    server.json("POST", "/kwq/jobs/var/tasks", "[{\"priority\":12},").refused(Code::BadJson);
    let empty = server.json("POST", "/kwq/submit", "[]");
    assert_eq!((empty.status, empty.body.contains("\"accepted\":0")), (200, true));
    let many = format!("[{}{{}}]", "{\"priority\":12},".repeat(10_000));
    let seen = server.json("POST", "/kwq/submit", &many);
    assert_eq!(seen.refused(Code::TooManyItems)["limit"], 10_000);
}

#[test]
fn ndjson_counts_lines_and_stops_where_it_is_told_to() {
    let server = server(usual());
    let kind = "Content-Type: application/x-ndjson\r\n";
    let body = "{\"priority\":12}\r\n\n{\"x\n\n{\"tag\":5}";
    let seen = server.call("POST", "/kwq/jobs/j/tasks", kind, body);
    let answer: serde_json::Value = serde_json::from_str(&seen.body).expect("JSON");
    assert_eq!((seen.status, &answer["lines"]), (200, &5.into()));
    assert_eq!((&answer["rejected"], &answer["chunks"]), (&3.into(), &1.into()));
    let lines: Vec<_> = (0..3).map(|i| answer["results"][i]["line"].clone()).collect();
    assert_eq!(lines, [1, 3, 5]);
    let seen = server.call("POST", "/kwq/submit?onError=stop", kind, "\n\n{\"priority\":12}\n{}");
    assert_eq!(seen.status, 422);
    let problem = seen.refused(Code::InvalidField);
    assert_eq!((&problem["accepted"], &problem["nextLine"]), (&0.into(), &3.into()));
    let long = format!("\n{{\"payload\":\"{}\"}}\n", "x".repeat(300 << 10));
    let seen = server.call("POST", "/kwq/submit", kind, &long);
    assert_eq!(seen.status, 413);
    assert_eq!(seen.refused(Code::LineTooLarge)["nextLine"], 2);
}

#[test]
fn sizes_are_bounded_before_the_body_is_held() {
    let server = server(usual());
    let big = format!("{{\"payload\":\"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(
        server.json("POST", "/kwq/submit", &big).refused(Code::BodyTooLarge)["limit"],
        1 << 20
    );
    let payload = format!("{{\"payload\":\"{}\"}}", "x".repeat(300 << 10));
    let seen = server.json("POST", "/kwq/submit", &payload);
    assert_eq!(seen.refused(Code::PayloadTooLarge)["limit"], 256 << 10);
    let declared = server.raw(
        b"POST /kwq/submit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
          Content-Length: 99999999999\r\n\r\n[",
    );
    assert!(declared.starts_with("HTTP/1.1 413"), "{declared}");
    let uri = format!("/kwq/tasks?job={}", "a".repeat(5_000));
    server.call("GET", &uri, "", "").refused(Code::UriTooLong);
    let many: String = (0..70).map(|i| format!("x-{i}: 1\r\n")).collect();
    server.call("GET", "/kwq/tasks", &many, "").refused(Code::HeadersTooLarge);
    let wide = format!("x-wide: {}\r\n", "a".repeat(17 << 10));
    server.call("GET", "/kwq/tasks", &wide, "").refused(Code::HeadersTooLarge);
}

#[test]
fn compressed_bodies_and_calls_of_other_sites_are_refused() {
    let server = server(usual());
    for encoding in ["gzip", "deflate", "br", "zstd"] {
        let head = format!("Content-Type: application/json\r\nContent-Encoding: {encoding}\r\n");
        let seen = server.call("POST", "/kwq/submit", &head, "\u{1f}x");
        assert_eq!(seen.status, 415);
        seen.refused(Code::ContentEncoding);
    }
    let cross = "Sec-Fetch-Site: cross-site\r\n";
    let seen = server.call("GET", "/kwq/me", cross, "");
    assert_eq!(seen.status, 403);
    seen.refused(Code::CrossSite);
    assert_eq!(server.call("GET", "/ui/index.html", cross, "").status, 200);
}

#[test]
fn single_reports_are_refused_and_listed_ones_answered() {
    let server = server(usual());
    for body in ["{}", "{\"lease\":5}", "{\"lease\":\"\"}", "{\"lease\":\"x\",\"runMs\":-1}"] {
        let problem = server.json("POST", "/kwq/complete", body).refused(Code::InvalidField);
        assert_eq!(problem["outcome"], "invalid");
    }
    let body = "{\"items\":[{\"lease\":5},{\"lease\":\"l\",\"class\":\"a b\"}]}";
    let seen = server.json("POST", "/kwq/fail", body);
    let answer: serde_json::Value = serde_json::from_str(&seen.body).expect("JSON");
    assert_eq!((seen.status, &answer["items"][0]["outcome"]), (200, &"invalid".into()));
    assert_eq!(answer["items"][1]["lease"], "l");
    let large = format!("{{\"lease\":\"l\",\"result\":\"{}\"}}", "x".repeat(70 << 10));
    let seen = server.json("POST", "/kwq/complete", &large);
    assert_eq!(seen.refused(Code::ResultTooLarge)["limit"], 64 << 10);
}

#[test]
fn pages_and_files_come_from_the_binary_only() {
    let server = server(usual());
    for code in Code::ALL {
        let seen = server.call("GET", &format!("/docs/errors/{}", code.word()), "", "");
        assert_eq!(seen.status, 200, "{}", code.word());
        let title = crate::api::problem::title(*code);
        let first = format!("# {}: {title}\n\nHTTP status {}.\n", code.word(), code.status());
        assert!(seen.body.starts_with(&first), "{}: {}", code.word(), seen.body);
    }
    let page = server.call("GET", "/ui/index.html", "", "");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("base-uri 'none'"));
    let tag = page.header("etag").expect("a tag").to_owned();
    let again = format!("If-None-Match: {tag}\r\n");
    assert_eq!(server.call("GET", "/ui/index.html", &again, "").status, 304);
    for path in ["/", "/ui", "/ui/"] {
        let seen = server.call("GET", path, "", "");
        assert_eq!((seen.status, seen.header("location")), (302, Some("/ui/index.html")), "{path}");
    }
    for path in [
        "/ui/../Cargo.toml",
        "/ui/%2e%2e/Cargo.toml",
        "/ui/..%2fCargo.toml",
        "/docs/errors/..%2f..%2fCargo.toml",
        "/ui/%00",
    ] {
        assert_eq!(server.call("GET", path, "", "").status, 404, "{path}");
    }
}

#[test]
fn health_and_me_answer_without_an_engine() {
    let server = server(usual());
    for path in ["/kwq/health/live", "/livez"] {
        let seen = server.call("GET", path, "", "");
        assert_eq!((seen.status, seen.body.as_str()), (200, "{\"live\":true}"));
    }
    let ready = server.call("GET", "/readyz", "", "");
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("\"durability\":\"full\""), "{ready:?}");
    let me = server.call("GET", "/kwq/me", "", "");
    assert!(me.body.contains("\"readOnly\":false") && me.body.contains("\"operate\""));
    let metrics = server.call("GET", "/metrics", "", "");
    assert!(metrics.body.contains("# TYPE kwq_consume_total counter"));
    let about = server.call("GET", "/kwq", "Accept: text/plain\r\n", "");
    assert!(about.body.starts_with("kwq 0."), "{about:?}");
}

#[test]
fn slow_peers_are_cut_and_slow_bodies_told() {
    let server = server(quick());
    let mut silent = server.connect();
    let mut half = server.connect();
    half.write_all(b"GET /kwq HTT").expect("sends");
    let mut body = server.connect();
    body.write_all(
        b"POST /kwq/submit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
          Content-Length: 10\r\n\r\n{",
    )
    .expect("sends");
    let mut idle = server.connect();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").expect("sends");
    let read = |stream: &mut TcpStream| {
        let mut out = String::new();
        drop(stream.read_to_string(&mut out));
        out
    };
    assert_eq!(read(&mut silent), "");
    assert_eq!(read(&mut half), "");
    let told = read(&mut body);
    assert!(told.starts_with("HTTP/1.1 408") && told.contains("request_timeout"), "{told}");
    assert!(read(&mut idle).starts_with("HTTP/1.1 200"));
    server.handle.shutdown(Duration::from_secs(5));
    assert_eq!(server.handle.connections(), 0);
}

#[test]
fn broken_http_ends_in_a_refusal_or_a_close() {
    let server = server(quick());
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(100_000));
    for (name, bytes) in [
        ("garbage", b"\x16\x03\x01\x02\x00\x01\x00".as_slice()),
        ("h2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (
            "two lengths",
            b"POST /kwq/submit HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\
          Content-Length: 2\r\n\r\n{}",
        ),
        ("NUL", b"GET /kwq HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n"),
        (
            "bad chunk",
            b"POST /kwq/submit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
          Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        ),
        ("many headers", long.as_bytes()),
    ] {
        let answer = server.raw(bytes);
        let status = answer.strip_prefix("HTTP/1.1 ").unwrap_or_default();
        let refused = ["400", "431", "505"].iter().any(|s| status.starts_with(s));
        assert!(answer.is_empty() || refused, "{name}: {answer}");
    }
    assert_eq!(server.call("GET", "/livez", "", "").status, 200);
}

#[test]
fn an_address_has_its_share_of_connections_and_gets_it_back() {
    let server = server(Http { max_per_address: 2, ..quick() });
    let held: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    let until = Instant::now() + Duration::from_secs(5);
    while server.handle.connections() < 2 && Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(server.call("GET", "/livez", "", "").status, 0, "the third is closed");
    drop(held);
    while server.handle.connections() > 0 && Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(server.call("GET", "/livez", "", "").status, 200);
}

#[test]
fn a_drain_refuses_submits_and_sends_consumes_away() {
    let server = server(usual());
    server.handle.begin_drain();
    let seen = server.json("POST", "/kwq/submit", "{}");
    assert_eq!((seen.status, seen.header("kwq-applied")), (503, Some("no")));
    seen.refused(Code::Draining);
    let seen = server.json("POST", "/kwq/consume", "{\"worker\":\"w\",\"waitMs\":20000}");
    assert_eq!((seen.status, seen.header("kwq-poll-after-ms")), (204, Some("1000")));
    assert_eq!(seen.header("connection"), Some("close"));
    let seen = server.json("POST", "/kwq/consume", "{\"worker\":\"w\",\"done\":[{\"lease\":5}]}");
    assert!(seen.status == 200 && seen.body.contains("\"invalid\""), "{seen:?}");
    let ready = server.call("GET", "/readyz", "", "");
    assert!(ready.status == 503 && ready.body.contains("\"draining\":true"), "{ready:?}");
    server.handle.shutdown(Duration::from_secs(5));
    // The port may be another test's by now, for as long as it likes; whoever listens there does
    // not drain.
    let answer = server.try_connect().map(|stream| ask(stream, "GET", "/readyz", "", ""));
    assert!(!answer.is_ok_and(|seen| seen.status == 503), "it listens no more");
}
