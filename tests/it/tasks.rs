//! One task: found by reference or id, its attempts and stamps, cancel and retry
//! (`api.md` 7.2, `semantics.md` 2, 3, 4).

use serde_json::{Value, json};

use crate::support::{Answer, encode, int, outcome, shared, text, unique};

fn verb(reference: &str, name: &str) -> Answer {
    shared().post(&format!("/kwq/tasks/{reference}/{name}"), &json!({}))
}

/// The reference of a fresh task brought into one state.
fn task_in(state: &str) -> String {
    let (server, job) = (shared(), unique("task"));
    if ["PENDING", "CANCELLED"].contains(&state) {
        let reference = server.submit(&json!({"groupId": job}));
        if state == "CANCELLED" {
            verb(&reference, "cancel").expect(200);
        }
        return reference;
    }
    if state == "DELAYED" {
        return server.submit(&json!({"groupId": job, "delayMs": 3_600_000}));
    }
    let held = server.leased("t", &job, &json!({"maxAttempts": 1}));
    match state {
        "RUNNING" => drop(server.report("start", &held["lease"], &json!({}))),
        "COMPLETED" => drop(server.complete(&held)),
        "ERROR" => drop(server.report("fail", &held["lease"], &json!({}))),
        other => assert_eq!(other, "ALLOCATED"),
    }
    let reference = text(&held, "ref").to_owned();
    assert_eq!(server.state(&reference), state);
    reference
}

// S 3 "Task verbs by id": cancel.
#[test]
fn cancel_of_a_task_follows_its_state() {
    for state in ["DELAYED", "PENDING", "ALLOCATED", "RUNNING", "CANCELLED"] {
        let reference = task_in(state);
        let shown = verb(&reference, "cancel").ok();
        assert_eq!((text(&shown, "state"), text(&shown, "status")), ("CANCELLED", "ERROR"));
        assert!(int(&shown, "cancelled_ts") >= int(&shown, "submitted_ts"));
        assert_eq!(shared().state(&reference), "CANCELLED", "{state}");
    }
    for state in ["COMPLETED", "ERROR"] {
        let reference = task_in(state);
        verb(&reference, "cancel").refused(409, "illegal_transition");
        assert_eq!(shared().state(&reference), state);
    }
}

// S 3 "Task verbs by id": retry.
#[test]
fn retry_of_a_task_needs_a_dead_one() {
    for state in ["DELAYED", "PENDING", "ALLOCATED", "RUNNING", "COMPLETED", "CANCELLED"] {
        let reference = task_in(state);
        verb(&reference, "retry").refused(409, "illegal_transition");
        assert_eq!(shared().state(&reference), state);
    }
}

// T22: same id and reference, budgets reset, redriven + 1, attempts kept.
#[test]
fn retry_brings_a_dead_task_back() {
    let server = shared();
    let reference = task_in("ERROR");
    let before = server.task(&reference);
    let shown = verb(&reference, "retry").ok();
    assert_eq!((text(&shown, "state"), int(&shown, "redriven")), ("PENDING", 1));
    assert_eq!((int(&shown, "errors"), int(&shown, "crashes")), (0, 0));
    assert_eq!((&shown["ref"], &shown["submitted_ts"]), (&before["ref"], &before["submitted_ts"]));
    let job = text(&shown, "groupId");
    let again = server.take("again", job);
    assert_eq!((text(&again, "ref"), int(&again, "attempt")), (reference.as_str(), 2));
    server.complete(&again);
    let shown = server.task(&reference);
    let seen: Vec<&str> =
        shown["attempts"].as_array().expect("kept").iter().map(|a| text(a, "outcome")).collect();
    assert_eq!(seen, ["failed", "completed"]);
    assert_eq!(int(&server.job(job), "redriven"), 1);
}

// T22, api.md 7.2: retry may set a priority; an ended job is CLOSED again until done.
#[test]
fn retry_may_set_a_priority_and_reopens_its_job() {
    let server = shared();
    let reference = task_in("ERROR");
    let job = text(&server.task(&reference), "groupId").to_owned();
    assert_eq!(server.job_verb(&job, "close")["state"], "FAILED");
    let body = json!({"set": {"priority": 8}});
    let shown = server.post(&format!("/kwq/tasks/{reference}/retry"), &body).ok();
    assert_eq!((int(&shown, "priority"), text(&shown, "ref")), (8, reference.as_str()));
    assert_eq!(server.job(&job)["state"], "CLOSED");
    server.complete(&server.take("again", &job));
    assert_eq!(server.job(&job)["state"], "COMPLETED");
    let wrong = json!({"set": {"priority": 10}});
    server.post(&format!("/kwq/tasks/{reference}/retry"), &wrong).expect(422);
}

// S 4: both the client id and the reference work wherever a route says {task}.
#[test]
fn a_task_is_found_by_id_and_by_reference() {
    let server = shared();
    for name in ["plain", "with/slash and space", "ü%?#&+", "日本"] {
        let id = unique(name);
        let reference = server.submit(&json!({"id": id, "groupId": unique("find")}));
        let by_id = server.task(&id);
        assert_eq!((text(&by_id, "ref"), text(&by_id, "id")), (reference.as_str(), id.as_str()));
        assert_eq!(server.task(&reference), by_id);
        let path = format!("/kwq/tasks/{}/payload", encode(&id));
        server.get(&path).expect(200);
        server.post(&format!("/kwq/tasks/{}/cancel", encode(&id)), &json!({})).expect(200);
        assert_eq!(server.state(&reference), "CANCELLED");
    }
}

// S 4: an id means the newest admitted task of it; ?job= narrows.
#[test]
fn an_id_used_twice_means_the_newest() {
    let (server, id, a, b) = (shared(), unique("twice"), unique("a"), unique("b"));
    let first = server.submit(&json!({"id": id, "groupId": a}));
    let second = server.submit(&json!({"id": id, "groupId": b}));
    assert_eq!(server.task(&id)["ref"], *second);
    let narrowed = server.get(&format!("/kwq/tasks/{id}?job={a}")).ok();
    assert_eq!(narrowed["ref"], *first);
    server.get(&format!("/kwq/tasks/{id}?job={}", unique("c"))).refused(404, "task_not_found");
    let third = server.submit(&json!({"id": id, "groupId": a}));
    let narrowed = server.get(&format!("/kwq/tasks/{id}?job={a}")).ok();
    assert_eq!(narrowed["ref"], *third, "dedup batch: ids are labels");
}

// api.md 1.2: unknown tasks answer 404 on every route of theirs.
#[test]
fn an_unknown_task_is_404_everywhere() {
    let server = shared();
    for name in ["nobody", "5-0-99999999", "5-7-1", "9-1-0-5", "5-0-18446744073709551616"] {
        server.get(&format!("/kwq/tasks/{name}")).refused(404, "task_not_found");
        server.get(&format!("/kwq/tasks/{name}/payload")).refused(404, "task_not_found");
        server.get(&format!("/kwq/tasks/{name}/result")).refused(404, "task_not_found");
        for act in ["cancel", "retry"] {
            verb(name, act).refused(404, "task_not_found");
        }
    }
}

// S 2: the reference's priority part must be the task's: another one is another reference.
#[test]
fn a_reference_with_another_priority_is_unknown() {
    let server = shared();
    let reference = server.submit(&json!({"groupId": unique("p"), "priority": 5}));
    let rest = reference.strip_prefix("5-").expect("priority 5");
    server.get(&format!("/kwq/tasks/6-{rest}")).refused(404, "task_not_found");
}

// S 2: per attempt submitted ≤ allocated ≤ running ≤ ended; the history of every attempt.
#[test]
fn the_stamps_of_every_attempt_are_ordered() {
    let (server, job) = (shared(), unique("stamps"));
    let reference = server.submit(&json!({"groupId": job}));
    let held = server.take("one", &job);
    server.report("start", &held["lease"], &json!({})).expect(200);
    server.report("fail", &held["lease"], &json!({"class": "io", "retryAfterMs": 0})).expect(200);
    let held = server.consume("two", &job, &json!({"endpoint": "http://h", "waitMs": 30_000}));
    server.complete(held.first().expect("one"));
    let shown = server.task(&reference);
    let attempts = shown["attempts"].as_array().expect("attempts");
    let submitted = int(&shown, "submitted_ts");
    for attempt in attempts {
        let stamps = ["allocated_ts", "running_ts", "ended_ts"].map(|n| int(attempt, n));
        assert!(stamps.is_sorted() && submitted <= stamps[0], "{attempt}");
    }
    let [first, second] = attempts.as_slice() else { panic!("two: {shown}") };
    assert_eq!((text(first, "worker"), text(first, "class")), ("one", "io"));
    assert_eq!((text(second, "worker"), text(second, "endpoint")), ("two", "http://h"));
    assert_eq!(second["running_ts"], second["allocated_ts"], "never started: S 2");
    assert_eq!(shown["running_ts"], shown["allocated_ts"], "api.md 15");
    assert_eq!((text(&shown, "worker"), text(&shown, "workerEndpoint")), ("two", "http://h"));
    assert_eq!((int(&shown, "attempt"), int(&shown, "runCount")), (2, 2));
    assert_eq!(shown["completed_ts"], second["ended_ts"]);
}

// api.md 2.2: the attempt that is leased now says so.
#[test]
fn the_open_attempt_is_leased() {
    let reference = task_in("RUNNING");
    let shown = shared().task(&reference);
    assert_eq!(shown["attempts"][0]["outcome"], "leased");
    assert!(shown["attempts"][0].get("ended_ts").is_none(), "{shown}");
    assert!(shown.get("lease").is_none(), "tokens are in hand-outs only: {shown}");
}

// api.md 2.2: attempts are the last 100.
#[test]
fn the_history_keeps_the_last_hundred_attempts() {
    let (server, job) = (shared(), unique("hundred"));
    let reference = server.submit(&json!({"groupId": job}));
    let mut done: Vec<Value> = Vec::new();
    for _ in 0..105 {
        let ask = json!({"done": done, "waitMs": 30_000});
        let held = server.consume("h", &job, &ask);
        done = vec![json!({"type": "release", "lease": held.first().expect("one")["lease"]})];
    }
    let shown = server.task(&reference);
    let attempts = shown["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 100);
    assert_eq!(attempts.last().map(|a| int(a, "attempt")), Some(105));
    assert_eq!(attempts.first().map(|a| int(a, "attempt")), Some(6));
}

// S 3, P2: a cancelled task is never handed out, its worker told.
#[test]
fn a_cancelled_task_is_never_handed_out() {
    let (server, job) = (shared(), unique("never"));
    let refs = server.add(&job, &json!([{}, {}]));
    let first = refs.first().expect("two");
    let path = format!("/kwq/tasks/{first}/cancel");
    server.post(&path, &json!({"reason": "typo"})).expect(200);
    let got = server.consume("n", &job, &json!({"max": 9}));
    assert_eq!(got.len(), 1);
    assert_ne!(got.first().map(|t| text(t, "ref")), Some(first.as_str()));
    assert_eq!(outcome(&server.report("complete", &got[0]["lease"], &json!({}))), "ok");
}

// api.md 1: unknown query parameters of a task are refused.
#[test]
fn a_task_refuses_wrong_queries() {
    let reference = task_in("PENDING");
    let path = format!("/kwq/tasks/{reference}");
    shared().get(&format!("{path}?payloads=true")).refused(422, "unknown_field");
    shared().get(&format!("{path}?payload=maybe")).refused(400, "bad_request");
}
