//! `semantics.md` 11.1, the job verbs: a test for every cell. 202 for a verb in force in some
//! partitions only needs several instances and is out of reach.

use serde_json::{Value, json};

use crate::support::{Answer, Req, int, shared, text, unique};

/// A job in one state. The live ones have a queued task; the ended ones what their rule asks for.
#[track_caller]
fn job_in(state: &str) -> String {
    let (server, job) = (shared(), unique("verbs"));
    let end = |how: &[&str]| {
        server.add(&job, &Value::Array(how.iter().map(|_| json!({})).collect()));
        for verb in how {
            let task = server.take("w", &job);
            server.report(verb, &task["lease"], &json!({})).expect(200);
        }
        server.job_verb(&job, "close");
    };
    server.post("/kwq/jobs", &json!({"id": job, "defaults": {"maxAttempts": 1}})).expect(201);
    match state {
        "OPEN" => drop(server.add(&job, &json!([{}]))),
        "CLOSED" => {
            server.add(&job, &json!([{}]));
            server.job_verb(&job, "close");
        }
        "COMPLETED" => end(&["complete"]),
        "COMPLETED_WITH_ERRORS" => end(&["complete", "fail"]),
        "FAILED" => end(&["fail"]),
        "CANCELLED" => {
            server.add(&job, &json!([{}]));
            server.job_verb(&job, "cancel");
        }
        other => panic!("no way to {other}"),
    }
    assert_eq!(server.job(&job)["state"], state);
    job
}

fn send(job: &str, verb: &str) -> Answer {
    let (server, path) = (shared(), format!("/kwq/jobs/{job}"));
    match verb {
        "submit" => server.post("/kwq/submit", &json!({"groupId": job})),
        "submit to the job" => server.post(&format!("{path}/tasks"), &json!([{}])),
        "priority" => server.patch(&path, &json!({"priority": 9})),
        "weight" => server.patch(&path, &json!({"weight": 9})),
        "delete" => server.delete(&path),
        other => server.post(&format!("{path}/{other}"), &json!({})),
    }
}

/// What of a job must not move when a verb is refused or changes nothing.
fn rest(job: &str) -> Value {
    let shown = shared().job(job);
    let names = ["state", "paused", "priority", "weight", "counts", "submitted", "ended_ts"];
    names.iter().map(|name| (name.to_string(), shown[*name].clone())).collect()
}

#[track_caller]
fn refused(state: &str, verb: &str, code: &str) {
    let job = job_in(state);
    let before = rest(&job);
    send(&job, verb).refused(409, code);
    assert_eq!(rest(&job), before);
}

/// A verb that is accepted and leads to this state.
#[track_caller]
fn accepted(state: &str, verb: &str, after: &str) -> String {
    let job = job_in(state);
    let answer = send(&job, verb).ok();
    if !verb.starts_with("submit") {
        assert_eq!((&answer["id"], &answer["state"]), (&json!(job), &json!(after)), "{answer}");
    }
    assert_eq!(shared().job(&job)["state"], after);
    job
}

#[track_caller]
fn no_change(state: &str, verb: &str) {
    let job = job_in(state);
    let before = rest(&job);
    send(&job, verb).ok();
    assert_eq!(rest(&job), before);
}

/// An operation, which ends with so many tasks done and leaves the job so.
#[track_caller]
fn operation(state: &str, verb: &str, done: i64, after: &str) {
    let (server, job) = (shared(), job_in(state));
    let (req, kind) = match verb {
        "delete" => (Req::new("DELETE", &format!("/kwq/jobs/{job}")), "purgeJob"),
        _ => (Req::new("POST", &format!("/kwq/jobs/{job}/retry")).json(&json!({})), "redrive"),
    };
    let op = server.ended(&server.begin(&req, kind));
    assert_eq!((text(&op, "state"), int(&op, "done")), ("DONE", done), "{op}");
    if after == "purged" {
        server.get(&format!("/kwq/jobs/{job}")).refused(410, "purged");
    } else {
        assert_eq!(server.job(&job)["state"], after);
    }
}

macro_rules! cells {
    ($($name:ident: $cell:ident($($word:expr),*);)*) => {
        $(#[test]
        fn $name() {
            $cell($($word),*);
        })*
    };
}

cells! {
    submit_to_closed: refused("CLOSED", "submit", "job_closed");
    submit_to_completed: refused("COMPLETED", "submit", "job_closed");
    submit_to_completed_with_errors: refused("COMPLETED_WITH_ERRORS", "submit", "job_closed");
    submit_to_failed: refused("FAILED", "submit", "job_closed");
    submit_to_cancelled: refused("CANCELLED", "submit", "job_closed");

    add_to_closed: refused("CLOSED", "submit to the job", "job_closed");
    add_to_completed: refused("COMPLETED", "submit to the job", "job_closed");
    add_to_completed_with_errors:
        refused("COMPLETED_WITH_ERRORS", "submit to the job", "job_closed");
    add_to_failed: refused("FAILED", "submit to the job", "job_closed");
    add_to_cancelled: refused("CANCELLED", "submit to the job", "job_closed");

    close_of_closed: no_change("CLOSED", "close");
    close_of_completed: no_change("COMPLETED", "close");
    close_of_completed_with_errors: no_change("COMPLETED_WITH_ERRORS", "close");
    close_of_failed: no_change("FAILED", "close");
    close_of_cancelled: no_change("CANCELLED", "close");

    pause_of_completed: refused("COMPLETED", "pause", "job_ended");
    pause_of_completed_with_errors: refused("COMPLETED_WITH_ERRORS", "pause", "job_ended");
    pause_of_failed: refused("FAILED", "pause", "job_ended");
    pause_of_cancelled: refused("CANCELLED", "pause", "job_ended");

    resume_of_completed: refused("COMPLETED", "resume", "job_ended");
    resume_of_completed_with_errors: refused("COMPLETED_WITH_ERRORS", "resume", "job_ended");
    resume_of_failed: refused("FAILED", "resume", "job_ended");
    resume_of_cancelled: refused("CANCELLED", "resume", "job_ended");

    cancel_of_completed: refused("COMPLETED", "cancel", "job_ended");
    cancel_of_completed_with_errors: refused("COMPLETED_WITH_ERRORS", "cancel", "job_ended");
    cancel_of_failed: refused("FAILED", "cancel", "job_ended");
    cancel_of_cancelled: no_change("CANCELLED", "cancel");

    priority_of_completed: refused("COMPLETED", "priority", "job_ended");
    priority_of_completed_with_errors:
        refused("COMPLETED_WITH_ERRORS", "priority", "job_ended");
    priority_of_failed: refused("FAILED", "priority", "job_ended");
    priority_of_cancelled: refused("CANCELLED", "priority", "job_ended");

    weight_of_completed: refused("COMPLETED", "weight", "job_ended");
    weight_of_completed_with_errors: refused("COMPLETED_WITH_ERRORS", "weight", "job_ended");
    weight_of_failed: refused("FAILED", "weight", "job_ended");
    weight_of_cancelled: refused("CANCELLED", "weight", "job_ended");

    retry_of_open: operation("OPEN", "retry", 0, "OPEN");
    retry_of_closed: operation("CLOSED", "retry", 0, "CLOSED");
    retry_of_completed: operation("COMPLETED", "retry", 0, "COMPLETED");
    retry_of_completed_with_errors: operation("COMPLETED_WITH_ERRORS", "retry", 1, "CLOSED");
    retry_of_failed: operation("FAILED", "retry", 1, "CLOSED");
    retry_of_cancelled: refused("CANCELLED", "retry", "job_ended");

    delete_of_open: refused("OPEN", "delete", "not_finished");
    delete_of_closed: refused("CLOSED", "delete", "not_finished");
    delete_of_completed: operation("COMPLETED", "delete", 1, "purged");
    delete_of_completed_with_errors: operation("COMPLETED_WITH_ERRORS", "delete", 2, "purged");
    delete_of_failed: operation("FAILED", "delete", 1, "purged");
    delete_of_cancelled: operation("CANCELLED", "delete", 1, "purged");
}

#[test]
fn submit_to_open() {
    let job = accepted("OPEN", "submit", "OPEN");
    assert_eq!(int(&shared().job(&job), "submitted"), 2);
}

#[test]
fn add_to_open() {
    let job = accepted("OPEN", "submit to the job", "OPEN");
    assert_eq!(int(&shared().job(&job), "submitted"), 2);
}

#[test]
fn close_of_open() {
    let job = accepted("OPEN", "close", "CLOSED");
    shared().complete(&shared().take("w", &job));
    assert_eq!(shared().job(&job)["state"], "COMPLETED", "closed and nothing live");
}

#[test]
fn close_of_open_without_live_tasks() {
    let job = unique("verbs");
    shared().post("/kwq/jobs", &json!({"id": job})).expect(201);
    assert_eq!(send(&job, "close").ok()["state"], "COMPLETED", "also a job without tasks");
}

/// Paused, then resumed: hand-outs stop and go on, and repeating either is a no-op.
#[track_caller]
fn paused_and_resumed(state: &str) {
    let job = accepted(state, "pause", state);
    assert_eq!(send(&job, "pause").ok()["paused"], true);
    assert!(shared().consume("w", &job, &json!({})).is_empty(), "P12");
    assert_eq!(send(&job, "resume").ok()["paused"], false);
    let again = send(&job, "resume").ok();
    assert_eq!((&again["paused"], text(&again, "state")), (&json!(false), state));
    assert_eq!(shared().consume("w", &job, &json!({})).len(), 1);
}

#[test]
fn pause_and_resume_of_open() {
    paused_and_resumed("OPEN");
}

#[test]
fn pause_and_resume_of_closed() {
    paused_and_resumed("CLOSED");
}

#[test]
fn cancel_of_open() {
    let job = accepted("OPEN", "cancel", "CANCELLED");
    assert_eq!(shared().job(&job)["counts"]["CANCELLED"], 1);
}

#[test]
fn cancel_of_closed() {
    let job = accepted("CLOSED", "cancel", "CANCELLED");
    assert_eq!(shared().job(&job)["counts"]["CANCELLED"], 1);
}

/// All queued tasks are served at the new priority; references keep the first.
#[track_caller]
fn priority_moves(state: &str) {
    let job = accepted(state, "priority", state);
    assert_eq!(shared().job(&job)["priority"], 9);
    let task = shared().take("w", &job);
    assert_eq!(int(&task, "priority"), 9, "{task}");
    assert!(text(&task, "ref").starts_with("5-"), "{task}");
}

#[test]
fn priority_of_open() {
    priority_moves("OPEN");
}

#[test]
fn priority_of_closed() {
    priority_moves("CLOSED");
}

#[test]
fn weight_of_open() {
    let job = accepted("OPEN", "weight", "OPEN");
    assert_eq!(shared().job(&job)["weight"], 9);
}

#[test]
fn weight_of_closed() {
    let job = accepted("CLOSED", "weight", "CLOSED");
    assert_eq!(shared().job(&job)["weight"], 9);
}
