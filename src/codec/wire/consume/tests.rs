//! Consumes and heartbeats as read; a hand-out as written.

use super::*;
use crate::codec::json;
use crate::model::affinity::AffinityKey;
use crate::model::id::{Epoch, LeaseNo, PartitionId, Position, TaskSeq};
use crate::model::policy::{Backoff, Jitter};
use crate::model::priority::Priority;
use crate::model::reject::Code;
use crate::model::reply::Grant;
use crate::model::task::{Blob, Encoding, TaskSpec};
use crate::model::time::WallMs;
use std::sync::Arc;

fn read(text: &str) -> Result<Body, Reject> {
    parse(&json::object(text)?, &Rules::default())
}

#[test]
fn a_consume_says_only_what_it_wants() {
    let body = read(r#"{"worker":"w1"}"#).expect("good");
    assert_eq!((body.max, body.wait_ms, body.levels), (1, None, ALL_LEVELS));
    assert!(body.done.is_none() && body.leases.is_none() && body.jobs.is_empty());
    let body = read(
        r#"{"worker":"w","max":1000,"waitMs":0,"priorities":[9,8],"jobs":["a"],"affinity":"x,y",
        "affinityMode":"any","done":[],"leases":["t"],"targetMs":1,"maxBytes":1,"leaseMs":1000}"#,
    )
    .expect("good");
    assert_eq!((body.levels, body.warm.len(), body.mode), (0b1_1000_0000, 2, AffinityMode::Any));
    assert_eq!(body.leases, Some(vec![Err("t".to_owned())]));
    assert_eq!(body.done, Some(Vec::new()));
    assert_eq!(read(r#"{"worker":"w","priorities":[]}"#).expect("good").levels, ALL_LEVELS);
}

#[test]
fn a_consume_out_of_bounds_is_refused_with_its_field() {
    for (text, field) in [
        (r#"{}"#, "worker"),
        (r#"{"worker":"w","max":0}"#, "max"),
        (r#"{"worker":"w","max":1001}"#, "max"),
        (r#"{"worker":"w","waitMs":60001}"#, "waitMs"),
        (r#"{"worker":"w","targetMs":0}"#, "targetMs"),
        (r#"{"worker":"w","maxBytes":16777217}"#, "maxBytes"),
        (r#"{"worker":"w","priorities":[0]}"#, "priorities"),
        (r#"{"worker":"w","jobs":"a"}"#, "jobs"),
        (r#"{"worker":"w","leases":[""]}"#, "leases"),
        (r#"{"worker":"w","affinityMode":"only"}"#, "affinityMode"),
        (r#"{"worker":"w","labels":{}}"#, "labels"),
    ] {
        let reject = read(text).expect_err(text);
        assert_eq!(reject.field.as_deref(), Some(field), "{text}");
    }
    let reject = read(r#"{"worker":"w","affinityMode":"claim"}"#).expect_err("later");
    assert_eq!(reject.code, Code::NotSupported);
}

#[test]
fn a_heartbeat_tells_listed_leases_from_all() {
    let read = |text: &str| parse_heartbeat(&json::object(text)?, &Rules::default());
    assert_eq!(read(r#"{"worker":"w"}"#).expect("good").leases, None);
    assert_eq!(read(r#"{"worker":"w","leases":[]}"#).expect("good").leases, Some(Vec::new()));
    assert_eq!(read(r#"{"worker":"w","progress":1}"#).expect_err("later").code, Code::NotSupported);
}

pub(crate) fn some_hand_out() -> HandOut {
    let token =
        LeaseToken { partition: PartitionId(0), epoch: Epoch(1), number: LeaseNo(2), secret: 3 };
    let grant = Grant {
        seq: TaskSeq(1_742),
        token,
        attempt: 1,
        lease_ms: 30_000,
        lease_until: WallMs(31_250),
        allocated: WallMs(1_250),
        available: WallMs(1_000),
        priority: Priority::DEFAULT,
        errors: 0,
        crashes: 0,
        redriven: 0,
        record: Position(5),
        index: 0,
        bytes: 12,
        expected_us: 0,
        failed: None,
    };
    let spec = TaskSpec {
        id: Some(Arc::from("trade-10")),
        job: Arc::from("var"),
        priority: Priority::new(7).expect("a level"),
        tag: Some(Arc::from("currency:USD,risk:CR01,PV01")),
        payload: Blob { encoding: Encoding::Text, bytes: b"{\"trade\":10}".to_vec() },
        affinity: vec![AffinityKey { key: Arc::from("curve=USD"), weight: 1 }],
        source: None,
        meta: None,
        timeout_s: 0,
        lease_ms: 0,
        max_attempts: 4,
        max_crashes: 5,
        backoff: Backoff { base_ms: 1_000, cap_ms: 300_000, jitter: Jitter::Full },
        not_before: WallMs(0),
        traceparent: None,
        content: None,
        element: None,
    };
    HandOut { grant, spec, submitted: WallMs(1_000), error: None }
}

#[test]
fn a_hand_out_is_the_documented_body() {
    let hand_out = some_hand_out();
    let body = answer(
        &Answer {
            tasks: std::slice::from_ref(&hand_out),
            done: &[],
            renewed: None,
            heartbeat_ms: 10_000,
            drain: false,
        },
        Holder { worker: "w1", endpoint: None },
    );
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let want = serde_json::json!({"tasks":[{"id":"trade-10","ref":"7-0-1742","partition":0,
        "groupId":"var","priority":5,"state":"ALLOCATED","status":"ALLOCATED",
        "tag":"currency:USD,risk:CR01,PV01",
        "tags":["currency:USD","risk:CR01","risk:PV01","PV01"],
        "affinity":[{"key":"curve=USD","weight":1}],"payload":"{\"trade\":10}","encoding":"text",
        "payloadBytes":12,"worker":"w1","attempt":1,"runCount":1,"errors":0,"crashes":0,
        "redriven":0,"timeoutSeconds":0,"maxAttempts":4,"maxCrashes":5,
        "backoff":{"baseMs":1000,"capMs":300000,"jitter":"full"},"submitted_ts":1000,
        "available_ts":1000,"allocated_ts":1250,"lease":hand_out.grant.token.encode(),
        "leaseMs":30000,"leaseUntil_ts":31250}],"done":[],"heartbeatMs":10000,"drain":false});
    assert_eq!(body, want);
}

#[test]
fn the_original_gets_its_sixteen_fields_in_order() {
    let body = crate::codec::wire::seed::hand_out(&some_hand_out(), "w1", Some("ep"));
    assert_eq!(
        String::from_utf8(body).expect("UTF-8"),
        concat!(
            r#"{"id":"trade-10","groupId":"var","priority":5,"#,
            r#""tag":"currency:USD,risk:CR01,PV01","source":null,"payload":"{\"trade\":10}","#,
            r#""status":"ALLOCATED","worker":"w1","workerEndpoint":"ep","runCount":1,"meta":null,"#,
            r#""timeoutSeconds":0,"submitted_ts":1000,"allocated_ts":1250,"running_ts":0,"#,
            r#""completed_ts":0}"#
        )
    );
}
