//! Tasks counted by state, priority and tag (`api.md` 6, 8 and 15, `semantics.md` 13.2).

use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::support::{Server, encode, eventually, int, kwq, shared, text, unique};

fn ask(server: &Server, job: &str, by: &str) -> Value {
    server.get(&format!("/kwq/jobs/{}/breakdown?by={by}&fresh=true", encode(job))).ok()
}

/// Value → total.
fn totals(found: &Value) -> Vec<(String, i64)> {
    let rows = found["rows"].as_array().expect("rows");
    rows.iter().map(|r| (text(r, "value").to_owned(), int(r, "total"))).collect()
}

fn pairs(wanted: &[(&str, i64)]) -> Vec<(String, i64)> {
    wanted.iter().map(|(value, total)| ((*value).to_owned(), *total)).collect()
}

fn counts(found: &Value, value: &str) -> BTreeMap<String, i64> {
    let rows = found["rows"].as_array().expect("rows");
    let row = rows.iter().find(|r| text(r, "value") == value).expect("the value has a row");
    let counts = row["counts"].as_object().expect("nine states");
    assert_eq!(counts.len(), 9, "every state by name: {row}");
    let total: i64 = counts.values().map(|n| n.as_i64().expect("a count")).sum();
    assert_eq!(total, int(row, "total"));
    let some = counts.iter().filter(|(_, n)| n.as_i64() != Some(0));
    some.map(|(state, n)| (state.clone(), n.as_i64().expect("a count"))).collect()
}

fn states(wanted: &[(&str, i64)]) -> BTreeMap<String, i64> {
    pairs(wanted).into_iter().collect()
}

fn tags(items: &[&str]) -> Value {
    items.iter().map(|tag| json!({ "tag": tag })).collect()
}

// api.md 6: rows by total, largest first, __none last; S 13.2: a task with two values counts twice.
#[test]
fn tasks_are_counted_by_the_values_of_a_tag() {
    let (server, job) = (shared(), unique("tags"));
    let items = ["c:USD", "c:USD,c:EUR", "c:EUR,x", "", "c:USD", "d:1"];
    server.add(&job, &tags(&items));
    let found = ask(server, &job, "tag:c");
    assert_eq!((text(&found, "job"), text(&found, "by")), (job.as_str(), "tag:c"));
    assert_eq!(found["overflow"], json!(false));
    // `c:EUR,x` gives c:EUR, c:x and the bare x by rule 2 of the grammar.
    let wanted = [("USD", 3), ("EUR", 2), ("x", 1), ("__none", 2)];
    assert_eq!(totals(&found), pairs(&wanted));
    assert_eq!(counts(&found, "USD"), states(&[("PENDING", 3)]));
    let bare = ask(server, &job, "tag:_");
    assert_eq!(totals(&bare), pairs(&[("x", 1), ("__none", 5)]));
    assert_eq!(totals(&ask(server, &job, "tag:c,state")), totals(&found));
    assert_eq!(totals(&ask(server, &job, "tag:nobody")), pairs(&[("__none", 6)]));
}

// api.md 6 limit; 15: __none and __other do not count toward it.
#[test]
fn the_limit_is_for_values_only() {
    let (server, job) = (shared(), unique("limit"));
    server.add(&job, &tags(&["k:a", "k:a", "k:b", "k:c", "z"]));
    let path = format!("/kwq/jobs/{job}/breakdown?by=tag:k&limit=2");
    let found = server.get(&path).ok();
    assert_eq!(totals(&found), pairs(&[("a", 2), ("b", 1), ("__none", 1)]));
}

/// Moves tasks through every state but EXPIRED and BLOCKED.
fn mixed(server: &Server, job: &str) {
    let delayed = json!({"tag": "k:a", "delayMs": 3_600_000});
    let plain = |n: usize| json!({"tag": format!("k:{}", ["a", "b"][n % 2]), "maxAttempts": 1});
    let mut items: Vec<Value> = (0..8).map(plain).collect();
    items.push(delayed);
    items.push(json!({"tag": "k:b", "priority": 2}));
    let refs = server.add(job, &Value::Array(items));
    let tasks = server.consume("w", job, &json!({"max": 5}));
    assert_eq!(tasks.len(), 5, "{tasks:?}");
    server.report("complete", &tasks[0]["lease"], &json!({})).expect(200);
    server.report("fail", &tasks[1]["lease"], &json!({"class": "x"})).expect(200);
    server.report("start", &tasks[2]["lease"], &json!({})).expect(200);
    server.report("release", &tasks[3]["lease"], &json!({})).expect(200);
    server.poke(&format!("/kwq/tasks/{}/cancel", refs[9])).expect(200);
}

/// The same rows from the list of tasks: another way to the same truth.
fn by_list(server: &Server, job: &str, of: impl Fn(&Value) -> Vec<String>) -> Vec<(String, i64)> {
    let mut sums = BTreeMap::<String, i64>::new();
    for task in server.tasks(job, "&limit=1000") {
        of(&task).into_iter().for_each(|value| *sums.entry(value).or_default() += 1);
    }
    let mut rows: Vec<(String, i64)> = sums.into_iter().collect();
    rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    rows
}

fn answers(server: &Server, job: &str) -> Vec<Value> {
    let mut all: Vec<Value> =
        ["state", "priority", "tag:k", "tag:_"].map(|by| ask(server, job, by)).into();
    all.push(server.get("/kwq/stats/tags?key=k&fresh=true").ok());
    all
}

// S 13.2: exact for every state; P13, P16: the same after a restart and from the log alone.
#[test]
fn every_state_is_counted_also_after_a_restart_and_from_the_log_alone() {
    let mut server = Server::start(&[]);
    mixed(&server, "job");
    server.add("other", &tags(&["k:a", "k:zz", "bare"]));
    server.job_verb("other", "cancel");
    let text_of = |name: &'static str| move |t: &Value| vec![t[name].to_string().replace('"', "")];
    let found = answers(&server, "job");
    assert_eq!(totals(&found[0]), by_list(&server, "job", text_of("state")));
    assert_eq!(totals(&found[1]), by_list(&server, "job", text_of("priority")));
    let value = |t: &Value| vec![text(t, "tag").trim_start_matches("k:").to_owned()];
    let mut wanted = by_list(&server, "job", value);
    wanted.push(("__none".to_owned(), 0));
    assert_eq!(totals(&found[2]), wanted);
    let everything = &found[4];
    assert!(everything.get("job").is_none(), "cluster-wide: {everything}");
    assert_eq!(text(everything, "by"), "tag:k");
    assert_eq!(counts(everything, "zz"), states(&[("CANCELLED", 1)]));
    server.terminate();
    server.launch();
    assert_eq!(answers(&server, "job"), found, "after a clean stop");
    server.kill();
    server.launch();
    assert_eq!(answers(&server, "job"), found, "after kill -9");
    server.kill();
    std::fs::remove_dir_all(server.dir().join("tracker")).expect("there is a tracker");
    server.launch();
    assert_eq!(answers(&server, "job"), found, "folded from the log");
}

// S 10, S 11.2: an array is counted as what it is, and job verbs move it in one step.
#[test]
fn arrays_and_job_verbs_are_counted_at_once() {
    let mut server = Server::start(&[]);
    let body = json!({"array": {"to": 2_999_999, "payloadTemplate": "{i}"}, "tag": "risk:VAR,x"});
    server.post("/kwq/jobs/mc/tasks", &body).expect(200);
    let tasks = server.consume("w", "mc", &json!({"max": 3}));
    server.report("complete", &tasks[0]["lease"], &json!({})).expect(200);
    let live = states(&[("PENDING", 2_999_997), ("ALLOCATED", 2), ("COMPLETED", 1)]);
    assert_eq!(counts(&ask(&server, "mc", "tag:risk"), "VAR"), live);
    server.patch("/kwq/jobs/mc", &json!({"priority": 9})).expect(200);
    let levels = [("9", 2_999_997), ("5", 3)];
    assert_eq!(totals(&ask(&server, "mc", "priority")), pairs(&levels));
    server.post("/kwq/jobs/mc/cancel", &json!({"mode": "drop-queued"})).expect(200);
    let dropped = states(&[("CANCELLED", 2_999_997), ("ALLOCATED", 2), ("COMPLETED", 1)]);
    assert_eq!(counts(&ask(&server, "mc", "tag:risk"), "VAR"), dropped);
    server.job_verb("mc", "cancel");
    let over = states(&[("CANCELLED", 2_999_999), ("COMPLETED", 1)]);
    for round in 0..2 {
        assert_eq!(counts(&ask(&server, "mc", "tag:risk"), "VAR"), over, "round {round}");
        assert_eq!(counts(&ask(&server, "mc", "tag:_"), "x"), over);
        let whole = server.get("/kwq/stats/tags?key=risk").ok();
        assert_eq!(counts(&whole, "VAR"), over);
        server.kill();
        server.launch();
    }
}

// S 8, T6: a delay that has passed is in no record, yet it is counted.
#[test]
fn a_delay_that_has_passed_is_counted_as_pending() {
    let (server, job) = (shared(), unique("due"));
    let late = |ms: i64| json!({"tag": "k:v", "delayMs": ms});
    server.add(&job, &json!([late(1_000), late(9_000_000)]));
    assert_eq!(counts(&ask(server, &job, "tag:k"), "v").get("DELAYED"), Some(&2));
    eventually("it is due", || {
        let now = counts(&ask(server, &job, "tag:k"), "v");
        (now == states(&[("DELAYED", 1), ("PENDING", 1)])).then_some(())
    });
    assert_eq!(totals(&ask(server, &job, "state")), pairs(&[("DELAYED", 1), ("PENDING", 1)]));
}

// S 13.2: the first values have rows, the others fold; keys beyond the limit are not counted.
#[test]
fn values_and_keys_beyond_the_limits_fold() {
    let settings = ["log.partitions=1", "tags.max-values=3", "tags.max-keys=2"];
    let mut server = Server::start(&settings);
    let items = ["k:a", "k:b", "k:c", "k:d", "k:e,k:f", "k:__none", "z:1", "w:9"];
    server.add("job", &tags(&items));
    let found = ask(&server, "job", "tag:k");
    assert_eq!(found["overflow"], json!(true));
    let wanted = [("a", 1), ("b", 1), ("c", 1), ("__none", 2), ("__other", 4)];
    assert_eq!(totals(&found), pairs(&wanted));
    assert_eq!(ask(&server, "job", "tag:z")["overflow"], json!(false));
    let third = ask(&server, "job", "tag:w");
    assert_eq!(third["overflow"], json!(true), "a third key");
    assert_eq!(totals(&third), pairs(&[("__other", 0)]), "who is without it is not known");
    assert_eq!(server.tasks("job", "&tag=k:e").len(), 1, "everything stays searchable");
    server.job_verb("job", "cancel");
    let whole = server.get("/kwq/stats/tags?key=k").ok();
    assert_eq!(counts(&whole, "__other"), states(&[("CANCELLED", 4)]));
    server.kill();
    server.launch();
    assert_eq!(totals(&ask(&server, "job", "tag:k")), pairs(&wanted));
}

// api.md 1 and 15: what cannot be read is 400, a job that is not there 404, headers of P15.
#[test]
fn bad_questions_are_refused() {
    let (server, job) = (shared(), unique("bad"));
    server.get(&format!("/kwq/jobs/{job}/breakdown?by=state")).refused(404, "job_not_found");
    server.post("/kwq/jobs", &json!({"id": job})).expect(201);
    let path = format!("/kwq/jobs/{job}/breakdown");
    for query in ["", "?by=", "?by=colour", "?by=tag:", "?by=tag:a:b", "?by=state,foo", "?by=tag"] {
        server.get(&format!("{path}{query}")).refused(400, "bad_request");
    }
    server.get(&format!("{path}?by=state&limit=0")).refused(400, "bad_request");
    server.get("/kwq/stats/tags").refused(400, "bad_request");
    server.get("/kwq/stats/tags?key=a,b").refused(400, "bad_request");
    let answer = server.get(&format!("{path}?by=tag:k&fresh=true"));
    assert_eq!(totals(&answer.ok()), pairs(&[("__none", 0)]), "a job without tasks");
    assert!(answer.header("Kwq-Position").is_some() && answer.header("Kwq-Lag-Ms").is_some());
}

// api.md 12: the verbs in every output format.
#[test]
fn the_command_line_shows_both_answers() {
    let (server, job) = (shared(), unique("cli"));
    let refs = server.add(&job, &tags(&["k:a", "k:a", "k:b"]));
    let url = format!("http://{}", server.addr());
    let run = |args: &[&str]| {
        let all: Vec<&str> = ["--url", &url].iter().chain(args).copied().collect();
        let out = kwq(server.dir(), &all);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let breakdown = ["job", "breakdown", &job, "--by", "tag:k"];
    let with = |format: &'static str, args: &[&str]| {
        let all: Vec<&str> = ["-o", format].iter().chain(args).copied().collect();
        run(&all)
    };
    for format in ["json", "ndjson"] {
        let body: Value = serde_json::from_str(&with(format, &breakdown)).expect("JSON");
        assert_eq!(totals(&body), pairs(&[("a", 2), ("b", 1), ("__none", 0)]));
    }
    assert_eq!(with("quiet", &breakdown).lines().collect::<Vec<_>>(), ["a", "b", "__none"]);
    assert!(with("table", &breakdown).contains("PENDING"));
    let explain = ["task", "explain", refs[2].as_str()];
    for format in ["json", "ndjson"] {
        let body: Value = serde_json::from_str(&with(format, &explain)).expect("JSON");
        assert_eq!(text(&body, "ref"), refs[2]);
    }
    assert_eq!(with("quiet", &explain).trim(), refs[2]);
    assert!(with("table", &explain).contains("PENDING"));
}
