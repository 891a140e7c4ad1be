//! What the tests share: temporary directories, small events, opened logs.

use kwq::log::embedded::{Durability, EmbeddedLog, OpenReport, Options};
use kwq::log::{Batch, Error, EventLog, LogRecord};
use kwq::model::event::{Completion, Event, Stamped};
use kwq::model::id::{Epoch, LeaseNo, PartitionId, Position, TaskSeq};
use kwq::model::policy::{Backoff, Jitter};
use kwq::model::priority::Priority;
use kwq::model::task::{Blob, Encoding, TaskSpec};
use kwq::model::time::WallMs;
use kwq::model::view::TextAt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes when the test ends.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kwq-log-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(crate) fn options(dir: &Path) -> Options {
    let mut options = Options::new(dir);
    options.segment_bytes = 64 << 10;
    options.disk_reserve = Some(0);
    options
}

pub(crate) fn open(dir: &Path) -> Result<(EmbeddedLog, OpenReport), Error> {
    EmbeddedLog::open(options(dir))
}

pub(crate) fn open_as(dir: &Path, durability: Durability) -> EmbeddedLog {
    EmbeddedLog::open(Options { durability, ..options(dir) }).unwrap().0
}

/// Where the first task of a record is.
pub(crate) fn text(partition: u16, (record, entry): (Position, u32)) -> TextAt {
    TextAt { partition: p(partition), record, entry }
}

pub(crate) fn p(number: u16) -> PartitionId {
    PartitionId(number)
}

pub(crate) fn owner(at: u64) -> Stamped {
    let event = Event::Owner { node: "n1".into(), addr: "".into(), token_key: [7, 9] };
    Stamped { at: WallMs(at), event }
}

pub(crate) fn task(payload: &[u8]) -> TaskSpec {
    TaskSpec {
        id: Some(format!("id-{}", payload.len()).into()),
        job: "nightly".into(),
        priority: Priority::new(7).unwrap(),
        tag: Some("a,b:c".into()),
        payload: Blob { encoding: Encoding::Json, bytes: payload.to_vec() },
        affinity: vec![],
        source: None,
        meta: None,
        timeout_s: 60,
        lease_ms: 30_000,
        max_attempts: 4,
        max_crashes: 5,
        backoff: Backoff { base_ms: 1_000, cap_ms: 300_000, jitter: Jitter::Full },
        not_before: WallMs(0),
        traceparent: None,
        content: None,
        element: None,
    }
}

pub(crate) fn submitted(first: u64, payloads: &[&[u8]]) -> Stamped {
    let tasks = payloads.iter().map(|bytes| task(bytes)).collect();
    Stamped { at: WallMs(1_000 + first), event: Event::Submitted { first: TaskSeq(first), tasks } }
}

pub(crate) fn completed(seq: u64, result: Option<&[u8]>) -> Stamped {
    let result = result.map(|b| Blob { encoding: Encoding::Base64, bytes: b.to_vec() });
    let done = Completion {
        seq: TaskSeq(seq),
        attempt: 1,
        lease: LeaseNo(seq),
        late: false,
        run_ms: 5,
        result,
    };
    Stamped { at: WallMs(2_000 + seq), event: Event::Completed(vec![done]) }
}

pub(crate) fn cancelled(seq: u64) -> Stamped {
    Stamped { at: WallMs(3_000 + seq), event: Event::Cancelled(vec![TaskSeq(seq)]) }
}

/// Appends and waits.
pub(crate) fn put(
    log: &dyn EventLog,
    partition: u16,
    epoch: Epoch,
    events: Vec<Stamped>,
) -> Vec<Position> {
    let batch = Batch { epoch, events: events.into() };
    log.append(p(partition), batch).unwrap().wait().unwrap().positions
}

/// Takes a partition.
pub(crate) fn own(log: &dyn EventLog, partition: u16) -> Epoch {
    Epoch(put(log, partition, Epoch(0), vec![owner(1)])[0].0)
}

/// Everything a reader of partitions 0…3 sees.
pub(crate) fn all(log: &dyn EventLog) -> Result<Vec<LogRecord>, Error> {
    all_from(log, Position(0))
}

pub(crate) fn all_from(log: &dyn EventLog, from: Position) -> Result<Vec<LogRecord>, Error> {
    let from: Vec<_> = (0..4).map(|n| (p(n), from)).collect();
    let mut records = Vec::new();
    log.scan(&from, &mut |record| {
        records.push(record);
        true
    })?;
    Ok(records)
}
