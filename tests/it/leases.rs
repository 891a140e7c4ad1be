//! How a lease ends by itself: expiry, crash budget, late completion, run limit
//! (`semantics.md` 6.1, 6.4, 7.1).

use serde_json::{Value, json};

use crate::support::{
    Req, Server, eventually, in_background, int, merge, now_ms, pause, shared, since, start_watch,
    text, unique,
};

const QUICK: &str = r#"{"baseMs": 0, "capMs": 0, "jitter": "none"}"#;

fn quick() -> Value {
    serde_json::from_str(QUICK).expect("our own JSON")
}

// S 6.1, T14: a lease ends leaseMs after the hand-out, never earlier; the task comes back.
#[test]
fn a_lapsed_lease_brings_the_task_back() {
    let (server, job) = (shared(), unique("lapse"));
    let task = json!({"leaseMs": 1_500, "backoff": quick()});
    let begun = start_watch();
    let first = server.leased("dies", &job, &task);
    let second = server.take("takes-over", &job);
    assert!(since(begun).as_millis() >= 1_500, "never earlier");
    let gap = int(&second, "allocated_ts") - int(&first, "allocated_ts");
    assert!(gap >= 1_490, "never earlier by its own stamps: {gap}");
    assert_eq!(first["ref"], second["ref"]);
    assert_eq!((int(&second, "attempt"), int(&second, "crashes")), (2, 1));
    assert_eq!(int(&second, "errors"), 0, "a lost worker costs no error");
    server.complete(&second);
    let shown = server.task(text(&first, "ref"));
    let outcomes: Vec<&str> = shown["attempts"]
        .as_array()
        .expect("attempts")
        .iter()
        .map(|a| text(a, "outcome"))
        .collect();
    assert_eq!(outcomes, ["crashed", "completed"]);
    assert_eq!(server.job(&job)["crashes"], 1);
}

// S 7.1, T15: maxCrashes lease expiries, then ERROR with class crash.
#[test]
fn the_crash_budget_ends_in_the_dead_letter() {
    let (server, job) = (shared(), unique("crashes"));
    let task = json!({"leaseMs": 1_000, "maxCrashes": 2, "backoff": quick()});
    let held = server.leased("c", &job, &task);
    assert_eq!(int(&server.take("c", &job), "attempt"), 2);
    let shown = eventually("it is dead", || {
        let shown = server.task(text(&held, "ref"));
        (shown["state"] == "ERROR").then_some(shown)
    });
    assert_eq!((int(&shown, "crashes"), int(&shown, "errors")), (2, 0));
    assert_eq!(shown["error"]["class"], "crash");
    assert_eq!(int(&shown["error"], "attempt"), 2);
    assert!(int(&shown, "error_ts") >= int(&shown, "allocated_ts"));
    assert_eq!(server.tasks(&job, "&state=ERROR&class=crash").len(), 1);
    assert!(server.consume("c", &job, &json!({})).is_empty(), "terminal is final");
}

// S 6.4: refused from ERROR on, also when a redrive has brought the task back.
#[test]
fn a_redrive_does_not_bring_a_token_back_to_life() {
    let (server, job) = (shared(), unique("spent"));
    let held = server.leased("d", &job, &json!({"leaseMs": 1_000, "maxCrashes": 1}));
    let reference = text(&held, "ref");
    eventually("it is dead", || (server.state(reference) == "ERROR").then_some(()));
    server.report("complete", &held["lease"], &json!({})).refused(409, "lease_lost");
    server.poke(&format!("/kwq/tasks/{reference}/retry")).ok();
    server.report("complete", &held["lease"], &json!({})).refused(409, "lease_lost");
    server.complete(&server.take("e", &job));
}

// S 7.2: crashes are backed off too: n = crashes.
#[test]
fn a_crash_is_backed_off() {
    let (server, job) = (shared(), unique("backed"));
    let backoff = json!({"baseMs": 3_600_000, "capMs": 3_600_000, "jitter": "none"});
    let held = server.leased("b", &job, &json!({"leaseMs": 1_000, "backoff": backoff}));
    eventually("it is delayed", || (server.state(text(&held, "ref")) == "DELAYED").then_some(()));
    assert!(server.consume("b", &job, &json!({})).is_empty());
}

// S 6.4, T17: complete with the newest token of a lapsed lease is accepted while the task waits.
#[test]
fn a_late_completion_is_accepted_once() {
    let (server, job) = (shared(), unique("late"));
    let backoff = json!({"baseMs": 3_600_000, "capMs": 3_600_000, "jitter": "none"});
    let key = unique("key");
    let task = json!({"leaseMs": 1_000, "backoff": backoff, "affinity": [key]});
    let slow = unique("slow");
    let held = server.leased(&slow, &job, &task);
    let reference = text(&held, "ref");
    eventually("the lease lapses", || (server.state(reference) == "DELAYED").then_some(()));
    let body = server.report("complete", &held["lease"], &json!({"result": "late"})).ok();
    assert_eq!((text(&body, "outcome"), text(&body, "state")), ("ok", "COMPLETED"));
    let body = server.report("complete", &held["lease"], &json!({})).ok();
    assert_eq!(body["outcome"], "duplicate");
    let shown = server.task(reference);
    assert_eq!(shown["attempts"][0]["outcome"], "late");
    let worker = server.get(&format!("/kwq/workers/{slow}")).ok();
    assert_eq!((int(&worker, "completed"), &worker["affinity"]), (1, &json!([key])), "{worker}");
    assert_eq!(int(&shown, "crashes"), 1);
    assert_eq!(server.get(&format!("/kwq/tasks/{reference}/result")).expect(200).text(), "late");
}

// S 6.1, T16: timeoutSeconds is the longest run; class timeout, an error, not a crash.
#[test]
fn a_run_limit_ends_the_attempt() {
    let (server, job) = (shared(), unique("limit"));
    let task =
        json!({"timeoutSeconds": 1, "leaseMs": 600_000, "maxAttempts": 2, "backoff": quick()});
    let begun = start_watch();
    let held = server.leased("t", &job, &task);
    let second = server.take("t", &job);
    assert!(since(begun).as_millis() >= 1_000, "never earlier");
    assert_eq!((int(&second, "attempt"), int(&second, "errors")), (2, 1));
    let shown = eventually("the second run is over too", || {
        let shown = server.task(text(&held, "ref"));
        (shown["state"] == "ERROR").then_some(shown)
    });
    assert_eq!((int(&shown, "errors"), int(&shown, "crashes")), (2, 0));
    assert_eq!(shown["error"]["class"], "timeout");
    assert_eq!(shown["attempts"][0]["outcome"], "timeout");
    assert_eq!(server.job(&job)["failedAttempts"], 2);
}

// S 6.1: renewals do not move the run limit.
#[test]
fn heartbeats_do_not_move_the_run_limit() {
    let (server, job, worker) = (shared(), unique("beats"), unique("w"));
    let task = json!({"timeoutSeconds": 2, "leaseMs": 600_000, "maxAttempts": 1});
    let held = server.leased(&worker, &job, &task);
    eventually("it times out between beats", || {
        let ask = json!({"worker": worker, "leases": [held["lease"]]});
        server.post("/kwq/heartbeat", &ask).expect(200);
        (server.state(text(&held, "ref")) == "ERROR").then_some(())
    });
}

// S 6.4: after T16 a late complete is accepted as after T14.
#[test]
fn a_completion_after_the_run_limit_is_late_too() {
    let (server, job) = (shared(), unique("latelimit"));
    let backoff = json!({"baseMs": 3_600_000, "capMs": 3_600_000, "jitter": "none"});
    let held = server.leased("t", &job, &json!({"timeoutSeconds": 1, "backoff": backoff}));
    let reference = text(&held, "ref");
    eventually("the run is over", || (server.state(reference) == "DELAYED").then_some(()));
    server.complete(&held);
    assert_eq!(server.task(reference)["attempts"][0]["outcome"], "late");
}

// S 6.1, P9: a renewed lease lives on; T9 marks it RUNNING.
#[test]
fn a_renewed_lease_outlives_its_first_length() {
    let (server, job, worker) = (shared(), unique("renewed"), unique("w"));
    let held = server.leased(&worker, &job, &json!({"leaseMs": 5_000}));
    let begun = start_watch();
    while since(begun).as_millis() < 8_000 {
        let ask = json!({"worker": worker, "leases": [held["lease"]]});
        let body = server.post("/kwq/heartbeat", &ask).ok();
        assert_eq!((int(&body, "renewed"), &body["lost"]), (1, &json!([])), "{body}");
        pause(300);
    }
    let shown = server.task(text(&held, "ref"));
    assert_eq!((text(&shown, "state"), int(&shown, "crashes")), ("RUNNING", 0));
    server.complete(&held);
}

// S 6.1: a consume with `leases` is a heartbeat too, before its wait.
#[test]
fn a_consume_with_leases_renews_them() {
    let (server, job, worker) = (shared(), unique("polls"), unique("w"));
    let held = server.leased(&worker, &job, &json!({}));
    let ask = json!({"worker": worker, "jobs": [unique("other")], "waitMs": 0,
        "leases": [held["lease"], "AAAAunknown"]});
    let body = server.post("/kwq/consume", &ask).ok();
    assert_eq!(body["tasks"], json!([]));
    assert_eq!(int(&body, "renewed"), 1);
    assert_eq!((&body["lost"], &body["cancel"]), (&json!(["AAAAunknown"]), &json!([])));
    assert_eq!(server.state(text(&held, "ref")), "RUNNING");
}

// S 6.3: a consume without leases renews nothing.
#[test]
fn a_consume_without_leases_renews_nothing() {
    let (server, job, worker) = (shared(), unique("no-renew"), unique("w"));
    let held = server.leased(&worker, &job, &json!({"leaseMs": 2_000, "maxCrashes": 1}));
    let (name, other) = (worker, unique("other"));
    let asking = in_background(move || {
        let begun = start_watch();
        while since(begun).as_millis() < 4_000 {
            shared().consume(&name, &other, &json!({"waitMs": 200}));
        }
    });
    eventually("it lapses all the same", || {
        (server.state(text(&held, "ref")) == "ERROR").then_some(())
    });
    asking.join().expect("no panic");
}

// S 7.3: error_ts and the error of a dead task are set (defect 9 of the prototype).
#[test]
fn a_dead_task_says_when_and_why() {
    let (server, job, before) = (shared(), unique("why"), now_ms());
    let held = server.leased("w", &job, &json!({"maxAttempts": 1}));
    let more = json!({"class": "pricer.nan", "message": "NaN in leg 2"});
    let body = server.report("fail", &held["lease"], &more).ok();
    assert_eq!((text(&body, "outcome"), text(&body, "state")), ("dead", "ERROR"));
    assert_eq!((int(&body, "errors"), int(&body, "maxAttempts")), (1, 1), "{body}");
    assert_eq!(int(&body, "crashes"), 0);
    let shown = server.task(text(&held, "ref"));
    assert!(int(&shown, "error_ts") >= before);
    let error = &shown["error"];
    assert_eq!((text(error, "class"), text(error, "message")), ("pricer.nan", "NaN in leg 2"));
    assert_eq!(int(error, "attempt"), 1);
    let job = server.job(&job);
    assert_eq!(job["firstError"]["ref"], shown["ref"]);
    assert_eq!(job["firstError"]["class"], "pricer.nan");
}

// S 6.5, P9: while the server stands still no lease ends; beats that waited meanwhile count.
#[test]
fn a_frozen_server_ends_no_lease() {
    let (server, job) = (Server::start(&[]), unique("frozen"));
    let held = server.leased("w", &job, &json!({"leaseMs": 4_000}));
    let other = server.leased("v", &job, &json!({"leaseMs": 4_000}));
    server.signal("STOP");
    let mut beat = crate::support::Conn::open(server.addr()).expect("connects");
    let body = json!({"worker": "w", "leases": [held["lease"]]});
    beat.send(&Req::new("POST", "/kwq/heartbeat").json(&body).to_bytes()).expect("sends");
    pause(6_000);
    server.signal("CONT");
    let renewed = beat.answer(false).expect("an answer").ok();
    assert_eq!(int(&renewed, "renewed"), 1, "{renewed}");
    pause(500);
    let later = server.task(text(&other, "ref"));
    assert_eq!((text(&later, "state"), int(&later, "crashes")), ("ALLOCATED", 0), "{later}");
    eventually("without a beat the lease ends all the same", || {
        (int(&server.task(text(&other, "ref")), "crashes") == 1).then_some(())
    });
}

// S 3, 6.2, P8: a token works only for the worker it was given to; the reports of a consume are
// those of its worker.
#[test]
fn the_reports_of_a_consume_act_for_its_worker_only() {
    let (server, job, none) = (shared(), unique("owned"), unique("none"));
    server.add(&job, &json!([{}, {}, {}]));
    let held: Vec<Value> = (0..3).map(|_| server.take("owner", &job)).collect();
    let done = |worker: &str, named: &Value| {
        let verbs = [
            json!({"lease": held[0]["lease"]}),
            json!({"type": "fail", "lease": held[1]["lease"], "retryable": false}),
            json!({"type": "release", "lease": held[2]["lease"]}),
        ];
        let done: Vec<Value> = verbs.iter().map(|verb| merge(verb, named)).collect();
        let ask = json!({"worker": worker, "jobs": [none], "waitMs": 0, "done": done});
        let told = server.post("/kwq/consume", &ask).ok();
        let told = told["done"].as_array().expect("verdicts").clone();
        told.iter().map(|verdict| text(verdict, "outcome").to_owned()).collect::<Vec<_>>()
    };
    let lost = ["lease_lost"; 3];
    assert_eq!(done("thief", &json!({})), lost);
    assert_eq!(done("thief", &json!({"worker": "owner"})), lost, "both must agree");
    assert_eq!(done("owner", &json!({"worker": "thief"})), lost, "both must agree");
    assert!(held.iter().all(|task| server.state(text(task, "ref")) == "ALLOCATED"));
    assert_eq!(done("owner", &json!({"worker": "owner"})), ["ok", "dead", "ok"]);
}

// P8, S 6.4: also the late completion is its worker's.
#[test]
fn nobody_completes_late_for_another_worker() {
    let (server, job) = (shared(), unique("late"));
    let backoff = json!({"baseMs": 3_600_000, "capMs": 3_600_000, "jitter": "none"});
    let held = server.leased("slow", &job, &json!({"leaseMs": 1_000, "backoff": backoff}));
    let reference = text(&held, "ref");
    eventually("the lease lapses", || (server.state(reference) == "DELAYED").then_some(()));
    let as_worker =
        |name: &str| server.report("complete", &held["lease"], &json!({"worker": name}));
    as_worker("other").refused(409, "lease_lost");
    assert_eq!(server.state(reference), "DELAYED");
    assert_eq!(as_worker("slow").ok()["outcome"], "ok");
}
