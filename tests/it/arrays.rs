//! Arrays: one object, every element a task (`api.md` 2.1, 4, `semantics.md` 10).

use serde_json::{Value, json};

use crate::support::{
    Server, eventually, in_background, int, shared, since, start_watch, text, unique,
};

fn array(server: &Server, job: &str, array: &Value, more: &Value) -> Value {
    let body = crate::support::merge(&json!({"array": array}), more);
    let answer = server.post(&format!("/kwq/jobs/{job}/tasks"), &body).ok();
    answer["results"][0].clone()
}

fn refs(result: &Value) -> Vec<String> {
    let refs = result["refs"].as_array().expect("refs");
    refs.iter().map(|r| r.as_str().expect("a reference").to_owned()).collect()
}

// api.md 4: the documented call: 50 million tasks in one request, closed; value 17 is k = 16.
#[test]
fn fifty_million_tasks_are_one_call() {
    let mut server = Server::start(&[]);
    let begun = start_watch();
    let body = json!({"array": {"id": "paths", "from": 1, "to": 50_000_000, "encoding": "json",
        "payloadTemplate": "{\"path\":{i}}"}, "priority": 4, "tag": "risk:VAR"});
    let answer = server.post("/kwq/jobs/mc/tasks?close=true", &body).ok();
    assert!(since(begun).as_secs() < 10, "nothing grows with the number of elements");
    assert_eq!((int(&answer, "accepted"), &answer["closed"]), (50_000_000, &json!(true)));
    let result = &answer["results"][0];
    assert_eq!((text(result, "outcome"), int(result, "count")), ("ok", 50_000_000));
    let refs = refs(result);
    assert_eq!(refs.len(), 3);
    let reference = format!("{}-17", refs[16 % 3]);
    for round in 0..2 {
        let task = server.get(&format!("/kwq/tasks/{reference}?payload=true")).ok();
        assert_eq!((int(&task, "index"), text(&task, "id")), (17, reference.as_str()));
        assert_eq!((text(&task, "state"), &task["payload"]), ("PENDING", &json!({"path": 17})));
        assert_eq!((int(&task, "payloadBytes"), int(&task, "priority")), (11, 4));
        assert_eq!(task["tags"], json!(["risk:VAR"]));
        assert_eq!(int(&server.job("mc")["counts"], "PENDING"), 50_000_000, "round {round}");
        server.kill();
        server.launch();
    }
    let cancelled = server.job_verb("mc", "cancel");
    assert_eq!(int(&cancelled["counts"], "CANCELLED"), 50_000_000);
    assert_eq!(server.state(&reference), "CANCELLED");
}

// S 10: everything per task holds for an element.
#[test]
fn an_element_is_a_task_like_any_other() {
    let server = Server::start(&["log.partitions=1", "queue.share=fifo"]);
    let values = json!({"from": 5, "to": 9_000, "step": 3, "payloadTemplate": "v={i};{i}"});
    let result = array(&server, "job", &values, &json!({"maxAttempts": 1}));
    let reference = |value: i64| format!("{}-{value}", refs(&result)[0]);
    assert_eq!(int(&result, "count"), 2_999);
    let tasks = server.consume("w", "job", &json!({"max": 4}));
    let seen: Vec<(i64, &str)> =
        tasks.iter().map(|t| (int(t, "index"), text(t, "payload"))).collect();
    assert_eq!(seen, [(5, "v=5;5"), (8, "v=8;8"), (11, "v=11;11"), (14, "v=14;14")]);
    assert_eq!(text(&tasks[1], "ref"), reference(8));
    server.report("complete", &tasks[0]["lease"], &json!({"result": "r"})).expect(200);
    let dead = server.report("fail", &tasks[1]["lease"], &json!({"class": "nan"})).ok();
    assert_eq!((text(&dead, "outcome"), text(&dead, "ref")), ("dead", reference(8).as_str()));
    server.report("release", &tasks[2]["lease"], &json!({})).expect(200);
    server.poke(&format!("/kwq/tasks/{}/cancel", reference(8_999))).expect(200);
    for (value, state) in [
        (5, "COMPLETED"),
        (8, "ERROR"),
        (11, "PENDING"),
        (14, "ALLOCATED"),
        (17, "PENDING"),
        (8_999, "CANCELLED"),
    ] {
        assert_eq!(server.state(&reference(value)), state, "{value}");
    }
    server.get(&format!("/kwq/tasks/{}", reference(6))).refused(404, "task_not_found");
    server.get(&format!("/kwq/tasks/{}", refs(&result)[0])).refused(404, "task_not_found");
    let bytes = server.get(&format!("/kwq/tasks/{}/result", reference(5))).expect(200).body.clone();
    assert_eq!(bytes, b"r");
    server.poke(&format!("/kwq/tasks/{}/retry", reference(8))).expect(200);
    let next: Vec<i64> =
        server.consume("w", "job", &json!({"max": 3})).iter().map(|t| int(t, "index")).collect();
    assert_eq!(next, [8, 11, 17], "what comes back stands in submit order");
    let counts = &server.job("job")["counts"];
    let sum: i64 = counts.as_object().expect("counts").values().filter_map(Value::as_i64).sum();
    assert_eq!((sum, int(counts, "CANCELLED")), (2_999, 1));
}

// S 4, api.md 7.1: lists show untouched elements too; `index` needs `job`.
#[test]
fn elements_are_listed_and_found_by_value() {
    let (server, job) = (shared(), unique("listed"));
    array(server, &job, &json!({"from": 1, "to": 7_000}), &json!({"tag": "a:b"}));
    let first = server.consume("w", &job, &json!({}));
    let tasks = server.tasks(&job, "&state=PENDING&tag=a:b&limit=1000");
    assert_eq!(tasks.len(), 6_999);
    let mut values: Vec<i64> = tasks.iter().map(|t| int(t, "index")).collect();
    values.push(int(&first[0], "index"));
    values.sort_unstable();
    assert!(values.iter().copied().eq(1..=7_000), "each once");
    let found = server.get(&format!("/kwq/tasks?job={job}&index=4711")).ok();
    assert_eq!((found.as_array().map(Vec::len), int(&found[0], "index")), (Some(1), 4_711));
    let none = server.get(&format!("/kwq/tasks?job={job}&index=7001")).ok();
    assert_eq!(none, json!([]));
    server.get("/kwq/tasks?index=1").refused(400, "bad_request");
}

// S 9, api.md 15: an array id is unique in its job; a repeat answers as the first call did.
#[test]
fn an_array_id_comes_once() {
    let mut server = Server::start(&[]);
    let values = json!({"id": "a", "to": 99, "payloadTemplate": "{i}"});
    let first = array(&server, "ids", &values, &json!({}));
    for round in 0..2 {
        let body = json!({"array": values});
        let again = server.post("/kwq/jobs/ids/tasks", &body).ok();
        assert_eq!((int(&again, "accepted"), int(&again, "duplicates")), (0, 100), "{round}");
        let result = &again["results"][0];
        assert_eq!((text(result, "outcome"), &result["refs"]), ("duplicate", &first["refs"]));
        assert_eq!(result["existing"], first["refs"][0]);
        let other = array(&server, "ids", &json!({"id": "a", "to": 98}), &json!({}));
        assert_eq!((text(&other, "outcome"), text(&other, "code")), ("conflict", "id_conflict"));
        assert_eq!(int(&server.job("ids"), "submitted"), 100);
        server.kill();
        server.launch();
    }
    array(&server, "other", &values, &json!({}));
    assert_eq!(int(&server.job("other"), "submitted"), 100, "another job");
}

// S 8, S 11.2: a delay holds for all elements; re-prioritise and pause reach them in one step.
#[test]
fn a_delayed_array_becomes_due_in_one_step() {
    let (server, job) = (shared(), unique("delayed"));
    array(server, &job, &json!({"to": 2_999}), &json!({"delayMs": 1_500, "priority": 2}));
    assert_eq!(int(&server.job(&job)["counts"], "DELAYED"), 3_000);
    assert!(server.consume("w", &job, &json!({})).is_empty());
    server.patch(&format!("/kwq/jobs/{job}"), &json!({"priority": 8})).expect(200);
    eventually("they are due", || {
        (int(&server.job(&job)["counts"], "PENDING") == 3_000).then_some(())
    });
    let task = &server.consume("w", &job, &json!({}))[0];
    assert_eq!(int(task, "priority"), 8);
    assert!(int(task, "available_ts") >= int(task, "submitted_ts") + 1_500);
}

// api.md 4: an item of a batch or a line may be an array; the order of the items is kept.
#[test]
fn arrays_stand_between_tasks() {
    let server = Server::start(&["log.partitions=1", "queue.share=fifo"]);
    let items = json!([{"id": "a"}, {"array": {"to": 1}}, {"priority": 99}, {"id": "b"}]);
    let answer = server.post("/kwq/jobs/mixed/tasks", &items).ok();
    assert_eq!((int(&answer, "accepted"), int(&answer, "rejected")), (4, 1), "{answer}");
    let lines = "{\"id\":\"c\"}\n{\"array\":{\"from\":7,\"to\":8}}\n{\"odd\":1}\n{\"id\":\"d\"}\n";
    let req = crate::support::Req::new("POST", "/kwq/jobs/mixed/tasks?onError=stop")
        .text("application/x-ndjson", lines);
    let stopped = server.call(&req).refused(422, "unknown_field");
    assert_eq!((int(&stopped, "accepted"), int(&stopped, "nextLine")), (3, 3), "{stopped}");
    let tasks = server.consume("w", "mixed", &json!({"max": 100}));
    let shown =
        |t: &Value| t["index"].as_i64().map_or_else(|| text(t, "id").to_owned(), |i| i.to_string());
    let order: Vec<String> = tasks.iter().map(shown).collect();
    assert_eq!(order, ["a", "0", "1", "b", "c", "7", "8"]);
    let one = server.post("/kwq/submit", &json!({"array": {"to": 2}, "groupId": "alone"})).ok();
    assert_eq!(int(&one, "accepted"), 3, "a single array answers like a batch: {one}");
}

// api.md 13: limits.
#[test]
fn an_array_has_its_limits() {
    let server = Server::start(&["limits.array=1000"]);
    let refused = |body: &Value, field: &str| {
        let answer = server.post("/kwq/submit", body);
        answer.refused_field("invalid_field", field);
    };
    refused(&json!({"array": {"to": 1000}}), "array.to");
    refused(&json!({"array": {"from": 3, "to": 2}}), "array.to");
    refused(&json!({"array": {"to": 2}, "payload": "x"}), "payload");
    server.post("/kwq/submit", &json!({"array": {"to": 999}})).expect(200);
    let long = json!({"array": {"to": 1, "payloadTemplate": "x".repeat(300_000)}});
    server.post("/kwq/submit", &long).refused(413, "payload_too_large");
}

// S 5.5: an answer ends at maxBytes of payload; each element counts as long as it is.
#[test]
fn elements_count_with_their_own_length() {
    let mut server = Server::start(&["log.partitions=1"]);
    let template = format!("{{i}}{}", "y".repeat(99));
    array(&server, "sizes", &json!({"to": 1_009, "payloadTemplate": template}), &json!({}));
    let lengths = |server: &Server, bytes: usize| -> Vec<usize> {
        let tasks = server.consume("w", "sizes", &json!({"max": 50, "maxBytes": bytes}));
        tasks.iter().map(|task| text(task, "payload").len()).collect()
    };
    assert_eq!(lengths(&server, 1_000), [100; 10]);
    assert_eq!(lengths(&server, 1_009), [101; 9], "one more would be a byte too many");
    server.kill();
    server.launch();
    assert_eq!(lengths(&server, 1_010), [101; 10]);
}

// api.md 13: the payload of an element is a payload.
#[test]
fn the_longest_element_is_within_the_limit_of_a_payload() {
    let ask = |to: u64| {
        let template = "{i}".repeat(80_000);
        let array = json!({"from": 997, "to": to, "payloadTemplate": template});
        shared().post("/kwq/submit", &json!({"groupId": unique("long"), "array": array}))
    };
    ask(999).expect(200);
    ask(1_000).refused(413, "payload_too_large");
}

// S 9: of calls at a time with one array id one has submitted it.
#[test]
fn one_of_several_calls_submits_an_array() {
    let (server, job) = (shared(), unique("race"));
    let path = format!("/kwq/jobs/{job}/tasks");
    for round in 0..50 {
        let body = json!({"array": {"id": format!("a{round}"), "to": 29}});
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let (path, body) = (path.clone(), body.clone());
                in_background(move || shared().post(&path, &body).ok())
            })
            .collect();
        let told: Vec<Value> =
            calls.into_iter().map(|call| call.join().expect("an answer")).collect();
        let sum = |name: &str| told.iter().map(|body| int(body, name)).sum::<i64>();
        assert_eq!((sum("accepted"), sum("duplicates")), (30, 90), "{round}: {told:?}");
    }
    let job = server.job(&job);
    assert_eq!((int(&job, "submitted"), int(&job, "duplicates")), (1_500, 4_500), "{job}");
}

// api.md 4, S 11.1: a closed job takes nothing, also not what it has already.
#[test]
fn a_closed_job_refuses_an_array_it_knows() {
    let (server, job) = (shared(), unique("shut"));
    let tasks = format!("/kwq/jobs/{job}/tasks");
    let known = json!({"array": {"to": 9, "id": "A"}});
    let other = json!({"array": {"to": 8, "id": "A"}});
    server.post(&tasks, &known).ok();
    server.job_verb(&job, "close");
    for body in [known.clone(), other, json!([known, {"payload": "1"}])] {
        server.post(&tasks, &body).refused(409, "job_closed");
    }
    let job = server.job(&job);
    assert_eq!((int(&job, "submitted"), int(&job, "duplicates")), (10, 0), "{job}");
}
