//! Close, pause, resume, cancel, PATCH: the verbs of a job in O(1) (`semantics.md` 11.1, 11.2).

use serde_json::{Value, json};

use crate::support::{Answer, ids, int, outcome, shared, single, text, unique};

fn verb(job: &str, name: &str, body: &Value) -> Answer {
    shared().post(&format!("/kwq/jobs/{job}/{name}"), body)
}

/// A fresh job brought into one state, each with at least one task ever.
fn job_in(state: &str) -> String {
    let (server, job) = (shared(), unique("state"));
    let more = json!({"maxAttempts": 1});
    match state {
        "OPEN" => drop(server.submit(&json!({"groupId": job}))),
        "CLOSED" => {
            server.submit(&json!({"groupId": job}));
            server.job_verb(&job, "close");
        }
        "COMPLETED" => {
            server.complete(&server.leased("s", &job, &more));
            server.job_verb(&job, "close");
        }
        "FAILED" | "COMPLETED_WITH_ERRORS" => {
            let held = server.leased("s", &job, &more);
            server.report("fail", &held["lease"], &json!({})).expect(200);
            if state != "FAILED" {
                server.complete(&server.leased("s", &job, &more));
            }
            server.job_verb(&job, "close");
        }
        "CANCELLED" => {
            server.submit(&json!({"groupId": job}));
            server.job_verb(&job, "cancel");
        }
        other => panic!("no such state: {other}"),
    }
    assert_eq!(server.job(&job)["state"], state);
    job
}

const STATES: [&str; 6] =
    ["OPEN", "CLOSED", "COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"];

// S 11.1: the four ended states by their rules; a closed empty job is COMPLETED.
#[test]
fn a_job_ends_by_the_first_rule_that_fits() {
    for state in STATES {
        let job = job_in(state);
        let ended = !["OPEN", "CLOSED"].contains(&state);
        assert_eq!(shared().job(&job).get("ended_ts").is_some(), ended, "{state}");
    }
    let job = unique("empty");
    shared().post("/kwq/jobs", &json!({"id": job})).expect(201);
    assert_eq!(shared().job_verb(&job, "close")["state"], "COMPLETED");
}

// S 11.1: singly cancelled tasks are not errors.
#[test]
fn a_singly_cancelled_task_is_no_error() {
    let (server, job) = (shared(), unique("single"));
    let reference = server.submit(&json!({"groupId": job}));
    server.poke(&format!("/kwq/tasks/{reference}/cancel")).expect(200);
    assert_eq!(server.job_verb(&job, "close")["state"], "COMPLETED");
}

// S 11.1: a closed job ends when its last live task does.
#[test]
fn a_closed_job_ends_with_its_last_task() {
    let (server, job) = (shared(), unique("last"));
    let held = server.leased("l", &job, &json!({}));
    let shown = server.job_verb(&job, "close");
    assert_eq!((text(&shown, "state"), int(&shown, "live")), ("CLOSED", 1));
    server.complete(&held);
    assert_eq!(server.job(&job)["state"], "COMPLETED");
}

/// One row of the verb table: expected code per state; empty = success.
fn row(name: &str, codes: [&str; 6], act: impl Fn(&str) -> Answer) {
    for (state, code) in STATES.into_iter().zip(codes) {
        let job = job_in(state);
        let answer = act(&job);
        if code.is_empty() {
            assert_eq!(answer.status, 200, "{name} in {state}: {}", answer.text());
        } else {
            answer.refused(409, code);
            assert_eq!(shared().job(&job)["state"], state, "{name} changed nothing");
        }
    }
}

// S 11.1 verb table: submit.
#[test]
fn submit_needs_an_open_job() {
    let closed = "job_closed";
    row("submit", ["", closed, closed, closed, closed, closed], |job| {
        shared().post("/kwq/submit", &json!({"groupId": job}))
    });
    row("add", ["", closed, closed, closed, closed, closed], |job| {
        shared().post(&format!("/kwq/jobs/{job}/tasks"), &json!([{}]))
    });
}

// S 11.1 verb table: close is always 200.
#[test]
fn close_is_never_refused() {
    row("close", [""; 6], |job| verb(job, "close", &json!({})));
}

// S 11.1 verb table: pause, resume.
#[test]
fn pause_and_resume_need_a_job_that_has_not_ended() {
    let ended = "job_ended";
    for name in ["pause", "resume"] {
        row(name, ["", "", ended, ended, ended, ended], |job| verb(job, name, &json!({})));
    }
}

// S 11.1 verb table: cancel; again on a cancelled job is no change.
#[test]
fn cancel_needs_a_live_or_cancelled_job() {
    let ended = "job_ended";
    row("cancel", ["", "", ended, ended, ended, ""], |job| verb(job, "cancel", &json!({})));
}

// S 11.1 verb table: PATCH priority, weight.
#[test]
fn patch_needs_a_job_that_has_not_ended() {
    let ended = "job_ended";
    for change in [json!({"priority": 7}), json!({"weight": 9})] {
        row("patch", ["", "", ended, ended, ended, ended], |job| {
            shared().patch(&format!("/kwq/jobs/{job}"), &change)
        });
    }
}

// S 11.1 verb table: DELETE (purge) of a job that has not ended → 409 not_finished.
#[test]
fn a_live_job_is_not_purged() {
    for state in ["OPEN", "CLOSED"] {
        let job = job_in(state);
        let answer = shared().delete(&format!("/kwq/jobs/{job}"));
        // Purge is an operation and comes later; until then the method is not there.
        assert!([405, 409].contains(&answer.status), "{}", answer.text());
        assert_eq!(shared().job(&job)["state"], state);
    }
}

// api.md 1: verbs whose body is optional may come without body and type.
#[test]
fn job_verbs_need_no_body() {
    let job = job_in("OPEN");
    for name in ["pause", "resume", "close", "cancel"] {
        shared().poke(&format!("/kwq/jobs/{job}/{name}")).expect(200);
    }
}

// S 11.2, P12: after the 200 of pause nothing is handed out; running ones finish; submits go on.
#[test]
fn a_paused_job_hands_out_nothing() {
    let (server, job) = (shared(), unique("pause"));
    server.add(&job, &json!([{}, {}, {}]));
    let held = server.take("p", &job);
    let shown = server.job_verb(&job, "pause");
    assert_eq!((&shown["paused"], text(&shown, "state")), (&json!(true), "OPEN"));
    assert_eq!(shown["partitions"]["applied"], shown["partitions"]["total"]);
    assert!(server.consume("p", &job, &json!({"max": 10})).is_empty());
    server.complete(&held);
    server.submit(&json!({"groupId": job}));
    assert_eq!(server.job_verb(&job, "pause")["paused"], true, "repeating is a no-op");
    assert!(server.consume("p", &job, &json!({"max": 10})).is_empty());
    assert_eq!(server.job_verb(&job, "resume")["paused"], false);
    assert_eq!(server.consume("p", &job, &json!({"max": 10})).len(), 3);
}

// S 11.2 cancel stop: every live task CANCELLED at once, tokens void, the job closed.
#[test]
fn cancel_stop_ends_every_live_task() {
    let (server, job, worker) = (shared(), unique("stop"), unique("w"));
    server.add(&job, &json!([{"id": "a"}, {}, {}, {"delayMs": 3_600_000}]));
    let done = server.take(&worker, &job);
    server.complete(&done);
    let held = server.take(&worker, &job);
    let shown = verb(&job, "cancel", &json!({"mode": "stop", "reason": "wrong curve"})).ok();
    assert_eq!((text(&shown, "state"), text(&shown, "cancelReason")), ("CANCELLED", "wrong curve"));
    assert_eq!((int(&shown["counts"], "CANCELLED"), int(&shown["counts"], "COMPLETED")), (3, 1));
    assert_eq!(int(&shown, "live"), 0);
    assert!(shown.get("ended_ts").is_some());
    assert_eq!(outcome(&server.report("complete", &held["lease"], &json!({}))), "cancelled");
    let task = server.task(text(&held, "ref"));
    assert_eq!((text(&task, "state"), text(&task, "status")), ("CANCELLED", "ERROR"));
    assert!(int(&task, "cancelled_ts") >= int(&task, "allocated_ts"));
    assert_eq!(task["attempts"][0]["outcome"], "cancelled");
    assert_eq!(server.state(text(&done, "ref")), "COMPLETED");
    assert!(server.consume(&worker, &job, &json!({"max": 9})).is_empty());
}

// S 11.2 drop-queued: queued tasks go, leased ones may complete or end; CLOSED until then.
#[test]
fn cancel_drop_queued_lets_leased_tasks_finish() {
    let (server, job) = (shared(), unique("drop"));
    let free = json!({"backoff": {"baseMs": 0, "capMs": 0}});
    server.add(&job, &Value::Array(vec![free; 6]));
    let held = server.consume("d", &job, &json!({"max": 4}));
    let [a, b, c, d] = held.as_slice() else { panic!("four") };
    let shown = verb(&job, "cancel", &json!({"mode": "drop-queued"})).ok();
    assert_eq!((text(&shown, "state"), int(&shown["counts"], "CANCELLED")), ("CLOSED", 2));
    server.complete(a);
    let answer = server.report("fail", &b["lease"], &json!({}));
    assert_eq!(outcome(&answer), "cancelled", "T20: it would be queued");
    assert_eq!(server.state(text(b, "ref")), "CANCELLED");
    let body = server.report("release", &c["lease"], &json!({})).ok();
    assert_eq!((text(&body, "outcome"), text(&body, "state")), ("ok", "CANCELLED"));
    let answer = server.report("fail", &d["lease"], &json!({"retryable": false}));
    assert_eq!(outcome(&answer), "dead", "T12 stays");
    let shown = server.job(&job);
    assert_eq!(text(&shown, "state"), "CANCELLED");
    assert_eq!(int(&shown["counts"], "CANCELLED"), 4);
    assert_eq!((int(&shown["counts"], "COMPLETED"), int(&shown["counts"], "ERROR")), (1, 1));
}

// api.md 6: mode takes two values, reason ≤ 256 B.
#[test]
fn cancel_refuses_wrong_bodies() {
    let job = job_in("OPEN");
    verb(&job, "cancel", &json!({"mode": "kill"})).refused_field("invalid_field", "mode");
    let long = json!({"reason": "x".repeat(257)});
    verb(&job, "cancel", &long).refused_field("invalid_field", "reason");
    verb(&job, "cancel", &json!({"moode": "stop"})).refused_field("unknown_field", "moode");
    assert_eq!(shared().job(&job)["state"], "OPEN");
}

// S 11.2 re-prioritise: queued tasks are served at p at once, merged in submit order.
#[test]
fn a_new_priority_reorders_the_queue() {
    let (server, a, b) = (single(), unique("a"), unique("b"));
    let refs = server.add(
        &a,
        &json!([{"id": "a2", "priority": 2}, {"id": "a9", "priority": 9},
        {"id": "a4", "priority": 4}]),
    );
    server.add(&b, &json!([{"id": "b5", "priority": 5}]));
    let shown = server.patch(&format!("/kwq/jobs/{a}"), &json!({"priority": 4})).ok();
    assert_eq!(int(&shown, "priority"), 4);
    let task = server.task(refs.first().expect("three"));
    assert_eq!(int(&task, "priority"), 4, "the current priority");
    assert!(text(&task, "ref").starts_with("2-"), "the reference keeps the first");
    server.add(&a, &json!([{"id": "own", "priority": 5}, {"id": "later"}]));
    let got = server.consume("r", &a, &json!({"jobs": [a, b], "max": 10}));
    assert_eq!(ids(&got), ["b5", "own", "a2", "a9", "a4", "later"]);
    server.patch(&format!("/kwq/jobs/{a}"), &json!({"priority": 9})).ok();
}

// S 11.2: leased tasks keep their priority until they come back.
#[test]
fn a_leased_task_takes_the_new_priority_when_it_comes_back() {
    let (server, job) = (single(), unique("leased"));
    let held = server.leased("k", &job, &json!({"priority": 3}));
    server.patch(&format!("/kwq/jobs/{job}"), &json!({"priority": 7})).ok();
    assert_eq!(int(&server.task(text(&held, "ref")), "priority"), 3);
    server.report("release", &held["lease"], &json!({})).expect(200);
    assert_eq!(int(&server.take("k", &job), "priority"), 7);
}

// api.md 6 PATCH: each field, and what it refuses.
#[test]
fn patch_changes_each_field() {
    let (server, job) = (shared(), unique("patch"));
    server.post("/kwq/jobs", &json!({"id": job})).expect(201);
    let path = format!("/kwq/jobs/{job}");
    let change = json!({"name": "N", "weight": 7, "tag": "desk:fx", "retentionMs": 60_000});
    let shown = server.patch(&path, &change).ok();
    assert_eq!((text(&shown, "name"), int(&shown, "weight")), ("N", 7));
    assert_eq!((&shown["tags"], int(&shown, "retentionMs")), (&json!(["desk:fx"]), 60_000));
    assert_eq!(server.job(&job)["name"], "N");
    for (field, wrong) in [
        ("priority", json!(10)),
        ("weight", json!(0)),
        ("name", json!("")),
        ("retentionMs", json!(-1)),
    ] {
        let mut change = json!({});
        change[field] = wrong;
        server.patch(&path, &change).refused_field("invalid_field", field);
    }
    // Fixed at creation, or not a member of PATCH at all.
    for change in [json!({"dedup": "task"}), json!({"id": "other"}), json!({"colour": 1})] {
        assert_eq!(server.patch(&path, &change).status, 422);
    }
}
