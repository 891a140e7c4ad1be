//! How fast a cluster takes records from one client with nothing of kwq in between: what
//! `kwq bench kafka` measures itself against.
//!
//! The topic is made for it and deleted afterwards, with the topics of the bench beside it. One
//! record is one task; the client is idempotent, waits for all in-sync copies and fills its batches
//! for 5 ms, which is how a producer that only has to be fast is set up.
//!
//! Must not: touch a topic that this value did not make, or whose name it was not given.

use crate::log::Error;
use crate::log::kafka::client::{Cluster, administration, complain, refused, say, turned_down};
use crate::log::kafka::topics::{PATIENCE, SPREAD, TRIES, block_on, present};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Reports are served for so long when there is no room, or the end is waited for.
const POLL: Duration = Duration::from_millis(10);
/// Such times without any report after which the cluster is given up: one minute.
const SILENT_POLLS: u32 = 6_000;
/// Records between two looks at the reports.
const LOOK_EVERY: u64 = 1_000;

/// Counts what came of the records.
#[derive(Default)]
struct Count {
    acknowledged: AtomicU64,
    refused: AtomicU64,
}

impl ClientContext for Count {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        say(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        complain(&error, reason);
    }
}

impl ProducerContext for Count {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.acknowledged } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A topic and a producer of its own.
pub struct Yardstick {
    cluster: Cluster,
    topic: String,
    partitions: u16,
    client: BaseProducer<Count>,
}

impl Yardstick {
    /// Makes the topic, one copy a record, and warms the producer up by one record a partition.
    ///
    /// # Errors
    /// `Io` = the cluster is not reached, or refuses.
    pub fn start(cluster: &Cluster, topic: String, partitions: u16) -> Result<Self, Error> {
        // Says within seconds that nobody is there.
        present(cluster, &topic)?;
        let admin = administration(cluster)?;
        let wanted = NewTopic::new(&topic, i32::from(partitions), TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let what = format!("making {topic}");
        let made = block_on(admin.create_topics([&wanted], &options));
        for result in made.map_err(|e| refused(&what, &e))? {
            result.map_err(|(_, code)| turned_down(&what, code))?;
        }
        for _ in 0..TRIES {
            if present(cluster, &topic)? {
                break;
            }
            thread::sleep(SPREAD);
        }
        let client = BaseProducer::from_config_and_context(&cluster.bulk(), Count::default());
        let client = client.map_err(|e| refused("setting up the Kafka producer", &e))?;
        let yardstick = Self { cluster: cluster.clone(), topic, partitions, client };
        yardstick.produce(u64::from(partitions), 1, |_, value| value.push(b'.'))?;
        Ok(yardstick)
    }

    /// Sends so many records and waits until all are acknowledged. `write` appends the value of a
    /// record; `in_row` of them go to one partition before it is the turn of the next.
    ///
    /// # Errors
    /// `Failed` = one was refused, or there was no report for a minute.
    pub fn produce(
        &self,
        records: u64,
        in_row: u64,
        write: impl Fn(u64, &mut Vec<u8>),
    ) -> Result<(), Error> {
        let count = self.client.context();
        let goal = count.acknowledged.load(Ordering::Relaxed) + records;
        let mut value = Vec::new();
        for number in 0..records {
            let turn = number / in_row.max(1) % u64::from(self.partitions.max(1));
            value.clear();
            write(number, &mut value);
            self.send(i32::try_from(turn).unwrap_or(0), &value)?;
            if number % LOOK_EVERY == 0 {
                self.client.poll(Duration::ZERO);
            }
        }
        let (mut silent, mut before) = (0, 0);
        while silent < SILENT_POLLS {
            self.client.poll(POLL);
            let refused = count.refused.load(Ordering::Relaxed);
            if refused > 0 {
                let what = format!("{refused} records were refused by {}", self.topic);
                return Err(Error::Failed(what));
            }
            let acknowledged = count.acknowledged.load(Ordering::Relaxed);
            if acknowledged >= goal {
                return Ok(());
            }
            silent = if acknowledged > before { 0 } else { silent + 1 };
            before = acknowledged;
        }
        Err(Error::Failed(format!("{} acknowledges nothing any more", self.topic)))
    }

    /// Waits while the queue of the client is full.
    fn send(&self, partition: i32, value: &[u8]) -> Result<(), Error> {
        for _ in 0..SILENT_POLLS {
            let record = BaseRecord::<(), [u8], ()>::to(&self.topic);
            match self.client.send(record.partition(partition).payload(value)) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.client.poll(POLL);
                }
                Err((error, _)) => {
                    return Err(refused(&format!("sending to {}", self.topic), &error));
                }
            }
        }
        Err(Error::Failed(format!("{} takes nothing any more", self.topic)))
    }

    /// Deletes the topic, and others that were made for the same measurement.
    ///
    /// # Errors
    /// `Io`; what could not be deleted is still there.
    pub fn remove(self, others: &[String]) -> Result<(), Error> {
        let admin = administration(&self.cluster)?;
        let names: Vec<&str> = others.iter().chain([&self.topic]).map(String::as_str).collect();
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let deleted = block_on(admin.delete_topics(&names, &options));
        for result in deleted.map_err(|e| refused("deleting the topics of the bench", &e))? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((topic, code)) => {
                    let what = format!("deleting {topic}");
                    return Err(turned_down(&what, code));
                }
            }
        }
        Ok(())
    }
}
