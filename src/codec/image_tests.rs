//! Images survive the round trip and no changed byte.

use super::*;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Columns {
    epoch: u64,
    states: Vec<u8>,
    names: Vec<String>,
    pair: Option<(u16, i64)>,
}

const KIND: u32 = 7;

fn columns(bytes: usize) -> Columns {
    Columns {
        epoch: 1 << 40,
        states: (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect(),
        names: vec!["a".into(), "é".into()],
        pair: Some((3, -1)),
    }
}

#[test]
fn sizes_around_the_block_round_trip() {
    for bytes in [0, 1, BLOCK_BYTES - 20, BLOCK_BYTES - 19, BLOCK_BYTES, 3 * BLOCK_BYTES + 5] {
        let value = columns(bytes);
        let image = encode(KIND, &value).unwrap();
        assert_eq!(decode::<Columns>(KIND, &image).unwrap(), value, "{bytes}");
        assert!(image.len() < bytes + 200, "{bytes}");
    }
    let unit = encode(KIND, &()).unwrap();
    decode::<()>(KIND, &unit).unwrap();
}

#[test]
fn every_flipped_byte_and_every_cut_is_refused() {
    let image = encode(KIND, &columns(300)).unwrap();
    for at in 0..image.len() {
        let mut bad = image.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(decode::<Columns>(KIND, &bad).is_err(), "byte {at}");
        assert!(decode::<Columns>(KIND, &image[..at]).is_err(), "cut at {at}");
    }
    let mut longer = image;
    longer.push(0);
    assert!(decode::<Columns>(KIND, &longer).is_err());
}

#[test]
fn blocks_cannot_change_places() {
    let image = encode(KIND, &columns(3 * BLOCK_BYTES)).unwrap();
    let block = BLOCK_HEAD_BYTES + BLOCK_BYTES;
    let mut swapped = image[..HEAD_BYTES].to_vec();
    swapped.extend_from_slice(&image[HEAD_BYTES + block..HEAD_BYTES + 2 * block]);
    swapped.extend_from_slice(&image[HEAD_BYTES..HEAD_BYTES + block]);
    swapped.extend_from_slice(&image[HEAD_BYTES + 2 * block..]);
    assert_eq!(swapped.len(), image.len());
    assert!(decode::<Columns>(KIND, &swapped).is_err());
}

#[test]
fn another_kind_is_named() {
    let image = encode(KIND, &columns(3)).unwrap();
    let refused = decode::<Columns>(KIND + 1, &image);
    assert!(matches!(refused, Err(Error::Unknown { kind: KIND, version: VERSION })));
    assert!(decode::<Vec<String>>(KIND, &image).is_err());
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(decode::<Columns>(KIND, &bytes));
    }
}
