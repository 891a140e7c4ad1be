//! The audit trail: what leaves a line, what is in it, that an edit is found, that it goes on.

use serde_json::{Value, json};

use super::kit::{Guarded, ROLES, Ring};
use crate::support::{Answer, Req, Server, eventually, kwq};

fn operators() -> Guarded {
    let ring = Ring::new().add("ops", &["operate", "view", "admin"], &[]);
    let ring = ring.add("trader", &["submit"], &["--scope", "a-"]);
    Guarded::start(ring.add("worker", &["work"], &[]).add("view", &["view"], &[]))
}

fn trail(g: &Guarded, query: &str) -> Vec<Value> {
    let lines = g.get("ops", &format!("/kwq/audit{query}")).ok();
    lines.as_array().expect("a list").clone()
}

fn ops(lines: &[Value]) -> Vec<String> {
    let word = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    lines
        .iter()
        .map(|l| format!("{} {} {}", word(l, "op"), word(l, "target"), word(l, "result")))
        .collect()
}

#[test]
fn mutating_calls_leave_one_line_each_and_others_none() {
    let g = operators();
    g.post("trader", "/kwq/submit", &json!({"groupId": "a-1", "id": "t1"})).ok();
    g.post("trader", "/kwq/jobs/a-1/tasks", &json!([{"id": "t2"}, {"id": "t3"}])).ok();
    let two = json!([{"groupId": "a-1"}, {"groupId": "a-2"}]);
    g.post("trader", "/kwq/submit", &two).ok();
    g.post("trader", "/kwq/jobs", &json!({"id": "a-3"})).expect(201);
    g.post("ops", "/kwq/jobs/a-1/pause", &json!({})).ok();
    g.post("ops", "/kwq/jobs/a-1/resume", &json!({})).ok();
    let patch = Req::new("PATCH", "/kwq/jobs/a-1").json(&json!({"priority": 7}));
    g.call("ops", patch).ok();
    g.post("ops", "/kwq/tasks/t3/cancel", &json!({})).ok();
    g.post("ops", "/kwq/queues/3/pause", &json!({})).ok();
    g.post("ops", "/kwq/admin/image", &json!({})).ok();
    // Forbidden by a role: recorded. Refused for another reason, or reading: not.
    g.post("view", "/kwq/jobs/a-1/cancel", &json!({})).refused(403, "forbidden");
    g.get("view", "/kwq/audit").refused(403, "forbidden");
    g.server.post("/kwq/jobs/a-1/cancel", &json!({})).refused(401, "unauthorized");
    g.post("ops", "/kwq/jobs/none/cancel", &json!({})).refused(404, "job_not_found");
    g.post("trader", "/kwq/submit", &json!({"groupId": "b-1"})).refused(404, "job_not_found");
    g.get("view", "/kwq/jobs").ok();
    let ask = json!({"worker": "w", "waitMs": 0});
    let task = g.post("worker", "/kwq/consume", &ask).ok()["tasks"][0].clone();
    g.post("worker", "/kwq/heartbeat", &json!({"worker": "w"})).ok();
    g.post("worker", "/kwq/complete", &json!({"lease": task["lease"]})).ok();
    g.call("worker", Req::new("DELETE", "/kwq/workers/w")).ok();
    let lines = trail(&g, "");
    assert_eq!(
        ops(&lines),
        [
            "task.submit a-1 ok",
            "job.submit a-1 ok",
            "task.submit * ok",
            "job.create a-3 ok",
            "job.pause a-1 ok",
            "job.resume a-1 ok",
            "job.change a-1 ok",
            "task.cancel t3 ok",
            "queue.pause 3 ok",
            "admin.image  ok",
            "job.cancel a-1 forbidden",
            "worker.delete w ok",
        ],
        "{lines:?}"
    );
}

#[test]
fn a_line_says_who_what_where_and_with_which_result() {
    let g = operators();
    g.post("trader", "/kwq/submit", &json!({"groupId": "a-1", "payload": "top secret"})).ok();
    let answer = g.post("ops", "/kwq/jobs/a-1/cancel", &json!({"reason": "wrong curve"}));
    let position = answer.expect(200).header("Kwq-Position").expect("a position").to_owned();
    g.post("view", "/kwq/jobs/a-1/cancel", &json!({})).refused(403, "forbidden");
    let lines = trail(&g, "");
    let line = &lines[1];
    assert_eq!((&line["seq"], &line["actor"]), (&json!(2), &json!("token:ops")), "{line}");
    assert_eq!((&line["role"], &line["op"]), (&json!("operate"), &json!("job.cancel")));
    assert_eq!(line["call"], "POST /kwq/jobs/{job}/cancel");
    assert_eq!((&line["target"], &line["result"]), (&json!("a-1"), &json!("ok")));
    assert_eq!((&line["position"], &line["from"]), (&json!(position), &json!("127.0.0.1")));
    assert!(line["ts"].as_u64().is_some_and(|ts| ts > 1_700_000_000_000));
    assert_eq!(line["prev"], lines[0]["hash"]);
    assert_eq!(line["hash"].as_str().map(str::len), Some(64));
    let refused = &lines[2];
    assert_eq!((&refused["actor"], &refused["role"]), (&json!("token:view"), &json!("operate")));
    assert!(refused.get("position").is_none(), "{refused}");
    let text = json!(lines).to_string();
    for secret in ["top secret", g.ring.secret("ops"), g.ring.secret("view")] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn a_line_names_the_job_and_the_operation_that_a_call_began() {
    let g = operators();
    g.post("trader", "/kwq/jobs/a-1/tasks", &json!([{"id": "t"}, {"id": "u"}])).ok();
    let ask = json!({"worker": "w", "waitMs": 0});
    let lease = g.post("worker", "/kwq/consume", &ask).ok()["tasks"][0]["lease"].clone();
    g.post("worker", "/kwq/fail", &json!({"lease": lease, "retryable": false})).ok();
    let filter = json!({"filter": {"job": "a-1"}, "dryRun": true});
    // It only counts, so it leaves no line.
    g.post("ops", "/kwq/dlq/redrive", &filter).ok();
    let began = |answer: Answer| {
        let op = answer.expect(202).json()["op"].as_str().expect("op").to_owned();
        eventually("it is done", || {
            let now = g.get("ops", &format!("/kwq/operations/{op}")).ok();
            (now["state"] == "DONE").then_some(())
        });
        json!(op)
    };
    let purge = |filter: Value| g.post("ops", "/kwq/dlq/purge", &json!({"filter": filter}));
    let operations = [
        began(g.post("ops", "/kwq/jobs/a-1/retry", &json!({}))),
        began(purge(json!({"job": "a-1"}))),
        began(purge(json!({"class": "io"}))),
    ];
    g.post("ops", "/kwq/tasks/u/cancel?job=a-1", &json!({})).ok();
    g.post("ops", "/kwq/jobs/a-1/cancel", &json!({})).ok();
    let removed = began(g.call("ops", Req::new("DELETE", "/kwq/jobs/a-1")));
    let lines = trail(&g, "");
    assert_eq!(
        ops(&lines),
        [
            "job.submit a-1 ok",
            "job.retry a-1 ok",
            "dlq.purge a-1 ok",
            "dlq.purge * ok",
            "task.cancel u ok",
            "job.cancel a-1 ok",
            "job.purge a-1 ok",
        ],
        "{lines:?}"
    );
    let began: Vec<&Value> = lines.iter().map(|line| &line["operation"]).collect();
    let [retry, one, many] = &operations;
    let none = &Value::Null;
    assert_eq!(began, [none, retry, one, many, none, none, &removed]);
    assert_eq!(lines[4]["job"], "a-1", "an id alone may be one of several jobs");
}

#[test]
fn the_trail_is_read_from_any_number_on() {
    let g = operators();
    for i in 0..12 {
        g.post("trader", "/kwq/submit", &json!({"groupId": "a-1", "id": format!("{i}")})).ok();
    }
    let seqs = |query: &str| -> Vec<u64> {
        trail(&g, query).iter().map(|line| line["seq"].as_u64().expect("a number")).collect()
    };
    assert_eq!(seqs(""), (1..=12).collect::<Vec<_>>());
    assert_eq!(seqs("?after=9"), [10, 11, 12]);
    assert_eq!(seqs("?after=4&limit=2"), [5, 6]);
    assert!(seqs("?after=12").is_empty());
    g.get("ops", "/kwq/audit?limit=0").refused(400, "bad_request");
    g.get("ops", "/kwq/audit?after=x").refused(400, "bad_request");
    g.get("ops", "/kwq/audit?from=1").refused(422, "unknown_field");
}

#[test]
fn the_trail_goes_on_after_every_kind_of_end_and_an_edit_is_found() {
    let mut server = Server::start(&["log.partitions=1"]);
    let submit = |server: &Server, id: &str| {
        server.post("/kwq/submit", &json!({"groupId": "j", "id": id})).ok();
    };
    submit(&server, "1");
    server.terminate();
    server.launch();
    submit(&server, "2");
    // Read first: then the line is written, not only queued.
    assert_eq!(server.get("/kwq/audit").ok().as_array().map(Vec::len), Some(2));
    server.kill();
    server.launch();
    submit(&server, "3");
    let lines = server.get("/kwq/audit").ok();
    let lines = lines.as_array().expect("a list");
    let seqs: Vec<_> = lines.iter().map(|line| line["seq"].as_u64()).collect();
    assert_eq!(seqs, [Some(1), Some(2), Some(3)]);
    assert_eq!(lines[0]["actor"], "anonymous");
    assert!(lines.windows(2).all(|pair| pair[1]["prev"] == pair[0]["hash"]), "{lines:?}");
    server.terminate();
    let dir = server.dir().to_str().expect("text").to_owned();
    let verify = || kwq(server.dir(), &["log", "verify", "--data-dir", &dir]);
    let out = verify();
    let body: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!((out.status.code(), &body["audit"]["lines"]), (Some(0), &json!(3)), "{body}");
    let file = server.dir().join("audit").join("1.jsonl");
    let text = std::fs::read_to_string(&file).expect("the first file of the trail");
    let second = text.lines().nth(1).expect("three lines");
    for edited in [text.replacen("\"j\"", "\"k\"", 1), text.replacen(second, "junk", 1)] {
        std::fs::write(&file, edited).expect("writes");
        let body: Value = serde_json::from_slice(&verify().stdout).expect("JSON");
        assert_eq!(body["audit"]["intact"], false, "{body}");
    }
}

#[test]
fn a_stream_that_ended_badly_is_recorded_for_what_it_did() {
    let g = Guarded::start(Ring::new().add("all", &ROLES, &[]));
    let text = "{\"id\":\"1\"}\n{\"priority\":99}\n";
    let req = Req::new("POST", "/kwq/jobs/n/tasks?onError=stop");
    g.call("all", req.text("application/x-ndjson", text)).expect(422);
    let bad = Req::new("POST", "/kwq/jobs/n/tasks?onError=stop");
    g.call("all", bad.text("application/x-ndjson", "{\"priority\":99}\n")).expect(422);
    let lines = g.get("all", "/kwq/audit").ok();
    let lines = lines.as_array().expect("a list");
    assert_eq!(ops(lines), ["job.submit n invalid_field"], "{lines:?}");
}

#[test]
fn hostile_names_stay_inside_their_line() {
    let g = operators();
    let path = format!("/kwq/jobs/{}/pause", "%0A%22%1B%5B31m".repeat(100));
    g.post("view", &path, &json!({})).refused(403, "forbidden");
    let lines = trail(&g, "");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0]["target"].as_str().is_some_and(|t| t.len() <= 256 && t.contains("\n\"")));
}
