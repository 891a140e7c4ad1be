//! The dump of a stopped directory.

use super::kit::*;
use kwq::log::Error;
use kwq::log::embedded::inspect::{DumpBody, DumpRecord, Verdict, dump, verify};
use kwq::model::id::Position;
use std::fs;
use std::path::Path;

fn dumped(dir: &Path, partition: Option<u16>, from: u64) -> Vec<DumpRecord> {
    let mut records = Vec::new();
    dump(dir, partition.map(p), Position(from), &mut |record| {
        records.push(record);
        true
    })
    .unwrap();
    records
}

fn kinds(records: &[DumpRecord]) -> Vec<&'static str> {
    records.iter().map(DumpRecord::kind).collect()
}

#[test]
fn a_dump_shows_records_and_seals_without_void_batches() {
    let dir = TempDir::new();
    let (log, _) = open(dir.path()).unwrap();
    let old = own(&log, 0);
    put(&log, 0, old, vec![submitted(5, &[b"payload"])]);
    let new = own(&log, 0);
    put(&log, 0, old, vec![cancelled(9)]);
    let at = put(&log, 0, new, vec![cancelled(5)])[0];
    own(&log, 1);
    assert!(matches!(dump(dir.path(), None, Position(0), &mut |_| true), Err(Error::Locked(..))));
    assert!(matches!(verify(dir.path()), Err(Error::Locked(..))));
    drop(log);

    let all = dumped(dir.path(), Some(0), 0);
    let events: Vec<_> = kinds(&all).into_iter().filter(|k| *k != "Seal").collect();
    assert_eq!(events, ["Owner", "Submitted", "Owner", "Cancelled"]);
    assert!(all.iter().filter(|r| r.kind() == "Seal").count() >= 5, "one a group at least");
    assert!(all.windows(2).all(|w| w[0].position < w[1].position));
    for seal in &all {
        if let DumpBody::Seal { synced_to, .. } = &seal.body {
            assert!(*synced_to <= seal.position);
        }
    }
    let DumpBody::Event(stamped) = &all[2].body else { panic!("{all:?}") };
    assert_eq!(*stamped, submitted(5, &[b"payload"]));

    let late = dumped(dir.path(), Some(0), at.0);
    assert_eq!(late[0].position, at);
    // The priority of the reference comes from a record before the start.
    assert_eq!(late[0].refs[0].to_string(), "7-0-5");
    assert!(dumped(dir.path(), None, 0).iter().any(|r| r.partition == p(1)));
    let mut seen = 0;
    dump(dir.path(), None, Position(0), &mut |_| {
        seen += 1;
        seen < 3
    })
    .unwrap();
    assert_eq!(seen, 3);
}

#[test]
fn a_dump_shows_what_is_readable_before_it_names_the_damage() {
    let dir = TempDir::new();
    let (log, _) = open(dir.path()).unwrap();
    let epoch = own(&log, 0);
    let at: Vec<_> = (0..9).map(|n| put(&log, 0, epoch, vec![cancelled(n)])[0].0).collect();
    drop(log);
    let file = dir.path().join("log/0000000000000000.seg");
    let mut bytes = fs::read(&file).unwrap();
    bytes[usize::try_from(at[6]).unwrap() + 20] ^= 1;
    fs::write(&file, bytes).unwrap();
    let mut count = 0;
    let end = dump(dir.path(), None, Position(0), &mut |record| {
        count += u64::from(record.kind() == "Cancelled");
        true
    });
    let Err(Error::Damaged { offset, .. }) = end else { panic!("{end:?}") };
    assert_eq!((offset, count), (at[6], 6));
}

#[test]
fn a_directory_that_is_none_of_ours_is_left_alone() {
    let dir = TempDir::new();
    assert!(matches!(verify(dir.path()).unwrap(), Verdict::UnknownFormat(_)));
    assert!(matches!(verify(&dir.path().join("none")).unwrap(), Verdict::UnknownFormat(_)));
    assert!(dump(dir.path(), None, Position(0), &mut |_| true).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
