//! The shapes of the original.

use super::*;
use crate::codec::json;
use crate::model::id::{PartitionId, TaskSeq};
use crate::model::priority::Priority;

fn reference() -> TaskRef {
    TaskRef::of_seq(Priority::DEFAULT, PartitionId(0), TaskSeq(8))
}

#[test]
fn an_admitted_task_has_all_sixteen_fields() {
    let body = submitted(&TaskSpec::plain(Blob::default()), reference(), WallMs(7));
    assert_eq!(
        String::from_utf8(body).expect("UTF-8"),
        concat!(
            r#"{"id":"5-0-8","groupId":"default","priority":5,"tag":null,"source":null,"#,
            r#""payload":"","status":"SUBMITTED","worker":null,"workerEndpoint":null,"#,
            r#""runCount":0,"meta":null,"timeoutSeconds":0,"submitted_ts":7,"#,
            r#""allocated_ts":0,"running_ts":0,"completed_ts":0}"#
        )
    );
}

#[test]
fn a_payload_is_always_a_string() {
    for (encoding, bytes, want) in [
        (Encoding::Json, "{\"a\":1}", r#""{\"a\":1}""#),
        (Encoding::Base64, "foob", r#""Zm9vYg==""#),
        (Encoding::Text, "é\n", "\"é\\n\""),
    ] {
        let payload = Blob { encoding, bytes: bytes.as_bytes().to_vec() };
        let spec = TaskSpec::plain(payload);
        let body = String::from_utf8(submitted(&spec, reference(), WallMs(1))).expect("UTF-8");
        assert!(body.contains(&format!("\"payload\":{want},")), "{body}");
    }
}

#[test]
fn an_update_reads_four_fields_and_accepts_the_rest() {
    let read = |text: &str| parse_update(&json::object(text)?, &Rules::default());
    let body = read(
        r#"{"id":"a","groupId":"g","priority":5,"tag":null,"source":null,"payload":"","meta":null,
        "status":"COMPLETED","worker":"w","workerEndpoint":"e","runCount":1,"timeoutSeconds":0,
        "submitted_ts":1,"allocated_ts":1,"running_ts":0,"completed_ts":0}"#,
    )
    .expect("good");
    assert_eq!((body.id.as_ref(), body.update), ("a", Update::Completed));
    assert_eq!((body.job.as_deref(), body.worker.as_deref()), (Some("g"), Some("w")));
    let reject = read(r#"{"id":"a","status":"SUBMITTED"}"#).expect_err("not for workers");
    assert_eq!(reject.code, Code::IllegalTransition);
    assert_eq!(read(r#"{"id":"a"}"#).expect_err("no status").field.as_deref(), Some("status"));
    assert!(read(r#"{"id":"5-0-1","status":"RUNNING"}"#).is_ok(), "a reference is an id here");
}
