//! Bodies of bulk work, and what is refused in them.

use super::*;
use crate::codec::json;

fn read(text: &str, redrive: bool) -> Result<Bulk, Reject> {
    parse(&json::object(text).expect("JSON"), redrive, &Rules::default())
}

#[test]
fn a_filter_is_read_and_shown_in_its_normal_form() {
    let text = r#"{"filter":{"until":9,"job":"var","tag":[" risk : PV01 ",":x",""],"since":5,
        "class":"pricer.nan","ref":["6-0-77"],"worker":"w1","priority":6,"tagAny":["a","b:c"],
        "id":"t 1"},"set":{"priority":8},"dryRun":true}"#;
    let bulk = read(text, true).expect("a good body");
    assert_eq!(bulk.priority, Priority::new(8));
    assert!(bulk.dry_run);
    let shown = r#"{"job":"var","id":"t 1","ref":["6-0-77"],"priority":6,"tag":["risk:PV01","x"],"#;
    let rest = r#""tagAny":["a","b:c"],"class":"pricer.nan","worker":"w1","since":5,"until":9}"#;
    assert_eq!(&*filter_text(&bulk), format!("{shown}{rest}"));
}

#[test]
fn an_empty_filter_needs_the_word() {
    for text in ["{}", r#"{"filter":{}}"#, r#"{"filter":{"tag":[],"ref":[]},"all":false}"#] {
        let reject = read(text, true).expect_err("it would match everything");
        assert_eq!((reject.code, reject.field.as_deref()), (Code::EmptyFilter, Some("filter")));
    }
    assert_eq!(read(r#"{"all":true}"#, false), Ok(Bulk::default()));
    assert_eq!(&*filter_text(&Bulk::default()), "{}");
}

#[test]
fn what_breaks_a_rule_is_named() {
    let cases = [
        (r#"{"filter":[]}"#, Code::InvalidField, "filter"),
        (r#"{"filter":{"jobs":"x"}}"#, Code::UnknownField, "jobs"),
        (r#"{"filter":{"ref":["x"]}}"#, Code::InvalidField, "ref"),
        (r#"{"filter":{"ref":"5-0-1"}}"#, Code::InvalidField, "ref"),
        (r#"{"filter":{"since":-1}}"#, Code::InvalidField, "since"),
        (r#"{"all":1}"#, Code::InvalidField, "all"),
        (r#"{"all":true,"set":{"priority":10}}"#, Code::InvalidField, "set.priority"),
        (r#"{"all":true,"rate":1}"#, Code::UnknownField, "rate"),
    ];
    for (text, code, field) in cases {
        let reject = read(text, true).expect_err(text);
        assert_eq!((reject.code, reject.field.as_deref()), (code, Some(field)), "{text}");
    }
    let reject = read(r#"{"all":true,"set":{}}"#, false).expect_err("a purge sets nothing");
    assert_eq!(reject.code, Code::UnknownField);
}
