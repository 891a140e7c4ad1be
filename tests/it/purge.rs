//! Purge of jobs (`api.md` 6, `semantics.md` T23, 11.3, 13.2).

use serde_json::{Value, json};

use crate::support::{Req, Server, int, kwq_lines, shared, text, unique};

fn purge(server: &Server, job: &str) -> Value {
    let req = Req::new("DELETE", &format!("/kwq/jobs/{job}"));
    server.ended(&server.begin(&req, "purgeJob"))
}

/// A job with tasks that ended in every way.
fn ended_job(server: &Server) -> (String, Vec<String>) {
    let job = unique("purge");
    let items = json!([{"id": "done"}, {"id": "dead", "maxAttempts": 1}, {"id": "gone"},
        {"id": "late", "delayMs": 3_600_000}]);
    let refs = server.add(&job, &items);
    for _ in 0..3 {
        let task = server.take("w", &job);
        match text(&task, "id") {
            "done" => drop(server.complete(&task)),
            "dead" => drop(server.report("fail", &task["lease"], &json!({"retryable": false}))),
            _ => drop(server.report("release", &task["lease"], &json!({"delayMs": 60_000}))),
        }
    }
    server.job_verb(&job, "cancel");
    (job, refs)
}

// S 11.1 verb table: DELETE.
#[test]
fn only_an_ended_job_is_purged() {
    let (server, job) = (shared(), unique("open"));
    let path = format!("/kwq/jobs/{job}");
    server.delete(&path).refused(404, "job_not_found");
    server.add(&job, &json!([{}]));
    server.delete(&path).refused(409, "not_finished");
    server.job_verb(&job, "close");
    server.delete(&path).refused(409, "not_finished");
    let task = server.take("w", &job);
    server.complete(&task);
    let op = purge(server, &job);
    assert_eq!((int(&op, "matched"), int(&op, "done"), int(&op, "skipped")), (1, 1, 0));
    assert_eq!((&op["state"], &op["filter"]), (&json!("DONE"), &json!({"job": job})));
    server.delete(&path).refused(410, "purged");
}

// T23: nothing of it is left, everything answers 410, and the name is free again.
#[test]
fn a_purged_job_answers_410_everywhere_and_its_name_is_free() {
    let server = shared();
    let (job, refs) = ended_job(server);
    purge(server, &job);
    let path = format!("/kwq/jobs/{job}");
    for (method, rest) in [
        ("GET", ""),
        ("GET", "/wait?waitMs=0"),
        ("POST", "/close"),
        ("POST", "/pause"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("PATCH", ""),
    ] {
        let req = Req::new(method, &format!("{path}{rest}"));
        let req = if method == "GET" { req } else { req.json(&json!({})) };
        server.call(&req).refused(410, "purged");
    }
    for task in refs.iter().map(String::as_str).chain(["done", "dead", "late"]) {
        let path = format!("/kwq/tasks/{task}?job={job}");
        server.get(&path).refused(410, "purged");
    }
    assert_eq!(server.tasks(&job, "").len(), 0);
    assert!(server.pages("/kwq/jobs").iter().all(|row| row["id"] != job));
    assert_eq!(server.pages(&format!("/kwq/dlq?job={job}")).len(), 0);
    // Nothing is accepted, so there is nothing to close, as with a job that never was.
    let answer = server.post(&format!("{path}/tasks?close=true"), &json!([]));
    assert_eq!((int(&answer.ok(), "accepted"), &answer.ok()["closed"]), (0, &json!(false)));
    server.add(&job, &json!([{"id": "done"}]));
    let again = server.job(&job);
    assert_eq!((int(&again, "submitted"), int(&again, "purged")), (1, 0), "a new job");
    let path = format!("/kwq/tasks/done?job={job}");
    assert_eq!(server.get(&path).ok()["state"], "PENDING");
    server.get(&format!("/kwq/tasks/{}", refs[0])).refused(410, "purged");
}

// P14, P16: the totals hold, and a restart, an image and a new tracker say the same.
#[test]
fn a_purge_outlives_a_kill_an_image_and_a_new_tracker() {
    let mut server = Server::start(&["log.partitions=2"]);
    let (job, refs) = ended_job(&server);
    server.add("keep", &json!([{"id": "k"}, {}]));
    server.add_array("mass", 50_000);
    server.job_verb("mass", "cancel");
    purge(&server, &job);
    purge(&server, "mass");
    let totals = |server: &Server| {
        let now = server.get("/kwq/stats/now?fresh=true").ok();
        let live: i64 =
            now["tasks"].as_object().expect("counts").values().filter_map(Value::as_i64).sum();
        assert_eq!(int(&now, "submitted"), live + int(&now, "purged"), "P14 {now}");
        (int(&now, "submitted"), int(&now, "purged"))
    };
    let hash = |server: &Server| server.get("/kwq/admin/state-hash").ok();
    let (before, hashed) = (totals(&server), hash(&server));
    assert_eq!(before, (50_006, 50_004));
    for round in 0..3 {
        if round == 1 {
            server.post("/kwq/admin/image", &json!({})).ok();
        }
        server.kill();
        if round == 2 {
            std::fs::remove_dir_all(server.dir().join("tracker")).expect("the tracker is there");
        }
        server.launch();
        assert_eq!(
            (totals(&server), hash(&server)["partitions"].clone()),
            (before, hashed["partitions"].clone()),
            "round {round}"
        );
        server.get(&format!("/kwq/jobs/{job}")).refused(410, "purged");
        server.get(&format!("/kwq/tasks/{}", refs[1])).refused(410, "purged");
        server.get("/kwq/jobs/mass").refused(410, "purged");
        let left = server.pages("/kwq/tasks?order=old&fresh=true");
        assert_eq!(left.len(), 2, "{left:?}");
    }
    server.terminate();
    let dir = server.dir().to_str().expect("UTF-8").to_owned();
    let records = kwq_lines(server.dir(), &["log", "dump", "--json", "--data-dir", &dir]);
    let purges = records.iter().filter(|r| r["kind"] == "JobChanged" && r["change"] == "purge");
    assert_eq!(purges.count(), 4, "one a job and partition");
    let steps = records.iter().filter(|r| r["kind"] == "Operation" && r["step"] == "start");
    assert_eq!(steps.count(), 4);
}

/// Resident memory of the server that is no file's cache, bytes.
fn resident(server: &Server) -> u64 {
    let path = format!("/proc/{}/status", server.pid());
    let status = std::fs::read_to_string(path).expect("the server runs");
    let line = status.lines().find(|l| l.starts_with("RssAnon:")).expect("Linux tells it");
    let kib = line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    kib.expect("a number") * 1_024
}

// Purged jobs give back their memory: as much again fits where they were.
#[test]
fn memory_does_not_grow_with_purged_jobs() {
    let server = Server::start(&["log.partitions=1"]);
    let round = |n: u32| {
        let job = format!("round{n}");
        for chunk in 0..4 {
            let items: Vec<Value> =
                (0..10_000).map(|i| json!({"id": format!("{job}-{chunk}-{i}")})).collect();
            server.post(&format!("/kwq/jobs/{job}/tasks"), &json!(items)).ok();
        }
        assert_eq!(server.bury(&job, "e"), 40_000);
        server.job_verb(&job, "close");
        let op = purge(&server, &job);
        assert_eq!(int(&op, "done"), 40_000);
        server.get("/kwq/tasks?fresh=true").ok();
    };
    // Caches and the allocator have had their fill by then.
    (0..6).for_each(round);
    let before = resident(&server);
    (6..10).for_each(round);
    let after = resident(&server);
    // 160,000 dead tasks with ids and histories cost far more than this if they stayed.
    assert!(after < before + 40_000_000, "{before} to {after}");
}
