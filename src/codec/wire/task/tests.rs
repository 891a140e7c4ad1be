//! Each rule of a task as sent, with the code and field of its refusal.

use super::*;
use crate::codec::json;
use crate::model::task::Encoding;
use proptest::prelude::*;

fn read(text: &str) -> Result<TaskInput, Reject> {
    parse(&json::object(text)?, None, &Rules { now: WallMs(1_000), ..Rules::default() })
}

#[track_caller]
fn refused(text: &str, code: Code, field: &str) {
    let reject = read(text).expect_err(text);
    assert_eq!((reject.code, reject.field.as_deref()), (code, Some(field)), "{text}: {reject:?}");
}

#[test]
fn a_full_task_is_read_field_by_field() {
    let task = read(
        r#"{"id":"t1","groupId":"var","priority":7,"tag":"a:b,c","payload":{ "x" : 1 },
        "affinity":["k",{"key":"l","weight":9},"k"],"source":"s","meta":"m","timeoutSeconds":60,
        "leaseMs":5000,"maxAttempts":2,"maxCrashes":3,"backoff":{"baseMs":10,"jitter":"none"},
        "delayMs":500,"traceparent":"00-1"}"#,
    )
    .expect("a good task");
    assert_eq!(task.id.as_deref(), Some("t1"));
    assert_eq!(task.job.as_deref(), Some("var"));
    assert_eq!(task.priority.map(|p| p.get()), Some(7));
    assert_eq!(task.tag.as_deref(), Some("a:b,c"));
    assert_eq!(task.payload.bytes, b"{ \"x\" : 1 }");
    assert_eq!(task.payload.encoding, Encoding::Json);
    let keys = task.affinity.expect("keys");
    let keys: Vec<_> = keys.iter().map(|k| (k.key.as_ref(), k.weight)).collect();
    assert_eq!(keys, [("k", 1), ("l", 9)]);
    assert_eq!(task.timeout_s, Some(60));
    assert_eq!(task.lease_ms, Some(5_000));
    assert_eq!((task.max_attempts, task.max_crashes), (Some(2), Some(3)));
    assert_eq!((task.backoff.base_ms, task.backoff.cap_ms), (Some(10), None));
    assert_eq!(task.delay, Delay::For(500));
}

#[test]
fn a_task_of_the_original_is_read_although_it_carries_answers() {
    let task = read(
        r#"{"id":"a","groupId":null,"priority":0,"tag":null,"source":null,"payload":"p",
        "status":"SUBMITTED","worker":null,"workerEndpoint":null,"runCount":0,"meta":null,
        "timeoutSeconds":0,"submitted_ts":0,"allocated_ts":0,"running_ts":0,"completed_ts":0}"#,
    )
    .expect("a seed task");
    assert_eq!((task.job, task.priority, task.tag), (None, None, None));
    assert_eq!(task.payload.bytes, b"p");
}

#[test]
fn payloads_keep_their_bytes_in_each_encoding() {
    let payload = |text: &str| read(text).expect("good").payload;
    assert_eq!(payload(r#"{"payload":"a\u0041\n"}"#).bytes, b"aA\n");
    assert_eq!(payload(r#"{"payload":"a","encoding":"json"}"#).bytes, b"\"a\"");
    assert_eq!(payload(r#"{"payload":1e5}"#).bytes, b"1e5");
    assert_eq!(payload(r#"{"payload":null}"#).bytes, b"null");
    assert_eq!(payload(r#"{"payload":"AP8=","encoding":"base64"}"#).bytes, [0, 255]);
    assert!(payload("{}").bytes.is_empty());
    refused(r#"{"payload":5,"encoding":"text"}"#, Code::InvalidField, "payload");
    refused(r#"{"payload":"A","encoding":"base64"}"#, Code::InvalidField, "payload");
    refused(r#"{"payload":"A","encoding":"hex"}"#, Code::InvalidField, "encoding");
    let big = "x".repeat(limits::PAYLOAD_BYTES);
    assert!(read(&format!("{{\"payload\":\"{big}\"}}")).is_ok());
    refused(&format!("{{\"payload\":\"{big}x\"}}"), Code::PayloadTooLarge, "payload");
}

#[test]
fn numbers_are_refused_and_never_clamped() {
    for bad in ["10", "-1", "5.0", "\"5\"", "true", "1e0", "99999999999999999999999"] {
        refused(&format!("{{\"priority\":{bad}}}"), Code::InvalidField, "priority");
    }
    for (field, bad) in [
        ("timeoutSeconds", "604801"),
        ("leaseMs", "999"),
        ("leaseMs", "43200001"),
        ("maxAttempts", "0"),
        ("maxAttempts", "101"),
        ("maxCrashes", "300"),
        ("delayMs", "31536000001"),
        ("notBefore_ts", "31536001001"),
    ] {
        refused(&format!("{{\"{field}\":{bad}}}"), Code::InvalidField, field);
    }
    refused(r#"{"backoff":{"baseMs":2,"capMs":1}}"#, Code::InvalidField, "backoff");
    refused(r#"{"backoff":{"capMs":86400001}}"#, Code::InvalidField, "backoff.capMs");
    refused(r#"{"backoff":{"base":1}}"#, Code::UnknownField, "base");
}

#[test]
fn one_way_to_delay_and_not_two() {
    refused(r#"{"delayMs":1,"notBefore_ts":5}"#, Code::InvalidField, "delayMs");
    assert_eq!(read(r#"{"delayMs":0}"#).expect("good").delay, Delay::None);
    assert_eq!(read(r#"{"notBefore_ts":7}"#).expect("good").delay, Delay::Until(WallMs(7)));
    let seconds = read(r#"{"notBefore_ts":31536001000}"#).expect("365 days ahead is allowed");
    assert_eq!(seconds.delay, Delay::Until(WallMs(31_536_001_000)));
}

#[test]
fn ids_are_names_that_do_not_look_like_references() {
    for bad in ["5-0-1742", "9-1-2-3", "1-00-007"] {
        refused(&format!("{{\"id\":\"{bad}\"}}"), Code::ReservedId, "id");
    }
    for bad in ["", " a", "a ", "a\\u0000b", "\\u0085"] {
        refused(&format!("{{\"id\":\"{bad}\"}}"), Code::InvalidField, "id");
    }
    assert!(read(&format!("{{\"id\":\"{}\"}}", "x".repeat(128))).is_ok());
    refused(&format!("{{\"id\":\"{}\"}}", "x".repeat(129)), Code::InvalidField, "id");
    assert!(read(r#"{"id":"0-1-2"}"#).is_ok());
}

#[test]
fn tags_come_as_text_list_or_object_and_are_united() {
    let tag = |text: &str| read(text).expect(text).tag.unwrap_or_default().to_string();
    assert_eq!(tag(r#"{"tag":"risk:A, B"}"#), "risk:A, B");
    assert_eq!(tag(r#"{"tags":["x","k:v"]}"#), "x,k:v");
    assert_eq!(tag(r#"{"tags":{"c":"USD","r":["A","B"]},"tag":"z"}"#), "z,c:USD,r:A,r:B");
    assert_eq!(read(r#"{"tags":[]}"#).expect("good").tag, None);
    refused(r#"{"tags":["a,b"]}"#, Code::InvalidTag, "tags");
    refused(r#"{"tags":{"a:b":"c"}}"#, Code::InvalidTag, "tags");
    refused(r#"{"tags":{"a":5}}"#, Code::InvalidField, "tags");
    refused("{\"tag\":\"a\\u0001\"}", Code::InvalidTag, "tag");
    let many = (0..33).map(|i| format!("t{i}")).collect::<Vec<_>>().join(",");
    refused(&format!("{{\"tag\":\"{many}\"}}"), Code::InvalidTag, "tag");
}

#[test]
fn the_job_of_the_path_may_only_be_repeated() {
    let path: Name = Name::from("var");
    let rules = Rules::default();
    let read = |text: &str| parse(&json::object(text).expect("JSON"), Some(&path), &rules);
    assert_eq!(read("{}").expect("good").job.as_deref(), Some("var"));
    assert!(read(r#"{"job":"var"}"#).is_ok());
    assert_eq!(read(r#"{"groupId":"x"}"#).expect_err("other").field.as_deref(), Some("groupId"));
}

#[test]
fn affinity_is_bounded_and_its_keys_well_formed() {
    let keys = |text: &str| read(text).expect(text).affinity.expect("keys").len();
    assert_eq!(keys(r#"{"affinity":"a, b,,a"}"#), 2);
    assert_eq!(keys(r#"{"affinity":[]}"#), 0);
    refused(r#"{"affinity":["a,b"]}"#, Code::InvalidField, "affinity");
    refused(r#"{"affinity":[{"key":"a","weight":101}]}"#, Code::InvalidField, "affinity.weight");
    refused(r#"{"affinity":[{"weight":1}]}"#, Code::InvalidField, "affinity.key");
    refused(r#"{"affinity":"a,b,c,d,e,f,g,h,i"}"#, Code::InvalidField, "affinity");
    refused(r#"{"affinity":5}"#, Code::InvalidField, "affinity");
}

/// Values of every kind, as a pattern.
const VALUES: &str = "(null|-?[0-9]{1,25}|\"[^\"\\\\]{0,9}\"|\\[[0-9]\\]|\\{\\})";

proptest! {
    #[test]
    fn no_object_makes_it_panic(
        pairs in prop::collection::vec(
            (prop::sample::select(FIELDS), VALUES),
            0..8,
        ),
    ) {
        let text: Vec<String> = pairs.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
        if let Ok(task) = read(&format!("{{{}}}", text.join(","))) {
            prop_assert!(task.timeout_s.is_none_or(|s| s <= limits::TIMEOUT_S_MAX));
        }
    }
}
