//! The log on Apache Kafka: partition *i* of the topic `<prefix>-changelog` holds everything of
//! kwq's partition *i*, one batch a record (`codec::changelog`). Every instance reads all of it.
//!
//! ```text
//!  append ─► [ partition: fence, tickets ] ─► producer ─► broker ─► report ─► spool ─► ticket
//!                       ▲                                     │
//!                       └────────── reader ◄──────────────────┘  (who is not the owner; gaps)
//!  scan, read_* ◄─ spool: a copy of each partition in files of this machine (`log::spool`)
//! ```
//! The log decides who owns a partition, whoever proposes it: an `Owner` record's place is the
//! epoch, and a batch that was not reported right behind the last one of its owner is told to
//! nobody before what lies between was read (`log::fence`). The spool and the images are caches:
//! without them everything is read again from Kafka.
//!
//! Must not: use transactions, wait for one partition in the name of another, or flush a producer.

mod client;
mod group;
mod partition;
mod place;
mod producer;
mod reader;
mod shared;
mod start;
mod topics;

pub use client::Cluster;
pub use group::{Assigned, Group, Member};
pub use topics::{Found, Topics};

use crate::codec::changelog::{self, Raw, Value};
use crate::codec::event::{self, Detail};
use crate::log::kafka::partition::Sent;
use crate::log::lock::DirLock;
use crate::log::{
    Batch, Error, EventLog, LogNumbers, LogRecord, Resume, Room, Skimmed, StoredTask, Ticket,
};
use crate::log::{files, images};
use crate::model::event::{Event, Stamped};
use crate::model::id::{Epoch, PartitionId, Position};
use crate::model::task::Blob;
use crate::model::view::{ResultAt, TextAt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Batches on their way are waited for so long when the log is closed.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);
/// Pause between two looks at something that other threads do.
const PAUSE: Duration = Duration::from_millis(5);
/// Longest silence of the reader before it is said that nothing moves.
const SILENCE: Duration = Duration::from_secs(30);

/// How to open the log.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster.
    pub cluster: Cluster,
    /// Its topics.
    pub topics: Topics,
    /// Data directory for what this instance keeps: spool and images; created if missing.
    pub dir: PathBuf,
    /// Bytes of a segment of the spool.
    pub segment_bytes: u64,
    /// Free space below which submits are refused; `None` = max(2 segments, 1 GiB, 5 %).
    pub disk_reserve: Option<u64>,
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Of the topics.
    pub topics: Found,
    /// Records the spool holds.
    pub kept: u64,
    /// Records of the changelog that are read from Kafka now.
    pub missing: u64,
}

/// The log on Kafka.
pub struct KafkaLog {
    shared: Arc<shared::Shared>,
    producer: Arc<producer::Producer>,
    reduced: Vec<String>,
    images_dir: PathBuf,
    spool_dir: PathBuf,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Given back when the log is closed, so that the directory can be opened again.
    lock: Mutex<Option<DirLock>>,
}

impl KafkaLog {
    /// Reaches the cluster, sees to the topics, opens what this machine keeps and begins to read
    /// the rest.
    ///
    /// # Errors
    /// `Io` = the cluster is not reached; `Settings` = topics or directory do not fit; `Locked`;
    /// `Damaged` = records that this machine knows are gone.
    pub fn open(options: &Options) -> Result<(Self, OpenReport), Error> {
        start::open(options)
    }

    /// Visits the events of a partition from a position on.
    fn visit(
        &self,
        (id, from): (PartitionId, Position),
        detail: Detail,
        visit: &mut dyn FnMut(Skimmed) -> bool,
    ) -> Result<bool, Error> {
        let partition = self.shared.partition(id)?;
        let (first, _) = place::offset(from);
        let (mut goes_on, mut bad) = (true, None);
        partition.spool.scan(first, &mut |offset, bytes| {
            let told = events(id, offset, bytes, from, detail, visit);
            match told {
                Ok(more) => goes_on = more,
                Err(error) => bad = Some(error),
            }
            goes_on && bad.is_none()
        })?;
        bad.map_or(Ok(goes_on), Err)
    }

    /// One event, not decoded yet.
    fn raw<T>(
        &self,
        id: PartitionId,
        at: Position,
        read: impl FnOnce(Raw<'_>) -> Option<T>,
    ) -> Result<T, Error> {
        let (offset, number) = place::offset(at);
        let bytes = self.shared.partition(id)?.spool.read(offset)?.ok_or(Error::NoRecord(at))?;
        let value = Value::read(&bytes).map_err(|_| Error::NoRecord(at))?;
        let raw = value.raws().nth(usize::from(number));
        raw.filter(|_| at > Position(0)).and_then(read).ok_or(Error::NoRecord(at))
    }
}

/// Visits the events of one batch; false = the visitor has enough.
fn events(
    partition: PartitionId,
    offset: u64,
    bytes: &[u8],
    from: Position,
    detail: Detail,
    visit: &mut dyn FnMut(Skimmed) -> bool,
) -> Result<bool, Error> {
    let damaged = |reason: String| Error::Damaged {
        segment: format!("the spool of partition {partition}"),
        offset,
        reason,
    };
    let value = Value::read(bytes).map_err(|bad| damaged(bad.to_string()))?;
    let owner = Epoch(place::position(offset, 0).0);
    let epoch = if value.is_owner() { owner } else { value.epoch() };
    for (number, raw) in (0..=u16::MAX).zip(value.raws()) {
        let position = place::position(offset, number);
        if position < from {
            continue;
        }
        let decoded = raw.decode(detail).map_err(|bad| damaged(bad.to_string()))?;
        let record = LogRecord { position, partition, epoch, stamped: decoded.stamped };
        if !visit(Skimmed { record, blob_bytes: decoded.blob_bytes }) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl EventLog for KafkaLog {
    fn append(&self, id: PartitionId, batch: Batch) -> Result<Ticket, Error> {
        self.shared.check()?;
        let partition = self.shared.partition(id)?;
        let value = changelog::encode(batch.epoch, &batch.events).map_err(|bad| Error::Io {
            what: format!("appending to partition {id}"),
            cause: bad.to_string(),
        })?;
        self.producer.wait_for_room(&self.shared);
        let (ticket, resolver) = Ticket::pair();
        let events = u16::try_from(batch.events.len()).unwrap_or(u16::MAX);
        let sent = Sent::new(resolver, value, events);
        let send = |value: &[u8], life| self.producer.send(id, life, value);
        let takes = batch.events.first().map(|first| &first.event);
        if matches!(takes, Some(Event::Owner { .. })) {
            let (order, begun) = partition.take(sent, send);
            self.shared.carry_out(Ok(order));
            begun?;
        } else {
            partition.append(batch.epoch, sent, send)?;
        }
        Ok(ticket)
    }

    fn scan(
        &self,
        from: &[(PartitionId, Position)],
        visit: &mut dyn FnMut(LogRecord) -> bool,
    ) -> Result<(), Error> {
        for place in from {
            if !self.visit(*place, Detail::Full, &mut |skimmed| visit(skimmed.record))? {
                break;
            }
        }
        Ok(())
    }

    fn skim_on(
        &self,
        from: &[(PartitionId, Position)],
        _: &mut Resume,
        visit: &mut dyn FnMut(Skimmed) -> bool,
    ) -> Result<(), Error> {
        for place in from {
            if !self.visit(*place, Detail::Skim, visit)? {
                break;
            }
        }
        Ok(())
    }

    fn read_tasks(&self, wanted: &[TextAt]) -> Result<Vec<StoredTask>, Error> {
        let read = |at: &TextAt| {
            self.raw(at.partition, at.record, |raw| {
                let spec = match raw.kind {
                    event::SUBMITTED => event::submitted::decode_task(raw.body, at.entry),
                    event::SUBMITTED_ARRAY => event::arrays::decode_element(raw.body, at.entry),
                    _ => return None,
                };
                Some(StoredTask { submitted: raw.at, spec: spec.ok()? })
            })
        };
        wanted.iter().map(read).collect()
    }

    fn read_event(&self, id: PartitionId, at: Position) -> Result<Stamped, Error> {
        self.raw(id, at, |raw| Some(raw.decode(Detail::Full).ok()?.stamped))
    }

    fn read_result(&self, id: PartitionId, at: ResultAt) -> Result<Blob, Error> {
        self.raw(id, at.record, |raw| {
            let completed = raw.kind == event::COMPLETED;
            completed.then(|| event::batches::decode_result(raw.body, at.index).ok()?)?
        })
    }

    fn end(&self, id: PartitionId) -> Position {
        let read_to = self.shared.partition(id).map_or(0, partition::Partition::read_to);
        place::position(read_to, 0)
    }

    fn others_append(&self) -> bool {
        true
    }

    fn one_series(&self) -> bool {
        false
    }

    fn catch_up(&self, progress: &dyn Fn(u16)) -> Result<(), Error> {
        let whole: u64 = self.shared.ends.iter().sum();
        let (mut seen, mut moved) = (0, Instant::now());
        loop {
            self.shared.check()?;
            let pairs = self.shared.partitions.iter().zip(&self.shared.ends);
            let read: u64 = pairs.map(|(p, end)| p.read_to().min(*end)).sum();
            if read >= whole && self.shared.partitions.iter().all(|p| p.begin().1) {
                return Ok(());
            }
            if read > seen {
                (seen, moved) = (read, Instant::now());
                progress(u16::try_from(read * 1_000 / whole).unwrap_or(1_000));
            } else if moved.elapsed() > SILENCE {
                tracing::warn!(read, whole, "nothing more comes from Kafka");
                moved = Instant::now();
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn reduced(&self) -> Vec<String> {
        self.reduced.clone()
    }

    fn room(&self) -> Room {
        self.shared.room()
    }

    fn numbers(&self) -> LogNumbers {
        LogNumbers {
            segment_bytes: self.shared.partitions.iter().map(|p| p.spool.bytes()).sum(),
            image_bytes: images::bytes(&self.images_dir),
            free_bytes: files::space(&self.spool_dir).map(|(free, _)| free),
            ..LogNumbers::default()
        }
    }

    fn commit_mark(
        &self,
        partition: PartitionId,
        position: Position,
        image: &[u8],
    ) -> Result<(), Error> {
        images::write(&self.images_dir, partition, position, image)
    }

    fn committed_marks(&self, partition: PartitionId) -> Vec<Position> {
        images::of(&self.images_dir, partition).unwrap_or_else(|error| {
            tracing::warn!(%partition, %error, "images cannot be listed; the log is read instead");
            Vec::new()
        })
    }

    fn read_mark(&self, partition: PartitionId, position: Position) -> Result<Vec<u8>, Error> {
        images::read(&self.images_dir, partition, position)
    }

    fn close(&self) {
        self.shared.begin_close();
        let end = Instant::now() + CLOSE_PATIENCE;
        let flying = || self.shared.partitions.iter().any(|p| p.in_flight() > 0);
        while flying() && Instant::now() < end {
            std::thread::sleep(PAUSE);
        }
        self.shared.stop();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
        self.shared.close();
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.close();
    }
}
