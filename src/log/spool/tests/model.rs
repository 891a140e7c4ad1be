//! Any sequence of calls against a map, and the index against a plain list.

use super::*;
use crate::log::spool::index::{Index, Point, STRIDE_BYTES};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Call {
    Append { gap: u64, len: usize },
    Read(u64),
    Scan(u64),
    Trim(u64),
    Begin(u64),
    Reopen,
}

fn call() -> impl Strategy<Value = Call> {
    let len = prop_oneof![6 => 8..200_usize, 2 => 1_000..9_000_usize, 1 => 60_000..90_000_usize];
    let gap = prop_oneof![4 => Just(0), 1 => 1..5_u64];
    prop_oneof![
        30 => (gap, len).prop_map(|(gap, len)| Call::Append { gap, len }),
        10 => (0..200_u64).prop_map(Call::Read),
        4 => (0..200_u64).prop_map(Call::Scan),
        2 => (0..200_u64).prop_map(Call::Trim),
        1 => (0..50_u64).prop_map(Call::Begin),
        3 => Just(Call::Reopen),
    ]
}

/// What the spool must be like.
#[derive(Default)]
struct Model {
    records: BTreeMap<u64, Vec<u8>>,
    next: u64,
}

impl Model {
    fn run(&mut self, spool: &mut Spool, dir: &TempDir, segment_bytes: u64, call: &Call) {
        match *call {
            Call::Append { gap, len } => {
                let (offset, bytes) = (self.next + gap, value(self.next + gap, len));
                spool.append(offset, &bytes).unwrap();
                self.records.insert(offset, bytes);
                self.next = offset + 1;
            }
            Call::Read(offset) => {
                let read = spool.read(offset).unwrap();
                assert_eq!(read.as_deref(), self.records.get(&offset).map(Vec::as_slice));
            }
            Call::Scan(from) => {
                let kept = self.records.range(from..).map(|(offset, _)| *offset);
                assert_eq!(scanned(spool, from), kept.collect::<Vec<_>>());
            }
            Call::Trim(offset) => {
                spool.trim_below(offset).unwrap();
                let first = spool.first().unwrap_or(0);
                let gone = self.records.range(..first).next_back();
                assert!(gone.is_none_or(|(gone, _)| *gone < offset), "{gone:?} below {offset}");
                self.records.retain(|kept, _| *kept >= first);
            }
            Call::Begin(offset) => {
                spool.begin(offset).unwrap();
                *self = Self { records: BTreeMap::new(), next: offset };
            }
            Call::Reopen => {
                let (again, opened) = Spool::open(&dir.0, segment_bytes).unwrap();
                let records = self.records.len() as u64;
                assert_eq!(opened, Opened { records, cut_bytes: 0 });
                *spool = again;
            }
        }
        assert_eq!(spool.next(), self.next);
        assert_eq!(spool.first(), self.records.keys().next().copied());
        let last = spool.last().unwrap().map(|(offset, bytes)| (offset, bytes.to_vec()));
        assert_eq!(last, self.records.last_key_value().map(|(o, bytes)| (*o, bytes.clone())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn it_is_a_map(
        calls in prop::collection::vec(call(), 1..100),
        segment_bytes in prop_oneof![1 => Just(1_u64), 4 => Just(2_000), 4 => Just(300_000)],
    ) {
        let dir = TempDir::new("model");
        let mut spool = dir.open(segment_bytes);
        let mut model = Model::default();
        for call in &calls {
            model.run(&mut spool, &dir, segment_bytes, call);
        }
        for offset in 0..model.next + 2 {
            let read = spool.read(offset).unwrap();
            prop_assert_eq!(read.as_deref(), model.records.get(&offset).map(Vec::as_slice));
        }
    }

    #[test]
    fn an_index_leads_close_before_any_entry(
        steps in prop::collection::vec((1..4_u64, 16..40_000_u64), 1..300),
    ) {
        let (mut index, mut entries) = (Index::default(), Vec::new());
        let mut next = Point { offset: 5, place: 48 };
        for (offsets, bytes) in steps {
            entries.push(next);
            index.add(next);
            next = Point { offset: next.offset + offsets, place: next.place + bytes };
        }
        for offset in 0..next.offset + 3 {
            let wanted = entries.iter().rfind(|entry| entry.offset <= offset);
            let point = index.before(offset);
            prop_assert_eq!(point.is_some(), wanted.is_some());
            if let (Some(point), Some(wanted)) = (point, wanted) {
                prop_assert!(entries.contains(&point) && point.place <= wanted.place);
                prop_assert!(wanted.place - point.place < STRIDE_BYTES);
            }
        }
        prop_assert_eq!(index.first(), entries.first().copied());
        prop_assert_eq!(index.last(), entries.last().copied());
    }
}
