//! Deviations a hostile user once found; each test names the line of the contract it holds.

use serde_json::{Value, json};

use crate::support::{
    Conn, Req, Server, eventually, ids, int, outcome, pause, shared, since, start_watch, text,
    unique,
};

fn update(server: &Server, task: &Value, lease: &Value) -> crate::support::Answer {
    let lease = lease.as_str().expect("a token");
    server.call(&Req::new("POST", "/kwq/updateTask").json(task).header("Kwq-Lease", lease))
}

// api.md 9: updateTask acts on the lease of *that* id; a 404 or 409 has applied nothing.
#[test]
fn an_update_acts_on_the_task_it_names_only() {
    let (server, job) = (shared(), unique("named"));
    let (a, b) = (unique("a"), unique("b"));
    let held = |id: &str| server.leased("w", &job, &json!({"id": id}));
    let (task_a, task_b) = (held(&a), held(&b));
    let wrong = update(server, &json!({"id": b, "status": "COMPLETED"}), &task_a["lease"]);
    wrong.refused(409, "lease_lost");
    let nobody = json!({"id": unique("nobody"), "status": "COMPLETED"});
    update(server, &nobody, &task_b["lease"]).refused(404, "task_not_found");
    assert_eq!((server.state(&a), server.state(&b)), ("ALLOCATED".into(), "ALLOCATED".into()));
    update(server, &json!({"id": a, "status": "COMPLETED"}), &task_a["lease"]).expect(200);
    assert_eq!(server.state(&a), "COMPLETED");
}

// api.md 9: RUNNING = start + renew, also when only the header says whose lease it is.
#[test]
fn an_update_to_running_renews_without_a_worker() {
    let (server, job, id) = (shared(), unique("renews"), unique("r"));
    let held = server.leased("w", &job, &json!({"id": id, "leaseMs": 2_000}));
    for _ in 0..4 {
        pause(900);
        update(server, &json!({"id": id, "status": "RUNNING"}), &held["lease"]).expect(200);
    }
    assert_eq!(server.state(&id), "RUNNING", "3.6 s with a lease of 2 s");
}

// S 11.1: an implicit job is made explicit with the given spec, and that may say paused.
#[test]
fn a_job_made_explicit_as_paused_is_paused() {
    let (server, job) = (shared(), unique("explicit"));
    server.submit(&json!({"groupId": job}));
    let body = server.post("/kwq/jobs", &json!({"id": job, "paused": true})).ok();
    assert_eq!(body["paused"], true);
    assert!(server.consume("w", &job, &json!({})).is_empty());
    server.job_verb(&job, "resume");
    assert_eq!(server.consume("w", &job, &json!({})).len(), 1);
}

// S 6.6: the consumes of a drained worker answer 204 + drain, the parked one too; a deleted one's
// leaves as well.
#[test]
fn a_drained_or_deleted_worker_waits_no_longer() {
    let (server, job) = (Server::start(&[]), unique("sent-away"));
    let begun = start_watch();
    let mut drained = server.park("dr", &job);
    server.poke("/kwq/workers/dr/drain").expect(200);
    let answer = drained.answer(false).expect("an answer");
    assert_eq!((answer.status, answer.header("Kwq-Drain")), (204, Some("true")));
    let mut deleted = server.park("dl", &job);
    server.delete("/kwq/workers/dl").expect(200);
    deleted.answer(false).expect("an answer").expect(204);
    assert!(since(begun).as_secs() < 30, "the waits were 60 s");
}

// S 6.6, 6.5: who holds a lease is a worker, also after a restart; api.md 1: a cursor is good for
// an hour.
#[test]
fn workers_with_leases_and_cursors_outlive_a_restart() {
    let (mut server, job) = (Server::start(&[]), unique("outlive"));
    server.add(&job, &Value::Array(vec![json!({}); 4]));
    server.take("holder", &job);
    server.poke("/kwq/workers/holder/drain").expect(200);
    let path = format!("/kwq/tasks?job={job}&limit=2");
    let cursor = server.get(&path).header("Kwq-Next").expect("more").to_owned();
    server.kill();
    server.launch();
    let shown = server.get("/kwq/workers/holder").ok();
    assert_eq!((int(&shown, "leases"), text(&shown, "state")), (1, "DRAINING"));
    assert!(server.consume("holder", &job, &json!({})).is_empty(), "a drain is durable");
    server.post("/kwq/workers/holder/drain", &json!({"drain": false})).expect(200);
    assert_eq!(server.consume("holder", &job, &json!({})).len(), 1);
    server.get(&format!("{path}&cursor={cursor}")).expect(200);
}

// promises.md 9: readiness false at once, but everything is served for `drain.delay`.
#[test]
fn the_drain_delay_is_served() {
    let server = Server::start(&["drain.delay=20s"]);
    server.signal_term();
    eventually("not ready", || (server.get("/readyz").status == 503).then_some(()));
    server.submit(&json!({"id": "late", "groupId": "g"}));
    assert_eq!(ids(&server.consume("w", "g", &json!({}))), ["late"]);
}

// RFC 9112 9.6: a connection that ends after an answer says so.
#[test]
fn an_answer_before_the_body_announces_its_end() {
    for path in ["/kwq/submit?close=true", "/kwq/submit?nonsense=1"] {
        let mut conn = Conn::open(shared().addr()).expect("connects");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n\
             Content-Length: 5\r\n\r\n"
        );
        conn.send(head.as_bytes()).expect("sends");
        let answer = conn.answer(false).expect("an answer");
        assert_eq!((answer.status, answer.header("Connection")), (422, Some("close")), "{path}");
    }
}

// api.md 6: the same spec again is 200, equal after defaults.
#[test]
fn a_spec_is_compared_after_its_defaults() {
    let (server, job) = (shared(), unique("same"));
    let given = json!({"id": job, "defaults": {"backoff": {"baseMs": 500}}});
    server.post("/kwq/jobs", &given).expect(201);
    let spelled = json!({"id": job, "name": job, "defaults": {"maxAttempts": 4,
        "backoff": {"baseMs": 500, "capMs": 300_000, "jitter": "full"}}});
    server.post("/kwq/jobs", &spelled).expect(200);
    let other = json!({"id": job, "defaults": {"backoff": {"baseMs": 501}}});
    server.post("/kwq/jobs", &other).refused(409, "job_conflict");
}

// S 3, T20: a fail after `drop-queued` answers cancelled, and so does everything after it.
#[test]
fn a_token_whose_task_ended_cancelled_keeps_saying_so() {
    let (server, job) = (shared(), unique("dropped"));
    let held = server.leased("w", &job, &json!({}));
    let mode = json!({"mode": "drop-queued"});
    server.post(&format!("/kwq/jobs/{job}/cancel"), &mode).expect(200);
    for verb in ["fail", "fail", "complete"] {
        assert_eq!(outcome(&server.report(verb, &held["lease"], &json!({}))), "cancelled");
    }
}

// S 11.1: a cancel of a cancelled job changes nothing.
#[test]
fn a_second_cancel_keeps_the_first_reason() {
    let (server, job) = (shared(), unique("twice"));
    server.submit(&json!({"groupId": job}));
    let path = format!("/kwq/jobs/{job}/cancel");
    server.post(&path, &json!({"mode": "drop-queued", "reason": "first"})).expect(200);
    server.post(&path, &json!({"reason": "second"})).expect(200);
    assert_eq!(server.job(&job)["cancelReason"], "first");
}

// S 15: every answer carries the position it is valid for.
#[test]
fn every_answer_has_a_position() {
    let (server, job) = (shared(), unique("where"));
    server.submit(&json!({"groupId": job}));
    let consume = Req::new("POST", "/kwq/consume").json(&json!({"worker": "p", "jobs": [job]}));
    let task = server.call(&consume);
    let lease = task.ok()["tasks"][0]["lease"].clone();
    let mut answers = vec![task, server.report("complete", &lease, &json!({}))];
    answers.push(server.post(&format!("/kwq/jobs/{job}/tasks"), &json!([{}])));
    for path in ["/kwq/jobs", "/kwq/stats/now", "/kwq/queues", "/kwq/workers", "/kwq/stats"] {
        answers.push(server.get(path));
    }
    for answer in answers {
        let position = answer.header("Kwq-Position").expect("on every answer");
        assert!(position.split(',').all(|part| part.split(':').count() == 2), "{position}");
    }
    assert!(server.get("/kwq/jobs").header("Kwq-Lag-Ms").is_some());
}

// api.md 4: with onError=stop the call ends at the bad line, also when admission refuses it.
#[test]
fn a_stream_stops_at_the_line_that_is_refused() {
    let server = shared();
    let (open, closed) = (unique("open"), unique("closed"));
    server.submit(&json!({"groupId": closed}));
    server.job_verb(&closed, "close");
    let line = |job: &str| format!("{}\n", json!({"groupId": job}));
    let stream = [line(&open), line(&closed), line(&open)].concat();
    let req = Req::new("POST", "/kwq/submit?onError=stop").text("application/x-ndjson", &stream);
    let problem = server.call(&req).refused(422, "job_closed");
    assert_eq!((int(&problem, "accepted"), int(&problem, "nextLine")), (1, 2));
    assert_eq!(server.tasks(&open, "").len(), 1, "nothing behind the bad line is in");
}

// api.md 4: a closed job refuses the whole call, also an empty one.
#[test]
fn an_empty_batch_into_a_closed_job_is_refused() {
    let (server, job) = (shared(), unique("shut"));
    server.submit(&json!({"groupId": job}));
    server.job_verb(&job, "close");
    let path = format!("/kwq/jobs/{job}/tasks");
    server.post(&path, &json!([])).refused(409, "job_closed");
    server
        .call(&Req::new("POST", &path).text("application/x-ndjson", ""))
        .refused(409, "job_closed");
}

// api.md 1, 2.1, 2.3, 13.1: refused instead of repaired.
#[test]
fn what_contradicts_itself_is_refused() {
    let server = shared();
    let raw =
        |body: &str| server.call(&Req::new("POST", "/kwq/submit").text("application/json", body));
    raw(r#"{"payload":{"a":1,"a":2}}"#).refused(400, "bad_json");
    raw(r#"{"payload":[{"b":{"a":1,"\u0061":2}}]}"#).refused(400, "bad_json");
    raw(r#"{"payload":[{"a":1},{"a":1}]}"#).expect(200);
    let submit = |body: Value| server.post("/kwq/submit", &body);
    submit(json!({"groupId": "a", "job": "b"})).refused_field("invalid_field", "groupId");
    submit(json!({"groupId": "a", "job": "a"})).expect(200);
    submit(json!({"backoff": {"baseMs": 400_000}})).refused_field("invalid_field", "backoff");
    for tag in [":a:b", "::", "x,::y"] {
        submit(json!({"tag": tag})).refused(422, "invalid_tag");
    }
    let zero = json!({"id": unique("zero"), "priority": 0});
    server.post("/kwq/jobs", &zero).refused_field("invalid_field", "priority");
}

// api.md 7.1: every filter is an AND.
#[test]
fn filters_of_lists_all_hold() {
    let (server, job) = (shared(), unique("and"));
    let held = server.leased("w", &job, &json!({"maxAttempts": 1}));
    server.report("fail", &held["lease"], &json!({})).expect(200);
    let dead = |state: &str| server.get(&format!("/kwq/dlq?job={job}{state}")).ok();
    assert_eq!(dead("").as_array().map(Vec::len), Some(1));
    assert_eq!(dead("&state=ERROR,PENDING").as_array().map(Vec::len), Some(1));
    assert_eq!(dead("&state=COMPLETED"), json!([]));
    assert_eq!(server.tasks(&job, "&until=0").len(), 0);
}

// S 6.3: a lease is renewed once, however often it is listed.
#[test]
fn a_lease_listed_twice_is_renewed_once() {
    let (server, job, worker) = (shared(), unique("once"), unique("w"));
    let held = server.leased(&worker, &job, &json!({}));
    let beat = json!({"worker": worker, "leases": [held["lease"], held["lease"]]});
    assert_eq!(server.post("/kwq/heartbeat", &beat).ok()["renewed"], 1);
}

// api.md 1.2, promises.md 8 S3: a head that never became a request is refused with a problem.
#[test]
fn broken_heads_are_answered_with_a_problem() {
    let server = shared();
    let post = "POST /kwq/submit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    for head in [
        format!(
            "{post}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
        ),
        format!(
            "{post}Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
        ),
        format!("{post}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{{}}"),
        format!("{post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"),
        format!("{post}Content-Length: -2\r\n\r\n{{}}"),
        format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
        format!("{post}A: \0\r\nContent-Length: 2\r\n\r\n{{}}"),
        "POST /kwq/submit HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}".to_owned(),
        "GET /kwq HTTP/1.1\r\n\r\n".to_owned(),
        "GET /kwq HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
    ] {
        let answer = server.raw(head.as_bytes()).expect("an answer");
        answer.refused(400, "bad_request");
        assert_eq!(answer.header("Connection"), Some("close"), "{head:?}");
    }
    let many: String = (0..300).map(|i| format!("X-{i}: v\r\n")).collect();
    let many = format!("GET /kwq HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    server.raw(many.as_bytes()).expect("an answer").refused(431, "headers_too_large");
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(70 << 10));
    server.raw(long.as_bytes()).expect("an answer").refused(414, "uri_too_long");
    server.raw(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").expect("an answer").expect(405);
    server.get("/kwq/health/live?x=1").refused(422, "unknown_field");
}

// RFC 9112 9.3.2: requests may follow each other without waiting, also cut anywhere.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = shared();
    let one = "GET /kwq/health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    let two = "GET /kwq/me HTTP/1.1\r\nHost: x\r\n\r\n";
    let both = [one, two, one].concat();
    for cut in [0, 3, one.len(), one.len() + 9, one.len() + 30, one.len() + two.len() + 1] {
        let mut conn = Conn::open(server.addr()).expect("connects");
        let (first, rest) = both.as_bytes().split_at(cut);
        conn.send(first).expect("sends");
        pause(20);
        conn.send(rest).expect("sends");
        let bodies: Vec<String> =
            (0..3).map(|_| conn.answer(false).expect("an answer").expect(200).text()).collect();
        assert!(bodies[1].contains("roles"), "cut {cut}: {bodies:?}");
        assert_eq!(bodies[0], bodies[2]);
    }
}

// api.md 7.1: `id` is a filter like the others: every task of that client id, page by page.
#[test]
fn a_client_id_that_many_tasks_share_lists_them_all() {
    let (server, job, id) = (Server::start(&[]), unique("many"), unique("label"));
    let refs: Vec<String> = (0..7)
        .map(|n| server.submit(&json!({"id": id, "groupId": job, "meta": format!("{n}")})))
        .collect();
    let seen = |path: &str| -> Vec<String> {
        server.pages(path).iter().map(|task| text(task, "ref").to_owned()).collect()
    };
    let newest_first: Vec<String> = refs.iter().rev().cloned().collect();
    assert_eq!(seen(&format!("/kwq/tasks?id={id}&limit=3")), newest_first);
    assert_eq!(seen(&format!("/kwq/tasks?id={id}&order=old&limit=2")), refs);
    server.complete(&server.take("w", &job));
    assert_eq!(seen(&format!("/kwq/tasks?id={id}&state=PENDING")).len(), 6);
    assert_eq!(text(&server.task(&id), "ref"), refs[6], "by id: the newest");
}

// api.md 1: following `Kwq-Next` neither repeats nor skips, also where tasks of one id came at the
// same time into several partitions.
#[test]
fn pages_of_a_client_id_neither_repeat_nor_skip() {
    let (server, id) = (Server::start(&["log.partitions=8"]), unique("dup"));
    let addr = server.addr();
    let submit = |n: usize| {
        let task = json!({"id": id, "groupId": format!("g{}", n % 3)});
        crate::support::in_background(move || {
            let mut conn = Conn::open(addr).expect("connects");
            let send = |_| {
                let answer = conn.call(&Req::new("POST", "/kwq/submit").json(&task));
                answer.expect("an answer").header("kwq-ref").expect("a reference").to_owned()
            };
            (0..25).map(send).collect::<Vec<String>>()
        })
    };
    let senders: Vec<_> = (0..8).map(submit).collect();
    let mut refs: Vec<String> =
        senders.into_iter().flat_map(|sender| sender.join().expect("its references")).collect();
    refs.sort();
    for order in ["new", "old"] {
        let path = format!("/kwq/tasks?id={id}&order={order}&limit=7");
        let pages = server.pages(&path);
        let mut seen: Vec<String> = pages.iter().map(|t| text(t, "ref").to_owned()).collect();
        seen.sort();
        assert_eq!(seen, refs, "{order}");
    }
}

// api.md 1: `?lenient=true` ignores unknown fields, the nested ones too.
#[test]
fn lenient_reaches_nested_fields() {
    let (server, job) = (shared(), unique("lenient"));
    let odd = json!({"groupId": job, "backoff": {"baseMs": 5, "odd": 1},
        "affinity": [{"key": "a", "odd": 1}]});
    server.post("/kwq/submit?lenient=true", &odd).expect(200);
    server.post("/kwq/submit", &odd).refused(422, "unknown_field");
    let odd = json!({"id": job, "defaults": {"backoff": {"odd": 1}}});
    server.post("/kwq/jobs?lenient=true", &odd).expect(200);
}

// api.md 2.3: a control verb says in how many partitions it is in force; PATCH is one.
#[test]
fn a_patch_says_where_it_is_in_force() {
    let (server, job) = (shared(), unique("patch"));
    server.submit(&json!({"groupId": job}));
    let patched = server.patch(&format!("/kwq/jobs/{job}"), &json!({"weight": 2})).ok();
    assert_eq!(patched["partitions"]["applied"], patched["partitions"]["total"]);
    assert!(patched["partitions"]["total"].is_i64());
}

// S 11.2: workers of a cancelled job are told at the next beat, also when it lists no leases, and
// after a restart.
#[test]
fn a_beat_without_a_list_hears_of_the_cancel() {
    let (mut server, job) = (Server::start(&[]), unique("told"));
    let held = server.leased("w", &job, &json!({}));
    let other = server.leased("other", &job, &json!({}));
    server.job_verb(&job, "cancel");
    for _ in 0..2 {
        let beat = server.post("/kwq/heartbeat", &json!({"worker": "w"})).ok();
        let told = &beat["cancel"];
        assert_eq!((told.as_array().map(Vec::len), &told[0]["lease"]), (Some(1), &held["lease"]));
        assert_eq!(told[0]["ref"], held["ref"]);
        server.kill();
        server.launch();
    }
    let beat = json!({"worker": "other", "leases": [other["lease"]]});
    assert_eq!(server.post("/kwq/heartbeat", &beat).ok()["cancel"][0]["lease"], other["lease"]);
}

// api.md 9: updateTask acts for the worker that holds the latest lease, also after a restart.
#[test]
fn an_update_by_worker_outlives_a_restart() {
    let (mut server, job, id) = (Server::start(&[]), unique("old"), unique("u"));
    server.leased("w", &job, &json!({"id": id}));
    server.kill();
    server.launch();
    let done = json!({"id": id, "worker": "w", "status": "COMPLETED"});
    server.post("/kwq/updateTask", &done).expect(200);
    assert_eq!(server.state(&id), "COMPLETED");
}

// S 6.6: after the drain a choosy poll that waits beside work of others goes too, and gets nothing.
#[test]
fn a_choosy_poll_of_a_drained_worker_leaves() {
    let server = Server::start(&["log.partitions=1"]);
    server.submit(&json!({"groupId": "other"}));
    for (n, verb) in ["drain", "delete"].iter().cycle().take(6).enumerate() {
        let (worker, job) = (format!("w{n}"), format!("mine{n}"));
        let begun = start_watch();
        let mut conn = server.park(&worker, &job);
        let path = format!("/kwq/workers/{worker}");
        match *verb {
            "drain" => server.poke(&format!("{path}/drain")).expect(200),
            _ => server.delete(&path).expect(200),
        };
        let sent = conn.answer(false).expect("an answer");
        assert_eq!(sent.status, 204, "{verb}: {sent:?}");
        assert!(since(begun).as_secs() < 15, "{verb}: at once");
        if *verb == "drain" {
            server.submit(&json!({"groupId": job}));
            assert!(server.consume(&worker, &job, &json!({})).is_empty());
        }
    }
}

// api.md 1: a batch route answers 200 with one outcome per item, also if all items failed.
#[test]
fn a_close_of_a_job_that_never_came_to_be_keeps_the_outcomes() {
    let (server, job) = (shared(), unique("never"));
    let path = format!("/kwq/jobs/{job}/tasks?close=true");
    let answer = server.post(&path, &json!([{"priority": 99}, {"foo": 1}])).ok();
    assert_eq!((int(&answer, "rejected"), &answer["closed"]), (2, &json!(false)), "{answer}");
    assert_eq!(answer["results"].as_array().map(Vec::len), Some(2));
    let lines = Req::new("POST", &path).text("application/x-ndjson", "{\"foo\":1}\n");
    assert_eq!(int(&server.call(&lines).ok(), "rejected"), 1);
}

// api.md 6: of several who create a job at the same time one has created it.
#[test]
fn one_of_many_creates_a_job() {
    let (server, job) = (shared(), unique("same"));
    let create = |_| {
        let job = job.clone();
        crate::support::in_background(move || {
            shared().post("/kwq/jobs", &json!({"id": job})).status
        })
    };
    let statuses: Vec<u16> = (0..12).map(create).map(|t| t.join().expect("an answer")).collect();
    assert_eq!(statuses.iter().filter(|s| **s == 201).count(), 1, "{statuses:?}");
    server.job(&job);
}

// S 6.6: who was forgotten begins anew, also after a restart.
#[test]
fn the_drain_of_a_forgotten_worker_is_forgotten() {
    let mut server = Server::start(&["worker.forget=1s"]);
    server.consume("w", "any", &json!({}));
    server.poke("/kwq/workers/w/drain").expect(200);
    eventually("it is forgotten", || (server.get("/kwq/workers/w").status == 404).then_some(()));
    // The taking back is a record of the log.
    pause(200);
    server.kill();
    server.launch();
    let asked = server.post("/kwq/consume", &json!({"worker": "w", "waitMs": 0}));
    assert_eq!((asked.status, asked.header("kwq-drain")), (204, None));
}
