//! Lists over several partitions.

use super::naive_tests::{Model, Texts, all_pages};
use super::test_rig::spec;
use crate::model::event::{Event, Stamped};
use crate::model::id::{PartitionId, Position, TaskSeq};
use crate::model::time::WallMs;
use crate::model::view::{Order, TaskQuery};
use crate::store::Tracker;
use crate::store::memory::MemoryStore;

#[test]
fn several_partitions_are_listed_in_order_of_admission() {
    let store = Box::new(MemoryStore::default());
    let mut tracker = Tracker::open(store, 3, 50, WallMs(0)).expect("the store opens");
    for (at, partition, first) in [(10, 0, 0), (20, 2, 0), (30, 1, 0), (40, 0, 2), (50, 2, 2)] {
        let tasks = vec![spec("j", 5, None, 0); 2];
        let event = Event::Submitted { first: TaskSeq(first), tasks };
        let record = Stamped { at: WallMs(at), event };
        tracker.fold(PartitionId(partition), &[(Position(at), &record)]);
    }
    for budget in [1, 2, 3, 100] {
        let q = TaskQuery { order: Order::Old, limit: 3, ..TaskQuery::default() };
        let rows = all_pages(&mut tracker, &Texts(&Model::default()), q, budget);
        let found: Vec<_> = rows.iter().map(|r| (r.submitted.0, r.seq.0)).collect();
        let wanted = [10, 10, 20, 20, 30, 30, 40, 40, 50, 50]
            .into_iter()
            .zip([0, 1, 0, 1, 0, 1, 2, 3, 2, 3]);
        assert_eq!(found, wanted.collect::<Vec<_>>());
    }
}
