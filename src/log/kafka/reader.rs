//! The thread that reads the changelog for partitions that somebody else owns, and for gaps.
//!
//! Offsets of the changelog follow each other without holes, because nothing but whole batches is
//! written to it. A message of an earlier assignment that comes late would look like a hole, and
//! skipping it would be a lost record; so a hole is read again before it is believed.

use crate::codec::changelog;
use crate::log::Error;
use crate::log::kafka::client::{Cluster, DOCTOR, complain, refused, say};
use crate::log::kafka::partition::{Order, Partition};
use crate::log::kafka::shared::Shared;
use crate::log::kafka::survey;
use crate::log::kafka::topics::{PATIENCE, SPREAD};
use crate::log::kafka::vitals::Vitals;
use crate::model::id::PartitionId;
use rdkafka::Statistics;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Messages are waited for so long before orders are looked at again.
const POLL: Duration = Duration::from_millis(10);
/// Messages taken before orders are looked at again.
const ROUND: usize = 1_000;
/// Longest pause before bounds are asked for again.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// What is read of a partition.
struct Place {
    /// The offset that comes next.
    next: u64,
    /// A hole before this offset was read twice.
    hole: Option<u64>,
}

/// Hears the client.
#[derive(Default)]
struct Telling {
    vitals: Arc<Vitals>,
}

impl ClientContext for Telling {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        say(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        complain(&error, reason);
    }

    fn stats(&self, said: Statistics) {
        self.vitals.hear(&said);
    }
}

impl ConsumerContext for Telling {}

/// The reader.
pub(super) struct Reader {
    client: BaseConsumer<Telling>,
    topic: String,
    places: BTreeMap<PartitionId, Place>,
}

impl Reader {
    pub(super) fn new(cluster: &Cluster, topic: String) -> Result<Self, Error> {
        let context = Telling::default();
        let client = BaseConsumer::from_config_and_context(&cluster.changelog_reader(), context);
        let client = client.map_err(|e| refused("setting up the Kafka reader", &e))?;
        Ok(Self { client, topic, places: BTreeMap::new() })
    }

    /// What its client tells of itself.
    pub(super) fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.client.context().vitals)
    }

    /// First offset kept and the one behind the last. A topic just made has no leaders yet, so
    /// it is asked for 10 s.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn bounds(&self, id: PartitionId) -> Result<(u64, u64), Error> {
        let (mut waited, mut pause) = (Duration::ZERO, SPREAD);
        loop {
            let asked = self.client.fetch_watermarks(&self.topic, i32::from(id.0), PATIENCE);
            match asked {
                Ok((low, high)) => {
                    return Ok((u64::try_from(low).unwrap_or(0), u64::try_from(high).unwrap_or(0)));
                }
                // An answer that did not come was waited for as long.
                Err(error) if waited >= PATIENCE || timed_out(&error) => {
                    let what = format!("asking for the bounds of {} {id}", self.topic);
                    return Err(refused(&what, &error));
                }
                Err(_) => {
                    thread::sleep(pause);
                    waited += pause;
                    // Each try asks a broker that may be busy what it knows of the topic.
                    pause = PAUSE_MAX.min(2 * pause);
                }
            }
        }
    }

    /// What the changelog holds at these offsets: the first record there is from each on, with its
    /// offset; all that was asked for. Before [`Self::serve`].
    ///
    /// # Errors
    /// `Io`: Kafka gives no record for 10 s; a record is gone.
    pub(super) fn records_at(
        &self,
        wanted: &BTreeMap<PartitionId, u64>,
    ) -> Result<BTreeMap<PartitionId, (u64, Vec<u8>)>, Error> {
        let what = || format!("comparing {} with what this machine has kept", self.topic);
        let failed = |error: &KafkaError| refused(&what(), error);
        let mut found = BTreeMap::new();
        for (id, offset) in wanted {
            self.assign(*id, *offset).map_err(|e| failed(&e))?;
        }
        let mut silent = Duration::ZERO;
        while found.len() < wanted.len() {
            match self.client.poll(POLL) {
                Some(Ok(message)) => {
                    let id = PartitionId(u16::try_from(message.partition()).unwrap_or(u16::MAX));
                    let offset = u64::try_from(message.offset()).unwrap_or(0);
                    if wanted.get(&id).is_some_and(|from| offset >= *from) {
                        let bytes = || message.payload().unwrap_or_default().to_vec();
                        found.entry(id).or_insert_with(|| (offset, bytes()));
                        silent = Duration::ZERO;
                    }
                }
                Some(Err(error)) if lost(&error) => return Err(failed(&error)),
                Some(Err(error)) => tracing::debug!(%error, topic = self.topic, "reading"),
                None => silent += POLL,
            }
            if silent >= PATIENCE {
                let cause = format!("nothing came from Kafka for {PATIENCE:?}\n{DOCTOR}");
                return Err(Error::Io { what: what(), cause });
            }
        }
        for id in wanted.keys() {
            self.unassign(*id).map_err(|e| failed(&e))?;
        }
        Ok(found)
    }

    /// Reads until the log is stopped.
    pub(super) fn serve(mut self, shared: &Shared) {
        while !shared.stopped() {
            for order in shared.take_orders() {
                if let Err(error) = self.carry_out(in_force(shared, order)) {
                    shared.fail(Error::Failed(format!("reading {}: {error}", self.topic)));
                }
            }
            for _ in 0..ROUND {
                let Some(polled) = self.client.poll(POLL) else { break };
                match polled {
                    Ok(message) => {
                        let id = u16::try_from(message.partition()).unwrap_or(u16::MAX);
                        let offset = u64::try_from(message.offset()).unwrap_or(0);
                        let payload = message.payload().unwrap_or_default();
                        let again =
                            take(&mut self.places, shared, PartitionId(id), offset, payload);
                        drop(message);
                        if again && let Err(error) = self.again(PartitionId(id)) {
                            shared.fail(Error::Failed(format!("reading {}: {error}", self.topic)));
                        }
                    }
                    Err(error) if lost(&error) => {
                        shared.fail(Error::Failed(format!(
                            "records of {} that are not read yet are gone: {error}\nstart this \
                             instance again: it names them then, and what can be done",
                            self.topic
                        )));
                        break;
                    }
                    // The client has said it already, and goes on by itself.
                    Err(error) => tracing::debug!(%error, topic = self.topic, "reading"),
                }
            }
        }
    }

    fn carry_out(&mut self, order: Order) -> Result<(), KafkaError> {
        match order {
            Order::Read(id, from) => {
                self.places.insert(id, Place { next: from, hole: None });
                self.again(id)
            }
            Order::Stop(id) => {
                self.places.remove(&id);
                self.unassign(id)
            }
        }
    }

    /// Assigns a partition from its place on. The lists live no longer than this: a consumer whose
    /// lists are kept never ends.
    fn again(&self, id: PartitionId) -> Result<(), KafkaError> {
        self.unassign(id)?;
        self.places.get(&id).map_or(Ok(()), |place| self.assign(id, place.next))
    }

    fn assign(&self, id: PartitionId, from: u64) -> Result<(), KafkaError> {
        let from = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, i32::from(id.0), from)?;
        self.client.incremental_assign(&list)
    }

    fn unassign(&self, id: PartitionId) -> Result<(), KafkaError> {
        let assigned = self.client.assignment()?;
        if assigned.find_partition(&self.topic, i32::from(id.0)).is_none() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, i32::from(id.0));
        self.client.incremental_unassign(&list)
    }
}

/// What is to be done for the partition of this order by now.
fn in_force(shared: &Shared, order: Order) -> Order {
    shared.partition(order.partition()).map_or(order, Partition::order)
}

/// Hands a record on; true = it must be read again from the place on.
fn take(
    places: &mut BTreeMap<PartitionId, Place>,
    shared: &Shared,
    id: PartitionId,
    offset: u64,
    payload: &[u8],
) -> bool {
    let Some(place) = places.get_mut(&id) else { return false };
    if offset < place.next {
        return false;
    }
    if offset > place.next && place.hole != Some(offset) {
        place.hole = Some(offset);
        return true;
    }
    let from = std::mem::replace(&mut place.next, offset + 1);
    let many = u16::try_from(shared.partitions.len()).unwrap_or(u16::MAX);
    if let Err(other) = survey::check(changelog::partitions(payload), many) {
        shared.fail(other);
    } else if let Ok(partition) = shared.partition(id) {
        shared.carry_out(partition.record(from, offset, payload));
    }
    false
}

fn timed_out(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut)
}

/// What was asked for is no longer, or not yet, in the log of the broker.
fn lost(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
    )
}
