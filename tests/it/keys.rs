//! `Idempotency-Key`: every row of `semantics.md` 9, across routes and restarts (P4, P5).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    Answer, Conn, Process, Req, Server, eventually, in_background, int, kwq, kwq_lines, pause,
    shared, text, unique,
};

pub(crate) fn post(path: &str, key: &str, body: &Value) -> Req {
    Req::new("POST", path).header("Idempotency-Key", key).json(body)
}

pub(crate) fn stream(path: &str, key: &str, body: &str) -> Req {
    let req = Req::new("POST", path).header("Idempotency-Key", key);
    req.text("application/x-ndjson", body)
}

#[track_caller]
pub(crate) fn replayed(answer: &Answer, first: &Answer) {
    assert_eq!(answer.header("kwq-replayed"), Some("true"), "{}", answer.text());
    assert_eq!((answer.status, answer.text()), (first.status, first.text()));
}

#[track_caller]
fn fresh(answer: &Answer) {
    assert_eq!(answer.header("kwq-replayed"), None, "{}", answer.text());
}

/// A key that no other test has.
fn key() -> String {
    format!("{} with a blank", unique("key"))
}

// S 9: one task, the same content → the first answer again, one task; also once the task is over.
#[test]
fn a_repeated_task_is_one_task() {
    let (server, job, key) = (shared(), unique("one"), key());
    let task = post("/kwq/submit", &key, &json!({"groupId": job, "id": "a", "payload": "p"}));
    let first = server.call(&task);
    first.ok();
    fresh(&first);
    replayed(&server.call(&task), &first);
    assert_eq!(server.call(&task).header("kwq-ref"), first.header("kwq-ref"));
    let held = server.take("w", &job);
    server.complete(&held);
    let last = server.call(&task);
    replayed(&last, &first);
    assert_eq!(last.header("kwq-outcome"), Some("ok"));
    assert_eq!(server.job(&job)["submitted"], 1);
}

// S 9: other method, path, query or body under the key → 409, on all three routes.
#[test]
fn a_key_is_bound_to_its_request() {
    let (server, job, key) = (shared(), unique("bound"), key());
    let tasks = format!("/kwq/jobs/{job}/tasks");
    server.call(&post(&tasks, &key, &json!([{"id": "a"}]))).ok();
    for other in [
        post(&tasks, &key, &json!([{"id": "b"}])),
        post(&format!("{tasks}?results=errors"), &key, &json!([{"id": "a"}])),
        post("/kwq/submit", &key, &json!([{"id": "a", "groupId": job}])),
        post("/kwq/jobs", &key, &json!({"id": job})),
        stream(&tasks, &key, "[{\"id\":\"a\"}]"),
        stream(&tasks, &key, ""),
    ] {
        server.call(&other).refused(409, "idempotency_key_reused");
    }
    assert_eq!(server.job(&job)["submitted"], 1);
}

// S 9: only 2xx are remembered; a refusal leaves the key free.
#[test]
fn a_refusal_leaves_the_key_free() {
    let (server, job, key) = (shared(), unique("free"), key());
    server
        .call(&post("/kwq/submit", &key, &json!({"groupId": job, "priority": 12})))
        .refused(422, "invalid_field");
    let tasks = format!("/kwq/jobs/{job}/tasks");
    server.post("/kwq/jobs", &json!({"id": job})).expect(201);
    server.job_verb(&job, "close");
    server.call(&post(&tasks, &key, &json!([{}, {}]))).refused(409, "job_closed");
    server.call(&post(&tasks, &key, &json!([]))).refused(409, "job_closed");
    server.call(&stream(&tasks, &key, "{}\n")).refused(409, "job_closed");
    server
        .call(&post("/kwq/jobs", &key, &json!({"id": job, "weight": 7})))
        .refused(409, "job_conflict");
    let last = post("/kwq/submit", &key, &json!({"groupId": unique("free")}));
    let first = server.call(&last);
    first.ok();
    replayed(&server.call(&last), &first);
}

// S 9: a batch in which all items break a rule is a 200, so its key is taken.
#[test]
fn refused_items_are_part_of_the_first_answer() {
    let (server, job, key) = (shared(), unique("mixed"), key());
    let tasks = format!("/kwq/jobs/{job}/tasks");
    let batch = post(&tasks, &key, &json!([{"priority": 12}, 5]));
    let first = server.call(&batch);
    assert_eq!(int(&first.ok(), "rejected"), 2);
    replayed(&server.call(&batch), &first);
    server.call(&post(&tasks, &key, &json!([{}]))).refused(409, "idempotency_key_reused");
    let empty = post("/kwq/submit", &format!("{key}2"), &json!([]));
    let first = server.call(&empty);
    first.ok();
    replayed(&server.call(&empty), &first);
}

// api.md 1: the answers stay what they were, whatever became of job and key's time.
#[test]
fn a_closing_call_answers_again_without_closing_again() {
    let (server, job, key) = (shared(), unique("close"), key());
    let path = format!("/kwq/jobs/{job}/tasks?close=true");
    for (call, key) in [
        (post(&path, &key, &json!([{"id": "a"}, {"id": "b"}])), "json"),
        (stream(&path.replace(&job, &format!("{job}2")), &format!("{key}s"), "{}\n{}\n"), "nd"),
    ] {
        let first = server.call(&call);
        assert_eq!(first.ok()["closed"], true, "{key}");
        replayed(&server.call(&call), &first);
    }
    assert_eq!(server.job(&job)["state"], "CLOSED");
    assert_eq!(server.job(&job)["submitted"], 2);
    // Nothing to close at first; the job that came later stays open.
    let late = unique("late");
    let path = format!("/kwq/jobs/{late}/tasks?close=true");
    let call = post(&path, &format!("{key}late"), &json!([]));
    let first = server.call(&call);
    assert_eq!(first.ok()["closed"], false);
    server.add(&late, &json!([{}]));
    replayed(&server.call(&call), &first);
    assert_eq!(server.job(&late)["state"], "OPEN");
}

// S 9: a job under a key; the server's own id is made up once.
#[test]
fn a_repeated_job_is_one_job_with_the_first_answer() {
    let (server, key) = (shared(), key());
    let create = post("/kwq/jobs", &key, &json!({"weight": 3}));
    let first = server.call(&create);
    let id = text(&first.expect(201).json(), "id").to_owned();
    server.add(&id, &json!([{}]));
    let again = server.call(&create);
    replayed(&again, &first);
    assert_eq!(again.header("location"), first.header("location"));
    server
        .call(&post("/kwq/jobs", &key, &json!({"weight": 4})))
        .refused(409, "idempotency_key_reused");
    // One that exists is 200, and stays it.
    let known = post("/kwq/jobs", &format!("{key}2"), &json!({"id": id, "weight": 3}));
    let first = server.call(&known);
    first.ok();
    replayed(&server.call(&known), &first);
}

// S 9: a repeat while the first call runs → 409, Retry-After: 1; then the key is free or done.
#[test]
fn a_repeat_of_a_running_call_waits() {
    let (server, job, key) = (shared(), unique("runs"), key());
    let path = format!("/kwq/jobs/{job}/tasks");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: k\r\nContent-Type: application/x-ndjson\r\n\
         Idempotency-Key: {key}\r\nContent-Length: 6\r\n\r\n{{}}\n"
    );
    let whole = stream(&path, &key, "{}\n{}\n");
    // The repeat may be the one that comes first. It is no stream at all, so it leaves nothing
    // under the key; but the first call may have met it, so that one is sent anew.
    let (first, busy) = eventually("the first call runs", || {
        let mut first = Conn::open(server.addr()).expect("connects");
        first.send(head.as_bytes()).expect("sends");
        pause(25);
        let answer = server.call(&stream(&path, &key, "[\n"));
        (answer.status == 409).then_some((first, answer))
    });
    busy.refused(409, "idempotency_in_progress");
    assert_eq!(busy.header("retry-after"), Some("1"));
    server.call(&post("/kwq/jobs", &key, &json!({}))).refused(409, "idempotency_in_progress");
    // The client goes in mid-stream: nothing was durable yet, and the key is free again.
    drop(first);
    let done = eventually("the key is free", || {
        let answer = server.call(&whole);
        (answer.status == 200).then_some(answer)
    });
    fresh(&done);
    assert_eq!(int(&done.ok(), "accepted"), 2);
    assert_eq!(server.job(&job)["submitted"], 2);
}

fn lines(count: usize) -> String {
    (0..count).map(|n| format!("{{\"id\":\"n{n}\"}}\n")).collect()
}

// api.md 4 NDJSON: repeating the whole stream with the same key does only what is missing.
#[test]
fn a_cut_stream_is_finished_by_its_repeat() {
    let (server, job, key) = (shared(), unique("cut"), key());
    let path = format!("/kwq/jobs/{job}/tasks");
    let body = lines(25_000);
    let mut conn = Conn::open(server.addr()).expect("connects");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: k\r\nContent-Type: application/x-ndjson\r\n\
         Idempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    conn.send(head.as_bytes()).expect("sends");
    let cut = body.match_indices('\n').nth(12_000).map_or(0, |(at, _)| at);
    conn.send(body.get(..cut).unwrap_or_default().as_bytes()).expect("sends");
    eventually("the first chunk is durable", || {
        let answer = server.get(&format!("/kwq/jobs/{job}"));
        (answer.status == 200 && answer.json()["submitted"] == 10_000).then_some(())
    });
    drop(conn);
    let call = stream(&path, &key, &body);
    let done = eventually("the key is free", || {
        let answer = server.call(&call);
        (answer.status == 200).then_some(answer)
    });
    fresh(&done);
    let told = done.ok();
    assert_eq!((int(&told, "accepted"), int(&told, "chunks")), (25_000, 3));
    assert_eq!(server.job(&job)["submitted"], 25_000);
    replayed(&server.call(&call), &done);
    // A stream that goes on behind the end, or stops before it, is another one.
    let longer = server.call(&stream(&path, &key, &lines(25_001)));
    let problem = longer.refused(409, "idempotency_key_reused");
    assert_eq!((int(&problem, "accepted"), int(&problem, "nextLine")), (20_000, 20_001));
    let shorter = server.call(&stream(&path, &key, &lines(20_000)));
    shorter.refused(409, "idempotency_key_reused");
    let exact = stream(&path, &format!("{key}2"), &lines(10_000));
    server.call(&exact).ok();
    server
        .call(&stream(&path, &format!("{key}2"), &lines(10_001)))
        .refused(409, "idempotency_key_reused");
    assert_eq!(server.job(&job)["submitted"], 35_000);
}

// api.md 4: onError=stop under a key: the durable part is not done twice.
#[test]
fn a_stopped_stream_stops_again_at_the_same_line() {
    let (server, job, key) = (shared(), unique("stop"), key());
    let call = stream(&format!("/kwq/jobs/{job}/tasks?onError=stop"), &key, "{}\n{}\n5\n{}\n");
    for _ in 0..2 {
        let problem = server.call(&call).refused(422, "bad_json");
        assert_eq!((int(&problem, "accepted"), int(&problem, "nextLine")), (2, 3), "{problem}");
    }
    assert_eq!(server.job(&job)["submitted"], 2);
}

// P4, P5: 1,000-item batches, one in twenty sent again, across kills: acknowledged twice, one task.
#[test]
fn keys_outlive_kills_and_batches_are_never_doubled() {
    let mut server = Server::start(&["log.partitions=3", "log.image-interval=1s"]);
    let batch = |n: usize| {
        let items: Vec<Value> = (0..1_000).map(|i| json!({"id": format!("{n}-{i}")})).collect();
        post("/kwq/jobs/big/tasks", &format!("b-{n}"), &Value::Array(items))
    };
    let mut answers: Vec<Answer> = Vec::new();
    for round in 0..3 {
        for n in round * 20..(round + 1) * 20 {
            answers.push(server.call(&batch(n)));
            if n % 20 == 7 {
                replayed(&server.call(&batch(n)), &answers[n]);
            }
        }
        // A batch whose answer nobody saw: in flight while the process dies.
        let unseen = batch((round + 1) * 20).to_bytes();
        let mut conn = Conn::open(server.addr()).expect("connects");
        conn.send(&unseen).expect("sends");
        server.kill();
        server.launch();
        replayed(&server.call(&batch(round * 20 + 7)), &answers[round * 20 + 7]);
    }
    answers.push(server.call(&batch(60)));
    let seen: Vec<Value> = answers.iter().flat_map(results).collect();
    let refs: BTreeSet<&str> = seen.iter().map(|r| text(r, "ref")).collect();
    assert_eq!((seen.len(), refs.len()), (61_000, 61_000));
    assert_eq!(server.job("big")["submitted"], 61_000);
    let problem = server.call(&post("/kwq/jobs/big/tasks", "b-3", &json!([])));
    problem.refused(409, "idempotency_key_reused");
    server.terminate();
    let dir = server.dir().to_path_buf();
    let data = dir.to_str().expect("UTF-8");
    let dump = kwq_lines(&dir, &["log", "dump", "--json", "--data-dir", data]);
    let keys: Vec<&Value> = dump.iter().filter(|r| r["kind"] == "Key").collect();
    assert_eq!(keys.len(), 61);
    let one = keys.first().expect("one");
    assert_eq!((text(one, "keySha256").len(), &one["part"]), (64, &json!(0)), "{one}");
}

fn results(answer: &Answer) -> Vec<Value> {
    answer.ok()["results"].as_array().expect("results").clone()
}

// `idempotency.retention`: a key is free again after its time, also across a restart.
#[test]
fn a_key_is_forgotten_after_its_time() {
    let mut server = Server::start(&["idempotency.retention=1s"]);
    let call = post("/kwq/submit", "short", &json!({}));
    let first = server.call(&call);
    first.ok();
    server.kill();
    server.launch();
    let again = eventually("the key is forgotten", || {
        let answer = server.call(&call);
        let again = answer.header("kwq-replayed").is_none();
        again.then_some(answer)
    });
    assert_ne!(again.header("kwq-ref"), first.header("kwq-ref"));
    assert_eq!(server.job("default")["submitted"], 2);
}

// api.md 12 `submit --key`: a file repeated after a kill does only what is missing.
#[test]
fn a_file_goes_on_where_a_killed_upload_stopped() {
    let server = Server::start(&[]);
    let url = format!("http://{}", server.addr());
    std::fs::write(server.dir().join("tasks.ndjson"), lines(30_000)).expect("written");
    let args = ["submit", "tasks.ndjson", "--job", "file", "--key", "load", "--url", &url];
    let upload = Process::start(server.dir(), &args);
    eventually("a chunk is durable", || {
        let answer = server.get("/kwq/jobs/file");
        (answer.status == 200 && int(&answer.json(), "submitted") >= 5_000).then_some(())
    });
    upload.signal("KILL");
    drop(upload);
    let whole = [&args[..], &["-o", "json"]].concat();
    for _ in 0..2 {
        // The chunk that was cut off may still be on its way.
        let told = eventually("the upload is done", || {
            let out = kwq(server.dir(), &whole);
            out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
        });
        let told: Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!((int(&told, "accepted"), int(&told, "chunks")), (30_000, 6), "{told}");
        assert_eq!(server.job("file")["submitted"], 30_000);
    }
    let single = ["submit", "--job", "file", "--payload", "x", "--key", "one", "--url", &url];
    (0..2).for_each(|_| assert!(kwq(server.dir(), &single).status.success()));
    assert_eq!(server.job("file")["submitted"], 30_001);
}

// api.md 12 `job create --dedup task`.
#[test]
fn a_job_of_the_command_line_compares_ids() {
    let server = Server::start(&[]);
    let url = format!("http://{}", server.addr());
    let create = ["job", "create", "u", "--dedup", "task", "--url", &url];
    assert!(kwq(server.dir(), &create).status.success());
    assert_eq!(server.job("u")["dedup"], "task");
    let submit = |payload| {
        let args = ["submit", "--job", "u", "--id", "a", "--payload", payload, "--url", &url];
        kwq(server.dir(), &args).status.code()
    };
    assert_eq!((submit("x"), submit("x"), submit("y")), (Some(0), Some(0), Some(4)));
    assert_eq!((int(&server.job("u"), "submitted"), int(&server.job("u"), "duplicates")), (1, 1));
}

// Two at once: one runs, the other is told so or gets the same answer; never two tasks.
#[test]
fn callers_at_the_same_time_make_one_task() {
    let (server, job, key) = (shared(), unique("race"), key());
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let call = post("/kwq/submit", &key, &json!({"groupId": job}));
            in_background(move || server.call(&call).status)
        })
        .collect();
    let seen: Vec<u16> = racers.into_iter().map(|r| r.join().expect("no panic")).collect();
    assert!(seen.iter().all(|status| matches!(status, 200 | 409)), "{seen:?}");
    assert!(seen.contains(&200), "{seen:?}");
    assert_eq!(server.job(&job)["submitted"], 1);
}

// S 9: the first answer again, also when its task was purged meanwhile, alone or with its job.
#[test]
fn a_repeat_outlives_its_task() {
    let mut server = Server::start(&[]);
    let task = |job: &str, id: &str| {
        let body =
            json!({"groupId": job, "id": id, "payload": "p", "maxAttempts": 1, "tag": "a:b"});
        post("/kwq/submit", id, &body)
    };
    let unique_ids = json!({"id": "unique", "dedup": "task", "defaults": {"timeoutSeconds": 60}});
    server.post("/kwq/jobs", &unique_ids).expect(201);
    let dead = [task("plain", "1"), task("unique", "2"), task("unique", "3")];
    let first: Vec<Answer> = dead.iter().map(|req| server.call(req)).collect();
    for job in ["plain", "unique", "unique"] {
        let held = server.take("w", job);
        server.report("fail", &held["lease"], &json!({})).expect(200);
    }
    server.post("/kwq/dlq/purge", &json!({"all": true})).expect(202);
    let whole = task("whole", "4");
    let gone = server.call(&whole);
    server.job_verb("whole", "cancel");
    server.call(&Req::new("DELETE", "/kwq/jobs/whole")).expect(202);
    eventually("all are purged", || {
        let purged = |id: &str| server.get(&format!("/kwq/tasks/{id}")).status == 410;
        ["1", "2", "3", "4"].into_iter().all(purged).then_some(())
    });
    // A job that has the name now is another one.
    let other = json!({"id": "whole", "defaults": {"tag": "other:1", "timeoutSeconds": 9}});
    server.post("/kwq/jobs", &other).expect(201);
    for round in 0..2 {
        for (req, first) in dead.iter().chain([&whole]).zip(first.iter().chain([&gone])) {
            let again = server.call(req);
            replayed(&again, first);
            assert_eq!(again.header("kwq-ref"), first.header("kwq-ref"), "round {round}");
        }
        server.kill();
        server.launch();
    }
}
