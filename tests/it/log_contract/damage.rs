//! Torn tails are cut, damage is named, neither is ever silent.

use super::kit::*;
use kwq::log::embedded::inspect::{Verdict, repair, verify};
use kwq::log::embedded::{EmbeddedLog, Options};
use kwq::log::{Error, EventLog, LogRecord};
use kwq::model::id::Position;
use std::fs;
use std::path::{Path, PathBuf};

/// A data directory whose clean end is sealed, its records, and the end of the last group that
/// holds any.
fn sealed(options: &Options, batches: u64) -> (Vec<LogRecord>, Position) {
    let (log, _) = EmbeddedLog::open(options.clone()).unwrap();
    let epochs = [own(&log, 0), own(&log, 1)];
    for n in 0..batches {
        let (partition, epoch) = if n % 2 == 0 { (0, epochs[0]) } else { (1, epochs[1]) };
        let payload = vec![u8::try_from(n % 250).unwrap(); 40];
        put(&log, partition, epoch, vec![submitted(n, &[&payload, b"x"]), cancelled(n)]);
    }
    let end = log.end(p(0));
    log.close();
    assert!(log.end(p(0)) > end, "a clean stop adds the proof");
    (all(&log).unwrap(), end)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("log")).unwrap().map(|e| e.unwrap().path());
    let mut all: Vec<_> = entries.filter(|p| p.extension().unwrap() == "seg").collect();
    all.sort();
    all
}

fn position(segment: &Path, offset: usize) -> u64 {
    let first = segment.file_stem().unwrap().to_str().unwrap();
    u64::from_str_radix(first, 16).unwrap() + u64::try_from(offset).unwrap()
}

/// Damage, or a cut that loses nothing that was sealed.
fn assert_seen(dir: &Path, sealed_end: Position, what: &str) {
    match verify(dir).unwrap() {
        Verdict::Intact { .. } => panic!("{what} went unnoticed"),
        Verdict::TornTail { from, .. } => {
            assert!(from >= sealed_end, "{what}: {from} was acknowledged and would be cut");
        }
        Verdict::Damage { .. } => {}
        Verdict::UnknownFormat(text) => panic!("{what}: {text}"),
    }
}

#[test]
fn every_flipped_byte_of_a_sealed_log_is_seen() {
    let dir = TempDir::new();
    let options = Options { segment_bytes: 16 << 10, ..options(dir.path()) };
    let (_, sealed_end) = sealed(&options, 40);
    assert!(matches!(verify(dir.path()).unwrap(), Verdict::Intact { .. }));
    let file = &segments(dir.path())[0];
    let good = fs::read(file).unwrap();
    assert_eq!((segments(dir.path()).len(), good.len()), (1, 16 << 10));
    let opened = fs::OpenOptions::new().write(true).open(file).unwrap();
    let write = |at: usize, byte: u8| {
        use std::os::unix::fs::FileExt;
        opened.write_all_at(&[byte], u64::try_from(at).unwrap()).unwrap();
    };
    for (at, byte) in good.iter().enumerate() {
        write(at, byte ^ (1 << (at % 8)));
        assert_seen(dir.path(), sealed_end, &format!("a flip at {at}"));
        write(at, *byte);
    }
    assert!(matches!(verify(dir.path()).unwrap(), Verdict::Intact { .. }));
}

#[test]
fn every_flipped_byte_of_a_log_of_several_segments_is_seen() {
    let dir = TempDir::new();
    let options = Options { segment_bytes: 4 << 10, ..options(dir.path()) };
    let (_, sealed_end) = sealed(&options, 30);
    let files = segments(dir.path());
    assert!(files.len() >= 3);
    for file in &files {
        let good = fs::read(file).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            fs::write(file, &bad).unwrap();
            assert_seen(dir.path(), sealed_end, &format!("a flip at {at} of {file:?}"));
        }
        fs::write(file, &good).unwrap();
    }
}

#[test]
fn every_truncation_of_a_sealed_log_is_seen() {
    let dir = TempDir::new();
    let options = Options { segment_bytes: 8 << 10, ..options(dir.path()) };
    let (_, sealed_end) = sealed(&options, 20);
    let file = &segments(dir.path())[0];
    let good = fs::read(file).unwrap();
    for len in 0..good.len() {
        fs::write(file, &good[..len]).unwrap();
        assert_seen(dir.path(), sealed_end, &format!("a truncation to {len}"));
    }
}

#[test]
fn what_a_power_cut_leaves_of_the_last_group_is_cut_with_a_report() {
    let dir = TempDir::new();
    let options = Options { segment_bytes: 32 << 10, ..options(dir.path()) };
    let (log, _) = EmbeddedLog::open(options.clone()).unwrap();
    let epoch = own(&log, 0);
    put(&log, 0, epoch, vec![cancelled(1)]);
    let before = log.end(p(0));
    let kept = all(&log).unwrap();
    // One group of 20 KiB; a copy of the directory from before its idle seal is what a kill leaves.
    put(&log, 0, epoch, vec![submitted(1, &[&[b'a'; 20_000]]), cancelled(2)]);
    let group_end = log.end(p(0));
    drop(log);
    let file = &segments(dir.path())[0];
    let mut image = fs::read(file).unwrap();
    let (from, to) = (usize::try_from(before.0).unwrap(), usize::try_from(group_end.0).unwrap());
    image[to..].fill(0);
    // Any subset of its pages may be missing. The pages kept are the set bits.
    let pages: Vec<_> = (from / 4096..=to / 4096).collect();
    for kept_pages in 0..1u32 << pages.len() {
        let mut torn = image.clone();
        for (bit, page) in pages.iter().enumerate() {
            if kept_pages & 1 << bit == 0 {
                let start = from.max(page * 4096);
                torn[start..((page + 1) * 4096).min(image.len())].fill(0);
            }
        }
        let whole = torn == image;
        fs::write(file, &torn).unwrap();
        let (log, report) = EmbeddedLog::open(options.clone()).unwrap();
        let records = all(&log).unwrap();
        drop(log);
        if whole {
            assert_eq!((records.len(), report.cut), (kept.len() + 2, None));
            continue;
        }
        assert_eq!(records, kept, "pages {kept_pages:b}");
        let anything = torn[from..].iter().any(|b| *b != 0);
        assert_eq!(report.cut.is_some(), anything, "pages {kept_pages:b}");
        // What was cut is zero again, and the next start finds nothing to cut.
        assert!(matches!(verify(dir.path()).unwrap(), Verdict::Intact { .. }));
    }
}

#[test]
fn garbage_behind_the_end_is_cut_and_the_log_goes_on() {
    let dir = TempDir::new();
    let options = options(dir.path());
    let (records, _) = sealed(&options, 10);
    let file = &segments(dir.path())[0];
    let mut bytes = fs::read(file).unwrap();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
    for (at, byte) in bytes[end..end + 5_000].iter_mut().enumerate() {
        *byte = u8::try_from(at % 251).unwrap() + 1;
    }
    fs::write(file, bytes).unwrap();
    let Verdict::TornTail { bytes, .. } = verify(dir.path()).unwrap() else { panic!("not seen") };
    assert!(bytes >= 5_000);
    let (log, report) = EmbeddedLog::open(options).unwrap();
    assert!(report.cut.is_some());
    assert_eq!(all(&log).unwrap(), records);
    let epoch = own(&log, 0);
    put(&log, 0, epoch, vec![cancelled(77)]);
    drop(log);
    assert!(matches!(verify(dir.path()).unwrap(), Verdict::Intact { .. }));
}

#[test]
fn missing_doubled_renamed_foreign_and_older_segments_are_refused_and_nothing_is_touched() {
    let source = TempDir::new();
    let (small, other) =
        (|d: &Path| Options { segment_bytes: 4 << 10, ..options(d) }, TempDir::new());
    sealed(&small(source.path()), 70);
    sealed(&small(other.path()), 70);
    let names: Vec<_> = segments(source.path()).into_iter().collect();
    assert!(names.len() >= 4);
    type Case<'a> = (&'a str, &'a dyn Fn(&[PathBuf]));
    let cases: [Case<'_>; 9] = [
        ("first missing", &|s| fs::remove_file(&s[0]).unwrap()),
        ("one missing", &|s| fs::remove_file(&s[1]).unwrap()),
        ("last missing", &|s| fs::remove_file(s.last().unwrap()).unwrap()),
        ("all missing", &|s| s.iter().for_each(|f| fs::remove_file(f).unwrap())),
        ("doubled", &|s| drop(fs::copy(&s[0], s[0].with_file_name("0000000000100000.seg")))),
        ("copied", &|s| drop(fs::copy(&s[0], s[0].with_file_name("copy.seg")))),
        ("swapped", &|s| {
            let (a, b) = (fs::read(&s[1]).unwrap(), fs::read(&s[2]).unwrap());
            fs::write(&s[1], b).unwrap();
            fs::write(&s[2], a).unwrap();
        }),
        ("foreign", &|s| {
            let theirs = other.path().join("log").join(s[1].file_name().unwrap());
            fs::copy(theirs, &s[1]).unwrap();
        }),
        ("older", &|s| {
            let mut bytes = fs::read(&s[1]).unwrap();
            bytes[2_000..].fill(0);
            fs::write(&s[1], bytes).unwrap();
        }),
    ];
    for (name, change) in cases {
        let dir = TempDir::new();
        fs::create_dir_all(dir.path().join("log")).unwrap();
        fs::copy(source.path().join("format"), dir.path().join("format")).unwrap();
        for file in &names {
            fs::copy(file, dir.path().join("log").join(file.file_name().unwrap())).unwrap();
        }
        change(&segments(dir.path()));
        let contents = |d: &Path| -> Vec<_> {
            segments(d).into_iter().map(|f| (f.clone(), fs::read(f).unwrap())).collect()
        };
        let before = contents(dir.path());
        let verdict = verify(dir.path()).unwrap();
        assert!(matches!(verdict, Verdict::Damage { .. }), "{name}: {verdict:?}");
        let refused = EmbeddedLog::open(small(dir.path()));
        assert!(matches!(refused, Err(Error::Damaged { .. })), "{name}");
        assert!(contents(dir.path()) == before, "{name}: touched");
    }
}

#[test]
fn damage_in_an_old_segment_that_start_up_does_not_read_is_seen_when_it_is_read() {
    let dir = TempDir::new();
    let options = Options { segment_bytes: 4 << 10, check_bytes: 0, ..options(dir.path()) };
    let (records, _) = sealed(&options, 40);
    let file = &segments(dir.path())[0];
    let mut bytes = fs::read(file).unwrap();
    bytes[2_000] ^= 1;
    fs::write(file, bytes).unwrap();
    let (log, _) = EmbeddedLog::open(options).unwrap();
    assert!(matches!(all(&log), Err(Error::Damaged { offset: 100..=2_000, .. })));
    let victim =
        records.iter().rfind(|r| r.position.0 <= 2_000 && r.stamped.event.kind() == "Submitted");
    // The flip lies in this record or in a neighbour; reading it is either right or refused.
    let read = log.read_tasks(&[text(victim.unwrap().partition.0, (victim.unwrap().position, 0))]);
    assert!(matches!(read, Ok(_) | Err(Error::Damaged { .. })));
}

#[test]
fn a_repair_cuts_at_the_position_and_keeps_what_it_removed() {
    let dir = TempDir::new();
    let options = Options { segment_bytes: 4 << 10, ..options(dir.path()) };
    let (records, _) = sealed(&options, 60);
    let files = segments(dir.path());
    let mut bytes = fs::read(&files[1]).unwrap();
    bytes[3_000] ^= 0x10;
    fs::write(&files[1], bytes).unwrap();
    let Verdict::Damage { segment, offset, .. } = verify(dir.path()).unwrap() else {
        panic!("not seen");
    };
    assert_eq!(segment, files[1].file_name().unwrap().to_str().unwrap());
    let to = Position(position(&files[1], usize::try_from(offset).unwrap()));
    let aside = dir.path().join("removed");
    let report = repair(dir.path(), to, &aside).unwrap();
    assert!(report.end <= to && report.segments_removed == files.len() - 2);
    assert!(fs::metadata(&aside).unwrap().len() > report.removed_bytes);
    assert!(repair(dir.path(), to, &aside).is_err(), "the first copy is never overwritten");
    fs::remove_file(&aside).unwrap();
    let (log, _) = EmbeddedLog::open(options).unwrap();
    let kept: Vec<_> = records.into_iter().filter(|r| r.position < report.end).collect();
    assert!(!kept.is_empty());
    assert_eq!(all(&log).unwrap(), kept);
    let epoch = own(&log, 0);
    put(&log, 0, epoch, vec![cancelled(5)]);
    assert!(matches!(repair(dir.path(), to, &aside), Err(Error::Locked(..))));
}
