//! The embedded log: one series of segment files per data directory, shared by all partitions, one
//! writer thread.
//!
//! ```text
//! lock · format · log/<first offset, 16 hex digits>.seg · images/<partition>-<position>.img
//!
//! series:   [header|group group group|end]      [header|group group …zeros]      [zeros]  [zeros]
//! file:      0000000000000000.seg                0000000008000000.seg             reserve-0.tmp …
//! group:     record record … seal seal           one fdatasync
//! ```
//! A position is an offset in the series. Layouts: record `codec::frame`, header `segment`. What
//! is torn and what is damage: `recovery`. Must not: map files, recycle them, or retry a failed
//! sync.

mod group;

pub mod inspect;

mod queue;
mod reader;
mod recovery;
mod repair;
mod reserve;
mod segment;
mod start;
mod walk;
mod writer;

use crate::codec::event::{self, Detail};
use crate::log::lock::DirLock;
use crate::log::memory::MemoryLog;
use crate::log::{
    Batch, Error, EventLog, LogNumbers, LogRecord, Resume, Room, Skimmed, StoredTask, Ticket,
};
use crate::log::{files, images};
use crate::model::event::Stamped;
use crate::model::id::{PartitionId, Position};
use crate::model::limits;
use crate::model::task::Blob;
use crate::model::view::{ResultAt, TextAt};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// When a ticket resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After `fdatasync` of its group.
    Fsync,
    /// After the write; survives the process, not a power cut. Synced when idle.
    Os,
    /// At once; nothing is on disk.
    Memory,
}

/// How to open a log.
#[derive(Clone, Debug)]
pub struct Options {
    /// Data directory; created if missing.
    pub dir: PathBuf,
    /// Bytes of a segment, at least [`Options::SEGMENT_BYTES_MIN`].
    pub segment_bytes: u64,
    /// When a ticket resolves.
    pub durability: Durability,
    /// Free space below which submits are refused; `None` = max(2 segments, 1 GiB, 5 %).
    pub disk_reserve: Option<u64>,
    /// The newest so many bytes of records are checked at start; older ones when they are read.
    pub check_bytes: u64,
    /// Microseconds since any moment, never falling; times the syncs. `None` = they are not timed.
    pub stopwatch: Option<fn() -> u64>,
}

impl Options {
    /// Bytes of a segment unless told otherwise.
    pub const SEGMENT_BYTES: u64 = 128 << 20;
    /// Smallest segment.
    pub const SEGMENT_BYTES_MIN: u64 = 4 << 10;

    /// The defaults: fsync, segments of 128 MiB, the newest 1 GiB checked.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: Self::SEGMENT_BYTES,
            durability: Durability::Fsync,
            disk_reserve: None,
            check_bytes: 1 << 30,
            stopwatch: None,
        }
    }
}

/// What opening found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The directory held no log before.
    pub created: bool,
    /// Segments in use.
    pub segments: usize,
    /// Partitions that ever had an owner.
    pub partitions: usize,
    /// Records that were checked.
    pub records: u64,
    /// Those of them that an owner has decided: neither `Owner` nor seal.
    pub decided: u64,
    /// First position that holds nothing.
    pub end: Position,
    /// A torn tail that was cut.
    pub cut: Option<Cut>,
}

/// A torn tail: the bytes of a group that was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// File name.
    pub segment: String,
    /// Position of the first byte cut.
    pub from: Position,
    /// Bytes cut.
    pub bytes: u64,
}

/// The embedded log.
#[derive(Debug)]
pub struct EmbeddedLog {
    back: Back,
}

#[derive(Debug)]
enum Back {
    Disk(Disk),
    Memory(MemoryLog),
}

#[derive(Debug)]
struct Disk {
    shared: Arc<queue::Shared>,
    reader: reader::Reader,
    /// The first damage that was read of each partition.
    damage: Mutex<BTreeMap<PartitionId, Error>>,
    images_dir: PathBuf,
    durability: Durability,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Given back when the log is closed, so that the directory can be opened again by this
    /// process.
    lock: Mutex<Option<DirLock>>,
}

impl EmbeddedLog {
    /// Opens or creates the log of a data directory; cuts a torn tail.
    ///
    /// # Errors
    /// `Locked`, `UnknownFormat`, `Damaged` (nothing is changed then), `Full`, `Io`.
    pub fn open(options: Options) -> Result<(Self, OpenReport), Error> {
        if options.durability == Durability::Memory {
            if options.dir.join("format").exists() {
                let what = format!(
                    "{} holds a durable log, which durability `memory` would pass over",
                    options.dir.display()
                );
                return Err(Error::Settings(what));
            }
            let log = Self { back: Back::Memory(MemoryLog::new()) };
            let report =
                OpenReport { created: true, end: log.end(PartitionId(0)), ..OpenReport::default() };
            return Ok((log, report));
        }
        let (disk, report) = start::open(options)?;
        Ok((Self { back: Back::Disk(disk) }, report))
    }

    fn inner(&self) -> &dyn EventLog {
        match &self.back {
            Back::Disk(disk) => disk,
            Back::Memory(memory) => memory,
        }
    }
}

impl EventLog for EmbeddedLog {
    fn append(&self, partition: PartitionId, batch: Batch) -> Result<Ticket, Error> {
        self.inner().append(partition, batch)
    }

    fn scan(
        &self,
        from: &[(PartitionId, Position)],
        visit: &mut dyn FnMut(LogRecord) -> bool,
    ) -> Result<(), Error> {
        self.inner().scan(from, visit)
    }

    fn skim_on(
        &self,
        from: &[(PartitionId, Position)],
        resume: &mut Resume,
        visit: &mut dyn FnMut(Skimmed) -> bool,
    ) -> Result<(), Error> {
        self.inner().skim_on(from, resume, visit)
    }

    fn read_tasks(&self, wanted: &[TextAt]) -> Result<Vec<StoredTask>, Error> {
        self.inner().read_tasks(wanted)
    }

    fn read_event(&self, partition: PartitionId, at: Position) -> Result<Stamped, Error> {
        self.inner().read_event(partition, at)
    }

    fn read_result(&self, partition: PartitionId, at: ResultAt) -> Result<Blob, Error> {
        self.inner().read_result(partition, at)
    }

    fn end(&self, partition: PartitionId) -> Position {
        self.inner().end(partition)
    }

    fn room(&self) -> Room {
        self.inner().room()
    }

    fn damage(&self) -> Vec<(PartitionId, Error)> {
        self.inner().damage()
    }

    fn numbers(&self) -> LogNumbers {
        self.inner().numbers()
    }

    fn commit_mark(
        &self,
        partition: PartitionId,
        position: Position,
        image: &[u8],
    ) -> Result<(), Error> {
        self.inner().commit_mark(partition, position, image)
    }

    fn committed_marks(&self, partition: PartitionId) -> Vec<Position> {
        self.inner().committed_marks(partition)
    }

    fn read_mark(&self, partition: PartitionId, position: Position) -> Result<Vec<u8>, Error> {
        self.inner().read_mark(partition, position)
    }

    fn close(&self) {
        self.inner().close();
    }
}

impl Disk {
    /// A record of this partition.
    fn record(&self, partition: PartitionId, at: Position) -> Result<Arc<reader::Record>, Error> {
        let read = self.reader.record(&self.shared, at);
        if let Err(damage @ Error::Damaged { .. }) = &read {
            let mut noted = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
            noted.entry(partition).or_insert_with(|| damage.clone());
        }
        let record = read?;
        if record.head.partition == partition { Ok(record) } else { Err(Error::NoRecord(at)) }
    }
}

impl EventLog for Disk {
    fn append(&self, partition: PartitionId, batch: Batch) -> Result<Ticket, Error> {
        let mut bodies = Vec::new();
        let mut records = Vec::with_capacity(batch.events.len());
        for stamped in batch.events.iter() {
            let before = bodies.len();
            let kind = event::encode(&stamped.event, &mut bodies);
            records.push((kind, stamped.at, bodies.len() - before));
        }
        let largest = records.iter().map(|(_, _, size)| *size).max();
        if largest.is_none_or(|size| size > limits::RECORD_BYTES_MAX) {
            let what = "appending an empty batch or a record beyond its limit".to_owned();
            return Err(Error::Io { what, cause: format!("{largest:?} bytes") });
        }
        let submit = batch.events.iter().any(|s| s.event.admits().is_some());
        let batch = group::Encoded { partition, epoch: batch.epoch, records, bodies };
        self.shared.append(batch, submit)
    }

    fn scan(
        &self,
        from: &[(PartitionId, Position)],
        visit: &mut dyn FnMut(LogRecord) -> bool,
    ) -> Result<(), Error> {
        let segments = self.shared.segments();
        let mut visit = |skimmed: Skimmed| visit(skimmed.record);
        let (dir, none) = (&self.shared.log_dir, &mut Resume::default());
        reader::scan(dir, &segments, from, Detail::Full, none, &mut visit)
    }

    fn skim_on(
        &self,
        from: &[(PartitionId, Position)],
        resume: &mut Resume,
        visit: &mut dyn FnMut(Skimmed) -> bool,
    ) -> Result<(), Error> {
        let segments = self.shared.segments();
        reader::scan(&self.shared.log_dir, &segments, from, Detail::Skim, resume, visit)
    }

    fn read_tasks(&self, wanted: &[TextAt]) -> Result<Vec<StoredTask>, Error> {
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_by_key(|i| wanted[*i]);
        let mut found: Vec<Option<StoredTask>> = vec![None; wanted.len()];
        let mut last: Option<(Position, Arc<reader::Record>)> = None;
        for i in order {
            let TextAt { partition, record: position, entry } = wanted[i];
            let record = match last.take() {
                Some((at, record)) if at == position => record,
                Some(_) | None => self.record(partition, position)?,
            };
            let spec = match record.head.kind {
                event::SUBMITTED => event::submitted::decode_task(&record.body, entry),
                event::SUBMITTED_ARRAY => event::arrays::decode_element(&record.body, entry),
                _ => return Err(Error::NoRecord(position)),
            };
            let spec = spec.map_err(|_| Error::NoRecord(position))?;
            found[i] = Some(StoredTask { submitted: record.head.at, spec });
            last = Some((position, record));
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn read_event(&self, partition: PartitionId, at: Position) -> Result<Stamped, Error> {
        let record = self.record(partition, at)?;
        let (kind, stamp) = (record.head.kind, record.head.at);
        let decoded = event::decode(kind, stamp, &record.body, Detail::Full);
        decoded.map(|decoded| decoded.stamped).map_err(|_| Error::NoRecord(at))
    }

    fn read_result(&self, partition: PartitionId, at: ResultAt) -> Result<Blob, Error> {
        let record = self.record(partition, at.record)?;
        if record.head.kind != event::COMPLETED {
            return Err(Error::NoRecord(at.record));
        }
        let result = event::batches::decode_result(&record.body, at.index);
        result.ok().flatten().ok_or(Error::NoRecord(at.record))
    }

    fn end(&self, _: PartitionId) -> Position {
        self.shared.end()
    }

    fn damage(&self) -> Vec<(PartitionId, Error)> {
        let noted = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        noted.iter().map(|(id, damage)| (*id, damage.clone())).collect()
    }

    fn room(&self) -> Room {
        self.shared.room()
    }

    fn numbers(&self) -> LogNumbers {
        let mut numbers = LogNumbers {
            segment_bytes: self.shared.segments().iter().map(|s| s.header.capacity).sum(),
            image_bytes: images::bytes(&self.images_dir),
            free_bytes: files::space(&self.shared.log_dir).map(|(free, _)| free),
            ..LogNumbers::default()
        };
        self.shared.syncs.show(&mut numbers);
        numbers
    }

    fn commit_mark(
        &self,
        partition: PartitionId,
        position: Position,
        image: &[u8],
    ) -> Result<(), Error> {
        if position > self.shared.end() {
            let what = format!("keeping image {partition}-{position}");
            let cause = format!("the log is durable up to {} only", self.shared.end());
            return Err(Error::Io { what, cause });
        }
        if self.durability != Durability::Fsync {
            // An image must never be ahead of the log it stands for.
            self.shared.sync_files()?;
        }
        images::write(&self.images_dir, partition, position, image)
    }

    fn committed_marks(&self, partition: PartitionId) -> Vec<Position> {
        images::usable(&self.images_dir, partition)
    }

    fn read_mark(&self, partition: PartitionId, position: Position) -> Result<Vec<u8>, Error> {
        images::read(&self.images_dir, partition, position)
    }

    fn close(&self) {
        self.shared.begin_close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the log writer panicked");
        }
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
    }
}
