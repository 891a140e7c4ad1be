//! The seed's own routes: same paths, same bodies (`api.md` 9).

use serde_json::{Value, json};

use crate::support::{
    Answer, Req, Server, eventually, int, merge, shared, since, start_watch, text, unique,
};

fn update(server: &Server, task: &Value) -> Answer {
    server.post("/kwq/updateTask", task)
}

/// A server without other traffic: the seed's consume cannot be narrowed to a job.
fn own() -> Server {
    Server::start(&["log.partitions=1"])
}

fn consume(server: &Server, worker: &str, wait: &str) -> Answer {
    server.get(&format!("/kwq/consume/{worker}/end%2Fpoint/{wait}"))
}

// api.md 9: 200 SeedTask with status, worker, workerEndpoint and the four headers.
#[test]
fn the_seed_consume_gives_a_seed_task_with_its_lease() {
    let server = own();
    server.submit(&json!({"id": "t", "groupId": "g", "payload": "p", "tag": "a:b"}));
    let answer = consume(&server, "10.0.0.1", "10");
    let body = answer.ok();
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(16), "{body}");
    let expected = json!({"id": "t", "groupId": "g", "payload": "p", "tag": "a:b",
        "status": "ALLOCATED", "worker": "10.0.0.1", "workerEndpoint": "end/point", "runCount": 1,
        "running_ts": 0, "completed_ts": 0});
    assert_eq!(merge(&body, &expected), body);
    assert!(int(&body, "allocated_ts") >= int(&body, "submitted_ts"));
    assert_eq!(answer.header("Kwq-Lease-Ms"), Some("60000"), "60 s without a run limit");
    assert_eq!(answer.header("Kwq-Attempt"), Some("1"));
    assert_eq!(answer.header("Deprecation"), Some("true"));
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    let lease = answer.header("Kwq-Lease").expect("a token");
    let body = server.post("/kwq/complete", &json!({"lease": lease})).ok();
    assert_eq!(body["outcome"], "ok");
}

// api.md 9: leaseMs = timeoutSeconds × 1,000 if set.
#[test]
fn the_seed_lease_is_the_run_limit() {
    let server = own();
    server.submit(&json!({"groupId": "g", "timeoutSeconds": 90}));
    let answer = consume(&server, "w", "10");
    assert_eq!(answer.expect(200).header("Kwq-Lease-Ms"), Some("90000"));
}

// api.md 9: nothing within waitSec → 204; more than 60 counts as 60; not a number → 400.
#[test]
fn the_seed_wait_is_read() {
    let server = own();
    let begun = start_watch();
    let answer = consume(&server, "w", "1");
    assert!(answer.expect(204).body.is_empty());
    assert!(since(begun).as_millis() >= 1_000);
    consume(&server, "w", "0").expect(204);
    for wrong in ["x", "-1", "1.5"] {
        consume(&server, "w", wrong).refused(400, "bad_request");
    }
    server.submit(&json!({"groupId": "g"}));
    consume(&server, "w", "86400").expect(200);
}

// api.md 9 updateTask: RUNNING = start, COMPLETED = complete, by the worker's name.
#[test]
fn an_update_by_worker_drives_a_task() {
    let server = own();
    server.submit(&json!({"id": "t", "groupId": "g"}));
    let task = consume(&server, "w", "10").ok();
    let mut next = merge(&task, &json!({"status": "RUNNING"}));
    let body = update(&server, &next).ok();
    assert_eq!(
        (text(&body, "status"), body.as_object().map(serde_json::Map::len)),
        ("RUNNING", Some(16))
    );
    assert!(int(&body, "running_ts") >= int(&body, "allocated_ts"));
    next["status"] = json!("COMPLETED");
    let body = update(&server, &next).ok();
    assert_eq!(text(&body, "status"), "COMPLETED");
    assert!(int(&body, "completed_ts") >= int(&body, "running_ts"));
    update(&server, &next).ok();
    assert_eq!(server.task("t")["state"], "COMPLETED");
}

// api.md 9 updateTask: ERROR = fail with class error.
#[test]
fn an_update_to_error_is_a_failed_attempt() {
    let server = own();
    server.submit(&json!({"id": "t", "groupId": "g", "maxAttempts": 1}));
    let task = consume(&server, "w", "10").ok();
    let body = update(&server, &merge(&task, &json!({"status": "ERROR"}))).ok();
    assert_eq!(text(&body, "status"), "ERROR");
    let shown = server.task("t");
    assert_eq!((text(&shown, "state"), text(&shown["error"], "class")), ("ERROR", "error"));
    update(&server, &merge(&task, &json!({"status": "ERROR"}))).ok();
    assert_eq!(int(&server.task("t"), "errors"), 1, "the repeat counts once");
}

// api.md 9 updateTask: another worker's name, or none → 409 lease_lost; a token in the header acts.
#[test]
fn an_update_needs_the_worker_or_the_token() {
    let server = own();
    server.submit(&json!({"id": "t", "groupId": "g"}));
    let answer = consume(&server, "w", "10");
    let lease = answer.header("Kwq-Lease").expect("a token").to_owned();
    let base = json!({"id": "t", "groupId": "g", "status": "COMPLETED"});
    update(&server, &merge(&base, &json!({"worker": "thief"}))).refused(409, "lease_lost");
    update(&server, &base).refused(409, "lease_lost");
    assert_eq!(server.task("t")["state"], "ALLOCATED");
    let req = Req::new("POST", "/kwq/updateTask").header("Kwq-Lease", &lease);
    let body = server.call(&req.json(&base)).ok();
    assert_eq!(text(&body, "status"), "COMPLETED");
}

// api.md 9 updateTask: other status → 409 illegal_transition; unknown task → 404.
#[test]
fn an_update_knows_three_statuses() {
    let server = own();
    server.submit(&json!({"id": "t", "groupId": "g"}));
    let task = consume(&server, "w", "10").ok();
    for status in ["SUBMITTED", "ALLOCATED"] {
        update(&server, &merge(&task, &json!({"status": status})))
            .refused(409, "illegal_transition");
    }
    assert_eq!(server.task("t")["state"], "ALLOCATED");
    let unknown = json!({"id": "nobody", "worker": "w", "status": "RUNNING"});
    update(&server, &unknown).refused(404, "task_not_found");
}

// api.md 9: compat.update-by-worker off: only the token acts.
#[test]
fn updates_by_worker_can_be_switched_off() {
    let server = Server::start(&["log.partitions=1", "compat.update-by-worker=false"]);
    server.submit(&json!({"id": "t", "groupId": "g"}));
    let answer = consume(&server, "w", "10");
    let next = merge(&answer.ok(), &json!({"status": "COMPLETED"}));
    update(&server, &next).refused(409, "lease_lost");
    let lease = answer.header("Kwq-Lease").expect("a token").to_owned();
    let req = Req::new("POST", "/kwq/updateTask").header("Kwq-Lease", &lease);
    server.call(&req.json(&next)).expect(200);
}

// api.md 9: off with compat.seed-get = false (404).
#[test]
fn the_seed_consume_can_be_switched_off() {
    let server = Server::start(&["compat.seed-get=false"]);
    assert_eq!(consume(&server, "w", "0").status, 404);
}

// api.md 9 stats: state changes per 5 s window, newest first; idle calls add nothing (P: row 13).
#[test]
fn seed_stats_count_state_changes_per_window() {
    let server = own();
    server.submit(&json!({"groupId": "g"}));
    server.submit(&json!({"groupId": "g"}));
    let held = server.take("w", "g");
    server.report("start", &held["lease"], &json!({})).expect(200);
    server.complete(&held);
    let total = |rows: &Value, name: &str| -> i64 {
        rows.as_array().expect("rows").iter().map(|r| int(r, name)).sum()
    };
    let rows = eventually("all is counted", || {
        let rows = server.get("/kwq/stats").ok();
        (total(&rows, "completed") == 1).then_some(rows)
    });
    let sums = ["submitted", "allocated", "running", "error"].map(|n| total(&rows, n));
    assert_eq!(sums, [2, 1, 1, 0], "{rows}");
    let rows = rows.as_array().expect("rows").clone();
    for row in &rows {
        let sum: i64 = ["submitted", "allocated", "running", "error", "completed"]
            .iter()
            .map(|n| int(row, n))
            .sum();
        assert_eq!(int(row, "total"), sum, "{row}");
        assert_eq!(int(row, "time") % 5_000, 0, "{row}");
    }
    let times: Vec<i64> = rows.iter().map(|r| int(r, "time")).collect();
    assert!(times.windows(2).all(|w| w[0] - w[1] == 5_000), "no gap, newest first: {times:?}");
}

// api.md 9: `limit` of the seed's stats.
#[test]
fn seed_stats_have_a_limit() {
    let rows = shared().get("/kwq/stats?limit=1").ok();
    assert!(rows.as_array().is_some_and(|r| r.len() <= 1));
    shared().get("/kwq/stats?limit=0").refused(400, "bad_request");
    shared().get("/kwq/stats?limit=x").refused(400, "bad_request");
}

// api.md 9: the seed's GET /kwq/tasks: a superset of the 16 names, without the payload.
#[test]
fn the_seed_list_is_a_superset_of_the_seed_body() {
    let (server, job) = (shared(), unique("superset"));
    let held = server.leased("w", &job, &json!({"tag": "a", "source": "s", "meta": "m"}));
    server.complete(&held);
    let tasks = server.tasks(&job, "");
    let task = tasks.first().expect("one");
    for name in [
        "id",
        "groupId",
        "priority",
        "tag",
        "source",
        "status",
        "worker",
        "runCount",
        "meta",
        "timeoutSeconds",
        "submitted_ts",
        "allocated_ts",
        "running_ts",
        "completed_ts",
    ] {
        assert!(task.get(name).is_some(), "{name} in {task}");
    }
    assert!(task.get("payload").is_none());
}
