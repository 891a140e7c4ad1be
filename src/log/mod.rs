//! The log: the only source of order. One contract, several back ends, one conformance suite
//! (`tests/it/log_contract.rs`).
//!
//! ```text
//!   PartitionActor ── append(batch) ─► [ back end ] ── durable ─► Ticket resolves with positions
//!   recovery, tracker ── scan(from) ◄──────┘            hand-out ── read_tasks(at) ◄──┘
//! ```
//! 1. `append` fixes the order; a batch is all or nothing.
//! 2. A ticket resolves only when its batch is durable, never before an earlier ticket of the log.
//! 3. Readers see only durable records, in order; positions of a partition rise strictly.
//! 4. After a failed sync every later ticket fails (fail-stop). Never retry: open the log again and
//!    rebuild.
//! 5. A batch counts only if its epoch is the position of the last `Owner` record of its partition
//!    before it.
//! 6. An image is a cache: any of them may be missing or damaged, the log alone is enough.
//!
//! Must not: know tasks beyond their encoding, decide anything, or show files and syncs through
//! [`EventLog`].

pub mod embedded;
pub mod faulty;
pub mod fence;
mod files;
mod images;
#[cfg(feature = "kafka")]
pub mod kafka;
mod lock;
pub mod memory;
#[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "the copy of a Kafka partition"))]
mod spool;
mod syncs;
pub mod ticket;

use crate::model::event::{Event, Stamped};
use crate::model::id::{Epoch, PartitionId, Position};
use crate::model::task::{Blob, TaskSpec};
use crate::model::time::WallMs;
use crate::model::view::{ResultAt, TextAt};
use std::collections::BTreeMap;
use std::sync::Arc;
pub use ticket::Ticket;

/// Why the log cannot do what was asked. Where the text has a second line, it says what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A write or sync failed; nothing more is accepted by this instance of the log.
    #[error("the log has failed: {0}")]
    Failed(String),
    /// Another owner may have the partition: it must be taken again before it is served. Others
    /// are not touched.
    #[error("the partition is not owned: {0}")]
    Fenced(String),
    /// No room for this batch, not even in the reserve.
    #[error("no space left for the log: {0}")]
    Full(String),
    /// Bytes before the synced end are not what was written.
    #[error("damage in {segment} at offset {offset}: {reason}")]
    Damaged {
        /// File name.
        segment: String,
        /// Offset in it.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// Another process holds the directory.
    #[error("{0} is in use by another kwq process (pid {1})")]
    Locked(String, String),
    /// Written by another product or a newer version.
    #[error("{0}")]
    UnknownFormat(String),
    /// The settings do not fit what the directory holds; nothing was changed.
    #[error("{0}")]
    Settings(String),
    /// The position holds no such record.
    #[error("no record at position {0}")]
    NoRecord(Position),
    /// Anything else the operating system refuses.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried on which object.
        what: String,
        /// The system's words.
        cause: String,
    },
}

/// What a partition decided in one turn. Atomic.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Epoch it was decided under; ignored for a batch that begins with `Owner`, whose epoch is its
    /// own position.
    pub epoch: Epoch,
    /// The events, at least one.
    pub events: Arc<[Stamped]>,
}

/// Where a durable batch lies: one position per event, rising.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Positions of the events, in order.
    pub positions: Vec<Position>,
}

/// One record as a reader sees it. Void batches (rule 5) are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord {
    /// Its position.
    pub position: Position,
    /// Its partition.
    pub partition: PartitionId,
    /// Its epoch.
    pub epoch: Epoch,
    /// What happened. Payload bytes of `Submitted` tasks and results of `Completed` are present.
    pub stamped: Stamped,
}

/// A record without payload and result bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Skimmed {
    /// The record; payloads of `Submitted` and results of `Completed` are empty.
    pub record: LogRecord,
    /// Payload size per task of `Submitted`, result size per entry of `Completed` (0 without);
    /// empty for other kinds.
    pub blob_bytes: Vec<u32>,
}

/// Where a skim stopped. The next one goes on there instead of at the start of the segment; an
/// empty one reads the same, only slower.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// First position of the segment.
    pub(crate) segment: Position,
    /// Of a record in it.
    pub(crate) position: Position,
    /// Epochs in force there.
    pub(crate) owners: BTreeMap<PartitionId, Epoch>,
}

impl Resume {
    /// Every record before this one that was asked for has been visited. 0 = not known.
    #[must_use]
    pub fn visited(&self) -> Position {
        self.position
    }
}

/// A task as read back from the log.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTask {
    /// Stamp of its record: when it was admitted.
    pub submitted: WallMs,
    /// Text, budgets and payload.
    pub spec: TaskSpec,
}

/// How much may still be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Everything.
    Plenty,
    /// No submits; hand-outs and reports go on from the reserve.
    WorkOnly,
    /// Nothing.
    None,
}

/// What a start on Kafka would find.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// Topics that it would make.
    pub missing: usize,
    /// Why an acknowledgement would mean less than it should.
    pub reduced: Vec<String>,
    /// What Kafka has lost of the changelog; only who has kept it can start.
    pub gone: Vec<String>,
    /// What producers write and nobody takes.
    pub untaken: Vec<String>,
}

/// Buckets of [`LogNumbers`]: index = bit length of the value, at most 25.
pub const SYNC_BUCKETS: usize = 26;

/// A client of a log that is kept elsewhere; index into [`LogNumbers::clients`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Appends.
    Send,
    /// Reads what others appended.
    Read,
}

impl Client {
    /// How many there are.
    pub const COUNT: usize = 2;
}

/// What happens between a client and its servers; index into [`ClientNumbers::faults`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkFault {
    /// A request could not be sent.
    Send,
    /// An answer could not be received.
    Receive,
    /// A request was not answered in time.
    Timeout,
    /// A connection ended.
    Disconnect,
}

impl LinkFault {
    /// How many there are.
    pub const COUNT: usize = 4;
}

/// What a client tells of itself, some seconds old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientNumbers {
    /// Bytes it keeps that are on their way, or were fetched and not read yet.
    pub queued_bytes: u64,
    /// 99th percentile of the time of a request to the slowest server, µs; 0 = not known.
    pub round_trip_micros: u64,
    /// Since the log was opened.
    pub faults: [u64; LinkFault::COUNT],
}

/// What a log shows of itself; the arrays count since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogNumbers {
    /// Syncs by their time, µs; nothing where no stopwatch was given.
    pub sync_micros: [u64; SYNC_BUCKETS],
    /// Syncs by the records they made durable.
    pub sync_records: [u64; SYNC_BUCKETS],
    /// Size of all segments.
    pub segment_bytes: u64,
    /// Size of all images.
    pub image_bytes: u64,
    /// Free space of its file system; `None` = not on a disk, or the system does not tell.
    pub free_bytes: Option<u64>,
    /// Of a log that is kept elsewhere, by [`Client`]; zeros for any other.
    pub clients: [ClientNumbers; Client::COUNT],
}

/// The contract. Every method may be called from any thread.
pub trait EventLog: Send + Sync {
    /// Appends a batch. May block for room (bounded by what the back end buffers); order is fixed
    /// on return.
    ///
    /// # Errors
    /// `Failed` after a fault, `Full` without room, `Fenced` under an epoch that is over.
    fn append(&self, partition: PartitionId, batch: Batch) -> Result<Ticket, Error>;

    /// Visits the durable records of each listed partition from its position (inclusive) to the
    /// present end, each partition in order, until `visit` answers false. Payload bytes are
    /// included.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    fn scan(
        &self,
        from: &[(PartitionId, Position)],
        visit: &mut dyn FnMut(LogRecord) -> bool,
    ) -> Result<(), Error>;

    /// As [`Self::scan`], without payload and result bytes; several times faster where they are
    /// large.
    ///
    /// # Errors
    /// As [`Self::scan`].
    fn skim(
        &self,
        from: &[(PartitionId, Position)],
        visit: &mut dyn FnMut(Skimmed) -> bool,
    ) -> Result<(), Error> {
        self.skim_on(from, &mut Resume::default(), visit)
    }

    /// As [`Self::skim`], by a reader that comes again: begins where `resume` stopped, if that is
    /// not behind what is asked for, and notes there where it stops.
    ///
    /// # Errors
    /// As [`Self::scan`].
    fn skim_on(
        &self,
        from: &[(PartitionId, Position)],
        resume: &mut Resume,
        visit: &mut dyn FnMut(Skimmed) -> bool,
    ) -> Result<(), Error> {
        *resume = Resume::default();
        self.scan(from, &mut |record| visit(skimmed(record)))
    }

    /// Reads tasks back, answered in the same order.
    ///
    /// # Errors
    /// `NoRecord`, `Damaged`, `Io`.
    fn read_tasks(&self, wanted: &[TextAt]) -> Result<Vec<StoredTask>, Error>;

    /// Reads one event back.
    ///
    /// # Errors
    /// As [`Self::read_tasks`].
    fn read_event(&self, partition: PartitionId, at: Position) -> Result<Stamped, Error>;

    /// Reads a result back.
    ///
    /// # Errors
    /// As [`Self::read_tasks`].
    fn read_result(&self, partition: PartitionId, at: ResultAt) -> Result<Blob, Error>;

    /// First position of a partition that is not durable yet.
    fn end(&self, partition: PartitionId) -> Position;

    /// Other processes append as well: what lies between two records of this one must be read.
    fn others_append(&self) -> bool {
        false
    }

    /// Gives a partition up: what others append to it is read from now on. Batches on their way
    /// fail as fenced.
    fn release(&self, _: PartitionId) {}

    /// Blocks until everything that was durable when the log was opened can be read here.
    /// `progress` hears how much of it can, ‰.
    ///
    /// # Errors
    /// `Failed`.
    fn catch_up(&self, progress: &dyn Fn(u16)) -> Result<(), Error> {
        progress(1_000);
        Ok(())
    }

    /// Positions of all partitions are of one series: their order is that of the log. Otherwise
    /// each partition has a series of its own, and there is no order between them.
    fn one_series(&self) -> bool {
        true
    }

    /// How much may still be written.
    fn room(&self) -> Room;

    /// Why it accepts nothing more; `None` = it does, or nobody has noticed yet.
    fn failure(&self) -> Option<Error> {
        None
    }

    /// Partitions of which a record was read that is damaged, and not to be had elsewhere, since
    /// the log was opened, with the first damage of each.
    fn damage(&self) -> Vec<(PartitionId, Error)> {
        Vec::new()
    }

    /// Appends that servers elsewhere have refused to this process, whatever it sends: they do not
    /// take its clock, or it may not write. Counted since the log was opened.
    fn refusals(&self) -> u64 {
        0
    }

    /// Why an acknowledgement means less than it should; empty = it does not.
    fn reduced(&self) -> Vec<String> {
        Vec::new()
    }

    /// What it counts. May look at the disk, so not for a thread that must not wait.
    fn numbers(&self) -> LogNumbers {
        LogNumbers::default()
    }

    /// Keeps an encoded image of a partition as of `position` (everything before it is folded in);
    /// drops older ones beyond the newest two. Does not return before the image is durable.
    ///
    /// # Errors
    /// `Io`, `Full`. The log itself is not harmed.
    fn commit_mark(
        &self,
        partition: PartitionId,
        position: Position,
        image: &[u8],
    ) -> Result<(), Error>;

    /// Usable images of a partition, the newest first. Damaged ones are left out with a warning.
    fn committed_marks(&self, partition: PartitionId) -> Vec<Position>;

    /// Bytes of an image listed by [`Self::committed_marks`].
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    fn read_mark(&self, partition: PartitionId, position: Position) -> Result<Vec<u8>, Error>;

    /// Makes everything appended durable, writes the proof of it and stops. Later appends fail.
    fn close(&self);
}

fn skimmed(mut record: LogRecord) -> Skimmed {
    let taken = |blob: &mut Blob| {
        let bytes = std::mem::take(&mut blob.bytes);
        u32::try_from(bytes.len()).unwrap_or(u32::MAX)
    };
    let blob_bytes = match &mut record.stamped.event {
        Event::Submitted { tasks, .. } => tasks.iter_mut().map(|t| taken(&mut t.payload)).collect(),
        Event::Completed(tasks) => {
            tasks.iter_mut().map(|t| t.result.as_mut().map_or(0, taken)).collect()
        }
        Event::SubmittedArray { .. }
        | Event::Owner { .. }
        | Event::JobDefined { .. }
        | Event::JobChanged { .. }
        | Event::LevelChanged { .. }
        | Event::WorkerDrained { .. }
        | Event::Allocated { .. }
        | Event::Started(_)
        | Event::Failed { .. }
        | Event::Released { .. }
        | Event::Cancelled(_)
        | Event::Redriven { .. }
        | Event::Key { .. }
        | Event::Duplicates(_)
        | Event::Purged(_)
        | Event::Inbox { .. }
        | Event::Operation { .. } => Vec::new(),
    };
    Skimmed { record, blob_bytes }
}
