//! `semantics.md` 3, the table of token verbs: a test for every cell, the last row split into the
//! kinds of token it names. A refused verb must change nothing.

use serde_json::{Value, json};

use super::{at_once, becomes, held, much_later, now, say, task_verb, verdict};
use crate::support::{int, merge, shared, text, unique};

fn live() -> Value {
    held(&much_later())
}

/// T14, then DELAYED.
fn lapsed() -> Value {
    let task = held(&merge(&much_later(), &json!({"leaseMs": 1_000})));
    becomes(&task, "DELAYED");
    task
}

/// T14, then PENDING.
fn lapsed_pending() -> Value {
    let task = held(&merge(&at_once(), &json!({"leaseMs": 1_000})));
    becomes(&task, "PENDING");
    task
}

/// T16, then DELAYED.
fn timed_out() -> Value {
    let task = held(&merge(&much_later(), &json!({"timeoutSeconds": 1})));
    becomes(&task, "DELAYED");
    task
}

fn completed() -> Value {
    let task = live();
    shared().complete(&task);
    task
}

fn failed() -> Value {
    let task = live();
    assert_eq!(say("fail", &task, &json!({}))["outcome"], "retry");
    task
}

fn dead_by_fail() -> Value {
    let task = live();
    assert_eq!(say("fail", &task, &json!({"retryable": false}))["outcome"], "dead");
    task
}

fn released() -> Value {
    let task = live();
    assert_eq!(say("release", &task, &json!({"delayMs": 3_600_000}))["outcome"], "ok");
    task
}

fn cancelled() -> Value {
    let task = live();
    task_verb(&task, "cancel").ok();
    task
}

fn job_cancelled() -> Value {
    let task = live();
    shared().job_verb(text(&task, "groupId"), "cancel");
    task
}

/// The token of a lapsed lease after the next hand-out.
fn older() -> Value {
    let task = lapsed_pending();
    let ask = json!({"leaseMs": 600_000, "waitMs": 30_000});
    assert_eq!(shared().consume("newer", text(&task, "groupId"), &ask).len(), 1);
    task
}

/// Of a task that died by its crash budget.
fn of_a_dead_task() -> Value {
    let task = held(&json!({"leaseMs": 1_000, "maxCrashes": 1}));
    becomes(&task, "ERROR");
    task
}

/// A real token with one of its last characters changed.
fn unknown() -> Value {
    let task = live();
    let mut token: Vec<char> = text(&task, "lease").chars().collect();
    let last = token.last_mut().expect("no token is empty");
    *last = if *last == '0' { '1' } else { '0' };
    let token: String = token.into_iter().collect();
    merge(&task, &json!({"lease": token}))
}

fn malformed() -> Value {
    merge(&live(), &json!({"lease": "not a token, é"}))
}

/// The state after an accepted verb; a refused one changes nothing at all.
#[track_caller]
fn cell(task: &Value, verb: &str, wanted: &str, after: &str) {
    let before = now(task);
    assert_eq!(verdict(verb, task), wanted, "{verb} on {before}");
    let shown = now(task);
    if after == "same" {
        assert_eq!(shown, before, "{verb} answered {wanted}");
    } else {
        assert_eq!(shown["state"], after, "{verb} answered {wanted}");
    }
}

macro_rules! cells {
    ($($name:ident: $token:ident $verb:literal => $wanted:literal, $after:literal;)*) => {
        $(#[test]
        fn $name() {
            cell(&$token(), $verb, $wanted, $after);
        })*
    };
}

cells! {
    live_start: live "start" => "ok", "RUNNING";
    live_heartbeat: live "heartbeat" => "renewed", "RUNNING";
    live_complete: live "complete" => "ok", "COMPLETED";
    live_fail: live "fail" => "retry", "DELAYED";
    live_release: live "release" => "ok", "PENDING";

    lapsed_start: lapsed "start" => "lease_lost", "same";
    lapsed_heartbeat: lapsed "heartbeat" => "lost", "same";
    lapsed_complete: lapsed "complete" => "ok", "COMPLETED";
    lapsed_fail: lapsed "fail" => "lease_lost", "same";
    lapsed_release: lapsed "release" => "lease_lost", "same";

    lapsed_pending_start: lapsed_pending "start" => "lease_lost", "same";
    lapsed_pending_heartbeat: lapsed_pending "heartbeat" => "lost", "same";
    lapsed_pending_complete: lapsed_pending "complete" => "ok", "COMPLETED";
    lapsed_pending_fail: lapsed_pending "fail" => "lease_lost", "same";
    lapsed_pending_release: lapsed_pending "release" => "lease_lost", "same";

    timed_out_start: timed_out "start" => "lease_lost", "same";
    timed_out_heartbeat: timed_out "heartbeat" => "lost", "same";
    timed_out_complete: timed_out "complete" => "ok", "COMPLETED";
    timed_out_fail: timed_out "fail" => "lease_lost", "same";
    timed_out_release: timed_out "release" => "lease_lost", "same";

    completed_start: completed "start" => "lease_lost", "same";
    completed_heartbeat: completed "heartbeat" => "lost", "same";
    completed_complete: completed "complete" => "duplicate", "same";
    completed_fail: completed "fail" => "lease_lost", "same";
    completed_release: completed "release" => "lease_lost", "same";

    failed_start: failed "start" => "lease_lost", "same";
    failed_heartbeat: failed "heartbeat" => "lost", "same";
    failed_complete: failed "complete" => "lease_lost", "same";
    failed_fail: failed "fail" => "duplicate", "same";
    failed_release: failed "release" => "lease_lost", "same";

    dead_by_fail_start: dead_by_fail "start" => "lease_lost", "same";
    dead_by_fail_heartbeat: dead_by_fail "heartbeat" => "lost", "same";
    dead_by_fail_complete: dead_by_fail "complete" => "lease_lost", "same";
    dead_by_fail_fail: dead_by_fail "fail" => "duplicate", "same";
    dead_by_fail_release: dead_by_fail "release" => "lease_lost", "same";

    released_start: released "start" => "lease_lost", "same";
    released_heartbeat: released "heartbeat" => "lost", "same";
    released_complete: released "complete" => "lease_lost", "same";
    released_fail: released "fail" => "lease_lost", "same";
    released_release: released "release" => "duplicate", "same";

    cancelled_start: cancelled "start" => "cancelled", "same";
    cancelled_heartbeat: cancelled "heartbeat" => "cancel", "same";
    cancelled_complete: cancelled "complete" => "cancelled", "same";
    cancelled_fail: cancelled "fail" => "cancelled", "same";
    cancelled_release: cancelled "release" => "ok", "same";

    job_cancelled_start: job_cancelled "start" => "cancelled", "same";
    job_cancelled_heartbeat: job_cancelled "heartbeat" => "cancel", "same";
    job_cancelled_complete: job_cancelled "complete" => "cancelled", "same";
    job_cancelled_fail: job_cancelled "fail" => "cancelled", "same";
    job_cancelled_release: job_cancelled "release" => "ok", "same";

    older_start: older "start" => "lease_lost", "same";
    older_heartbeat: older "heartbeat" => "lost", "same";
    older_complete: older "complete" => "lease_lost", "same";
    older_fail: older "fail" => "lease_lost", "same";
    older_release: older "release" => "lease_lost", "same";

    of_a_dead_task_start: of_a_dead_task "start" => "lease_lost", "same";
    of_a_dead_task_heartbeat: of_a_dead_task "heartbeat" => "lost", "same";
    of_a_dead_task_complete: of_a_dead_task "complete" => "lease_lost", "same";
    of_a_dead_task_fail: of_a_dead_task "fail" => "lease_lost", "same";
    of_a_dead_task_release: of_a_dead_task "release" => "lease_lost", "same";

    unknown_start: unknown "start" => "lease_lost", "same";
    unknown_heartbeat: unknown "heartbeat" => "lost", "same";
    unknown_complete: unknown "complete" => "lease_lost", "same";
    unknown_fail: unknown "fail" => "lease_lost", "same";
    unknown_release: unknown "release" => "lease_lost", "same";

    malformed_start: malformed "start" => "lease_lost", "same";
    malformed_heartbeat: malformed "heartbeat" => "lost", "same";
    malformed_complete: malformed "complete" => "lease_lost", "same";
    malformed_fail: malformed "fail" => "lease_lost", "same";
    malformed_release: malformed "release" => "lease_lost", "same";
}

// S 3 row 1, the other half of the cell: the last attempt dies.
#[test]
fn live_fail_of_the_last_attempt() {
    cell(&held(&json!({"maxAttempts": 1})), "fail", "dead", "ERROR");
}

// S 3 below the table, api.md 15: the first answer's body with `outcome` replaced; a different
// result or message in the repeat is ignored.
#[test]
fn a_duplicate_repeats_the_first_answer() {
    for (verb, first, second) in [
        ("complete", json!({"result": "a"}), json!({"result": "b"})),
        ("fail", json!({"message": "a", "class": "x"}), json!({"message": "b", "class": "y"})),
        ("fail", json!({"retryable": false}), json!({"retryable": true})),
        ("release", json!({"delayMs": 3_600_000}), json!({"delayMs": 0})),
    ] {
        let task = live();
        let told = say(verb, &task, &first);
        let before = now(&task);
        let again = say(verb, &task, &second);
        assert_eq!(again, merge(&told, &json!({"outcome": "duplicate"})), "{verb}");
        assert_eq!(now(&task), before, "{verb}");
    }
}

// S 6.2: a verb may carry `worker`, then both must agree.
#[test]
fn a_token_of_another_worker_is_lost() {
    for verb in ["start", "complete", "fail", "release"] {
        let task = live();
        let before = now(&task);
        let other = json!({"worker": unique("other")});
        shared().report(verb, &task["lease"], &other).refused(409, "lease_lost");
        assert_eq!(now(&task), before, "{verb}");
        say(verb, &task, &json!({"worker": task["worker"]}));
    }
    let task = live();
    let beat = json!({"worker": unique("other"), "leases": [task["lease"]]});
    let told = shared().post("/kwq/heartbeat", &beat).ok();
    assert_eq!((int(&told, "renewed"), &told["lost"]), (0, &json!([task["lease"]])));
}

// api.md 5.2: in `items` every outcome stands at its place, and the answer is 200.
#[test]
fn the_rows_hold_in_a_list_too() {
    let (lost, done, stopped, fresh) = (unknown(), completed(), cancelled(), live());
    let items: Vec<Value> =
        [&lost, &done, &stopped, &fresh].iter().map(|t| json!({"lease": t["lease"]})).collect();
    let told = shared().post("/kwq/complete", &json!({"items": items})).ok();
    let said: Vec<&str> =
        told["items"].as_array().expect("items").iter().map(|o| text(o, "outcome")).collect();
    assert_eq!(said, ["lease_lost", "duplicate", "cancelled", "ok"]);
}

// api.md 5.1: and in `done` of a consume, which reports for its own worker.
#[test]
fn the_rows_hold_in_done_too() {
    for (task, verb, outcome) in [
        (unknown(), "complete", "lease_lost"),
        (failed(), "fail", "duplicate"),
        (cancelled(), "release", "ok"),
        (live(), "complete", "ok"),
    ] {
        let done = json!([{"lease": task["lease"], "type": verb}]);
        let worker = task["worker"].as_str().unwrap_or("w");
        let ask = json!({"worker": worker, "jobs": [unique("none")], "waitMs": 0, "done": done});
        let told = shared().post("/kwq/consume", &ask).ok();
        assert_eq!(text(&told["done"][0], "outcome"), outcome, "{verb}: {told}");
    }
}
