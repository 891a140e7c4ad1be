//! Every field of a submitted task: its range, its type, the code of its refusal (`api.md` 2.1).

use serde_json::{Value, json};

use crate::support::{Req, merge, now_ms, shared, unique};

const YEAR_MS: i64 = 365 * 86_400_000;

#[track_caller]
fn refuses(task: &Value, code: &str, field: &str) {
    let base = json!({"groupId": "never-made"});
    let answer = shared().post("/kwq/submit", &merge(&base, task));
    answer.refused_field(code, field);
}

/// As `refuses`, for a member of `field`: the text does not say which of both names is told.
#[track_caller]
fn refuses_inside(task: &Value, field: &str, members: &[&str]) {
    let base = json!({"groupId": "never-made"});
    let answer = shared().post("/kwq/submit", &merge(&base, task));
    let problem = answer.refused(422, "invalid_field");
    let named = problem["field"].as_str().unwrap_or_default();
    assert!(named.starts_with(field) || members.contains(&named), "{task}: {problem}");
}

#[track_caller]
fn accepts(task: &Value) {
    shared().post("/kwq/submit", &merge(&json!({"groupId": unique("edge")}), task)).ok();
}

// api.md 2.1: every number in its range, never clamped (api.md 1).
#[test]
fn numbers_out_of_range_are_refused() {
    let year = now_ms() + YEAR_MS + 3_600_000;
    for (field, wrong) in [
        ("priority", json!([-1, 10, 100])),
        ("timeoutSeconds", json!([-1, 604_801])),
        ("leaseMs", json!([0, 999, 43_200_001, -5])),
        ("maxAttempts", json!([0, 101])),
        ("maxCrashes", json!([0, 101])),
        ("delayMs", json!([-1, YEAR_MS + 1])),
        ("notBefore_ts", json!([year])),
    ] {
        for value in wrong.as_array().expect("a list") {
            let mut task = json!({});
            task[field] = value.clone();
            refuses(&task, "invalid_field", field);
        }
    }
}

// api.md 2.1: both ends of every range are inside it.
#[test]
fn the_ends_of_every_range_are_accepted() {
    for (field, right) in [
        ("priority", json!([0, 1, 9])),
        ("timeoutSeconds", json!([0, 604_800])),
        ("leaseMs", json!([1_000, 43_200_000])),
        ("maxAttempts", json!([1, 100])),
        ("maxCrashes", json!([1, 100])),
        ("delayMs", json!([0, YEAR_MS])),
        ("notBefore_ts", json!([0, 1])),
    ] {
        for value in right.as_array().expect("a list") {
            let mut task = json!({});
            task[field] = value.clone();
            accepts(&task);
        }
    }
}

// api.md 1: an integer field takes integers only (5.0 and "5" → 422).
#[test]
fn integers_are_integers() {
    for field in ["priority", "timeoutSeconds", "leaseMs", "maxAttempts", "maxCrashes", "delayMs"] {
        for text in ["5000.0", "\"5\"", "true", "[5]", "{}", "5.5"] {
            let body = format!(r#"{{"groupId":"never-made","{field}":{text}}}"#);
            let req = Req::new("POST", "/kwq/submit").text("application/json", &body);
            shared().call(&req).refused_field("invalid_field", field);
        }
    }
}

// api.md 1.2 invalid_field: a wrong type names its field.
#[test]
fn wrong_types_are_refused() {
    for (field, wrong) in [
        ("id", json!([5, {}, true])),
        ("groupId", json!([5, []])),
        ("source", json!([5])),
        ("meta", json!([{}])),
        ("encoding", json!([5, "xml", "TEXT"])),
        ("affinity", json!([5, [5], [{"weight": 1}], [{"key": 5}]])),
        ("backoff", json!([5, "1s", []])),
        ("traceparent", json!([1])),
    ] {
        for value in wrong.as_array().expect("a list") {
            let mut task = json!({});
            task[field] = value.clone();
            refuses(&task, "invalid_field", field);
        }
    }
}

// api.md 2.1, 13: lengths in bytes.
#[test]
fn texts_that_are_too_long_are_refused() {
    for (field, most) in
        [("id", 128), ("groupId", 128), ("source", 256), ("meta", 4_096), ("traceparent", 128)]
    {
        let mut task = json!({});
        task[field] = json!("x".repeat(most));
        shared().post("/kwq/submit", &task).ok();
        task[field] = json!("x".repeat(most + 1));
        refuses(&task, "invalid_field", field);
        // Bytes count, not characters.
        task[field] = json!("é".repeat(most / 2 + 1));
        refuses(&task, "invalid_field", field);
    }
}

// S 4: 1–128 B UTF-8, no control characters, no outer spaces.
#[test]
fn ids_have_no_controls_and_no_outer_spaces() {
    for field in ["id", "groupId"] {
        for wrong in ["", " a", "a ", "a\nb", "a\u{0}b", "a\u{7f}", "a\u{85}b", "\ta"] {
            let mut task = json!({});
            task[field] = json!(wrong);
            refuses(&task, "invalid_field", field);
        }
        for right in ["a b", "é/ü?#%", "日本", "..", "a:b,c"] {
            let mut task = json!({});
            task[field] = json!(right);
            shared().post("/kwq/submit", &task).ok();
        }
    }
}

// S 4: an id that looks like a reference is refused with reserved_id.
#[test]
fn an_id_like_a_reference_is_reserved() {
    for id in ["5-0-1742", "5-2-88-17", "1-0-0", "9-12-3"] {
        refuses(&json!({"id": id}), "reserved_id", "id");
    }
    for id in ["0-0-1", "10-0-1", "5-0", "5-0-1-2-3", "a5-0-1", "5-0-x"] {
        accepts(&json!({"id": id}));
    }
}

// api.md 2.1 backoff: 0…86,400,000, base ≤ cap, jitter full or none.
#[test]
fn back_off_is_checked_member_by_member() {
    for wrong in [
        json!({"baseMs": -1}),
        json!({"baseMs": 86_400_001, "capMs": 86_400_001}),
        json!({"capMs": 86_400_001}),
        json!({"baseMs": 20, "capMs": 10}),
        json!({"jitter": "half"}),
        json!({"jitter": 1}),
        json!({"baseMs": "1"}),
    ] {
        let members = ["baseMs", "capMs", "jitter"];
        refuses_inside(&json!({"backoff": wrong}), "backoff", &members);
    }
    for right in [
        json!({}),
        json!({"baseMs": 0, "capMs": 0, "jitter": "none"}),
        json!({"baseMs": 86_400_000, "capMs": 86_400_000}),
    ] {
        accepts(&json!({"backoff": right}));
    }
}

// api.md 2.1 affinity: ≤ 8 keys of ≤ 128 B, weight 1…100; S 5.4 no comma, no control.
#[test]
fn affinity_is_checked_key_by_key() {
    let nine: Vec<String> = (0..9).map(|i| format!("k{i}")).collect();
    for wrong in [
        json!(nine),
        json!(nine.join(",")),
        json!(["x".repeat(129)]),
        json!([{"key": "a", "weight": 0}]),
        json!([{"key": "a", "weight": 101}]),
        json!([{"key": "a,b"}]),
        json!(["a\nb"]),
        json!([""]),
    ] {
        refuses_inside(&json!({"affinity": wrong}), "affinity", &["key", "weight"]);
    }
    let eight: Vec<String> = (0..8).map(|i| format!("k{i}")).collect();
    accepts(&json!({"affinity": eight}));
    accepts(&json!({"affinity": ["x".repeat(128)]}));
    accepts(&json!({"affinity": [{"key": "a", "weight": 100}, {"key": "b", "weight": 1}]}));
    accepts(&json!({"affinity": []}));
}

// api.md 2.1: encoding and payload must agree.
#[test]
fn a_payload_that_is_not_in_its_encoding_is_refused() {
    for wrong in [
        json!({"payload": {"a": 1}, "encoding": "text"}),
        json!({"payload": 5, "encoding": "base64"}),
        json!({"payload": "not base64!", "encoding": "base64"}),
        json!({"payload": "AP8", "encoding": "base64"}),
    ] {
        let problem = shared().post("/kwq/submit", &wrong).refused(422, "invalid_field");
        let field = problem["field"].as_str().unwrap_or_default();
        assert!(["payload", "encoding"].contains(&field), "{problem}");
    }
}

// S 8: notBefore_ts or delayMs, both → 422.
#[test]
fn two_kinds_of_delay_are_refused() {
    let task = json!({"groupId": "never-made", "delayMs": 5, "notBefore_ts": now_ms() + 1_000});
    let problem = shared().post("/kwq/submit", &task).refused(422, "invalid_field");
    let field = problem["field"].as_str().unwrap_or_default();
    assert!(["delayMs", "notBefore_ts"].contains(&field), "{problem}");
}

// api.md preamble: 422 not_supported on a later field or value.
#[test]
fn later_fields_are_refused_as_not_supported() {
    refuses(&json!({"deadline_ts": now_ms() + 60_000}), "not_supported", "deadline_ts");
    refuses(&json!({"ttlMs": 60_000}), "not_supported", "ttlMs");
    refuses(&json!({"requires": {"gpu": "a100"}}), "not_supported", "requires");
}

// api.md 1: an unknown field → 422 unknown_field with the nearest name as hint.
#[test]
fn an_unknown_field_is_refused_with_the_nearest_name() {
    let task = json!({"groupId": "never-made", "prioritty": 5});
    let problem = shared().post("/kwq/submit", &task).refused_field("unknown_field", "prioritty");
    assert!(problem["hint"].as_str().unwrap_or_default().contains("priority"), "{problem}");
}

// api.md 1: ?lenient=true ignores unknown fields, and only these.
#[test]
fn lenient_ignores_unknown_fields_only() {
    let server = shared();
    let task = json!({"groupId": unique("lenient"), "colour": "red", "priority": 6});
    let body = server.post("/kwq/submit?lenient=true", &task).ok();
    assert_eq!(body["priority"], 6);
    let wrong = json!({"groupId": "never-made", "colour": "red", "priority": 12});
    server.post("/kwq/submit?lenient=true", &wrong).refused_field("invalid_field", "priority");
}

// api.md 1: a refused submit leaves nothing behind, not even its job.
#[test]
fn a_refused_submit_makes_no_job() {
    let (server, job) = (shared(), unique("ghost"));
    server.post("/kwq/submit", &json!({"groupId": job, "priority": 12})).expect(422);
    server.get(&format!("/kwq/jobs/{job}")).refused(404, "job_not_found");
}
