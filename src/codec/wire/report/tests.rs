//! Reports as read, verdicts as written.

use super::*;
use crate::codec::json;
use crate::model::id::{Epoch, LeaseNo, PartitionId, TaskSeq};
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::report::Budget;
use crate::model::state::TaskState;
use crate::model::time::WallMs;

fn token() -> LeaseToken {
    let partition = PartitionId(3);
    LeaseToken { partition, epoch: Epoch(7), number: LeaseNo(9), secret: 0xfeed }
}

fn sent(kind: Kind, text: &str) -> Sent {
    let fields = json::object(text).expect("JSON");
    match parse(&fields, kind, &Rules::default()).expect("a report") {
        Body::One(sent) => sent,
        Body::Many(_) => panic!("one report"),
    }
}

#[test]
fn a_completion_carries_its_result_byte_for_byte() {
    let text = format!(r#"{{"lease":"{}","result":[1, 2],"runMs":5}}"#, token().encode());
    let report = sent(Kind::Complete, &text).report.expect("good");
    assert_eq!(report.token, Some(token()));
    let Verb::Complete { result: Some(result), run_ms: Some(5) } = report.verb else {
        panic!("a completion: {:?}", report.verb)
    };
    assert_eq!(result.bytes, b"[1, 2]");
}

#[test]
fn a_foreign_token_is_kept_for_the_verdict_and_an_impossible_one_refused() {
    let foreign = sent(Kind::Start, r#"{"lease":"not-ours"}"#);
    assert_eq!(foreign.lease.as_deref(), Some("not-ours"));
    assert_eq!(foreign.report.expect("for the engine to judge").token, None);
    let long = format!("{{\"lease\":\"{}\"}}", "a".repeat(65));
    for bad in ["{}", r#"{"lease":null}"#, r#"{"lease":5}"#, r#"{"lease":""}"#, &long] {
        let reject = sent(Kind::Start, bad).report.expect_err(bad);
        assert_eq!(reject.field.as_deref(), Some("lease"), "{bad}");
    }
}

#[test]
fn fields_belong_to_their_verb() {
    for (kind, field) in [
        (Kind::Start, "result"),
        (Kind::Complete, "class"),
        (Kind::Fail, "delayMs"),
        (Kind::Release, "runMs"),
        (Kind::Complete, "type"),
    ] {
        let text = format!(r#"{{"lease":"x","{field}":1}}"#);
        let reject = sent(kind, &text).report.expect_err(field);
        assert_eq!(reject.code, Code::UnknownField, "{field}");
        let hint = reject.hint.unwrap_or_default();
        assert!(!hint.contains(&format!("mean `{field}`")), "{field} is what was sent: {hint}");
        assert_eq!(hint.contains("the path says it"), field == "type", "{hint}");
    }
}

#[test]
fn a_message_is_cut_at_a_character_and_a_class_is_checked() {
    let text = format!(r#"{{"lease":"x","message":"a{}"}}"#, "é".repeat(3_000));
    let report = sent(Kind::Fail, &text).report.expect("never refused for its length");
    let Verb::Fail { message, class, retryable: true, .. } = report.verb else { panic!("fail") };
    assert_eq!((message.len(), class.as_ref()), (4_095, "error"));
    for bad in ["", "a b", "ü", &"x".repeat(65)] {
        let text = format!(r#"{{"lease":"x","class":"{bad}"}}"#);
        assert!(sent(Kind::Fail, &text).report.is_err(), "{bad}");
    }
}

#[test]
fn a_done_list_mixes_verbs_and_keeps_its_order() {
    let text = r#"{"done":[{"lease":"a"},{"type":"fail","lease":"b"},{"type":"release","lease":"c",
        "delayMs":4},{"type":"start","lease":"d"},7]}"#;
    let fields = json::object(text).expect("JSON");
    let done = parse_done(fields.get("done").expect("there"), &Rules::default()).expect("a list");
    let verbs: Vec<_> = done.iter().map(|s| s.report.as_ref().ok().map(|r| &r.verb)).collect();
    assert!(matches!(verbs[0], Some(Verb::Complete { .. })));
    assert!(matches!(verbs[1], Some(Verb::Fail { .. })));
    assert!(matches!(verbs[2], Some(Verb::Release { delay_ms: 4 })));
    assert!(verbs[3].is_none() && verbs[4].is_none());
    let many = format!("[{}{{}}]", "{},".repeat(1_000));
    let list = json::document(&many).expect("JSON");
    let json::Element::Other(raw) = list else { panic!("a list") };
    assert!(parse_done(raw, &Rules::default()).is_err());
}

#[test]
fn verdicts_show_what_is_known() {
    let reference = TaskRef::of_seq(Priority::DEFAULT, PartitionId(0), TaskSeq(44));
    let mut task = ReportedTask {
        seq: TaskSeq(44),
        reference,
        id: Some(Name::from("t\"1")),
        state: TaskState::Delayed,
        attempt: 2,
        budget: Some(Budget { at_ts: WallMs(9), errors: 1, crashes: 0, max_attempts: 4 }),
    };
    let text = |outcome: Outcome, task: Option<ReportedTask>| {
        let mut out = Out::default();
        verdict(&mut out, Some("L"), &ReportOutcome { outcome, task, worker: None });
        String::from_utf8(out.into_bytes()).expect("UTF-8")
    };
    assert_eq!(
        text(Outcome::Retry, Some(task.clone())),
        concat!(
            r#"{"outcome":"retry","lease":"L","id":"t\"1","ref":"5-0-44","state":"DELAYED","#,
            r#""attempt":2,"at_ts":9,"errors":1,"maxAttempts":4}"#
        )
    );
    task.budget = Some(Budget { at_ts: WallMs(0), errors: 4, crashes: 1, max_attempts: 4 });
    assert!(
        text(Outcome::Dead, Some(task)).ends_with(r#""errors":4,"crashes":1,"maxAttempts":4}"#)
    );
    assert_eq!(text(Outcome::LeaseLost, None), r#"{"outcome":"lease_lost","lease":"L"}"#);
    let invalid = Outcome::Invalid(Reject::field("class", "bad"));
    assert!(text(invalid, None).starts_with(r#"{"outcome":"invalid","code":"invalid_field""#));
}
