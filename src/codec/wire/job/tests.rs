//! Jobs as read and as written.

use super::*;
use crate::codec::json;
use crate::model::job::JobState;
use crate::model::reject::Code;
use crate::model::view::JobNumbers;

const BASE: Base = Base { priority: Priority::DEFAULT, retention_ms: 604_800_000 };

fn read(text: &str) -> Result<(Option<Name>, JobSpec), Reject> {
    parse(&json::object(text)?, BASE, &Rules::default())
}

#[test]
fn a_job_is_equal_to_itself_after_defaults() {
    let short = read(r#"{"id":"var"}"#).expect("good");
    let full = read(
        r#"{"id":"var","name":"var","priority":5,"weight":1,"dedup":"batch","paused":false,
        "retentionMs":604800000,"defaults":{},"tags":[]}"#,
    )
    .expect("good");
    assert_eq!(short, full);
}

#[test]
fn a_job_out_of_bounds_is_refused_with_its_field() {
    for (text, code, field) in [
        (r#"{"weight":0}"#, Code::InvalidField, "weight"),
        (r#"{"weight":1001}"#, Code::InvalidField, "weight"),
        (r#"{"priority":10}"#, Code::InvalidField, "priority"),
        (r#"{"retentionMs":31536000001}"#, Code::InvalidField, "retentionMs"),
        (r#"{"dedup":"none"}"#, Code::InvalidField, "dedup"),
        (r#"{"after":[]}"#, Code::NotSupported, "after"),
        (r#"{"defaults":{"id":"x"}}"#, Code::UnknownField, "id"),
        (r#"{"defaults":{"maxAttempts":0}}"#, Code::InvalidField, "maxAttempts"),
        (r#"{"wieght":1}"#, Code::UnknownField, "wieght"),
    ] {
        let reject = read(text).expect_err(text);
        assert_eq!((reject.code, reject.field.as_deref()), (code, Some(field)), "{text}");
    }
}

#[test]
fn a_patch_changes_only_what_it_names() {
    let read = |text: &str| parse_patch(&json::object(text)?, &Rules::default());
    assert_eq!(read("{}").expect("good"), Patch::default());
    let patch = read(r#"{"priority":9,"tag":""}"#).expect("good");
    assert_eq!(patch.priority.map(Priority::get), Some(9));
    assert_eq!(patch.tag.as_deref(), Some(""));
    assert_eq!(read(r#"{"dedup":"batch"}"#).expect_err("fixed").code, Code::UnknownField);
    assert_eq!(read(r#"{"maxRunning":3}"#).expect_err("later").code, Code::NotSupported);
}

#[test]
fn a_cancel_has_two_modes() {
    let read = |text: &str| parse_cancel(&json::object(text)?, &Rules::default());
    assert_eq!(read("{}").expect("good"), (CancelMode::Stop, None));
    assert_eq!(read(r#"{"mode":"drop-queued"}"#).expect("good").0, CancelMode::DropQueued);
    assert!(read(r#"{"mode":"now"}"#).is_err());
    let long = format!("{{\"reason\":\"{}\"}}", "x".repeat(257));
    assert_eq!(read(&long).expect_err("too long").field.as_deref(), Some("reason"));
}

#[test]
fn a_job_is_shown_with_counts_and_its_own_defaults() {
    let (_, spec) = read(
        r#"{"name":"VaR","weight":3,"tag":"desk:rates",
        "defaults":{"maxAttempts":4,"timeoutSeconds":600,"backoff":{"baseMs":500}}}"#,
    )
    .expect("good");
    let mut numbers = JobNumbers { submitted: 3, created: WallMs(5), ..JobNumbers::default() };
    numbers.counts.add(TaskState::Pending, 2);
    numbers.counts.add(TaskState::Completed, 1);
    numbers.oldest_pending = WallMs(100);
    let job = JobView {
        id: Name::from("var"),
        spec,
        state: JobState::Open,
        implicit: false,
        paused: false,
        cancel_reason: None,
        numbers,
        rate_per_sec: 2.1,
        eta: None,
        ended: WallMs(0),
        partitions: Some((3, 2)),
    };
    let mut out = Out::default();
    view(&mut out, &job, &Policy::default(), WallMs(350));
    let shown: serde_json::Value = serde_json::from_slice(&out.into_bytes()).expect("JSON");
    assert_eq!(shown["defaults"]["backoff"]["capMs"], 300_000);
    assert_eq!(shown["counts"].as_object().map(serde_json::Map::len), Some(9));
    assert_eq!((&shown["live"], &shown["submitted"]), (&2.into(), &3.into()));
    assert_eq!((&shown["oldestPendingMs"], &shown["weight"]), (&250.into(), &3.into()));
    assert_eq!(shown["partitions"], serde_json::json!({"total": 3, "applied": 2}));
    assert_eq!(shown["tags"], serde_json::json!(["desk:rates"]));
    for unset in ["eta_ts", "ended_ts", "cancelReason", "firstError", "meanRunMs"] {
        assert!(shown.get(unset).is_none(), "{unset}");
    }
}
