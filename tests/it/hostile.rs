//! Raw and slow clients (`promises.md` 8): the code or a closed connection, and a process that
//! lives on.

use std::time::Duration;

use serde_json::json;

use crate::support::{Answer, Conn, Req, Server, shared, since, start_watch, unique};

#[track_caller]
fn closes_or(answer: Option<Answer>, allowed: &[u16]) {
    if let Some(answer) = answer {
        assert!(allowed.contains(&answer.status), "{} {}", answer.status, answer.text());
    }
}

// promises.md 8: request head 16 KiB; 64 headers; URI 4 KiB → 431, 414.
#[test]
fn heads_that_are_too_large_are_refused() {
    let server = shared();
    let long = format!("GET /kwq HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(20_000));
    server.raw(long.as_bytes()).expect("an answer").refused(431, "headers_too_large");
    let fields: String = (0..80).map(|i| format!("X-{i}: v\r\n")).collect();
    let many = format!("GET /kwq HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    server.raw(many.as_bytes()).expect("an answer").refused(431, "headers_too_large");
    let uri = format!("GET /kwq/tasks?job={} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(5_000));
    server.raw(uri.as_bytes()).expect("an answer").refused(414, "uri_too_long");
    let fits = format!("GET /kwq/tasks?job={} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(3_500));
    let answer = server.raw(fits.as_bytes()).expect("an answer");
    assert_ne!(answer.status, 414);
    server.assert_alive();
}

// promises.md 8: huge heads are cut while reading, not collected.
#[test]
fn an_endless_head_is_cut_off() {
    let server = shared();
    let mut conn = Conn::open(server.addr()).expect("connects");
    conn.send(b"GET /kwq HTTP/1.1\r\nHost: x\r\n").expect("sends");
    let part = format!("X: {}\r\n", "a".repeat(1_000)).repeat(100);
    let mut sent = 0_usize;
    while sent < 64 * 1024 * 1024 && conn.send(part.as_bytes()).is_ok() {
        sent += part.len();
    }
    assert!(sent < 64 * 1024 * 1024, "64 MiB of head were taken");
    server.assert_alive();
}

// promises.md 8 `http.body`: a body too slow → 408 request_timeout.
#[test]
fn a_slow_body_times_out() {
    let server = Server::start(&["http.body=1s"]);
    let mut conn = Conn::open(server.addr()).expect("connects");
    let head = "POST /kwq/submit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\n\r\n{\"groupId\":";
    conn.send(head.as_bytes()).expect("sends");
    let begun = start_watch();
    let answer = conn.answer(false).expect("an answer");
    answer.refused(408, "request_timeout");
    assert!(since(begun) >= Duration::from_millis(900));
    server.assert_alive();
}

// promises.md 8 `http.first-byte`: a silent connection is closed.
#[test]
fn a_silent_connection_is_closed() {
    let server = Server::start(&["http.first-byte=1s"]);
    let mut conn = Conn::open(server.addr()).expect("connects");
    closes_or(conn.answer(false).ok(), &[408]);
    drop(conn.rest().ok());
    server.assert_alive();
}

// promises.md 8 `http.head`: a head that never ends is closed or told 408.
#[test]
fn a_half_head_is_closed() {
    let server = Server::start(&["http.head=1s"]);
    let mut conn = Conn::open(server.addr()).expect("connects");
    conn.send(b"GET /kwq HTTP/1.1\r\nHost: x\r\nX-Ha").expect("sends");
    let begun = start_watch();
    closes_or(conn.answer(false).ok(), &[408]);
    assert!(since(begun) < Duration::from_secs(60), "the limit was 1 s");
    server.assert_alive();
}

// promises.md 8 `http.idle`: an idle kept connection is closed.
#[test]
fn an_idle_connection_is_closed() {
    let server = Server::start(&["http.idle=1s"]);
    let mut conn = Conn::open(server.addr()).expect("connects");
    conn.call(&Req::new("GET", "/kwq")).expect("an answer").expect(200);
    let begun = start_watch();
    drop(conn.rest().ok());
    assert!(since(begun) < Duration::from_secs(60), "the limit was 1 s");
}

// The same behind a call that took longer than any other limit.
#[test]
fn a_connection_that_is_idle_after_a_long_call_is_closed() {
    let server = Server::start(&["http.idle=1s", "http.first-byte=1s", "http.head=1s"]);
    server.add("open", &json!([{}]));
    let mut conn = Conn::open(server.addr()).expect("connects");
    for _ in 0..2 {
        let wait = Req::new("GET", "/kwq/jobs/open/wait?waitMs=3000");
        conn.call(&wait).expect("an answer").expect(204);
    }
    let begun = start_watch();
    drop(conn.rest().ok());
    assert!(since(begun) < Duration::from_secs(60), "the limit was 1 s");
}

// promises.md 8: a long poll is not cut by the idle or body limits.
#[test]
fn a_long_poll_outlives_the_short_limits() {
    let limits = ["http.idle=1s", "http.body=1s", "http.head=1s", "http.first-byte=1s"];
    let server = Server::start(&limits);
    let ask = json!({"worker": "patient", "waitMs": 4_000});
    server.post("/kwq/consume", &ask).expect(204);
}

// promises.md 8 S3: garbage, TLS hello, h2 preface, NUL: 400, 431 or close; never a panic.
#[test]
fn garbage_is_refused_and_survived() {
    let server = shared();
    for bytes in [
        &b"\0\0\0\0\0\0\0\0\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"HELLO\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        b"GET foo HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /kwq HTTP/9.9\r\n\r\n",
        b"GET /kwq HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n",
        b"GET /kwq HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        b"GET /k\0wq HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n\r\n\r\n\r\nrubbish\r\n\r\n",
        b"POST /kwq/submit HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
        b"POST /kwq/submit HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /kwq/submit HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    ] {
        closes_or(server.raw(bytes), &[400, 405, 411, 413, 431, 505]);
    }
    server.assert_alive();
}

// promises.md 8 S3: request smuggling: CL + TE, two lengths, unknown codings.
#[test]
fn ambiguous_lengths_are_refused() {
    let server = shared();
    let base = "POST /kwq/submit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    for (head, body) in [
        (
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
        ),
        ("Content-Length: 2\r\nContent-Length: 30\r\n", "{}"),
        ("Transfer-Encoding: gzip\r\n", "{}"),
        ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
    ] {
        closes_or(server.raw(format!("{base}{head}\r\n{body}").as_bytes()), &[400, 411, 413, 501]);
    }
    server.assert_alive();
}

// promises.md 8: never allocate from a declared length; too large by declaration alone → 413.
#[test]
fn a_huge_declared_length_is_refused_at_once() {
    let server = shared();
    let head = "POST /kwq/submit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 99999999999\r\n\r\n{";
    let answer = server.raw(head.as_bytes()).expect("an answer");
    answer.refused(413, "body_too_large");
}

// promises.md 8: an endless chunked body is cut at the limit.
#[test]
fn an_endless_chunked_body_is_cut_off() {
    let server = shared();
    let mut conn = Conn::open(server.addr()).expect("connects");
    let head = "POST /kwq/submit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    conn.send(head.as_bytes()).expect("sends");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(65_536));
    let mut sent = 0_usize;
    while sent < 256 * 1024 * 1024 && conn.send(chunk.as_bytes()).is_ok() {
        sent += chunk.len();
    }
    assert!(sent < 256 * 1024 * 1024, "256 MiB of a 1 MiB body were taken");
    server.assert_alive();
}

// promises.md F15: a reset in mid-request leaves nothing behind.
#[test]
fn a_broken_request_applies_nothing() {
    let (server, job) = (shared(), unique("broken"));
    for cut in [20, 60, 120] {
        let body = json!({"groupId": job, "payload": "x".repeat(200)});
        let bytes = Req::new("POST", "/kwq/submit").json(&body).to_bytes();
        let mut conn = Conn::open(server.addr()).expect("connects");
        let part: Vec<u8> = bytes.iter().take(bytes.len() - cut).copied().collect();
        conn.send(&part).expect("sends");
        drop(conn);
    }
    server.get(&format!("/kwq/jobs/{job}")).refused(404, "job_not_found");
    server.assert_alive();
}

// promises.md 8: many silent sockets do not stop others.
#[test]
fn silent_sockets_do_not_stop_others() {
    let server = Server::start(&["http.max-per-address=1000"]);
    let silent: Vec<Conn> =
        (0..500).map(|_| Conn::open(server.addr()).expect("connects")).collect();
    for _ in 0..20 {
        server.submit(&json!({"groupId": "g"}));
    }
    assert_eq!(server.job("g")["submitted"], 20);
    assert_eq!(silent.len(), 500);
}

// promises.md 8 path traversal: assets come from an embedded map.
#[test]
fn paths_do_not_leave_the_embedded_files() {
    for path in [
        "/ui/../../etc/passwd",
        "/ui/..%2f..%2fetc%2fpasswd",
        "/ui/%2e%2e/%2e%2e/etc/passwd",
        "/ui//etc/passwd",
        "/ui/....//etc/passwd",
        "/docs/errors/..%2f..%2fetc",
        "/kwq/jobs/..%2f..%2fetc%2fpasswd",
        "/kwq/tasks/..%2f..%2fetc%2fpasswd/payload",
    ] {
        let answer = shared().get(path);
        assert!([400, 404].contains(&answer.status), "{path}: {}", answer.status);
        assert!(!answer.text().contains("root:"), "{path}");
    }
}
