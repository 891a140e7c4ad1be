//! The topic `<prefix>-commands`: what any instance leaves for the owner of a partition that it
//! cannot reach, and what the owner finds there.
//!
//! ```text
//!   send ─► producer ─► broker ─► report (one thread) ─► whoever sent
//!                          └─► lines ─► pull, trim: the owner
//! ```
//! Kafka keeps a record until it is trimmed, and nobody keeps how far the owner has come: the next
//! one reads what is still there again. So only what does nothing the second time may be left here.
//!
//! Must not: read what a value says, or send anything twice.

use crate::log::Error;
use crate::log::kafka::client::{Cluster, complain, refused, say};
use crate::log::kafka::line::Letter;
use crate::log::kafka::lines::{Head, Lines};
use crate::log::kafka::threads::{dropped, ended, spawn};
use crate::log::kafka::topics::{Topics, present};
use crate::model::id::PartitionId;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// Reports are served for so long at a time.
const POLL: Duration = Duration::from_millis(100);
/// Bytes on their way beyond which nothing more is taken; one record may be larger.
const FLYING_MAX: usize = 32 << 20;
/// Charged for a record on top of its bytes, so that the limit bounds their number as well.
const RECORD_BYTES: usize = 2_048;
/// The producer has so long to end, and the thread that serves it.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Kafka has it for good.
    Durable,
    /// Kafka does not take it.
    Refused,
    /// It may be there.
    Unknown,
}

/// Told once what became of a record.
pub(super) type Done = Box<dyn FnOnce(Delivery) + Send + Sync>;

/// Both ends of the topic.
pub struct Commands {
    topic: String,
    lines: Lines,
    client: RwLock<Option<Arc<BaseProducer<Way>>>>,
    stopped: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Commands {
    /// Begins to read for nobody, and to send; `None` = the topic is missing.
    ///
    /// # Errors
    /// `Io` = the cluster is not reached, or a client or a thread cannot be had.
    pub fn start(cluster: &Cluster, topics: &Topics) -> Result<Option<Self>, Error> {
        let topic = topics.commands();
        if !present(cluster, &topic)? {
            return Ok(None);
        }
        let lines = Lines::start(cluster, "the commands", vec![topic.clone()])?;
        let client = BaseProducer::from_config_and_context(&cluster.leaver(), Way::default());
        let client = client.map_err(|e| refused("setting up the sender of commands", &e))?;
        let (client, stopped) = (Arc::new(client), Arc::new(AtomicBool::new(false)));
        let (serving, end) = (Arc::clone(&client), Arc::clone(&stopped));
        let thread = spawn("kwq-kafka-leave", move || {
            while !end.load(Ordering::Acquire) {
                serving.poll(POLL);
            }
        })?;
        let (client, thread) = (RwLock::new(Some(client)), Mutex::new(Some(thread)));
        Ok(Some(Self { topic, lines, client, stopped, thread }))
    }

    /// Puts a record for the owner of a partition on its way; `done` is told within a few seconds.
    ///
    /// # Errors
    /// `Failed`: it was not sent and is not going to be.
    pub fn send(&self, id: PartitionId, value: &[u8], done: Done) -> Result<(), Error> {
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner);
        let refuse = |why: &str| Error::Failed(format!("sending to {}: {why}", self.topic));
        let client = client.as_ref().ok_or_else(|| refuse("it is closed"))?;
        let charged = value.len() + RECORD_BYTES;
        let flying = &client.context().flying;
        let before = flying.fetch_add(charged, Ordering::AcqRel);
        if before > 0 && before + charged > FLYING_MAX {
            flying.fetch_sub(charged, Ordering::AcqRel);
            return Err(refuse("too much is on its way"));
        }
        let tag = Box::new(Tag { charged, done });
        let record = BaseRecord::<(), [u8], Box<Tag>>::with_opaque_to(&self.topic, tag);
        let record = record.partition(i32::from(id.0)).payload(value);
        client.send(record).map_err(|(error, _)| {
            flying.fetch_sub(charged, Ordering::AcqRel);
            refuse(&error.to_string())
        })
    }

    /// Reads for a partition from this offset on, or from the first that is kept. What had been
    /// read for it before is forgotten.
    pub fn own(&self, id: PartitionId, from: u64) {
        self.lines.own(id, vec![from]);
    }

    /// Reads for it no more.
    pub fn release(&self, id: PartitionId) {
        self.lines.release(id);
    }

    /// What was left, in order, at most so many records and bytes (one record may be larger).
    #[must_use]
    pub fn pull(&self, id: PartitionId, most: (usize, usize)) -> Vec<Letter> {
        self.lines.pull(id, Head::Nothing, most).map_or_else(Vec::new, |piece| piece.letters)
    }

    /// Lets Kafka forget what lies below an offset.
    ///
    /// # Errors
    /// `Io`; the records stay there.
    pub fn trim(&self, id: PartitionId, below: u64) -> Result<(), Error> {
        self.lines.trim(id, &[below])
    }

    /// Sends no more.
    pub fn close(&self) {
        let client = self.client.write().unwrap_or_else(PoisonError::into_inner).take();
        self.stopped.store(true, Ordering::Release);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let done = thread.is_none_or(|t| ended("the sender of commands", t, CLOSE_LIMIT));
        if let Some(client) = client.filter(|_| done) {
            dropped("the client that sends commands", client, CLOSE_LIMIT);
        }
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        self.close();
    }
}

/// Who waits for a record.
struct Tag {
    charged: usize,
    done: Done,
}

/// Takes reports to whoever sent.
#[derive(Default)]
struct Way {
    /// Bytes on their way.
    flying: AtomicUsize,
}

impl ClientContext for Way {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        say(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        complain(&error, reason);
    }
}

impl ProducerContext for Way {
    type DeliveryOpaque = Box<Tag>;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: Box<Tag>) {
        self.flying.fetch_sub(tag.charged, Ordering::AcqRel);
        let sent = match result {
            Ok(_) => Delivery::Durable,
            Err((error, _)) => {
                tracing::warn!(%error, "what was left for an owner was not acknowledged");
                unsent(error.rdkafka_error_code())
            }
        };
        (tag.done)(sent);
    }
}

/// Only what a broker says of the record itself means that it is not there.
fn unsent(code: Option<RDKafkaErrorCode>) -> Delivery {
    let refusals = [
        RDKafkaErrorCode::MessageSizeTooLarge,
        RDKafkaErrorCode::UnknownTopicOrPartition,
        RDKafkaErrorCode::UnknownTopic,
        RDKafkaErrorCode::UnknownPartition,
        RDKafkaErrorCode::TopicAuthorizationFailed,
    ];
    if code.is_some_and(|code| refusals.contains(&code)) {
        Delivery::Refused
    } else {
        Delivery::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_of_the_record_means_that_it_is_not_there() {
        assert_eq!(unsent(Some(RDKafkaErrorCode::MessageSizeTooLarge)), Delivery::Refused);
        for code in [RDKafkaErrorCode::MessageTimedOut, RDKafkaErrorCode::PurgeInflight] {
            assert_eq!(unsent(Some(code)), Delivery::Unknown);
        }
        assert_eq!(unsent(None), Delivery::Unknown);
    }
}
