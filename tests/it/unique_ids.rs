//! `dedup: task`: client ids are unique in their job (`semantics.md` 4, 9; P5).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Answer, Req, Server, int, kwq, shared, text, unique};

fn deduping(server: &Server, prefix: &str) -> String {
    let job = unique(prefix);
    let made = server.post("/kwq/jobs", &json!({"id": job, "dedup": "task"}));
    assert_eq!(made.expect(201).json()["dedup"], "task");
    job
}

fn outcomes(body: &Value) -> Vec<String> {
    let results = body["results"].as_array().expect("results");
    results.iter().map(|r| text(r, "outcome").to_owned()).collect()
}

fn batch(server: &Server, job: &str, items: &Value) -> Value {
    server.post(&format!("/kwq/jobs/{job}/tasks"), items).ok()
}

// S 9: same content → `duplicate` with the reference of the first, one task; counted in the job.
#[test]
fn the_same_task_again_is_a_duplicate() {
    let (server, job) = (shared(), deduping(shared(), "same"));
    let items = json!([{"id": "a", "payload": {"n": 1}, "tag": "x:1,y:2", "affinity": "k"}]);
    let first = batch(server, &job, &items);
    let again = batch(server, &job, &items);
    assert_eq!((int(&again, "accepted"), int(&again, "duplicates")), (0, 1));
    let mut expected = first["results"][0].clone();
    expected["outcome"] = json!("duplicate");
    assert_eq!(again["results"][0], expected);
    // In normal form, and without what is no content.
    let spelled = json!([{"id": "a", "payload": {"n": 1}, "tags": {"y": "2", "x": "1"},
        "affinity": [{"key": "k", "weight": 1}], "meta": "m", "maxAttempts": 9}]);
    assert_eq!(outcomes(&batch(server, &job, &spelled)), ["duplicate"]);
    let view = server.job(&job);
    assert_eq!((int(&view, "duplicates"), int(&view, "submitted")), (2, 1));
    // Inside one call too; without an id nothing is compared.
    let inside = json!([{"id": "b"}, {"id": "b"}, {}, {}, {"id": "b", "payload": "other"}]);
    let body = batch(server, &job, &inside);
    assert_eq!(outcomes(&body), ["ok", "duplicate", "ok", "ok", "conflict"]);
    assert_eq!(int(&body, "rejected"), 1);
    assert_eq!(body["results"][4]["existing"], body["results"][0]["ref"]);
}

// S 9: other content → `conflict`; single → 409 `id_conflict` with `existing`.
#[test]
fn other_content_under_an_id_is_a_conflict() {
    let (server, job) = (shared(), deduping(shared(), "other"));
    let task = json!({"id": "a", "groupId": job, "payload": "p", "priority": 7});
    let first = server.post("/kwq/submit", &task);
    assert_eq!(first.ok()["status"], "SUBMITTED");
    let again = server.post("/kwq/submit", &task);
    assert_eq!(again.header("kwq-outcome"), Some("duplicate"));
    assert_eq!((again.header("kwq-ref"), again.text()), (first.header("kwq-ref"), first.text()));
    let reference = first.header("kwq-ref").expect("a reference");
    for (field, value) in [
        ("payload", json!("q")),
        ("encoding", json!("base64")),
        ("priority", json!(6)),
        ("tag", json!("x")),
        ("affinity", json!("k")),
    ] {
        let mut other = task.clone();
        other[field] = value;
        if field == "encoding" {
            other["payload"] = json!("cA==");
        }
        let problem = server.post("/kwq/submit", &other).refused(409, "id_conflict");
        assert_eq!(problem["existing"], reference, "{field}");
        let body = batch(server, &job, &json!([other]));
        let result = &body["results"][0];
        assert_eq!((text(result, "outcome"), text(result, "code")), ("conflict", "id_conflict"));
        assert_eq!((int(&body, "rejected"), &result["existing"]), (1, &json!(reference)));
    }
    assert_eq!(server.job(&job)["submitted"], 1);
}

// S 9: an id is taken until it is purged: also while its task runs and when it is over.
#[test]
fn an_id_stays_taken_when_its_task_is_over() {
    let (server, job) = (shared(), deduping(shared(), "over"));
    let task = json!({"id": "a", "groupId": job, "priority": 3});
    let first = server.post("/kwq/submit", &task);
    first.ok();
    let held = server.take("w", &job);
    server.complete(&held);
    let again = server.post("/kwq/submit", &task);
    assert_eq!(again.header("kwq-outcome"), Some("duplicate"));
    assert_eq!((again.header("kwq-ref"), again.text()), (first.header("kwq-ref"), first.text()));
    assert_eq!(server.job(&job)["counts"]["COMPLETED"], 1);
}

// api.md 2.3: `dedup` is fixed at creation, `batch` jobs compare nothing, an implicit job is one.
#[test]
fn only_jobs_that_ask_for_it_compare_ids() {
    let (server, job) = (shared(), unique("batch"));
    server.add(&job, &json!([{"id": "a"}, {"id": "a"}, {"id": "a", "payload": 1}]));
    assert_eq!(server.job(&job)["submitted"], 3);
    assert_eq!(server.job(&job)["dedup"], "batch");
    let fixed = deduping(server, "fixed");
    let other = json!({"id": fixed, "dedup": "batch"});
    server.post("/kwq/jobs", &other).refused(409, "job_conflict");
}

// S 4: hash(job, id) mod N: every partition takes part and a repeat finds its own, in every shape.
#[test]
fn ids_are_dealt_to_partitions_and_found_again() {
    let (server, job) = (shared(), deduping(shared(), "dealt"));
    let items: Vec<Value> = (0..300).map(|n| json!({"id": format!("t{n}")})).collect();
    let first = batch(server, &job, &Value::Array(items.clone()));
    let refs: Vec<&str> =
        first["results"].as_array().expect("results").iter().map(|r| text(r, "ref")).collect();
    let partitions: BTreeSet<&str> = refs.iter().filter_map(|r| r.split('-').nth(1)).collect();
    let known = server.get("/kwq/cluster").ok()["partitions"].as_array().map_or(0, Vec::len);
    assert_eq!(partitions.len(), known, "{partitions:?}");
    let again = batch(server, &job, &Value::Array(items.clone()));
    assert_eq!((int(&again, "accepted"), int(&again, "duplicates")), (0, 300));
    for (item, result) in first["results"].as_array().expect("results").iter().enumerate() {
        assert_eq!(result["ref"], again["results"][item]["ref"]);
        assert_eq!(int(result, "i"), i64::try_from(item).expect("small"));
    }
    let lines: String = items.iter().map(|item| format!("{item}\n")).collect();
    for query in ["", "?onError=stop"] {
        let req = Req::new("POST", &format!("/kwq/jobs/{job}/tasks{query}"));
        let body = server.call(&req.text("application/x-ndjson", &lines)).ok();
        assert_eq!((int(&body, "duplicates"), &body["results"]), (300, &json!([])), "{query}");
    }
    assert_eq!(server.job(&job)["submitted"], 300);
    assert_eq!(int(&server.job(&job), "duplicates"), 900);
}

// api.md 4 onError=stop: nothing behind the conflict is admitted, whatever partition it belongs to.
#[test]
fn a_conflict_stops_a_stream_that_asks_for_it() {
    let (server, job) = (shared(), deduping(shared(), "stop"));
    batch(server, &job, &json!([{"id": "t20", "payload": "first"}]));
    let lines: String = (0..40).map(|n| format!("{{\"id\":\"t{n}\"}}\n")).collect();
    let req = Req::new("POST", &format!("/kwq/jobs/{job}/tasks?onError=stop"));
    let call = req.header("Idempotency-Key", &unique("stop")).text("application/x-ndjson", &lines);
    for _ in 0..2 {
        let problem = server.call(&call).refused(422, "id_conflict");
        assert_eq!((int(&problem, "accepted"), int(&problem, "nextLine")), (20, 21), "{problem}");
        assert_eq!(server.job(&job)["submitted"], 21);
    }
}

fn keyed(server: &Server, key: &str, path: &str, body: &Value) -> Answer {
    server.call(&Req::new("POST", path).header("Idempotency-Key", key).json(body))
}

// S 9: both means together; a refused id leaves the key free, though two partitions were asked.
#[test]
fn keys_and_unique_ids_go_together() {
    let (server, job) = (shared(), deduping(shared(), "both"));
    let items: Vec<Value> = (0..60).map(|n| json!({"id": format!("t{n}")})).collect();
    let path = format!("/kwq/jobs/{job}/tasks");
    let key = unique("both");
    let first = keyed(server, &key, &path, &Value::Array(items.clone()));
    let again = keyed(server, &key, &path, &Value::Array(items));
    assert_eq!((again.text(), again.header("kwq-replayed")), (first.text(), Some("true")));
    assert_eq!(int(&server.job(&job), "duplicates"), 0, "a replay is no duplicate");
    for n in 0..12 {
        let (key, id) = (unique("free"), format!("t{n}"));
        let task = |payload: &str| json!({"id": id, "groupId": job, "payload": payload});
        keyed(server, &key, "/kwq/submit", &task("x")).refused(409, "id_conflict");
        let free = keyed(server, &key, "/kwq/submit", &json!({"groupId": job}));
        assert_eq!((free.status, free.header("kwq-replayed")), (200, None), "{}", free.text());
    }
}

// P5 across a kill and an image: the ids, their contents and the counter are state.
#[test]
fn unique_ids_outlive_kills() {
    let mut server = Server::start(&["log.partitions=2", "log.image-interval=1s"]);
    server.post("/kwq/jobs", &json!({"id": "u", "dedup": "task"})).expect(201);
    let items: Vec<Value> = (0..1_000).map(|n| json!({"id": format!("t{n}")})).collect();
    let first = batch(&server, "u", &Value::Array(items.clone()));
    for round in 1..=3 {
        server.kill();
        server.launch();
        let again = batch(&server, "u", &Value::Array(items.clone()));
        assert_eq!(int(&again, "duplicates"), 1_000);
        assert_eq!(again["results"][999]["ref"], first["results"][999]["ref"]);
        assert_eq!(int(&server.job("u"), "duplicates"), 1_000 * round);
    }
    let other = batch(&server, "u", &json!([{"id": "t5", "payload": "other"}]));
    assert_eq!(outcomes(&other), ["conflict"]);
    let keyed = keyed(&server, "k", "/kwq/jobs/u/tasks", &json!([{"id": "t5"}, {}]));
    assert_eq!(outcomes(&keyed.ok()), ["duplicate", "ok"]);
    server.terminate();
    let dir = server.dir().to_path_buf();
    let hash = |flags: &[&str]| {
        let data = dir.to_str().expect("UTF-8");
        let mut args = vec!["state", "hash", "-o", "ndjson", "--data-dir", data];
        args.extend_from_slice(flags);
        let out = kwq(&dir, &args);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        // The lines name their source, too.
        String::from_utf8(out.stdout).expect("text").replace("\"zero\"", "\"image\"")
    };
    assert_eq!(hash(&[]), hash(&["--from-zero"]), "image and tail, and from zero");
}
