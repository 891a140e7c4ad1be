//! Fail-stop from the inside: what a failed sync leaves behind is void even if it reads well.

use super::*;
use crate::log::embedded::group::Encoded;
use crate::log::embedded::{EmbeddedLog, start};
use crate::log::{Batch, EventLog, Ticket};
use crate::model::event::{Event, Stamped};
use crate::model::id::{Epoch, PartitionId, TaskSeq};
use crate::model::time::WallMs;
use std::path::{Path, PathBuf};

struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kwq-writer-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn options(dir: &Path) -> Options {
    Options { segment_bytes: 64 << 10, disk_reserve: Some(0), ..Options::new(dir) }
}

fn owner() -> Stamped {
    let event = Event::Owner { node: "n".into(), addr: "".into(), token_key: [1, 2] };
    Stamped { at: WallMs(1), event }
}

fn cancelled(n: u64) -> Stamped {
    Stamped { at: WallMs(n), event: Event::Cancelled(vec![TaskSeq(n)]) }
}

fn job(epoch: Epoch, stamped: &Stamped) -> (Job, Ticket) {
    let mut bodies = Vec::new();
    let kind = crate::codec::event::encode(&stamped.event, &mut bodies);
    let records = vec![(kind, stamped.at, bodies.len())];
    let (ticket, resolver) = Ticket::pair();
    (Job { batch: Encoded { partition: PartitionId(0), epoch, records, bodies }, resolver }, ticket)
}

fn kinds_and_stamps(log: &dyn EventLog) -> Vec<(&'static str, u64)> {
    let mut seen = Vec::new();
    let visit = &mut |record: crate::log::LogRecord| {
        seen.push((record.stamped.event.kind(), record.stamped.at.0));
        true
    };
    log.scan(&[(PartitionId(0), Position(0))], visit).unwrap();
    seen
}

#[test]
fn a_group_whose_sync_failed_is_void_though_it_reads_well() {
    let dir = TempDir::new("void");
    let (mut writer, lock) = start::writer(options(&dir.0)).unwrap();
    let (first, owned) = job(Epoch(0), &owner());
    writer.commit(vec![first]).unwrap_or_else(|f| panic!("{}", f.reason));
    let epoch = Epoch(owned.wait().unwrap().positions[0].0);
    let good_end = writer.active.end;
    // The bytes reach the page cache; the sync after them is taken to have failed.
    let (lost, _ticket) = job(epoch, &cancelled(7));
    writer.commit(vec![lost]).unwrap_or_else(|f| panic!("{}", f.reason));
    let fault = Fault { reason: "injected".to_owned(), good_end };
    let shared = Arc::clone(&writer.shared);
    let (waiting, ticket) = job(epoch, &cancelled(8));
    let later = shared.append(waiting.batch, false).unwrap();
    drop(waiting.resolver);
    writer.stop(&fault);
    assert!(matches!(ticket.wait(), Err(Error::Failed(_))));
    assert!(matches!(later.wait(), Err(Error::Failed(text)) if text == "injected"));
    let (after, _ticket) = job(epoch, &cancelled(9));
    assert!(matches!(shared.append(after.batch, false), Err(Error::Failed(_))));
    drop(lock);

    for round in 0..3 {
        let (log, report) = EmbeddedLog::open(options(&dir.0)).unwrap();
        assert_eq!((report.segments, report.cut), (2, None));
        let seen = kinds_and_stamps(&log);
        assert_eq!(seen[..1], [("Owner", 1)]);
        assert!(!seen.contains(&("Cancelled", 7)), "{seen:?}");
        let events: Arc<[Stamped]> = vec![cancelled(100 + round)].into();
        log.append(PartitionId(0), Batch { epoch, events }).unwrap().wait().unwrap();
        assert_eq!(seen.len() as u64, 1 + round, "the epoch is still known");
    }
}

#[test]
fn a_log_that_cannot_start_its_next_segment_fails_all_later_tickets() {
    let dir = TempDir::new("roll");
    let (log, _) = EmbeddedLog::open(options(&dir.0)).unwrap();
    let append = |stamped: Stamped, epoch| {
        let batch = Batch { epoch, events: vec![stamped].into() };
        log.append(PartitionId(0), batch)
    };
    let epoch = Epoch(append(owner(), Epoch(0)).unwrap().wait().unwrap().positions[0].0);
    let (from, to) = (dir.0.join("log"), dir.0.join("moved"));
    fs::rename(&from, &to).unwrap();
    let mut durable = 0;
    for n in 0..5_000 {
        match append(cancelled(n), epoch).map(Ticket::wait) {
            Ok(Ok(_)) => durable += 1,
            Ok(Err(Error::Failed(_))) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!((100..5_000).contains(&durable), "{durable}");
    assert!(matches!(append(cancelled(1), epoch), Err(Error::Failed(_))));
    log.close();
    fs::rename(&to, &from).unwrap();
    let (log, _) = EmbeddedLog::open(options(&dir.0)).unwrap();
    let seen = kinds_and_stamps(&log).len();
    assert!((durable + 1..=durable + 2).contains(&seen), "all acknowledged, at most one more");
}

#[test]
fn what_a_crash_between_two_segments_leaves_is_finished() {
    let dir = TempDir::new("between");
    let (mut writer, lock) = start::writer(options(&dir.0)).unwrap();
    let (first, owned) = job(Epoch(0), &owner());
    writer.commit(vec![first]).unwrap_or_else(|f| panic!("{}", f.reason));
    owned.wait().unwrap();
    // The header is durable, the end mark is not written yet.
    let (_, header) = writer.next_segment(0, writer.active.end, false).unwrap();
    let log_dir = writer.shared.log_dir.clone();
    drop((writer, lock));
    let reopened = |expected: usize| {
        let (log, report) = EmbeddedLog::open(options(&dir.0)).unwrap();
        assert_eq!((report.segments, report.cut), (expected, None));
        assert_eq!(kinds_and_stamps(&log), [("Owner", 1)]);
    };
    reopened(2);
    // A file created and never begun, blank or with a torn header, is no segment.
    let torn = segment::path(&log_dir, header.next_first());
    for content in [&[][..], &b"KWQ-S"[..]] {
        let mut bytes = content.to_vec();
        bytes.resize(64 << 10, 0);
        // The last segment proves by its records that it was begun; only the one after may be
        // unfinished.
        fs::write(&torn, &bytes).unwrap();
        reopened(2);
        assert!(!torn.exists());
    }
}
