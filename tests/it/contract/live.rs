//! `api.md` 8, what the page lives on: `GET /kwq/events` and `GET /kwq/stats/series`, the happy
//! path and each of the codes. `Last-Event-ID` is in `headers.rs`.

use serde_json::{Value, json};

use super::codes::{refused, wait};
use crate::support::{Event, Req, Server, Sse, eventually, int, now_ms, shared, text, unique};

const EVENTS: &str = "/kwq/events";

/// Names of the members of an object.
fn members(object: &Value) -> Vec<String> {
    object.as_object().expect("an object").keys().cloned().collect()
}

#[test]
fn events_begin_with_retry_and_send_a_snapshot_a_second() {
    let mut stream = Sse::open(shared(), EVENTS, None);
    assert_eq!(stream.header("Content-Type"), Some("text/event-stream"));
    assert_eq!(stream.header("Cache-Control"), Some("no-store"));
    let first = stream.until("snapshot", |_| true);
    assert_eq!(stream.asides.first().map(String::as_str), Some("retry: 2000"));
    let second = stream.until("snapshot", |_| true);
    assert!(second.id > first.id && int(&second.data, "ts") > int(&first.data, "ts"));
    let now = shared().get("/kwq/stats/now").ok();
    assert_eq!(members(&second.data), members(&now), "the body of stats/now");
    for event in [first, second] {
        assert!(event.text.len() <= 5_000, "{} B", event.text.len());
    }
}

#[test]
fn a_job_is_told_on_change() {
    let (server, job) = (shared(), unique("told"));
    let mut stream = Sse::open(server, EVENTS, None);
    server.submit(&json!({"groupId": job}));
    let mine = |event: &Event| event.data["id"] == *job;
    let event = stream.until("job", mine);
    assert_eq!((text(&event.data, "state"), int(&event.data, "submitted")), ("OPEN", 1));
    assert_eq!(members(&event.data), members(&server.job(&job)), "the body of a job");
    server.job_verb(&job, "pause");
    assert_eq!(stream.until("job", mine).data["paused"], true);
    server.job_verb(&job, "cancel");
    assert_eq!(stream.until("job", mine).data["state"], "CANCELLED");
}

#[test]
fn an_operation_is_told_on_change() {
    let (server, job) = (shared(), unique("told"));
    server.add(&job, &json!([{}]));
    server.bury(&job, "e");
    let mut stream = Sse::open(server, EVENTS, None);
    let ask = json!({"filter": {"job": job}});
    let op = server.post("/kwq/dlq/redrive", &ask).expect(202).json()["op"].clone();
    let done = |event: &Event| event.data["op"] == op && event.data["state"] == "DONE";
    let event = stream.until("operation", done);
    assert_eq!((int(&event.data, "matched"), int(&event.data, "done")), (1, 1));
    let shown = server.get(&format!("/kwq/operations/{}", op.as_str().expect("text"))).ok();
    assert_eq!(event.data, shown, "the body of an operation");
}

#[test]
fn the_cluster_is_told_on_change() {
    let server = Server::start(&[]);
    let mut stream = Sse::open(&server, EVENTS, None);
    stream.until("snapshot", |_| true);
    for (verb, paused) in [("pause", true), ("resume", false)] {
        server.poke(&format!("/kwq/queues/all/{verb}")).expect(200);
        let event = stream.until("cluster", |event| event.data["paused"] == paused);
        assert_eq!(members(&event.data), members(&server.get("/kwq/cluster").ok()));
    }
}

#[test]
fn codes_of_events() {
    refused(&shared().get("/kwq/events?job=a"), 422, "unknown_field");
    refused(&shared().post(EVENTS, &json!({})), 405, "method_not_allowed");
    let wrong = Req::new("GET", EVENTS).header("Last-Event-ID", "first");
    refused(&shared().call(&wrong), 400, "bad_request");
}

// promises.md 9: queries, and events among them, have 60 % of the connections.
#[test]
fn streams_have_their_share_of_the_connections() {
    let server = Server::start(&["http.max-connections=10"]);
    server.submit(&json!({"groupId": "watched"}));
    let of_job = || Sse::open(&server, "/kwq/jobs/watched/events", None);
    let mut open = vec![of_job(), of_job()];
    open.extend((0..4).map(|_| Sse::open(&server, EVENTS, None)));
    for path in [EVENTS, "/kwq/jobs/watched/events"] {
        wait(&server.get(path), 503, "overloaded");
    }
    server.get("/kwq/jobs/watched").expect(200);
    drop(open.pop());
    eventually("a place is free", || {
        server.get("/metrics").text().contains("{kind=\"sse\"} 5").then_some(())
    });
    Sse::open(&server, EVENTS, None).until("snapshot", |_| true);
}

fn series(query: &str) -> crate::support::Answer {
    shared().get(&format!("/kwq/stats/series?{query}"))
}

#[test]
fn series_have_a_value_or_none_for_each_step() {
    let all = "submit,allocate,complete,fail,pending,running,oldestAgeMs,waitP99Ms";
    for (range, step_ms, most) in
        [("10m", 1_000, 600), ("6h", 10_000, 2_160), ("7d", 300_000, 2_016)]
    {
        let query = format!("name={all}&range={range}");
        let body = eventually("a first value", || {
            let body = series(&query).ok();
            let any = body["series"]["pending"].as_array().is_some_and(|v| !v.is_empty());
            any.then_some(body)
        });
        assert_eq!(members(&body), ["from_ts", "series", "stepMs"]);
        assert_eq!(int(&body, "stepMs"), step_ms);
        assert_eq!(members(&body["series"]).len(), 8);
        let mut lengths: Vec<usize> = Vec::new();
        for name in all.split(',') {
            let values = body["series"][name].as_array().unwrap_or_else(|| panic!("{name}"));
            assert!(values.iter().all(|v| v.is_null() || v.as_f64().is_some_and(|n| n >= 0.0)));
            lengths.push(values.len());
        }
        assert!(lengths.iter().all(|n| *n == lengths[0] && *n <= most), "{lengths:?}");
        let steps = i64::try_from(lengths[0]).expect("small");
        let end = int(&body, "from_ts") + steps * step_ms;
        assert!(end <= now_ms() + step_ms + 1_000, "{body}");
    }
}

#[test]
fn series_are_those_that_were_asked_for() {
    for query in ["name=pending,submit&range=10m", "name=submit&range=10m&name=pending,submit"] {
        assert_eq!(members(&series(query).ok()["series"]), ["pending", "submit"], "{query}");
    }
}

#[test]
fn codes_of_series() {
    for wrong in [
        "",
        "name=pending",
        "range=10m",
        "name=&range=10m",
        "name=pending,nothing&range=10m",
        "name=Pending&range=10m",
        "name=pending&range=1h",
        "name=pending&range=",
        "name=pending&range=10m&range=6h",
    ] {
        refused(&series(wrong), 400, "bad_request");
    }
    refused(&series("name=pending&range=10m&step=1"), 422, "unknown_field");
    series("name=pending&range=10m&step=1&lenient=true").expect(200);
    let post = shared().post("/kwq/stats/series", &json!({}));
    refused(&post, 405, "method_not_allowed");
}
