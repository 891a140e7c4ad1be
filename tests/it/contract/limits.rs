//! `api.md` 13, the limits: the last value that is taken and the first that is refused, and every
//! key of the table under a value of its own. The ceilings of keys are checked at start.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::support::{Answer, Conn, Req, Server, encode, eventually, int, shared, unique};

const KIB: usize = 1_024;
const MIB: usize = 1_024 * KIB;

/// With defaults, for bodies that others should not have to wait for.
fn large() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[]))
}

/// Every key of the table set low.
fn small() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let keys = [
        "limits.payload=1KiB",
        "limits.result=1KiB",
        "limits.body=20KiB",
        "limits.batch-body=64KiB",
        "limits.batch-items=3",
        "limits.array=10",
        "poll.max-parked=2",
    ];
    SERVER.get_or_init(|| Server::start(&keys))
}

/// JSON text, filled up with spaces to `size`.
fn padded(body: &Value, size: usize) -> String {
    let text = body.to_string();
    let spaces = " ".repeat(size - text.len());
    format!("{text}{spaces}")
}

/// Calls again while the answer is 503 and nothing was done: other tests of this file send bodies
/// of many MiB at the same time.
fn patient(server: &Server, req: &Req) -> Answer {
    eventually("the server has room", || {
        Some(server.call(req)).filter(|answer| answer.status != 503)
    })
}

fn send(server: &Server, path: &str, body: &str) -> Answer {
    patient(server, &Req::new("POST", path).text("application/json", body))
}

fn lines(server: &Server, job: &str, body: &str) -> Answer {
    let req = Req::new("POST", &format!("/kwq/jobs/{job}/tasks"));
    patient(server, &req.text("application/x-ndjson", body))
}

/// A refusal with 413, and the limit it names.
#[track_caller]
fn too_large(answer: &Answer, code: &str, limit: usize) {
    let problem = answer.refused(413, code);
    assert_eq!(problem["limit"], json!(limit), "{problem}");
}

/// A task of a fresh job with this payload of so many bytes.
fn task(size: usize) -> Value {
    json!({"groupId": unique("limit"), "payload": "x".repeat(size)})
}

#[test]
fn body_of_one_task() {
    for (server, limit) in [(large(), MIB), (small(), 20 * KIB)] {
        let body = json!({"groupId": unique("limit")});
        send(server, "/kwq/submit", &padded(&body, limit)).expect(200);
        let answer = send(server, "/kwq/submit", &padded(&body, limit + 1));
        too_large(&answer, "body_too_large", limit);
    }
}

#[test]
fn body_of_a_verb() {
    for (server, limit) in [(large(), MIB), (small(), 20 * KIB)] {
        let body = json!({"lease": "nobody"});
        let answer = send(server, "/kwq/complete", &padded(&body, limit));
        answer.refused(409, "lease_lost");
        let answer = send(server, "/kwq/complete", &padded(&body, limit + 1));
        too_large(&answer, "body_too_large", limit);
    }
}

#[test]
fn body_of_a_json_array() {
    for (server, limit) in [(large(), 16 * MIB), (small(), 64 * KIB)] {
        let path = format!("/kwq/jobs/{}/tasks", unique("limit"));
        let answer = send(server, &path, &padded(&json!([{}]), limit));
        assert_eq!(answer.ok()["accepted"], 1);
        let answer = send(server, &path, &padded(&json!([{}]), limit + 1));
        too_large(&answer, "body_too_large", limit);
    }
}

#[test]
fn items_of_a_json_array() {
    for (server, limit) in [(large(), 10_000), (small(), 3)] {
        let path = format!("/kwq/jobs/{}/tasks", unique("limit"));
        let items = |n: usize| Value::Array(vec![json!({}); n]);
        let told = send(server, &path, &items(limit).to_string()).ok();
        assert_eq!(int(&told, "accepted"), limit as i64);
        too_large(&server.post(&path, &items(limit + 1)), "too_many_items", limit);
    }
}

#[test]
fn ndjson_line() {
    for (server, limit) in [(large(), 272 * KIB), (small(), 17 * KIB)] {
        let job = unique("limit");
        let line = padded(&json!({"payload": "x"}), limit);
        assert_eq!(lines(server, &job, &format!("{line}\n")).ok()["accepted"], 1);
        let answer = lines(server, &job, &format!("{line} \n"));
        answer.refused(413, "line_too_large");
        assert_eq!(server.job(&job)["submitted"], 1);
    }
}

#[test]
fn ndjson_chunk_of_10_000_lines() {
    for (server, limit) in [(large(), 10_000), (small(), 3)] {
        let told = lines(server, &unique("limit"), &"{}\n".repeat(limit)).ok();
        assert_eq!((int(&told, "accepted"), int(&told, "chunks")), (limit as i64, 1), "{told}");
        let told = lines(server, &unique("limit"), &"{}\n".repeat(limit + 1)).ok();
        assert_eq!((int(&told, "accepted"), int(&told, "chunks")), (limit as i64 + 1, 2));
    }
}

#[test]
fn ndjson_chunk_of_16_mib() {
    let line = format!("{}\n", padded(&json!({}), 256 * KIB - 1));
    let told = lines(large(), &unique("limit"), &line.repeat(64)).ok();
    assert_eq!((int(&told, "accepted"), int(&told, "chunks")), (64, 1), "{told}");
    let told = lines(large(), &unique("limit"), &line.repeat(65)).ok();
    assert_eq!((int(&told, "accepted"), int(&told, "chunks")), (65, 2), "{told}");
}

#[test]
fn payload() {
    for (server, limit) in [(large(), 256 * KIB), (small(), KIB)] {
        send(server, "/kwq/submit", &task(limit).to_string()).expect(200);
        too_large(&server.post("/kwq/submit", &task(limit + 1)), "payload_too_large", limit);
    }
}

// api.md 2.1: decoded; "AAAA" is three bytes.
#[test]
fn payload_of_base64_is_measured_decoded() {
    let task = |fours: usize, last: &str| {
        let text = format!("{}{last}", "AAAA".repeat(fours));
        json!({"groupId": unique("limit"), "payload": text, "encoding": "base64"})
    };
    // 341 × 3 = 1,023 bytes, and one or two more.
    small().post("/kwq/submit", &task(341, "AA==")).expect(200);
    small().post("/kwq/submit", &task(341, "AAA=")).refused(413, "payload_too_large");
}

#[test]
fn payload_template() {
    for (server, limit) in [(large(), 256 * KIB), (small(), KIB)] {
        let array = |size: usize| {
            let template = "x".repeat(size);
            json!([{"array": {"to": 1, "payloadTemplate": template}}])
        };
        let path = format!("/kwq/jobs/{}/tasks", unique("limit"));
        assert_eq!(send(server, &path, &array(limit).to_string()).ok()["accepted"], 2);
        let told = send(server, &path, &array(limit + 1).to_string()).ok();
        assert_eq!(told["results"][0]["code"], "payload_too_large", "{told}");
    }
}

#[test]
fn payload_of_an_item() {
    let path = format!("/kwq/jobs/{}/tasks", unique("limit"));
    let items = json!([{"payload": "x".repeat(KIB)}, {"payload": "x".repeat(KIB + 1)}]);
    let told = small().post(&path, &items).ok();
    assert_eq!((int(&told, "accepted"), int(&told, "rejected")), (1, 1), "{told}");
    assert_eq!(told["results"][1]["code"], "payload_too_large", "{told}");
}

#[test]
fn result() {
    for (server, limit) in [(large(), 64 * KIB), (small(), KIB)] {
        let held = server.leased("w", &unique("limit"), &json!({}));
        let more = |size: usize| json!({"result": "x".repeat(size)});
        let answer = server.report("complete", &held["lease"], &more(limit + 1));
        too_large(&answer, "result_too_large", limit);
        server.report("complete", &held["lease"], &more(limit)).expect(200);
    }
}

#[test]
fn array_elements() {
    for (server, limit) in [(large(), 100_000_000), (small(), 10)] {
        let job = unique("limit");
        let array = |to: i64| json!({"groupId": job, "array": {"from": 1, "to": to}});
        let told = send(server, "/kwq/submit", &array(limit).to_string()).ok();
        assert_eq!(int(&told, "accepted"), limit);
        server.job_verb(&job, "cancel");
        let path = format!("/kwq/jobs/{}/tasks", unique("limit"));
        let items = json!([{"array": {"from": 1, "to": limit + 1}}]);
        let told = send(server, &path, &items.to_string()).ok();
        assert_eq!(told["results"][0]["code"], "invalid_field", "{told}");
    }
}

/// Names that may be, and names that may not.
fn names() -> (Vec<String>, Vec<String>) {
    let good = ["x".repeat(120), "ü".repeat(60), "a b\u{a0}c".to_owned()];
    let good = good.iter().map(|name| format!("{name}{}", unique(""))).collect();
    let bad = ["", " x", "x ", "a\nb", "a\u{0}b", "a\u{7f}b", "a\u{85}b"];
    let mut bad: Vec<String> = bad.iter().map(|name| (*name).to_owned()).collect();
    bad.extend(["x".repeat(129), format!("{}x", "ü".repeat(64))]);
    (good, bad)
}

#[test]
fn job_ids() {
    let (good, bad) = names();
    for id in good {
        shared().post("/kwq/jobs", &json!({"id": id})).expect(201);
        assert_eq!(shared().job(&id)["id"], *id);
        assert_eq!(shared().get(&format!("/kwq/jobs/{}", encode(&id))).status, 200);
    }
    for id in bad {
        let answer = shared().post("/kwq/jobs", &json!({"id": id}));
        answer.refused_field("invalid_field", "id");
        let answer = shared().post("/kwq/submit", &json!({"groupId": id}));
        answer.refused_field("invalid_field", "groupId");
    }
}

#[test]
fn job_names() {
    let (good, bad) = names();
    for name in good {
        let body = json!({"id": unique("limit"), "name": name});
        assert_eq!(shared().post("/kwq/jobs", &body).expect(201).json()["name"], *name);
    }
    for name in bad {
        let answer = shared().post("/kwq/jobs", &json!({"id": unique("limit"), "name": name}));
        answer.refused_field("invalid_field", "name");
    }
}

#[test]
fn task_ids() {
    let (good, bad) = names();
    for id in good {
        let reference = shared().submit(&json!({"groupId": unique("limit"), "id": id}));
        assert_eq!(shared().task(&reference)["id"], *id);
    }
    for id in bad {
        let answer = shared().post("/kwq/submit", &json!({"groupId": unique("limit"), "id": id}));
        answer.refused_field("invalid_field", "id");
    }
}

#[test]
fn worker_names() {
    let (good, bad) = names();
    for worker in good {
        let job = unique("limit");
        assert_eq!(shared().leased(&worker, &job, &json!({}))["worker"], *worker);
    }
    for worker in bad {
        for path in ["/kwq/consume", "/kwq/heartbeat", "/kwq/workers"] {
            let answer = shared().post(path, &json!({"worker": worker}));
            answer.refused_field("invalid_field", "worker");
        }
    }
}

/// So many different words.
fn words(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("w{i}")).collect()
}

#[test]
fn tags_of_a_task() {
    let submit = |task: Value| shared().post("/kwq/submit", &task);
    submit(json!({"groupId": unique("limit"), "tags": words(32)})).expect(200);
    submit(json!({"groupId": unique("limit"), "tags": words(33)})).refused(422, "invalid_tag");
}

#[test]
fn tag_text() {
    let text = |n: usize| json!({"groupId": unique("limit"), "tag": format!("a{}", " ".repeat(n))});
    shared().post("/kwq/submit", &text(4_095)).expect(200);
    shared().post("/kwq/submit", &text(4_096)).refused(422, "invalid_tag");
}

#[test]
fn affinity_keys_of_a_task() {
    let task = |n: usize| json!({"groupId": unique("limit"), "affinity": words(n)});
    shared().post("/kwq/submit", &task(8)).expect(200);
    shared().post("/kwq/submit", &task(9)).refused_field("invalid_field", "affinity");
}

#[test]
fn affinity_keys_of_a_worker() {
    let ask = |n: usize| {
        let worker = unique("limit");
        json!({"worker": worker, "jobs": ["none"], "waitMs": 0, "affinity": words(n)})
    };
    shared().post("/kwq/consume", &ask(64)).expect(204);
    shared().post("/kwq/consume", &ask(65)).refused_field("invalid_field", "affinity");
}

/// A consume with one more member, in a job that does not exist.
fn ask(name: &str, value: Value) -> Answer {
    let mut body = json!({"worker": unique("limit"), "jobs": ["none"], "waitMs": 0});
    body[name] = value;
    shared().post("/kwq/consume", &body)
}

#[test]
fn consume_max() {
    ask("max", json!(1_000)).expect(204);
    ask("max", json!(1_001)).refused_field("invalid_field", "max");
    ask("max", json!(0)).refused_field("invalid_field", "max");
}

#[test]
fn consume_done() {
    let done = |n: usize| Value::Array(vec![json!({"lease": "nobody"}); n]);
    let told = ask("done", done(1_000)).ok();
    assert_eq!(told["done"].as_array().map(Vec::len), Some(1_000));
    ask("done", done(1_001)).refused_field("invalid_field", "done");
}

#[test]
fn items_of_a_report() {
    for verb in ["start", "complete", "fail", "release"] {
        let report = |n: usize| {
            let items = vec![json!({"lease": "nobody"}); n];
            shared().post(&format!("/kwq/{verb}"), &json!({"items": items}))
        };
        assert_eq!(report(1_000).ok()["items"].as_array().map(Vec::len), Some(1_000));
        report(1_001).refused_field("invalid_field", "items");
    }
}

#[test]
fn leases_of_a_heartbeat() {
    let leases: Vec<String> = (0..10_001).map(|i| format!("nobody{i}")).collect();
    let beat = |n: usize| {
        let listed: Vec<&String> = leases.iter().take(n).collect();
        shared().post("/kwq/heartbeat", &json!({"worker": unique("limit"), "leases": listed}))
    };
    assert_eq!(beat(10_000).ok()["lost"].as_array().map(Vec::len), Some(10_000));
    beat(10_001).refused_field("invalid_field", "leases");
    ask("leases", json!(leases)).refused_field("invalid_field", "leases");
}

#[test]
fn wait_ms() {
    ask("waitMs", json!(60_001)).refused_field("invalid_field", "waitMs");
    ask("waitMs", json!(-1)).refused_field("invalid_field", "waitMs");
    // The longest wait is begun, not refused.
    drop(shared().park(&unique("limit"), "none"));
}

#[test]
fn parked_consumes() {
    let server = small();
    let parked: Vec<Conn> = (0..2).map(|i| server.park(&format!("parked{i}"), "none")).collect();
    let ask = json!({"worker": "one too many", "jobs": ["none"], "waitMs": 60_000});
    server.post("/kwq/consume", &ask).expect(204);
    assert!(parked.iter().all(|conn| !conn.readable()), "the others wait on");
}

#[test]
fn page_limit() {
    for path in ["/kwq/tasks", "/kwq/jobs", "/kwq/dlq", "/kwq/workers", "/kwq/operations"] {
        shared().get(&format!("{path}?limit=1000")).expect(200);
        shared().get(&format!("{path}?limit=1")).expect(200);
        for wrong in ["1001", "0", "-1", "x", "1.0"] {
            shared().get(&format!("{path}?limit={wrong}")).refused(400, "bad_request");
        }
    }
}

// 15: a value that cannot be read is 400; only an empty filter *list* counts as absent.
#[test]
fn page_limit_without_a_number() {
    shared().get("/kwq/jobs?limit=").refused(400, "bad_request");
    shared().get("/kwq/tasks?limit=").refused(400, "bad_request");
}

#[test]
fn json_depth() {
    let nested = |n: usize| {
        let (open, close) = ("[".repeat(n), "]".repeat(n));
        format!("{{\"groupId\":\"{}\",\"payload\":{open}{close}}}", unique("limit"))
    };
    send(shared(), "/kwq/submit", &nested(31)).expect(200);
    send(shared(), "/kwq/submit", &nested(32)).refused(400, "bad_json");
}

/// A request whose whole head has so many bytes.
fn with_head(size: usize) -> Answer {
    let start = "GET /kwq/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: ";
    let long = "a".repeat(size - start.len() - 4);
    shared().raw(format!("{start}{long}\r\n\r\n").as_bytes()).expect("an answer")
}

// promises.md 8: 16 KiB.
#[test]
fn request_head() {
    with_head(16 * KIB).expect(200);
    with_head(17 * KIB).refused(431, "headers_too_large");
}

#[test]
fn request_head_to_the_byte() {
    with_head(16 * KIB + 1).refused(431, "headers_too_large");
}

// promises.md 8: 64.
#[test]
fn request_headers() {
    let head = |n: usize| {
        let fields: String = (1..n).map(|i| format!("X-{i}: v\r\n")).collect();
        format!("GET /kwq/health/live HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
    };
    shared().raw(head(64).as_bytes()).expect("an answer").expect(200);
    let answer = shared().raw(head(65).as_bytes()).expect("an answer");
    answer.refused(431, "headers_too_large");
}

// promises.md 8: 4 KiB.
#[test]
fn request_uri() {
    let path = |n: usize| format!("/kwq/tasks/{}", "a".repeat(n - "/kwq/tasks/".len()));
    assert_ne!(shared().get(&path(4 * KIB)).status, 414);
    shared().get(&path(4 * KIB + 1)).refused(414, "uri_too_long");
}

#[test]
fn time_of_a_body() {
    let server = Server::start(&["http.body=1s"]);
    let mut conn = Conn::open(server.addr()).expect("connects");
    let head = "POST /kwq/submit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\n\r\n{";
    conn.send(head.as_bytes()).expect("sends");
    conn.answer(false).expect("an answer").refused(408, "request_timeout");
}

#[test]
fn connections_of_an_address() {
    let server = Server::start(&["http.max-per-address=3"]);
    let live = Req::new("GET", "/kwq/health/live");
    // The connections that waited for the start may still be counted for a moment.
    let open = |_| {
        eventually("a place is free", || {
            let mut conn = Conn::open(server.addr()).ok()?;
            conn.call(&live).ok().map(|_| conn)
        })
    };
    let mut held: Vec<Conn> = (0..3).map(open).collect();
    let fourth = Conn::open(server.addr()).and_then(|mut conn| conn.call(&live));
    assert!(fourth.is_err(), "closed: {fourth:?}");
    for conn in &mut held {
        conn.call(&live).expect("an answer").expect(200);
    }
}
