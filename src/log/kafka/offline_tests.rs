//! Stopped copies: what is wrong with one is told, what is whole is shown, nothing is changed.

use super::*;
use crate::codec::changelog;
use crate::model::event::Event;
use crate::model::id::Epoch;
use crate::model::time::WallMs;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

const PARTITIONS: u16 = 3;
const RECORDS: u64 = 9;

/// A data directory of three partitions with nine records in three segments each.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = Self(std::env::temp_dir().join(format!("kwq-offline-{process}-{count}")));
        drop(fs::remove_dir_all(&dir.0));
        fs::create_dir_all(dir.0.join("kafka/spool")).unwrap();
        fs::create_dir_all(dir.0.join("kafka/images")).unwrap();
        let (head, entry) = sizes();
        for id in 0..PARTITIONS {
            let spool = Spool::open(&dir.spool(id), (head + 3 * entry) as u64).unwrap().0;
            (0..RECORDS).for_each(|offset| spool.append(offset, &record()).unwrap());
        }
        assert_eq!(dir.segments(1).len(), 3, "the tests have a first, a middle and a last one");
        dir
    }

    fn spool(&self, id: u16) -> PathBuf {
        self.0.join(format!("kafka/spool/{id}"))
    }

    fn segments(&self, id: u16) -> Vec<PathBuf> {
        names(&self.spool(id)).unwrap().iter().map(|name| self.spool(id).join(name)).collect()
    }

    /// Every file and its bytes, but for the lock.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let (mut files, mut dirs) = (BTreeMap::new(), vec![self.0.clone()]);
        while let Some(dir) = dirs.pop() {
            for path in names(&dir).unwrap().iter().map(|name| dir.join(name)) {
                if path.is_dir() {
                    dirs.push(path);
                } else if !path.ends_with("lock") {
                    files.insert(path.clone(), fs::read(&path).unwrap());
                }
            }
        }
        files
    }

    /// The verdict, and what a dump shows: records of each partition, and how it ends.
    fn look(&self) -> (Verdict, Vec<usize>, Result<Vec<Cut>, Error>) {
        let before = self.files();
        let verdict = verify(&self.0).unwrap();
        let mut seen = vec![0; usize::from(PARTITIONS)];
        let dumped = dump(&self.0, None, Position(0), &mut |record| {
            seen[record.partition.index()] += 1;
            true
        });
        let opened = Offline::open(&self.0).map(|log| {
            let all = (0..PARTITIONS).map(|n| (PartitionId(n), Position(0)));
            log.scan(&all.collect::<Vec<_>>(), &mut |_| true)
        });
        let hashed = opened.and_then(|scanned| scanned);
        assert_eq!(hashed.is_ok(), dumped.is_ok(), "{hashed:?}, {dumped:?}");
        assert_eq!(self.files(), before, "a look changes nothing");
        (verdict, seen, dumped)
    }

    /// The damage found, as file and byte, and the records shown.
    fn damage(&self) -> (String, u64, Vec<usize>) {
        let (verdict, seen, dumped) = self.look();
        let Verdict::Damage { segment, offset, reason } = verdict else { panic!("{verdict:?}") };
        let Err(Error::Damaged { segment: file, offset: place, .. }) = dumped else {
            panic!("{dumped:?}")
        };
        assert_eq!((&file, place), (&segment, offset), "{reason}");
        (segment, offset, seen)
    }

    /// The torn tail found, as file and first byte, its bytes, and the records shown.
    fn torn(&self) -> (String, u64, u64, Vec<usize>) {
        let (verdict, seen, dumped) = self.look();
        let Verdict::TornTail { segment, from, bytes, records } = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!(records, seen.iter().sum::<usize>() as u64);
        assert_eq!(dumped.unwrap(), [Cut { segment: segment.clone(), from, bytes }]);
        (segment, from.0, bytes, seen)
    }

    fn below(&self, path: &Path) -> String {
        path.strip_prefix(&self.0).unwrap().display().to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn record() -> Vec<u8> {
    let event = Event::Owner { node: "me".into(), addr: "a:1".into(), token_key: [1, 2] };
    changelog::encode(Epoch(0), &[Stamped { at: WallMs(7), event }]).unwrap()
}

/// Bytes of the head of a file, and of an entry.
fn sizes() -> (usize, usize) {
    (48, 16 + record().len())
}

/// Number of the entry that a byte of a file belongs to, and the byte where that begins.
fn entry_at(byte: usize) -> (Option<usize>, u64) {
    let (head, entry) = sizes();
    let number = byte.checked_sub(head).map(|byte| byte / entry);
    (number, number.map_or(0, |number| head + number * entry) as u64)
}

#[test]
fn a_whole_copy_is_intact() {
    let dir = Dir::new();
    let (verdict, seen, dumped) = dir.look();
    let end = Position(place::position(RECORDS - 1, 0).0 + 1);
    assert_eq!(verdict, Verdict::Intact { records: 27, end });
    assert_eq!((seen, dumped.unwrap()), (vec![9, 9, 9], Vec::new()));
}

#[test]
fn a_flipped_byte_is_named() {
    let dir = Dir::new();
    for (number, path) in (0..).zip(dir.segments(1)) {
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(5) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            let before = number * 3;
            let (in_entry, place) = entry_at(at);
            let seen = before + in_entry.unwrap_or(0);
            if number == 2 && in_entry == Some(2) {
                let torn = (dir.below(&path), place, sizes().1 as u64, vec![9, 8, 9]);
                assert_eq!(dir.torn(), torn, "byte {at}");
            } else {
                let damage = (dir.below(&path), place, vec![9, seen, 9]);
                assert_eq!(dir.damage(), damage, "byte {at} of segment {number}");
            }
        }
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn a_file_cut_short_is_torn_only_at_the_very_end() {
    let dir = Dir::new();
    let (head, entry) = sizes();
    let segments = dir.segments(2);
    let newest = fs::read(&segments[2]).unwrap();
    for len in (0..newest.len()).step_by(7) {
        fs::write(&segments[2], &newest[..len]).unwrap();
        let (in_entry, place) = entry_at(len);
        let seen = 6 + in_entry.unwrap_or(0);
        if len as u64 == place && len > 0 {
            assert!(matches!(dir.look().0, Verdict::Intact { .. }), "cut between two records");
            continue;
        }
        let torn = (dir.below(&segments[2]), place, len as u64 - place, vec![9, 9, seen]);
        assert_eq!(dir.torn(), torn, "of {len} bytes");
    }
    fs::write(&segments[2], &newest).unwrap();
    let first = fs::read(&segments[0]).unwrap();
    for len in [first.len() - 1, head + entry, 50, 20] {
        fs::write(&segments[0], &first[..len]).unwrap();
        let (file, _, seen) = dir.damage();
        assert_eq!(file, dir.below(&segments[0]), "of {len} bytes");
        assert!(seen[2] < 3, "{seen:?}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let dir = Dir::new();
    let segments = dir.segments(0);
    for (number, path) in segments[..2].iter().enumerate() {
        let bytes = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!(dir.damage(), (dir.below(path), 0, vec![number * 3, 9, 9]));
        fs::write(path, bytes).unwrap();
    }
    fs::remove_dir_all(dir.spool(1)).unwrap();
    assert_eq!(dir.damage(), ("kafka/spool/1".to_owned(), 0, vec![9, 0, 9]));
    fs::create_dir(dir.spool(1)).unwrap();
    assert_eq!(dir.damage(), ("kafka/spool/1".to_owned(), 0, vec![9, 0, 9]));
    // Only an image says that there was one more.
    let dir = Dir::new();
    images::write(&dir.0.join("kafka/images"), PartitionId(3), Position(7), b"an image").unwrap();
    assert_eq!(dir.damage(), ("kafka/spool/3".to_owned(), 0, vec![9, 9, 9]));
}

#[test]
fn damage_of_any_partition_comes_before_a_torn_tail() {
    let dir = Dir::new();
    let torn = dir.segments(0).pop().unwrap();
    let bytes = fs::read(&torn).unwrap();
    fs::write(&torn, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(dir.torn().3, [8, 9, 9]);
    fs::write(dir.spool(2).join("damaged"), "0000000000000003\n").unwrap();
    assert_eq!(dir.damage(), ("kafka/spool/2/damaged".to_owned(), 0, vec![8, 9, 9]));
}

#[test]
fn a_record_that_is_no_batch_is_damage() {
    let dir = Dir::new();
    let (head, entry) = sizes();
    let path = dir.segments(1).pop().unwrap();
    let spool = Spool::open(&dir.spool(1), 1_000).unwrap().0;
    spool.append(RECORDS, b"no batch").unwrap();
    spool.append(RECORDS + 1, &record()).unwrap();
    drop(spool);
    assert_eq!(dir.damage(), (dir.below(&path), (head + 3 * entry) as u64, vec![9, 9, 9]));
}
