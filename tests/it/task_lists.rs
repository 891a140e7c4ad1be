//! The list of tasks and of dead letters: filters, order, pages (`api.md` 7.1, 7.3).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::{
    Conn, Req, Server, encode, ids, in_background, int, shared, single, text, unique,
};

#[track_caller]
fn listed(job: &str, filters: &str) -> Vec<String> {
    let tasks = shared().tasks(job, filters);
    let mut found: Vec<String> = ids(&tasks).into_iter().map(str::to_owned).collect();
    found.sort();
    found
}

/// Five tasks in five states with various tags.
fn sample() -> String {
    let (server, job) = (shared(), unique("sample"));
    server.add(
        &job,
        &json!([
        {"id": "done", "priority": 9, "tag": "currency:USD,risk:PV01", "maxAttempts": 1},
        {"id": "dead", "priority": 8, "tag": "currency:EUR,x", "maxAttempts": 1},
        {"id": "runs", "priority": 7, "tag": "currency:USD,risk:CR01"},
        {"id": "waits", "priority": 2, "tag": "currency:USD,risk:CR01,PV01"},
        {"id": "later", "priority": 2, "delayMs": 3_600_000}]),
    );
    let ask = |p: i64| json!({"priorities": [p], "waitMs": 30_000});
    let done = server.consume("w-done", &job, &ask(9));
    server.complete(done.first().expect("one"));
    let dead = server.consume("w-dead", &job, &ask(8));
    let lease = &dead.first().expect("one")["lease"];
    server.report("fail", lease, &json!({"class": "nan"})).expect(200);
    let runs = server.consume("w-runs", &job, &ask(7));
    let lease = &runs.first().expect("one")["lease"];
    server.report("start", lease, &json!({})).expect(200);
    job
}

// api.md 7.1: every filter, each an AND with the others.
#[test]
fn every_filter_of_the_list_works() {
    let job = sample();
    for (filters, expected) in [
        ("", vec!["dead", "done", "later", "runs", "waits"]),
        ("&state=PENDING", vec!["waits"]),
        ("&state=SUBMITTED", vec!["waits"]),
        ("&state=COMPLETED,ERROR", vec!["dead", "done"]),
        ("&state=DELAYED", vec!["later"]),
        ("&state=RUNNING,PENDING", vec!["runs", "waits"]),
        ("&priority=2", vec!["later", "waits"]),
        ("&priority=2&state=PENDING", vec!["waits"]),
        ("&id=done", vec!["done"]),
        ("&id=nobody", vec![]),
        ("&worker=w-runs", vec!["runs"]),
        ("&class=nan", vec!["dead"]),
        ("&class=other", vec![]),
        ("&tag=currency:USD", vec!["done", "runs", "waits"]),
        ("&tag=currency:USD&tag=risk:PV01", vec!["done", "waits"]),
        ("&tag=x", vec!["dead"]),
        ("&tag=PV01", vec!["waits"]),
        ("&tagAny=currency:EUR,risk:CR01", vec!["dead", "runs", "waits"]),
        ("&tagAny=currency:EUR,risk:CR01&state=ERROR", vec!["dead"]),
        ("&since=1", vec!["dead", "done", "later", "runs", "waits"]),
        ("&until=1", vec![]),
    ] {
        assert_eq!(listed(&job, filters), expected, "{filters}");
    }
}

// api.md 7.1: since and until are submitted_ts ≥ and <.
#[test]
fn since_and_until_cut_exactly() {
    let job = sample();
    let tasks = shared().tasks(&job, "");
    let stamp = int(tasks.first().expect("five"), "submitted_ts");
    assert_eq!(
        listed(&job, &format!("&until={stamp}")).len(),
        tasks.iter().filter(|t| int(t, "submitted_ts") < stamp).count()
    );
    assert_eq!(
        listed(&job, &format!("&since={stamp}")).len(),
        tasks.iter().filter(|t| int(t, "submitted_ts") >= stamp).count()
    );
}

// api.md 7.1: the documented row; lists carry sizes, no payload, no history.
#[test]
fn a_listed_task_has_its_modern_body_without_payload() {
    let job = sample();
    let tasks = shared().tasks(&job, "&id=runs");
    let task = tasks.first().expect("one");
    assert_eq!((text(task, "state"), text(task, "status")), ("RUNNING", "RUNNING"));
    assert_eq!((text(task, "groupId"), text(task, "worker")), (job.as_str(), "w-runs"));
    assert_eq!(task["tags"], json!(["currency:USD", "risk:CR01"]));
    assert_eq!((int(task, "attempt"), int(task, "runCount")), (1, 1));
    assert!(int(task, "running_ts") >= int(task, "allocated_ts"));
    for absent in ["payload", "attempts", "lease", "payloadSha256", "result"] {
        assert!(task.get(absent).is_none(), "{absent} in {task}");
    }
    let tasks = shared().tasks(&job, "&id=dead");
    let error = &tasks.first().expect("one")["error"];
    assert_eq!((text(error, "class"), int(error, "attempt")), ("nan", 1));
}

// api.md 7.1: order new and old over everything; cursor pages without repeats or gaps.
#[test]
fn pages_neither_repeat_nor_skip() {
    let (server, job) = (single(), unique("pages"));
    let items: Vec<Value> = (0..250).map(|i| json!({"id": format!("t{i:03}")})).collect();
    server.add(&job, &Value::Array(items));
    let expected: Vec<String> = (0..250).map(|i| format!("t{i:03}")).collect();
    let reversed: Vec<&String> = expected.iter().rev().collect();
    for limit in [1, 7, 100, 1_000] {
        let old = server.tasks(&job, &format!("&order=old&limit={limit}"));
        assert_eq!(ids(&old), expected, "limit {limit}");
        let new = server.tasks(&job, &format!("&order=new&limit={limit}"));
        assert_eq!(ids(&new), reversed, "limit {limit}");
    }
    let default = server.tasks(&job, "");
    assert_eq!(ids(&default), reversed, "new is the default with a filter");
    let page = server.get(&format!("/kwq/tasks?job={job}&fresh=true"));
    assert!(page.ok().as_array().is_some_and(|p| p.len() <= 100), "100 by default");
    assert!(page.header("Kwq-Next").is_some());
    assert!(page.header("Kwq-Scanned").is_some_and(|n| n.parse::<u64>().is_ok()));
}

// api.md 7.1 over three partitions: every task once, whatever the page size.
#[test]
fn pages_over_partitions_are_complete() {
    let (server, job) = (shared(), unique("spread"));
    let mut expected: BTreeSet<String> = BTreeSet::new();
    for _ in 0..5 {
        let refs = server.add(&job, &Value::Array(vec![json!({}); 41]));
        expected.extend(refs);
    }
    assert_eq!(expected.len(), 205);
    for order in ["new", "old"] {
        let tasks = server.tasks(&job, &format!("&order={order}&limit=9"));
        let seen: Vec<String> = tasks.iter().map(|t| text(t, "ref").to_owned()).collect();
        assert_eq!(seen.len(), 205, "no repeats");
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected, "no gaps");
    }
}

// api.md 7.1: order=recent = latest change first.
#[test]
fn recent_lists_the_latest_change_first() {
    let (server, job) = (shared(), unique("recent"));
    server.add(&job, &json!([{"id": "a"}, {"id": "b"}]));
    let held = server.take("r", &job);
    server.complete(&held);
    let tasks = server.tasks(&job, "&order=recent");
    assert_eq!(tasks.first().map(|t| &t["id"]), Some(&held["id"]));
    assert_eq!(tasks.first().map(|t| text(t, "state")), Some("COMPLETED"));
    assert_eq!(tasks.len(), 2, "each task once: {tasks:?}");
}

// api.md 1: a cursor is opaque and signed; anything else → 400 bad_cursor.
#[test]
fn a_bad_cursor_is_refused() {
    let (server, job) = (shared(), unique("cursor"));
    server.add(&job, &Value::Array(vec![json!({}); 5]));
    let path = format!("/kwq/tasks?job={job}&fresh=true&limit=2");
    let first = server.get(&path);
    let good = first.header("Kwq-Next").expect("more").to_owned();
    server.get(&format!("{path}&cursor={}", encode(&good))).expect(200);
    let mut forged = good.clone();
    let last = forged.pop().expect("not empty");
    forged.push(if last == 'A' { 'B' } else { 'A' });
    let mut swapped: Vec<char> = good.chars().collect();
    swapped.reverse();
    let swapped: String = swapped.into_iter().collect();
    for cursor in ["x", "AAAA", "", &forged, &swapped] {
        let answer = server.get(&format!("{path}&cursor={}", encode(cursor)));
        answer.refused(400, "bad_cursor");
    }
}

// api.md 15: query values that cannot be read or are out of range → 400 bad_request.
#[test]
fn the_list_of_tasks_refuses_wrong_queries() {
    for query in [
        "state=NOPE",
        "state=pending",
        "priority=10",
        "priority=0",
        "priority=x",
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=5.0",
        "order=random",
        "since=x",
        "until=x",
        "fresh=maybe",
    ] {
        shared().get(&format!("/kwq/tasks?{query}")).refused(400, "bad_request");
    }
    let answer = shared().get("/kwq/tasks?prority=5");
    let problem = answer.refused(422, "unknown_field");
    assert!(problem["hint"].as_str().unwrap_or_default().contains("priority"), "{problem}");
}

// S 15: lists carry Kwq-Position and Kwq-Lag-Ms; fresh=true waits for what was acknowledged.
#[test]
fn fresh_lists_show_every_acknowledged_task() {
    let (server, job) = (shared(), unique("fresh"));
    for n in 1..=20 {
        server.submit(&json!({"groupId": job}));
        assert_eq!(server.tasks(&job, "").len(), n);
    }
    let answer = server.get(&format!("/kwq/tasks?job={job}"));
    answer.expect(200);
    assert!(answer.header("Kwq-Lag-Ms").is_some_and(|v| v.parse::<u64>().is_ok()));
    assert!(answer.header("Kwq-Position").is_some());
}

// api.md 7.3: GET /kwq/dlq = the list with state=ERROR.
#[test]
fn the_dead_letter_lists_errors_only() {
    let job = sample();
    let dead = shared().pages(&format!("/kwq/dlq?job={job}&fresh=true"));
    assert_eq!(ids(&dead), ["dead"]);
    let dead = shared().pages(&format!("/kwq/dlq?job={job}&class=other&fresh=true"));
    assert!(dead.is_empty());
    let dead = shared().pages(&format!("/kwq/dlq?job={job}&tag=currency:EUR&fresh=true"));
    assert_eq!(dead.len(), 1);
    shared().get("/kwq/dlq?limit=0").refused(400, "bad_request");
}

// P13, P14: after any interleaving of clients the tracker shows what each of them was told.
#[test]
fn the_tracker_agrees_with_concurrent_clients_once_they_rest() {
    let server = Server::start(&[]);
    // Enough rows in front that pages of the tracker are full and written away.
    for _ in 0..3 {
        server.add("bulk", &Value::Array(vec![json!({"delayMs": 36_000_000}); 10_000]));
    }
    let addr = server.addr();
    let clients: Vec<_> =
        (0..6).map(|c| in_background(move || lifecycles(addr, &format!("c{c}")))).collect();
    let told: BTreeSet<String> =
        clients.into_iter().flat_map(|c| c.join().expect("no panic")).collect();
    assert_eq!(told.len(), 6 * 60);
    let now = server.get("/kwq/stats/now?fresh=true").ok();
    assert_eq!((int(&now, "submitted"), int(&now["tasks"], "COMPLETED")), (30_360, 360), "{now}");
    let listed = server.pages("/kwq/tasks?state=COMPLETED&limit=1000&fresh=true");
    let seen: BTreeSet<String> = listed.iter().map(|t| text(t, "ref").to_owned()).collect();
    assert_eq!(seen, told);
    for reference in &told {
        let shown = server.task(reference);
        assert_eq!((text(&shown, "state"), int(&shown, "attempt")), ("COMPLETED", 1), "{shown}");
        assert_eq!(shown["attempts"][0]["outcome"], "completed", "{shown}");
    }
}

/// Sixty tasks of one client from submit to completion, looked at in between; gives their
/// references. What a look in mid-flight shows is judged elsewhere: here it must do no harm.
fn lifecycles(addr: SocketAddr, job: &str) -> Vec<String> {
    let mut conn = Conn::open(addr).expect("connects");
    let mut call = |req: Req| conn.call(&req).expect("an answer");
    let post = |path: &str, body: &Value| Req::new("POST", path).json(body);
    let mut refs = Vec::new();
    for _ in 0..60 {
        let answer = call(post("/kwq/submit", &json!({"groupId": job})));
        refs.push(answer.expect(200).header("Kwq-Ref").expect("a reference").to_owned());
        let path = format!("/kwq/tasks/{}", refs.last().expect("just pushed"));
        call(Req::new("GET", &path));
        let ask = json!({"worker": job, "jobs": [job], "waitMs": 30_000});
        let held = call(post("/kwq/consume", &ask)).ok();
        let report = json!({"lease": held["tasks"][0]["lease"]});
        call(Req::new("GET", &path));
        call(post("/kwq/start", &report)).expect(200);
        call(post("/kwq/complete", &report)).expect(200);
        call(Req::new("GET", &path));
    }
    refs
}
