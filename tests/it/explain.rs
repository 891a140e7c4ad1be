//! Why a task is not running (`api.md` 7.2 and 15, `semantics.md` 14).

use serde_json::{Value, json};

use crate::support::{Server, encode, eventually, int, now_ms, shared, text, unique};

fn why(server: &Server, task: &str) -> Value {
    server.get(&format!("/kwq/tasks/{}/explain", encode(task))).ok()
}

fn codes(why: &Value) -> Vec<&str> {
    why["reasons"].as_array().expect("reasons").iter().map(|r| text(r, "code")).collect()
}

fn counts(why: &Value) -> (i64, i64, i64) {
    (int(why, "ahead"), int(why, "aheadPeers"), int(why, "aheadHigher"))
}

fn alone() -> Server {
    Server::start(&["log.partitions=1"])
}

// S 14: all reasons, strongest first, with their counts; api.md 7.2: the documented body.
#[test]
fn what_goes_first_is_told_strongest_first() {
    let server = alone();
    server.add("urgent", &json!([{"priority": 8}, {"priority": 8}]));
    server.add("peer-a", &json!(vec![json!({}); 3]));
    server.add("peer-b", &json!(vec![json!({}); 4]));
    server.add("below", &json!([{"priority": 1}]));
    let own = server.add("own", &json!([{}, {}, {"id": "mine"}]));
    let told = server.get("/kwq/tasks/mine/explain?job=own").ok();
    assert_eq!((text(&told, "id"), text(&told, "ref")), ("mine", own[2].as_str()));
    assert_eq!((text(&told, "state"), int(&told, "partition")), ("PENDING", 0));
    assert_eq!((int(&told, "priority"), int(&told, "effectivePriority")), (5, 5));
    assert!((0..60_000).contains(&int(&told, "waitedMs")), "{told}");
    let expected = ["no_workers", "higher_priority_ahead", "fair_share", "lane_ahead"];
    assert_eq!(codes(&told), expected, "nobody has asked for work yet: {told}");
    let reasons = &told["reasons"];
    assert_eq!((int(&reasons[1], "count"), int(&reasons[2], "count")), (2, 2));
    assert_eq!(int(&reasons[3], "count"), 2);
    assert_eq!(text(&reasons[3], "detail"), "2 tasks of job own go first");
    assert_eq!(counts(&told), (2, 7, 2));
    assert_eq!(told["handOutsPerSec"].as_f64(), Some(0.0));
    assert!(told.get("estimatedStart_ts").is_none(), "no hand-outs, no estimate: {told}");
}

// S 14: with hand-outs there is an estimate; a heartbeat or a consume makes workers known.
#[test]
fn an_estimate_comes_with_hand_outs() {
    let server = alone();
    let own = server.add("own", &json!(vec![json!({}); 10]));
    server.consume("w", "own", &json!({"max": 3}));
    let told = why(&server, &own[9]);
    assert_eq!(codes(&told), ["lane_ahead"]);
    assert_eq!(counts(&told), (6, 0, 0));
    assert!(told["handOutsPerSec"].as_f64().is_some_and(|rate| rate > 0.0), "{told}");
    assert!(int(&told, "estimatedStart_ts") >= now_ms() - 60_000, "{told}");
    let head = why(&server, &own[3]);
    assert_eq!((counts(&head), codes(&head).len()), ((0, 0, 0), 0), "{head}");
}

// S 14: allocated, running, ended; api.md 15: an ended task has no effectivePriority, no ahead*.
#[test]
fn leased_and_ended_tasks_say_what_they_are() {
    let server = alone();
    let task = server.leased("w", "own", &json!({"maxAttempts": 1}));
    let reference = text(&task, "ref").to_owned();
    let told = why(&server, &reference);
    assert_eq!((codes(&told), text(&told, "state")), (vec!["allocated"], "ALLOCATED"));
    assert_eq!((counts(&told), int(&told, "effectivePriority")), ((0, 0, 0), 5));
    server.report("start", &task["lease"], &json!({})).expect(200);
    assert_eq!(codes(&why(&server, &reference)), ["running"]);
    server.report("fail", &task["lease"], &json!({"class": "nan"})).expect(200);
    let told = why(&server, &reference);
    assert_eq!((codes(&told), text(&told, "state")), (vec!["ended"], "ERROR"));
    for absent in ["effectivePriority", "ahead", "aheadPeers", "aheadHigher", "estimatedStart_ts"] {
        assert!(told.get(absent).is_none(), "{absent}: {told}");
    }
    for present in ["waitedMs", "priority", "partition", "handOutsPerSec"] {
        assert!(told.get(present).is_some(), "{present}: {told}");
    }
}

// S 14: paused jobs and levels come before everything else; a pause has no expected end.
#[test]
fn pauses_are_the_strongest_reasons() {
    let server = alone();
    let own = server.add("own", &json!([{}, {}]));
    server.consume("w", "other", &json!({}));
    server.job_verb("own", "pause");
    server.poke("/kwq/queues/5/pause").expect(200);
    let told = why(&server, &own[1]);
    assert_eq!(codes(&told), ["job_paused", "level_paused", "lane_ahead"]);
    server.job_verb("own", "resume");
    assert_eq!(codes(&why(&server, &own[1])), ["level_paused", "lane_ahead"]);
    server.poke("/kwq/queues/all/resume").expect(200);
    assert_eq!(codes(&why(&server, &own[1])), ["lane_ahead"]);
}

// S 14: a delayed task says so, keeps its place, and does not start before its time.
#[test]
fn a_delayed_task_waits_for_its_time_first() {
    let server = alone();
    let own = server.add("own", &json!([{}, {}, {"delayMs": 3_600_000}]));
    server.consume("w", "own", &json!({}));
    let told = why(&server, &own[2]);
    assert_eq!((codes(&told)[0], text(&told, "state")), ("delayed", "DELAYED"));
    assert_eq!((counts(&told), int(&told, "waitedMs")), ((1, 0, 0), 0));
    assert!(int(&told, "estimatedStart_ts") >= now_ms() + 3_000_000, "{told}");
}

// S 10: everything per task holds for an element, also the last of very many.
#[test]
fn an_element_of_an_array_is_explained() {
    let mut server = alone();
    let body = json!({"array": {"to": 4_999_999, "payloadTemplate": "{i}"}, "priority": 4});
    let answer = server.post("/kwq/jobs/mc/tasks", &body).ok();
    let reference = format!("{}-4999999", answer["results"][0]["refs"][0].as_str().expect("ref"));
    server.consume("w", "mc", &json!({"max": 5}));
    assert_eq!(counts(&why(&server, &reference)), (4_999_994, 0, 0));
    server.kill();
    server.launch();
    let told = why(&server, &reference);
    assert_eq!(counts(&told), (4_999_994, 0, 0));
    assert_eq!(codes(&told), ["no_workers", "lane_ahead"]);
}

// S 11.2: a re-prioritised task stands at its current priority; a cancelled one has ended.
#[test]
fn job_verbs_are_seen_at_once() {
    let server = alone();
    let own = server.add("own", &json!([{}, {}]));
    server.add("urgent", &json!([{"priority": 8}]));
    server.patch("/kwq/jobs/own", &json!({"priority": 9})).expect(200);
    let told = why(&server, &own[1]);
    assert_eq!((int(&told, "priority"), counts(&told)), (9, (1, 0, 0)));
    server.job_verb("own", "cancel");
    let told = why(&server, &own[1]);
    assert_eq!((codes(&told), text(&told, "state")), (vec!["ended"], "CANCELLED"));
}

/// Makes the log fail for good: where its second segment would go there is a directory.
fn break_log(server: &Server) -> std::path::PathBuf {
    let path = server.dir().join("log/0000000000400000.seg");
    std::fs::create_dir(&path).expect("the first segment is not full yet");
    let load = Value::Array(vec![json!({"payload": "x".repeat(250_000)}); 8]);
    eventually("the log refuses", || {
        (server.post("/kwq/jobs/load/tasks", &load).status == 503).then_some(())
    });
    eventually("a partition is away", || (server.get("/readyz").status == 503).then_some(()));
    path
}

// S 14: `partition_unavailable` is a reason, not a refusal. What only the partition knows is left
// out, not made up. (The tracker still knows states, pauses are not known to anybody then.)
#[test]
fn a_partition_that_is_away_is_a_reason() {
    let server = alone();
    let own = server.add("own", &json!([{"id": "mine"}, {}, {"delayMs": 3_600_000}]));
    let leased = server.leased("w", "held", &json!({"leaseMs": 600_000}));
    let done = server.leased("w", "done", &json!({}));
    server.complete(&done);
    let path = break_log(&server);
    let told = why(&server, &own[1]);
    assert_eq!((codes(&told), text(&told, "state")), (vec!["partition_unavailable"], "PENDING"));
    for absent in ["effectivePriority", "ahead", "aheadPeers", "aheadHigher", "estimatedStart_ts"] {
        assert!(told.get(absent).is_none(), "{absent}: {told}");
    }
    assert_eq!((int(&told, "priority"), int(&told, "partition")), (5, 0));
    assert_eq!(codes(&why(&server, &own[2])), ["delayed", "partition_unavailable"]);
    assert_eq!(codes(&why(&server, text(&leased, "ref"))), ["allocated"]);
    assert_eq!(codes(&why(&server, text(&done, "ref"))), ["ended"]);
    server.get("/kwq/tasks/mine/explain").refused(503, "partition_unavailable");
    std::fs::remove_dir(path).expect("it is ours");
    eventually("it serves again", || (server.get("/readyz").status == 200).then_some(()));
    assert!(!codes(&why(&server, &own[1])).contains(&"partition_unavailable"));
}

// api.md 1: unknown tasks and parameters.
#[test]
fn what_is_not_there_is_not_explained() {
    let (server, job) = (shared(), unique("explain"));
    server.get("/kwq/tasks/5-0-99999999/explain").refused(404, "task_not_found");
    server.get("/kwq/tasks/nobody/explain").refused(404, "task_not_found");
    let reference = server.submit(&json!({"groupId": job}));
    let path = format!("/kwq/tasks/{reference}/explain");
    server.get(&format!("{path}?verbose=1")).refused(422, "unknown_field");
    let answer = server.get(&path);
    assert!(answer.header("Kwq-Position").is_some(), "P15: every answer says what it holds for");
}
