//! Soft affinity: who gets what, what counts as hit or miss, what stays (`semantics.md` 5.4).

use serde_json::{Value, json};

use crate::support::{Conn, Server, eventually, ids, int, single, unique};

/// Twelve tasks, `a…` with key `curve=A` before `b…` with key `curve=B`.
fn fill(server: &Server, job: &str) {
    let task = |key: &str, n: i64| {
        let keys = [format!("curve={key}")];
        json!({"id": format!("{key}{n}"), "affinity": keys})
    };
    let tasks: Vec<Value> = ["A", "B"].iter().flat_map(|k| (0..6).map(|n| task(k, n))).collect();
    server.add(job, &Value::Array(tasks));
}

fn warm(key: &str, max: i64) -> Value {
    json!({"affinity": [format!("curve={key}")], "max": max})
}

#[track_caller]
fn counted(server: &Server, job: &str, hits: i64, misses: i64) {
    let shown = &server.job(job)["affinity"];
    assert_eq!((int(shown, "hits"), int(shown, "misses")), (hits, misses), "{shown}");
    let ratio = hits as f64 / ((hits + misses) as f64).max(1.0);
    let shown = shown["hitRatio"].as_f64().expect("a number");
    assert!((shown - ratio).abs() < 0.001, "{shown} instead of {ratio}");
}

// S 5.4: the oldest task with a warm key, however deep; without one the head, at once.
#[test]
fn a_worker_gets_the_oldest_task_it_is_warm_for() {
    let (server, job) = (single(), unique("warm"));
    fill(server, &job);
    assert_eq!(ids(&server.consume("b", &job, &warm("B", 2))), ["B0", "B1"]);
    assert_eq!(ids(&server.consume("c", &job, &warm("C", 1))), ["A0"]);
    assert_eq!(ids(&server.consume("plain", &job, &json!({}))), ["A1"]);
    counted(server, &job, 2, 1);
}

// S 5.4: highest sum of weights, ties to submit order.
#[test]
fn the_highest_sum_of_weights_wins_and_ties_go_to_the_older() {
    let (server, job) = (single(), unique("weights"));
    let keys = |id: &str, keys: Value| json!({"id": id, "affinity": keys});
    let key = |key: &str, weight: i64| json!({"key": key, "weight": weight});
    server.add(
        &job,
        &json!([
            keys("none", json!([])),
            keys("light", json!(["x"])),
            keys("heavy", json!([key("y", 7)])),
            keys("both", json!([key("z", 4), key("w", 4)])),
            keys("tie", json!([key("v", 8)])),
        ]),
    );
    let ask = json!({"affinity": ["x", "y", "z", "w", "v"], "max": 5});
    let order = server.consume("w", &job, &ask);
    assert_eq!(ids(&order), ["both", "tie", "heavy", "light", "none"]);
    counted(server, &job, 4, 0);
}

// S 5.4: among any 8 consecutive hand-outs of a lane at least one is its head.
#[test]
fn the_head_goes_at_the_eighth_hand_out_at_the_latest() {
    let (server, job) = (single(), unique("head"));
    let task =
        |n: i64| json!({"id": format!("t{n}"), "affinity": [if n < 4 { "old" } else { "new" }]});
    server.add(&job, &Value::Array((0..30).map(task).collect()));
    let mut order = Vec::new();
    for _ in 0..16 {
        let taken = server.consume("w", &job, &json!({"affinity": ["new"]}));
        order.push(ids(&taken)[0].to_owned());
    }
    let heads: Vec<usize> =
        (0..16).filter(|at| ["t0", "t1", "t2", "t3"].contains(&order[*at].as_str())).collect();
    assert_eq!(heads, [7, 15], "{order:?}");
    counted(server, &job, 14, 2);
}

// S 5.4: learned = keys of tasks this worker completed; api.md 5.1 affinityMode any.
#[test]
fn a_worker_is_warm_for_what_it_has_completed_and_any_ignores_that() {
    let (server, job, worker) = (single(), unique("learned"), unique("learner"));
    fill(server, &job);
    let first = server.consume(&worker, &job, &warm("B", 1));
    assert_eq!(ids(&first), ["B0"]);
    server.complete(&first[0]);
    assert_eq!(ids(&server.consume(&worker, &job, &json!({}))), ["B1"]);
    assert_eq!(ids(&server.consume(&worker, &job, &json!({"affinityMode": "any"}))), ["A0"]);
    assert_eq!(ids(&server.consume("nobody", &job, &json!({}))), ["A1"]);
    counted(server, &job, 2, 1);
}

// S 4 and 5.4: whatever brings a task back, it is found under its keys by submit order.
#[test]
fn a_task_that_comes_back_is_found_again_in_submit_order() {
    let (server, job) = (single(), unique("back"));
    fill(server, &job);
    let held = server.consume("b", &job, &warm("B", 3));
    assert_eq!(ids(&held), ["B0", "B1", "B2"]);
    server.report("release", &held[1]["lease"], &json!({})).ok();
    server.report("fail", &held[0]["lease"], &json!({"retryAfterMs": 0})).ok();
    assert_eq!(ids(&server.consume("b", &job, &warm("B", 3))), ["B0", "B1", "B3"]);
    // Moved to another level with its keys.
    server.patch(&format!("/kwq/jobs/{job}"), &json!({"priority": 9})).ok();
    assert_eq!(ids(&server.consume("b", &job, &warm("B", 1))), ["B4"]);
}

/// Whose answer comes; the others wait on.
fn first_answer(server: &Server, parked: &mut Vec<(&'static str, Conn)>) -> (String, String) {
    let at = eventually("an answer", || parked.iter().position(|(_, conn)| conn.readable()));
    let (name, mut conn) = parked.remove(at);
    let body = conn.answer(false).expect("an answer").ok();
    let waiting = i64::try_from(parked.len()).expect("few");
    eventually("the others wait", || (server.waiting() == waiting).then_some(()));
    (name.to_owned(), ids(body["tasks"].as_array().expect("tasks"))[0].to_owned())
}

// S 5.6: best affinity score first, then the longest waiting; with a filter of jobs and without.
#[test]
fn work_wakes_the_parked_consume_that_is_warmest_for_it() {
    for filter in [json!({}), json!({"jobs": ["wake"]})] {
        let server = Server::start(&["log.partitions=1"]);
        // The third has learned x and names nothing.
        server.submit(&json!({"groupId": "wake", "affinity": ["x"]}));
        let lesson = server.take("learned", "wake");
        server.complete(&lesson);
        let ask = |name: &str, keys: Value| {
            let ask = json!({"worker": name, "affinity": keys});
            server.park_with(&crate::support::merge(&ask, &filter))
        };
        let mut parked = vec![
            ("cold", ask("cold", json!([]))),
            ("other", ask("other", json!(["z"]))),
            ("learned", ask("learned", json!([]))),
            ("both", ask("both", json!(["x", "y"]))),
            ("late", ask("late", json!(["x"]))),
        ];
        let mut order = Vec::new();
        for n in 0..5 {
            let task = json!({"id": format!("t{n}"), "groupId": "wake", "affinity": ["x", "y"]});
            server.submit(&task);
            let (name, id) = first_answer(&server, &mut parked);
            assert_eq!(id, format!("t{n}"));
            order.push(name);
        }
        assert_eq!(order, ["both", "learned", "late", "cold", "other"], "{filter}");
    }
}

// S 5.6: also work that was not submitted just now.
#[test]
fn a_resumed_job_wakes_the_warm_too() {
    let server = Server::start(&["log.partitions=1"]);
    server.submit(&json!({"id": "t", "groupId": "held", "affinity": ["x"]}));
    server.job_verb("held", "pause");
    let ask =
        |name: &str, keys: Value| server.park_with(&json!({"worker": name, "affinity": keys}));
    let mut parked = vec![("cold", ask("cold", json!([]))), ("warm", ask("warm", json!(["x"])))];
    server.job_verb("held", "resume");
    assert_eq!(first_answer(&server, &mut parked), ("warm".to_owned(), "t".to_owned()));
}

// api.md 6: a worker shows what it is warm for, named and learned.
#[test]
fn a_worker_shows_what_it_named_and_what_it_has_learned() {
    let (server, worker) =
        (Server::start(&["log.partitions=1", "affinity.learned-keys=2"]), "shown");
    for (n, key) in ["a", "b", "named", "c", "b"].iter().enumerate() {
        let job = format!("job{n}");
        server.submit(&json!({"groupId": job, "affinity": [key]}));
        let ask = json!({"affinity": ["named"]});
        server.complete(&server.consume(worker, &job, &ask)[0]);
    }
    let shown = server.get("/kwq/workers/shown").ok();
    assert_eq!(shown["affinity"], json!(["named", "c", "b"]), "what it named first");
    server.delete("/kwq/workers/shown").ok();
    server.get("/kwq/workers/shown").refused(404, "worker_not_found");
}

// S 10: affinity is one value for all elements of an array; 5.4 holds for each of them.
#[test]
fn elements_of_an_array_are_found_by_their_keys_before_and_after_a_restart() {
    let mut server = Server::start(&["log.partitions=1"]);
    fill(&server, "rays");
    let array = json!({"array": {"from": 1, "to": 50_000_000}, "affinity": ["curve=C", "curve=D"]});
    server.post("/kwq/jobs/rays/tasks", &array).ok();
    let delayed = json!({"array": {"from": 1, "to": 9}, "affinity": ["curve=E"], "delayMs": 50});
    server.post("/kwq/jobs/rays/tasks", &delayed).ok();
    let values = |tasks: &[Value]| tasks.iter().map(|t| int(t, "index")).collect::<Vec<_>>();
    assert_eq!(values(&server.consume("c", "rays", &warm("C", 3))), [1, 2, 3]);
    eventually("the delayed ones", || {
        (int(&server.job("rays")["counts"], "DELAYED") == 0).then_some(())
    });
    assert_eq!(values(&server.consume("e", "rays", &warm("E", 2))), [1, 2]);
    server.kill();
    server.launch();
    assert_eq!(values(&server.consume("d", "rays", &warm("D", 2))), [4, 5]);
    assert_eq!(ids(&server.consume("e", "rays", &warm("B", 1))), ["A0"], "the eighth is the head");
    counted(&server, "rays", 7, 1);
}

// S 5.4, 13.2: counts of the job and of all jobs; hit and miss survive kill and stop.
#[test]
fn counts_and_keys_survive_a_restart() {
    let mut server = Server::start(&["log.partitions=1"]);
    fill(&server, "kept");
    server.consume("b", "kept", &warm("B", 3));
    server.consume("c", "kept", &warm("C", 1));
    for stop in [Server::kill as fn(&mut Server), Server::terminate] {
        stop(&mut server);
        server.launch();
        counted(&server, "kept", 3, 1);
        let now = server.get("/kwq/stats/now?fresh=true").ok();
        assert_eq!(now["affinity"], json!({"hits": 3, "misses": 1}));
    }
    assert_eq!(ids(&server.consume("b", "kept", &warm("B", 1))), ["B3"]);
    let line = eventually("the metric of the hit since the start", || {
        let text = server.get("/metrics").text();
        let line = text.lines().find(|l| l.starts_with("kwq_affinity_total{result=\"hit\"}"));
        line.map(str::to_owned).filter(|line| line.ends_with(" 1"))
    });
    assert!(line.ends_with(" 1"));
}

// S 5.4: affinity.head-every = 1 switches affinity off.
#[test]
fn affinity_can_be_switched_off() {
    let server = Server::start(&["log.partitions=1", "affinity.head-every=1"]);
    fill(&server, "off");
    assert_eq!(ids(&server.consume("b", "off", &warm("B", 2))), ["A0", "A1"]);
    counted(&server, "off", 0, 0);
}
