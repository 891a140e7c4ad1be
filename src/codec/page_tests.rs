//! Pages come back as they were, and damage is seen.

use super::{Error, Summary, decode, encode, summary};
use crate::model::row::Row;
use proptest::prelude::*;

fn any_row() -> impl Strategy<Value = Row> {
    (any::<[u8; 5]>(), any::<[u32; 5]>(), any::<[u64; 3]>(), 0u64..1 << 40).prop_map(
        |(b, w, l, t)| Row {
            state: b[0] % 9,
            submit_priority: b[1] % 10,
            set_priority: b[2] % 10,
            errors: b[3],
            crashes: b[4],
            attempt: w[0],
            job: w[1],
            worker: w[2],
            submitted: t,
            available: t + u64::from(w[3] % 1_000),
            due: if b[2] > 99 { t + u64::from(w[3]) } else { 0 },
            set_after: w[3] % 3,
            tags: w[2] / 7,
            allocated: if b[0] > 99 { t + 5 } else { 0 },
            running: if b[0] > 99 && b[1] > 99 { t + 7 } else { 0 },
            record: l[0],
            entry: w[4],
            result_record: l[1],
            ..Row::default()
        },
    )
}

proptest! {
    #[test]
    fn a_page_comes_back_as_it_was(rows in proptest::collection::vec(any_row(), 0..200)) {
        prop_assert_eq!(decode(&encode(&rows)), Ok(rows));
    }

    #[test]
    fn any_flipped_bit_is_seen(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let row = |n: u32| Row { entry: n, job: n / 7, ..Row::default() };
        let rows: Vec<Row> = (0..300u32).map(row).collect();
        let mut bytes = encode(&rows);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(matches!(decode(&bytes), Err(Error::Damaged | Error::Version)));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(decode(&bytes).is_err());
    }
}

#[test]
fn a_page_of_untouched_tasks_costs_a_tenth_of_a_byte_each() {
    let rows: Vec<Row> = (0..1_024u32)
        .map(|n| Row { entry: n, record: 77, submitted: 9, available: 9, ..Row::default() })
        .collect();
    assert!(encode(&rows).len() < 130);
}

#[test]
fn a_summary_says_what_is_in_the_page() {
    let row = |state, job, submitted| Row { state, job, submitted, ..Row::default() };
    let rows = [row(2, 3, 50), row(5, 67, 60), row(2, 9, 55)];
    let wanted = Summary { states: 1 << 2 | 1 << 5, jobs: 1 << 3 | 1 << 9, admitted: [50, 60] };
    assert_eq!(summary(&encode(&rows)), Ok(wanted));
}

/// A change here is a change of the format: raise `VERSION`.
#[test]
fn the_layout_is_the_one_of_version_4() {
    let row = |n: u32| Row {
        state: 5,
        submit_priority: 6,
        job: n / 2,
        worker: 3,
        attempt: 1,
        submitted: 1_000,
        available: 1_000,
        allocated: 1_010 + u64::from(n),
        running: 1_020,
        ended: 2_000,
        record: 77,
        entry: n,
        payload_bytes: 64,
        tags: 3,
        ..Row::default()
    };
    let bytes = encode(&[row(0), row(1), row(2)]);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let wanted = concat!(
        "040300f9248d6220000300000000000000e803000000000000e803000000000000010a",
        "0200010c02000300030003000102020002000102010602000300030001d00f02000102",
        "0200011602020116020101d20f0200019a010200010002020180010200030003000300",
        "0300030001060200",
    );
    assert_eq!(hex, wanted);
}
