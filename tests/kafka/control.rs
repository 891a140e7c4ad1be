//! Control verbs that come to several instances at the same moment: all partitions take them in one
//! order, so no job is split and no operation is lost.

use crate::broker::address;
use crate::http::{Answer, Client};
use crate::instances::Fleet;
use crate::run::Run;
use crate::util::{alone, wait_until};
use serde_json::{Value, json};
use std::net::SocketAddr;

const ROUNDS: usize = 6;
/// Tasks that come in at each instance.
const TASKS: usize = 5;

type Verb = (&'static str, String, Value);

/// Sends each verb to an instance of its own, all at once; what was answered.
fn at_once(addresses: &[SocketAddr], verbs: &[Verb]) -> Vec<Answer> {
    let start = std::sync::Barrier::new(verbs.len());
    std::thread::scope(|scope| {
        let calls = verbs.iter().zip(addresses).map(|((method, path, body), addr)| {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                let json = [("Content-Type", "application/json")];
                let mut client = Client::new(*addr);
                client.call(method, path, &json, body.to_string().as_bytes()).expect("answered")
            })
        });
        let calls: Vec<_> = calls.collect();
        calls.into_iter().map(|call| call.join().expect("no panic")).collect()
    })
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    let mut all: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    all.sort_unstable();
    all
}

fn submit(addresses: &[SocketAddr], job: &str) {
    for addr in addresses {
        let tasks = vec![json!({"groupId": job, "payload": 1}); TASKS];
        let answer = Client::new(*addr).post("/kwq/submit", &json!(tasks)).expect("answered");
        assert_eq!(answer.status, 200, "{}", answer.json());
    }
}

fn consume(addr: SocketAddr, job: &str) -> Vec<Value> {
    let wish = json!({"worker": "w", "max": 100, "waitMs": 0, "jobs": [job]});
    let answer = Client::new(addr).post("/kwq/consume", &wish).expect("answered");
    answer.json()["tasks"].as_array().cloned().unwrap_or_default()
}

/// Has as many of a job's tasks as there are end in the dead letters.
fn kill(addresses: &[SocketAddr], job: &str) {
    submit(addresses, job);
    let mut dead = 0;
    let all = wait_until(10_000, || {
        let failed = |task: &Value| json!({"lease": task["lease"], "retryable": false});
        let items: Vec<_> = consume(addresses[0], job).iter().map(failed).collect();
        dead += items.len();
        if !items.is_empty() {
            let told = Client::new(addresses[0]).post("/kwq/fail", &json!({"items": items}));
            assert_eq!(told.expect("answered").status, 200);
        }
        dead == TASKS * addresses.len()
    });
    assert!(all, "{dead} of {job}");
    // Instances that were not asked hear of it a moment later.
    let path = format!("/kwq/tasks?state=ERROR&job={job}&limit=100");
    let lists = |addr: &SocketAddr| get(*addr, &path).as_array().map_or(0, Vec::len);
    assert!(wait_until(10_000, || addresses.iter().all(|addr| lists(addr) == dead)), "{job}");
}

fn get(addr: SocketAddr, path: &str) -> Value {
    Client::new(addr).get(path).expect("answered").json()
}

#[test]
fn verbs_at_several_instances_at_once_leave_no_job_split_and_no_operation_behind() {
    let _alone = alone();
    let mut run = Run::new("kafka-control");
    let fleet = Fleet::start(&mut run, address());
    let all = fleet.addresses();
    for round in 0..ROUNDS {
        let job = format!("job-{round}");
        let define = |priority: u8| {
            ("POST", "/kwq/jobs".to_owned(), json!({"id": job, "priority": priority}))
        };
        let told = at_once(&all, &[define(2), define(8)]);
        assert_eq!(statuses(&told), [201, 409], "one of two specifications");
        submit(&all, &job);

        let path = format!("/kwq/jobs/{job}");
        let patch = |priority: u8| ("PATCH", path.clone(), json!({"priority": priority}));
        assert_eq!(statuses(&at_once(&all, &[patch(3), patch(7)])), [200, 200]);
        let levels = get(all[2], &format!("{path}/breakdown?by=priority&fresh=true"));
        assert_eq!(levels["rows"].as_array().map(Vec::len), Some(1), "on one level: {levels}");

        let verb = |name: &str| ("POST", format!("{path}/{name}"), json!({}));
        assert_eq!(statuses(&at_once(&all, &[verb("pause"), verb("resume")])), [200, 200]);
        let paused = get(all[1], &path)["paused"] == true;
        let expected = if paused { 0 } else { TASKS * all.len() };
        let got: usize = (0..2).map(|_| consume(all[1], &job).len()).sum();
        assert_eq!(got, expected, "paused as a whole or not at all: {paused}");

        let jobs = ["a", "b", "c"].map(|name| format!("dead-{round}-{name}"));
        jobs.iter().for_each(|job| kill(&all, job));
        let redrive =
            |job: &String| ("POST", "/kwq/dlq/redrive".to_owned(), json!({"filter": {"job": job}}));
        let told = at_once(&all, &jobs.each_ref().map(redrive));
        assert_eq!(statuses(&told), [202, 202, 202]);
        let mut names: Vec<_> = told.iter().map(|told| told.json()["op"].to_string()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), jobs.len(), "each has a number of its own: {names:?}");
        let redriven = |job: &String| {
            let job = get(all[0], &format!("/kwq/jobs/{job}"));
            job["counts"]["PENDING"] == TASKS * all.len()
        };
        assert!(wait_until(10_000, || jobs.iter().all(redriven)), "every redrive is done");
    }
}
