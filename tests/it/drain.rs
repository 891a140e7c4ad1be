//! Drain (`promises.md` 9): reports are served while leases are held, for `drain.timeout` at most.

use serde_json::json;

use crate::support::{Req, Server, eventually, text};

/// SIGTERM, and new work is refused from here on.
fn drain(server: &Server) {
    server.signal_term();
    let submit = Req::new("POST", "/kwq/submit").json(&json!({"groupId": "probe"}));
    let refused = eventually("it takes no new work", || {
        server.try_call(&submit).ok().filter(|answer| answer.status != 200)
    });
    refused.refused(503, "draining");
}

#[test]
fn the_report_of_a_lease_is_taken_while_it_drains_and_the_last_one_ends_it() {
    let mut server = Server::start(&["drain.timeout=10m"]);
    let first = server.leased("w", "g", &json!({"leaseMs": 600_000}));
    let second = server.leased("w", "g", &json!({"leaseMs": 600_000}));
    let mut parked = server.park("waits", "g");
    drain(&server);
    assert_eq!(parked.answer(false).expect("an answer").status, 204, "parked consumes leave");
    let ask = json!({"worker": "w", "waitMs": 60_000});
    server.post("/kwq/consume", &ask).expect(204);
    server.report("start", &first["lease"], &json!({})).expect(200);
    let beat = json!({"worker": "w", "leases": [first["lease"], second["lease"]]});
    assert_eq!(server.post("/kwq/heartbeat", &beat).ok()["renewed"], 2);
    server.complete(&first);
    server.complete(&second);
    // Not ten minutes later.
    server.wait_end();
    server.launch();
    for task in [first, second] {
        assert_eq!(server.state(text(&task, "ref")), "COMPLETED");
    }
}

#[test]
fn without_a_lease_it_ends_at_once() {
    let mut server = Server::start(&["drain.timeout=10m"]);
    server.submit(&json!({"groupId": "g"}));
    let task = server.take("w", "g");
    server.complete(&task);
    server.terminate();
}

#[test]
fn a_lease_without_a_report_holds_it_up_no_longer_than_the_timeout() {
    let mut server = Server::start(&["drain.timeout=1s"]);
    let task = server.leased("w", "g", &json!({"leaseMs": 600_000}));
    server.terminate();
    server.launch();
    assert_eq!(server.state(text(&task, "ref")), "ALLOCATED", "leases stay valid in the log");
    server.complete(&task);
}

#[test]
fn a_second_signal_ends_it_now() {
    let mut server = Server::start(&["drain.timeout=10m"]);
    let task = server.leased("w", "g", &json!({"leaseMs": 600_000}));
    drain(&server);
    server.terminate();
    server.launch();
    server.complete(&task);
}

// Without a tokens file to read again, SIGHUP is a wish to stop like the others.
#[test]
fn a_hangup_drains() {
    let mut server = Server::start(&[]);
    let held = server.leased("w", "g", &json!({"leaseMs": 600_000}));
    server.signal("HUP");
    server.says("draining");
    server.complete(&held);
    server.wait_end();
}
