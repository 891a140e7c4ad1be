//! Waiting for work (`semantics.md` 5.6).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Conn, Req, Server, eventually, ids, in_background, int, shared, since, start_watch, unique,
};

fn ask(worker: &str, job: &str, wait_ms: u64) -> Req {
    let body = json!({"worker": worker, "jobs": [job], "waitMs": wait_ms});
    Req::new("POST", "/kwq/consume").json(&body)
}

// S 5.6, api.md 1: nothing ready and waitMs 0 → 204 with Kwq-Poll-After-Ms and no body.
#[test]
fn nothing_to_do_answers_204_with_its_headers() {
    let answer = shared().call(&ask(&unique("w"), &unique("empty"), 0));
    assert!(answer.expect(204).body.is_empty());
    let after = answer.header("Kwq-Poll-After-Ms").expect("on every 204 of a consume");
    assert!(after.parse::<u64>().is_ok(), "{after}");
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    assert_eq!(answer.header("Kwq-Drain"), None);
}

// S 5.6: 204 at the end of the wait, not before.
#[test]
fn an_idle_wait_ends_with_204_and_not_early() {
    let begun = start_watch();
    shared().call(&ask(&unique("w"), &unique("idle"), 700)).expect(204);
    assert!(since(begun) >= Duration::from_millis(700));
}

// S 5.6: work that becomes ready wakes a parked consume, long before its wait is over.
#[test]
fn a_submit_wakes_a_parked_consume() {
    let server = Server::start(&[]);
    let job = unique("wake");
    let mut parked = server.park("sleeper", &job);
    let begun = start_watch();
    server.submit(&json!({"id": "morning", "groupId": job}));
    let body = parked.answer(false).expect("an answer").ok();
    assert!(since(begun) < Duration::from_secs(30), "the wait was 60 s");
    assert_eq!(body["tasks"][0]["id"], "morning");
    assert_eq!(server.waiting(), 0);
}

// S 5.6: exactly as many are woken as can be served.
#[test]
fn one_task_wakes_one_of_two_parked_consumes() {
    let server = Server::start(&[]);
    let job = unique("one");
    let mut parked = [server.park("first", &job), server.park("second", &job)];
    server.submit(&json!({"id": "a", "groupId": job}));
    eventually("one was served", || (server.waiting() == 1).then_some(()));
    server.submit(&json!({"id": "b", "groupId": job}));
    let mut seen: Vec<Value> = Vec::new();
    for conn in &mut parked {
        let body = conn.answer(false).expect("an answer").ok();
        seen.extend(body["tasks"].as_array().expect("tasks").iter().cloned());
    }
    // Same affinity, so the longest waiting is first.
    assert_eq!(ids(&seen), ["a", "b"]);
}

// S 5.6: one parked consume per (worker, endpoint): a newer one makes the older answer 204 at once.
#[test]
fn a_newer_consume_of_a_worker_ends_the_older_one() {
    let server = Server::start(&[]);
    let job = unique("newer");
    let mut older = server.park("same", &job);
    let mut newer = Conn::open(server.addr()).expect("connects");
    let begun = start_watch();
    newer.send(&ask("same", &job, 60_000).to_bytes()).expect("sends");
    older.answer(false).expect("an answer").expect(204);
    assert!(since(begun) < Duration::from_secs(30), "the wait was 60 s");
    server.submit(&json!({"id": "x", "groupId": job}));
    assert_eq!(newer.answer(false).expect("an answer").ok()["tasks"][0]["id"], "x");
}

// S 5.6: client gone before a hand-out: entry dropped, no attempt is lost.
#[test]
fn a_client_that_goes_frees_its_place() {
    let server = Server::start(&[]);
    let job = unique("gone");
    drop(server.park("ghost", &job));
    eventually("the entry is dropped", || (server.waiting() == 0).then_some(()));
    let reference = server.submit(&json!({"groupId": job}));
    let task = server.take("alive", &job);
    assert_eq!((task["ref"].as_str(), int(&task, "attempt")), (Some(reference.as_str()), 1));
}

// S 5.6: resume, release and a due delay make work ready as a submit does.
#[test]
fn work_that_comes_back_wakes_a_parked_consume() {
    let (server, job) = (shared(), unique("back"));
    server.submit(&json!({"id": "t", "groupId": job}));
    let held = server.take("holder", &job);
    let req = ask(&unique("w"), &job, 60_000);
    let waiter = in_background(move || shared().call(&req));
    let answer = server.report("release", &held["lease"], &json!({}));
    answer.expect(200);
    let task = waiter.join().expect("no panic").ok()["tasks"][0].clone();
    assert_eq!((task["id"].as_str(), int(&task, "attempt")), (Some("t"), 2));

    server.job_verb(&job, "pause");
    server.submit(&json!({"id": "u", "groupId": job}));
    let req = ask(&unique("w"), &job, 60_000);
    let waiter = in_background(move || shared().call(&req));
    server.job_verb(&job, "resume");
    assert_eq!(waiter.join().expect("no panic").ok()["tasks"][0]["id"], "u");

    server.submit(&json!({"id": "v", "groupId": job, "delayMs": 500}));
    let answer = server.call(&ask(&unique("w"), &job, 60_000));
    assert_eq!(answer.ok()["tasks"][0]["id"], "v");
}

// S 5.6: more than poll.max-parked per instance → 204 at once.
#[test]
fn beyond_the_cap_a_consume_is_not_parked() {
    let server = Server::start(&["poll.max-parked=2"]);
    let job = unique("cap");
    let _parked = [server.park("a", &job), server.park("b", &job)];
    let begun = start_watch();
    let answer = server.call(&ask("c", &job, 60_000));
    assert!(answer.expect(204).header("Kwq-Poll-After-Ms").is_some());
    assert!(since(begun) < Duration::from_secs(30), "the wait was 60 s");
}
