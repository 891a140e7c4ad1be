//! Registrations as read.

use super::*;
use crate::codec::json;

#[test]
fn a_registration_is_bounded() {
    let read = |text: &str| parse(&json::object(text)?, &Rules::default());
    let good = read(r#"{"worker":"w","slots":10000,"version":"1","affinity":["a"]}"#);
    assert_eq!(good.expect("good").slots, Some(10_000));
    for (text, field) in [
        (r#"{"slots":1}"#, "worker"),
        (r#"{"worker":"w","slots":10001}"#, "slots"),
        (r#"{"worker":"w","slot":1}"#, "slot"),
        (r#"{"worker":" w"}"#, "worker"),
    ] {
        assert_eq!(read(text).expect_err(text).field.as_deref(), Some(field), "{text}");
    }
}

#[test]
fn a_drain_is_on_unless_it_says_off() {
    let read = |text: &str| parse_drain(&json::object(text)?, &Rules::default());
    assert!(read("{}").expect("good"));
    assert!(!read(r#"{"drain":false}"#).expect("good"));
    assert!(read(r#"{"drain":1}"#).is_err());
}
