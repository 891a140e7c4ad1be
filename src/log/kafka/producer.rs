//! The producer of the changelog, and the one thread that serves its reports.
//!
//! Only one thread may poll a producer whose reports must be seen in order, and `flush` polls as
//! well: it is never called while that thread lives.

use crate::log::Error;
use crate::log::kafka::client::{BATCHES_MAX, Cluster, complain, refused, say};
use crate::log::kafka::shared::Shared;
use crate::log::kafka::vitals::Vitals;
use crate::model::id::PartitionId;
use rdkafka::Statistics;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Reports are served for so long at a time.
const POLL: Duration = Duration::from_millis(100);
/// Such times in a second.
const POLLS: u32 = 10;
/// Bytes on their way beyond which a batch waits; librdkafka refuses at four times as much.
const BYTES_MAX: usize = 512 << 20;
/// Charged for a batch on top of its bytes: what librdkafka and we keep of it. So the limit above
/// also bounds their number, and librdkafka need not.
const BATCH_BYTES: usize = 2_048;
const _: () = assert!(BYTES_MAX / BATCH_BYTES < BATCHES_MAX / 2, "it is never librdkafka's turn");
/// Pause between two looks at them.
const BYTES_PAUSE: Duration = Duration::from_millis(5);

/// Whose batch a report is of.
pub(super) struct Tag {
    partition: PartitionId,
    life: u64,
    bytes: usize,
}

/// Takes reports to their partitions.
pub(super) struct Reports {
    shared: Arc<Shared>,
    vitals: Arc<Vitals>,
    /// On their way.
    bytes: AtomicUsize,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        say(level, facility, message);
    }

    fn stats(&self, said: Statistics) {
        self.vitals.hear(&said);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        complain(&error, reason);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            // An idempotent producer that has lost its place: a new one under new epochs.
            self.shared.fail(Error::Failed(format!(
                "the producer of the changelog cannot go on: {reason}"
            )));
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Tag>;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: Box<Tag>) {
        self.bytes.fetch_sub(tag.bytes, Ordering::AcqRel);
        let offset = match result {
            Ok(message) => u64::try_from(message.offset()).ok(),
            Err((error, _)) => {
                tracing::warn!(partition = %tag.partition, %error, "a batch was not acknowledged");
                if error.rdkafka_error_code().is_some_and(is_of_this_process) {
                    self.shared.refusals.fetch_add(1, Ordering::AcqRel);
                }
                None
            }
        };
        if let Ok(partition) = self.shared.partition(tag.partition) {
            self.shared.carry_out(partition.report(tag.life, offset));
        }
    }
}

/// Is it this process that the brokers do not take anything from? Its clock is more than an hour
/// ahead of theirs, or it may not write.
fn is_of_this_process(code: RDKafkaErrorCode) -> bool {
    let whoever = [
        RDKafkaErrorCode::InvalidTimestamp,
        RDKafkaErrorCode::TopicAuthorizationFailed,
        RDKafkaErrorCode::ClusterAuthorizationFailed,
    ];
    whoever.contains(&code)
}

/// Sends batches to one topic.
pub(super) struct Producer {
    client: BaseProducer<Reports>,
    topic: String,
}

impl Producer {
    pub(super) fn new(
        cluster: &Cluster,
        topic: String,
        shared: Arc<Shared>,
    ) -> Result<Self, Error> {
        let vitals = Arc::new(Vitals::default());
        let reports = Reports { shared, vitals, bytes: AtomicUsize::new(0) };
        let client = BaseProducer::from_config_and_context(&cluster.producer(), reports);
        let client = client.map_err(|e| refused("setting up the Kafka producer", &e))?;
        Ok(Self { client, topic })
    }

    /// What it tells of itself.
    pub(super) fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.client.context().vitals)
    }

    /// Waits until there is room for another batch. Not to be called by who holds up reports.
    pub(super) fn wait_for_room(&self, shared: &Shared) {
        let bytes = &self.client.context().bytes;
        while bytes.load(Ordering::Acquire) > BYTES_MAX && shared.check().is_ok() {
            thread::sleep(BYTES_PAUSE);
        }
    }

    /// Puts a batch on its way; does not wait.
    ///
    /// # Errors
    /// `Failed`: it was not taken.
    pub(super) fn send(&self, id: PartitionId, life: u64, value: &[u8]) -> Result<(), Error> {
        let charged = value.len() + BATCH_BYTES;
        let tag = Box::new(Tag { partition: id, life, bytes: charged });
        let record = BaseRecord::<(), [u8], Box<Tag>>::with_opaque_to(&self.topic, tag);
        let record = record.partition(i32::from(id.0)).payload(value);
        let bytes = &self.client.context().bytes;
        bytes.fetch_add(charged, Ordering::AcqRel);
        self.client.send(record).map_err(|(error, _)| {
            bytes.fetch_sub(charged, Ordering::AcqRel);
            Error::Failed(format!("sending to {}: {error}", self.topic))
        })
    }

    /// Serves reports until the log is stopped.
    pub(super) fn serve(&self, shared: &Shared, mut every_second: impl FnMut()) {
        let mut polls = 0;
        while !shared.stopped() {
            self.client.poll(POLL);
            if let Some((_, reason)) = self.client.client().fatal_error() {
                shared.fail(Error::Failed(format!(
                    "the producer of the changelog cannot go on: {reason}"
                )));
            }
            polls += 1;
            if polls % POLLS == 0 {
                every_second();
            }
        }
    }
}
