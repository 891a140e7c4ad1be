//! `GET /kwq/jobs/{job}/results`: ended tasks in completion order (`api.md` 6, `semantics.md` 12).

use serde_json::{Value, json};

use crate::support::{
    Answer, Conn, Req, Server, encode, eventually, ids, int, kwq_lines, shared, single, text,
    unique,
};

fn ask(server: &Server, job: &str, more: &str) -> Answer {
    server.get(&format!("/kwq/jobs/{}/results?fresh=true{more}", encode(job)))
}

fn lines_of(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.expect(200).header("Content-Type"), Some("application/x-ndjson"));
    let text = answer.text();
    let full = text.lines().filter(|line| !line.is_empty());
    full.map(|line| serde_json::from_str(line).expect("a line is an object")).collect()
}

fn lines(server: &Server, job: &str, more: &str) -> Vec<Value> {
    lines_of(&ask(server, job, more))
}

/// Everything, `limit` lines at a time, each page from the cursor of the last line.
fn paged(server: &Server, job: &str, more: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    for _ in 0..10_000 {
        let page = lines(server, job, &format!("{more}&limit={limit}{cursor}"));
        assert!(page.len() <= limit, "{} lines, asked for {limit}", page.len());
        let Some(last) = page.last() else { return all };
        cursor = format!("&cursor={}", encode(text(last, "cursor")));
        all.extend(page);
    }
    panic!("no end of results");
}

/// Takes all tasks of a job; gives them by id.
fn taken(server: &Server, job: &str, count: usize) -> Vec<Value> {
    let mut tasks = Vec::new();
    while tasks.len() < count {
        tasks.push(server.take("w", job));
    }
    tasks.sort_by_key(|task| text(task, "id").to_owned());
    tasks
}

fn done(server: &Server, task: &Value, result: &str) {
    server.report("complete", &task["lease"], &json!({"result": result})).ok();
}

fn failed(server: &Server, task: &Value) {
    let more = json!({"class": "x.bad", "message": "no"});
    server.report("fail", &task["lease"], &more).expect(200);
}

fn four(server: &Server, job: &str) -> Vec<Value> {
    let item = |id: &str| json!({"id": id, "payload": "p", "maxAttempts": 1});
    server.add(job, &["a", "b", "c", "d"].iter().map(|id| item(id)).collect());
    taken(server, job, 4)
}

// api.md 6: one ended task a line in completion order, with these members.
#[test]
fn ended_tasks_come_in_completion_order_with_their_results() {
    let (server, job) = (single(), unique("res"));
    let tasks = four(server, &job);
    done(server, &tasks[2], "third");
    done(server, &tasks[0], "first");
    failed(server, &tasks[3]);
    let answer = ask(server, &job, "");
    assert_eq!(answer.header("Kwq-Lag-Ms"), Some("0"));
    let found = lines_of(&answer);
    assert_eq!(ids(&found), ["c", "a"], "COMPLETED is the default");
    let line = &found[0];
    assert_eq!((text(line, "result"), text(line, "resultEncoding")), ("third", "text"));
    assert_eq!((text(line, "state"), int(line, "attempt")), ("COMPLETED", 1));
    assert_eq!(line["ref"], tasks[2]["ref"]);
    assert!(int(line, "ended_ts") > 0 && line["error"].is_null(), "{line}");
    let found = lines(server, &job, "&state=ERROR,COMPLETED");
    assert_eq!(ids(&found), ["c", "a", "d"]);
    assert_eq!(text(&found[2]["error"], "class"), "x.bad");
    assert_eq!(ids(&lines(server, &job, "&state=ERROR")), ["d"]);
    done(server, &tasks[1], "second");
    let cursor = encode(text(&found[1], "cursor"));
    let rest = lines(server, &job, &format!("&state=ERROR,COMPLETED&cursor={cursor}"));
    assert_eq!(ids(&rest), ["d", "b"]);
}

// api.md 6: completion order is the order of the reports, also inside one list of them.
#[test]
fn ends_of_one_call_come_in_the_order_of_its_reports() {
    let (server, job) = (single(), unique("listed"));
    let tasks = four(server, &job);
    let report = |n: usize, kind: &str| json!({"type": kind, "lease": tasks[n]["lease"]});
    let done = [report(3, "fail"), report(0, "complete"), report(2, "fail"), report(1, "complete")];
    let ask = json!({"worker": "w", "jobs": [unique("none")], "waitMs": 0, "done": done});
    server.post("/kwq/consume", &ask).ok();
    assert_eq!(ids(&lines(server, &job, "&state=ERROR,COMPLETED")), ["d", "a", "c", "b"]);
}

// S 12: a cursor never repeats or skips; several partitions.
#[test]
fn pages_of_any_size_give_every_end_once() {
    let (server, job) = (shared(), unique("pages"));
    let items = (0..60).map(|n| json!({"id": format!("t{n}")})).collect();
    server.add(&job, &items);
    let all = taken(server, &job, 60);
    all.iter().for_each(|task| done(server, task, "r"));
    let whole = lines(server, &job, "");
    assert_eq!(whole.len(), 60);
    for limit in [1, 4, 59, 60, 1_000] {
        let found = paged(server, &job, "", limit);
        assert_eq!(ids(&found), ids(&whole), "by {limit}");
    }
}

// S 12: a redriven task that ends again appears again.
#[test]
fn a_redriven_task_that_ends_again_appears_again() {
    let (server, job) = (shared(), unique("again"));
    let task = server.leased("w", &job, &json!({"id": "t", "maxAttempts": 1}));
    failed(server, &task);
    let first = lines(server, &job, "&state=ERROR,COMPLETED");
    assert_eq!(ids(&first), ["t"]);
    server.post(&format!("/kwq/tasks/{}/retry", text(&task, "ref")), &json!({})).ok();
    let cursor = format!("&state=ERROR,COMPLETED&cursor={}", encode(text(&first[0], "cursor")));
    assert!(lines(server, &job, &cursor).is_empty());
    done(server, &server.take("w", &job), "now");
    let again = lines(server, &job, &cursor);
    assert_eq!((ids(&again), text(&again[0], "state")), (vec!["t"], "COMPLETED"));
    assert_eq!(int(&again[0], "attempt"), 2);
}

// S 10, 11: the elements a cancel ended in one record come at that record in submit order.
#[test]
fn tasks_that_the_cancel_of_their_job_ended_are_listed_in_submit_order() {
    let (server, job) = (single(), unique("cut"));
    let array = json!({"array": {"from": 1, "to": 3_000}});
    server.post(&format!("/kwq/jobs/{job}/tasks"), &array).ok();
    let first = server.take("w", &job);
    server.complete(&first);
    server.post(&format!("/kwq/jobs/{job}/cancel"), &json!({"mode": "stop"})).ok();
    let found = paged(server, &job, "&state=CANCELLED", 700);
    let indexes: Vec<i64> = found.iter().map(|line| int(line, "index")).collect();
    let wanted: Vec<i64> = (1..=3_000).filter(|i| *i != int(&first, "index")).collect();
    assert_eq!(indexes, wanted);
    let both = paged(server, &job, "&state=CANCELLED,COMPLETED", 1_000);
    assert_eq!((both.len(), &both[0]["index"]), (3_000, &first["index"]));
    assert_eq!(both[0]["state"], "COMPLETED");
}

// api.md 6: a cursor is good after a restart and a kill.
#[test]
fn a_cursor_outlives_a_kill() {
    let mut server = Server::start(&["log.partitions=1"]);
    let tasks = four(&server, "job");
    done(&server, &tasks[1], "x");
    done(&server, &tasks[0], "y");
    let before = lines(&server, "job", "");
    assert_eq!(ids(&before), ["b", "a"]);
    server.kill();
    server.launch();
    assert_eq!(unsigned(&lines(&server, "job", "")), unsigned(&before));
    done(&server, &tasks[3], "z");
    let cursor = encode(text(&before[0], "cursor"));
    assert_eq!(ids(&lines(&server, "job", &format!("&cursor={cursor}"))), ["a", "d"]);
}

/// Lines without their cursors, which carry the moment they were signed.
fn unsigned(lines: &[Value]) -> Vec<Value> {
    let without = |line: &Value| crate::support::merge(line, &json!({"cursor": null}));
    lines.iter().map(without).collect()
}

// api.md 6: `follow` ends after the job ended and all is sent.
#[test]
fn follow_sends_all_and_ends_with_the_job() {
    let (server, job) = (shared(), unique("follow"));
    let tasks = four(server, &job);
    done(server, &tasks[0], "early");
    let path = format!("/kwq/jobs/{job}/results?follow=true");
    let mut conn = Conn::open(server.addr()).expect("connects");
    conn.send(&Req::new("GET", &path).to_bytes()).expect("sends");
    eventually("the first line is there", || conn.readable().then_some(()));
    for task in &tasks[1..] {
        done(server, task, "late");
    }
    server.job_verb(&job, "close");
    let found = lines_of(&conn.answer(false).expect("it ends"));
    assert_eq!(ids(&found), ["a", "b", "c", "d"]);
}

// S 12: however large: more results than one slice takes, over several segments of the log.
#[test]
fn large_results_over_several_segments_come_whole_and_once() {
    let server = Server::start(&["log.segment=1MiB", "log.partitions=2"]);
    let items = (0..160).map(|n| json!({"id": format!("t{n:03}")})).collect();
    server.add("job", &items);
    let mut wanted = Vec::new();
    for task in &taken(&server, "job", 160) {
        let id = text(task, "id");
        done(&server, task, &id.repeat(7_000));
        wanted.push(id.to_owned());
    }
    server.job_verb("job", "close");
    for found in [lines(&server, "job", "&follow=true"), paged(&server, "job", "", 63)] {
        assert_eq!(ids(&found), wanted);
        let whole = |line: &&Value| text(line, "result") == text(line, "id").repeat(7_000);
        assert_eq!(found.iter().filter(whole).count(), 160);
    }
}

#[test]
fn what_is_wrong_is_refused() {
    let (server, job) = (shared(), unique("wrong"));
    ask(server, &job, "").refused(404, "job_not_found");
    let other = unique("other");
    let task = server.leased("w", &other, &json!({}));
    server.submit(&json!({"groupId": job}));
    server.complete(&task);
    assert!(lines(server, &job, "").is_empty());
    let cursor = encode(text(&lines(server, &other, "")[0], "cursor"));
    ask(server, &job, &format!("&cursor={cursor}")).refused(400, "bad_cursor");
    ask(server, &job, "&cursor=abc").refused(400, "bad_cursor");
    ask(server, &job, "&state=PENDING").refused(400, "bad_request");
    ask(server, &job, "&limit=0").refused(400, "bad_request");
    ask(server, &job, "&limit=1001").refused(400, "bad_request");
    ask(server, &job, "&follow=perhaps").refused(400, "bad_request");
}

// api.md 12.
#[test]
fn the_command_line_prints_the_lines() {
    let (server, job) = (shared(), unique("cli"));
    let tasks = four(server, &job);
    tasks.iter().for_each(|task| done(server, task, "r"));
    server.job_verb(&job, "close");
    for more in [&[][..], &["--follow"][..]] {
        let url = format!("http://{}", server.addr());
        let mut args = vec!["job", "results", &job, "--url", &url];
        args.extend(more);
        let found = kwq_lines(server.dir(), &args);
        assert_eq!(ids(&found), ["a", "b", "c", "d"]);
    }
}
