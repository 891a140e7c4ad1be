//! The rules every route obeys (`api.md` 1, 1.2).

use serde_json::{Value, json};

use crate::support::{Conn, Req, Server, is_problem, merge, shared, text, unique};

fn submit(body: &str) -> Req {
    Req::new("POST", "/kwq/submit").text("application/json", body)
}

// api.md 1: duplicate keys, trailing text, missing body, broken JSON → 400 bad_json.
#[test]
fn bodies_that_are_not_json_are_refused() {
    for body in [
        "",
        " ",
        "{",
        "nonsense",
        "{} {}",
        "{}x",
        "[1,]",
        "{\"a\":}",
        "'a'",
        "{\"tag\":\"\u{1}\"}",
        "{\"priority\":5,\"priority\":5}",
        "{\"tag\":\"a\",\"tag\":\"b\"}",
        "{\"tag\":\"\\x\"}",
        "{\"tag\":\"\\ud800\"}",
        "NaN",
        "\u{feff}{}",
    ] {
        shared().call(&submit(body)).refused(400, "bad_json");
    }
    for body in [&b"{\"tag\":\"\xff\"}"[..], &b"\xff\xfe{\0}\0"[..], &[0, 1, 2][..]] {
        let req = Req::new("POST", "/kwq/submit").bytes("application/json", body);
        shared().call(&req).refused(400, "bad_json");
    }
}

// api.md 1: depth > 32 → 400 bad_json; 32 is accepted.
#[test]
fn json_may_be_thirty_two_deep() {
    let nested = |n: usize| {
        let (open, close) = ("[".repeat(n), "]".repeat(n));
        format!("{{\"groupId\":\"{}\",\"payload\":{open}{close}}}", unique("deep"))
    };
    shared().call(&submit(&nested(31))).expect(200);
    shared().call(&submit(&nested(32))).refused(400, "bad_json");
    shared().call(&submit(&nested(100_000))).refused(400, "bad_json");
    shared().assert_alive();
}

// api.md 1: a body that is no object is no task.
#[test]
fn a_body_of_the_wrong_shape_is_refused() {
    for body in ["5", "\"x\"", "null", "true"] {
        let answer = shared().call(&submit(body));
        assert!([400, 422].contains(&answer.status), "{body}: {}", answer.text());
        is_problem(&answer);
    }
}

// api.md 1: Content-Type application/json (parameters ignored), otherwise 415.
#[test]
fn other_types_are_refused() {
    for kind in ["text/plain", "text/json", "application/xml", "multipart/form-data", "application"]
    {
        let req = Req::new("POST", "/kwq/submit").text(kind, "{}");
        shared().call(&req).refused(415, "unsupported_media_type");
    }
    for kind in ["application/json; charset=utf-8", "Application/JSON", "application/json;x=y"] {
        let body = json!({"groupId": unique("type")}).to_string();
        shared().call(&Req::new("POST", "/kwq/submit").text(kind, &body)).expect(200);
    }
}

// api.md 1: unknown query parameters → 422 unknown_field with the nearest name.
#[test]
fn unknown_query_parameters_are_refused() {
    for (path, near) in [
        ("/kwq/submit?lenien=true", "lenient"),
        ("/kwq/jobs?x=1", ""),
        ("/kwq/tasks?limits=5", "limit"),
        ("/kwq/stats/now?fres=true", "fresh"),
    ] {
        let answer = if path.starts_with("/kwq/submit") {
            shared().post(path, &json!({}))
        } else {
            shared().get(path)
        };
        let problem = answer.refused(422, "unknown_field");
        assert!(problem["hint"].as_str().unwrap_or_default().contains(near), "{problem}");
    }
}

// api.md 1.2: 405 with Allow where the path exists; OPTIONS nowhere; HEAD only on static, health.
#[test]
fn wrong_methods_are_told_which_are_allowed() {
    for (method, path, allowed) in [
        ("PUT", "/kwq/submit", "POST"),
        ("GET", "/kwq/complete", "POST"),
        ("GET", "/kwq/consume", "POST"),
        ("DELETE", "/kwq/queues", "GET"),
        ("POST", "/kwq/tasks", "GET"),
        ("OPTIONS", "/kwq/submit", "POST"),
        ("OPTIONS", "/kwq/tasks", "GET"),
        ("POST", "/kwq/health/live", "GET"),
        ("PUT", "/kwq/jobs", "POST"),
    ] {
        let answer = shared().call(&Req::new(method, path).json(&json!({})));
        answer.refused(405, "method_not_allowed");
        let allow = answer.header("Allow").unwrap_or_default();
        assert!(allow.split(',').any(|m| m.trim() == allowed), "{method} {path}: {allow:?}");
        let wrong = allow.split(',').any(|m| m.trim() == method);
        assert!(!wrong, "{method} is not allowed: {allow:?}");
    }
    for path in ["/kwq", "/kwq/tasks", "/kwq/jobs", "/kwq/stats"] {
        assert_eq!(shared().call(&Req::new("HEAD", path)).status, 405, "HEAD {path}");
    }
    let options = shared().call(&Req::new("OPTIONS", "/kwq").header("Origin", "http://evil"));
    assert_eq!(options.status, 405);
    assert!(options.header("Access-Control-Allow-Origin").is_none(), "no CORS");
}

// api.md 1.2: unknown paths → 404 no_route as problem+json, with no-store under /kwq.
#[test]
fn unknown_paths_are_problems() {
    for path in
        ["/nope", "/kwq/nope", "/kwq/tasks/x/y/z", "/kwq/jobs/a/b", "/KWQ", "/kwq/submit/x", "//"]
    {
        shared().get(path).refused(404, "no_route");
    }
    assert_eq!(shared().get("/kwq/nope").header("Cache-Control"), Some("no-store"));
}

// api.md 1.2: every refusal has the whole form, also those of one kind each.
#[test]
fn every_refusal_has_the_same_form() {
    let server = shared();
    for answer in [
        server.post("/kwq/submit", &json!({"priority": 10})),
        server.post("/kwq/submit", &json!({"x": 10})),
        server.get("/kwq/jobs/nobody"),
        server.get("/kwq/tasks/nobody"),
        server.get("/kwq/tasks?limit=0"),
        server.get("/kwq/tasks?cursor=x"),
        server.post("/kwq/complete", &json!({"lease": "x"})),
        server.call(&submit("{")),
        server.delete("/kwq/submit"),
    ] {
        let body = is_problem(&answer);
        assert!(answer.status >= 400, "{body}");
        assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{body}");
    }
}

// api.md 1.2: the documented example of a refusal.
#[test]
fn the_documented_refusal_is_answered() {
    let answer = shared().post("/kwq/submit", &json!({"priority": 12}));
    let body = answer.refused_field("invalid_field", "priority");
    assert_eq!(text(&body, "title"), "a field breaks a rule");
    assert_eq!(text(&body, "detail"), "priority must be 1..9");
    assert_eq!(text(&body, "hint"), "9 is the most urgent");
}

// api.md 1.2: a request with Content-Encoding is refused.
#[test]
fn compressed_requests_are_refused() {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let req = submit("{}").header("Content-Encoding", coding);
        shared().call(&req).refused(415, "content_encoding");
    }
}

// api.md 1.2, promises.md 8 CSRF: Sec-Fetch-Site: cross-site → 403.
#[test]
fn cross_site_requests_are_refused() {
    let req = submit("{}").header("Sec-Fetch-Site", "cross-site");
    shared().call(&req).refused(403, "cross_site");
    let req = submit(&json!({"groupId": unique("site")}).to_string());
    shared().call(&req.header("Sec-Fetch-Site", "same-origin")).expect(200);
}

// api.md 1: several requests over one connection, also pipelined; answers in order.
#[test]
fn a_connection_is_kept_and_may_be_pipelined() {
    let server = shared();
    let mut conn = Conn::open(server.addr()).expect("connects");
    for _ in 0..5 {
        conn.call(&Req::new("GET", "/kwq")).expect("an answer").expect(200);
        conn.call(&submit("{\"priority\":10}")).expect("an answer").expect(422);
        conn.call(&Req::new("GET", "/nope")).expect("an answer").expect(404);
    }
    let mut both = Req::new("GET", "/kwq/health/live").to_bytes();
    both.extend(Req::new("GET", "/kwq/me").to_bytes());
    conn.send(&both).expect("sends");
    assert_eq!(conn.answer(false).expect("first").ok()["live"], true);
    assert!(conn.answer(false).expect("second").ok()["roles"].is_array());
}

// api.md 1: percent-encoding in a path that cannot be read → 400.
#[test]
fn a_path_that_cannot_be_read_is_refused() {
    for path in ["/kwq/jobs/%ff", "/kwq/tasks/%", "/kwq/jobs/%zz"] {
        let answer = shared().get(path);
        assert!([400, 404].contains(&answer.status), "{path}: {}", answer.text());
        is_problem(&answer);
    }
}

// api.md 1 Kwq-Timeout-Ms: 1…60,000, else 400.
#[test]
fn a_time_out_header_is_checked() {
    for wrong in ["0", "60001", "-1", "x", "1.5"] {
        let req = submit("{\"groupId\":\"never-made\"}").header("Kwq-Timeout-Ms", wrong);
        shared().call(&req).refused(400, "bad_request");
    }
    let body = json!({"groupId": unique("timeout")}).to_string();
    shared().call(&submit(&body).header("Kwq-Timeout-Ms", "60000")).expect(200);
}

// promises.md 8 headers, api.md 2.1: control characters in a reply header cannot be injected.
#[test]
fn ids_cannot_inject_headers() {
    let server = shared();
    let job = unique("inject");
    let spec: Value = json!({"id": format!("{job}é/x"), "name": "n"});
    let answer = server.post("/kwq/jobs", &spec);
    let location = answer.expect(201).header("Location").expect("Location").to_owned();
    assert!(location.is_ascii() && !location.contains(' '), "{location}");
    assert_eq!(server.get(&location).ok()["id"], spec["id"]);
    let answer = server.post("/kwq/jobs", &merge(&spec, &json!({"id": "a\r\nX-Evil: 1"})));
    answer.refused_field("invalid_field", "id");
    assert!(answer.header("X-Evil").is_none());
}

// api.md 1: no answer of the product names a framework or leaks a trace; the process lives.
#[test]
fn a_fresh_server_survives_a_round_of_everything() {
    let server = Server::start(&[]);
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"] {
        for path in [
            "/",
            "/kwq",
            "/kwq/submit",
            "/kwq/jobs",
            "/kwq/jobs/x",
            "/kwq/tasks/x",
            "/metrics",
            "/kwq/consume",
            "/kwq/workers/x",
            "/kwq/queues/5/pause",
            "/kwq/heartbeat",
            "/ui/index.html",
        ] {
            let answer = server.call(&Req::new(method, path).text("application/json", "[]"));
            assert!(answer.status < 500, "{method} {path}: {} {}", answer.status, answer.text());
        }
    }
    server.assert_alive();
}
