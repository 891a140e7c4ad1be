//! Records of derived topics: what they say, and that they stay small.

use super::*;
use crate::model::id::{PartitionId, TaskSeq};
use crate::model::priority::Priority;
use crate::model::state::TaskState;
use crate::model::task::{Blob, Encoding, TaskError};
use crate::model::view::{Attempt, AttemptOutcome, TrackedTask};
use serde_json::{Value, json};

fn view(payload: Vec<u8>, attempts: usize) -> TaskView {
    let spec = TaskSpec::plain(Blob { encoding: Encoding::Text, bytes: payload });
    let message: std::sync::Arc<str> = "\u{1}".repeat(4_096).into();
    let attempt = |number: usize| Attempt {
        attempt: u32::try_from(number).unwrap(),
        worker: "w".into(),
        endpoint: None,
        allocated: WallMs(1),
        running: WallMs(2),
        ended: WallMs(3),
        outcome: AttemptOutcome::Failed,
        class: Some("io".into()),
        message: Some(message.clone()),
    };
    let row = TrackedTask {
        partition: PartitionId(2),
        seq: TaskSeq(9),
        job: spec.job.clone(),
        submit_priority: Priority::DEFAULT,
        priority: Priority::DEFAULT,
        state: TaskState::Error,
        worker: Some("w".into()),
        endpoint: None,
        attempt: 4,
        errors: 4,
        crashes: 0,
        redriven: 0,
        submitted: WallMs(1),
        available: WallMs(1),
        allocated: WallMs(1),
        running: WallMs(2),
        ended: WallMs(3),
        error: Some(TaskError {
            class: "io".into(),
            message: "broken".into(),
            attempt: 4,
            ts: WallMs(3),
        }),
        record: Position(65_536),
        index: 0,
        payload_bytes: 3,
        result: None,
    };
    TaskView {
        row,
        spec,
        attempts: (1..=attempts).map(attempt).collect(),
        result: None,
        payload_sha256: None,
        with_payload: true,
    }
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

#[test]
fn a_dead_letter_is_the_task_as_the_api_shows_it_and_why() {
    let view = view(b"abc".to_vec(), 4);
    let mut out = Out::default();
    task_out::view(&mut out, &view);
    let mut shown = parsed(&out.into_bytes());
    let extra = json!({"reason": "crash", "position": "131072"});
    shown.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let told = parsed(&dead(&view, FailCause::Crash, Position(131_072)));
    assert_eq!(told, shown);
    assert_eq!((&told["payload"], &told["error"]["message"]), (&json!("abc"), &json!("broken")));
}

#[test]
fn what_makes_a_dead_letter_too_long_is_left_out_and_said() {
    let told = |payload: usize, attempts: usize| {
        let bytes = dead(&view(vec![b'x'; payload], attempts), FailCause::Error, Position(1));
        assert!(bytes.len() <= VALUE_BYTES_MAX, "{} bytes", bytes.len());
        let told = parsed(&bytes);
        (told.get("payload").is_some(), told["attempts"].is_array(), told["leftOut"].clone())
    };
    assert_eq!(told(900_000, 1), (true, true, Value::Null));
    assert_eq!(told(999_999, 1), (false, true, json!(["payload"])));
    assert_eq!(told(10, 100), (false, false, json!(["payload", "attempts"])));
}

#[test]
fn a_change_says_what_is_known_and_no_more() {
    let spec = TaskSpec::plain(Blob::default());
    let mut change = Change::to(TaskSeq(3), TaskState::Completed);
    let told = |change: &Change, worker| {
        parsed(&status(&Status {
            reference: "5-2-3",
            spec: &spec,
            change,
            attempt: change.attempt,
            worker,
            at: WallMs(7),
            position: Position(65_537),
        }))
    };
    let bare = json!({"ref": "5-2-3", "id": "5-2-3", "job": spec.job, "to": "COMPLETED",
        "at": 7, "position": "65537"});
    assert_eq!(told(&change, None), bare);
    change.from = Some(TaskState::Running);
    change.attempt = Some(2);
    let full = told(&change, Some("w"));
    assert_eq!(
        (&full["from"], &full["attempt"], &full["worker"]),
        (&json!("RUNNING"), &json!(2), &json!("w"))
    );
}

#[test]
fn headers_and_marks_name_the_place_behind() {
    let at = EndPlace { record: Position(u64::MAX), read: 41 };
    let texts = headers(at);
    let all = || texts.iter().map(|(name, text)| (*name, Some(text.as_bytes())));
    assert_eq!(behind(all()), Some(EndPlace { read: 42, ..at }));
    assert_eq!(behind(all().take(1)), None, "half of it is not ours");
    let other = [("kwq-position", Some(&b"x"[..])), ("kwq-entry", None)];
    assert_eq!(behind(other.into_iter()), None);
    assert_eq!(read_mark(&mark(at)), Some(at));
    for text in ["", "1", "1 ", " 1", "1 2 3", "-1 2"] {
        assert_eq!(read_mark(text), None, "{text:?}");
    }
}
