//! The spool from outside: what goes in comes out, in order, also after it was opened again.

mod damage;
mod model;

use super::*;
use std::fs;

/// A directory of its own for each test, removed at the end.
struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kwq-spool-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        Self(path)
    }

    fn open(&self, segment_bytes: u64) -> Spool {
        Spool::open(&self.0, segment_bytes).unwrap().0
    }

    /// Files of segments, the oldest first.
    fn segments(&self) -> Vec<PathBuf> {
        let firsts = open::firsts(&self.0).unwrap();
        firsts.into_iter().map(|first| segment::path(&self.0, first)).collect()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The value of an offset; no two are equal.
fn value(offset: u64, len: usize) -> Vec<u8> {
    let seed = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    offset.to_le_bytes().into_iter().chain(seed.into_iter().cycle()).take(len.max(8)).collect()
}

fn append(spool: &Spool, offsets: impl IntoIterator<Item = u64>) {
    for offset in offsets {
        spool.append(offset, &value(offset, 20)).unwrap();
    }
}

fn scanned(spool: &Spool, from: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    let mut visit = |offset: u64, bytes: &[u8]| {
        assert_eq!(bytes, value(offset, bytes.len()), "bytes of {offset}");
        seen.push(offset);
        true
    };
    spool.scan(from, &mut visit).unwrap();
    seen
}

fn is_kept(spool: &Spool, offset: u64) -> bool {
    let read = spool.read(offset).unwrap();
    if let Some(bytes) = &read {
        assert_eq!(**bytes, value(offset, bytes.len()), "bytes of {offset}");
    }
    read.is_some()
}

#[test]
fn an_empty_spool_expects_offset_0() {
    let dir = TempDir::new("empty");
    for _ in 0..2 {
        let (spool, opened) = Spool::open(&dir.0, 1_000).unwrap();
        assert_eq!(opened, Opened::default());
        assert_eq!((spool.next(), spool.first(), spool.last().unwrap()), (0, None, None));
        assert!(!is_kept(&spool, 0) && !is_kept(&spool, 9));
        assert!(scanned(&spool, 0).is_empty());
    }
}

#[test]
fn records_are_read_one_by_one_and_in_order() {
    let dir = TempDir::new("order");
    let spool = dir.open(200);
    append(&spool, 0..50);
    assert!(dir.segments().len() > 5);
    assert_eq!(scanned(&spool, 0), (0..50).collect::<Vec<_>>());
    assert_eq!(scanned(&spool, 33), (33..50).collect::<Vec<_>>());
    assert!((0..50).all(|offset| is_kept(&spool, offset)) && !is_kept(&spool, 50));
    assert_eq!((spool.first(), spool.next()), (Some(0), 50));
    assert_eq!(spool.last().unwrap().unwrap(), (49, value(49, 20).into()));
    let mut seen = 0;
    spool.scan(0, &mut |offset, _| (seen = offset, offset < 7).1).unwrap();
    assert_eq!(seen, 7, "a scan ends when its visitor says so");
}

#[test]
fn offsets_may_have_gaps_but_only_rise() {
    let dir = TempDir::new("gaps");
    let offsets = [3, 4, 9, 100, 101, 1_000_000, u64::MAX - 1];
    let spool = dir.open(60);
    append(&spool, offsets);
    for again in [0, 101, u64::MAX - 1, u64::MAX] {
        let refused = spool.append(again, b"x");
        assert!(matches!(refused, Err(Error::Io { .. })), "{again}: {refused:?}");
    }
    for spool in [spool, dir.open(60)] {
        assert_eq!(scanned(&spool, 0), offsets);
        assert_eq!(scanned(&spool, 10), offsets[3..]);
        let around = offsets.iter().flat_map(|o| [o - 1, *o, o.saturating_add(1)]);
        for offset in around {
            assert_eq!(is_kept(&spool, offset), offsets.contains(&offset), "{offset}");
        }
        assert_eq!((spool.first(), spool.next()), (Some(3), u64::MAX));
    }
}

#[test]
fn it_goes_on_where_it_was_closed() {
    let dir = TempDir::new("reopen");
    for round in 0..10_u64 {
        let (spool, opened) = Spool::open(&dir.0, 300).unwrap();
        assert_eq!(opened, Opened { records: round * 7, cut_bytes: 0 });
        assert_eq!(spool.next(), round * 7);
        append(&spool, round * 7..round * 7 + 7);
        assert_eq!(scanned(&spool, 0), (0..round * 7 + 7).collect::<Vec<_>>());
        let size: u64 = dir.segments().iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        assert_eq!(spool.bytes(), size);
    }
}

#[test]
fn segments_below_an_offset_go_and_the_rest_stays() {
    let dir = TempDir::new("trim");
    let spool = dir.open(200);
    append(&spool, 0..50);
    let (before, files) = (spool.bytes(), dir.segments().len());
    spool.trim_below(0).unwrap();
    assert_eq!((spool.first(), spool.bytes()), (Some(0), before));
    spool.trim_below(30).unwrap();
    let first = spool.first().unwrap();
    assert!((1..=30).contains(&first) && spool.bytes() < before && dir.segments().len() < files);
    for spool in [spool, dir.open(200)] {
        assert_eq!(spool.first(), Some(first));
        assert_eq!(scanned(&spool, 0), (first..50).collect::<Vec<_>>());
        assert!(!is_kept(&spool, first - 1) && is_kept(&spool, first));
    }
    let (spool, opened) = Spool::open(&dir.0, 200).unwrap();
    assert_eq!(opened.records, 50 - first);
    spool.trim_below(u64::MAX).unwrap();
    assert_eq!(dir.segments().len(), 1, "the newest stays");
    assert_eq!((spool.next(), spool.last().unwrap().unwrap().0), (50, 49));
    append(&spool, 50..60);
    assert!(is_kept(&spool, 59));
}

#[test]
fn to_begin_anew_forgets_everything() {
    let dir = TempDir::new("begin");
    let spool = dir.open(200);
    append(&spool, 0..50);
    assert!(is_kept(&spool, 20) && is_kept(&spool, 45));
    spool.begin(20).unwrap();
    assert_eq!((spool.next(), spool.first(), spool.last().unwrap()), (20, None, None));
    assert!(!is_kept(&spool, 20) && !is_kept(&spool, 45) && scanned(&spool, 0).is_empty());
    assert_eq!(dir.segments().len(), 1);
    assert_eq!(dir.open(200).next(), 20, "an empty spool knows what it expects");
    assert!(matches!(spool.append(19, b"x"), Err(Error::Io { .. })));
    // The same offsets with other bytes, as in a topic that was created again.
    for offset in 22..40_u64 {
        spool.append(offset, &[9; 30]).unwrap();
    }
    for spool in [spool, dir.open(200)] {
        assert_eq!(*spool.read(22).unwrap().unwrap(), [9; 30]);
        assert_eq!(spool.read(20).unwrap(), None);
        assert_eq!((spool.first(), spool.next()), (Some(22), 40));
    }
}

#[test]
fn a_begin_that_was_cut_short_is_finished_when_opened() {
    let dir = TempDir::new("half-begin");
    append(&dir.open(200), 10..50);
    marker::write(&dir.0, 0).unwrap();
    let (spool, opened) = Spool::open(&dir.0, 200).unwrap();
    assert_eq!((spool.next(), opened.records, scanned(&spool, 0).len()), (0, 0, 0));
    drop(spool);
    assert_eq!(Spool::open(&dir.0, 200).unwrap().1, Opened::default());
}

#[test]
fn what_is_removed_under_a_scan_does_not_fail_it() {
    let dir = TempDir::new("scan-trim");
    let spool = dir.open(200);
    append(&spool, 0..50);
    let mut seen = Vec::new();
    let visit = &mut |offset, _: &[u8]| {
        if seen.is_empty() {
            spool.trim_below(40).unwrap();
        }
        seen.push(offset);
        true
    };
    spool.scan(0, visit).unwrap();
    assert!(seen.is_sorted() && seen.contains(&0) && (40..50).all(|o| seen.contains(&o)));
    let mut seen = 0;
    let visit = &mut |_, _: &[u8]| {
        seen += 1;
        spool.begin(7).is_ok()
    };
    spool.scan(40, visit).unwrap();
    assert!(seen >= 1 && scanned(&spool, 0).is_empty());
    assert!(!dir.0.join("damaged").exists());
}

#[test]
fn readers_see_whole_records_while_appends_go_on() {
    const RECORDS: u64 = 3_000;
    let dir = TempDir::new("threads");
    let spool = dir.open(20_000);
    let reader = |step: u64| {
        let mut from = 0;
        loop {
            let next = spool.next();
            let seen = scanned(&spool, from);
            let end = seen.last().map_or(from, |last| last + 1);
            assert!(end >= next && seen == (from..end).collect::<Vec<_>>());
            assert!((0..end).rev().step_by(97).take(20).all(|offset| is_kept(&spool, offset)));
            assert!(spool.last().unwrap().is_none_or(|(last, _)| last + 1 >= end));
            from = end.saturating_sub(step);
            if end == RECORDS {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for offset in 0..RECORDS {
                let len = usize::try_from(offset % 200).unwrap();
                spool.append(offset, &value(offset, len)).unwrap();
            }
        });
        scope.spawn(|| reader(0));
        scope.spawn(|| reader(500));
    });
    assert!(dir.segments().len() > 5);
}

#[test]
fn few_records_are_kept_in_memory_and_few_files_open() {
    let dir = TempDir::new("bounds");
    let spool = dir.open(60);
    append(&spool, 0..200);
    assert!(dir.segments().len() > 90);
    for offset in 0..200 {
        assert!(is_kept(&spool, offset));
        assert!(spool.records.len() <= cache::RECORDS_KEPT && spool.files.len() <= 31);
    }
    assert_eq!((spool.records.len(), spool.files.len()), (cache::RECORDS_KEPT, 31));
    assert!(Arc::ptr_eq(&spool.read(199).unwrap().unwrap(), &spool.read(199).unwrap().unwrap()));
    // The one used last stays, whatever came in between.
    let kept = spool.read(150).unwrap().unwrap();
    for offset in 0..63 {
        assert!(is_kept(&spool, offset));
    }
    assert!(Arc::ptr_eq(&spool.read(150).unwrap().unwrap(), &kept));
}

#[test]
fn large_values_are_carried_but_not_hoarded() {
    let dir = TempDir::new("large");
    let spool = dir.open(1 << 20);
    let largest = vec![5; walk::VALUE_BYTES_MAX];
    spool.append(0, &largest).unwrap();
    for offset in 1..6_u64 {
        spool.append(offset, &value(offset, 4 << 20)).unwrap();
    }
    let beyond = spool.append(6, &vec![0; walk::VALUE_BYTES_MAX + 1]);
    assert!(matches!(beyond, Err(Error::Io { .. })), "{beyond:?}");
    for spool in [spool, dir.open(1 << 20)] {
        assert!(*spool.read(0).unwrap().unwrap() == *largest);
        assert_eq!(spool.records.len(), 0, "it would drive out all others");
        assert!((1..6).all(|offset| is_kept(&spool, offset)));
        assert_eq!(spool.records.len(), 4, "16 MiB together");
        assert_eq!(scanned(&spool, 1), [1, 2, 3, 4, 5]);
    }
}
