//! Torn tails, flipped bytes, files that are gone, full disks: what is answered is right or an
//! error, and opening again heals.

use super::*;
use crate::log::spool::index::Point;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

const SEGMENT_BYTES: u64 = 150;
const RECORDS: u64 = 20;

fn flip(path: &Path, place: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], place).unwrap();
}

fn filled(name: &str) -> TempDir {
    let dir = TempDir::new(name);
    append(&dir.open(SEGMENT_BYTES), 0..RECORDS);
    assert!(dir.segments().len() > 4);
    dir
}

/// Puts the files back as they were, without the syncs of writing them again.
fn restore(dir: &TempDir, files: &[(PathBuf, Vec<u8>)]) {
    fs::remove_dir_all(&dir.0).unwrap();
    fs::create_dir(&dir.0).unwrap();
    files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
}

/// Whatever was kept reads as it was written or says that it is damaged; nothing is passed over.
/// Answers whether damage was seen.
fn reads_right(spool: &Spool) -> bool {
    let mut damaged = false;
    for offset in 0..spool.next() {
        match spool.read(offset) {
            Ok(Some(bytes)) => assert_eq!(*bytes, *value(offset, 20)),
            Ok(None) => panic!("record {offset} was passed over"),
            Err(Error::Damaged { .. }) => damaged = true,
            Err(error) => panic!("{error}"),
        }
    }
    let mut expected = 0;
    let visit = &mut |offset, bytes: &[u8]| {
        assert_eq!((offset, bytes), (expected, &*value(offset, 20)));
        expected += 1;
        true
    };
    match spool.scan(0, visit) {
        Ok(()) => assert_eq!(expected, spool.next()),
        Err(Error::Damaged { .. }) => damaged = true,
        Err(error) => panic!("{error}"),
    }
    damaged
}

/// Opens it, reads again what is missing, and finds it whole.
fn heals(dir: &TempDir) {
    let spool = dir.open(SEGMENT_BYTES);
    append(&spool, spool.next()..RECORDS);
    assert!(!reads_right(&spool));
    drop(spool);
    let (spool, opened) = Spool::open(&dir.0, SEGMENT_BYTES).unwrap();
    assert_eq!(opened, Opened { records: RECORDS, cut_bytes: 0 });
    assert!(!reads_right(&spool) && !dir.0.join("damaged").exists());
}

#[test]
fn a_tail_torn_at_any_byte_is_cut() {
    let entry = value(0, 20).len() as u64 + walk::HEAD_BYTES as u64;
    for zeros in [false, true] {
        for left in 0..entry {
            let dir = TempDir::new("torn");
            append(&dir.open(10_000), 0..5);
            let path = &dir.segments()[0];
            let whole = fs::metadata(path).unwrap().len();
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(whole - entry + left).unwrap();
            if zeros {
                file.set_len(whole).unwrap();
            }
            let cut_bytes = if zeros { entry } else { left };
            let (spool, opened) = Spool::open(&dir.0, 10_000).unwrap();
            assert_eq!(opened, Opened { records: 4, cut_bytes });
            assert_eq!(scanned(&spool, 0), [0, 1, 2, 3]);
            append(&spool, 4..7);
            drop(spool);
            assert_eq!(scanned(&dir.open(10_000), 0), (0..7).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_byte_flipped_in_the_newest_segment_cuts_it_there() {
    let dir = filled("newest");
    let path = dir.segments().pop().unwrap();
    for place in 0..fs::metadata(&path).unwrap().len() {
        flip(&path, place);
        let (spool, opened) = Spool::open(&dir.0, SEGMENT_BYTES).unwrap();
        assert!(opened.cut_bytes > 0 && opened.records < RECORDS, "byte {place}");
        assert_eq!(opened.records, spool.next());
        assert!(!reads_right(&spool), "byte {place}");
        drop(spool);
        heals(&dir);
    }
}

#[test]
fn a_byte_flipped_in_an_older_segment_is_found_when_read() {
    let dir = filled("older");
    let files = dir.segments().into_iter().map(|path| (path.clone(), fs::read(path).unwrap()));
    let files: Vec<_> = files.collect();
    // Each byte costs syncs, so only some of the oldest segment.
    for (which, step) in [(0, 5), (1, 1)] {
        let path = dir.segments().remove(which);
        let first = open::firsts(&dir.0).unwrap()[which];
        for place in (0..fs::metadata(&path).unwrap().len()).step_by(step) {
            flip(&path, place);
            let (spool, opened) = Spool::open(&dir.0, SEGMENT_BYTES).unwrap();
            let damaged = reads_right(&spool);
            assert!(damaged || opened.cut_bytes > 0, "byte {place} of {first} went unseen");
            drop(spool);
            let (spool, opened) = Spool::open(&dir.0, SEGMENT_BYTES).unwrap();
            assert_eq!(spool.next(), first, "it and all newer ones go");
            assert!(!damaged || opened.cut_bytes > 0);
            drop(spool);
            if place % 40 == 0 {
                heals(&dir);
            }
            restore(&dir, &files);
        }
    }
}

#[test]
fn a_length_that_leads_over_an_entry_is_damage() {
    let dir = TempDir::new("leads-over");
    let spool = dir.open(600);
    for offset in 0..30_u64 {
        spool.append(offset, &value(offset, 48)).unwrap();
    }
    drop(spool);
    // An entry has 64 bytes here, so that this length leads to the one after the next.
    let file = OpenOptions::new().write(true).open(&dir.segments()[0]).unwrap();
    let place = segment::HEADER_BYTES + 3 * 64;
    file.write_all_at(&(48_u32 + 64).to_le_bytes(), place).unwrap();
    let spool = dir.open(600);
    for offset in [3, 4] {
        let Err(Error::Damaged { offset: at, .. }) = spool.read(offset) else {
            panic!("record {offset} was passed over");
        };
        assert_eq!(at, place);
    }
    assert!(is_kept(&spool, 2) && is_kept(&spool, 20));
}

#[test]
fn damage_is_noted_by_the_oldest_segment_and_names_the_place() {
    let dir = filled("note");
    let spool = dir.open(SEGMENT_BYTES);
    let firsts = open::firsts(&dir.0).unwrap();
    for which in [2, 1, 3] {
        flip(&segment::path(&dir.0, firsts[which]), segment::HEADER_BYTES + 20);
        let Err(Error::Damaged { segment, offset, .. }) = spool.read(firsts[which]) else {
            panic!("damage was not seen");
        };
        assert_eq!((segment, offset), (segment::name(firsts[which]), segment::HEADER_BYTES));
    }
    assert!(is_kept(&spool, 0), "what is whole is still served");
    append(&spool, RECORDS..RECORDS + 5);
    let next = dir.open(SEGMENT_BYTES).next();
    assert_eq!(next, firsts[1]);
}

#[test]
fn a_record_in_memory_outlives_damage_but_not_its_place_in_the_line() {
    let dir = TempDir::new("line");
    let spool = dir.open(1 << 20);
    append(&spool, 0..100);
    assert!(is_kept(&spool, 0));
    flip(&dir.segments()[0], segment::HEADER_BYTES + 30);
    assert!(is_kept(&spool, 0));
    let damaged = |offset| matches!(spool.read(offset), Err(Error::Damaged { .. }));
    assert!(damaged(1), "an entry on the way does not read");
    spool.records.retain(|_| false);
    assert!(damaged(0) && spool.last().is_ok());
}

#[test]
fn a_segment_that_is_gone_or_cut_takes_the_newer_ones_along() {
    for cut in [None, Some(0), Some(10), Some(100)] {
        let dir = filled("gone");
        let (firsts, path) = (open::firsts(&dir.0).unwrap(), dir.segments().remove(2));
        match cut {
            None => fs::remove_file(&path).unwrap(),
            Some(len) => OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap(),
        }
        let (spool, opened) = Spool::open(&dir.0, SEGMENT_BYTES).unwrap();
        assert!((firsts[2]..firsts[3]).contains(&spool.next()), "{cut:?}");
        assert!(opened.cut_bytes > 0 && !reads_right(&spool));
        drop(spool);
        heals(&dir);
    }
}

#[test]
fn a_file_that_vanishes_under_an_open_spool_is_damage() {
    let dir = filled("vanished");
    let spool = dir.open(SEGMENT_BYTES);
    fs::remove_file(&dir.segments()[1]).unwrap();
    assert!(reads_right(&spool));
    drop(spool);
    heals(&dir);
}

#[test]
fn an_entry_counts_only_where_it_was_written() {
    let dir = TempDir::new("place");
    let spool = dir.open(10_000);
    append(&spool, 0..2);
    // A value that holds an entry of the same spool, behind a head that no longer leads over it.
    let forged = Point { offset: 9, place: 0 };
    let mut entry = Vec::new();
    walk::encode(0, forged, b"forged", &mut entry);
    spool.append(2, &entry).unwrap();
    drop(spool);
    let path = &dir.segments()[0];
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let place = fs::metadata(path).unwrap().len() - (walk::HEAD_BYTES + entry.len()) as u64;
    file.write_all_at(&entry, place).unwrap();
    let (spool, opened) = Spool::open(&dir.0, 10_000).unwrap();
    assert_eq!((spool.next(), opened.records, opened.cut_bytes > 0), (2, 2, true));
}

#[test]
fn a_full_disk_refuses_one_append_and_spoils_nothing() {
    let dir = TempDir::new("full");
    let spool = dir.open(10_000);
    append(&spool, 0..5);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let file = std::mem::replace(&mut spool.writer().file, full);
    assert!(matches!(spool.append(5, &value(5, 20)), Err(Error::Full(_))));
    assert_eq!((spool.next(), scanned(&spool, 0).len()), (5, 5));
    // As if part of it had been written, and could not be taken back.
    assert!(spool.writer().torn);
    file.write_all_at(&[1; 500], spool.bytes()).unwrap();
    spool.writer().file = file;
    append(&spool, 5..7);
    assert_eq!(fs::metadata(&dir.segments()[0]).unwrap().len(), spool.bytes());
    drop(spool);
    let (spool, opened) = Spool::open(&dir.0, 10_000).unwrap();
    assert_eq!(opened, Opened { records: 7, cut_bytes: 0 });
    assert_eq!(scanned(&spool, 0).len(), 7);
}

#[test]
fn a_failed_sync_ends_the_appends_and_drops_what_it_was_for() {
    let dir = TempDir::new("sync");
    let spool = dir.open(100);
    append(&spool, 0..9);
    let newest = open::firsts(&dir.0).unwrap().pop().unwrap();
    let mut next = spool.next();
    while spool.list().last().unwrap().end() < 100 {
        append(&spool, [next]);
        next += 1;
    }
    // A device that cannot be synced.
    let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
    let file: File = std::mem::replace(&mut spool.writer().file, null);
    assert!(matches!(spool.append(next, b"x"), Err(Error::Io { .. })));
    spool.writer().file = file;
    assert!(matches!(spool.append(next, b"x"), Err(Error::Failed(_))), "no second try");
    assert_eq!(scanned(&spool, 0), (0..next).collect::<Vec<_>>());
    assert_eq!(dir.open(100).next(), newest);
    spool.begin(3).unwrap();
    append(&spool, 3..9);
    assert_eq!(scanned(&spool, 0), (3..9).collect::<Vec<_>>());
}
