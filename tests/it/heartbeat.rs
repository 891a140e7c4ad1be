//! Heartbeats (`api.md` 5.3, `semantics.md` 6.3).

use serde_json::{Value, json};

use crate::support::{int, merge, shared, sorted, text, unique};

// api.md 5.3: the documented answer: renewed, lost, cancel.
#[test]
fn a_heartbeat_says_what_is_renewed_lost_and_cancelled() {
    let (server, worker) = (shared(), unique("w"));
    let live = server.leased(&worker, &unique("live"), &json!({"leaseMs": 60_000}));
    let done = server.leased(&worker, &unique("done"), &json!({}));
    let gone = server.leased(&worker, &unique("gone"), &json!({}));
    server.complete(&done);
    server.job_verb(text(&gone, "groupId"), "cancel");
    let ask = json!({"worker": worker, "leases": [live["lease"], done["lease"], gone["lease"]]});
    let body = server.post("/kwq/heartbeat", &ask).ok();
    assert_eq!(int(&body, "renewed"), 1, "{body}");
    assert_eq!(body["lost"], json!([done["lease"]]));
    let cancel = body["cancel"].as_array().expect("cancel");
    let [told] = cancel.as_slice() else { panic!("one: {body}") };
    assert_eq!((&told["lease"], &told["ref"]), (&gone["lease"], &gone["ref"]));
    assert_eq!(text(told, "reason"), "job cancelled");
    assert_eq!(body["drain"], false);
    assert_eq!(int(&body, "leaseMs"), 60_000, "shortest lease renewed");
    assert_eq!(int(&body, "heartbeatMs"), 20_000, "a third of it");
    assert_eq!(server.state(text(&live, "ref")), "RUNNING");
}

// S 6.3: without `leases` all of the worker's leases in all partitions are renewed.
#[test]
fn a_heartbeat_without_leases_renews_all() {
    let (server, job, worker) = (shared(), unique("all"), unique("w"));
    server.add(&job, &Value::Array(vec![json!({}); 12]));
    let held = server.consume(&worker, &job, &json!({"max": 12}));
    assert_eq!(held.len(), 12);
    let other = server.leased(&unique("other"), &unique("others"), &json!({}));
    let body = server.post("/kwq/heartbeat", &json!({"worker": worker})).ok();
    assert_eq!(int(&body, "renewed"), 12, "{body}");
    assert_eq!((&body["lost"], &body["cancel"]), (&json!([]), &json!([])));
    assert_eq!(server.job(&job)["counts"]["RUNNING"], 12);
    assert_eq!(server.state(text(&other, "ref")), "ALLOCATED", "somebody else's stays");
}

// S 6.3: with `leases` exactly those are renewed.
#[test]
fn a_heartbeat_with_leases_renews_exactly_those() {
    let (server, job, worker) = (shared(), unique("some"), unique("w"));
    server.add(&job, &Value::Array(vec![json!({}); 2]));
    let held = server.consume(&worker, &job, &json!({"max": 2}));
    let [a, b] = held.as_slice() else { panic!("two") };
    let body = server.post("/kwq/heartbeat", &json!({"worker": worker, "leases": [a["lease"]]}));
    assert_eq!(int(&body.ok(), "renewed"), 1);
    assert_eq!(server.state(text(a, "ref")), "RUNNING");
    assert_eq!(server.state(text(b, "ref")), "ALLOCATED");
}

// api.md 5.3: a worker that holds nothing gets the default lease length.
#[test]
fn an_idle_heartbeat_answers_the_defaults() {
    let worker = unique("idle");
    let body = shared().post("/kwq/heartbeat", &json!({"worker": worker})).ok();
    let expected = json!({"renewed": 0, "leaseMs": 30_000, "heartbeatMs": 10_000, "lost": [],
        "cancel": [], "drain": false});
    assert_eq!(merge(&body, &expected), body);
}

// S 3: unknown tokens are in `lost`, each one.
#[test]
fn unknown_tokens_are_all_listed_as_lost() {
    let tokens: Vec<String> = (0..100).map(|i| format!("AAAAunknown{i:03}")).collect();
    let ask = json!({"worker": unique("w"), "leases": tokens});
    let body = shared().post("/kwq/heartbeat", &ask).ok();
    assert_eq!(sorted(&body["lost"]), tokens);
}

// api.md 5.3, 13: ranges of its fields.
#[test]
fn fields_of_a_heartbeat_out_of_range_are_refused() {
    for (field, wrong) in [
        ("worker", json!(["", 5, "x".repeat(129)])),
        ("leases", json!([5, [5], [""], ["x".repeat(65)], vec!["x"; 10_001]])),
    ] {
        for value in wrong.as_array().expect("a list") {
            let mut ask = json!({"worker": "range"});
            ask[field] = value.clone();
            shared().post("/kwq/heartbeat", &ask).refused_field("invalid_field", field);
        }
    }
    shared().post("/kwq/heartbeat", &json!({})).refused_field("invalid_field", "worker");
    let answer = shared().post("/kwq/heartbeat", &json!({"worker": "w", "progress": 0.5}));
    let code = text(&answer.expect(422).json(), "code").to_owned();
    assert!(["not_supported", "unknown_field"].contains(&code.as_str()), "{code}");
}
