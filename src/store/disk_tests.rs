//! The tracker between starts against the naive model, which writes every element of an array out.

use super::naive_tests::{Model, P0, compare, fold};
use super::test_rig::{Folder, Writer, placed, steps};
use crate::model::event::Stamped;
use crate::model::id::Position;
use crate::model::time::WallMs;
use crate::store::Tracker;
use crate::store::memory::MemoryStore;
use crate::store::sled::SledStore;
use proptest::prelude::*;

/// Folds up to the cut, closes, opens again, folds the rest and compares everything.
fn continues(records: &[(Position, &Stamped)], cut: usize, model: &Model) {
    let folder = Folder::new();
    let disk = || Box::new(SledStore::open(&folder.0).expect("the store opens"));
    let cut = cut.min(records.len());
    let mut tracker = fold(disk(), &records[..cut]);
    tracker.checkpoint().expect("the disk takes it");
    drop(tracker);
    let mut tracker = Tracker::open(disk(), 1, 50, WallMs(0)).expect("the store opens");
    let cursor = if cut == 0 { 0 } else { records[cut - 1].0.0 + 1 };
    assert_eq!(tracker.cursors(), vec![Position(cursor)]);
    tracker.fold(P0, &records[cut..]);
    compare(&mut tracker, model, WallMs(5_000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_store_on_disk_continues_where_it_was(history in steps(200), cut in 0usize..400) {
        let log = Writer::run(&history);
        let records = placed(&log);
        let model = Model::of(&records);
        continues(&records, cut, &model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn an_array_is_its_elements(
        counts in proptest::collection::vec(1u64..2_600, 1..3),
        history in steps(40),
        cut in 0usize..40,
    ) {
        let mut writer = Writer::new();
        for (job, count) in counts.into_iter().enumerate() {
            writer.array(job, count);
            history.iter().for_each(|step| writer.step(*step));
        }
        let log = writer.log;
        let records = placed(&log);
        let model = Model::of(&records);
        compare(&mut fold(Box::new(MemoryStore::default()), &records), &model, WallMs(5_000));
        continues(&records, cut, &model);
    }
}
