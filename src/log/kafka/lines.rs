//! Reads topics that have a partition for each of kwq's, for the partitions this instance owns.
//!
//! ```text
//!   broker ─► consumer (one thread) ─► a line for each partition and topic ─► pull, last first
//!                 ▲ paused above LINE, resumed below half of it
//! ```
//! Must not: decide anything, keep how far anybody has come, or commit offsets to Kafka.

use crate::log::Error;
use crate::log::kafka::client::{Cluster, Voice, refused};
use crate::log::kafka::threads::spawn;
use crate::log::kafka::topics::{PATIENCE, block_on};
use crate::model::id::PartitionId;
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
/// Before an order that could not be carried out is tried again.
const AGAIN: Duration = Duration::from_millis(100);

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

/// Records of one partition of a topic that follow each other.
pub(super) struct Piece {
    /// Place of the topic among those that are read.
    pub(super) topic: usize,
    /// Offset that was looked for first.
    pub(super) from: u64,
    /// Offset behind the last one.
    pub(super) next: u64,
    /// The records; offsets between them hold none.
    pub(super) letters: Vec<Letter>,
}

/// Offsets to read from, one a topic, or `None` = read no more; the newest for each partition.
type Orders = BTreeMap<PartitionId, Option<Vec<u64>>>;

/// What waits of one partition of a topic.
#[derive(Default)]
struct Line {
    letters: VecDeque<Letter>,
    bytes: usize,
    /// Where the next piece begins.
    from: u64,
    paused: bool,
    /// A hole before this offset was read twice.
    hole: Option<u64>,
}

type All = BTreeMap<PartitionId, Vec<Line>>;

/// What the two sides share.
struct Shared {
    /// What the topics hold, for people.
    what: &'static str,
    topics: Vec<String>,
    lines: Mutex<All>,
    orders: Mutex<Orders>,
    stopped: AtomicBool,
}

/// The reader of some topics.
pub(super) struct Lines {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    admin: AdminClient<Voice>,
}

impl Lines {
    /// Begins to read for nobody; `what` says in a word what the topics hold.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn start(
        cluster: &Cluster,
        what: &'static str,
        topics: Vec<String>,
    ) -> Result<Self, Error> {
        let client = BaseConsumer::from_config_and_context(&cluster.inbox(), Voice);
        let client =
            client.map_err(|e| refused(&format!("setting up the reader of {what}"), &e))?;
        let admin = AdminClient::from_config_and_context(&cluster.admin(), Voice);
        let admin = admin.map_err(|e| refused("setting up the Kafka client", &e))?;
        let (lines, orders) = (Mutex::default(), Mutex::default());
        let stopped = AtomicBool::new(false);
        let shared = Arc::new(Shared { what, topics, lines, orders, stopped });
        let reader = Reader { client, shared: Arc::clone(&shared) };
        let thread = spawn("kwq-kafka-lines", move || reader.serve())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)), admin })
    }

    /// Reads for a partition from these offsets on, one a topic. What had been read for it before
    /// is forgotten.
    pub(super) fn own(&self, id: PartitionId, cursors: Vec<u64>) {
        // At once: what still waits lies behind what was pulled and not taken.
        lock(&self.shared.lines).remove(&id);
        lock(&self.shared.orders).insert(id, Some(cursors));
    }

    /// Reads for it no more.
    pub(super) fn release(&self, id: PartitionId) {
        lock(&self.shared.lines).remove(&id);
        lock(&self.shared.orders).insert(id, None);
    }

    /// What waits of the last topic that has anything, at most so many records and bytes (one
    /// record may be larger).
    pub(super) fn pull(&self, id: PartitionId, (records, bytes): (usize, usize)) -> Option<Piece> {
        let mut lines = lock(&self.shared.lines);
        let lines = lines.get_mut(&id)?;
        let (topic, line) =
            lines.iter_mut().enumerate().rev().find(|(_, l)| !l.letters.is_empty())?;
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
        Some(Piece { topic, from, next, letters })
    }

    /// Lets Kafka forget what lies below these offsets, one a topic.
    ///
    /// # Errors
    /// `Io`; the records stay there.
    pub(super) fn trim(&self, id: PartitionId, below: &[u64]) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        let what = format!("trimming {} of partition {id}", self.shared.what);
        let due = self.shared.topics.iter().zip(below).filter(|(_, below)| **below > 0);
        for (topic, below) in due {
            list.add_partition_offset(topic, i32::from(id.0), offset(*below))
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

impl Drop for Lines {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        let thread = lock(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(what = self.shared.what, "a reader panicked");
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one insertion or removal; a panic leaves nothing half done.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn offset(of: u64) -> Offset {
    Offset::Offset(i64::try_from(of).unwrap_or(i64::MAX))
}

fn size(letter: &Letter) -> usize {
    let headers =
        letter.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
    letter.value.as_ref().map_or(0, Vec::len) + headers.sum::<usize>() + 64
}

struct Reader {
    client: BaseConsumer<Voice>,
    shared: Arc<Shared>,
}

impl Reader {
    fn serve(self) {
        let what = self.shared.what;
        while !self.shared.stopped.load(Ordering::Acquire) {
            if !self.obey() {
                std::thread::sleep(AGAIN);
            }
            if let Err(error) = self.resume() {
                tracing::error!(%error, what, "going on to read");
            }
            for _ in 0..ROUND {
                match self.client.poll(POLL) {
                    None => break,
                    Some(Ok(message)) => self.take(&message),
                    // The client has said it already, and goes on by itself.
                    Some(Err(error)) => tracing::debug!(%error, what, "reading"),
                }
            }
        }
    }

    /// Carries out the orders there are; false = one of them could not be.
    fn obey(&self) -> bool {
        let orders = std::mem::take(&mut *lock(&self.shared.orders));
        let mut fine = true;
        for (id, order) in orders {
            if let Err(error) = self.carry_out(id, order.as_deref()) {
                let what = self.shared.what;
                tracing::warn!(partition = %id, %error, what, "reading is tried again");
                // Unless there is a newer one: nobody else would begin to read again.
                lock(&self.shared.orders).entry(id).or_insert(order);
                fine = false;
            }
        }
        fine
    }

    fn carry_out(&self, id: PartitionId, order: Option<&[u64]>) -> Result<(), KafkaError> {
        self.leave(id)?;
        order.map_or(Ok(()), |cursors| self.begin(id, cursors))
    }

    /// Goes on with topics of which enough was pulled.
    fn resume(&self) -> Result<(), KafkaError> {
        let mut due = Vec::new();
        for (id, lines) in lock(&self.shared.lines).iter_mut() {
            for (topic, line) in lines.iter_mut().enumerate() {
                let low = line.letters.len() < LINE.0 / 2 && line.bytes < LINE.1 / 2;
                if line.paused && low {
                    line.paused = false;
                    due.push((*id, topic));
                }
            }
        }
        due.into_iter().try_for_each(|(id, topic)| self.client.resume(&self.one(id, topic)))
    }

    fn begin(&self, id: PartitionId, cursors: &[u64]) -> Result<(), KafkaError> {
        let mut lines = Vec::new();
        let mut list = TopicPartitionList::new();
        for (topic, cursor) in self.shared.topics.iter().zip(cursors) {
            let bounds = self.client.fetch_watermarks(topic, i32::from(id.0), PATIENCE)?;
            // What Kafka has let go of is a hole the partition is told of.
            let first = (*cursor).max(u64::try_from(bounds.0).unwrap_or(0));
            if first > u64::try_from(bounds.1).unwrap_or(0) {
                let what = "the topic was made anew: nothing is taken from it below this offset";
                tracing::error!(topic, partition = %id, cursor, what);
            }
            lines.push(Line { from: first, ..Line::default() });
            list.add_partition_offset(topic, i32::from(id.0), offset(first))?;
        }
        lock(&self.shared.lines).insert(id, lines);
        self.client.incremental_assign(&list)
    }

    fn leave(&self, id: PartitionId) -> Result<(), KafkaError> {
        let assigned = self.client.assignment()?;
        let mut list = TopicPartitionList::new();
        for topic in &self.shared.topics {
            if assigned.find_partition(topic, i32::from(id.0)).is_some() {
                list.add_partition(topic, i32::from(id.0));
            }
        }
        if list.count() == 0 { Ok(()) } else { self.client.incremental_unassign(&list) }
    }

    fn again(&self, id: PartitionId, topic: usize, from: u64) -> Result<(), KafkaError> {
        self.client.incremental_unassign(&self.one(id, topic))?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.shared.topics[topic], i32::from(id.0), offset(from))?;
        self.client.incremental_assign(&list)
    }

    fn one(&self, id: PartitionId, topic: usize) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.shared.topics[topic], i32::from(id.0));
        list
    }

    fn take(&self, message: &BorrowedMessage<'_>) {
        let named = |name: &String| name == message.topic();
        let Some(topic) = self.shared.topics.iter().position(named) else { return };
        let Ok(id) = u16::try_from(message.partition()).map(PartitionId) else { return };
        let letter = letter(message);
        let mut lines = lock(&self.shared.lines);
        let Some(line) = lines.get_mut(&id).and_then(|lines| lines.get_mut(topic)) else {
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
            if let Err(error) = self.again(id, topic, last) {
                tracing::error!(%error, what = self.shared.what, "reading a hole again");
            }
            return;
        }
        line.bytes += size(&letter);
        line.letters.push_back(letter);
        let full = line.letters.len() > LINE.0 || line.bytes > LINE.1;
        if full && !line.paused {
            line.paused = true;
            drop(lines);
            if let Err(error) = self.client.pause(&self.one(id, topic)) {
                tracing::warn!(%error, what = self.shared.what, "too fast, and cannot be paused");
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

    const ID: PartitionId = PartitionId(0);

    fn cluster() -> Cluster {
        Cluster { brokers: "127.0.0.1:1".into(), client_id: "t".into(), properties: vec![] }
    }

    /// A reader of three topics that reaches nobody, with these offsets waiting.
    fn waiting(all: &[(usize, &[u64])]) -> Lines {
        let topics = ["a", "b", "c"].map(str::to_owned).to_vec();
        let reader = Lines::start(&cluster(), "letters", topics).unwrap();
        let mut lines: Vec<Line> = (0..3).map(|_| Line::default()).collect();
        for (topic, offsets) in all {
            let line = &mut lines[*topic];
            line.from = offsets[0];
            for offset in *offsets {
                let value = Some(vec![b'x'; 10]);
                let letter = Letter { offset: *offset, at: WallMs(0), value, headers: vec![] };
                line.bytes += size(&letter);
                line.letters.push_back(letter);
            }
        }
        lock(&reader.shared.lines).insert(ID, lines);
        reader
    }

    #[test]
    fn the_last_topic_is_pulled_first_and_pieces_follow_each_other() {
        let reader = waiting(&[(0, &[7, 8]), (2, &[3, 4, 6])]);
        let pull = |records| {
            let piece = reader.pull(ID, (records, 1 << 20))?;
            Some((piece.topic, piece.from, piece.next, piece.letters.len()))
        };
        assert_eq!(pull(2), Some((2, 3, 5, 2)));
        assert_eq!(pull(2), Some((2, 5, 7, 1)), "offset 5 holds no record");
        assert_eq!(pull(1), Some((0, 7, 8, 1)));
        assert_eq!(pull(9), Some((0, 8, 9, 1)));
        assert_eq!(pull(9), None);
    }

    #[test]
    fn one_large_record_is_pulled_alone() {
        let reader = waiting(&[(1, &[0, 1])]);
        assert_eq!(reader.pull(ID, (10, 1)).map(|piece| piece.letters.len()), Some(1));
    }

    /// Kafka may be away just then, and nobody asks twice.
    #[test]
    fn an_order_that_could_not_be_carried_out_is_kept() {
        let reader = waiting(&[]);
        reader.shared.stopped.store(true, Ordering::Release);
        lock(&reader.thread).take().unwrap().join().unwrap();
        let client = BaseConsumer::from_config_and_context(&cluster().inbox(), Voice).unwrap();
        let serving = Reader { client, shared: Arc::clone(&reader.shared) };
        reader.own(ID, vec![3; 3]);
        assert!(!serving.obey());
        assert_eq!(lock(&reader.shared.orders).get(&ID), Some(&Some(vec![3; 3])));
    }

    /// A piece that was refused is read again from Kafka: what waits behind it must not be pulled
    /// before, or the partition would take it for a hole.
    #[test]
    fn nothing_that_waits_survives_a_new_beginning() {
        let reader = waiting(&[(1, &[0, 1, 2])]);
        assert!(reader.pull(ID, (1, 1 << 20)).is_some());
        reader.own(ID, vec![0; 3]);
        assert!(reader.pull(ID, (1, 1 << 20)).is_none());
    }
}
