//! What instances tell each other about once a second, over the topic `<prefix>-cluster`: one
//! partition, compacted, the key is the name of the instance.
//!
//! ```text
//!   tell ─► place for one value ─► sender (one thread) ─► broker ─► listener (one thread) ─► told
//! ```
//! Only the newest word counts. One value is on its way at a time; what is told meanwhile replaces
//! what still waits, and what does not arrive is said again by the next beat. So nothing here
//! waits for the cluster, and nothing of it has to be repeated or kept in order.
//!
//! Must not: keep anything, judge who is alive, or read what a value says.

use crate::log::Error;
use crate::log::kafka::client::{Cluster, passes, refused};
use crate::log::kafka::threads::{dropped, ended, spawn};
use crate::log::kafka::topics::Topics;
use crate::model::limits;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Records a listener reads that were there before it: enough for the last word of everybody.
const BEHIND: i64 = 1_000;
/// Records and bytes of a round, of which only the newest of each instance is handed on.
const ROUND: (usize, usize) = (1_000, 4 << 20);
/// Longest wait before it is looked whether the gossip is to end.
const POLL: Duration = Duration::from_millis(100);
/// Polls without a word, own ones included, until brokers are asked whether they are there, and
/// until they are asked again.
const SILENT_POLLS: (u32, u32) = (15, 5);
/// A broker that is there answers within this time.
const ANSWER: Duration = Duration::from_secs(1);
/// Pause between two looks whether a value has arrived.
const LOOK: Duration = Duration::from_millis(5);
/// Looks for a farewell: 1 s.
const FAREWELL_LOOKS: u32 = 200;
/// A client has so long to end.
const CLOSE_LIMIT: Duration = Duration::from_millis(1_500);
/// And the thread that has it.
const LISTENER_LIMIT: Duration = Duration::from_millis(2_000);
/// Likewise; it may be at a farewell.
const SENDER_LIMIT: Duration = Duration::from_millis(2_800);
const TELLING: &str = "telling";
const HEARING: &str = "hearing";

/// Who listens. All calls come from one thread, one at a time.
pub trait Heard: Send + Sync {
    /// The newest word of another instance; `None` = it has left. At the start also of instances
    /// that went without a farewell, however long ago. Returns at once.
    fn told(&self, node: &str, value: Option<&[u8]>);

    /// A word under this instance's own name, once it has come all the way through Kafka: what it
    /// told itself, before or after its start, or what another one of the same name does. Each
    /// word, in their order.
    fn own(&self, value: &[u8]);

    /// Nothing was heard for a while, and a broker answers all the same: the one with the topic is
    /// away, not the cluster. Told again for as long as it is so.
    fn answers(&self);
}

/// The gossip of one instance; dropping it ends it without a farewell.
pub struct Gossip {
    board: Arc<Board>,
    threads: Vec<(&'static str, JoinHandle<()>, Duration)>,
}

impl Gossip {
    /// Begins to hear what others tell, and to tell. A cluster that is not reached is tried again,
    /// for ever.
    ///
    /// # Errors
    /// `Io` = a client or a thread cannot be had.
    pub fn start(
        cluster: &Cluster,
        topics: &Topics,
        node: &str,
        on: Arc<dyn Heard>,
    ) -> Result<Self, Error> {
        let (topic, board) = (topics.cluster(), Arc::new(Board::default()));
        let listener = Listener {
            client: listening(cluster, &topic)?,
            asker: cluster.asker(),
            topic: topic.clone(),
            node: node.to_owned(),
            board: Arc::clone(&board),
            on,
        };
        let client =
            BaseProducer::from_config_and_context(&cluster.teller(), Way::new(TELLING, &topic));
        let client = client.map_err(|e| refused("setting up the sender of the gossip", &e))?;
        let sender = Sender { client, topic, node: node.to_owned(), board: Arc::clone(&board) };
        let mut gossip = Self { board, threads: Vec::new() };
        let listening = spawn("kwq-kafka-hear", move || listener.serve())?;
        gossip.threads.push(("the listener of the gossip", listening, LISTENER_LIMIT));
        let sending = spawn("kwq-kafka-tell", move || sender.serve())?;
        gossip.threads.push(("the sender of the gossip", sending, SENDER_LIMIT));
        Ok(gossip)
    }

    /// The newest state of this instance: replaces one that is not on its way yet. Does not wait;
    /// what is lost is said again by the next one.
    pub fn tell(&self, value: Vec<u8>) {
        self.board.put(value);
    }

    /// Tells the others that this instance leaves, waits 1 s at most for that to arrive, and ends.
    pub fn leave(mut self) {
        self.end(End::Farewell);
    }

    fn end(&mut self, how: End) {
        self.board.end(how);
        for (what, thread, limit) in self.threads.drain(..) {
            ended(what, thread, limit);
        }
    }
}

impl Drop for Gossip {
    fn drop(&mut self) {
        self.end(End::Silent);
    }
}

/// How the gossip ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Farewell,
    Silent,
}

/// What the threads are to do.
#[derive(Default)]
struct Board {
    slot: Mutex<Slot>,
    changed: Condvar,
}

#[derive(Default)]
struct Slot {
    value: Option<Vec<u8>>,
    end: Option<End>,
}

/// What the sender does next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Tell(Vec<u8>),
    Nothing,
    End(End),
}

impl Board {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        // Each change is one assignment; a panic leaves nothing half done.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, value: Vec<u8>) {
        self.slot().value = Some(value);
        self.changed.notify_all();
    }

    /// The first word counts.
    fn end(&self, how: End) {
        self.slot().end.get_or_insert(how);
        self.changed.notify_all();
    }

    fn ended(&self) -> bool {
        self.slot().end.is_some()
    }

    /// Waits so long at most. An end comes before what still waits.
    fn next(&self, limit: Duration) -> Next {
        let idle = |slot: &mut Slot| slot.value.is_none() && slot.end.is_none();
        let waited = self.changed.wait_timeout_while(self.slot(), limit, idle);
        let mut slot = waited.unwrap_or_else(PoisonError::into_inner).0;
        match (slot.end, slot.value.take()) {
            (Some(how), _) => Next::End(how),
            (None, Some(value)) => Next::Tell(value),
            (None, None) => Next::Nothing,
        }
    }
}

/// The thread that tells.
struct Sender {
    client: BaseProducer<Way>,
    topic: String,
    node: String,
    board: Arc<Board>,
}

impl Sender {
    fn serve(self) {
        let end = loop {
            match self.board.next(POLL) {
                Next::Tell(value) => self.send(Some(&value)),
                Next::Nothing => {}
                Next::End(how) => break how,
            }
            // Also what the client has to say of itself.
            self.client.poll(Duration::ZERO);
            while self.flying() && !self.board.ended() {
                self.client.poll(LOOK);
            }
        };
        if end == End::Farewell {
            self.send(None);
            let arrived = (0..FAREWELL_LOOKS).any(|_| {
                self.client.poll(LOOK);
                !self.flying()
            });
            if !arrived {
                tracing::warn!("the others are not told that this instance leaves");
            }
        }
        dropped("the client that tells the others", self.client, CLOSE_LIMIT);
    }

    fn send(&self, value: Option<&[u8]>) {
        let record = BaseRecord::to(&self.topic).partition(0).key(self.node.as_str());
        let record = match value {
            Some(value) => record.payload(value),
            None => record,
        };
        let way = self.client.context();
        way.flying.fetch_add(1, Ordering::AcqRel);
        if let Err((error, _)) = self.client.send(record) {
            way.flying.fetch_sub(1, Ordering::AcqRel);
            way.bad(&error);
        }
    }

    /// Something is on its way.
    fn flying(&self) -> bool {
        self.client.context().flying.load(Ordering::Acquire) > 0
    }
}

/// One of the two ways, as its client sees it. Only changes are said: a client repeats itself for
/// as long as the cluster is away, and those of the log do so already.
struct Way {
    name: &'static str,
    topic: String,
    failing: AtomicBool,
    /// On their way to the others.
    flying: AtomicUsize,
}

impl Way {
    fn new(name: &'static str, topic: &str) -> Self {
        let (topic, failing, flying) =
            (topic.to_owned(), AtomicBool::new(false), AtomicUsize::new(0));
        Self { name, topic, failing, flying }
    }

    /// True = it was not so before.
    fn turns(&self, failing: bool) -> bool {
        self.failing.swap(failing, Ordering::AcqRel) != failing
    }

    fn bad(&self, error: &KafkaError) {
        if self.turns(true) {
            let (way, topic) = (self.name, &self.topic);
            tracing::warn!(way, topic, %error, "gossip does not get through");
        }
    }

    fn good(&self) {
        if self.turns(false) {
            tracing::info!(way = self.name, "gossip gets through again");
        }
    }
}

impl ClientContext for Way {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(way = self.name, facility, message, "kafka client");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(way = self.name, %error, reason, "kafka client");
        // What is told has reports, which say more.
        if self.name == HEARING && !passes(&error) {
            self.bad(&error);
        }
    }
}

impl ConsumerContext for Way {}

impl ProducerContext for Way {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.flying.fetch_sub(1, Ordering::AcqRel);
        match result {
            Ok(_) => self.good(),
            // By the drop of the client.
            Err((error, _)) if given_up(error) => {}
            Err((error, _)) => self.bad(error),
        }
    }
}

fn given_up(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)
    )
}

/// A client that reads the newest records, and what comes.
fn listening(cluster: &Cluster, topic: &str) -> Result<BaseConsumer<Way>, Error> {
    let client =
        BaseConsumer::from_config_and_context(&cluster.listener(), Way::new(HEARING, topic));
    let client: BaseConsumer<Way> =
        client.map_err(|e| refused("setting up the listener of the gossip", &e))?;
    let mut list = TopicPartitionList::new();
    // The client itself asks where that is, and asks again for as long as nobody answers.
    let assigned = list
        .add_partition_offset(topic, 0, Offset::OffsetTail(BEHIND))
        .and_then(|()| client.assign(&list));
    assigned.map_err(|e| refused(&format!("beginning to read {topic}"), &e))?;
    Ok(client)
}

/// The newest word of each instance, of those read in one go.
type Words = BTreeMap<String, Option<Vec<u8>>>;

/// The thread that listens.
struct Listener {
    client: BaseConsumer<Way>,
    asker: ClientConfig,
    topic: String,
    node: String,
    board: Arc<Board>,
    on: Arc<dyn Heard>,
}

impl Listener {
    fn serve(self) {
        let mut silent = 0;
        while !self.board.ended() {
            let (words, heard) = self.round();
            for (node, value) in words {
                self.on.told(&node, value.as_deref());
            }
            silent = if heard { 0 } else { silent + 1 };
            if silent >= SILENT_POLLS.0 && silent % SILENT_POLLS.1 == 0 && self.has_answer() {
                self.on.answers();
            }
        }
        dropped("the client that hears the others", self.client, CLOSE_LIMIT);
    }

    /// Does any broker answer? By a client of its own: one that was there before asks the broker
    /// that stands still, as its newest connection.
    fn has_answer(&self) -> bool {
        let asker = BaseProducer::from_config_and_context(
            &self.asker,
            Way::new("asking for brokers", &self.topic),
        );
        let Ok(asker) = asker else { return false };
        let answer = asker.client().fetch_metadata(Some(&self.topic), ANSWER);
        dropped("the client that asks for brokers", asker, CLOSE_LIMIT);
        answer.is_ok()
    }

    /// What has come, at most a round of it, and whether there was anything; own words are handed
    /// on at once.
    fn round(&self) -> (Words, bool) {
        let (mut words, mut bytes, mut wait) = (Words::new(), 0, POLL);
        let mut heard = false;
        for _ in 0..ROUND.0 {
            match self.client.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    // Own words are among them, so there is something every second.
                    self.client.context().good();
                    heard = true;
                    bytes += message.payload_len();
                    match word(&message) {
                        Some((node, value)) if node != self.node => {
                            words.insert(node.to_owned(), value.map(<[u8]>::to_vec));
                        }
                        Some((_, Some(value))) => self.on.own(value),
                        // Its own farewell, of a former life.
                        Some((_, None)) | None => {}
                    }
                }
                // The client has said it already, and goes on by itself.
                Some(Err(_)) => {}
            }
            if bytes > ROUND.1 {
                break;
            }
            wait = Duration::ZERO;
        }
        (words, heard)
    }
}

/// What an instance says; whatever else is on the topic is passed over.
fn word<'a>(message: &'a BorrowedMessage<'_>) -> Option<(&'a str, Option<&'a [u8]>)> {
    judge(message.key(), message.payload())
}

fn judge<'a>(
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
) -> Option<(&'a str, Option<&'a [u8]>)> {
    let key = key.filter(|key| (1..=limits::NAME_BYTES_MAX).contains(&key.len()));
    let named = key.and_then(|key| std::str::from_utf8(key).ok());
    let fits = value.is_none_or(|value| value.len() <= limits::INSTANCE_BYTES_MAX);
    let Some(node) = named.filter(|_| fits) else {
        tracing::debug!(?named, "a record that no instance has written");
        return None;
    };
    Some((node, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_word_waits_and_an_end_comes_before_it() {
        let board = Board::default();
        assert_eq!(board.next(Duration::ZERO), Next::Nothing);
        for word in 1..=3 {
            board.put(vec![word]);
        }
        assert_eq!(board.next(Duration::from_secs(60)), Next::Tell(vec![3]));
        assert_eq!(board.next(Duration::ZERO), Next::Nothing);
        board.put(vec![4]);
        board.end(End::Farewell);
        board.end(End::Silent);
        assert_eq!(board.next(Duration::ZERO), Next::End(End::Farewell));
    }

    /// A cluster that is away is no news once a second.
    #[test]
    fn only_changes_are_said() {
        let error = |code| KafkaError::Global(code);
        let way = Way::new(HEARING, "T-cluster");
        assert!(!way.turns(false), "all is well at the start");
        way.error(error(RDKafkaErrorCode::BrokerTransportFailure), "one of three is away");
        assert!(!way.turns(false));
        way.error(error(RDKafkaErrorCode::AllBrokersDown), "0/3");
        way.error(error(RDKafkaErrorCode::AllBrokersDown), "0/3");
        assert!(!way.turns(true), "it was said");
        assert!(way.turns(false));
        let way = Way::new(TELLING, "T-cluster");
        way.error(error(RDKafkaErrorCode::AllBrokersDown), "a report will say it");
        assert!(!way.turns(false));
    }

    #[test]
    fn what_no_instance_can_have_said_is_passed_over() {
        let long = "n".repeat(limits::NAME_BYTES_MAX + 1);
        let large = vec![b' '; limits::INSTANCE_BYTES_MAX + 1];
        let fits = large.get(1..);
        assert_eq!(judge(Some(b"a"), fits), Some(("a", fits)));
        assert_eq!(judge(Some(b"a"), None), Some(("a", None)));
        assert_eq!(judge(Some(b"a"), Some(&large)), None);
        for key in [None, Some(&b""[..]), Some(b"\xff"), Some(long.as_bytes())] {
            assert_eq!(judge(key, Some(b"1")), None);
        }
    }
}
