//! Ageing, the low floor, and the share of a batch by time: S 5.3 and 5.5. Each server is the
//! test's own: what waits for long here would rise elsewhere too.

use serde_json::{Value, json};

use crate::support::{Server, eventually, int, pause, unique};

fn priorities(tasks: &[Value]) -> Vec<i64> {
    tasks.iter().map(|task| int(task, "priority")).collect()
}

// S 5.3 queue.age-step: a head that waited is served a level higher; its priority stays.
#[test]
fn a_lane_that_waits_is_served_above_its_level() {
    let server = Server::start(&["log.partitions=1", "queue.age-step=1s", "queue.age-max=3"]);
    let (old, new) = (unique("old"), unique("new"));
    server.add(&old, &json!([{"priority": 4}, {"priority": 4}]));
    pause(3_200);
    server.add(&new, &json!([{"priority": 6}, {"priority": 6}]));
    // The old lane stands at 7 now, above the new one at 6.
    let answer = server.post("/kwq/consume", &json!({"worker": "w", "max": 1, "waitMs": 0})).ok();
    let first = &answer["tasks"][0];
    assert_eq!((int(first, "priority"), &first["groupId"]), (4, &json!(old)), "{first}");
}

// S 5.3: off by default.
#[test]
fn without_ageing_the_higher_level_goes_first_however_long_the_other_waits() {
    let server = Server::start(&["log.partitions=1"]);
    let job = unique("strict");
    server.add(&job, &json!([{"priority": 4}]));
    pause(1_200);
    server.add(&job, &json!([{"priority": 5}]));
    assert_eq!(priorities(&server.consume("w", &job, &json!({"max": 2}))), [5, 4]);
}

// S 5.3 queue.low-floor: every ⌈1/f⌉-th hand-out serves the lowest level with an eligible lane;
// the count goes on over a restart.
#[test]
fn every_so_many_hand_outs_serve_the_lowest_level() {
    let mut server = Server::start(&["log.partitions=1", "queue.low-floor=0.25"]);
    let job = unique("floor");
    let mix: Vec<Value> =
        (0..6).flat_map(|_| [json!({"priority": 9}), json!({"priority": 1})]).collect();
    server.add(&job, &Value::Array(mix));
    let first = priorities(&server.consume("w", &job, &json!({"max": 3})));
    assert_eq!(first, [9, 9, 9]);
    server.kill();
    server.launch();
    let next = priorities(&server.consume("w", &job, &json!({"max": 5})));
    assert_eq!(next, [1, 9, 9, 9, 1]);
}

// S 5.5: by time no worker gets more than ⌈ready ÷ workers of the last minute⌉.
#[test]
fn a_batch_by_time_leaves_a_share_for_every_active_worker() {
    let server = Server::start(&["log.partitions=1"]);
    let job = unique("share");
    // Its average run time is known, and short.
    let task = server.leased("w1", &job, &json!({}));
    server.report("complete", &task["lease"], &json!({"runMs": 1})).ok();
    server.add(&job, &Value::Array(vec![json!({}); 10]));
    let ask = json!({"max": 100, "targetMs": 60_000});
    for name in ["w2", "w3", "w4"] {
        server.post("/kwq/workers", &json!({"worker": name})).ok();
    }
    let share = |left: usize| left.div_ceil(4);
    assert_eq!(server.consume("w1", &job, &ask).len(), share(10));
    assert_eq!(server.consume("w2", &job, &ask).len(), share(7));
    // A worker that has left takes no share.
    server.delete("/kwq/workers/w3").ok();
    assert_eq!(server.consume("w4", &job, &ask).len(), 5usize.div_ceil(3));
    // Without targetMs there is no share.
    assert_eq!(server.consume("w1", &job, &json!({"max": 100})).len(), 3);
}

// S 5.3: explain shows the level a lane is served at, also when nothing else happens.
#[test]
fn explain_ages_while_nothing_happens() {
    let server = Server::start(&["log.partitions=1", "queue.age-step=500ms", "queue.age-max=2"]);
    let low = server.add(&unique("low"), &json!([{"priority": 4}]));
    let path = format!("/kwq/tasks/{}/explain", low[0]);
    eventually("it has risen by two levels", || {
        let told = server.get(&path).ok();
        assert_eq!(int(&told, "priority"), 4);
        (int(&told, "effectivePriority") == 6).then_some(())
    });
}
