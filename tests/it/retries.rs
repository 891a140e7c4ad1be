//! Failing and trying again: budgets, back-off, dead letter, release (`semantics.md` 7).

use serde_json::{Value, json};

use crate::support::{int, merge, now_ms, outcome, shared, text, unique};

#[track_caller]
fn fail(task: &Value, more: &Value) -> Value {
    shared().report("fail", &task["lease"], more).ok()
}

// api.md 5.2: the documented answer of a retryable fail.
#[test]
fn a_retryable_fail_says_when_it_runs_again() {
    let (server, job) = (shared(), unique("retry"));
    let backoff = json!({"baseMs": 60_000, "capMs": 300_000, "jitter": "none"});
    let held = server.leased("r", &job, &json!({"backoff": backoff}));
    let before = now_ms();
    let body = fail(&held, &json!({"class": "pricer.nan", "message": "NaN in leg 2"}));
    let at = int(&body, "at_ts");
    let expected = json!({"outcome": "retry", "lease": held["lease"], "id": held["id"],
        "ref": held["ref"], "state": "DELAYED", "attempt": 1, "at_ts": at, "errors": 1,
        "maxAttempts": 4});
    assert_eq!(merge(&body, &expected), body, "a member differs");
    assert!(at >= before + 59_000 && at <= now_ms() + 61_000, "{at}");
    assert_eq!(server.state(text(&held, "ref")), "DELAYED");
}

// S 7.2: min(capMs, baseMs × 2^(n−1)) by the number of errors, jitter none.
#[test]
fn back_off_doubles_up_to_its_cap() {
    let (server, job) = (shared(), unique("doubles"));
    let backoff = json!({"baseMs": 50, "capMs": 120, "jitter": "none"});
    server.submit(&json!({"groupId": job, "backoff": backoff, "maxAttempts": 10}));
    for wait in [50, 100, 120, 120] {
        let held = server.take("d", &job);
        let body = fail(&held, &json!({}));
        let shown = server.task(text(&held, "ref"));
        let failed = shown["attempts"].as_array().and_then(|a| a.last()).expect("an attempt");
        let delay = int(&body, "at_ts") - int(failed, "ended_ts");
        assert!((delay - wait).abs() <= 25, "{delay} ms instead of {wait}");
    }
}

// S 7.2: jitter full is uniform in 0…value: inside, and not always the same.
#[test]
fn full_jitter_stays_inside_and_varies() {
    let (server, job) = (shared(), unique("jitter"));
    let backoff = json!({"baseMs": 3_600_000, "capMs": 3_600_000});
    server.add(&job, &Value::Array(vec![json!({"backoff": backoff}); 12]));
    let held = server.consume("j", &job, &json!({"max": 12}));
    let now = now_ms();
    let mut delays: Vec<i64> =
        held.iter().map(|t| int(&fail(t, &json!({})), "at_ts") - now).collect();
    assert!(delays.iter().all(|d| (-10..=3_660_000).contains(d)), "{delays:?}");
    delays.sort_unstable();
    let (least, most) = (delays.first().expect("12"), delays.last().expect("12"));
    assert!(most - least > 60_000, "twelve draws out of an hour lie together: {delays:?}");
}

// S 7.2, P24: not handed out before its time; then it comes by itself.
#[test]
fn a_retry_is_not_early_and_comes_by_itself() {
    let (server, job) = (shared(), unique("early"));
    let held = server.leased("e", &job, &json!({}));
    let at = int(&fail(&held, &json!({"retryAfterMs": 1_200})), "at_ts");
    assert!(server.consume("e", &job, &json!({})).is_empty());
    let again = server.take("e", &job);
    assert!(int(&again, "allocated_ts") >= at, "early: {again}");
    assert!(int(&again, "available_ts") >= at, "available when due: {again}");
    assert_eq!((int(&again, "attempt"), int(&again, "errors")), (2, 1));
    assert_eq!(again["error"]["class"], "error", "the default class");
}

// api.md 5.2: retryAfterMs replaces the delay; 0 = queued at once.
#[test]
fn retry_after_replaces_the_back_off() {
    let (server, job) = (shared(), unique("after"));
    let backoff = json!({"baseMs": 3_600_000, "capMs": 3_600_000, "jitter": "none"});
    let held = server.leased("a", &job, &json!({"backoff": backoff}));
    let body = fail(&held, &json!({"retryAfterMs": 0}));
    assert_eq!((text(&body, "outcome"), text(&body, "state")), ("retry", "PENDING"));
    assert_eq!(int(&server.take("a", &job), "attempt"), 2);
}

// S 7.1, P10: ERROR on the maxAttempts-th error, not one earlier or later; attempts are exact.
#[test]
fn the_error_budget_is_exact() {
    let (server, job) = (shared(), unique("budget"));
    let reference = server.submit(&json!({"groupId": job}));
    for n in 1..=4_i64 {
        let held = server.take("b", &job);
        assert_eq!((int(&held, "attempt"), int(&held, "errors")), (n, n - 1));
        let body = fail(&held, &json!({"retryAfterMs": 0}));
        let wanted = if n < 4 { "retry" } else { "dead" };
        assert_eq!((text(&body, "outcome"), int(&body, "errors")), (wanted, n));
    }
    let shown = server.task(&reference);
    assert_eq!((text(&shown, "state"), text(&shown, "status")), ("ERROR", "ERROR"));
    let attempts = shown["attempts"].as_array().expect("attempts");
    let seen: Vec<(i64, &str)> =
        attempts.iter().map(|a| (int(a, "attempt"), text(a, "outcome"))).collect();
    assert_eq!(seen, [(1, "failed"), (2, "failed"), (3, "failed"), (4, "failed")]);
    assert_eq!(server.job(&job)["failedAttempts"], 4);
}

// T12: retryable false → dead letter at once, whatever is left of the budget.
#[test]
fn a_final_failure_is_dead_at_once() {
    let (server, job) = (shared(), unique("final"));
    let held = server.leased("f", &job, &json!({}));
    let body = fail(&held, &json!({"retryable": false, "class": "exit:65"}));
    assert_eq!((text(&body, "outcome"), text(&body, "state")), ("dead", "ERROR"));
    let dead = server.pages(&format!("/kwq/dlq?job={job}&fresh=true"));
    assert_eq!(dead.len(), 1);
    assert_eq!(dead.first().map(|t| text(&t["error"], "class")), Some("exit:65"));
}

// S 7.3: message is cut at 4,096 B, never refused; and never inside a character.
#[test]
fn a_long_message_is_cut_not_refused() {
    let (server, job) = (shared(), unique("message"));
    let held = server.leased("m", &job, &json!({"maxAttempts": 1}));
    fail(&held, &json!({"message": "é".repeat(3_000)}));
    let shown = server.task(text(&held, "ref"));
    let message = text(&shown["error"], "message");
    assert!(message.len() <= 4_096 && message.len() >= 4_090, "{}", message.len());
    assert!(message.chars().all(|c| c == 'é'));
}

// S 7.1, T13: release costs no budget, numbers the hand-out, delays on demand.
#[test]
fn release_is_free_and_may_delay() {
    let (server, job) = (shared(), unique("release"));
    let held = server.leased("r", &job, &json!({"maxAttempts": 1, "maxCrashes": 1}));
    let body = server.report("release", &held["lease"], &json!({"delayMs": 0})).ok();
    let expected = json!({"outcome": "ok", "lease": held["lease"], "id": held["id"],
        "ref": held["ref"], "state": "PENDING", "attempt": 1});
    assert_eq!(merge(&body, &expected), body, "a member differs");
    let held = server.take("r", &job);
    assert_eq!(int(&held, "attempt"), 2);
    assert_eq!((int(&held, "errors"), int(&held, "crashes")), (0, 0));
    let body = server.report("release", &held["lease"], &json!({"delayMs": 3_600_000})).ok();
    assert_eq!(body["state"], "DELAYED");
    assert!(server.consume("r", &job, &json!({})).is_empty());
    let shown = server.task(text(&held, "ref"));
    let outcomes: Vec<&str> = shown["attempts"]
        .as_array()
        .expect("attempts")
        .iter()
        .map(|a| text(a, "outcome"))
        .collect();
    assert_eq!(outcomes, ["released", "released"]);
}

// S 4 Order: whatever comes back stands before everything younger.
#[test]
fn a_released_task_keeps_its_place() {
    let server = crate::support::single();
    let job = unique("place");
    server.add(&job, &json!([{"id": "a"}, {"id": "b"}, {"id": "c"}]));
    let first = server.take("p", &job);
    assert_eq!(first["id"], "a");
    server.report("release", &first["lease"], &json!({})).expect(200);
    let order = server.consume("p", &job, &json!({"max": 3}));
    assert_eq!(crate::support::ids(&order), ["a", "b", "c"]);
}

// S 3 T10, 12: a result is stored and read back in its encoding.
#[test]
fn a_result_is_kept_with_its_completion() {
    let (server, job) = (shared(), unique("result"));
    for (more, bytes, encoding) in [
        (json!({"result": {"pv": 101.5}}), &b"{\"pv\":101.5}"[..], "json"),
        (json!({"result": "text"}), b"text", "text"),
        (json!({"result": "AP8=", "encoding": "base64"}), &[0, 255], "base64"),
        (json!({}), b"", "text"),
    ] {
        let held = server.leased("r", &job, &json!({}));
        assert_eq!(outcome(&server.report("complete", &held["lease"], &more)), "ok");
        let reference = text(&held, "ref");
        let shown = server.get(&format!("/kwq/tasks/{reference}?result=true")).ok();
        assert_eq!(int(&shown, "resultBytes"), i64::try_from(bytes.len()).expect("small"));
        assert_eq!(shown["state"], "COMPLETED");
        if !bytes.is_empty() {
            assert_eq!(shown["resultEncoding"], encoding);
            assert_eq!(shown["result"], more["result"]);
        }
        let without = server.task(reference);
        assert!(without.get("result").is_none(), "only on demand: {without}");
        let download = server.get(&format!("/kwq/tasks/{reference}/result"));
        assert_eq!(download.expect(200).body, bytes);
        let disposition = download.header("Content-Disposition").unwrap_or_default();
        assert!(disposition.starts_with("attachment"));
    }
}

// api.md 7.2, 13: no result yet → 404; over 64 KiB → 413 and the task stays leased.
#[test]
fn a_result_has_a_limit_and_a_time() {
    let (server, job) = (shared(), unique("limit"));
    let held = server.leased("r", &job, &json!({}));
    let reference = text(&held, "ref");
    assert_eq!(server.get(&format!("/kwq/tasks/{reference}/result")).status, 404);
    let big = json!({"result": "x".repeat(64 * 1024 + 1)});
    server.report("complete", &held["lease"], &big).refused(413, "result_too_large");
    assert_eq!(server.state(reference), "ALLOCATED");
    let edge = json!({"result": "x".repeat(64 * 1024)});
    assert_eq!(outcome(&server.report("complete", &held["lease"], &edge)), "ok");
}

// S 3, api.md 15: a repeat is told what the first call was told, also when there is no delay.
#[test]
fn a_repeated_fail_repeats_its_answer() {
    let none = json!({"backoff": {"baseMs": 0, "capMs": 0}, "maxAttempts": 2});
    for (task, more, outcome) in [
        (none.clone(), json!({}), "retry"),
        (json!({}), json!({"retryAfterMs": 0}), "retry"),
        (json!({}), json!({"retryAfterMs": 3_600_000}), "retry"),
        (none, json!({"retryable": false}), "dead"),
    ] {
        let held = shared().leased("r", &unique("repeat"), &task);
        let first = fail(&held, &more);
        assert_eq!(first["outcome"], outcome, "{first}");
        assert_eq!(first.get("at_ts").is_some(), outcome == "retry", "{first}");
        let again = merge(&first, &json!({"outcome": "duplicate"}));
        assert_eq!(fail(&held, &more), again);
    }
}
