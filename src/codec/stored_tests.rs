//! Stored records: back as they were, and any damage is an error.

use super::{checksum, decode, decode_packed, encode, encode_packed};
use proptest::prelude::*;

proptest! {
    #[test]
    fn records_come_back_as_they_were(texts in proptest::collection::vec("[a-c]{0,40}", 0..60)) {
        prop_assert_eq!(decode::<Vec<String>>(&encode(&texts)), Ok(texts.clone()));
        prop_assert_eq!(decode_packed::<Vec<String>>(&encode_packed(&texts)), Ok(texts));
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode::<Vec<String>>(&bytes).is_err());
        if let Some(first) = bytes.first_mut() {
            *first %= 2;
        }
        prop_assert!(decode_packed::<Vec<String>>(&bytes).is_err());
    }

    #[test]
    fn any_flipped_bit_is_seen(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let texts = vec!["the volatility surface has no point at 25y"; 16];
        let whole = encode_packed(&texts);
        let mut bytes = whole.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(checksum(&bytes) != checksum(&whole));
        // LZ4 has many spellings of one text; what comes out is right or an error.
        let read = decode_packed::<Vec<String>>(&bytes);
        prop_assert!(read.is_err() || read == Ok(texts.iter().map(|t| (*t).to_owned()).collect()));
    }
}

#[test]
fn repeated_text_is_packed_and_a_short_record_is_not() {
    let many = vec!["the volatility surface has no point at 25y"; 16];
    assert!(encode_packed(&many).len() < encode(&many).len() / 4);
    assert_eq!(encode_packed(&7u8).len(), encode(&7u8).len() + 1);
}
