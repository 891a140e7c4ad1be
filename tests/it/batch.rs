//! Many tasks in one call as a JSON array or one object (`api.md` 4).

use serde_json::{Value, json};

use crate::support::{Req, ids, int, shared, single, text, unique};

fn path(job: &str) -> String {
    format!("/kwq/jobs/{job}/tasks")
}

// api.md 4: one outcome per item, in order; the documented example.
#[test]
fn a_batch_answers_item_by_item() {
    let (server, job) = (shared(), unique("batch"));
    let items = json!([{"id": "t1", "payload": {"trade": 1}, "tags": {"currency": "EUR"}},
        {"id": "t2", "priority": 12}, {"id": "t3"}]);
    let body = server.post(&path(&job), &items).ok();
    assert_eq!(body["job"], *job);
    assert_eq!((int(&body, "accepted"), int(&body, "rejected")), (2, 1), "{body}");
    assert_eq!(int(&body, "duplicates"), 0);
    assert_eq!(body["closed"], false);
    let results = body["results"].as_array().expect("all results by default");
    assert_eq!(results.len(), 3);
    let [first, second, third] = results.as_slice() else { panic!("three: {body}") };
    assert_eq!((int(first, "i"), text(first, "outcome"), text(first, "id")), (0, "ok", "t1"));
    assert_eq!(server.task(text(first, "ref"))["id"], "t1");
    assert_eq!((int(second, "i"), text(second, "outcome")), (1, "rejected"));
    assert_eq!((text(second, "code"), text(second, "field")), ("invalid_field", "priority"));
    assert!(second["detail"].is_string(), "{second}");
    assert_eq!((int(third, "i"), text(third, "outcome")), (2, "ok"));
    assert_eq!(server.job(&job)["submitted"], 2);
}

// api.md 4: results=errors leaves the good ones out, results=all shows them.
#[test]
fn results_may_be_narrowed_to_errors() {
    let (server, job) = (shared(), unique("errors"));
    let items = json!([{}, {"priority": 12}, {}]);
    let body = server.post(&format!("{}?results=errors", path(&job)), &items).ok();
    let results = body["results"].as_array().expect("results");
    assert_eq!(results.len(), 1, "{body}");
    assert_eq!(results.first().map(|r| int(r, "i")), Some(1));
    assert_eq!(int(&body, "accepted"), 2);
    let body = server.post(&format!("{}?results=all", path(&job)), &items).ok();
    assert_eq!(body["results"].as_array().map(Vec::len), Some(3));
}

// api.md 1: 200 also if all items failed; an empty list answers 200.
#[test]
fn a_batch_answers_200_even_if_nothing_was_accepted() {
    let (server, job) = (shared(), unique("none"));
    let body = server.post(&path(&job), &json!([{"priority": 12}, {"x": 1}])).ok();
    assert_eq!((int(&body, "accepted"), int(&body, "rejected")), (0, 2));
    let body = server.post(&path(&job), &json!([])).ok();
    assert_eq!((int(&body, "accepted"), int(&body, "rejected")), (0, 0));
    assert_eq!(body["results"], json!([]));
}

// api.md 4: the body may be one object.
#[test]
fn one_object_on_the_job_route_answers_like_a_batch() {
    let (server, job) = (shared(), unique("object"));
    let body = server.post(&path(&job), &json!({"id": "only"})).ok();
    assert_eq!(int(&body, "accepted"), 1);
    assert_eq!(body["results"][0]["id"], "only");
}

// api.md 1: an item that is no object is rejected, its neighbours are not.
#[test]
fn an_item_that_is_no_object_does_not_spoil_its_neighbours() {
    let (server, job) = (shared(), unique("mixed"));
    let body = server.post(&path(&job), &json!([{}, 5, "x", null, [], {}])).ok();
    assert_eq!((int(&body, "accepted"), int(&body, "rejected")), (2, 4), "{body}");
}

// api.md 2.1: in /jobs/{job}/tasks groupId must be absent or equal {job}.
#[test]
fn an_item_of_the_job_route_may_not_name_another_job() {
    let (server, job) = (shared(), unique("same"));
    let items = json!([{"groupId": job}, {"job": job}, {"groupId": "another"}]);
    let body = server.post(&path(&job), &items).ok();
    assert_eq!((int(&body, "accepted"), int(&body, "rejected")), (2, 1), "{body}");
    assert_eq!(body["results"][2]["code"], "invalid_field");
}

// api.md 4: POST /kwq/submit with an array, each item names its job; no `job` in the answer.
#[test]
fn an_array_on_submit_lets_each_item_name_its_job() {
    let (server, a, b) = (shared(), unique("a"), unique("b"));
    let items = json!([{"groupId": a}, {"groupId": b}, {"groupId": a, "priority": 10}]);
    let body = server.post("/kwq/submit", &items).ok();
    assert_eq!((int(&body, "accepted"), int(&body, "rejected")), (2, 1));
    assert!(body.get("job").is_none(), "{body}");
    assert_eq!(server.job(&a)["submitted"], 1);
    assert_eq!(server.job(&b)["submitted"], 1);
}

// api.md 4: close=true closes the job when all is durable.
#[test]
fn close_true_closes_the_job_after_its_tasks() {
    let (server, job) = (shared(), unique("close"));
    let body = server.post(&format!("{}?close=true", path(&job)), &json!([{}, {}])).ok();
    assert_eq!(body["closed"], true);
    assert_eq!(int(&body, "accepted"), 2);
    let shown = server.job(&job);
    assert_eq!((text(&shown, "state"), int(&shown, "submitted")), ("CLOSED", 2));
    server.post(&path(&job), &json!([{}])).refused(409, "job_closed");
}

// api.md 4: a closed job refuses the whole call on the job route, the single item on submit.
#[test]
fn a_closed_job_refuses_the_single_item_on_submit() {
    let (server, open, closed) = (shared(), unique("open"), unique("closed"));
    server.add(&closed, &json!([{}]));
    server.job_verb(&closed, "close");
    let items = json!([{"groupId": open}, {"groupId": closed}]);
    let body = server.post("/kwq/submit", &items).ok();
    assert_eq!((int(&body, "accepted"), int(&body, "rejected")), (1, 1));
    assert_eq!(body["results"][1]["code"], "job_closed");
}

// api.md 13: a JSON array has at most 10,000 items.
#[test]
fn more_than_ten_thousand_items_are_refused_whole() {
    let (server, job) = (shared(), unique("items"));
    let items = Value::Array(vec![json!({}); 10_001]);
    server.post(&path(&job), &items).refused(413, "too_many_items");
    server.get(&format!("/kwq/jobs/{job}")).refused(404, "job_not_found");
    let items = Value::Array(vec![json!({}); 10_000]);
    assert_eq!(int(&server.post(&path(&job), &items).ok(), "accepted"), 10_000);
    assert_eq!(server.job(&job)["submitted"], 10_000);
}

// api.md 13: a JSON array has at most 16 MiB.
#[test]
fn a_batch_body_over_16_mib_is_refused() {
    let (server, job) = (shared(), unique("mib"));
    let item = format!(r#"{{"payload":"{}"}}"#, "x".repeat(200 * 1024));
    let body = format!("[{}]", vec![item.as_str(); 84].join(","));
    assert!(body.len() > 16 * 1024 * 1024);
    let req = Req::new("POST", &path(&job)).text("application/json", &body);
    server.call(&req).refused(413, "body_too_large");
    server.assert_alive();
}

// api.md 13: a payload over its limit inside a batch is that item's own trouble.
#[test]
fn a_big_payload_in_a_batch_is_rejected_alone() {
    let (server, job) = (shared(), unique("bigitem"));
    let items = json!([{}, {"payload": "x".repeat(300 * 1024)}, {}]);
    let body = server.post(&path(&job), &items).ok();
    assert_eq!((int(&body, "accepted"), int(&body, "rejected")), (2, 1));
    assert_eq!(body["results"][1]["code"], "payload_too_large");
}

// api.md 15: items of one call are admitted in the listed order in each partition.
#[test]
fn items_are_admitted_in_the_listed_order() {
    let (server, job) = (single(), unique("order"));
    let items: Vec<Value> = (0..200).map(|i| json!({"id": format!("t{i:03}")})).collect();
    let refs = server.add(&job, &Value::Array(items));
    let tasks = server.consume("order", &job, &json!({"max": 1_000}));
    let expected: Vec<String> = (0..200).map(|i| format!("t{i:03}")).collect();
    assert_eq!(ids(&tasks), expected);
    let given: Vec<&str> = tasks.iter().map(|t| text(t, "ref")).collect();
    assert_eq!(given, refs);
}

// api.md 4: query values outside their list → 400 (section 15 "Requests").
#[test]
fn wrong_query_values_are_refused() {
    let (server, job) = (shared(), unique("query"));
    for query in ["results=some", "close=maybe", "lenient=perhaps"] {
        server.post(&format!("{}?{query}", path(&job)), &json!([{}])).refused(400, "bad_request");
    }
    let answer = server.post(&format!("{}?clos=true", path(&job)), &json!([{}]));
    let problem = answer.refused(422, "unknown_field");
    assert!(problem["hint"].as_str().unwrap_or_default().contains("close"), "{problem}");
}

// api.md 1 "lenient" on a batch: unknown fields of items are ignored.
#[test]
fn lenient_holds_for_every_item() {
    let (server, job) = (shared(), unique("lenient"));
    let items = json!([{"colour": 1}, {"shape": 2}]);
    let body = server.post(&format!("{}?lenient=true", path(&job)), &items).ok();
    assert_eq!(int(&body, "accepted"), 2);
    let body = server.post(&path(&job), &items).ok();
    assert_eq!(int(&body, "rejected"), 2);
    assert_eq!(body["results"][0]["code"], "unknown_field");
}
