//! `semantics.md` 3, the transitions T1–T23, one test or more for each row. T3, T7 and T21 are
//! later; T4 and T5 are about inbox records, here only the REST side: it refuses them.

use serde_json::{Value, json};

use super::{
    at_once, becomes, counts, held, held_in, job_of, last_outcome, much_later, now, say, task_in,
    task_verb,
};
use crate::support::{Req, eventually, int, merge, now_ms, outcome, pause, shared, text, unique};

const LEASED: [&str; 2] = ["ALLOCATED", "RUNNING"];

/// What must hold of a task that came back without being handed out again.
#[track_caller]
fn queued_again(shown: &Value, state: &str, errors: i64, crashes: i64) {
    assert_eq!((text(shown, "state"), text(shown, "status")), (state, "SUBMITTED"), "{shown}");
    assert_eq!((int(shown, "errors"), int(shown, "crashes")), (errors, crashes), "{shown}");
}

/// What must hold of a dead letter.
#[track_caller]
fn dead(shown: &Value, class: &str, errors: i64, crashes: i64) {
    assert_eq!((text(shown, "state"), text(shown, "status")), ("ERROR", "ERROR"), "{shown}");
    assert_eq!((int(shown, "errors"), int(shown, "crashes")), (errors, crashes), "{shown}");
    assert_eq!(shown["error"]["class"], class, "{shown}");
    assert!(int(shown, "error_ts") >= int(shown, "submitted_ts"), "{shown}");
    let path = format!("/kwq/dlq?job={}&fresh=true", text(shown, "groupId"));
    let letters = shared().pages(&path);
    assert!(letters.iter().any(|l| l["ref"] == shown["ref"]), "no dead letter: {shown}");
}

#[test]
fn t1_admitted_without_delay() {
    let task = task_in("PENDING");
    assert_eq!((int(&task, "attempt"), int(&task, "runCount")), (0, 0));
    assert!(int(&task, "available_ts") >= int(&task, "submitted_ts"), "{task}");
    counts(&job_of(&task), &[("PENDING", 1)]);
    // A time in the past means now (S 8).
    let past = json!({"groupId": unique("past"), "notBefore_ts": now_ms() - 60_000});
    assert_eq!(shared().state(&shared().submit(&past)), "PENDING");
}

#[test]
fn t2_admitted_for_later() {
    let (server, job, at) = (shared(), unique("later"), now_ms() + 3_600_000);
    let reference = server.submit(&json!({"groupId": job, "notBefore_ts": at}));
    let shown = server.task(&reference);
    queued_again(&shown, "DELAYED", 0, 0);
    assert_eq!(int(&shown, "notBefore_ts"), at);
    assert!(shown.get("available_ts").is_none(), "not available yet: {shown}");
    assert!(server.consume("w", &job, &json!({})).is_empty());
    counts(&server.job(&job), &[("DELAYED", 1)]);
}

#[test]
fn t4_rest_refuses_a_task_of_a_cancelled_job() {
    let (server, task) = (shared(), task_in("PENDING"));
    server.job_verb(text(&task, "groupId"), "cancel");
    let more = json!({"groupId": task["groupId"]});
    server.post("/kwq/submit", &more).refused(409, "job_closed");
    counts(&job_of(&task), &[("CANCELLED", 1)]);
}

#[test]
fn t5_rest_refuses_what_an_inbox_would_bury() {
    let (server, job) = (shared(), unique("t5"));
    server.add(&job, &json!([{}]));
    for wrong in [json!({"priority": "x"}), json!({"id": "5-0-1"}), json!({"ttlMs": 5})] {
        let wrong = merge(&json!({"groupId": job}), &wrong);
        server.post("/kwq/submit", &wrong).expect(422);
    }
    counts(&server.job(&job), &[("PENDING", 1)]);
    assert_eq!(server.pages(&format!("/kwq/dlq?job={job}&fresh=true")).len(), 0);
}

#[test]
fn t6_delay_over() {
    let (server, job) = (shared(), unique("t6"));
    let reference = server.submit(&json!({"groupId": job, "delayMs": 700}));
    let shown = becomes(&json!({"ref": reference}), "PENDING");
    let due = int(&shown, "submitted_ts") + 700;
    assert!(int(&shown, "available_ts") >= due, "before its time: {shown}");
    assert_eq!(server.take("w", &job)["ref"], *reference);
}

#[test]
fn t8_pending_handed_out() {
    let task = held(&at_once());
    assert_eq!((text(&task, "state"), text(&task, "status")), ("ALLOCATED", "ALLOCATED"));
    assert_eq!((int(&task, "attempt"), int(&task, "runCount")), (1, 1));
    counts(&job_of(&task), &[("ALLOCATED", 1)]);
    assert_eq!(int(&job_of(&task), "handedOut"), 1);
    say("fail", &task, &json!({}));
    let again = shared().take("again", text(&task, "groupId"));
    assert_eq!((int(&again, "attempt"), &again["ref"]), (2, &task["ref"]));
    assert_ne!(again["lease"], task["lease"], "a new token each time");
    assert!(int(&again, "allocated_ts") >= int(&task, "allocated_ts"));
    assert_eq!(int(&job_of(&task), "handedOut"), 2);
}

#[track_caller]
fn runs(task: &Value) {
    let shown = now(task);
    assert_eq!((text(&shown, "state"), text(&shown, "status")), ("RUNNING", "RUNNING"));
    assert!(int(&shown, "running_ts") >= int(&shown, "allocated_ts"), "{shown}");
    counts(&job_of(task), &[("RUNNING", 1)]);
}

#[test]
fn t9_started() {
    let task = held(&json!({}));
    let told = say("start", &task, &json!({}));
    assert_eq!((text(&told, "outcome"), text(&told, "state")), ("ok", "RUNNING"));
    runs(&task);
    let first = now(&task);
    assert_eq!(say("start", &task, &json!({}))["outcome"], "ok", "live: S 3");
    assert_eq!(now(&task)["running_ts"], first["running_ts"], "the first start counts");
}

#[test]
fn t9_first_heartbeat() {
    let task = held(&json!({}));
    let beat = json!({"worker": task["worker"], "leases": [task["lease"]]});
    assert_eq!(shared().post("/kwq/heartbeat", &beat).ok()["renewed"], 1);
    runs(&task);
}

#[test]
fn t9_update_task_running() {
    let task = held(&json!({"id": unique("t9")}));
    let body = json!({"id": task["id"], "status": "RUNNING", "worker": task["worker"]});
    assert_eq!(shared().post("/kwq/updateTask", &body).ok()["status"], "RUNNING");
    runs(&task);
}

#[test]
fn t10_completed() {
    for state in LEASED {
        let task = held_in(state, &json!({}));
        let told = say("complete", &task, &json!({"result": "r", "encoding": "text"}));
        assert_eq!((text(&told, "outcome"), text(&told, "state")), ("ok", "COMPLETED"));
        let shown = now(&task);
        assert_eq!((text(&shown, "status"), last_outcome(&shown)), ("COMPLETED", "completed"));
        assert!(int(&shown, "completed_ts") >= int(&shown, "running_ts"), "{shown}");
        let path = format!("/kwq/tasks/{}/result", text(&task, "ref"));
        assert_eq!(shared().get(&path).expect(200).text(), "r");
        counts(&job_of(&task), &[("COMPLETED", 1)]);
    }
}

#[test]
fn t11_failed_and_queued() {
    for (state, backoff, after) in [
        ("ALLOCATED", at_once(), "PENDING"),
        ("RUNNING", at_once(), "PENDING"),
        ("ALLOCATED", much_later(), "DELAYED"),
        ("RUNNING", much_later(), "DELAYED"),
    ] {
        let task = held_in(state, &merge(&backoff, &json!({"maxAttempts": 2})));
        let told = say("fail", &task, &json!({"class": "io", "message": "m"}));
        assert_eq!((text(&told, "outcome"), text(&told, "state")), ("retry", after), "{state}");
        assert_eq!((int(&told, "errors"), int(&told, "maxAttempts")), (1, 2));
        assert!(told["at_ts"].is_i64(), "{told}");
        let shown = now(&task);
        queued_again(&shown, after, 1, 0);
        assert_eq!((last_outcome(&shown), text(&shown["error"], "class")), ("failed", "io"));
        counts(&job_of(&task), &[(after, 1)]);
        assert_eq!(int(&job_of(&task), "failedAttempts"), 1);
    }
}

#[test]
fn t12_failed_not_retryable() {
    for state in LEASED {
        let task = held_in(state, &json!({}));
        let told = say("fail", &task, &json!({"retryable": false, "class": "bad.input"}));
        assert_eq!((text(&told, "outcome"), text(&told, "state")), ("dead", "ERROR"));
        dead(&now(&task), "bad.input", 1, 0);
        counts(&job_of(&task), &[("ERROR", 1)]);
    }
}

#[test]
fn t12_failed_for_the_last_time() {
    for state in LEASED {
        let task = held_in(state, &merge(&at_once(), &json!({"maxAttempts": 2})));
        say("fail", &task, &json!({}));
        let again = shared().take("again", text(&task, "groupId"));
        assert_eq!(say("fail", &again, &json!({}))["outcome"], "dead");
        dead(&now(&task), "error", 2, 0);
        assert_eq!(int(&job_of(&task), "failedAttempts"), 2);
    }
}

#[test]
fn t13_released() {
    for (state, delay, after) in [
        ("ALLOCATED", 0, "PENDING"),
        ("RUNNING", 0, "PENDING"),
        ("ALLOCATED", 3_600_000, "DELAYED"),
        ("RUNNING", 3_600_000, "DELAYED"),
    ] {
        let task = held_in(state, &json!({"maxAttempts": 1, "maxCrashes": 1}));
        let told = say("release", &task, &json!({"delayMs": delay}));
        assert_eq!((text(&told, "outcome"), text(&told, "state")), ("ok", after), "{state}");
        queued_again(&now(&task), after, 0, 0);
        assert_eq!(last_outcome(&now(&task)), "released");
        counts(&job_of(&task), &[(after, 1)]);
    }
}

#[test]
fn t13_worker_deleted() {
    for state in LEASED {
        let task = held_in(state, &json!({"maxAttempts": 1, "maxCrashes": 1}));
        let path = format!("/kwq/workers/{}", text(&task, "worker"));
        assert_eq!(shared().delete(&path).ok(), json!({"released": 1}));
        queued_again(&now(&task), "PENDING", 0, 0);
        assert_eq!(last_outcome(&now(&task)), "released");
    }
}

// Whether the hand-out meets the end of the connection is a matter of luck, so the test tries
// often; what must hold holds in both cases: the task is to be had at once, at no cost.
#[test]
fn t13_answer_not_deliverable() {
    let server = shared();
    for _ in 0..10 {
        let (job, worker) = (unique("gone"), unique("w"));
        let parked = server.park(&worker, &job);
        let task = json!({"groupId": job, "leaseMs": 43_200_000, "maxCrashes": 1});
        drop(parked);
        let reference = server.submit(&task);
        let taken = server.take("other", &job);
        assert_eq!((text(&taken, "ref"), int(&taken, "crashes")), (reference.as_str(), 0));
        if int(&taken, "attempt") > 1 {
            let shown = server.task(&reference);
            assert_eq!(shown["attempts"][0]["outcome"], "undelivered", "{shown}");
        }
    }
}

#[test]
fn t14_lease_expired() {
    for (state, backoff, after) in
        [("ALLOCATED", at_once(), "PENDING"), ("RUNNING", much_later(), "DELAYED")]
    {
        let more = json!({"leaseMs": 1_500, "maxCrashes": 2, "maxAttempts": 1});
        let task = held_in(state, &merge(&backoff, &more));
        let shown = becomes(&task, after);
        queued_again(&shown, after, 0, 1);
        assert_eq!(last_outcome(&shown), "crashed");
        counts(&job_of(&task), &[(after, 1)]);
        assert_eq!((int(&job_of(&task), "crashes"), int(&shown, "attempt")), (1, 1));
    }
}

#[test]
fn t15_lease_expired_for_the_last_time() {
    for state in LEASED {
        let task = held_in(state, &json!({"leaseMs": 1_500, "maxCrashes": 1}));
        dead(&becomes(&task, "ERROR"), "crash", 0, 1);
        assert_eq!(last_outcome(&now(&task)), "crashed");
        counts(&job_of(&task), &[("ERROR", 1)]);
    }
}

#[test]
fn t16_run_limit_passed_and_queued() {
    for (state, backoff, after) in
        [("ALLOCATED", at_once(), "PENDING"), ("RUNNING", much_later(), "DELAYED")]
    {
        let more = json!({"timeoutSeconds": 2, "maxAttempts": 2, "maxCrashes": 1});
        let task = held_in(state, &merge(&backoff, &more));
        let shown = becomes(&task, after);
        queued_again(&shown, after, 1, 0);
        assert_eq!((last_outcome(&shown), text(&shown["error"], "class")), ("timeout", "timeout"));
        assert_eq!(int(&job_of(&task), "failedAttempts"), 1);
    }
}

#[test]
fn t16_run_limit_passed_for_the_last_time() {
    for state in LEASED {
        let task = held_in(state, &json!({"timeoutSeconds": 2, "maxAttempts": 1}));
        dead(&becomes(&task, "ERROR"), "timeout", 1, 0);
        assert_eq!(last_outcome(&now(&task)), "timeout");
    }
}

#[test]
fn t17_late_completion() {
    for (backoff, before) in [(at_once(), "PENDING"), (much_later(), "DELAYED")] {
        for limit in [json!({"leaseMs": 1_000}), json!({"timeoutSeconds": 1})] {
            let task = held(&merge(&backoff, &limit));
            becomes(&task, before);
            let told = say("complete", &task, &json!({"result": "late"}));
            assert_eq!((text(&told, "outcome"), text(&told, "state")), ("ok", "COMPLETED"));
            assert_eq!(last_outcome(&now(&task)), "late");
            counts(&job_of(&task), &[("COMPLETED", 1)]);
        }
    }
}

#[track_caller]
fn cancelled(task: &Value) {
    let shown = now(task);
    assert_eq!((text(&shown, "state"), text(&shown, "status")), ("CANCELLED", "ERROR"));
    assert!(int(&shown, "cancelled_ts") >= int(&shown, "submitted_ts"), "{shown}");
    counts(&job_of(task), &[("CANCELLED", 1)]);
    if task.get("lease").is_some() {
        assert_eq!(last_outcome(&shown), "cancelled");
        let told = shared().report("complete", &task["lease"], &json!({}));
        assert_eq!(outcome(&told), "cancelled", "its token is void");
    }
    let job = text(task, "groupId");
    assert!(shared().consume("w", job, &json!({})).is_empty(), "never handed out again");
}

#[test]
fn t18_task_cancelled() {
    for state in ["DELAYED", "PENDING", "ALLOCATED", "RUNNING"] {
        let task = task_in(state);
        assert_eq!(task_verb(&task, "cancel").ok()["state"], "CANCELLED", "{state}");
        cancelled(&task);
    }
}

#[test]
fn t18_job_cancelled_with_stop() {
    for state in ["DELAYED", "PENDING", "ALLOCATED", "RUNNING"] {
        let task = task_in(state);
        let path = format!("/kwq/jobs/{}/cancel", text(&task, "groupId"));
        assert_eq!(shared().post(&path, &json!({"mode": "stop"})).ok()["state"], "CANCELLED");
        cancelled(&task);
    }
}

/// Cancels the job of a task and leaves what is leased.
#[track_caller]
fn drop_queued(task: &Value) -> Value {
    let path = format!("/kwq/jobs/{}/cancel", text(task, "groupId"));
    shared().post(&path, &json!({"mode": "drop-queued"})).ok()
}

#[test]
fn t19_job_cancelled_with_drop_queued() {
    for state in ["DELAYED", "PENDING"] {
        let task = task_in(state);
        assert_eq!(drop_queued(&task)["state"], "CANCELLED", "{state}");
        cancelled(&task);
    }
    for state in LEASED {
        let task = held_in(state, &json!({}));
        assert_eq!(drop_queued(&task)["state"], "CLOSED", "until its last lease has ended");
        assert_eq!(now(&task)["state"], state, "leased ones may still complete");
        shared().complete(&task);
        counts(&job_of(&task), &[("COMPLETED", 1)]);
        assert_eq!(job_of(&task)["state"], "CANCELLED");
    }
}

#[track_caller]
fn t20(task: &Value) {
    let shown = becomes(task, "CANCELLED");
    assert!(int(&shown, "cancelled_ts") >= int(&shown, "allocated_ts"), "{shown}");
    counts(&job_of(task), &[("CANCELLED", 1)]);
    assert_eq!(job_of(task)["state"], "CANCELLED");
}

#[test]
fn t20_failed_in_a_job_cancelled_with_drop_queued() {
    for state in LEASED {
        let task = held_in(state, &at_once());
        drop_queued(&task);
        let told = shared().report("fail", &task["lease"], &json!({}));
        assert_eq!(outcome(&told), "cancelled");
        t20(&task);
    }
    // T12 stays T12: a task that would not be queued dies.
    let task = held(&json!({}));
    drop_queued(&task);
    assert_eq!(say("fail", &task, &json!({"retryable": false}))["outcome"], "dead");
    assert_eq!(now(&task)["state"], "ERROR");
}

#[test]
fn t20_released_in_a_job_cancelled_with_drop_queued() {
    for state in LEASED {
        let task = held_in(state, &json!({}));
        drop_queued(&task);
        let told = say("release", &task, &json!({}));
        assert_eq!((text(&told, "outcome"), text(&told, "state")), ("ok", "CANCELLED"));
        t20(&task);
    }
}

#[test]
fn t20_lapsed_in_a_job_cancelled_with_drop_queued() {
    let task = held(&merge(&at_once(), &json!({"leaseMs": 2_000})));
    drop_queued(&task);
    t20(&task);
}

#[test]
fn t20_timed_out_in_a_job_cancelled_with_drop_queued() {
    let task = held(&merge(&at_once(), &json!({"timeoutSeconds": 2})));
    drop_queued(&task);
    t20(&task);
}

#[track_caller]
fn redriven(task: &Value, state: &str) {
    let shown = becomes(task, state);
    queued_again(&shown, state, 0, 0);
    assert_eq!((int(&shown, "redriven"), int(&shown, "attempt")), (1, 1), "{shown}");
    assert_eq!(shown["submitted_ts"], task["submitted_ts"]);
    counts(&job_of(task), &[(state, 1)]);
    assert_eq!(int(&job_of(task), "redriven"), 1);
}

#[test]
fn t22_task_retry() {
    let task = task_in("ERROR");
    assert_eq!(task_verb(&task, "retry").ok()["state"], "PENDING");
    redriven(&task, "PENDING");
}

#[test]
fn t22_job_retry() {
    let task = task_in("ERROR");
    let path = format!("/kwq/jobs/{}/retry", text(&task, "groupId"));
    shared().post(&path, &json!({})).expect(202);
    redriven(&task, "PENDING");
}

#[test]
fn t22_redrive_by_filter() {
    let task = task_in("ERROR");
    shared().redrive(&json!({"filter": {"ref": [task["ref"]]}}));
    redriven(&task, "PENDING");
}

#[track_caller]
fn gone(task: &Value) {
    let path = format!("/kwq/tasks/{}", text(task, "ref"));
    eventually("it is purged", || (shared().get(&path).status == 410).then_some(()));
    shared().get(&path).refused(410, "purged");
}

#[test]
fn t23_job_purged() {
    for state in ["COMPLETED", "ERROR", "CANCELLED"] {
        let (server, task) = (shared(), task_in(state));
        let path = format!("/kwq/jobs/{}", text(&task, "groupId"));
        server.job_verb(text(&task, "groupId"), "close");
        server.ended(&server.begin(&Req::new("DELETE", &path), "purgeJob"));
        gone(&task);
        server.get(&path).refused(410, "purged");
    }
}

#[test]
fn t23_dead_letter_purged() {
    let (server, task) = (shared(), task_in("ERROR"));
    let body = json!({"filter": {"job": task["groupId"]}});
    let req = Req::new("POST", "/kwq/dlq/purge").json(&body);
    assert_eq!(server.ended(&server.begin(&req, "purgeDlq"))["done"], 1);
    gone(&task);
    counts(&job_of(&task), &[]);
    assert_eq!(int(&job_of(&task), "purged"), 1);
}

#[test]
fn t23_retention_over() {
    for state in ["COMPLETED", "CANCELLED"] {
        let (server, task) = (shared(), task_in(state));
        let path = format!("/kwq/jobs/{}", text(&task, "groupId"));
        server.patch(&path, &json!({"retentionMs": 0})).ok();
        server.job_verb(text(&task, "groupId"), "close");
        gone(&task);
    }
}

// S 3: pause, resume and re-prioritise change no state.
#[test]
fn control_verbs_change_no_state() {
    let server = shared();
    for state in ["DELAYED", "PENDING", "ALLOCATED", "RUNNING", "COMPLETED", "ERROR"] {
        let task = task_in(state);
        let job = text(&task, "groupId");
        server.job_verb(job, "pause");
        server.job_verb(job, "resume");
        server.patch(&format!("/kwq/jobs/{job}"), &json!({"priority": 8})).ok();
        pause(20);
        assert_eq!(now(&task)["state"], state);
        counts(&job_of(&task), &[(state, 1)]);
    }
}
