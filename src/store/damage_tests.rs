//! Whatever happens to the stored bytes: the tracker either reads exactly what it wrote or folds
//! the log again. It never shows anything else.

use super::naive_tests::{Model, P0, compare};
use super::test_rig::{Folder, Step, Writer, placed};
use crate::model::event::Stamped;
use crate::model::id::{Position, TaskSeq};
use crate::model::time::WallMs;
use crate::store::block::Visit;
use crate::store::memory::MemoryStore;
use crate::store::sled::SledStore;
use crate::store::{BlockKey, Error, Kind, Tracker, TrackerStore};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const NOW: WallMs = WallMs(100_000);

/// A history that leaves blocks of every kind.
fn history() -> Vec<Stamped> {
    let mut writer = Writer::new();
    let mut bits = 1u32;
    for n in 0..4_000u32 {
        bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [kind, low, high, mix] = bits.to_be_bytes();
        // No job is cancelled before the end, or little would happen.
        let kind = if n < 3_900 { kind % 22 } else { kind % 24 };
        let step: Step = (kind, u16::from_be_bytes([low, high]), mix);
        writer.step(step);
        if n == 1_000 {
            writer.array(0, 3_000);
        }
    }
    writer.log
}

fn open(store: &MemoryStore) -> Tracker {
    Tracker::open(Box::new(store.clone()), 1, 50, NOW).expect("memory opens")
}

/// Two checkpoints in one store; also the blocks as they were at the first.
fn filled(records: &[(Position, &Stamped)]) -> (MemoryStore, BTreeMap<BlockKey, Vec<u8>>) {
    let store = MemoryStore::default();
    let mut tracker = open(&store);
    tracker.fold(P0, &records[..records.len() / 2]);
    tracker.checkpoint().expect("memory takes everything");
    let first = store.blocks().clone();
    tracker.fold(P0, &records[..records.len() - 20]);
    tracker.checkpoint().expect("memory takes everything");
    (store, first)
}

/// Opens what is left, folds what is missing, compares everything. True when it had to start at 0.
fn survives(store: &MemoryStore, records: &[(Position, &Stamped)], model: &Model) -> bool {
    let mut tracker = open(store);
    let again = tracker.cursors() == [Position(0)];
    tracker.fold(P0, records);
    compare(&mut tracker, model, NOW);
    again
}

#[test]
fn any_block_lost_flipped_swapped_or_old_is_noticed_at_the_next_start() {
    let log = history();
    let records = placed(&log);
    let model = Model::of(&records);
    let (store, first) = filled(&records);
    let whole = store.blocks().clone();
    assert!(!survives(&store, &records, &model), "nothing is wrong yet");
    for kind in Kind::ALL {
        assert!(whole.keys().any(|key| key.kind == kind), "the history leaves no {kind:?}");
    }
    // Every kind, the first and the last blocks of each: the checks do not look at numbers.
    let mut sample: Vec<BlockKey> = Vec::new();
    for kind in Kind::ALL {
        let keys: Vec<BlockKey> = whole.keys().filter(|k| k.kind == kind).copied().collect();
        sample.extend(keys.iter().take(2).chain(keys.iter().rev().take(2)));
    }
    let other = |key: &BlockKey| whole.iter().rev().find(|(k, _)| *k != key).expect("many").1;
    for key in sample {
        let bytes = &whole[&key];
        let mut flipped = bytes.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x10;
        let mut longer = bytes.clone();
        longer.push(0);
        let old = first.get(&key).filter(|old| *old != bytes).cloned();
        // An old head is an old checkpoint only with everything that belongs to it.
        let mut wrongs = vec![Some(flipped), Some(longer), Some(other(&key).clone()), None];
        wrongs.extend(old.map(Some));
        for wrong in wrongs {
            *store.blocks() = whole.clone();
            match wrong {
                Some(bytes) => drop(store.blocks().insert(key, bytes)),
                None => drop(store.blocks().remove(&key)),
            }
            assert!(survives(&store, &records, &model), "{key:?} is wrong and was believed");
        }
    }
    *store.blocks() = first;
    assert!(!survives(&store, &records, &model), "a whole earlier checkpoint is good");
}

#[test]
fn a_block_that_goes_bad_while_running_is_refused_and_healed_by_a_reset() {
    let log = history();
    let records = placed(&log);
    let model = Model::of(&records);
    let (store, _) = filled(&records);
    let mut tracker = open(&store);
    // What the start has read for the latest changes lies in the cache; the first page does not.
    let page = BlockKey::new(Kind::Page, 0, 0);
    store.blocks().get_mut(&page).expect("there is a first page")[40] ^= 1;
    assert_eq!(tracker.task(P0, TaskSeq(3)), None, "nothing wrong is shown");
    assert!(matches!(tracker.damage(), Some(Error::Damaged(_))));
    assert!(tracker.checkpoint().is_err(), "damage is never written");
    let cursor = tracker.cursors();
    tracker.fold(P0, &records);
    assert_eq!(tracker.cursors(), cursor, "nothing is folded on top of damage");
    tracker.reset().expect("memory can be emptied");
    assert_eq!(tracker.cursors(), [Position(0)]);
    tracker.fold(P0, &records);
    compare(&mut tracker, &model, NOW);
    tracker.checkpoint().expect("memory takes everything");
    assert!(!survives(&store, &records, &model), "and it is whole again");
}

#[test]
fn a_log_that_does_not_continue_the_store_is_damage() {
    let log = history();
    let records = placed(&log);
    let mut tracker = open(&MemoryStore::default());
    tracker.fold(P0, &records[..100]);
    assert!(tracker.damage().is_none());
    tracker.fold(P0, &records[200..]);
    assert!(tracker.damage().is_some(), "a hundred records are missing");
}

/// A store whose writes can be switched off.
struct Full {
    inner: MemoryStore,
    full: Arc<AtomicBool>,
}

impl TrackerStore for Full {
    fn get(&self, key: BlockKey) -> Result<Option<Vec<u8>>, Error> {
        self.inner.get(key)
    }
    fn each(&self, kind: Kind, visit: Visit<'_>) -> Result<(), Error> {
        self.inner.each(kind, visit)
    }
    fn write(&mut self, blocks: &[(BlockKey, Vec<u8>)]) -> Result<(), Error> {
        if self.full.load(Ordering::Relaxed) {
            return Err(Error::Backing("no space left".to_owned()));
        }
        self.inner.write(blocks)
    }
    fn reset(&mut self) -> Result<(), Error> {
        self.inner.reset()
    }
}

#[test]
fn a_full_disk_costs_nothing_but_the_checkpoint() {
    let log = history();
    let records = placed(&log);
    let model = Model::of(&records);
    let (inner, full) = (MemoryStore::default(), Arc::new(AtomicBool::new(true)));
    let store = Full { inner: inner.clone(), full: Arc::clone(&full) };
    let mut tracker = Tracker::open(Box::new(store), 1, 50, NOW).expect("memory opens");
    for (part, chunk) in records.chunks(records.len() / 5).enumerate() {
        tracker.fold(P0, chunk);
        assert_eq!(tracker.checkpoint().is_err(), part < 3);
        if part == 2 {
            full.store(false, Ordering::Relaxed);
        }
    }
    compare(&mut tracker, &model, NOW);
    assert!(!survives(&inner, &records, &model), "the last checkpoint has everything");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn flipped_bytes_in_the_files_of_sled_never_show(
        spots in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..=255), 1..4),
        cut in any::<bool>(),
    ) {
        let log = history();
        let records = placed(&log[..1_200]);
        let model = Model::of(&records);
        let folder = Folder::new();
        let disk = || {
            let store = SledStore::open(&folder.0.join("sled")).expect("the store opens");
            Tracker::open(Box::new(store), 1, 50, NOW).expect("the tracker opens")
        };
        let mut tracker = disk();
        for part in records.chunks(records.len() / 4) {
            tracker.fold(P0, part);
            tracker.checkpoint().expect("the disk takes it");
        }
        drop(tracker);
        let db = folder.0.join("sled").join("db");
        let mut bytes = std::fs::read(&db).expect("sled keeps its data in `db`");
        // Most of the file is the zeros of its last segment; damage the part that is used.
        let used = bytes.iter().rposition(|b| *b != 0).expect("something was written") + 1;
        for (at, flip) in &spots {
            bytes[at.index(used)] ^= flip;
        }
        if cut {
            bytes.truncate(spots[0].0.index(used));
        }
        std::fs::write(&db, bytes).expect("the file can be written");
        let mut tracker = disk();
        tracker.fold(P0, &records);
        compare(&mut tracker, &model, NOW);
    }
}
