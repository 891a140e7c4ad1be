//! `api.md` 1, the request and answer headers, one test or more for each row. Not here:
//! `Kwq-Applied: no` on 429, 503 and 507, which is tested with each of their codes in `codes.rs`.

use serde_json::{Value, json};

use super::{held, now};
use crate::support::{
    Answer, Event, Req, Server, Sse, int, is_problem, merge, now_ms, shared, single, text, unique,
};

fn submit(job: &str) -> Req {
    Req::new("POST", "/kwq/submit").json(&json!({"groupId": job}))
}

// `Authorization`: not needed, and not looked at, where no token is configured.
#[test]
fn authorization_without_tokens() {
    let req = Req::new("GET", "/kwq/me").header("Authorization", "Bearer whatever");
    let me = shared().call(&req).ok();
    assert_eq!(me["roles"].as_array().map(Vec::len), Some(6), "everybody has every role: {me}");
}

#[test]
fn idempotency_key_is_1_to_128_printable_ascii() {
    for wrong in ["", &"k".repeat(129), "ä"] {
        let req = submit(&unique("key")).header("Idempotency-Key", wrong);
        shared().call(&req).refused(400, "bad_request");
    }
    for right in ["k".repeat(100), "!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~".to_owned()] {
        let right = format!("{right}{}", unique(""));
        shared().call(&submit(&unique("key")).header("Idempotency-Key", &right)).expect(200);
    }
}

/// The three kinds of call that take a key.
fn keyed() -> [Req; 3] {
    let job = unique("keyed");
    [
        submit(&job),
        Req::new("POST", &format!("/kwq/jobs/{job}/tasks")).json(&json!([{}, {}])),
        Req::new("POST", "/kwq/jobs").json(&json!({"id": unique("keyed")})),
    ]
}

#[test]
fn kwq_replayed_is_on_the_answer_of_an_earlier_call() {
    for req in keyed() {
        let req = req.header("Idempotency-Key", &unique("replay"));
        let first = shared().call(&req);
        assert!([200, 201].contains(&first.status), "{}", first.text());
        assert!(first.header("Kwq-Replayed").is_none());
        let again = shared().call(&req);
        assert_eq!(again.header("Kwq-Replayed"), Some("true"));
        assert_eq!((again.status, again.text()), (first.status, first.text()));
        for name in ["Kwq-Ref", "Kwq-Outcome", "Location"] {
            assert_eq!(again.header(name), first.header(name), "{name}");
        }
    }
}

#[test]
fn kwq_timeout_ms_is_1_to_60_000() {
    for wrong in ["0", "60001", "-1", "1.5", "x", ""] {
        let req = submit(&unique("never")).header("Kwq-Timeout-Ms", wrong);
        shared().call(&req).refused(400, "bad_request");
    }
    shared().call(&submit(&unique("soon")).header("Kwq-Timeout-Ms", "60000")).expect(200);
}

#[test]
fn kwq_lease_is_the_token_of_update_task() {
    let task = held(&json!({"id": unique("u")}));
    let body = json!({"id": task["id"], "status": "COMPLETED"});
    let req =
        |lease: &str| Req::new("POST", "/kwq/updateTask").json(&body).header("Kwq-Lease", lease);
    shared().call(&req("nobody")).refused(409, "lease_lost");
    assert_eq!(now(&task)["state"], "ALLOCATED");
    let done = shared().call(&req(text(&task, "lease"))).ok();
    assert_eq!(done["status"], "COMPLETED");
    shared().call(&req(text(&task, "lease"))).expect(200);
}

// 8: what was missed comes first, from the id on that the header names.
#[test]
fn last_event_id_resumes_an_event_stream() {
    let (server, job) = (shared(), unique("resumed"));
    let mut stream = Sse::open(server, "/kwq/events", None);
    server.submit(&json!({"groupId": job}));
    let first = stream.until("job", |event| event.data["id"] == *job);
    drop(stream);
    server.job_verb(&job, "pause");
    // Somebody else sees it happen, so it has been missed.
    let mut other = Sse::open(server, "/kwq/events", Some(&first.id.to_string()));
    let paused = |event: &Event| event.data["id"] == *job && event.data["paused"] == true;
    let missed = other.until("job", paused);
    let mut resumed = Sse::open(server, "/kwq/events", Some(&first.id.to_string()));
    let told = resumed.until("job", paused);
    assert_eq!((told.id, &told.data), (missed.id, &missed.data));
    let mut new = Sse::open(server, "/kwq/events", Some(&missed.id.to_string()));
    assert!(new.next().id > missed.id, "nothing comes twice");
    // The bound is that of the document, not the one of the number inside: 20 digits may fit.
    let document = shared().get("/openapi.json").ok();
    let parameters = &document["paths"]["/kwq/events"]["get"]["parameters"];
    let named = |p: &&Value| p["name"] == "Last-Event-ID";
    let id = parameters.as_array().and_then(|all| all.iter().find(named)).expect("described");
    assert_eq!(id["schema"]["pattern"], "^[0-9]{1,19}$");
    Sse::open(server, "/kwq/events", Some("9999999999999999999")).next();
    for wrong in ["", "x", "-1", "+1", "1.5", "10000000000000000000", "00000000000000000001"] {
        let req = Req::new("GET", "/kwq/events").header("Last-Event-ID", wrong);
        shared().call(&req).refused(400, "bad_request");
    }
}

/// `partition:position` pairs, separated by commas.
#[track_caller]
fn is_position(answer: &Answer) {
    let position = answer.header("Kwq-Position").unwrap_or_else(|| panic!("{answer:?}"));
    for pair in position.split(',') {
        let (partition, at) = pair.split_once(':').expect("a pair");
        assert!(partition.parse::<u32>().is_ok() && at.parse::<u64>().is_ok(), "{position}");
    }
}

// S 15: every answer carries it.
#[test]
fn kwq_position_is_on_every_answer_about_tasks() {
    let task = held(&json!({}));
    let (reference, job) = (text(&task, "ref"), text(&task, "groupId"));
    for path in [
        format!("/kwq/tasks/{reference}"),
        format!("/kwq/tasks/{reference}/explain"),
        format!("/kwq/tasks/{reference}/payload"),
        format!("/kwq/tasks?job={job}"),
        format!("/kwq/jobs/{job}"),
        format!("/kwq/jobs/{job}/breakdown?by=state"),
        "/kwq/jobs".to_owned(),
        "/kwq/dlq".to_owned(),
        "/kwq/queues".to_owned(),
        "/kwq/stats/now".to_owned(),
        "/kwq/stats/tags?key=x".to_owned(),
    ] {
        let answer = shared().get(&path);
        answer.expect(200);
        is_position(&answer);
    }
    let server = shared();
    is_position(server.post("/kwq/submit", &json!({"groupId": job})).expect(200));
    is_position(server.report("start", &task["lease"], &json!({})).expect(200));
    is_position(server.report("complete", &task["lease"], &json!({})).expect(200));
    is_position(server.post(&format!("/kwq/jobs/{job}/pause"), &json!({})).expect(200));
}

// S 15 "Every answer carries `Kwq-Position`": a refusal tells a state as well.
#[test]
fn kwq_position_is_on_a_refusal_by_state() {
    is_position(super::task_verb(&super::task_in("COMPLETED"), "cancel").expect(409));
}

#[test]
fn kwq_lag_ms_is_on_answers_of_the_tracker() {
    let job = unique("lag");
    shared().submit(&json!({"groupId": job}));
    for path in [
        format!("/kwq/tasks?job={job}"),
        format!("/kwq/jobs/{job}/breakdown?by=state"),
        "/kwq/jobs".to_owned(),
        "/kwq/dlq".to_owned(),
        "/kwq/stats".to_owned(),
        "/kwq/stats/now".to_owned(),
        "/kwq/stats/tags?key=x".to_owned(),
    ] {
        let answer = shared().get(&path);
        let lag = answer.expect(200).header("Kwq-Lag-Ms").unwrap_or_else(|| panic!("{path}"));
        assert!(lag.parse::<u64>().is_ok(), "{path}: {lag}");
    }
}

#[test]
fn kwq_next_and_kwq_scanned_lead_through_a_list() {
    let (server, job) = (shared(), unique("next"));
    let refs = server.add(&job, &json!([{}, {}, {}]));
    let path = format!("/kwq/tasks?job={job}&limit=2&fresh=true");
    let first = server.get(&path);
    assert_eq!(first.ok().as_array().map(Vec::len), Some(2));
    let scanned = first.header("Kwq-Scanned").expect("tasks looked at");
    assert!(scanned.parse::<u64>().is_ok_and(|n| n >= 2), "{scanned}");
    let next = first.header("Kwq-Next").expect("there is more").to_owned();
    let rest = server.get(&format!("{path}&cursor={}", crate::support::encode(&next)));
    let mut seen: Vec<String> = [first.ok(), rest.ok()]
        .iter()
        .flat_map(|page| page.as_array().expect("a list").clone())
        .map(|task| text(&task, "ref").to_owned())
        .collect();
    seen.sort();
    let mut refs = refs;
    refs.sort();
    assert_eq!(seen, refs);
    assert!(server.get(&format!("/kwq/tasks?job={job}")).header("Kwq-Next").is_none());
}

#[test]
fn kwq_outcome_and_kwq_ref_are_on_the_seed_submit_of_one_task() {
    let (server, job) = (shared(), unique("outcome"));
    server.post("/kwq/jobs", &json!({"id": job, "dedup": "task"})).expect(201);
    let task = json!({"groupId": job, "id": "a", "payload": "p"});
    let first = server.post("/kwq/submit", &task);
    assert_eq!(first.expect(200).header("Kwq-Outcome"), Some("ok"));
    let reference = first.header("Kwq-Ref").expect("a reference");
    assert_eq!(server.task(reference)["groupId"], *job);
    let again = server.post("/kwq/submit", &task);
    assert_eq!(again.expect(200).header("Kwq-Outcome"), Some("duplicate"));
    assert_eq!(again.header("Kwq-Ref"), Some(reference), "that of the first");
}

#[test]
fn kwq_lease_lease_ms_and_attempt_are_on_the_seed_consume() {
    let server = Server::start(&[]);
    for (seconds, lease) in [(0, "60000"), (7, "7000")] {
        let id = unique("seed");
        server.submit(&json!({"id": id, "timeoutSeconds": seconds}));
        let answer = server.get("/kwq/consume/seed-worker/endpoint/5");
        assert_eq!(answer.ok()["id"], *id);
        assert_eq!(answer.header("Kwq-Lease-Ms"), Some(lease));
        assert_eq!(answer.header("Kwq-Attempt"), Some("1"));
        assert_eq!(answer.header("Deprecation"), Some("true"));
        let token = json!(answer.header("Kwq-Lease").expect("a token"));
        assert_eq!(server.report("complete", &token, &json!({})).ok()["outcome"], "ok");
    }
}

/// A consume that finds nothing.
fn nothing(worker: &str, wait: u64) -> Answer {
    let ask = json!({"worker": worker, "jobs": [unique("none")], "waitMs": wait});
    shared().post("/kwq/consume", &ask)
}

#[test]
fn kwq_poll_after_ms_is_on_every_204_of_a_consume() {
    let server = Server::start(&["poll.max-parked=1"]);
    let parked = server.park("first", "none");
    let full = json!({"worker": "second", "jobs": ["none"]});
    for answer in [
        nothing(&unique("w"), 0),
        nothing(&unique("w"), 50),
        server.post("/kwq/consume", &full),
        server.get("/kwq/consume/seed/e/0"),
    ] {
        let wait = answer.expect(204).header("Kwq-Poll-After-Ms").expect("on every 204");
        assert!(wait.parse::<u64>().is_ok(), "{wait}");
        assert!(answer.body.is_empty());
    }
    drop(parked);
}

#[test]
fn kwq_drain_is_on_the_204_of_a_drained_worker() {
    let worker = unique("drained");
    assert!(nothing(&worker, 0).expect(204).header("Kwq-Drain").is_none());
    shared().post(&format!("/kwq/workers/{worker}/drain"), &json!({})).ok();
    assert_eq!(nothing(&worker, 20_000).expect(204).header("Kwq-Drain"), Some("true"));
    shared().post(&format!("/kwq/workers/{worker}/drain"), &json!({"drain": false})).ok();
    assert!(nothing(&worker, 0).expect(204).header("Kwq-Drain").is_none());
}

#[test]
fn location_is_on_201() {
    let job = format!("{} ä/b", unique("location"));
    let answer = shared().post("/kwq/jobs", &json!({"id": job}));
    let location = answer.expect(201).header("Location").expect("where it is").to_owned();
    assert_eq!(shared().get(&location).ok()["id"], *job);
}

#[test]
fn location_is_on_202() {
    let (server, job) = (shared(), unique("location"));
    server.add(&job, &json!([{}]));
    server.bury(&job, "e");
    let retry = server.post(&format!("/kwq/jobs/{job}/retry"), &json!({}));
    server.bury(&job, "e");
    let redrive = server.post("/kwq/dlq/redrive", &json!({"filter": {"job": job}}));
    server.job_verb(&job, "cancel");
    let purge = server.delete(&format!("/kwq/jobs/{job}"));
    for answer in [retry, redrive, purge] {
        let op = answer.expect(202).json();
        let location = answer.header("Location").expect("where it is");
        assert_eq!(server.get(location).ok()["op"], op["op"]);
    }
}

// 1: every `/kwq` answer has it, refusals too.
#[test]
fn cache_control_is_no_store_under_kwq() {
    let server = shared();
    let task = held(&json!({}));
    for answer in [
        server.get("/kwq"),
        server.get("/kwq/me"),
        server.get("/kwq/tasks"),
        server.get(&format!("/kwq/tasks/{}/payload", text(&task, "ref"))),
        server.get("/kwq/health/live"),
        server.get("/kwq/health/ready"),
        server.get("/kwq/nothing"),
        server.post("/kwq/submit", &json!({"priority": 10})),
        server.delete("/kwq/submit"),
        nothing(&unique("w"), 0),
    ] {
        assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{answer:?}");
    }
}

#[test]
fn no_answer_opens_the_door_to_other_origins() {
    for req in [submit(&unique("cors")), Req::new("OPTIONS", "/kwq/submit")] {
        let answer = shared().call(&req.header("Origin", "http://evil.example"));
        let cors = |(name, _): &(String, String)| name.to_lowercase().starts_with("access-control");
        assert!(!answer.headers.iter().any(cors), "{answer:?}");
    }
}

// 7.2: bytes come as an attachment that nothing may guess a type for.
#[test]
fn payload_and_result_are_attachments() {
    let task = held(&json!({}));
    shared().complete(&task);
    for part in ["payload", "result"] {
        let answer = shared().get(&format!("/kwq/tasks/{}/{part}", text(&task, "ref")));
        let kind = answer.expect(200).header("Content-Type");
        assert_eq!(kind, Some("application/octet-stream"), "{part}");
        let shown = answer.header("Content-Disposition").unwrap_or_default();
        assert!(shown.starts_with("attachment"), "{part}: {shown}");
        assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"), "{part}");
    }
}

// 1: names and values of headers that are read but wrong are no server errors.
#[test]
fn a_wrong_value_of_a_header_is_a_problem() {
    for (name, value) in [("Idempotency-Key", "ä"), ("Kwq-Timeout-Ms", "soon")] {
        let answer = shared().call(&submit(&unique("wrong")).header(name, value));
        assert_eq!(is_problem(&answer)["code"], "bad_request", "{name}");
    }
}

// S 15: a position names what the answer holds for, so it never falls.
#[test]
fn kwq_position_never_falls() {
    let server = single();
    let at = |answer: &Answer| -> u64 {
        let position = answer.expect(200).header("Kwq-Position").expect("on every answer");
        position.rsplit(':').next().and_then(|at| at.parse().ok()).expect("a number")
    };
    let mut last = 0;
    for _ in 0..5 {
        let job = unique("position");
        let body = merge(&json!({"groupId": job}), &json!({"notBefore_ts": now_ms()}));
        for position in [
            at(&server.post("/kwq/submit", &body)),
            at(&server.get(&format!("/kwq/jobs/{job}"))),
            at(&server.get(&format!("/kwq/tasks?job={job}&fresh=true"))),
        ] {
            assert!(position >= last, "{position} after {last}");
            last = position;
        }
    }
    let job: Value = server.get("/kwq/stats/now?fresh=true").ok();
    assert!(int(&job, "submitted") >= 5, "{job}");
}
