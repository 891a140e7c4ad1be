//! Creating and reading jobs (`api.md` 2.3, 6; `semantics.md` 11).

use serde_json::{Value, json};

use crate::support::{Req, int, merge, now_ms, outcome, shared, sorted, text, unique};

#[track_caller]
fn create(spec: &Value) -> Value {
    shared().post("/kwq/jobs", spec).expect(201).json()
}

// api.md 6: 201 with Location and the whole Job, defaults filled in.
#[test]
fn a_created_job_is_shown_with_its_defaults() {
    let (server, job, before) = (shared(), unique("var"), now_ms());
    let spec = json!({"id": job, "name": "VaR", "priority": 6, "weight": 3, "tag": "desk:rates",
        "defaults": {"maxAttempts": 4, "timeoutSeconds": 600, "backoff": {"baseMs": 500}}});
    let answer = server.post("/kwq/jobs", &spec);
    let body = answer.expect(201).json();
    assert_eq!(answer.header("Location"), Some(format!("/kwq/jobs/{job}").as_str()));
    let zeros = json!({"BLOCKED": 0, "DELAYED": 0, "PENDING": 0, "ALLOCATED": 0, "RUNNING": 0,
        "COMPLETED": 0, "ERROR": 0, "CANCELLED": 0, "EXPIRED": 0});
    let expected = json!({"id": job, "name": "VaR", "state": "OPEN", "paused": false,
        "implicit": false, "priority": 6, "weight": 3, "dedup": "batch", "tag": "desk:rates",
        "tags": ["desk:rates"], "retentionMs": 604_800_000_i64,
        "defaults": {"maxAttempts": 4, "timeoutSeconds": 600,
            "backoff": {"baseMs": 500, "capMs": 300_000, "jitter": "full"}},
        "counts": zeros, "submitted": 0, "live": 0, "purged": 0, "handedOut": 0,
        "failedAttempts": 0, "crashes": 0, "redriven": 0, "duplicates": 0});
    assert_eq!(merge(&body, &expected), body, "a field differs");
    assert!(int(&body, "created_ts") >= before && int(&body, "created_ts") <= now_ms());
    assert!(body.get("ended_ts").is_none(), "{body}");
    assert_eq!(server.job(&job), body, "read back the same");
}

// api.md 2.3: without an id the server gives `j-` + 16 hex; defaults 5, 1, batch, 7 days.
#[test]
fn the_server_names_a_nameless_job() {
    let answer = shared().post("/kwq/jobs", &json!({}));
    let body = answer.expect(201).json();
    let id = text(&body, "id");
    let hex = id.strip_prefix("j-").expect("j-");
    assert!(hex.len() == 16 && hex.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
    assert_eq!((int(&body, "priority"), int(&body, "weight")), (5, 1));
    assert_eq!((text(&body, "name"), text(&body, "dedup")), (id, "batch"));
}

// api.md 6: 200 same spec again (equal after defaults), 409 job_conflict otherwise.
#[test]
fn creating_a_job_twice_is_idempotent_or_a_conflict() {
    let (server, job) = (shared(), unique("twice"));
    let spec = json!({"id": job, "weight": 2});
    create(&spec);
    let again = server.post("/kwq/jobs", &spec).ok();
    assert_eq!(again["id"], *job);
    let spelled = json!({"id": job, "weight": 2, "priority": 5, "dedup": "batch", "name": job});
    server.post("/kwq/jobs", &spelled).ok();
    let other = json!({"id": job, "weight": 3});
    let problem = server.post("/kwq/jobs", &other).refused(409, "job_conflict");
    assert_eq!(problem["existing"], *job, "{problem}");
    assert_eq!(server.job(&job)["weight"], 2);
}

// S 11.1: creating a job that exists implicitly makes it explicit with the given spec (200).
#[test]
fn an_implicit_job_is_made_explicit() {
    let (server, job) = (shared(), unique("implicit"));
    server.submit(&json!({"groupId": job}));
    let shown = server.job(&job);
    assert_eq!((&shown["implicit"], text(&shown, "state")), (&json!(true), "OPEN"));
    let body = server.post("/kwq/jobs", &json!({"id": job, "weight": 5, "name": "N"})).ok();
    assert_eq!((&body["implicit"], int(&body, "weight")), (&json!(false), 5));
    assert_eq!((text(&body, "name"), int(&body, "submitted")), ("N", 1));
}

// api.md 2.3: every field's range and type.
#[test]
fn fields_of_a_job_out_of_range_are_refused() {
    for (field, wrong) in [
        ("id", json!(["", " a", "a\nb", "x".repeat(129), 5])),
        ("name", json!(["", "x".repeat(129), 5])),
        ("priority", json!([-1, 10, 5.0, "5"])),
        ("weight", json!([0, 1_001, -1, "1"])),
        ("dedup", json!(["all", 5])),
        ("retentionMs", json!([-1, 31_536_000_001_i64])),
        ("paused", json!(["yes", 1])),
        (
            "defaults",
            json!([5, [], {"maxAttempts": 0}, {"leaseMs": 999}, {"meta": 5},
            {"timeoutSeconds": 604_801}, {"backoff": {"baseMs": 2, "capMs": 1}}]),
        ),
    ] {
        for value in wrong.as_array().expect("a list") {
            let mut spec = json!({"id": "never-made"});
            spec[field] = value.clone();
            let answer = shared().post("/kwq/jobs", &spec);
            let problem = answer.refused(422, "invalid_field");
            let named = problem["field"].as_str().unwrap_or_default();
            let inner = value.as_object().and_then(|o| o.keys().next()).map_or("", String::as_str);
            let inside = !inner.is_empty() && named.starts_with(inner);
            assert!(named.starts_with(field) || inside, "{field}: {problem}");
        }
    }
    shared().get("/kwq/jobs/never-made").refused(404, "job_not_found");
}

// api.md 2.3: later fields → 422 not_supported; unknown → unknown_field with hint.
#[test]
fn later_fields_of_a_job_are_refused() {
    for (field, value) in [
        ("shareGroup", json!("desk")),
        ("after", json!([{"job": "x", "on": "success"}])),
        ("notify", json!("http://x")),
        ("maxRunning", json!(5)),
        ("maxFails", json!(5)),
        ("affinityWaitMs", json!(5)),
        ("hedge", json!(true)),
    ] {
        let mut spec = json!({"id": "never-made"});
        spec[field] = value;
        shared().post("/kwq/jobs", &spec).refused_field("not_supported", field);
    }
    let answer = shared().post("/kwq/jobs", &json!({"id": "never-made", "wieght": 2}));
    let problem = answer.refused_field("unknown_field", "wieght");
    assert!(problem["hint"].as_str().unwrap_or_default().contains("weight"), "{problem}");
}

// S 11.1: job defaults apply to fields a task omits; tags are united.
#[test]
fn job_defaults_fill_what_a_task_omits() {
    let (server, job) = (shared(), unique("defaults"));
    create(
        &json!({"id": job, "priority": 8, "defaults": {"tag": "desk:rates", "affinity": "c=USD",
        "source": "eod", "meta": "m", "timeoutSeconds": 77, "leaseMs": 44_000, "maxAttempts": 2,
        "maxCrashes": 3, "backoff": {"baseMs": 7, "capMs": 9, "jitter": "none"}}}),
    );
    let bare = server.task(&server.submit(&json!({"groupId": job, "tag": "x:1"})));
    let expected = json!({"priority": 8, "affinity": [{"key": "c=USD", "weight": 1}],
        "source": "eod", "meta": "m", "timeoutSeconds": 77, "maxAttempts": 2, "maxCrashes": 3,
        "backoff": {"baseMs": 7, "capMs": 9, "jitter": "none"}});
    assert_eq!(merge(&bare, &expected), bare, "a field differs");
    assert_eq!(sorted(&bare["tags"]), ["desk:rates", "x:1"]);
    let own = json!({"groupId": job, "priority": 2, "source": "own", "maxAttempts": 9});
    let own = server.task(&server.submit(&own));
    assert_eq!((int(&own, "priority"), text(&own, "source")), (2, "own"));
    assert_eq!((int(&own, "maxAttempts"), int(&own, "maxCrashes")), (9, 3));
}

// S 15, P14: counts of a job are exact for everything acknowledged, and conserved.
#[test]
fn the_counts_of_a_job_are_exact() {
    let (server, job) = (shared(), unique("counts"));
    let mut items = vec![json!({"maxAttempts": 1}); 8];
    items.extend([json!({"delayMs": 3_600_000}), json!({"delayMs": 3_600_000})]);
    let refs = server.add(&job, &Value::Array(items));
    let held = server.consume("counts", &job, &json!({"max": 6}));
    let [a, b, c, d, _e, _f] = held.as_slice() else { panic!("six: {held:?}") };
    server.complete(a);
    server.complete(b);
    assert_eq!(outcome(&server.report("fail", &c["lease"], &json!({}))), "dead");
    server.report("start", &d["lease"], &json!({})).expect(200);
    let delayed = refs.last().expect("ten");
    server.poke(&format!("/kwq/tasks/{delayed}/cancel")).expect(200);
    let shown = server.job(&job);
    let expected = json!({"BLOCKED": 0, "DELAYED": 1, "PENDING": 2, "ALLOCATED": 2, "RUNNING": 1,
        "COMPLETED": 2, "ERROR": 1, "CANCELLED": 1, "EXPIRED": 0});
    assert_eq!(shown["counts"], expected);
    assert_eq!((int(&shown, "submitted"), int(&shown, "live")), (10, 6));
    assert_eq!((int(&shown, "handedOut"), int(&shown, "failedAttempts")), (6, 1));
    assert!(int(&shown, "firstAllocated_ts") >= int(&shown, "created_ts"));
}

// api.md 1.2: unknown jobs answer 404 on every route of theirs.
#[test]
fn an_unknown_job_is_404_everywhere() {
    let (server, job) = (shared(), unique("unknown"));
    server.get(&format!("/kwq/jobs/{job}")).refused(404, "job_not_found");
    server.get(&format!("/kwq/jobs/{job}/wait?waitMs=0")).refused(404, "job_not_found");
    server.patch(&format!("/kwq/jobs/{job}"), &json!({"weight": 2})).refused(404, "job_not_found");
    for verb in ["close", "pause", "resume", "cancel"] {
        server.post(&format!("/kwq/jobs/{job}/{verb}"), &json!({})).refused(404, "job_not_found");
    }
}

// api.md 1: path parts are percent-encoded (`/` as `%2F`).
#[test]
fn a_job_may_have_any_printable_name() {
    let server = shared();
    for name in ["a/b c", "ü%?#&", "..", "日本", "a:b,c\"<x>'"] {
        let job = unique(name);
        let refs = server.add(&job, &json!([{"id": "x"}]));
        let shown = server.job(&job);
        assert_eq!((text(&shown, "id"), int(&shown, "submitted")), (job.as_str(), 1));
        assert_eq!(server.task(refs.first().expect("one"))["groupId"], *job);
    }
}

// api.md 6 wait: 200 Job as soon as one condition holds, else 204 at the end.
#[test]
fn wait_answers_when_the_job_is_done() {
    let (server, job) = (shared(), unique("wait"));
    let held = server.leased("w", &job, &json!({}));
    server.get(&format!("/kwq/jobs/{job}/wait?waitMs=50")).expect(204);
    server.job_verb(&job, "close");
    let path = format!("/kwq/jobs/{job}/wait?for=done&waitMs=60000");
    let waiter = crate::support::in_background(move || shared().get(&path));
    server.complete(&held);
    let body = waiter.join().expect("no panic").ok();
    assert_eq!((text(&body, "id"), text(&body, "state")), (job.as_str(), "COMPLETED"));
}

// api.md 6 wait: firstError holds as soon as ERROR ≥ 1.
#[test]
fn wait_answers_at_the_first_error() {
    let (server, job) = (shared(), unique("firsterror"));
    let held = server.leased("w", &job, &json!({"maxAttempts": 1}));
    server.get(&format!("/kwq/jobs/{job}/wait?for=firstError&waitMs=50")).expect(204);
    server.report("fail", &held["lease"], &json!({"class": "boom"})).expect(200);
    let path = format!("/kwq/jobs/{job}/wait?for=done,firstError&waitMs=30000");
    let body = server.get(&path).ok();
    assert_eq!(body["firstError"]["class"], "boom");
    assert_eq!(body["state"], "OPEN");
}

// api.md 15: query values out of range → 400.
#[test]
fn wait_refuses_wrong_queries() {
    let job = unique("query");
    shared().submit(&json!({"groupId": job}));
    for query in ["waitMs=60001", "waitMs=-1", "waitMs=x", "for=never"] {
        let answer = shared().get(&format!("/kwq/jobs/{job}/wait?{query}"));
        answer.refused(400, "bad_request");
    }
}

// api.md 1: a job body is JSON of its type.
#[test]
fn a_job_needs_a_json_body() {
    let req = Req::new("POST", "/kwq/jobs").text("text/plain", "{}");
    shared().call(&req).refused(415, "unsupported_media_type");
    let req = Req::new("POST", "/kwq/jobs").text("application/json", "[]");
    let answer = shared().call(&req);
    assert!([400, 422].contains(&answer.status), "{}", answer.text());
}
