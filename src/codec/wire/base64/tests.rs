//! Vectors of the RFC, and one text per byte string.

use super::*;
use proptest::prelude::*;

fn encode(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    encode_into(&mut out, bytes);
    String::from_utf8(out).expect("base64 is ASCII")
}

#[test]
fn the_vectors_of_the_rfc_hold() {
    for (plain, text) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(encode(plain.as_bytes()), text);
        assert_eq!(decode(text).as_deref(), Some(plain.as_bytes()));
    }
}

#[test]
fn anything_not_canonical_is_refused() {
    for bad in ["Zg", "Zg=", "Zg===", "Zh==", "Z===", "====", "Zg==Zg==", "Zm9-", "Zm 9", "Zm9v\n"]
    {
        assert_eq!(decode(bad), None, "{bad:?}");
    }
}

proptest! {
    #[test]
    fn bytes_survive_the_round_trip(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
    }

    #[test]
    fn a_text_that_decodes_is_the_text_of_its_bytes(text in "[A-Za-z0-9+/=]{0,12}") {
        if let Some(bytes) = decode(&text) {
            prop_assert_eq!(encode(&bytes), text);
        }
    }
}
