//! Handing out: order, batches, filters, ranges (`semantics.md` 5.1, 5.2, 5.5, `api.md` 5.1).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Server, fair, ids, int, merge, now_ms, shared, single, text, unique};

// api.md 5.1: the documented example of an answer.
#[test]
fn a_handed_out_task_carries_payload_lease_and_stamps() {
    let (server, job, before) = (shared(), unique("full"), now_ms());
    let reference = server.submit(&json!({"id": "t", "groupId": job, "priority": 7,
        "tag": "currency:USD,risk:CR01,PV01", "affinity": ["curve=USD"], "payload": "{\"a\":1}"}));
    let ask =
        json!({"worker": "w-full", "endpoint": "http://h:1", "jobs": [job], "waitMs": 30_000});
    let answer = server.post("/kwq/consume", &ask);
    let body = answer.ok();
    assert_eq!(body["done"], json!([]));
    assert_eq!((int(&body, "heartbeatMs"), &body["drain"]), (10_000, &json!(false)), "{body}");
    let task = body["tasks"][0].clone();
    let expected = json!({"id": "t", "ref": reference, "groupId": job, "priority": 7,
        "state": "ALLOCATED", "status": "ALLOCATED", "tag": "currency:USD,risk:CR01,PV01",
        "tags": ["currency:USD", "risk:CR01", "risk:PV01", "PV01"],
        "affinity": [{"key": "curve=USD", "weight": 1}], "payload": "{\"a\":1}",
        "encoding": "text", "payloadBytes": 7, "worker": "w-full", "workerEndpoint": "http://h:1",
        "attempt": 1, "runCount": 1, "errors": 0, "crashes": 0, "redriven": 0,
        "timeoutSeconds": 0, "maxAttempts": 4, "maxCrashes": 5, "leaseMs": 30_000,
        "backoff": {"baseMs": 1000, "capMs": 300_000, "jitter": "full"}});
    assert_eq!(merge(&task, &expected), task, "a field differs");
    let lease = text(&task, "lease");
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    assert!(lease.len() <= 64 && lease.chars().all(plain), "{lease}");
    let stamps: Vec<i64> =
        ["submitted_ts", "available_ts", "allocated_ts"].map(|n| int(&task, n)).to_vec();
    assert!(stamps.is_sorted() && stamps.iter().all(|t| *t >= before && *t <= now_ms()));
    let until = int(&task, "leaseUntil_ts") - int(&task, "allocated_ts");
    assert!((29_900..=31_000).contains(&until), "{task}");
}

// S 5.1, P11: strictly by priority, FIFO inside a level, at one partition under fifo.
#[test]
fn one_partition_hands_out_exactly_by_priority_and_submit_order() {
    let (server, job) = (single(), unique("exact"));
    let mut expected = Vec::new();
    for i in 0..90_i64 {
        let priority = (i * 7) % 9 + 1;
        let id = format!("t{i:02}");
        server.submit(&json!({"id": id, "groupId": job, "priority": priority}));
        expected.push((-priority, id));
    }
    expected.sort();
    let mut got = Vec::new();
    while got.len() < 90 {
        let tasks = server.consume("exact", &job, &json!({"max": 7}));
        assert!(!tasks.is_empty(), "90 were submitted, {} came", got.len());
        got.extend(tasks.iter().map(|t| (-int(t, "priority"), text(t, "id").to_owned())));
    }
    assert_eq!(got, expected);
}

// S 5.1: an urgent task goes before everything that waits, whichever job it is in.
#[test]
fn priority_holds_across_jobs() {
    let (server, a, b) = (single(), unique("a"), unique("b"));
    server.add(&a, &json!([{"priority": 3}, {"priority": 8}]));
    server.add(&b, &json!([{"priority": 9}, {"priority": 5}]));
    let got = server.consume("across", &a, &json!({"jobs": [a, b], "max": 10}));
    let order: Vec<i64> = got.iter().map(|t| int(t, "priority")).collect();
    assert_eq!(order, [9, 8, 5, 3]);
}

// S 5.2: weights 3 : 1, nothing ended yet → of any n hand-outs the first job gets 3n/4 ± 2.
#[test]
fn weights_share_a_level_three_to_one() {
    let (server, a, b) = (fair(), unique("heavy"), unique("light"));
    server.post("/kwq/jobs", &json!({"id": a, "weight": 3, "priority": 7})).expect(201);
    server.post("/kwq/jobs", &json!({"id": b, "weight": 1, "priority": 7})).expect(201);
    let many = Value::Array(vec![json!({}); 60]);
    server.add(&a, &many);
    server.add(&b, &many);
    let got = server.consume("share", &a, &json!({"jobs": [a, b], "max": 60}));
    assert_eq!(got.len(), 60);
    let mut of_a = 0_i64;
    for (n, task) in (1_i64..).zip(&got) {
        of_a += i64::from(task["groupId"] == *a);
        assert!((4 * of_a - 3 * n).abs() <= 8, "{of_a} of the first {n}");
    }
}

// S 5.2: equal weights alternate, and order inside each job is kept.
#[test]
fn equal_jobs_share_a_level_and_keep_their_own_order() {
    let (server, a, b) = (fair(), unique("one"), unique("two"));
    for job in [&a, &b] {
        let items: Vec<Value> =
            (0..20).map(|i| json!({"id": format!("{i:02}"), "priority": 6})).collect();
        server.add(job, &Value::Array(items));
    }
    let got = server.consume("equal", &a, &json!({"jobs": [a, b], "max": 20}));
    let mut seen: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for task in &got {
        seen.entry(text(task, "groupId")).or_default().push(text(task, "id"));
    }
    for job in [&a, &b] {
        let own = seen.get(job.as_str()).map(Vec::as_slice).unwrap_or_default();
        assert!((8..=12).contains(&own.len()), "{} of 20", own.len());
        assert!(own.is_sorted(), "{own:?}");
    }
}

// S 5.5: max tasks, all of them when fewer are there; nothing is given unasked.
#[test]
fn a_batch_ends_at_max_or_when_nothing_is_left() {
    let (server, job) = (shared(), unique("max"));
    server.add(&job, &Value::Array(vec![json!({}); 25]));
    assert_eq!(server.consume("max", &job, &json!({})).len(), 1, "max is 1 by default");
    assert_eq!(server.consume("max", &job, &json!({"max": 10})).len(), 10);
    let rest = server.consume("max", &job, &json!({"max": 1_000}));
    assert_eq!(rest.len(), 14);
    let mut leases: Vec<&str> = rest.iter().map(|t| text(t, "lease")).collect();
    leases.sort_unstable();
    leases.dedup();
    assert_eq!(leases.len(), 14, "each task has its own token");
    assert!(server.consume("max", &job, &json!({"max": 5})).is_empty());
}

// S 5.5: a batch ends at maxBytes of payload; the first task is always given.
#[test]
fn a_batch_ends_at_max_bytes() {
    let (server, job) = (single(), unique("bytes"));
    server.add(&job, &Value::Array(vec![json!({"payload": "x".repeat(1_000)}); 6]));
    assert_eq!(server.consume("b", &job, &json!({"max": 10, "maxBytes": 1})).len(), 1);
    assert_eq!(server.consume("b", &job, &json!({"max": 10, "maxBytes": 2_500})).len(), 2);
    assert_eq!(server.consume("b", &job, &json!({"max": 10})).len(), 3);
}

// S 5.5 targetMs: a job without an average counts as targetMs, so one task.
#[test]
fn target_ms_gives_one_task_of_an_unknown_job() {
    let (server, job) = (single(), unique("target"));
    server.add(&job, &Value::Array(vec![json!({}); 5]));
    assert_eq!(server.consume("t", &job, &json!({"max": 5, "targetMs": 500})).len(), 1);
}

// api.md 5.1: `priorities` narrows to these levels (current priority).
#[test]
fn a_consume_may_narrow_to_priorities() {
    let (server, job) = (shared(), unique("levels"));
    server.add(&job, &json!([{"priority": 9}, {"priority": 5}, {"priority": 2}]));
    let got = server.consume("l", &job, &json!({"max": 9, "priorities": [5, 2]}));
    assert_eq!(got.iter().map(|t| int(t, "priority")).max(), Some(5));
    assert_eq!(got.len(), 2);
    assert!(server.consume("l", &job, &json!({"priorities": [1]})).is_empty());
    assert_eq!(server.consume("l", &job, &json!({"priorities": []})).len(), 1, "empty = absent");
}

// api.md 5.1, 15: `jobs` narrows; an unknown job is no error.
#[test]
fn a_consume_may_narrow_to_jobs() {
    let (server, a, b) = (shared(), unique("a"), unique("b"));
    server.add(&a, &json!([{}]));
    server.add(&b, &json!([{"priority": 9}]));
    let got = server.consume("j", &a, &json!({"max": 9}));
    assert_eq!(got.iter().map(|t| text(t, "groupId")).collect::<Vec<_>>(), [a.as_str()]);
    assert!(server.consume("j", &unique("nobody"), &json!({})).is_empty());
}

// S 6.1: lease duration is the first of consume, task, job default, configuration.
#[test]
fn the_lease_is_the_first_that_is_asked_for() {
    let (server, job) = (shared(), unique("lease"));
    let spec = json!({"id": job, "defaults": {"leaseMs": 50_000}});
    server.post("/kwq/jobs", &spec).expect(201);
    let take = |task, ask| {
        server.submit(&merge(&json!({"groupId": job}), &task));
        let got = server.consume("lease", &job, &ask);
        int(got.first().expect("one"), "leaseMs")
    };
    assert_eq!(take(json!({}), json!({})), 50_000);
    assert_eq!(take(json!({"leaseMs": 40_000}), json!({})), 40_000);
    assert_eq!(take(json!({"leaseMs": 40_000}), json!({"leaseMs": 20_000})), 20_000);
}

// S 6.3, api.md 5.1: heartbeatMs is a third of the shortest lease.
#[test]
fn heartbeat_ms_is_a_third_of_the_shortest_lease() {
    let (server, job) = (shared(), unique("third"));
    server.add(&job, &json!([{"leaseMs": 60_000}, {"leaseMs": 90_000}]));
    let ask = json!({"worker": unique("w"), "jobs": [job], "waitMs": 30_000, "max": 2});
    let body = server.post("/kwq/consume", &ask).ok();
    let shortest = body["tasks"].as_array().and_then(|t| t.iter().map(|t| int(t, "leaseMs")).min());
    assert_eq!(Some(int(&body, "heartbeatMs") * 3), shortest, "{body}");
}

// The shortest of all it holds, in whichever answer: a worker with slots beats for each of them.
#[test]
fn every_answer_tells_the_interval_of_all_leases() {
    let (server, job, worker) = (shared(), unique("mix"), unique("w"));
    let tasks: Vec<Value> = (0..9).map(|_| json!({"leaseMs": 60_000})).collect();
    server.add(&job, &json!([{"leaseMs": 3_600_000}, {"leaseMs": 9_000, "priority": 9}]));
    let told = |path: &str, more: &Value| {
        let ask = merge(&json!({"worker": worker}), more);
        int(&server.post(path, &ask).ok(), "heartbeatMs")
    };
    let next = json!({"jobs": [job], "waitMs": 0, "max": 1});
    let short = server.take(&worker, &job);
    assert_eq!(int(&short, "leaseMs"), 9_000, "the highest priority first");
    assert_eq!(told("/kwq/consume", &next), 3_000, "a longer lease beside it");
    server.add(&job, &Value::Array(tasks));
    // In every partition there is a longer one now.
    assert_eq!(told("/kwq/consume", &merge(&next, &json!({"max": 9}))), 3_000);
    assert_eq!(told("/kwq/consume", &merge(&next, &json!({"done": []}))), 3_000);
    assert_eq!(told("/kwq/consume", &merge(&next, &json!({"leases": []}))), 3_000);
    assert_eq!(told("/kwq/heartbeat", &json!({})), 3_000);
    assert_eq!(told("/kwq/heartbeat", &json!({"leases": []})), 3_000);
    assert_eq!(told("/kwq/workers", &json!({})), 3_000);
    server.complete(&short);
    assert_eq!(told("/kwq/workers", &json!({})), 20_000, "what is left is longer");
}

// api.md 5.1: complete, fail and release as `done` of a consume, outcomes in order.
#[test]
fn done_reports_are_decided_in_order() {
    let (server, job, worker) = (shared(), unique("done"), unique("w"));
    server.add(&job, &Value::Array(vec![json!({}); 4]));
    let held = server.consume(&worker, &job, &json!({"max": 4}));
    let [a, b, c, d] = held.as_slice() else { panic!("four") };
    let ask = json!({"worker": worker, "jobs": [job], "waitMs": 0, "done": [
        {"lease": a["lease"], "result": 1},
        {"type": "fail", "lease": b["lease"], "class": "io", "retryAfterMs": 3_600_000},
        {"type": "release", "lease": c["lease"], "delayMs": 3_600_000},
        {"type": "complete", "lease": d["lease"], "result": {"pv": 1.5}},
        {"lease": "AAAAnobodygaveme"}]});
    let body = server.post("/kwq/consume", &ask).ok();
    assert_eq!(body["tasks"], json!([]), "with done and no task: 200 and an empty list");
    let done = body["done"].as_array().expect("done");
    let seen: Vec<&str> = done.iter().map(|d| text(d, "outcome")).collect();
    assert_eq!(seen, ["ok", "retry", "ok", "ok", "lease_lost"]);
    let states: Vec<&str> = done.iter().take(4).map(|d| text(d, "state")).collect();
    assert_eq!(states, ["COMPLETED", "DELAYED", "DELAYED", "COMPLETED"]);
    assert_eq!(done.first().map(|r| &r["lease"]), Some(&a["lease"]));
    assert_eq!(server.state(text(d, "ref")), "COMPLETED");
}

// S 5.6: done is applied before the wait begins, and what it frees may be given at once.
#[test]
fn done_of_a_consume_comes_before_its_own_tasks() {
    let (server, job, worker) = (shared(), unique("cycle"), unique("w"));
    server.add(&job, &json!([{"id": "only"}]));
    let held = server.take(&worker, &job);
    let done = json!([{"type": "release", "lease": held["lease"]}]);
    let got = server.consume(&worker, &job, &json!({"done": done, "waitMs": 30_000}));
    assert_eq!(ids(&got), ["only"]);
    assert_eq!(got.first().map(|t| int(t, "attempt")), Some(2));
}

// api.md 5.1: every field's range.
#[test]
fn fields_of_a_consume_out_of_range_are_refused() {
    let keys: Vec<String> = (0..65).map(|i| format!("k{i}")).collect();
    for (field, wrong) in [
        ("worker", json!(["", "x".repeat(129), " w", "a\nb", 5])),
        ("endpoint", json!(["x".repeat(257), 5])),
        ("max", json!([0, 1_001, -1, "5", 1.5])),
        ("waitMs", json!([-1, 60_001, "0"])),
        ("targetMs", json!([0, 3_600_001])),
        ("maxBytes", json!([0, 16_777_217])),
        ("leaseMs", json!([999, 43_200_001])),
        ("priorities", json!([[0], [10], ["5"], 5])),
        ("jobs", json!([vec!["j"; 17], [5], "j"])),
        ("affinity", json!([keys, 5])),
        ("affinityMode", json!(["best", 5])),
        ("done", json!([5, vec![json!({"lease": "x"}); 1_001]])),
        ("leases", json!([5, [5], vec!["x"; 10_001]])),
    ] {
        for value in wrong.as_array().expect("a list") {
            let mut ask = json!({"worker": "range", "jobs": ["never-made"], "waitMs": 0});
            ask[field] = value.clone();
            shared().post("/kwq/consume", &ask).refused_field("invalid_field", field);
        }
    }
    let ask = json!({"jobs": ["never-made"], "waitMs": 0});
    shared().post("/kwq/consume", &ask).refused_field("invalid_field", "worker");
}

// api.md 5.1: later values and fields → 422 not_supported; unknown → unknown_field.
#[test]
fn later_parts_of_a_consume_are_refused_as_not_supported() {
    let ask = |more| merge(&json!({"worker": "later", "jobs": ["never-made"], "waitMs": 0}), &more);
    for mode in ["only", "claim"] {
        let answer = shared().post("/kwq/consume", &ask(json!({"affinityMode": mode})));
        answer.refused_field("not_supported", "affinityMode");
    }
    let answer = shared().post("/kwq/consume", &ask(json!({"labels": {"gpu": "1"}})));
    answer.refused_field("not_supported", "labels");
    let answer = shared().post("/kwq/consume", &ask(json!({"maxx": 1})));
    let problem = answer.refused_field("unknown_field", "maxx");
    assert!(problem["hint"].as_str().unwrap_or_default().contains("max"), "{problem}");
}

// S 5.5: the bounds of an answer hold for all of it, from however many partitions it comes.
#[test]
fn an_answer_over_partitions_keeps_its_bounds() {
    let (server, job) = (shared(), unique("bounds"));
    let payload = "x".repeat(100);
    let array = json!({"array": {"to": 59, "payloadTemplate": payload}});
    server.post(&format!("/kwq/jobs/{job}/tasks"), &array).ok();
    let count = |more: Value| {
        let tasks = server.consume("w", &job, &more);
        tasks.iter().for_each(|task| drop(server.report("release", &task["lease"], &json!({}))));
        tasks.len()
    };
    assert_eq!(count(json!({"max": 60})), 60);
    assert_eq!(count(json!({"max": 60, "maxBytes": 1})), 1, "the first is always given");
    assert_eq!(count(json!({"max": 60, "maxBytes": 250})), 2);
    assert_eq!(count(json!({"max": 60, "maxBytes": 4_000})), 40);
    assert_eq!(count(json!({"max": 60, "targetMs": 5_000})), 1, "its run time is not known");
}

// S 10, 16: a single worker does not empty one partition while the others wait.
#[test]
fn partitions_advance_together_under_one_worker() {
    let server = Server::start(&["log.partitions=3"]);
    let array = json!({"array": {"to": 299}});
    let answer = server.post("/kwq/jobs/j/tasks", &array).ok();
    let refs = answer["results"][0]["refs"].as_array().expect("refs").clone();
    // However many workers there are besides.
    for n in 0..40 {
        server.post("/kwq/heartbeat", &json!({"worker": format!("idle{n}")})).ok();
    }
    let mut handed = [0; 3];
    for _ in 0..30 {
        for task in server.consume("w", "j", &json!({"max": 5})) {
            let part = refs.iter().position(|r| text(&task, "ref").starts_with(text_of(r)));
            handed[part.expect("of this array")] += 1;
        }
    }
    assert_eq!(handed.iter().sum::<i32>(), 150);
    assert!(handed.iter().all(|count| (30..=70).contains(count)), "{handed:?}");
}

fn text_of(value: &Value) -> &str {
    value.as_str().expect("a text")
}
