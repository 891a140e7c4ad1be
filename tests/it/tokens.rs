//! The verdict table of `semantics.md` 3, cell by cell, and what a token is bound to (6.2).

use serde_json::{Value, json};

use crate::support::{Server, eventually, int, is_problem, outcome, shared, text, unique};

const VERBS: [&str; 5] = ["start", "heartbeat", "complete", "fail", "release"];

/// What one verb says to one token of one worker.
#[track_caller]
fn verdict(server: &Server, verb: &str, task: &Value) -> String {
    if verb != "heartbeat" {
        return outcome(&server.report(verb, &task["lease"], &json!({})));
    }
    let ask = json!({"worker": task["worker"], "leases": [task["lease"]]});
    let body = server.post("/kwq/heartbeat", &ask).ok();
    if body["lost"].as_array().is_some_and(|l| l.contains(&task["lease"])) {
        return "lost".to_owned();
    }
    let cancel = body["cancel"].as_array().expect("cancel");
    if cancel.iter().any(|c| c["lease"] == task["lease"]) {
        return "cancel".to_owned();
    }
    assert_eq!(int(&body, "renewed"), 1, "neither lost, cancel nor renewed: {body}");
    "renewed".to_owned()
}

/// Checks one row: `prepare` gives a fresh token in the row's condition for each verb.
#[track_caller]
fn row(expected: [&str; 5], prepare: impl Fn(&str) -> Value) {
    let server = shared();
    for (verb, wanted) in VERBS.into_iter().zip(expected) {
        let task = prepare(verb);
        assert_eq!(verdict(server, verb, &task), wanted, "{verb} on {task}");
    }
}

fn fresh(more: &Value) -> Value {
    shared().leased(&unique("worker"), &unique("token"), more)
}

// S 3 row 1: a live token.
#[test]
fn a_live_token_may_do_everything() {
    row(["ok", "renewed", "ok", "retry", "ok"], |_| fresh(&json!({})));
}

// S 3 row 1: fail of the last attempt answers dead; T9, T10, T11, T12, T13 are the effects.
#[test]
fn verbs_on_a_live_token_have_their_effect() {
    let server = shared();
    let no_delay = json!({"backoff": {"baseMs": 0, "capMs": 0}});
    for (verb, task, after) in [
        ("start", json!({}), "RUNNING"),
        ("heartbeat", json!({}), "RUNNING"),
        ("complete", json!({}), "COMPLETED"),
        ("fail", no_delay, "PENDING"),
        ("fail", json!({"maxAttempts": 1}), "ERROR"),
        ("release", json!({}), "PENDING"),
    ] {
        let held = fresh(&task);
        let said = verdict(server, verb, &held);
        assert_eq!(server.state(text(&held, "ref")), after, "{verb} said {said}");
        assert_eq!(said == "dead", after == "ERROR");
    }
}

// S 3 row 2: newest token, lease lapsed, task still queued: only complete is accepted, late.
#[test]
fn a_lapsed_token_may_only_complete() {
    let server = shared();
    let slow = json!({"leaseMs": 1_000, "backoff": {"baseMs": 3_600_000, "capMs": 3_600_000,
        "jitter": "none"}});
    let held: Vec<Value> = VERBS.iter().map(|_| fresh(&slow)).collect();
    let expected = ["lease_lost", "lost", "ok", "lease_lost", "lease_lost"];
    for ((verb, wanted), task) in VERBS.into_iter().zip(expected).zip(&held) {
        let reference = text(task, "ref");
        eventually("the lease lapses", || (server.state(reference) == "DELAYED").then_some(()));
        assert_eq!(verdict(server, verb, task), wanted, "{verb}");
        let state = if verb == "complete" { "COMPLETED" } else { "DELAYED" };
        let shown = server.task(reference);
        assert_eq!(shown["state"], state, "{verb}");
        let last = if verb == "complete" { "late" } else { "crashed" };
        assert_eq!(shown["attempts"][0]["outcome"], last, "{verb}: {shown}");
    }
}

// S 3 row 3: spent by an accepted complete.
#[test]
fn a_completed_token_only_repeats() {
    row(["lease_lost", "lost", "duplicate", "lease_lost", "lease_lost"], |_| {
        let held = fresh(&json!({}));
        shared().complete(&held);
        held
    });
}

// S 3 row 4: spent by an accepted fail.
#[test]
fn a_failed_token_only_repeats() {
    row(["lease_lost", "lost", "lease_lost", "duplicate", "lease_lost"], |_| {
        let held = fresh(&json!({}));
        shared().report("fail", &held["lease"], &json!({"retryAfterMs": 3_600_000})).expect(200);
        held
    });
}

// S 3 row 5: spent by an accepted release.
#[test]
fn a_released_token_only_repeats() {
    row(["lease_lost", "lost", "lease_lost", "lease_lost", "duplicate"], |_| {
        let held = fresh(&json!({}));
        shared().report("release", &held["lease"], &json!({})).expect(200);
        held
    });
}

// S 3 row 6: of a task cancelled while leased, by task and by job.
#[test]
fn a_cancelled_token_is_told_so() {
    let expected = ["cancelled", "cancel", "cancelled", "cancelled", "ok"];
    row(expected, |_| {
        let held = fresh(&json!({}));
        let path = format!("/kwq/tasks/{}/cancel", text(&held, "ref"));
        shared().post(&path, &json!({})).expect(200);
        held
    });
    row(expected, |_| {
        let held = fresh(&json!({}));
        shared().job_verb(text(&held, "groupId"), "cancel");
        held
    });
}

// S 3 row 7: an older token, after the task was handed out again.
#[test]
fn an_older_token_may_do_nothing() {
    row(["lease_lost", "lost", "lease_lost", "lease_lost", "lease_lost"], |_| {
        let server = shared();
        let held = fresh(&json!({"leaseMs": 1_000, "backoff": {"baseMs": 0, "capMs": 0}}));
        let next = server.take(&unique("next"), text(&held, "groupId"));
        assert_eq!(int(&next, "attempt"), 2, "the lease had lapsed");
        held
    });
}

// S 3 row 7: of a dead task (here by its last crash), also for a late complete.
#[test]
fn the_token_of_a_dead_task_may_do_nothing() {
    row(["lease_lost", "lost", "lease_lost", "lease_lost", "lease_lost"], |_| {
        let held = fresh(&json!({"leaseMs": 1_000, "maxCrashes": 1}));
        let reference = text(&held, "ref");
        eventually("it dies", || (shared().state(reference) == "ERROR").then_some(()));
        held
    });
}

// S 3 row 7: unknown and malformed tokens answer alike.
#[test]
fn unknown_and_malformed_tokens_are_lost() {
    let real = fresh(&json!({}));
    let mut guess: String = text(&real, "lease").to_owned();
    let last = guess.pop().expect("not empty");
    guess.push(if last == 'A' { 'B' } else { 'A' });
    for lease in ["x", "ÄÖÜ", "../../etc", "AAAB5wAAAAAAAAPV7c1f0a9be2d4417b", &guess] {
        row(
            ["lease_lost", "lost", "lease_lost", "lease_lost", "lease_lost"],
            |_| json!({"lease": lease, "worker": real["worker"]}),
        );
    }
    assert_eq!(shared().state(text(&real, "ref")), "ALLOCATED", "the real one is untouched");
    shared().complete(&real);
}

// api.md 15: a lease that is no string, empty or longer than 64 → 422.
#[test]
fn a_lease_that_cannot_be_one_is_refused() {
    for lease in [json!(""), json!(5), json!(null), json!("x".repeat(65)), json!(["x"])] {
        for verb in ["start", "complete", "fail", "release"] {
            let answer = shared().post(&format!("/kwq/{verb}"), &json!({"lease": lease}));
            answer.refused_field("invalid_field", "lease");
        }
    }
    for verb in ["start", "complete", "fail", "release"] {
        let answer = shared().post(&format!("/kwq/{verb}"), &json!({}));
        answer.refused_field("invalid_field", "lease");
    }
}

// S 3: `duplicate` = the same answer body as the first time, with outcome replaced.
#[test]
fn a_repeat_answers_the_first_body_with_another_outcome() {
    let server = shared();
    for (verb, first_body, second_body) in [
        ("complete", json!({"result": {"pv": 1}}), json!({"result": {"pv": 2}})),
        ("fail", json!({"class": "io", "retryAfterMs": 3_600_000}), json!({"class": "other"})),
        ("release", json!({"delayMs": 3_600_000}), json!({})),
    ] {
        let held = fresh(&json!({}));
        let mut first = server.report(verb, &held["lease"], &first_body).ok();
        let second = server.report(verb, &held["lease"], &second_body).ok();
        assert_eq!(second["outcome"], "duplicate", "{verb}");
        first["outcome"] = json!("duplicate");
        assert_eq!(second, first, "{verb}");
        let shown = server.get(&format!("/kwq/tasks/{}?result=true", text(&held, "ref"))).ok();
        assert_eq!(int(&shown, "attempt"), 1);
        if verb == "complete" {
            assert_eq!(shown["result"], json!({"pv": 1}), "a different result is ignored");
        }
        if verb == "fail" {
            assert_eq!(int(&shown, "errors"), 1, "counted once");
            assert_eq!(shown["error"]["class"], "io");
        }
    }
}

// api.md 5.2: a single lost or cancelled report is a 409 problem that names its outcome.
#[test]
fn a_single_lost_report_is_a_problem_with_its_outcome() {
    let server = shared();
    let answer = server.report("complete", &json!("AAAAnobodygaveme"), &json!({}));
    let problem = answer.refused(409, "lease_lost");
    assert_eq!(problem["outcome"], "lease_lost");
    let held = fresh(&json!({}));
    server.job_verb(text(&held, "groupId"), "cancel");
    let answer = server.report("complete", &held["lease"], &json!({}));
    assert_eq!(is_problem(&answer)["outcome"], "cancelled");
}

// api.md 5.2: items answer 200 in order, whatever each one's fate.
#[test]
fn items_are_reported_one_by_one() {
    let server = shared();
    let (a, b) = (fresh(&json!({})), fresh(&json!({})));
    let items = json!({"items": [{"lease": a["lease"], "result": "r"}, {"lease": "AAAAunknown"},
        {"lease": ""}, {"lease": b["lease"], "worker": b["worker"]}]});
    let body = server.post("/kwq/complete", &items).ok();
    let items = body["items"].as_array().expect("items");
    let seen: Vec<&str> = items.iter().map(|i| text(i, "outcome")).collect();
    assert_eq!(seen, ["ok", "lease_lost", "invalid", "ok"]);
    let [first, _, third, _] = items.as_slice() else { panic!("four: {body}") };
    let expected = json!({"outcome": "ok", "lease": a["lease"], "id": a["id"], "ref": a["ref"],
        "state": "COMPLETED", "attempt": 1});
    assert_eq!(*first, expected);
    assert_eq!(third["code"], "invalid_field");
    assert!(third["detail"].is_string(), "{third}");
    assert_eq!(server.post("/kwq/complete", &json!({"items": []})).ok(), json!({"items": []}));
}

// S 6.2: bound to the worker of its consume; a verb may carry `worker`, both must agree.
#[test]
fn a_token_works_only_for_its_worker() {
    let server = shared();
    let held = fresh(&json!({}));
    for verb in ["start", "complete", "fail", "release"] {
        let answer = server.report(verb, &held["lease"], &json!({"worker": "somebody-else"}));
        assert_eq!(outcome(&answer), "lease_lost", "{verb}");
    }
    let ask = json!({"worker": "somebody-else", "leases": [held["lease"]]});
    let body = server.post("/kwq/heartbeat", &ask).ok();
    assert_eq!(body["lost"], json!([held["lease"]]));
    assert_eq!(server.state(text(&held, "ref")), "ALLOCATED");
    let answer = server.report("complete", &held["lease"], &json!({"worker": held["worker"]}));
    assert_eq!(outcome(&answer), "ok");
}

// S 6.2, P6: a token is never issued twice.
#[test]
fn tokens_never_repeat() {
    let (server, job) = (shared(), unique("repeat"));
    server.submit(&json!({"groupId": job}));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let held = server.take("repeat", &job);
        assert!(seen.insert(text(&held, "lease").to_owned()), "{held}");
        server.report("release", &held["lease"], &json!({})).expect(200);
    }
}

// S 2, api.md 5.2: start marks RUNNING and stamps it; a second start changes nothing.
#[test]
fn start_marks_running_once() {
    let server = shared();
    let held = fresh(&json!({}));
    let reference = text(&held, "ref");
    assert!(server.task(reference).get("running_ts").is_none());
    let body = server.report("start", &held["lease"], &json!({})).ok();
    assert_eq!((text(&body, "outcome"), text(&body, "state")), ("ok", "RUNNING"));
    let first = int(&server.task(reference), "running_ts");
    assert!(first >= int(&held, "allocated_ts"));
    assert_eq!(outcome(&server.report("start", &held["lease"], &json!({}))), "ok");
    assert_eq!(int(&server.task(reference), "running_ts"), first);
}

// api.md 5.2: ranges of a report's fields.
#[test]
fn fields_of_a_report_out_of_range_are_refused() {
    let held = fresh(&json!({}));
    for (verb, field, wrong) in [
        ("complete", "runMs", json!([-1, 604_800_001, "5"])),
        ("complete", "encoding", json!(["xml"])),
        ("complete", "worker", json!([5, "x".repeat(129)])),
        ("fail", "class", json!(["x".repeat(65), "a b", "ä", 5])),
        ("fail", "message", json!([5])),
        ("fail", "retryable", json!(["no", 0])),
        ("fail", "retryAfterMs", json!([-1, 86_400_001])),
        ("release", "delayMs", json!([-1, 86_400_001])),
    ] {
        for value in wrong.as_array().expect("a list") {
            let mut more = json!({});
            more[field] = value.clone();
            let answer = shared().report(verb, &held["lease"], &more);
            answer.refused_field("invalid_field", field);
        }
    }
    let answer = shared().report("complete", &held["lease"], &json!({"results": 1}));
    let problem = answer.refused_field("unknown_field", "results");
    assert!(problem["hint"].as_str().unwrap_or_default().contains("result"), "{problem}");
    let many = json!({"items": vec![json!({"lease": "x"}); 1_001]});
    shared().post("/kwq/complete", &many).refused_field("invalid_field", "items");
    assert_eq!(shared().state(text(&held, "ref")), "ALLOCATED", "nothing was done");
}
