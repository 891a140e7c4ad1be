//! A cursor fits its list, for an hour, in this process only.

use super::*;
use proptest::prelude::*;

const NOW: WallMs = WallMs(1_000_000);

#[test]
fn a_cursor_is_good_for_its_list_and_an_hour() {
    let seal = Seal::new([1, 2]);
    let text = seal.wrap("tasks-new", &pack(&[3, u64::MAX, 0]), NOW);
    assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    let data = seal.unwrap("tasks-new", &text, NOW.plus(LIFE_MS - 1)).expect("good");
    assert_eq!(unpack(&data), Some(vec![3, u64::MAX, 0]));
    assert!(seal.unwrap("tasks-old", &text, NOW).is_err(), "another list");
    assert!(seal.unwrap("tasks-new", &text, NOW.plus(LIFE_MS)).is_err(), "too old");
    assert!(Seal::new([1, 3]).unwrap("tasks-new", &text, NOW).is_err(), "another process");
}

proptest! {
    #[test]
    fn a_changed_cursor_is_refused(at in 0usize..40, to in "[A-Za-z0-9_-]") {
        let seal = Seal::new([1, 2]);
        let text = seal.wrap("k", &[1, 2, 3, 4], NOW);
        let mut bytes = text.clone().into_bytes();
        let at = at % bytes.len();
        bytes[at] = to.as_bytes()[0];
        let changed = String::from_utf8(bytes).expect("ASCII");
        prop_assert_eq!(seal.unwrap("k", &changed, NOW).is_ok(), changed == text);
    }

    #[test]
    fn numbers_survive_packing(numbers in prop::collection::vec(any::<u64>(), 0..20)) {
        prop_assert_eq!(unpack(&pack(&numbers)), Some(numbers));
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,60}") {
        prop_assert!(Seal::new([1, 2]).unwrap("k", &text, NOW).is_err());
    }
}
