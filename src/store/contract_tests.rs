//! What every [`TrackerStore`] promises; one suite, every back end.

use super::test_rig::Folder;
use crate::store::memory::MemoryStore;
use crate::store::sled::SledStore;
use crate::store::{BlockKey, Kind, TrackerStore};

/// Opens the same store again and again.
type Open<'a> = &'a dyn Fn() -> Box<dyn TrackerStore>;

fn on_every_store(check: impl Fn(Open<'_>)) {
    let memory = MemoryStore::default();
    check(&|| Box::new(memory.clone()));
    let folder = Folder::new();
    check(&|| Box::new(SledStore::open(&folder.0.join("sled")).expect("the store opens")));
}

fn key(partition: u16, number: u64) -> BlockKey {
    BlockKey::new(Kind::Page, partition, number)
}

fn all(store: &dyn TrackerStore, kind: Kind) -> Vec<(BlockKey, Vec<u8>)> {
    let mut found = Vec::new();
    let mut visit = |key, bytes: &[u8]| {
        found.push((key, bytes.to_vec()));
        Ok(())
    };
    store.each(kind, &mut visit).expect("the store can be read");
    found
}

#[test]
fn what_was_written_is_read_back_also_after_a_restart() {
    on_every_store(|open| {
        let mut store = open();
        assert_eq!(store.get(key(0, 1)).expect("readable"), None);
        store.write(&[(key(0, 1), vec![1; 7_000]), (key(0, 2), vec![3])]).expect("written");
        store.write(&[(key(0, 1), vec![2; 100_000])]).expect("written");
        for _ in 0..2 {
            assert_eq!(store.get(key(0, 1)).expect("readable"), Some(vec![2; 100_000]));
            assert_eq!(store.get(key(0, 2)).expect("readable"), Some(vec![3]));
            assert_eq!(store.get(key(1, 1)).expect("readable"), None);
            drop(store);
            store = open();
        }
    });
}

#[test]
fn an_empty_block_removes_what_was_there_also_after_a_restart() {
    on_every_store(|open| {
        let mut store = open();
        store.write(&[(key(0, 1), vec![1]), (key(0, 2), vec![2])]).expect("written");
        store.write(&[(key(0, 1), vec![]), (key(0, 3), vec![])]).expect("removed");
        for _ in 0..2 {
            assert_eq!(store.get(key(0, 1)).expect("readable"), None);
            assert_eq!(all(&*store, Kind::Page), [(key(0, 2), vec![2])]);
            drop(store);
            store = open();
        }
    });
}

#[test]
fn blocks_of_a_kind_come_in_the_order_of_partition_and_number() {
    on_every_store(|open| {
        let mut store = open();
        let keys = [key(1, 0), key(0, 256), key(0, 1), key(300, 2), key(0, u64::MAX)];
        let blocks: Vec<_> = keys.iter().map(|k| (*k, k.number.to_le_bytes().to_vec())).collect();
        store.write(&blocks).expect("written");
        store.write(&[(BlockKey::new(Kind::Table, 0, 1), vec![9])]).expect("written");
        let mut wanted = blocks;
        wanted.sort_by_key(|(key, _)| (key.partition, key.number));
        assert_eq!(all(&*store, Kind::Page), wanted);
        assert_eq!(all(&*store, Kind::Table).len(), 1);
        assert_eq!(all(&*store, Kind::Names), []);
    });
}

#[test]
fn a_visitor_may_stop_the_walk() {
    on_every_store(|open| {
        let mut store = open();
        store.write(&[(key(0, 1), vec![1]), (key(0, 2), vec![2])]).expect("written");
        let mut seen = 0;
        let stopped = store.each(Kind::Page, &mut |_, _| {
            seen += 1;
            Err(crate::store::Error::Damaged("enough".to_owned()))
        });
        assert!(stopped.is_err());
        assert_eq!(seen, 1);
    });
}

#[test]
fn after_a_reset_nothing_is_left_also_after_a_restart() {
    on_every_store(|open| {
        let mut store = open();
        store.write(&[(key(0, 1), vec![1])]).expect("written");
        store.reset().expect("emptied");
        assert_eq!(all(&*store, Kind::Page), []);
        store.write(&[(key(0, 2), vec![2])]).expect("an emptied store takes blocks");
        drop(store);
        assert_eq!(all(&*open(), Kind::Page), [(key(0, 2), vec![2])]);
    });
}

#[test]
fn keys_sort_as_their_bytes_do() {
    let keys = [
        BlockKey::new(Kind::Details, 0, 9),
        BlockKey::new(Kind::Page, 0, 255),
        BlockKey::new(Kind::Page, 0, 256),
        BlockKey::new(Kind::Page, 1, 0),
        BlockKey::new(Kind::Table, 0, 0),
    ];
    for pair in keys.windows(2) {
        assert!(pair[0] < pair[1] && pair[0].bytes() < pair[1].bytes());
        assert_eq!(BlockKey::parse(&pair[0].bytes()), Some(pair[0]));
    }
    assert_eq!(BlockKey::parse(b"x0123456789"), None);
}

#[test]
fn a_directory_that_sled_cannot_open_is_begun_anew() {
    for what in ["leftover", "rubbish", "cut", "a file in its place"] {
        let folder = Folder::new();
        let dir = folder.0.join("sled");
        let mut store = SledStore::open(&dir).expect("the store opens");
        store.write(&[(key(0, 1), vec![1; 20_000])]).expect("written");
        drop(store);
        let db = dir.join("db");
        match what {
            "leftover" => std::fs::write(dir.join("snap.0000.generating"), b"half").ok(),
            "rubbish" => std::fs::write(&db, vec![0x5a; 600_000]).ok(),
            "cut" => {
                let bytes = std::fs::read(&db).expect("there is a file");
                std::fs::write(&db, &bytes[..bytes.len() / 3 + 7]).ok()
            }
            _ => {
                std::fs::remove_dir_all(&dir).expect("deletable");
                std::fs::write(&dir, b"not a directory").ok()
            }
        }
        .expect("the damage is done");
        let mut store = SledStore::open(&dir).expect("it opens whatever lies there");
        store.write(&[(key(0, 2), vec![3])]).expect("and it works");
        assert_eq!(store.get(key(0, 2)).expect("readable"), Some(vec![3]), "{what}");
        drop(store);
        drop(SledStore::open(&dir).expect("and again"));
        assert!(!folder.0.join("sled.doubt.tmp").exists(), "what was moved aside is deleted");
    }
}
