//! The reader agrees with an independent JSON parser on what JSON is, and is stricter where
//! promised.

use super::*;
use proptest::prelude::*;

fn code(text: &str) -> Option<Code> {
    document(text).err().map(|r| r.code)
}

#[test]
fn an_object_is_cut_into_raw_values_exactly_as_sent() {
    let fields = object(" { \"a\" : [1, {\"b\":\"}\"}] ,\"c\\u0041\":-0.5e+3 } ").expect("valid");
    let all: Vec<_> = fields.iter().map(|(k, v)| (k.to_owned(), v.text())).collect();
    assert_eq!(all, [("a".to_owned(), "[1, {\"b\":\"}\"}]"), ("cA".to_owned(), "-0.5e+3")]);
}

#[test]
fn a_key_that_comes_twice_is_refused_also_when_escaped() {
    assert_eq!(code(r#"{"a":1,"a":2}"#), Some(Code::BadJson));
    assert_eq!(code(r#"{"a":1,"\u0061":2}"#), Some(Code::BadJson));
}

#[test]
fn depth_32_is_read_and_33_is_refused() {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let in_object = |n: usize| format!("{{\"a\":{}}}", nested(n));
    assert_eq!(code(&nested(32)), None);
    assert_eq!(code(&nested(33)), Some(Code::BadJson));
    assert_eq!(code(&in_object(31)), None);
    assert_eq!(code(&in_object(32)), Some(Code::BadJson));
    assert_eq!(code(&"[".repeat(1_000_000)), Some(Code::BadJson));
    assert_eq!(code(&"{\"a\":".repeat(1_000_000)), Some(Code::BadJson));
}

#[test]
fn text_after_the_value_and_broken_text_are_refused() {
    for bad in [
        "",
        "{} x",
        "[1,]",
        "{,}",
        "{\"a\"}",
        "01",
        "1.",
        "+1",
        "nul",
        "\"\t\"",
        "\"\\x\"",
        "\"\\u12\"",
        "[1 2]",
        "{\"a\":1 \"b\":2}",
        "'a'",
        "NaN",
        "\u{feff}{}",
    ] {
        assert_eq!(code(bad), Some(Code::BadJson), "{bad:?}");
    }
}

#[test]
fn a_walk_over_an_array_reports_broken_text_behind_good_elements() {
    let mut walk = elements("[{\"a\":1}, 2, ").expect("begins well");
    assert!(matches!(walk.next(), Some(Ok(Element::Object(_)))));
    assert!(matches!(walk.next(), Some(Ok(Element::Other(_)))));
    assert!(matches!(walk.next(), Some(Err(_))));
    assert!(walk.next().is_none());
    assert!(elements("[1] x").expect("begins well").any(|e| e.is_err()));
    assert_eq!(elements(" [ ] ").expect("an array").count(), 0);
}

#[test]
fn integers_are_only_whole_numbers_written_as_such() {
    let integer = |text: &'static str| match document(text) {
        Ok(Element::Other(raw)) => raw.integer(),
        Ok(Element::Object(_)) | Err(_) => None,
    };
    assert_eq!(integer("5"), Some(5));
    assert_eq!(integer("-7"), Some(-7));
    for other in ["5.0", "\"5\"", "5e0", "1e999999", "99999999999999999999999", "true", "null"] {
        assert_eq!(integer(other), None, "{other}");
    }
}

#[test]
fn half_of_a_surrogate_pair_is_kept_raw_but_never_decoded() {
    let fields = object(r#"{"a":"\ud800"}"#).expect("grammar holds");
    let raw = fields.get("a").expect("there");
    assert_eq!(raw.text(), r#""\ud800""#);
    assert_eq!(raw.string().expect_err("no character").code, Code::BadJson);
}

#[test]
fn an_object_with_a_million_keys_costs_little() {
    let body: String = (0..200_000).map(|i| format!("\"k{i}\":0,")).collect();
    assert_eq!(code(&format!("{{{body}\"z\":1}}")), Some(Code::BadJson));
}

fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..6)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    });
    (value, any::<bool>()).prop_map(
        |(value, pretty)| {
            if pretty { format!("{value:#}") } else { value.to_string() }
        },
    )
}

proptest! {
    #[test]
    fn what_is_json_is_read(text in json_text()) {
        prop_assert!(document(&text).is_ok());
    }

    #[test]
    fn damaged_json_is_judged_as_by_an_independent_parser(
        text in json_text(), at in any::<prop::sample::Index>(), with in "[ -~]{0,2}",
    ) {
        let mut chars: Vec<char> = text.chars().collect();
        let place = at.index(chars.len());
        chars.splice(place..=place, with.chars());
        let text: String = chars.into_iter().collect();
        let theirs: Result<&serde_json::value::RawValue, _> = serde_json::from_str(&text);
        match document(&text) {
            Ok(_) => prop_assert!(theirs.is_ok(), "{}", text),
            // Stricter on purpose: a key that comes twice, an escape in a key that is no character.
            Err(reject) => prop_assert!(
                theirs.is_err()
                    || ["twice", "escape"].iter().any(|w| reject.detail.contains(w)),
                "{}: {}", text, reject.detail
            ),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(text) = text(&bytes)
            && let Ok(walk) = elements(text)
        {
            prop_assert!(walk.count() <= bytes.len());
        }
    }
}
