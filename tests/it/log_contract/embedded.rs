//! The embedded back end: restarts, segments, groups, lock, layout of the directory.

use super::kit::*;
use kwq::log::embedded::{Durability, EmbeddedLog, Options};
use kwq::log::{Batch, Error, EventLog, Room};
use kwq::model::id::Position;

#[test]
fn a_log_opened_again_holds_the_same_records_and_goes_on() {
    let dir = TempDir::new();
    let mut expected = Vec::new();
    for round in 0..20u64 {
        let (log, report) = open(dir.path()).unwrap();
        assert_eq!(report.created, round == 0);
        assert_eq!((report.cut, report.end), (None, log.end(p(0))));
        assert_eq!(all(&log).unwrap(), expected);
        let epoch = own(&log, 0);
        for n in 0..round {
            put(&log, 0, epoch, vec![submitted(n, &[b"x", b"y"]), cancelled(n)]);
        }
        expected = all(&log).unwrap();
        if round % 3 == 0 {
            log.close();
        }
    }
    assert_eq!(expected.len(), 20 + 2 * (0..20).sum::<usize>());
}

#[test]
fn segments_roll_and_every_record_is_found_again() {
    for durability in [Durability::Fsync, Durability::Os] {
        let dir = TempDir::new();
        let options = Options { segment_bytes: 4 << 10, durability, ..options(dir.path()) };
        let (log, _) = EmbeddedLog::open(options.clone()).unwrap();
        let epoch = own(&log, 2);
        let payload = vec![b'p'; 700];
        let at: Vec<_> =
            (0..200).map(|n| put(&log, 2, epoch, vec![submitted(n, &[&payload])])[0]).collect();
        let wanted: Vec<_> = at.iter().map(|position| text(2, (*position, 0))).collect();
        assert_eq!(log.read_tasks(&wanted).unwrap().len(), 200);
        let before = all(&log).unwrap();
        assert_eq!(before.len(), 201);
        assert_eq!(all_from(&log, at[150]).unwrap(), before[151..]);
        drop(log);
        let (log, report) = EmbeddedLog::open(options).unwrap();
        assert!(report.segments > 40, "{report:?}");
        assert_eq!(all(&log).unwrap(), before);
        assert_eq!(log.read_tasks(&wanted).unwrap().len(), 200);
        // The epoch in force is known although its record lies many segments back.
        put(&log, 2, epoch, vec![cancelled(1)]);
        assert_eq!(all_from(&log, at[199]).unwrap().len(), 2);
    }
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let dir = TempDir::new();
    let (log, _) = open(dir.path()).unwrap();
    let epoch = own(&log, 0);
    let large = vec![b'L'; 300 << 10];
    put(&log, 0, epoch, vec![cancelled(1)]);
    let at = put(&log, 0, epoch, vec![submitted(1, &[&large, b"2"])])[0];
    put(&log, 0, epoch, vec![cancelled(2)]);
    drop(log);
    let (log, report) = open(dir.path()).unwrap();
    assert_eq!((report.segments, report.cut), (3, None));
    assert_eq!(log.read_tasks(&[text(0, (at, 0))]).unwrap()[0].spec.payload.bytes, large);
    assert_eq!(all(&log).unwrap().len(), 4);
}

#[test]
fn a_changed_segment_size_counts_from_the_next_segment() {
    let dir = TempDir::new();
    for (round, bytes) in [64u64, 16, 128].into_iter().enumerate() {
        let options = Options { segment_bytes: bytes << 10, ..options(dir.path()) };
        let (log, _) = EmbeddedLog::open(options).unwrap();
        assert_eq!(all(&log).unwrap().len(), round * 101);
        let epoch = own(&log, 0);
        for n in 0..100 {
            put(&log, 0, epoch, vec![submitted(n, &[&[b'z'; 900]])]);
        }
    }
}

#[test]
fn records_that_arrive_during_a_sync_share_the_next_one() {
    let dir = TempDir::new();
    let log = open_as(dir.path(), Durability::Fsync);
    let epoch = own(&log, 0);
    let tickets: Vec<_> = (0..2_000)
        .map(|n| log.append(p(0), Batch { epoch, events: vec![cancelled(n)].into() }).unwrap())
        .collect();
    let at: Vec<Position> = tickets.into_iter().map(|t| t.wait().unwrap().positions[0]).collect();
    // Neighbours of one group lie closer together than a seal.
    let smallest = at.windows(2).map(|w| w[1].0 - w[0].0).min().unwrap();
    let together = at.windows(2).filter(|w| w[1].0 - w[0].0 < smallest + 20).count();
    assert!(together > 1_000, "only {together} of 2000 shared a group");
}

#[test]
fn a_second_opening_is_refused_with_the_pid_until_the_first_is_closed() {
    let dir = TempDir::new();
    let (log, _) = open(dir.path()).unwrap();
    match open(dir.path()) {
        Err(Error::Locked(_, pid)) => assert_eq!(pid, std::process::id().to_string()),
        other => panic!("{other:?}"),
    }
    log.close();
    open(dir.path()).unwrap();
}

#[test]
fn the_directory_holds_what_is_documented_and_temporary_files_go() {
    let dir = TempDir::new();
    let (log, _) = open(dir.path()).unwrap();
    let epoch = own(&log, 3);
    log.commit_mark(p(3), Position(epoch.0), b"image").unwrap();
    drop(log);
    for name in ["x.tmp", "log/0000000000000000.seg.tmp", "images/3-9.img.tmp"] {
        std::fs::write(dir.path().join(name), "unfinished").unwrap();
    }
    drop(open(dir.path()).unwrap());
    let list = |sub: &str| {
        let entries = std::fs::read_dir(dir.path().join(sub)).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(list("."), ["format", "images", "lock", "log"]);
    assert_eq!(list("log"), ["0000000000000000.seg", "reserve-0.tmp", "reserve-1.tmp"]);
    assert_eq!(list("images"), [format!("3-{epoch}.img")]);
    assert_eq!(std::fs::read_to_string(dir.path().join("format")).unwrap(), "kwq 1\n");
}

#[test]
fn another_format_is_refused_and_nothing_is_touched() {
    for text in ["kwq 2\n", "other 1\n", ""] {
        let dir = TempDir::new();
        own(&open(dir.path()).unwrap().0, 0);
        std::fs::write(dir.path().join("format"), text).unwrap();
        assert!(matches!(open(dir.path()), Err(Error::UnknownFormat(_))), "{text:?}");
    }
    let dir = TempDir::new();
    own(&open(dir.path()).unwrap().0, 0);
    std::fs::remove_file(dir.path().join("format")).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::UnknownFormat(_))));
}

#[test]
fn an_image_from_beyond_the_end_is_refused() {
    let dir = TempDir::new();
    let (log, _) = open(dir.path()).unwrap();
    own(&log, 0);
    assert!(log.commit_mark(p(0), Position(log.end(p(0)).0 + 1), b"x").is_err());
    drop(log);
    std::fs::write(dir.path().join("images/0-99999.img"), "x").unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Damaged { .. })));
}

#[test]
fn without_the_reserve_of_free_space_only_work_goes_on() {
    let dir = TempDir::new();
    let options = Options { disk_reserve: Some(u64::MAX), ..options(dir.path()) };
    let (log, _) = EmbeddedLog::open(options).unwrap();
    let epoch = own(&log, 0);
    assert_eq!(log.room(), Room::WorkOnly);
    let batch = |event| Batch { epoch, events: vec![event].into() };
    assert!(matches!(log.append(p(0), batch(submitted(1, &[b"1"]))), Err(Error::Full(_))));
    log.append(p(0), batch(cancelled(1))).unwrap().wait().unwrap();
    assert_eq!(all(&log).unwrap().len(), 2);
}
