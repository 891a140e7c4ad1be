//! The disk of one of two instances is full, and has room again. What it keeps is a copy: the
//! other one serves meanwhile, and nobody who works notices more than a change of hands.

use crate::broker::{instance, prefix};
use crate::http::{Answer, Client};
use crate::mount::Mount;
use crate::server::{Server, Start};
use crate::util::{alone, scratch, wait_until};
use serde_json::{Value, json};

/// The session of a group member, the take-over, and how long an instance stays aside.
const SETTLED_MS: u64 = 45_000;
/// Less than a segment.
const LITTLE: u64 = 2 << 20;
/// More than there is room for.
const TASKS: usize = 60;
const PAYLOAD_BYTES: usize = 200_000;

fn client(server: &Server) -> Client {
    Client::with_timeout(server.addr().expect("it is up"), 10_000)
}

fn get(server: &Server, path: &str) -> Answer {
    client(server).get(path).expect("an answer")
}

/// A call that may come amid a change of hands.
fn post(server: &Server, path: &str, body: &Value) -> Value {
    let mut told = Value::Null;
    let done = wait_until(SETTLED_MS, || {
        let answer = client(server).post(path, body).expect("an answer");
        told = answer.json();
        answer.status == 200
    });
    assert!(done, "{path}: {told}");
    told
}

/// Partitions of an instance, as `asked` knows.
fn owned(asked: &Server, node: &str) -> usize {
    let cluster = get(asked, "/kwq/cluster").json();
    let all = cluster["partitions"].as_array().cloned().unwrap_or_default();
    all.iter().filter(|p| p["owner"] == node && p["state"] == "READY").count()
}

fn is_full(server: &Server) -> bool {
    let ready = get(server, "/kwq/health/ready");
    let reasons = ready.json()["reasons"].clone();
    ready.status == 503 && reasons.as_array().is_some_and(|all| all.contains(&json!("disk_full")))
}

#[test]
fn an_instance_whose_disk_is_full_leaves_all_to_another_and_takes_part_again() {
    let _alone = alone();
    let (prefix, dir) = (prefix(), scratch("kafka-full"));
    let mount = Mount::new(dir.join("disk"));
    let mount = mount.expect("this test is never skipped; a tmpfs is mounted: run it as root");
    let wide = instance(&prefix, &dir, "wide");
    let mut tight = instance(&prefix, &mount.0, "tight");
    tight.sets.push("log.disk-reserve=24MiB".into());
    let start = |start: &Start| Server::start(start).expect("it starts");
    let (wide, tight) = (start(&wide), start(&tight));
    let shared = || owned(&wide, "wide") == 2 && owned(&wide, "tight") == 2;
    assert!(wait_until(SETTLED_MS, shared), "each has two partitions");
    let small: Vec<Value> = (0..40).map(|n| json!({"payload": n})).collect();
    post(&tight, "/kwq/jobs/small/tasks", &json!(small));
    let ask = json!({"worker": "w", "max": 20, "waitMs": 0});
    let held = post(&tight, "/kwq/consume", &ask)["tasks"].clone();

    let ballast = mount.0.join("ballast");
    mount.fill(&ballast, LITTLE);
    assert!(wait_until(SETTLED_MS, || is_full(&tight)), "{}", tight.stderr());
    assert!(wait_until(SETTLED_MS, || owned(&wide, "wide") == 4), "{}", tight.stderr());
    // It answers for what it has given away: reports are not refused.
    for task in held.as_array().expect("tasks") {
        let done = json!({"items": [{"lease": task["lease"]}]});
        let told = post(&tight, "/kwq/complete", &done);
        assert_eq!(told["items"][0]["outcome"], "ok", "{told}");
    }
    assert_eq!(post(&tight, "/kwq/jobs/small/pause", &json!({}))["id"], "small");

    // What others append does not fit any more.
    let large = json!({"payload": "x".repeat(PAYLOAD_BYTES)});
    for _ in 0..TASKS {
        let answer = client(&wide).post("/kwq/jobs/large/tasks", &json!([large]));
        assert_eq!(answer.expect("an answer").status, 200);
    }
    let failed = || tight.stderr().contains("the log has failed");
    assert!(wait_until(SETTLED_MS, failed), "its copy is full: {}", tight.stderr());
    std::fs::remove_file(&ballast).expect("the ballast goes");
    let knows = || {
        let listed = get(&tight, "/kwq/tasks?job=large&limit=1000&fresh=true");
        listed.status == 200 && listed.json().as_array().map(Vec::len) == Some(TASKS)
    };
    assert!(wait_until(SETTLED_MS, knows), "{}", tight.stderr());
    let back = || !is_full(&tight) && owned(&wide, "tight") == 2;
    assert!(wait_until(SETTLED_MS, back), "it takes part again: {}", tight.stderr());
    assert_eq!(get(&tight, "/kwq/health/ready").status, 200);
}
