//! Reads topics that have a partition for each of kwq's, for the partitions this instance owns.
//!
//! ```text
//!   broker ─► a queue, and behind it a line, for each partition and topic ─► pull, last first
//!              └────────── one thread ──────────┘
//! ```
//! A queue and a line hold a megabyte each, and another one may be on its way: some 3 MiB of each
//! topic. A broker hands out whole batches, so one that is larger, unpacked, comes on top.
//!
//! Must not: decide anything, keep how far anybody has come, or commit offsets to Kafka.

use crate::log::Error;
use crate::log::kafka::client::{Cluster, Voice, administration, refused};
use crate::log::kafka::threads::spawn;
use crate::log::kafka::topics::{PATIENCE, block_on};
use crate::model::id::PartitionId;
use crate::model::time::WallMs;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Records and bytes of one line.
const LINE: (usize, usize) = (4_096, 1 << 20);
/// Without any message orders and queues are looked at again after so long.
const POLL: Duration = Duration::from_millis(10);
/// Pulls in a row that wait for records of a topic that are known to be there, before those of the
/// topics below it are pulled: 2 s of a puller that comes every 10 ms. A place that holds no
/// record, such as the mark of a transaction, may be the last one: then there is nothing to wait
/// for.
const WAITS: u32 = 200;
/// The bounds of a topic are waited for so long: nothing else is read meanwhile.
const BOUNDS_LIMIT: Duration = Duration::from_secs(2);
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
    /// Where the topic ended when reading began.
    known: u64,
    /// Pulls that have waited for what lies before that.
    waited: u32,
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
        let admin = administration(cluster)?;
        let (lines, orders) = (Mutex::default(), Mutex::default());
        let stopped = AtomicBool::new(false);
        let shared = Arc::new(Shared { what, topics, lines, orders, stopped });
        let reader = Reader::new(client, Arc::clone(&shared));
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
    /// record may be larger). Nothing of a topic below one whose records are still on their way.
    pub(super) fn pull(&self, id: PartitionId, (records, bytes): (usize, usize)) -> Option<Piece> {
        let mut lines = lock(&self.shared.lines);
        let lines = lines.get_mut(&id)?;
        let topic = due(lines)?;
        let line = lines.get_mut(topic)?;
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

/// The last topic that has anything, if none behind it is to be waited for.
fn due(lines: &mut [Line]) -> Option<usize> {
    for (topic, line) in lines.iter_mut().enumerate().rev() {
        if !line.letters.is_empty() {
            line.waited = 0;
            return Some(topic);
        }
        if line.from < line.known && line.waited < WAITS {
            line.waited += 1;
            return None;
        }
    }
    None
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

/// Whose line: a partition, and the place of a topic.
type Whose = (PartitionId, usize);

/// The thread that fills the lines.
///
/// A line takes what it has room for from a queue of its own, and the client fetches no more than
/// that queue may hold. To pause a topic instead would throw away what was fetched ahead, every
/// time.
struct Reader {
    client: Arc<BaseConsumer<Voice>>,
    shared: Arc<Shared>,
    queues: BTreeMap<Whose, PartitionQueue<Voice>>,
    /// The last orders were carried out.
    fine: bool,
}

impl Reader {
    fn new(client: BaseConsumer<Voice>, shared: Arc<Shared>) -> Self {
        Self { client: Arc::new(client), shared, queues: BTreeMap::new(), fine: true }
    }

    fn serve(mut self) {
        let mut busy = false;
        while !self.shared.stopped.load(Ordering::Acquire) {
            if !self.obey() {
                std::thread::sleep(AGAIN);
            }
            self.sort(if busy { Duration::ZERO } else { POLL });
            busy = self.fill();
        }
    }

    /// Carries out the orders there are; false = one of them could not be.
    fn obey(&mut self) -> bool {
        let orders = std::mem::take(&mut *lock(&self.shared.orders));
        let mut fine = true;
        for (id, order) in orders {
            if self.shared.stopped.load(Ordering::Acquire) {
                break;
            }
            if let Err(error) = self.carry_out(id, order.as_deref()) {
                let what = self.shared.what;
                // Once for all of an outage: it may last, and this comes ten times a second.
                if std::mem::replace(&mut self.fine, false) {
                    tracing::warn!(partition = %id, %error, what, "reading is tried again");
                }
                // Unless there is a newer one: nobody else would begin to read again.
                lock(&self.shared.orders).entry(id).or_insert(order);
                fine = false;
            }
            // What takes long for one partition holds up none of the others.
            self.sort(Duration::ZERO);
            self.fill();
        }
        self.fine |= fine;
        fine
    }

    fn carry_out(&mut self, id: PartitionId, order: Option<&[u64]>) -> Result<(), KafkaError> {
        self.leave(id)?;
        order.map_or(Ok(()), |cursors| self.begin(id, cursors))
    }

    fn begin(&mut self, id: PartitionId, cursors: &[u64]) -> Result<(), KafkaError> {
        let mut lines = Vec::new();
        let mut list = TopicPartitionList::new();
        for (topic, cursor) in self.shared.topics.iter().zip(cursors) {
            let bounds = self.client.fetch_watermarks(topic, i32::from(id.0), BOUNDS_LIMIT)?;
            // What Kafka has let go of is a hole the partition is told of.
            let first = (*cursor).max(u64::try_from(bounds.0).unwrap_or(0));
            let known = u64::try_from(bounds.1).unwrap_or(0);
            if first > known {
                let what = "the topic was made anew: nothing is taken from it below this offset";
                tracing::error!(topic, partition = %id, cursor, what);
            }
            lines.push(Line { from: first, known, ..Line::default() });
            list.add_partition_offset(topic, i32::from(id.0), offset(first))?;
        }
        lock(&self.shared.lines).insert(id, lines);
        (0..self.shared.topics.len()).for_each(|topic| self.split((id, topic)));
        self.client.incremental_assign(&list)
    }

    fn leave(&mut self, id: PartitionId) -> Result<(), KafkaError> {
        let assigned = self.client.assignment()?;
        let mut list = TopicPartitionList::new();
        for topic in &self.shared.topics {
            if assigned.find_partition(topic, i32::from(id.0)).is_some() {
                list.add_partition(topic, i32::from(id.0));
            }
        }
        if list.count() > 0 {
            self.client.incremental_unassign(&list)?;
        }
        // What was fetched would stay there until the partition is read again.
        for (_, queue) in self.queues.extract_if((id, 0)..=(id, usize::MAX), |_, _| true) {
            while queue.poll(Duration::ZERO).is_some() {}
        }
        Ok(())
    }

    /// Reads a line from an offset again.
    fn again(&self, (id, topic): Whose, from: u64) -> Result<(), KafkaError> {
        let name = &self.shared.topics[topic];
        let mut list = TopicPartitionList::new();
        list.add_partition(name, i32::from(id.0));
        self.client.incremental_unassign(&list)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(name, i32::from(id.0), offset(from))?;
        self.client.incremental_assign(&list)
    }

    /// Empties the common queue, where the client puts what is not a record, and records of a
    /// partition that it has made anew since its queue was taken: those are older than what comes
    /// on the next queue, so this is done before any of the queues is looked at.
    fn sort(&mut self, wait: Duration) {
        let mut found: BTreeMap<Whose, Vec<Letter>> = BTreeMap::new();
        let (client, mut wait) = (Arc::clone(&self.client), wait);
        while let Some(polled) = client.poll(wait) {
            wait = Duration::ZERO;
            match polled {
                Ok(message) => {
                    if let Some(whose) = self.whose(&message) {
                        if !found.contains_key(&whose) {
                            self.split(whose);
                        }
                        found.entry(whose).or_default().push(letter(&message));
                    }
                }
                // The client has said it already, and goes on by itself.
                Err(error) => tracing::debug!(%error, what = self.shared.what, "reading"),
            }
        }
        found.into_iter().for_each(|(whose, letters)| self.take(whose, letters));
    }

    fn whose(&self, message: &BorrowedMessage<'_>) -> Option<Whose> {
        let topic = self.shared.topics.iter().position(|name| name == message.topic())?;
        Some((PartitionId(u16::try_from(message.partition()).ok()?), topic))
    }

    /// Gives a line a queue of its own, for as long as the client keeps the partition in mind, also
    /// when it is assigned again.
    fn split(&mut self, whose: Whose) {
        let (name, number) = (&self.shared.topics[whose.1], i32::from(whose.0.0));
        if let Some(queue) = self.client.split_partition_queue(name, number) {
            self.queues.insert(whose, queue);
        }
    }

    /// Gives every line what it has room for; false = there was nothing.
    fn fill(&self) -> bool {
        let mut busy = false;
        // The last topic first, so that nobody pulls of another one what is lined up before it.
        for (whose, queue) in self.queues.iter().rev() {
            let room = lock(&self.shared.lines).get(&whose.0).map_or((0, 0), |l| l[whose.1].room());
            let (mut letters, mut bytes) = (Vec::new(), 0);
            while letters.len() < room.0
                && bytes < room.1
                && let Some(polled) = queue.poll(Duration::ZERO)
            {
                match polled {
                    Ok(message) => letters.push(letter(&message)),
                    Err(error) => tracing::debug!(%error, what = self.shared.what, "reading"),
                }
                bytes += letters.last().map_or(0, size);
            }
            if !letters.is_empty() {
                busy = true;
                self.take(*whose, letters);
            }
        }
        busy
    }

    /// Lines letters up behind those that wait.
    fn take(&self, whose: Whose, letters: Vec<Letter>) {
        let mut lines = lock(&self.shared.lines);
        let line = lines.get_mut(&whose.0).and_then(|lines| lines.get_mut(whose.1));
        let hole = line.and_then(|line| letters.into_iter().find_map(|letter| line.push(letter)));
        drop(lines);
        if let Some(from) = hole
            && let Err(error) = self.again(whose, from)
        {
            tracing::error!(%error, what = self.shared.what, "reading a hole again");
            self.begin_anew(whose.0);
        }
    }

    /// Orders what was not pulled to be read again, unless there is a newer order.
    fn begin_anew(&self, id: PartitionId) {
        let mut lines = lock(&self.shared.lines);
        if let Some(lines) = lines.remove(&id) {
            let cursors = lines.iter().map(|line| line.from).collect();
            lock(&self.shared.orders).entry(id).or_insert(Some(cursors));
        }
    }
}

impl Line {
    /// Records and bytes that may come.
    fn room(&self) -> (usize, usize) {
        (LINE.0.saturating_sub(self.letters.len()), LINE.1.saturating_sub(self.bytes))
    }

    /// Puts a letter behind the last one, or answers from where the line is to be read again.
    fn push(&mut self, letter: Letter) -> Option<u64> {
        let last = self.letters.back().map_or(self.from, |last| last.offset + 1);
        if letter.offset < last {
            return None; // of an assignment that is over
        }
        // As with the changelog: a late message of an earlier assignment looks like a hole.
        if letter.offset > last && self.hole != Some(letter.offset) {
            self.hole = Some(letter.offset);
            return Some(last);
        }
        self.bytes += size(&letter);
        self.letters.push_back(letter);
        None
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
#[path = "lines_tests.rs"]
mod tests;
