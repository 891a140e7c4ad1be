//! What an array may look like.

use super::*;
use crate::codec::json;

fn read(text: &str) -> Result<ArrayInput, Reject> {
    let rules = Rules { array_max: 1_000, payload_bytes_max: 40, ..Rules::default() };
    let fields = json::object(text)?;
    parse(&fields, member(&fields).expect("an array"), None, &rules)
}

#[test]
fn the_documented_array_is_read() {
    let text = r#"{"array":{"id":"paths","from":1,"to":50,"payloadTemplate":"{\"path\":{i}}",
        "encoding":"json"},"priority":4,"tag":"risk:VAR","affinity":["model=heston"]}"#;
    let array = read(text).expect("it is right");
    assert_eq!(array.span, Span { from: 1, step: 1, count: 50 });
    assert_eq!(array.id.as_deref(), Some("paths"));
    assert_eq!(array.task.payload.bytes, b"{\"path\":{i}}");
    assert_eq!(array.task.priority.map(crate::model::priority::Priority::get), Some(4));
    let last = read(r#"{"array":{"from":5,"to":14,"step":4}}"#).expect("it is right").span;
    assert_eq!((last.count, last.value(2)), (3, 13));
}

#[test]
fn what_breaks_a_rule_is_named() {
    for (text, field) in [
        (r#"{"array":{}}"#, "array.to"),
        (r#"{"array":{"to":-1}}"#, "array.to"),
        (r#"{"array":{"to":1.5}}"#, "array.to"),
        (r#"{"array":{"from":5,"to":4}}"#, "array.to"),
        (r#"{"array":{"to":1000}}"#, "array.to"),
        (r#"{"array":{"to":9007199254740992}}"#, "array.to"),
        (r#"{"array":{"to":3,"step":0}}"#, "array.step"),
        (r#"{"array":{"to":3,"encoding":"base64"}}"#, "array.encoding"),
        (r#"{"array":{"to":3,"payloadTemplate":"{","encoding":"json"}}"#, "array.payloadTemplate"),
        (r#"{"array":{"to":3,"id":" x"}}"#, "array.id"),
        (r#"{"array":[1]}"#, "array"),
        (r#"{"array":{"to":3,"frm":1}}"#, "frm"),
        (r#"{"array":{"to":3},"payload":"x"}"#, "payload"),
        (r#"{"array":{"to":3},"id":"x"}"#, "id"),
        (r#"{"array":{"to":3},"priority":12}"#, "priority"),
    ] {
        let reject = read(text).expect_err(text);
        assert_eq!(reject.field.as_deref(), Some(field), "{text}");
    }
    let long = format!(r#"{{"array":{{"to":3,"payloadTemplate":"{}"}}}}"#, "x".repeat(41));
    assert_eq!(read(&long).expect_err("too long").code, Code::PayloadTooLarge);
}

#[test]
fn the_longest_element_is_as_long_as_a_payload_may_be() {
    let array = |to: u64| {
        let template = "{i}".repeat(13);
        read(&format!(r#"{{"array":{{"from":990,"to":{to},"payloadTemplate":"{template}"}}}}"#))
    };
    // 13 × 3 digits are 39 B, 13 × 4 are 52.
    assert_eq!(array(999).expect("39 B").span.count, 10);
    let reject = array(1_000).expect_err("52 B");
    assert_eq!(reject.code, Code::PayloadTooLarge);
    assert_eq!(reject.field.as_deref(), Some("array.payloadTemplate"));
}
