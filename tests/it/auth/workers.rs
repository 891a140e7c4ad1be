//! Whose a worker is: names are shared, so a token with scopes has a say over its own only.

use serde_json::{Value, json};

use super::kit::{Guarded, ROLES, Ring};
use super::scopes::{member, tenants};
use crate::support::Req;

fn delete(worker: &str) -> Req {
    Req::new("DELETE", &format!("/kwq/workers/{worker}"))
}

#[test]
fn a_worker_of_two_tenants_shows_and_gives_back_only_what_is_ones_own() {
    let g = tenants();
    g.submit("a", "a-h", "t");
    g.submit("b", "b-h", "t");
    let ask = json!({"worker": "w-both", "waitMs": 0, "max": 10});
    let held = g.post("all", "/kwq/consume", &ask).ok();
    assert_eq!(held["tasks"].as_array().map(Vec::len), Some(2));
    let shown = g.get("a", "/kwq/workers/w-both").ok();
    assert_eq!(member(&shown["held"], "groupId"), ["a-h"], "{shown}");
    g.call("a", delete("w-both")).refused(404, "worker_not_found");
    assert_eq!(g.call("all", delete("w-both")).ok()["released"], 2);
}

// SECURITY.md: foreign and unknown answer alike; what others say of a worker changes nothing.
#[test]
fn a_foreign_worker_keeps_what_it_said_of_itself() {
    let g = tenants();
    g.submit("b", "b-w", "t");
    let said = json!({"worker": "w-b", "endpoint": "http://b:1", "slots": 4, "affinity": ["k"]});
    g.post("b", "/kwq/workers", &said).ok();
    assert_eq!(g.take("b", json!({})).len(), 1);
    let other = json!({"worker": "w-b", "endpoint": "http://a:1", "slots": 9, "affinity": ["x"]});
    g.post("a", "/kwq/workers", &other).ok();
    g.post("a", "/kwq/consume", &json!({"worker": "w-b", "endpoint": "http://a:1", "waitMs": 0}))
        .expect(204);
    g.post("a", "/kwq/heartbeat", &json!({"worker": "w-b", "affinity": ["x"]})).ok();
    let shown = g.get("all", "/kwq/workers/w-b").ok();
    assert_eq!((&shown["endpoint"], &shown["slots"]), (&json!("http://b:1"), &json!(4)), "{shown}");
    assert_eq!((&shown["affinity"], &shown["leases"]), (&json!(["k"]), &json!(1)), "{shown}");
    let foreign = g.call("a", delete("w-b")).refused(404, "worker_not_found");
    let unknown = g.call("a", delete("w-x")).refused(404, "worker_not_found");
    let told = |problem: &Value| problem["detail"].as_str().map(|d| d.replace("w-x", "w-b"));
    assert_eq!(told(&foreign), told(&unknown));
    // Its own say over it is as before, and so is that of a token that may touch every job.
    g.post("b", "/kwq/workers", &json!({"worker": "w-b", "endpoint": "http://b:2"})).ok();
    g.post("all", "/kwq/workers", &json!({"worker": "w-b", "slots": 2})).ok();
    let shown = g.get("all", "/kwq/workers/w-b").ok();
    assert_eq!((&shown["endpoint"], &shown["slots"]), (&json!("http://b:2"), &json!(2)), "{shown}");
    assert_eq!(g.call("b", delete("w-b")).ok()["released"], 1);
}

// semantics.md 6.6: a drain is an operator's; a worker that says good-bye does not end it.
#[test]
fn a_good_bye_does_not_end_a_drain() {
    let ring = Ring::new().add("all", &ROLES, &[]).add("work", &["work"], &[]);
    let g = Guarded::start(ring.add("a", &ROLES, &["--scope", "a-"]));
    for (who, worker) in [("work", "w1"), ("a", "w2")] {
        g.post(who, "/kwq/workers", &json!({"worker": worker})).ok();
        let path = format!("/kwq/workers/{worker}");
        g.post("all", &format!("{path}/drain"), &json!({})).ok();
        g.post("all", "/kwq/submit", &json!({"groupId": "a-1", "payload": "p"})).ok();
        assert_eq!(g.call(who, delete(worker)).ok()["released"], 0);
        assert_eq!(g.get("all", &path).ok()["state"], "DRAINING");
        let idle = g.post(who, "/kwq/consume", &json!({"worker": worker, "waitMs": 0}));
        assert_eq!(idle.expect(204).header("kwq-drain"), Some("true"));
        g.call("all", delete(worker)).ok();
        g.get("all", &path).refused(404, "worker_not_found");
        let task = g.post(who, "/kwq/consume", &json!({"worker": worker, "waitMs": 0})).ok();
        assert_eq!(task["tasks"].as_array().map(Vec::len), Some(1), "{task}");
    }
}

// semantics.md 6.3: of the caller's own leases, also beside a foreign one of the default length.
#[test]
fn the_interval_tells_nothing_of_foreign_leases() {
    let g = tenants();
    for (job, lease_ms) in [("a-i", 90_000), ("b-i", 30_000)] {
        let task = json!({"groupId": job, "payload": "p", "leaseMs": lease_ms});
        g.post("all", "/kwq/submit", &task).ok();
        let ask = json!({"worker": "w-two", "jobs": [job], "waitMs": 0});
        let who = if job == "a-i" { "a" } else { "b" };
        assert_eq!(g.post(who, "/kwq/consume", &ask).ok()["tasks"][0]["leaseMs"], lease_ms);
    }
    for (path, ask) in [
        ("/kwq/heartbeat", json!({"worker": "w-two", "leases": []})),
        ("/kwq/workers", json!({"worker": "w-two"})),
        ("/kwq/consume", json!({"worker": "w-two", "waitMs": 0, "done": []})),
    ] {
        assert_eq!(g.post("a", path, &ask).ok()["heartbeatMs"], 30_000, "{path}");
        assert_eq!(g.post("all", path, &ask).ok()["heartbeatMs"], 10_000, "{path}");
    }
}
