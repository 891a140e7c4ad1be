//! Whatever is written is read back by an independent parser as what was meant.

use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn parsed(out: Out) -> Value {
    serde_json::from_slice(&out.into_bytes()).expect("valid JSON")
}

#[test]
fn commas_stand_between_members_and_nowhere_else() {
    let mut out = Out::default();
    out.open();
    out.num("a", 0u64);
    out.list("l");
    out.text("x");
    out.open();
    out.close();
    out.number(u64::MAX);
    out.close_list();
    out.object("o");
    out.close();
    out.flag("t", true);
    out.null_str("n", None);
    out.float("f", 1.25, 1);
    out.float("nan", f64::NAN, 1);
    out.close();
    let text = String::from_utf8(out.into_bytes()).expect("UTF-8");
    assert_eq!(
        text,
        r#"{"a":0,"l":["x",{},18446744073709551615],"o":{},"t":true,"n":null,"f":1.2,"nan":null}"#
    );
}

#[test]
fn a_blob_goes_out_as_it_came_in() {
    for (encoding, bytes, want) in [
        (Encoding::Text, "a\"b", r#"{"p":"a\"b"}"#),
        (Encoding::Json, "{ \"x\" : 1 }", r#"{"p":{ "x" : 1 }}"#),
        (Encoding::Json, "", r#"{"p":null}"#),
        (Encoding::Base64, "foob", r#"{"p":"Zm9vYg=="}"#),
    ] {
        let mut out = Out::default();
        out.open();
        out.blob("p", &Blob { encoding, bytes: bytes.as_bytes().to_vec() });
        out.close();
        assert_eq!(String::from_utf8(out.into_bytes()).expect("UTF-8"), want);
    }
}

proptest! {
    #[test]
    fn every_text_survives(text in any::<String>(), number in any::<u64>()) {
        let mut out = Out::default();
        out.open();
        out.str("s", &text);
        out.num("n", number);
        out.close();
        let value = parsed(out);
        prop_assert_eq!(value.get("s").and_then(Value::as_str), Some(text.as_str()));
        prop_assert_eq!(value.get("n").and_then(Value::as_u64), Some(number));
    }
}
