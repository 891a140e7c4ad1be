//! Delayed submits (`semantics.md` 8).

use serde_json::json;

use crate::support::{eventually, ids, int, now_ms, shared, single, text, unique};

// S 8, T2, T6: DELAYED until its time, then handed out by itself, not early (P24).
#[test]
fn a_delayed_task_waits_for_its_time() {
    let (server, job) = (shared(), unique("delay"));
    let reference = server.submit(&json!({"groupId": job, "delayMs": 1_200}));
    let shown = server.task(&reference);
    assert_eq!((text(&shown, "state"), text(&shown, "status")), ("DELAYED", "SUBMITTED"));
    let due = int(&shown, "notBefore_ts");
    let delay = due - int(&shown, "submitted_ts");
    assert!((1_200..10_000).contains(&delay), "delayMs is shown as notBefore_ts: {delay}");
    assert!(shown.get("delayMs").is_none(), "{shown}");
    assert!(shown.get("available_ts").is_none(), "not yet available: {shown}");
    assert!(server.consume("d", &job, &json!({})).is_empty());
    let task = server.take("d", &job);
    assert!(int(&task, "allocated_ts") >= due, "early: {task}");
    assert!(int(&task, "available_ts") >= due, "early: {task}");
}

// S 8: notBefore_ts by the wall clock; a time in the past means now.
#[test]
fn not_before_is_a_wall_clock_time() {
    let (server, job) = (shared(), unique("notbefore"));
    let past = server.submit(&json!({"groupId": job, "notBefore_ts": now_ms() - 5_000}));
    assert_eq!(server.state(&past), "PENDING");
    server.complete(&server.take("n", &job));
    let due = now_ms() + 1_000;
    let later = server.submit(&json!({"groupId": job, "notBefore_ts": due}));
    assert_eq!(server.state(&later), "DELAYED");
    assert!(int(&server.take("n", &job), "allocated_ts") >= due);
}

// S 8: delayed tasks are not demand: they count in delayed, not in pending.
#[test]
fn delayed_tasks_are_counted_apart() {
    let (server, job) = (shared(), unique("counted"));
    server.add(&job, &json!([{"delayMs": 3_600_000}, {"delayMs": 3_600_000}, {}]));
    let shown = server.job(&job);
    assert_eq!((int(&shown["counts"], "DELAYED"), int(&shown["counts"], "PENDING")), (2, 1));
    assert_eq!((int(&shown, "submitted"), int(&shown, "live")), (3, 3));
}

// S 8: when due it stands in its lane by submit order, before everything younger.
#[test]
fn a_due_task_stands_by_submit_order() {
    let (server, job) = (single(), unique("stands"));
    server.submit(&json!({"id": "a", "groupId": job, "delayMs": 300}));
    server.add(&job, &json!([{"id": "b"}, {"id": "c"}]));
    eventually("a is due", || (server.job(&job)["counts"]["PENDING"] == 3).then_some(()));
    assert_eq!(ids(&server.consume("s", &job, &json!({"max": 3}))), ["a", "b", "c"]);
}

// T18: a delayed task can be cancelled and never comes.
#[test]
fn a_delayed_task_may_be_cancelled() {
    let (server, job) = (shared(), unique("cancelled"));
    let reference = server.submit(&json!({"groupId": job, "delayMs": 400}));
    server.poke(&format!("/kwq/tasks/{reference}/cancel")).expect(200);
    assert!(server.consume("c", &job, &json!({"waitMs": 2_000})).is_empty());
    assert_eq!(server.state(&reference), "CANCELLED");
}
