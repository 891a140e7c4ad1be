//! The contract suite: one named test for every row of the tables of `semantics.md` and `api.md`,
//! so that a failing name is the line that does not hold.
//!
//! Out of reach of a black box on one embedded server, so not here: everything that needs an inbox
//! or several instances (the Kafka sides of T4 and T5, 202 of a control verb, `accepted` and
//! `unavailable` outcomes), and what is marked later.

mod codes;
mod codes_of_a_server;
mod headers;
mod job_verbs;
mod limits;
mod live;
mod tag_grammar;
mod task_verbs;
mod transitions;
mod verdicts;

use serde_json::{Value, json};

use crate::support::{eventually, int, merge, outcome, shared, text, unique};

/// A back-off that brings a task back at once.
fn at_once() -> Value {
    json!({"backoff": {"baseMs": 0, "capMs": 0, "jitter": "none"}})
}

/// A back-off after which no test waits.
fn much_later() -> Value {
    json!({"backoff": {"baseMs": 3_600_000, "capMs": 3_600_000, "jitter": "none"}})
}

/// A task of a fresh job, handed out to a fresh worker.
#[track_caller]
fn held(more: &Value) -> Value {
    shared().leased(&unique("worker"), &unique("contract"), more)
}

/// As [`held`], started too when `state` says so.
#[track_caller]
fn held_in(state: &str, more: &Value) -> Value {
    let task = held(more);
    if state == "RUNNING" {
        assert_eq!(say("start", &task, &json!({}))["outcome"], "ok");
    }
    assert_eq!(now(&task)["state"], state);
    task
}

/// A report that must answer 200.
#[track_caller]
fn say(verb: &str, task: &Value, more: &Value) -> Value {
    shared().report(verb, &task["lease"], more).ok()
}

/// The task as it is now.
#[track_caller]
fn now(task: &Value) -> Value {
    shared().task(text(task, "ref"))
}

/// Waits until the task is in this state, shows it.
#[track_caller]
fn becomes(task: &Value, state: &str) -> Value {
    eventually(state, || Some(now(task)).filter(|shown| shown["state"] == state))
}

/// The outcome of the latest attempt.
#[track_caller]
fn last_outcome(shown: &Value) -> &str {
    let attempts = shown["attempts"].as_array().expect("attempts");
    text(attempts.last().expect("one was handed out"), "outcome")
}

/// The job of a task.
#[track_caller]
fn job_of(task: &Value) -> Value {
    shared().job(text(task, "groupId"))
}

/// S 13.2 conservation, and that exactly `expected` differ from zero.
#[track_caller]
fn counts(job: &Value, expected: &[(&str, i64)]) {
    let all = job["counts"].as_object().expect("counts");
    assert_eq!(all.len(), 9, "nine states: {job}");
    for (state, count) in all {
        let wanted = expected.iter().find(|(name, _)| name == state).map_or(0, |(_, n)| *n);
        assert_eq!(count.as_i64(), Some(wanted), "{state} in {job}");
    }
    let sum: i64 = expected.iter().map(|(_, n)| n).sum();
    assert_eq!(int(job, "submitted"), sum + int(job, "purged"), "P14 in {job}");
}

/// What one token verb says to the token of a task as handed out.
#[track_caller]
fn verdict(verb: &str, task: &Value) -> String {
    if verb != "heartbeat" {
        return outcome(&shared().report(verb, &task["lease"], &json!({})));
    }
    let ask = json!({"worker": task["worker"], "leases": [task["lease"]]});
    let body = shared().post("/kwq/heartbeat", &ask).ok();
    if body["lost"].as_array().expect("lost").contains(&task["lease"]) {
        assert_eq!(int(&body, "renewed"), 0, "{body}");
        return "lost".to_owned();
    }
    let cancel = body["cancel"].as_array().expect("cancel");
    if cancel.iter().any(|c| c["lease"] == task["lease"]) {
        assert_eq!(int(&body, "renewed"), 0, "{body}");
        return "cancel".to_owned();
    }
    assert_eq!(int(&body, "renewed"), 1, "neither lost, cancel nor renewed: {body}");
    "renewed".to_owned()
}

/// A verb on a task, by its reference.
#[track_caller]
fn task_verb(task: &Value, verb: &str) -> crate::support::Answer {
    shared().post(&format!("/kwq/tasks/{}/{verb}", text(task, "ref")), &json!({}))
}

/// A task of a fresh job brought into one state.
#[track_caller]
fn task_in(state: &str) -> Value {
    let queued = |more: &Value| {
        let job = json!({"groupId": unique("contract")});
        let reference = shared().submit(&merge(&job, more));
        shared().task(&reference)
    };
    let task = match state {
        "PENDING" => queued(&json!({})),
        "DELAYED" => queued(&json!({"delayMs": 3_600_000})),
        "CANCELLED" => {
            let task = queued(&json!({}));
            task_verb(&task, "cancel").expect(200);
            task
        }
        "ALLOCATED" | "RUNNING" => held_in(state, &json!({})),
        "COMPLETED" => {
            let task = held(&json!({}));
            shared().complete(&task);
            task
        }
        "ERROR" => {
            let task = held(&json!({}));
            assert_eq!(say("fail", &task, &json!({"retryable": false}))["outcome"], "dead");
            task
        }
        other => panic!("no way to {other}"),
    };
    assert_eq!(now(&task)["state"], state);
    task
}
