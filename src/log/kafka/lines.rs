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
use crate::log::kafka::bounds::{Bounds, Span, Whose};
use crate::log::kafka::client::{Cluster, Voice, administration, brief, refused};
use crate::log::kafka::line::{Letter, Line, due, letter, size};
use crate::log::kafka::threads::spawn;
use crate::log::kafka::topics::{PATIENCE, block_on};
use crate::model::id::PartitionId;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::slice::Chunks;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Without any message orders and queues are looked at again after so long.
const POLL: Duration = Duration::from_millis(10);
/// Partitions that are begun together: the client looks each of their topics up in a list.
const TOGETHER: usize = 64;
/// Before an order that could not be carried out is tried again.
const AGAIN: Duration = Duration::from_millis(100);

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

/// What comes next of a partition, the most urgent one last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Head {
    /// Nothing that is known of.
    Nothing,
    /// Records of the topic at this place wait, or are on their way.
    Topic(usize),
    /// Where its topics end is not known yet.
    Unknown,
}

/// Offsets to read from, one a topic, or `None` = read no more.
type Order = Option<Vec<u64>>;

/// The newest for each partition.
type Orders = BTreeMap<PartitionId, Order>;

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
        let (admin, bounds) = (administration(cluster)?, Bounds::start(cluster)?);
        let (lines, orders) = (Mutex::default(), Mutex::default());
        let stopped = AtomicBool::new(false);
        let shared = Arc::new(Shared { what, topics, lines, orders, stopped });
        let reader = Reader::new(client, bounds, Arc::clone(&shared));
        let thread = spawn("kwq-kafka-lines", move || reader.serve())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)), admin })
    }

    /// Reads for a partition from these offsets on, one a topic. What had been read for it before
    /// is forgotten.
    pub(super) fn own(&self, id: PartitionId, cursors: Vec<u64>) {
        self.order(id, Some(cursors));
    }

    /// Reads for it no more.
    pub(super) fn release(&self, id: PartitionId) {
        self.order(id, None);
    }

    fn order(&self, id: PartitionId, order: Order) {
        // At once: what still waits lies behind what was pulled and not taken. Under one lock, or
        // an older order that is being carried out could put lines there after it.
        let mut lines = lock(&self.shared.lines);
        lock(&self.shared.orders).insert(id, order);
        lines.remove(&id);
    }

    /// What comes next of a partition that is owned.
    pub(super) fn head(&self, id: PartitionId) -> Head {
        let lines = lock(&self.shared.lines);
        let Some(lines) = lines.get(&id) else { return Head::Unknown };
        let topic = lines.iter().rposition(|line| !line.letters.is_empty() || line.awaited());
        topic.map_or(Head::Nothing, Head::Topic)
    }

    /// What waits of the last topic that has anything, at most so many records and bytes (one
    /// record may be larger). Nothing of a topic below one whose records are still on their way,
    /// or that is less urgent than `floor`.
    pub(super) fn pull(
        &self,
        id: PartitionId,
        floor: Head,
        (records, bytes): (usize, usize),
    ) -> Option<Piece> {
        let mut lines = lock(&self.shared.lines);
        let lines = lines.get_mut(&id)?;
        let topic = due(lines).filter(|topic| Head::Topic(*topic) >= floor)?;
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
                .map_err(|e| brief(&what, &e))?;
        }
        if list.count() == 0 {
            return Ok(());
        }
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let asked = self.admin.delete_records(&list, &options);
        block_on(asked).map_err(|e| brief(&what, &e))?;
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

/// The thread that fills the lines.
///
/// A line takes what it has room for from a queue of its own, and the client fetches no more than
/// that queue may hold. To pause a topic instead would throw away what was fetched ahead, every
/// time.
struct Reader {
    client: Arc<BaseConsumer<Voice>>,
    bounds: Bounds,
    shared: Arc<Shared>,
    queues: BTreeMap<Whose, PartitionQueue<Voice>>,
    /// The last orders were carried out.
    fine: bool,
}

impl Reader {
    fn new(client: BaseConsumer<Voice>, bounds: Bounds, shared: Arc<Shared>) -> Self {
        Self { client: Arc::new(client), bounds, shared, queues: BTreeMap::new(), fine: true }
    }

    fn serve(mut self) {
        let mut busy = false;
        while !self.shared.stopped.load(Ordering::Acquire) {
            if !self.obey() {
                std::thread::sleep(AGAIN);
            }
            self.bounds.tend();
            self.sort(if busy { Duration::ZERO } else { POLL });
            busy = self.fill();
        }
    }

    /// Carries out the orders there are; false = one of them could not be.
    fn obey(&mut self) -> bool {
        let orders = std::mem::take(&mut *lock(&self.shared.orders));
        let orders: Vec<_> = orders.into_iter().collect();
        let fine = self.obey_each(orders.chunks(TOGETHER));
        self.fine |= fine;
        fine
    }

    fn obey_each(&mut self, parts: Chunks<'_, (PartitionId, Order)>) -> bool {
        let mut fine = true;
        for orders in parts {
            if self.shared.stopped.load(Ordering::Acquire) {
                break;
            }
            if let Err(error) = self.carry_out(orders) {
                fine &= match orders {
                    [(id, order)] => self.put_back(*id, order.clone(), &error),
                    // One of them may have no leader: it holds up none of the others.
                    _ => self.obey_each(orders.chunks(1)),
                };
            }
            // What takes long for some partitions holds up none of the others.
            self.sort(Duration::ZERO);
            self.fill();
        }
        fine
    }

    /// Keeps an order that could not be carried out, unless there is a newer one: nobody else would
    /// begin to read again. Answers that not all is fine.
    fn put_back(&mut self, id: PartitionId, order: Order, error: &KafkaError) -> bool {
        let what = self.shared.what;
        // Once for all of an outage: it may last, and this comes ten times a second.
        if std::mem::replace(&mut self.fine, false) {
            tracing::warn!(partition = %id, %error, what, "reading is tried again");
        }
        lock(&self.shared.orders).entry(id).or_insert(order);
        false
    }

    /// Carries out all of them, or none in the end: what was begun is left when it is tried again.
    fn carry_out(&mut self, orders: &[(PartitionId, Order)]) -> Result<(), KafkaError> {
        orders.iter().try_for_each(|(id, _)| self.leave(*id))?;
        let begun = orders.iter().filter_map(|(id, order)| Some((*id, order.as_deref()?)));
        let ids: Vec<_> = begun.clone().map(|(id, _)| id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let spans = self.bounds.of(&self.shared.topics, &ids)?;
        // All in one: what is assigned later waits for the fetch that is on its way by then.
        let mut list = TopicPartitionList::new();
        for (id, cursors) in begun {
            self.begin(id, cursors, &spans, &mut list)?;
        }
        self.client.incremental_assign(&list)
    }

    /// Makes the lines of a partition, and puts onto a list where its topics are read from.
    fn begin(
        &mut self,
        id: PartitionId,
        cursors: &[u64],
        spans: &BTreeMap<Whose, Span>,
        list: &mut TopicPartitionList,
    ) -> Result<(), KafkaError> {
        let mut lines = Vec::new();
        for (at, (topic, cursor)) in self.shared.topics.iter().zip(cursors).enumerate() {
            let span = spans.get(&(id, at)).copied();
            let unknown = KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition);
            let (low, known) = span.ok_or(unknown)?;
            // What Kafka has let go of is a hole the partition is told of.
            let first = (*cursor).max(low);
            if first > known {
                let what = "the topic was made anew: nothing is taken from it below this offset";
                tracing::error!(topic, partition = %id, cursor, what);
            }
            lines.push(Line { from: first, known, ..Line::default() });
            list.add_partition_offset(topic, i32::from(id.0), offset(first))?;
        }
        let mut all = lock(&self.shared.lines);
        // By a newer order it is left again at once.
        if !lock(&self.shared.orders).contains_key(&id) {
            all.insert(id, lines);
        }
        drop(all);
        (0..self.shared.topics.len()).for_each(|topic| self.split((id, topic)));
        Ok(())
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

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
