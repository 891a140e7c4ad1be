//! The short ways through the tag grammar agree with the grammar.

use super::*;
use crate::codec::json;
use crate::codec::wire::field::tag_text;
use proptest::prelude::*;

fn shown(text: &str) -> Vec<String> {
    let mut out = Out::default();
    out.open();
    tags(&mut out, Some(&Name::from(text)));
    out.close();
    let body: serde_json::Value = serde_json::from_slice(&out.into_bytes()).expect("JSON");
    let list = body.get("tags").and_then(|t| t.as_array()).cloned().unwrap_or_default();
    list.iter().filter_map(|tag| tag.as_str().map(str::to_owned)).collect()
}

#[test]
fn the_worked_example_holds() {
    let text = "tradeid-10, coupon:10m,currency:USD,maturity:25y,risk:CR01,PV01";
    let want = ["tradeid-10", "coupon:10m", "currency:USD", "maturity:25y", "risk:CR01"];
    assert_eq!(shown(text), [&want[..], &["risk:PV01", "PV01"]].concat());
}

/// Items short and at the limits, as a pattern.
const ITEM: &str = "([a-z]{1,2}|[a-z]{60,70}|[a-z]:[a-z]{120,132}|:|é|\u{7f})";

proptest! {
    #[test]
    fn tags_are_shown_as_the_grammar_gives_them(text in "[a-c:, \"é]{0,30}") {
        let want = TagSet::parse(&text).unwrap_or_default();
        prop_assert_eq!(shown(&text), want.iter().map(str::to_owned).collect::<Vec<_>>());
    }

    #[test]
    fn a_tag_text_is_accepted_exactly_when_the_grammar_accepts_it(
        items in prop::collection::vec(ITEM, 0..40),
    ) {
        let text = items.join(",");
        let sent = serde_json::json!({ "tag": text }).to_string();
        let fields = json::object(&sent).expect("JSON");
        let read = tag_text(fields.get("tag"), None);
        prop_assert_eq!(read.is_ok(), TagSet::parse(&text).is_ok(), "{}", text);
    }
}
