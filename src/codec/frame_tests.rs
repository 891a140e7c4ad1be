//! A frame reads back at its own place only, and not after any change.

use super::*;

const PLACE: Place = Place { segment: 4_096, position: Position(5_000) };
const HEAD: Head = Head {
    kind: KIND_EVENT_MIN,
    partition: PartitionId(3),
    synced_to: Position(4_900),
    epoch: Epoch(4_300),
    at: WallMs(1_760_000_000_000),
};

fn framed() -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, PLACE, &HEAD, b"body");
    out
}

#[test]
fn the_bytes_of_a_frame_are_the_golden_ones() {
    let hex: String = framed().iter().map(|b| format!("{b:02x}")).collect();
    let golden = "04000000df8cf7140110030064000000cc10000000000000\
                  00c02cc899010000626f6479";
    assert_eq!(hex, golden);
}

#[test]
fn a_frame_reads_back_and_says_its_length() {
    let bytes = framed();
    let frame = read(&bytes, PLACE).unwrap();
    assert_eq!((frame.head, frame.body, frame.bytes()), (HEAD, &b"body"[..], bytes.len()));
    assert_eq!(frame_bytes(&bytes), Some(bytes.len()));
}

#[test]
fn no_changed_or_missing_byte_and_no_other_place_reads() {
    let bytes = framed();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            assert!(read(&bad, PLACE).is_err(), "bit {bit} of byte {at}");
        }
        assert!(read(&bytes[..at], PLACE).is_err(), "cut at {at}");
    }
    assert!(read(&bytes, Place { position: Position(5_001), ..PLACE }).is_err());
    assert!(read(&bytes, Place { segment: 0, ..PLACE }).is_err());
}

#[test]
fn a_length_beyond_the_limit_is_none() {
    assert_eq!(frame_bytes(&[255; 4]), None);
    assert_eq!(frame_bytes(&[1, 0, 0]), None);
}

#[test]
fn a_distance_too_far_proves_nothing() {
    let far = Place { segment: 0, position: Position(1 << 40) };
    let mut out = Vec::new();
    put(&mut out, far, &Head { synced_to: Position(5), ..HEAD }, b"");
    assert_eq!(read(&out, far).unwrap().head.synced_to, Position(0));
}

#[test]
fn a_seal_reads_back_and_a_number_beyond_its_count_does_not() {
    let synced_to = Position(1 << 40);
    let seal = Seal { synced_to, crc: 7, records: 9, number: 1, count: 2 };
    assert_eq!(Seal::decode(&seal.encode()), Ok(seal));
    assert!(Seal::decode(&Seal { number: 2, ..seal }.encode()).is_err());
    assert!(Seal::decode(&seal.encode()[1..]).is_err());
}
