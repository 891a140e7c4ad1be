//! Where topics begin and end: asked for many partitions at once, over a connection of its own. On
//! that of a reader each question stands behind a fetch, which waits for records.
//!
//! Must not: read records, or try again.

use crate::log::Error;
use crate::log::kafka::client::{Cluster, Voice, refused};
use crate::model::id::PartitionId;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::Duration;

/// The answer is waited for so long: who asks reads nothing meanwhile.
const LIMIT: Duration = Duration::from_secs(2);

/// A partition, and the place of a topic among those that were asked for.
pub(super) type Whose = (PartitionId, usize);

/// First offset kept, and the one behind the last.
pub(super) type Span = (u64, u64);

/// Asks.
pub(super) struct Bounds(BaseConsumer<Voice>);

impl Bounds {
    /// # Errors
    /// `Io` = the client cannot be had; nobody is reached for it.
    pub(super) fn start(cluster: &Cluster) -> Result<Self, Error> {
        let client = BaseConsumer::from_config_and_context(&cluster.admin(), Voice);
        client.map(Self).map_err(|e| refused("setting up the client that asks for bounds", &e))
    }

    /// The bounds of all these topics for all these partitions: two requests a broker.
    ///
    /// # Errors
    /// One of them has no leader or is not there, or no answer came: then there are none.
    pub(super) fn of(
        &self,
        topics: &[String],
        ids: &[PartitionId],
    ) -> Result<BTreeMap<Whose, Span>, KafkaError> {
        let first = self.ask(topics, ids, Offset::Beginning)?;
        let end = self.ask(topics, ids, Offset::End)?;
        let span = |(whose, first): (Whose, u64)| Some((whose, (first, *end.get(&whose)?)));
        Ok(first.into_iter().filter_map(span).collect())
    }

    /// Takes from the client what it says of itself, which would pile up.
    pub(super) fn tend(&self) {
        while self.0.poll(Duration::ZERO).is_some() {}
    }

    fn ask(
        &self,
        topics: &[String],
        ids: &[PartitionId],
        which: Offset,
    ) -> Result<BTreeMap<Whose, u64>, KafkaError> {
        let mut list = TopicPartitionList::with_capacity(topics.len() * ids.len());
        for topic in topics {
            for id in ids {
                list.add_partition(topic, i32::from(id.0));
            }
        }
        // In the place of a time these two are what Kafka takes for its first and last offset.
        list.set_all_offsets(which)?;
        let list = self.0.offsets_for_times(list, LIMIT)?;
        let mut found = BTreeMap::new();
        for answer in list.elements() {
            answer.error()?;
            // What nobody answered for is as it was asked.
            let Offset::Offset(at) = answer.offset() else {
                return Err(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition));
            };
            let topic = topics.iter().position(|topic| topic == answer.topic());
            let id = u16::try_from(answer.partition()).ok().map(PartitionId);
            found.extend(id.zip(topic).map(|whose| (whose, u64::try_from(at).unwrap_or(0))));
        }
        Ok(found)
    }
}
