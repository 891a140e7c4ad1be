//! Workers: register, list, drain, delete (`api.md` 5.4, `semantics.md` 6.6).

use serde_json::{Value, json};

use crate::support::{
    Server, eventually, int, outcome, pause, shared, since, start_watch, text, unique,
};

fn path(worker: &str, rest: &str) -> String {
    format!("/kwq/workers/{worker}{rest}")
}

// api.md 5.4: register answers heartbeatMs and leaseMs; the worker is shown.
#[test]
fn a_registered_worker_is_shown() {
    let (server, worker) = (shared(), unique("reg"));
    let spec = json!({"worker": worker, "endpoint": "http://h:1", "slots": 8, "version": "1.2",
        "affinity": ["curve=USD"]});
    let body = server.post("/kwq/workers", &spec).ok();
    assert_eq!(body, json!({"worker": worker, "heartbeatMs": 10_000, "leaseMs": 30_000}));
    let shown = server.get(&path(&worker, "")).ok();
    assert_eq!((text(&shown, "worker"), text(&shown, "state")), (worker.as_str(), "ACTIVE"));
    assert_eq!((text(&shown, "endpoint"), int(&shown, "slots")), ("http://h:1", 8));
    assert_eq!((text(&shown, "version"), int(&shown, "leases")), ("1.2", 0));
    assert_eq!((&shown["held"], &shown["affinity"]), (&json!([]), &json!(["curve=USD"])));
    assert!(int(&shown, "lastSeen_ts") >= int(&shown, "firstSeen_ts"));
}

// api.md 5.4: any worker call registers; what it holds and did is counted.
#[test]
fn any_call_registers_and_counts() {
    let (server, worker, job) = (shared(), unique("any"), unique("j"));
    server.add(&job, &Value::Array(vec![json!({"maxAttempts": 1}); 3]));
    let held = server.consume(&worker, &job, &json!({"max": 3}));
    let [a, b, c] = held.as_slice() else { panic!("three") };
    let shown = server.get(&path(&worker, "")).ok();
    assert_eq!(int(&shown, "leases"), 3);
    let refs: Vec<&Value> =
        shown["held"].as_array().expect("held").iter().map(|h| &h["ref"]).collect();
    assert!([a, b, c].iter().all(|t| refs.contains(&&t["ref"])), "{shown}");
    assert_eq!(shown["held"][0]["groupId"], *job);
    assert_eq!(int(&shown["held"][0], "attempt"), 1);
    server.complete(a);
    server.report("fail", &b["lease"], &json!({})).expect(200);
    let shown = server.get(&path(&worker, "")).ok();
    assert_eq!((int(&shown, "leases"), int(&shown, "completed"), int(&shown, "failed")), (1, 1, 1));
}

// api.md 5.4: the list with its filter and pages.
#[test]
fn workers_are_listed() {
    let server = shared();
    let mut names: Vec<String> = (0..5).map(|_| unique("listed")).collect();
    for name in &names {
        server.post("/kwq/workers", &json!({"worker": name})).expect(200);
    }
    let drained = names.first().expect("five").clone();
    server.poke(&path(&drained, "/drain")).expect(200);
    let mut seen: Vec<String> = server
        .pages("/kwq/workers?limit=2")
        .iter()
        .map(|w| text(w, "worker").to_owned())
        .filter(|w| names.contains(w))
        .collect();
    seen.sort();
    names.sort();
    assert_eq!(seen, names, "each once");
    let rows = server.pages("/kwq/workers?state=DRAINING");
    assert!(rows.iter().any(|w| w["worker"] == *drained));
    assert!(rows.iter().all(|w| w["state"] == "DRAINING"), "{rows:?}");
    server.get("/kwq/workers?state=ASLEEP").refused(400, "bad_request");
}

// S 6.6 drain: consumes answer 204 + Kwq-Drain, leases live on, beats say drain; undone by false.
#[test]
fn a_drained_worker_gets_nothing_and_keeps_what_it_holds() {
    let (server, worker, job) = (shared(), unique("drain"), unique("j"));
    server.add(&job, &json!([{}, {}]));
    let held = server.take(&worker, &job);
    let shown = server.post(&path(&worker, "/drain"), &json!({})).ok();
    assert_eq!((text(&shown, "worker"), text(&shown, "state")), (worker.as_str(), "DRAINING"));
    let ask = json!({"worker": worker, "jobs": [job], "waitMs": 30_000});
    let answer = server.post("/kwq/consume", &ask);
    assert_eq!(answer.expect(204).header("Kwq-Drain"), Some("true"));
    let beat = json!({"worker": worker, "leases": [held["lease"]]});
    let body = server.post("/kwq/heartbeat", &beat).ok();
    assert_eq!((&body["drain"], int(&body, "renewed")), (&json!(true), 1));
    let with_done = json!({"worker": worker, "jobs": [job], "waitMs": 0,
        "done": [{"lease": held["lease"]}]});
    let body = server.post("/kwq/consume", &with_done).ok();
    assert_eq!((&body["tasks"], &body["drain"]), (&json!([]), &json!(true)));
    assert_eq!(body["done"][0]["outcome"], "ok", "reports are still taken");
    let shown = server.post(&path(&worker, "/drain"), &json!({"drain": false})).ok();
    assert_eq!(shown["state"], "ACTIVE");
    assert_eq!(server.consume(&worker, &job, &json!({})).len(), 1);
}

// S 6.6 delete: all its leases take T13 at once, free of charge.
#[test]
fn a_deleted_worker_gives_back_what_it_held() {
    let (server, worker, job) = (shared(), unique("delete"), unique("j"));
    server.add(&job, &Value::Array(vec![json!({"maxAttempts": 1, "maxCrashes": 1}); 3]));
    let held = server.consume(&worker, &job, &json!({"max": 3}));
    let body = server.delete(&path(&worker, "")).ok();
    assert_eq!(body, json!({"released": 3}));
    let first = held.first().expect("three");
    let shown = server.task(text(first, "ref"));
    assert_eq!((text(&shown, "state"), int(&shown, "errors")), ("PENDING", 0));
    assert_eq!(int(&shown, "crashes"), 0);
    assert_eq!(shown["attempts"][0]["outcome"], "released");
    // S 3: nobody has accepted a `release` of these.
    for verb in ["start", "complete", "fail", "release"] {
        assert_eq!(outcome(&server.report(verb, &first["lease"], &json!({}))), "lease_lost");
    }
    server.get(&path(&worker, "")).refused(404, "worker_not_found");
    let again = server.consume(&unique("other"), &job, &json!({"max": 9}));
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|t| int(t, "attempt") == 2));
}

// api.md 5.4: an unknown worker → 404.
#[test]
fn an_unknown_worker_is_404() {
    let worker = unique("nobody");
    shared().get(&path(&worker, "")).refused(404, "worker_not_found");
    shared().poke(&path(&worker, "/drain")).refused(404, "worker_not_found");
    shared().delete(&path(&worker, "")).refused(404, "worker_not_found");
}

// api.md 5.4: ranges of a registration.
#[test]
fn fields_of_a_worker_out_of_range_are_refused() {
    for (field, wrong) in [
        ("worker", json!(["", " w", "a\u{7}b", "x".repeat(129), 5])),
        ("endpoint", json!(["x".repeat(257), 5])),
        ("slots", json!([0, 10_001, -1, "5"])),
        ("version", json!(["x".repeat(65), 5])),
        ("affinity", json!([(0..65).map(|i| format!("k{i}")).collect::<Vec<_>>(), 5])),
    ] {
        for value in wrong.as_array().expect("a list") {
            let mut spec = json!({"worker": "range"});
            spec[field] = value.clone();
            shared().post("/kwq/workers", &spec).refused_field("invalid_field", field);
        }
    }
    shared().post("/kwq/workers", &json!({})).refused_field("invalid_field", "worker");
}

/// The state of a worker as it is shown.
fn state(server: &Server, worker: &str) -> String {
    text(&server.get(&path(worker, "")).ok(), "state").to_owned()
}

// S 7.1, api.md 5.4: `failed` counts failures and time-outs; starting a task or giving it back is
// none.
#[test]
fn failed_counts_failures_and_time_outs_only() {
    let (server, worker, job) = (shared(), unique("fails"), unique("j"));
    server.add(&job, &json!([{}, {}]));
    let held = server.consume(&worker, &job, &json!({"max": 2}));
    let [started, released] = held.as_slice() else { panic!("two") };
    server.report("start", &started["lease"], &json!({})).expect(200);
    server.report("release", &released["lease"], &json!({"delayMs": 60_000})).expect(200);
    let failed = || int(&server.get(&path(&worker, "")).ok(), "failed");
    assert_eq!(failed(), 0);
    server.report("fail", &started["lease"], &json!({"retryAfterMs": 60_000})).expect(200);
    assert_eq!(failed(), 1);
    let slow = server.leased(&worker, &job, &json!({"maxAttempts": 1, "timeoutSeconds": 1}));
    let slow = text(&slow, "ref");
    eventually("its time is over", || (server.state(slow) == "ERROR").then_some(()));
    eventually("and counted", || (failed() == 2).then_some(()));
    let shown = server.get(&path(&worker, "")).ok();
    assert_eq!((int(&shown, "completed"), int(&shown, "crashed")), (0, 0), "{shown}");
}

// S 6.6, 6.3: LOST after three of the intervals a worker was told, and not while its consume waits.
#[test]
fn a_worker_that_keeps_to_what_it_was_told_is_not_lost() {
    let server = Server::start(&["lease.default=1s", "worker.forget=3s"]);
    server.submit(&json!({"groupId": "long", "leaseMs": 600_000}));
    server.take("holder", "long");
    let parked = server.park("parked", "none");
    server.post("/kwq/workers", &json!({"worker": "silent"})).expect(200);
    eventually("who is silent for 3 x 333 ms is lost", || {
        (state(&server, "silent") == "LOST").then_some(())
    });
    assert_eq!(state(&server, "holder"), "ACTIVE", "it was told 200,000");
    assert_eq!(state(&server, "parked"), "ACTIVE", "it waits");
    eventually("who is silent for longer is forgotten", || {
        (server.get(&path("silent", "")).status == 404).then_some(())
    });
    assert_eq!(state(&server, "parked"), "ACTIVE");
    drop(parked);
    eventually("gone, it is lost like any other", || {
        (server.get(&path("parked", "")).status == 404).then_some(())
    });
}

// S 6.6: a long lease makes long silence; who holds one is shown however long ago it called.
#[test]
fn a_worker_that_holds_a_lease_is_not_forgotten() {
    let server = Server::start(&["worker.forget=1s"]);
    server.submit(&json!({"groupId": "long", "leaseMs": 6_000}));
    let begun = start_watch();
    server.take("holder", "long");
    server.post("/kwq/workers", &json!({"worker": "silent"})).expect(200);
    let gone = |worker: &str| (server.get(&path(worker, "")).status == 404).then_some(());
    eventually("who holds nothing is forgotten", || gone("silent"));
    pause(1_000);
    let listed = server.get("/kwq/workers").ok();
    assert_eq!(int(&listed[0], "leases"), 1, "{listed}");
    assert_eq!(listed.as_array().expect("a list").len(), 1, "{listed}");
    eventually("its lease is over", || gone("holder"));
    assert!(since(begun).as_millis() >= 6_000);
}
