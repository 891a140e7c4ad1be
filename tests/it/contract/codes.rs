//! `api.md` 1.2, a test for each error code: its status, the whole form of problem+json, the extra
//! members that apply, and its page. Those that need an own server are in `codes_of_a_server.rs`.
//! Cannot be provoked from outside, so only their pages are
//! looked at: `internal` (a bug), `log_unavailable`, `partition_unavailable` and `tracker_behind`
//! (a failing disk: `tests/faults`), `not_ready` (needs a long log and a race with its replay),
//! `not_admitted` (Kafka). `cyclic_dependency` is later.

use serde_json::{Value, json};

use super::{held, say, task_in, task_verb};
use crate::support::{Answer, Conn, Req, eventually, int, merge, shared, text, unique};

/// The page of a code (1.2: `GET /docs/errors/{code}` is a text page).
#[track_caller]
fn page(code: &str) {
    let page = shared().get(&format!("/docs/errors/{code}"));
    let kind = page.expect(200).header("Content-Type").unwrap_or_default();
    assert!(kind.starts_with("text/"), "{code}: {kind}");
    assert!(page.text().contains(code), "{code}: {}", page.text());
}

/// A refusal, its form and its page.
#[track_caller]
pub(super) fn refused(answer: &Answer, status: u16, code: &str) -> Value {
    page(code);
    answer.refused(status, code)
}

/// A refusal before anything was logged: how long to wait, and that a repeat is at no risk.
#[track_caller]
pub(super) fn wait(answer: &Answer, status: u16, code: &str) {
    let problem = refused(answer, status, code);
    let seconds = answer.header("Retry-After").expect("how long to wait");
    assert!(seconds.parse::<u64>().is_ok(), "whole seconds: {seconds}");
    assert!(problem["retryAfterMs"].as_i64().is_none_or(|ms| ms > 0), "{problem}");
    assert_eq!(answer.header("Kwq-Applied"), Some("no"), "{problem}");
}

fn submit(task: &Value) -> Answer {
    let job = json!({"groupId": unique("codes")});
    shared().post("/kwq/submit", &merge(&job, task))
}

fn raw(body: &str) -> Req {
    Req::new("POST", "/kwq/submit").text("application/json", body)
}

#[test]
fn bad_json() {
    refused(&shared().call(&raw("{")), 400, "bad_json");
    refused(&shared().call(&raw("{\"tag\":\"a\",\"tag\":\"b\"}")), 400, "bad_json");
    refused(&shared().call(&raw("{} {}")), 400, "bad_json");
    refused(&shared().call(&raw("")), 400, "bad_json");
}

#[test]
fn bad_request() {
    refused(&shared().get("/kwq/tasks?limit=x"), 400, "bad_request");
    refused(&shared().get("/kwq/consume/w/e/soon"), 400, "bad_request");
    let req = Req::new("GET", "/kwq/jobs").header("Kwq-Timeout-Ms", "x");
    refused(&shared().call(&req), 400, "bad_request");
    refused(&shared().get("/kwq/tasks?state=NONSENSE"), 400, "bad_request");
    refused(&shared().post("/kwq/queues/10/pause", &json!({})), 400, "bad_request");
}

#[test]
fn bad_cursor() {
    let (server, job) = (shared(), unique("codes"));
    server.add(&job, &json!([{}, {}]));
    refused(&server.get("/kwq/tasks?cursor=x"), 400, "bad_cursor");
    let path = format!("/kwq/tasks?job={job}&limit=1&fresh=true");
    let next = server.get(&path).expect(200).header("Kwq-Next").expect("more").to_owned();
    // Signed: one changed character is another cursor.
    let first = if next.starts_with('A') { "B" } else { "A" };
    let forged: String = first.chars().chain(next.chars().skip(1)).collect();
    let forged = format!("{path}&cursor={}", crate::support::encode(&forged));
    refused(&server.get(&forged), 400, "bad_cursor");
}

#[test]
fn cross_site() {
    let req = raw("{}").header("Sec-Fetch-Site", "cross-site");
    refused(&shared().call(&req), 403, "cross_site");
    let job = json!({"groupId": unique("codes")}).to_string();
    shared().call(&raw(&job).header("Sec-Fetch-Site", "same-origin")).expect(200);
}

#[test]
fn no_route() {
    refused(&shared().get("/kwq/nothing"), 404, "no_route");
    refused(&shared().get("/kwq/autoscale"), 404, "no_route");
}

#[test]
fn simulator_disabled() {
    refused(&shared().get("/kwq/simulate/1/0/1"), 404, "simulator_disabled");
    let answer = shared().post("/kwq/simulations", &json!({}));
    refused(&answer, 404, "simulator_disabled");
}

#[test]
fn job_not_found() {
    let (server, job) = (shared(), unique("nobody"));
    let path = format!("/kwq/jobs/{job}");
    refused(&server.get(&path), 404, "job_not_found");
    refused(&server.delete(&path), 404, "job_not_found");
    refused(&server.patch(&path, &json!({"weight": 2})), 404, "job_not_found");
    for verb in ["close", "pause", "resume", "cancel", "retry"] {
        let answer = server.post(&format!("{path}/{verb}"), &json!({}));
        refused(&answer, 404, "job_not_found");
    }
    for view in ["wait", "breakdown?by=state"] {
        refused(&server.get(&format!("{path}/{view}")), 404, "job_not_found");
    }
}

#[test]
fn task_not_found() {
    let (server, path) = (shared(), format!("/kwq/tasks/{}", unique("nobody")));
    for view in ["", "/explain", "/payload", "/result"] {
        refused(&server.get(&format!("{path}{view}")), 404, "task_not_found");
    }
    for verb in ["cancel", "retry"] {
        let answer = server.post(&format!("{path}/{verb}"), &json!({}));
        refused(&answer, 404, "task_not_found");
    }
}

#[test]
fn worker_not_found() {
    let (server, path) = (shared(), format!("/kwq/workers/{}", unique("nobody")));
    refused(&server.get(&path), 404, "worker_not_found");
    refused(&server.delete(&path), 404, "worker_not_found");
    let drain = server.post(&format!("{path}/drain"), &json!({}));
    refused(&drain, 404, "worker_not_found");
}

#[test]
fn operation_not_found() {
    refused(&shared().get("/kwq/operations/op-999999"), 404, "operation_not_found");
    refused(&shared().delete("/kwq/operations/op-999999"), 404, "operation_not_found");
}

#[test]
fn method_not_allowed() {
    for (method, path, allowed) in
        [("PUT", "/kwq/submit", "POST"), ("OPTIONS", "/kwq/jobs", "GET"), ("HEAD", "/kwq", "GET")]
    {
        let answer = shared().call(&Req::new(method, path));
        let allow = answer.expect(405).header("Allow").unwrap_or_default();
        assert!(allow.split(',').any(|m| m.trim() == allowed), "{method} {path}: {allow:?}");
        if method != "HEAD" {
            refused(&answer, 405, "method_not_allowed");
        }
    }
}

#[test]
fn lease_lost() {
    for verb in ["start", "complete", "fail", "release"] {
        let answer = shared().report(verb, &json!("nobody"), &json!({}));
        let problem = refused(&answer, 409, "lease_lost");
        assert_eq!(problem["outcome"], "lease_lost", "{verb}: {problem}");
    }
}

#[test]
fn cancelled() {
    let task = held(&json!({}));
    task_verb(&task, "cancel").ok();
    for verb in ["start", "complete", "fail"] {
        let answer = shared().report(verb, &task["lease"], &json!({}));
        let problem = refused(&answer, 409, "cancelled");
        assert_eq!(problem["outcome"], "cancelled", "{verb}: {problem}");
    }
}

#[test]
fn illegal_transition() {
    refused(&task_verb(&task_in("COMPLETED"), "cancel"), 409, "illegal_transition");
    refused(&task_verb(&task_in("PENDING"), "retry"), 409, "illegal_transition");
    let task = held(&json!({"id": unique("codes")}));
    let body = json!({"id": task["id"], "worker": task["worker"], "status": "SUBMITTED"});
    refused(&shared().post("/kwq/updateTask", &body), 409, "illegal_transition");
}

/// A job in one of three conditions.
fn job(condition: &str) -> String {
    let (server, job) = (shared(), unique("codes"));
    server.add(&job, &json!([{}]));
    server.job_verb(&job, condition);
    job
}

#[test]
fn job_closed() {
    let closed = job("close");
    refused(&submit(&json!({"groupId": closed})), 409, "job_closed");
    let path = format!("/kwq/jobs/{closed}/tasks");
    refused(&shared().post(&path, &json!([{}])), 409, "job_closed");
    // The array form of the seed's route refuses the item alone (4).
    let told = shared().post("/kwq/submit", &json!([{"groupId": closed}])).ok();
    assert_eq!((int(&told, "rejected"), text(&told["results"][0], "code")), (1, "job_closed"));
}

#[test]
fn job_ended() {
    let path = format!("/kwq/jobs/{}", job("cancel"));
    for verb in ["pause", "resume", "retry"] {
        let answer = shared().post(&format!("{path}/{verb}"), &json!({}));
        refused(&answer, 409, "job_ended");
    }
    refused(&shared().patch(&path, &json!({"priority": 2})), 409, "job_ended");
}

#[test]
fn not_finished() {
    refused(&shared().delete(&format!("/kwq/jobs/{}", job("close"))), 409, "not_finished");
}

#[test]
fn operation_ended() {
    let (server, task) = (shared(), task_in("ERROR"));
    let op = server.ended(&server.redrive(&json!({"filter": {"job": task["groupId"]}})));
    let path = format!("/kwq/operations/{}", text(&op, "op"));
    refused(&server.delete(&path), 409, "operation_ended");
}

#[test]
fn id_conflict() {
    let (server, job) = (shared(), unique("codes"));
    server.post("/kwq/jobs", &json!({"id": job, "dedup": "task"})).expect(201);
    let task = |payload: &str| json!({"groupId": job, "id": "a", "payload": payload});
    let reference = server.submit(&task("one"));
    let answer = server.post("/kwq/submit", &task("two"));
    let problem = refused(&answer, 409, "id_conflict");
    assert_eq!(problem["existing"], *reference, "{problem}");
    let told = server.post(&format!("/kwq/jobs/{job}/tasks"), &json!([task("two")])).ok();
    let item = &told["results"][0];
    assert_eq!((text(item, "outcome"), text(item, "code")), ("conflict", "id_conflict"));
    assert_eq!((int(&told, "rejected"), &item["existing"]), (1, &json!(reference)));
}

#[test]
fn job_conflict() {
    let (server, job) = (shared(), unique("codes"));
    server.post("/kwq/jobs", &json!({"id": job, "weight": 2})).expect(201);
    server.post("/kwq/jobs", &json!({"id": job, "weight": 2})).expect(200);
    let answer = server.post("/kwq/jobs", &json!({"id": job, "weight": 3}));
    let problem = refused(&answer, 409, "job_conflict");
    assert_eq!(problem["existing"], *job, "{problem}");
}

#[test]
fn idempotency_key_reused() {
    let key = unique("reused");
    let send = |path: &str, body: &Value| {
        shared().call(&Req::new("POST", path).json(body).header("Idempotency-Key", &key))
    };
    let task = json!({"groupId": unique("codes")});
    send("/kwq/submit", &task).expect(200);
    refused(&send("/kwq/submit", &json!({"groupId": "x"})), 409, "idempotency_key_reused");
    refused(&send("/kwq/submit?lenient=true", &task), 409, "idempotency_key_reused");
}

#[test]
fn idempotency_in_progress() {
    let (server, job, key) = (shared(), unique("codes"), unique("running"));
    let path = format!("/kwq/jobs/{job}/tasks");
    let mut first = Conn::open(server.addr()).expect("connects");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n\
         Idempotency-Key: {key}\r\nContent-Length: 6\r\n\r\n{{}}\n"
    );
    first.send(head.as_bytes()).expect("sends");
    // Were the repeat the first to arrive, it would be the call that the key belongs to.
    crate::support::pause(1_000);
    let again = || {
        let req = Req::new("POST", &path).text("application/x-ndjson", "");
        let answer = server.call(&req.header("Idempotency-Key", &key));
        (answer.status == 409).then_some(answer)
    };
    let answer = eventually("the first call runs", again);
    refused(&answer, 409, "idempotency_in_progress");
    assert_eq!(answer.header("Retry-After"), Some("1"), "S 9");
}

#[test]
fn purged() {
    let (server, job) = (shared(), job("cancel"));
    let path = format!("/kwq/jobs/{job}");
    let task = text(&server.tasks(&job, "")[0], "ref").to_owned();
    server.ended(&server.begin(&Req::new("DELETE", &path), "purgeJob"));
    refused(&server.get(&path), 410, "purged");
    refused(&server.get(&format!("/kwq/tasks/{task}")), 410, "purged");
}

#[test]
fn body_too_large() {
    let answer = shared().call(&raw(&" ".repeat(1_048_577)));
    assert_eq!(refused(&answer, 413, "body_too_large")["limit"], 1_048_576);
}

#[test]
fn line_too_large() {
    let (server, job) = (shared(), unique("codes"));
    let body = format!("{{}}\n{}\n", " ".repeat(300 * 1_024));
    let req = Req::new("POST", &format!("/kwq/jobs/{job}/tasks"));
    let answer = server.call(&req.text("application/x-ndjson", &body));
    let problem = refused(&answer, 413, "line_too_large");
    assert_eq!((int(&problem, "accepted"), int(&problem, "nextLine")), (1, 2), "{problem}");
}

#[test]
fn too_many_items() {
    let path = format!("/kwq/jobs/{}/tasks", unique("codes"));
    let items = Value::Array(vec![json!({}); 10_001]);
    let problem = refused(&shared().post(&path, &items), 413, "too_many_items");
    assert_eq!(problem["limit"], 10_000);
}

#[test]
fn payload_too_large() {
    let answer = submit(&json!({"payload": "x".repeat(262_145)}));
    assert_eq!(refused(&answer, 413, "payload_too_large")["limit"], 262_144);
}

#[test]
fn result_too_large() {
    let task = held(&json!({}));
    let more = json!({"result": "x".repeat(65_537)});
    let answer = shared().report("complete", &task["lease"], &more);
    assert_eq!(refused(&answer, 413, "result_too_large")["limit"], 65_536);
    // In a list the one report is `invalid`, the others are served (5.2).
    let items = json!({"items": [merge(&json!({"lease": task["lease"]}), &more)]});
    let told = shared().post("/kwq/complete", &items).ok();
    let item = &told["items"][0];
    assert_eq!((text(item, "outcome"), text(item, "code")), ("invalid", "result_too_large"));
    say("complete", &task, &json!({}));
}

#[test]
fn uri_too_long() {
    let path = format!("/kwq/tasks?job={}", "a".repeat(5_000));
    refused(&shared().get(&path), 414, "uri_too_long");
}

#[test]
fn headers_too_large() {
    let req = Req::new("GET", "/kwq").header("X-Long", &"a".repeat(20_000));
    refused(&shared().call(&req), 431, "headers_too_large");
}

#[test]
fn unsupported_media_type() {
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/x-ndjson"] {
        let req = Req::new("POST", "/kwq/complete").text(kind, "{}");
        refused(&shared().call(&req), 415, "unsupported_media_type");
    }
}

#[test]
fn content_encoding() {
    let req = raw("{}").header("Content-Encoding", "gzip");
    refused(&shared().call(&req), 415, "content_encoding");
}

#[test]
fn invalid_field() {
    for (field, wrong) in [
        ("priority", json!(10)),
        ("priority", json!(5.0)),
        ("priority", json!("5")),
        ("leaseMs", json!(999)),
        ("maxAttempts", json!(101)),
        ("timeoutSeconds", json!(604_801)),
        ("encoding", json!("hex")),
    ] {
        let problem = refused(&submit(&json!({field: wrong})), 422, "invalid_field");
        assert_eq!(problem["field"], field, "{problem}");
    }
}

#[test]
fn unknown_field() {
    let problem = refused(&submit(&json!({"priorty": 5})), 422, "unknown_field");
    assert_eq!(problem["field"], "priorty", "{problem}");
    assert!(text(&problem, "hint").contains("priority"), "{problem}");
    let problem = refused(&shared().get("/kwq/tasks?limits=5"), 422, "unknown_field");
    assert!(text(&problem, "hint").contains("limit"), "{problem}");
}

#[test]
fn invalid_tag() {
    let problem = refused(&submit(&json!({"tag": "a\u{1}b"})), 422, "invalid_tag");
    assert_eq!(problem["field"], "tag", "{problem}");
    refused(&submit(&json!({"tags": ["a,b"]})), 422, "invalid_tag");
}

#[test]
fn reserved_id() {
    for id in ["5-0-1", "9-12-345-6", "1-0-0"] {
        let problem = refused(&submit(&json!({"id": id})), 422, "reserved_id");
        assert_eq!(problem["field"], "id", "{problem}");
    }
    for id in ["0-0-1", "5-0", "5-0-1-2-3", "5-0-x"] {
        submit(&json!({"id": id})).expect(200);
    }
}

#[test]
fn empty_filter() {
    for verb in ["redrive", "purge"] {
        for body in [json!({"filter": {}}), json!({"filter": {"tag": []}})] {
            let answer = shared().post(&format!("/kwq/dlq/{verb}"), &body);
            refused(&answer, 422, "empty_filter");
        }
    }
}

#[test]
fn not_supported() {
    for later in [json!({"deadline_ts": 1}), json!({"ttlMs": 1}), json!({"requires": ["gpu"]})] {
        refused(&submit(&later), 422, "not_supported");
    }
    for later in [json!({"labels": {"a": "b"}}), json!({"affinityMode": "only"})] {
        let ask = merge(&json!({"worker": "w", "waitMs": 0}), &later);
        refused(&shared().post("/kwq/consume", &ask), 422, "not_supported");
    }
    for later in [json!({"maxRunning": 1}), json!({"shareGroup": "a"}), json!({"after": []})] {
        let spec = merge(&json!({"id": unique("codes")}), &later);
        refused(&shared().post("/kwq/jobs", &spec), 422, "not_supported");
    }
}

#[test]
fn every_code_has_a_page() {
    for code in [
        "internal",
        "log_unavailable",
        "not_admitted",
        "not_ready",
        "partition_unavailable",
        "tracker_behind",
    ] {
        page(code);
    }
    refused(&shared().get("/docs/errors/nothing"), 404, "no_route");
}
