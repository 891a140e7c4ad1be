//! Reads the inbox topics `<prefix>-1` … `<prefix>-9` for the partitions this instance owns.
//!
//! ```text
//!   broker ─► consumer (one thread) ─► a line for each partition and level ─► pull: highest first
//!                 ▲ paused above LINE, resumed below half of it
//! ```
//! What was pulled is decided and written to the changelog by its partition, together with how far
//! it was taken; so a reader begins where the partition says, and keeps nothing.
//!
//! Must not: decide anything, or commit offsets to Kafka.

use crate::log::Error;
use crate::log::kafka::client::{Cluster, Voice, refused};
use crate::log::kafka::topics::{PATIENCE, Topics, block_on};
use crate::model::id::PartitionId;
use crate::model::priority::Priority;
use crate::model::time::WallMs;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Records and bytes of one line above which its topic is paused.
const LINE: (usize, usize) = (4_096, 4 << 20);
/// Messages are waited for so long before orders are looked at again.
const POLL: Duration = Duration::from_millis(10);
/// Messages taken before orders are looked at again.
const ROUND: usize = 1_000;
const LEVELS: usize = Priority::LEVELS;

/// A record as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its offset.
    pub offset: u64,
    /// Its stamp; unset if it has none.
    pub at: WallMs,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// In the order they were written; a name that is no text is left out by the client.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Records of one inbox that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Whose inbox.
    pub level: Priority,
    /// Offset that was looked for first.
    pub from: u64,
    /// Offset behind the last one.
    pub next: u64,
    /// The records; offsets between them hold none.
    pub letters: Vec<Letter>,
}

/// Offsets to read from, or `None` = read no more; the newest for each partition.
type Orders = BTreeMap<PartitionId, Option<[u64; LEVELS]>>;

/// What waits of one inbox.
#[derive(Default)]
struct Line {
    letters: VecDeque<Letter>,
    bytes: usize,
    /// Where the next chunk begins.
    from: u64,
    paused: bool,
    /// A hole before this offset was read twice.
    hole: Option<u64>,
}

type Lines = BTreeMap<PartitionId, [Line; LEVELS]>;

/// The reader of the inboxes.
pub struct Inboxes {
    lines: Arc<Mutex<Lines>>,
    orders: Arc<Mutex<Orders>>,
    stopped: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
    topics: Topics,
    admin: AdminClient<Voice>,
}

impl Inboxes {
    /// Begins to read for nobody.
    ///
    /// # Errors
    /// `Io`.
    pub fn start(cluster: &Cluster, topics: &Topics) -> Result<Self, Error> {
        let client = BaseConsumer::from_config_and_context(&cluster.inbox(), Voice);
        let client = client.map_err(|e| refused("setting up the reader of the inboxes", &e))?;
        let admin = AdminClient::from_config_and_context(&cluster.admin(), Voice);
        let admin = admin.map_err(|e| refused("setting up the Kafka client", &e))?;
        let orders = Arc::new(Mutex::new(Orders::new()));
        let lines = Arc::new(Mutex::new(Lines::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let reader = Reader {
            client,
            topics: topics.clone(),
            lines: Arc::clone(&lines),
            orders: Arc::clone(&orders),
            stopped: Arc::clone(&stopped),
        };
        let spawned = std::thread::Builder::new()
            .name("kwq-kafka-inbox".to_owned())
            .spawn(move || reader.serve());
        let thread = spawned.map_err(|e| Error::Io {
            what: "starting the reader of the inboxes".to_owned(),
            cause: e.to_string(),
        })?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { lines, orders, stopped, thread, topics: topics.clone(), admin })
    }

    /// Reads the inboxes of a partition from these offsets on, one a level from 1 to 9. What had
    /// been read for it before is forgotten.
    pub fn own(&self, id: PartitionId, cursors: [u64; LEVELS]) {
        // At once: what still waits lies behind what was pulled and not taken.
        lock(&self.lines).remove(&id);
        lock(&self.orders).insert(id, Some(cursors));
    }

    /// Reads them no more.
    pub fn release(&self, id: PartitionId) {
        lock(&self.lines).remove(&id);
        lock(&self.orders).insert(id, None);
    }

    /// What waits of the highest level that has anything, at most so many records and bytes (one
    /// record may be larger).
    #[must_use]
    pub fn pull(&self, id: PartitionId, (records, bytes): (usize, usize)) -> Option<Chunk> {
        let mut lines = lock(&self.lines);
        let levels = lines.get_mut(&id)?;
        let (at, line) =
            levels.iter_mut().enumerate().rev().find(|(_, l)| !l.letters.is_empty())?;
        let level = Priority::from_index(at)?;
        let (mut letters, mut taken) = (Vec::new(), 0);
        while let Some(letter) = line.letters.front() {
            let size = size(letter);
            if letters.len() >= records || (taken > 0 && taken + size > bytes) {
                break;
            }
            taken += size;
            letters.extend(line.letters.pop_front());
        }
        line.bytes = line.bytes.saturating_sub(taken);
        let next = letters.last().map_or(line.from, |last| last.offset + 1);
        let from = std::mem::replace(&mut line.from, next);
        Some(Chunk { level, from, next, letters })
    }

    /// Lets Kafka forget records that were taken.
    ///
    /// # Errors
    /// `Io`; they stay there and are not read again all the same.
    pub fn trim(&self, id: PartitionId, cursors: [u64; LEVELS]) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        let what = format!("trimming the inboxes of partition {id}");
        for (at, below) in cursors.into_iter().enumerate().filter(|(_, below)| *below > 0) {
            let Some(level) = Priority::from_index(at) else { continue };
            let offset = Offset::Offset(i64::try_from(below).unwrap_or(i64::MAX));
            list.add_partition_offset(&self.topics.inbox(level), i32::from(id.0), offset)
                .map_err(|e| refused(&what, &e))?;
        }
        if list.count() == 0 {
            return Ok(());
        }
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let asked = self.admin.delete_records(&list, &options);
        block_on(asked).map_err(|e| refused(&what, &e))?;
        Ok(())
    }
}

impl Drop for Inboxes {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the reader of the inboxes panicked");
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one insertion or removal; a panic leaves nothing half done.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn size(letter: &Letter) -> usize {
    let headers =
        letter.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
    letter.value.as_ref().map_or(0, Vec::len) + headers.sum::<usize>() + 64
}

struct Reader {
    client: BaseConsumer<Voice>,
    topics: Topics,
    lines: Arc<Mutex<Lines>>,
    orders: Arc<Mutex<Orders>>,
    stopped: Arc<AtomicBool>,
}

impl Reader {
    fn serve(self) {
        while !self.stopped.load(Ordering::Acquire) {
            self.obey();
            if let Err(error) = self.resume() {
                tracing::error!(%error, "reading the inboxes");
            }
            for _ in 0..ROUND {
                match self.client.poll(POLL) {
                    None => break,
                    Some(Ok(message)) => self.take(&message),
                    // The client has said it already, and goes on by itself.
                    Some(Err(error)) => tracing::debug!(%error, "reading the inboxes"),
                }
            }
        }
    }

    /// Carries out the orders there are.
    fn obey(&self) {
        let orders = std::mem::take(&mut *lock(&self.orders));
        for (id, order) in orders {
            if let Err(error) = self.carry_out(id, order) {
                tracing::warn!(partition = %id, %error, "reading the inboxes is tried again");
                // Unless there is a newer one: nobody else would begin to read again.
                lock(&self.orders).entry(id).or_insert(order);
            }
        }
    }

    fn carry_out(&self, id: PartitionId, order: Option<[u64; LEVELS]>) -> Result<(), KafkaError> {
        self.leave(id)?;
        order.map_or(Ok(()), |cursors| self.begin(id, cursors))
    }

    /// Goes on with inboxes of which enough was pulled.
    fn resume(&self) -> Result<(), KafkaError> {
        let mut due = Vec::new();
        for (id, levels) in lock(&self.lines).iter_mut() {
            for (at, line) in levels.iter_mut().enumerate() {
                let low = line.letters.len() < LINE.0 / 2 && line.bytes < LINE.1 / 2;
                if line.paused && low {
                    line.paused = false;
                    due.extend(Priority::from_index(at).map(|level| (*id, level)));
                }
            }
        }
        due.into_iter().try_for_each(|(id, level)| self.client.resume(&self.one(id, level)))
    }

    fn begin(&self, id: PartitionId, cursors: [u64; LEVELS]) -> Result<(), KafkaError> {
        let mut lines: [Line; LEVELS] = Default::default();
        let mut list = TopicPartitionList::new();
        for (at, cursor) in cursors.into_iter().enumerate() {
            let Some(level) = Priority::from_index(at) else { continue };
            let topic = self.topics.inbox(level);
            let bounds = self.client.fetch_watermarks(&topic, i32::from(id.0), PATIENCE)?;
            // What Kafka has let go of is a hole the partition is told of.
            let first = cursor.max(u64::try_from(bounds.0).unwrap_or(0));
            if first > u64::try_from(bounds.1).unwrap_or(0) {
                let what = "the inbox was made anew: nothing is taken from it below this offset";
                tracing::error!(topic, partition = %id, cursor, what);
            }
            lines[at].from = first;
            let offset = Offset::Offset(i64::try_from(first).unwrap_or(i64::MAX));
            list.add_partition_offset(&topic, i32::from(id.0), offset)?;
        }
        lock(&self.lines).insert(id, lines);
        self.client.incremental_assign(&list)
    }

    fn leave(&self, id: PartitionId) -> Result<(), KafkaError> {
        let assigned = self.client.assignment()?;
        let mut list = TopicPartitionList::new();
        for level in (0..LEVELS).filter_map(Priority::from_index) {
            let topic = self.topics.inbox(level);
            if assigned.find_partition(&topic, i32::from(id.0)).is_some() {
                list.add_partition(&topic, i32::from(id.0));
            }
        }
        if list.count() == 0 { Ok(()) } else { self.client.incremental_unassign(&list) }
    }

    fn again(&self, id: PartitionId, level: Priority, from: u64) -> Result<(), KafkaError> {
        self.client.incremental_unassign(&self.one(id, level))?;
        let mut list = TopicPartitionList::new();
        let offset = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
        list.add_partition_offset(&self.topics.inbox(level), i32::from(id.0), offset)?;
        self.client.incremental_assign(&list)
    }

    fn one(&self, id: PartitionId, level: Priority) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topics.inbox(level), i32::from(id.0));
        list
    }

    fn take(&self, message: &BorrowedMessage<'_>) {
        let Some(level) = self.topics.level(message.topic()) else { return };
        let Ok(id) = u16::try_from(message.partition()).map(PartitionId) else { return };
        let letter = letter(message);
        let mut lines = lock(&self.lines);
        let Some(line) = lines.get_mut(&id).map(|levels| &mut levels[level.index()]) else {
            return;
        };
        let last = line.letters.back().map_or(line.from, |last| last.offset + 1);
        if letter.offset < last {
            return; // of an assignment that is over
        }
        // As with the changelog: a late message of an earlier assignment looks like a hole.
        if letter.offset > last && line.hole != Some(letter.offset) {
            line.hole = Some(letter.offset);
            drop(lines);
            if let Err(error) = self.again(id, level, last) {
                tracing::error!(%error, "reading the inboxes");
            }
            return;
        }
        line.bytes += size(&letter);
        line.letters.push_back(letter);
        let full = line.letters.len() > LINE.0 || line.bytes > LINE.1;
        if full && !line.paused {
            line.paused = true;
            drop(lines);
            if let Err(error) = self.client.pause(&self.one(id, level)) {
                tracing::warn!(%error, "an inbox that is too fast cannot be paused");
            }
        }
    }
}

fn letter(message: &BorrowedMessage<'_>) -> Letter {
    let header =
        |(name, value): (&str, Option<&[u8]>)| (name.to_owned(), value.map(<[u8]>::to_vec));
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|h| header((h.key, h.value))).collect()
    });
    let at = message.timestamp().to_millis().and_then(|ms| u64::try_from(ms).ok());
    Letter {
        offset: u64::try_from(message.offset()).unwrap_or(0),
        at: at.map_or(WallMs(0), WallMs),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that reaches nobody, with these offsets waiting.
    fn waiting(id: PartitionId, all: &[(u64, &[u64])]) -> Inboxes {
        let cluster =
            Cluster { brokers: "127.0.0.1:1".into(), client_id: "t".into(), properties: vec![] };
        let (prefix, manage, inboxes) = ("T".to_owned(), false, true);
        let topics = Topics { prefix, partitions: 1, replication: 1, manage, inboxes };
        let reader = Inboxes::start(&cluster, &topics).unwrap();
        let mut lines: [Line; LEVELS] = Default::default();
        for (level, offsets) in all {
            let line = &mut lines[Priority::new(*level).unwrap().index()];
            line.from = offsets[0];
            for offset in *offsets {
                let value = Some(vec![b'x'; 10]);
                let letter = Letter { offset: *offset, at: WallMs(0), value, headers: vec![] };
                line.bytes += size(&letter);
                line.letters.push_back(letter);
            }
        }
        lock(&reader.lines).insert(id, lines);
        reader
    }

    #[test]
    fn the_highest_level_is_pulled_first_and_chunks_follow_each_other() {
        let id = PartitionId(0);
        let reader = waiting(id, &[(2, &[7, 8]), (9, &[3, 4, 6])]);
        let pull = |records| {
            let chunk = reader.pull(id, (records, 1 << 20))?;
            Some((chunk.level.get(), chunk.from, chunk.next, chunk.letters.len()))
        };
        assert_eq!(pull(2), Some((9, 3, 5, 2)));
        assert_eq!(pull(2), Some((9, 5, 7, 1)), "offset 5 holds no record");
        assert_eq!(pull(1), Some((2, 7, 8, 1)));
        assert_eq!(pull(9), Some((2, 8, 9, 1)));
        assert_eq!(pull(9), None);
    }

    #[test]
    fn one_large_record_is_pulled_alone() {
        let id = PartitionId(0);
        let reader = waiting(id, &[(5, &[0, 1])]);
        assert_eq!(reader.pull(id, (10, 1)).map(|chunk| chunk.letters.len()), Some(1));
    }

    /// Kafka may be away just then, and nobody asks twice.
    #[test]
    fn an_order_that_could_not_be_carried_out_is_kept() {
        let id = PartitionId(0);
        let reader = waiting(id, &[]);
        let thread = lock(&reader.thread).take();
        reader.stopped.store(true, Ordering::Release);
        thread.unwrap().join().unwrap();
        let client = BaseConsumer::from_config_and_context(
            &Cluster { brokers: "127.0.0.1:1".into(), client_id: "t".into(), properties: vec![] }
                .inbox(),
            Voice,
        );
        let serving = Reader {
            client: client.unwrap(),
            topics: reader.topics.clone(),
            lines: Arc::clone(&reader.lines),
            orders: Arc::clone(&reader.orders),
            stopped: Arc::new(AtomicBool::new(false)),
        };
        reader.own(id, [3; LEVELS]);
        serving.obey();
        assert_eq!(lock(&reader.orders).get(&id), Some(&Some([3; LEVELS])));
    }

    /// A chunk that was refused is read again from Kafka: what waits behind it must not be pulled
    /// before, or the partition would take it for a hole.
    #[test]
    fn nothing_that_waits_survives_a_new_beginning() {
        let id = PartitionId(0);
        let reader = waiting(id, &[(5, &[0, 1, 2])]);
        assert!(reader.pull(id, (1, 1 << 20)).is_some());
        reader.own(id, [0; LEVELS]);
        assert_eq!(reader.pull(id, (1, 1 << 20)), None);
    }
}
