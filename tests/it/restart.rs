//! What a stop, a kill and a lost tracker leave unchanged (P1, P2, P6, P12, P13, P15, P16, P23).

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Map, Value, json};

use crate::support::{
    Folder, Process, Server, eventually, in_background, int, kwq, kwq_lines, outcome, pause, since,
    start_watch, text, unique,
};

/// Everything a client can see that a restart must not change.
fn picture(server: &Server) -> Value {
    let stats = server.get("/kwq/stats/now?fresh=true").ok();
    let jobs: Vec<Value> = server
        .pages("/kwq/jobs?fresh=true")
        .iter()
        .map(|j| still(&server.job(text(j, "id"))))
        .collect();
    let tasks: Vec<Value> =
        server.pages("/kwq/tasks?order=old&fresh=true").iter().map(still).collect();
    let by_id: Vec<Value> = tasks.iter().map(|t| still(&server.task(text(t, "ref")))).collect();
    let dead = server.pages("/kwq/dlq?fresh=true");
    json!({"counts": stats["tasks"], "submitted": stats["submitted"], "purged": stats["purged"],
        "jobs": jobs, "tasks": tasks, "byId": by_id, "dead": dead})
}

/// A body without what is measured by the moment.
fn still(body: &Value) -> Value {
    let moving = ["ratePerSec", "oldestPendingMs", "eta_ts", "meanRunMs", "affinity"];
    let kept: Map<String, Value> = body
        .as_object()
        .expect("an object")
        .iter()
        .filter(|(name, _)| !(moving.contains(&name.as_str()) && body.get("counts").is_some()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Value::Object(kept)
}

/// Tasks in every state of this release, jobs in several; gives two live leases.
fn fill(server: &Server) -> (Value, Value) {
    let long = json!({"baseMs": 3_600_000, "capMs": 3_600_000, "jitter": "none"});
    server.add(
        "mixed",
        &json!([
        {"id": "done", "priority": 9, "tag": "ccy:USD", "payload": "p"},
        {"id": "dead", "priority": 8, "maxAttempts": 1, "payload": {"a": 1}},
        {"id": "retry", "priority": 7, "backoff": long},
        {"id": "runs", "priority": 6, "leaseMs": 600_000},
        {"id": "held", "priority": 5, "leaseMs": 600_000},
        {"id": "waits", "priority": 4, "payload": "AP8=", "encoding": "base64"},
        {"id": "later", "priority": 3, "delayMs": 3_600_000},
        {"id": "gone", "priority": 2}]),
    );
    let take = |p: i64| {
        let held = server.consume("w", "mixed", &json!({"priorities": [p], "waitMs": 30_000}));
        held.into_iter().next().expect("one")
    };
    server.report("complete", &take(9)["lease"], &json!({"result": {"pv": 1.5}})).expect(200);
    let fail = json!({"class": "nan", "message": "m"});
    server.report("fail", &take(8)["lease"], &fail).expect(200);
    server.report("fail", &take(7)["lease"], &fail).expect(200);
    let runs = take(6);
    server.report("start", &runs["lease"], &json!({})).expect(200);
    let held = take(5);
    server.poke("/kwq/tasks/gone/cancel").expect(200);
    server
        .post(
            "/kwq/jobs",
            &json!({"id": "spec", "weight": 7, "priority": 2,
        "defaults": {"maxAttempts": 9}, "tag": "desk:fx"}),
        )
        .expect(201);
    server.add("paused", &json!([{}, {}]));
    server.job_verb("paused", "pause");
    server.add("cancelled", &json!([{}]));
    server.post("/kwq/jobs/cancelled/cancel", &json!({"reason": "typo"})).expect(200);
    server.add("closed", &json!([{}]));
    server.job_verb("closed", "close");
    server.add("moved", &json!([{"priority": 2}]));
    server.patch("/kwq/jobs/moved", &json!({"priority": 8})).expect(200);
    (runs, held)
}

/// The same promises after any kind of restart.
fn survives(mut stop: impl FnMut(&mut Server)) {
    let mut server = Server::start(&[]);
    let (runs, held) = fill(&server);
    server.poke("/kwq/queues/1/pause").expect(200);
    let before = picture(&server);
    stop(&mut server);
    server.launch();
    assert_eq!(picture(&server), before);
    assert_eq!(server.get("/kwq/queues").ok()[8]["paused"], true, "a level stays paused");
    assert!(server.consume("w", "paused", &json!({})).is_empty(), "a job stays paused (P12)");
    let closed = server.post("/kwq/submit", &json!({"groupId": "closed"}));
    closed.refused(409, "job_closed");
    server.complete(&runs);
    let again = server.report("complete", &runs["lease"], &json!({}));
    assert_eq!(outcome(&again), "duplicate");
    let beat = json!({"worker": "w", "leases": [held["lease"]]});
    assert_eq!(int(&server.post("/kwq/heartbeat", &beat).ok(), "renewed"), 1);
    server.complete(&held);
    let payload = server.get("/kwq/tasks/waits/payload");
    assert_eq!(payload.expect(200).body, [0, 255]);
    assert_eq!(server.get("/kwq/tasks/done/result").expect(200).text(), "{\"pv\":1.5}");
    let next = server.take("w2", "mixed");
    assert_eq!((text(&next, "id"), int(&next, "attempt")), ("waits", 1));
}

// P23, P1: SIGTERM keeps tasks, leases, flags and counters, and ends with 0.
#[test]
fn a_graceful_stop_keeps_everything() {
    survives(Server::terminate);
}

// P1, P2, P6, P12: SIGKILL keeps everything that was acknowledged.
#[test]
fn a_kill_keeps_everything_acknowledged() {
    survives(Server::kill);
}

// P13: the tracker is derived: delete it, replay, same answers.
#[test]
fn a_deleted_tracker_is_rebuilt_with_the_same_answers() {
    survives(|server| {
        server.kill();
        fs::remove_dir_all(server.dir().join("tracker")).expect("api.md 15 names this directory");
    });
}

// P16: images are derived too: from the log alone the same answers.
#[test]
fn deleted_images_change_no_answer() {
    survives(|server| {
        server.terminate();
        let images = server.dir().join("images");
        if images.is_dir() {
            fs::remove_dir_all(&images).expect("api.md 15 names this directory");
            fs::create_dir(&images).expect("it was there");
        }
    });
}

fn hashes(server: &Server, more: &[&str]) -> BTreeMap<i64, String> {
    let dir = server.dir().to_str().expect("UTF-8");
    let mut args = vec!["state", "hash", "-o", "ndjson", "--data-dir", dir];
    args.extend(more);
    kwq_lines(server.dir(), &args)
        .iter()
        .map(|row| (int(row, "partition"), text(row, "hash").to_owned()))
        .collect()
}

// P16, api.md 15: the state hash is equal before and after a restart, and from zero.
#[test]
fn the_state_hash_is_the_same_from_everywhere() {
    let mut server = Server::start(&[]);
    fill(&server);
    server.terminate();
    let first = hashes(&server, &[]);
    assert_eq!(first.len(), 3, "one row a partition");
    assert_eq!(hashes(&server, &["--from-zero"]), first);
    server.launch();
    server.kill();
    assert_eq!(hashes(&server, &[]), first, "a restart at rest changes nothing");
    assert_eq!(hashes(&server, &["--from-zero"]), first);
    server.launch();
    server.submit(&json!({"groupId": "one-more"}));
    server.kill();
    assert_ne!(hashes(&server, &[]), first, "the hash covers the tasks");
}

// P1, P5-less: everything acknowledged by concurrent clients is there after a kill in mid-flight.
#[test]
fn no_acknowledged_submit_is_lost_by_a_kill_under_load() {
    let mut server = Server::start(&[]);
    let addr = server.addr();
    let clients: Vec<_> = (0..4)
        .map(|c| {
            in_background(move || {
                let mut acknowledged = Vec::new();
                let Ok(mut conn) = crate::support::Conn::open(addr) else { return acknowledged };
                for i in 0..100_000 {
                    let task = json!({"id": format!("c{c}-{i}"), "groupId": "load"});
                    let req = crate::support::Req::new("POST", "/kwq/submit").json(&task);
                    let Ok(answer) = conn.call(&req) else { break };
                    if let (200, Some(r)) = (answer.status, answer.header("Kwq-Ref")) {
                        acknowledged.push(r.to_owned());
                    }
                }
                acknowledged
            })
        })
        .collect();
    crate::support::eventually("some load", || {
        let job = server.get("/kwq/jobs/load");
        (job.status == 200 && int(&job.json(), "submitted") >= 200).then_some(())
    });
    server.kill();
    let acknowledged: Vec<String> =
        clients.into_iter().flat_map(|c| c.join().expect("no panic")).collect();
    assert!(acknowledged.len() >= 190, "only {} acknowledged", acknowledged.len());
    server.launch();
    let there: std::collections::BTreeSet<String> = server
        .pages("/kwq/tasks?job=load&fresh=true&limit=1000")
        .iter()
        .map(|t| text(t, "ref").to_owned())
        .collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|r| !there.contains(*r)).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), acknowledged.len());
}

// S 6.5, P9: after a restart leases are re-armed at full length; later they lapse as ever.
#[test]
fn a_lease_starts_anew_after_a_restart() {
    let mut server = Server::start(&["log.partitions=1"]);
    let held = server.leased(
        "w",
        "rearm",
        &json!({"leaseMs": 3_000,
        "backoff": {"baseMs": 0, "capMs": 0}}),
    );
    server.kill();
    server.launch();
    let begun = start_watch();
    let again = server.take("w2", "rearm");
    assert!(since(begun).as_millis() >= 2_000, "not before its full length after the start");
    assert_eq!((&again["ref"], int(&again, "attempt")), (&held["ref"], 2));
    let old = server.report("complete", &held["lease"], &json!({}));
    assert_eq!(outcome(&old), "lease_lost");
}

// P24: a delay goes on after a restart and is not early.
#[test]
fn a_delay_goes_on_after_a_restart() {
    let mut server = Server::start(&[]);
    let job = unique("delay");
    let reference = server.submit(&json!({"groupId": job, "delayMs": 3_000}));
    let due = int(&server.task(&reference), "notBefore_ts");
    server.kill();
    server.launch();
    let task = server.take("w", &job);
    assert!(int(&task, "allocated_ts") >= due, "{task}");
}

// P6: tokens and references are never issued twice, also not across restarts.
#[test]
fn tokens_and_references_never_repeat_across_restarts() {
    let mut server = Server::start(&["log.partitions=1"]);
    let mut tokens = std::collections::BTreeSet::new();
    let mut refs = std::collections::BTreeSet::new();
    for _ in 0..3 {
        for _ in 0..5 {
            assert!(refs.insert(server.submit(&json!({"groupId": "r", "priority": 9}))));
        }
        for task in server.consume("w", "r", &json!({"max": 5})) {
            assert!(tokens.insert(text(&task, "lease").to_owned()));
            server.report("release", &task["lease"], &json!({})).expect(200);
        }
        server.kill();
        server.launch();
    }
    assert_eq!((tokens.len(), refs.len()), (15, 15));
}

// promises.md 9 drain: readiness false at once, submits 503 draining, then exit 0.
#[test]
fn a_draining_server_says_so() {
    let mut server = Server::start(&["drain.delay=4s"]);
    let addr = server.addr();
    let watcher = in_background(move || {
        let begun = start_watch();
        let mut told = None;
        while since(begun).as_secs() < 20 && told.is_none() {
            let Ok(mut conn) = crate::support::Conn::open(addr) else { break };
            let req = crate::support::Req::new("GET", "/kwq/health/ready");
            let Ok(answer) = conn.call(&req) else { break };
            told = (answer.status == 503).then(|| answer.json());
            crate::support::pause(20);
        }
        told
    });
    server.terminate();
    let told = watcher.join().expect("no panic").expect("ready answered 503 while draining");
    assert_eq!((&told["ready"], &told["draining"]), (&json!(false), &json!(true)));
}

// P23: a parked consume is answered 204 by a graceful stop, not torn down.
#[test]
fn a_graceful_stop_answers_parked_consumes() {
    let mut server = Server::start(&[]);
    let mut conn = crate::support::Conn::open(server.addr()).expect("connects");
    let ask = json!({"worker": "parked", "waitMs": 60_000});
    conn.send(&crate::support::Req::new("POST", "/kwq/consume").json(&ask).to_bytes())
        .expect("sends");
    crate::support::eventually("it is parked", || {
        let now = server.get("/kwq/stats/now").ok();
        (int(&now, "consumersWaiting") == 1).then_some(())
    });
    let begun = start_watch();
    server.terminate();
    assert!(since(begun).as_secs() < 30, "the wait was 60 s");
    conn.answer(false).expect("an answer").expect(204);
}

// P1, P20: a first start that is killed at any moment leaves a directory that starts.
#[test]
fn a_first_start_that_was_killed_can_be_repeated() {
    for ms in (2..60).step_by(3) {
        let dir = Folder::new("kwq-first");
        let data = dir.path().to_str().expect("UTF-8");
        let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data, "--partitions", "64"];
        let first = Process::start(dir.path(), &args);
        pause(ms);
        first.signal("KILL");
        drop(first);
        let second = Process::start(dir.path(), &args);
        let line = second.says("listening on http://");
        let (_, addr) = line.split_once("listening on ").expect("that is how it was found");
        let url = addr.split_whitespace().next().expect("an address");
        eventually("the second start is ready", || {
            let healthy = kwq(dir.path(), &["healthcheck", "--url", url]);
            healthy.status.success().then_some(())
        });
    }
}

/// What the lists say of a job beside what its counters say.
fn listed_and_counted(server: &Server, job: &str) -> (Vec<(String, usize)>, Value) {
    let mut states: Vec<String> =
        server.tasks(job, "").iter().map(|t| text(t, "state").to_owned()).collect();
    states.sort();
    let counts = states.chunk_by(|a, b| a == b).map(|same| (same[0].clone(), same.len()));
    (counts.collect(), server.job(job)["counts"].clone())
}

// P13: a log that was cut, and a tracker or images that are another log's: the log is the truth.
#[test]
fn what_was_folded_from_another_log_is_not_believed() {
    let mut server = Server::start(&["log.partitions=1"]);
    server.add("cut", &json!([{}, {}, {}]));
    let mut other = Server::start(&["log.partitions=1"]);
    other.add("cut", &json!([{}, {}, {}, {}, {}]));
    other.job_verb("cut", "cancel");
    server.terminate();
    other.terminate();
    let dir = server.dir().to_str().expect("UTF-8").to_owned();
    let end = || {
        let dump = kwq_lines(server.dir(), &["log", "dump", "--json", "--data-dir", &dir]);
        text(dump.last().expect("records"), "position").to_owned()
    };
    let cut_at = end();
    server.launch();
    (0..3).for_each(|_| drop(server.complete(&server.take("w", "cut"))));
    server.terminate();
    let repair = ["log", "repair", "--yes", "--to-offset", &cut_at, "--data-dir", &dir];
    kwq_lines(server.dir(), &repair);
    server.launch();
    let three = vec![("PENDING".to_owned(), 3)];
    let (listed, counted) = listed_and_counted(&server, "cut");
    assert_eq!((listed, int(&counted, "PENDING")), (three.clone(), 3), "after the cut");
    server.terminate();
    for part in ["tracker", "images"] {
        std::fs::remove_dir_all(server.dir().join(part)).expect("ours");
        copy(&other.dir().join(part), &server.dir().join(part));
    }
    server.launch();
    let (listed, counted) = listed_and_counted(&server, "cut");
    assert_eq!((listed, int(&counted, "PENDING")), (three, 3), "beside parts of another log");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("a file")),
        }
    }
}
