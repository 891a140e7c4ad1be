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

mod bounds;
mod client;
mod commands;
mod copy;
mod gossip;
mod group;
mod inbox;
mod line;
mod lines;
mod offline;
mod outlet;
mod partition;
mod place;
mod producer;
mod reader;
mod settings;
mod shared;
mod start;
mod survey;
mod tail;
mod threads;
mod topics;
mod vitals;
mod yardstick;

pub use client::Cluster;
pub use commands::{Commands, Delivery};
pub use gossip::{Gossip, Heard};
pub use group::{Assigned, Group, Member, strangers};
pub use inbox::{Chunk, Inboxes};
pub use line::Letter;
pub use lines::Head;
pub use offline::{Offline, dump, is_copy, verify};
pub use outlet::{Last, Outlet, records_between};
pub use start::{examine, shortcomings};
pub use survey::More;
pub use topics::{Found, Topics};
pub use yardstick::Yardstick;

use crate::codec::changelog;
use crate::log::kafka::copy::Copy;
use crate::log::kafka::partition::{Acks, Sent};
use crate::log::kafka::threads::{PAUSE, ended};
use crate::log::kafka::vitals::Vitals;
use crate::log::lock::DirLock;
use crate::log::{
    Batch, Client, Error, EventLog, LogNumbers, LogRecord, Resume, Room, Skimmed, StoredTask,
    Ticket,
};
use crate::log::{files, images};
use crate::model::event::{Event, Stamped};
use crate::model::id::{Epoch, PartitionId, Position};
use crate::model::task::Blob;
use crate::model::view::{ResultAt, TextAt};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Looks for batches on their way when the log is closed: 3 s.
const CLOSE_LOOKS: u32 = 600;
/// For a thread that drops its client: one whose broker hangs may take long.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);
/// Looks at a reader that brings nothing before it is said that nothing moves: 30 s.
const SILENT_LOOKS: u32 = 6_000;

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
    /// Microseconds since any moment, never falling; times the acknowledgements. `None` = they are
    /// not timed.
    pub stopwatch: Option<fn() -> u64>,
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
    copy: Copy,
    acks: Arc<Acks>,
    /// Of the producer and of the reader, index [`crate::log::Client`].
    vitals: [Arc<Vitals>; Client::COUNT],
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

    /// Damage of the copy on this machine is none of the log, which fails by it: opened again, it
    /// drops the damaged part and reads it anew from Kafka.
    fn read<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(damage @ Error::Damaged { .. }) = &outcome {
            let reason = format!("the copy of the log on this machine has {damage}");
            self.shared.fail(Error::Failed(reason));
        }
        outcome
    }
}

impl EventLog for KafkaLog {
    fn append(&self, id: PartitionId, batch: Batch) -> Result<Ticket, Error> {
        self.shared.check()?;
        let partition = self.shared.partition(id)?;
        let takes = matches!(batch.events.first().map(|e| &e.event), Some(Event::Owner { .. }));
        let many = || Epoch(self.shared.partitions.len() as u64);
        let epoch = if takes { many() } else { batch.epoch };
        let value = changelog::encode(epoch, &batch.events).map_err(|bad| Error::Io {
            what: format!("appending to partition {id}"),
            cause: bad.to_string(),
        })?;
        self.producer.wait_for_room(&self.shared);
        let (ticket, resolver) = Ticket::pair();
        let events = u16::try_from(batch.events.len()).unwrap_or(u16::MAX);
        let sent = Sent::new(resolver, value, events, self.acks.now());
        let send = |value: &[u8], life| self.producer.send(id, life, value);
        if takes {
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
        self.read(self.copy.scan(from, visit))
    }

    fn skim_on(
        &self,
        from: &[(PartitionId, Position)],
        _: &mut Resume,
        visit: &mut dyn FnMut(Skimmed) -> bool,
    ) -> Result<(), Error> {
        self.read(self.copy.skim(from, visit))
    }

    fn read_tasks(&self, wanted: &[TextAt]) -> Result<Vec<StoredTask>, Error> {
        self.read(self.copy.read_tasks(wanted))
    }

    fn read_event(&self, id: PartitionId, at: Position) -> Result<Stamped, Error> {
        self.read(self.copy.read_event(id, at))
    }

    fn read_result(&self, id: PartitionId, at: ResultAt) -> Result<Blob, Error> {
        self.read(self.copy.read_result(id, at))
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

    fn release(&self, id: PartitionId) {
        if let Ok(partition) = self.shared.partition(id) {
            self.shared.carry_out(Ok(partition.release()));
        }
    }

    fn catch_up(&self, progress: &dyn Fn(u16)) -> Result<(), Error> {
        let whole: u64 = self.shared.ends.iter().sum();
        let (mut seen, mut silent) = (0, 0);
        loop {
            self.shared.check()?;
            let pairs = self.shared.partitions.iter().zip(&self.shared.ends);
            let read: u64 = pairs.map(|(p, end)| p.read_to().min(*end)).sum();
            if read >= whole {
                return Ok(());
            }
            if read > seen {
                (seen, silent) = (read, 0);
                progress(u16::try_from(read * 1_000 / whole).unwrap_or(1_000));
            } else {
                silent += 1;
                if silent % SILENT_LOOKS == 0 {
                    tracing::warn!(read, whole, "nothing more comes from Kafka");
                }
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn failure(&self) -> Option<Error> {
        self.shared.failure()
    }

    fn refusals(&self) -> u64 {
        self.shared.refusals.load(Ordering::Acquire)
    }

    fn reduced(&self) -> Vec<String> {
        self.reduced.clone()
    }

    fn room(&self) -> Room {
        self.shared.room()
    }

    fn numbers(&self) -> LogNumbers {
        let mut numbers = LogNumbers {
            segment_bytes: self.copy.bytes(),
            image_bytes: images::bytes(&self.copy.images_dir),
            free_bytes: files::space(&self.copy.images_dir).map(|(free, _)| free),
            ..LogNumbers::default()
        };
        self.acks.counts.show(&mut numbers);
        numbers.clients = self.vitals.each_ref().map(|vitals| vitals.numbers());
        numbers
    }

    fn commit_mark(
        &self,
        partition: PartitionId,
        position: Position,
        image: &[u8],
    ) -> Result<(), Error> {
        images::write(&self.copy.images_dir, partition, position, image)
    }

    fn committed_marks(&self, partition: PartitionId) -> Vec<Position> {
        self.copy.marks(partition)
    }

    fn read_mark(&self, partition: PartitionId, position: Position) -> Result<Vec<u8>, Error> {
        images::read(&self.copy.images_dir, partition, position)
    }

    fn close(&self) {
        self.shared.begin_close();
        let flying = || self.shared.partitions.iter().any(|p| p.in_flight() > 0);
        for _ in 0..CLOSE_LOOKS {
            if !flying() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        self.shared.stop();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            ended(&name, thread, CLOSE_LIMIT);
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
