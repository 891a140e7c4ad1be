//! The list of jobs (`api.md` 6).

use serde_json::json;

use crate::support::{Server, encode, ids, shared, unique};

fn make(server: &Server, spec: &serde_json::Value) {
    server.post("/kwq/jobs", spec).expect(201);
}

// api.md 6: newest first by default; q = prefix; pages by cursor without repeats or gaps.
#[test]
fn jobs_are_listed_newest_first_in_pages() {
    let (server, prefix) = (shared(), unique("listed"));
    let names: Vec<String> = (0..25).map(|i| format!("{prefix}-{i:02}")).collect();
    for name in &names {
        make(server, &json!({"id": name}));
        // created_ts has the grain of a millisecond; equal stamps would have no order.
        crate::support::pause(3);
    }
    for limit in [1, 7, 25, 100] {
        let path = format!("/kwq/jobs?q={prefix}-&limit={limit}&fresh=true");
        let listed = server.pages(&path);
        let expected: Vec<&str> = names.iter().rev().map(String::as_str).collect();
        assert_eq!(ids(&listed), expected, "limit {limit}");
    }
}

// api.md 6: filters state, paused, tag, priority; an AND.
#[test]
fn jobs_are_filtered() {
    let (server, prefix) = (shared(), unique("filter"));
    let [a, b, c] = ["a", "b", "c"].map(|n| format!("{prefix}-{n}"));
    make(server, &json!({"id": a, "priority": 3, "tag": "desk:rates"}));
    make(server, &json!({"id": b, "priority": 4, "tag": "desk:fx", "paused": true}));
    make(server, &json!({"id": c, "priority": 3, "tag": "desk:fx,eod"}));
    server.submit(&json!({"groupId": c}));
    server.job_verb(&c, "close");
    server.job_verb(&a, "close");
    for (filter, expected) in [
        ("state=OPEN", vec![&b]),
        ("state=CLOSED", vec![&c]),
        ("state=COMPLETED", vec![&a]),
        ("state=OPEN,CLOSED", vec![&b, &c]),
        ("paused=true", vec![&b]),
        ("paused=false", vec![&a, &c]),
        ("priority=3", vec![&a, &c]),
        ("tag=desk:fx", vec![&b, &c]),
        ("tag=eod", vec![&c]),
        ("tag=desk:fx&priority=4", vec![&b]),
        ("tag=nobody:has", vec![]),
    ] {
        let listed = server.pages(&format!("/kwq/jobs?q={prefix}&fresh=true&{filter}"));
        let mut got = ids(&listed);
        got.sort_unstable();
        assert_eq!(got, expected, "{filter}");
    }
}

// api.md 6: sort takes four values, each lists every job once.
#[test]
fn jobs_are_sorted_on_demand() {
    let (server, prefix) = (shared(), unique("sort"));
    for i in 0..6 {
        make(server, &json!({"id": format!("{prefix}-{i}")}));
    }
    for sort in ["created", "eta", "errors", "age"] {
        let path = format!("/kwq/jobs?q={prefix}&sort={sort}&limit=4&fresh=true");
        let listed = server.pages(&path);
        let mut got = ids(&listed);
        got.sort_unstable();
        got.dedup();
        assert_eq!(got.len(), 6, "{sort}");
    }
    let loser = format!("{prefix}-3");
    let held = server.leased("sort", &loser, &json!({"maxAttempts": 1}));
    server.report("fail", &held["lease"], &json!({})).expect(200);
    let first = server.pages(&format!("/kwq/jobs?q={prefix}&sort=errors&fresh=true"));
    assert_eq!(first.first().map(|j| &j["id"]), Some(&json!(loser)), "most errors first");
}

// api.md 15: wrong query values → 400; unknown parameters → 422 with a hint.
#[test]
fn the_list_of_jobs_refuses_wrong_queries() {
    for query in [
        "state=NOPE",
        "paused=maybe",
        "priority=10",
        "sort=name",
        "limit=0",
        "limit=1001",
        "limit=x",
    ] {
        shared().get(&format!("/kwq/jobs?{query}")).refused(400, "bad_request");
    }
    let answer = shared().get("/kwq/jobs?stat=OPEN");
    let problem = answer.refused(422, "unknown_field");
    assert!(problem["hint"].as_str().unwrap_or_default().contains("state"), "{problem}");
    shared().get(&format!("/kwq/jobs?cursor={}", encode("nonsense"))).refused(400, "bad_cursor");
}
