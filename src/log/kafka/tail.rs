//! How far a derived topic has come: the headers of its last record, or a mark that says more.
//!
//! A mark is the offset that the group `<prefix>-feeds` commits, with the place in the log as its
//! metadata. It is written behind records that have arrived, so it may be believed, and spares
//! whoever goes on to read the log since the last record, which may be long ago. It may be missing.
//!
//! Must not: join the group.

use crate::codec::feed;
use crate::log::Error;
use crate::log::kafka::client::{Cluster, Voice, brief, refused};
use crate::log::kafka::outlet::Last;
use crate::log::kafka::threads::dropped;
use crate::log::kafka::{Topics, place};
use crate::model::ending::EndPlace;
use crate::model::id::PartitionId;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::Duration;

/// For one answer of the cluster.
const PATIENCE: Duration = Duration::from_secs(3);
/// Messages are waited for so long at a time.
const POLL: Duration = Duration::from_millis(50);
/// Such times without a message until reading the tail is given up: 3 s.
const POLLS: u32 = 60;
/// So much further back each time nothing of ours was found.
const FURTHER: i64 = 16;
/// The client has so long to end.
const CLOSE_LIMIT: Duration = Duration::from_millis(1_500);

/// Reads the end of a derived topic.
pub(super) struct Tail {
    topic: String,
    changelog: String,
    /// Taken when it is dropped.
    client: Option<BaseConsumer<Voice>>,
}

impl Tail {
    pub(super) fn new(cluster: &Cluster, topics: &Topics, topic: String) -> Result<Self, Error> {
        let group = format!("{}-feeds", topics.prefix);
        let client = BaseConsumer::from_config_and_context(&cluster.marker(&group), Voice);
        let client =
            client.map_err(|e| refused(&format!("setting up the reader of {topic}"), &e))?;
        Ok(Self { topic, changelog: topics.changelog(), client: Some(client) })
    }

    /// Where to go on with a partition.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn last(&self, id: PartitionId) -> Result<Last, Error> {
        let what = || format!("reading the end of {} {id}", self.topic);
        let Some(client) = &self.client else { return Ok(Last::Never) };
        let marked = self.marked(client, id).map_err(|e| brief(&what(), &e))?;
        let bounds = |topic: &str| client.fetch_watermarks(topic, i32::from(id.0), PATIENCE);
        let (low, high) = bounds(&self.topic).map_err(|e| brief(&what(), &e))?;
        let told = self.told(client, id, (low, high)).map_err(|e| brief(&what(), &e))?;
        let Some(place) = marked.max(told) else {
            return Ok(if high == 0 { Last::Never } else { Last::Expired });
        };
        // This instance may know less of the changelog than whoever carried it so far.
        let (_, end) = bounds(&self.changelog).map_err(|e| brief(&what(), &e))?;
        let offset = i64::try_from(place::offset(place.record).0).unwrap_or(i64::MAX);
        Ok(if offset > end { Last::Ahead } else { Last::Behind(place) })
    }

    /// The place behind the last record that says one.
    fn told(
        &self,
        client: &BaseConsumer<Voice>,
        id: PartitionId,
        (low, high): (i64, i64),
    ) -> Result<Option<EndPlace>, KafkaError> {
        let (mut end, mut back) = (high, 1);
        while end > low {
            let from = low.max(end - back);
            let found = self.read(client, id, (from, end));
            client.unassign()?;
            if let Some(place) = found? {
                return Ok(Some(place));
            }
            (end, back) = (from, back * FURTHER);
        }
        Ok(None)
    }

    /// Of the records from one offset up to another the last place that one says.
    fn read(
        &self,
        client: &BaseConsumer<Voice>,
        id: PartitionId,
        (from, end): (i64, i64),
    ) -> Result<Option<EndPlace>, KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, i32::from(id.0), Offset::Offset(from))?;
        client.assign(&list)?;
        let (mut found, mut silent) = (None, 0);
        while silent < POLLS {
            match client.poll(POLL) {
                None => silent += 1,
                // The last places may hold no record: marks of somebody's transactions.
                Some(Err(KafkaError::PartitionEOF(of))) if of == i32::from(id.0) => {
                    return Ok(found);
                }
                Some(Err(error)) => {
                    // The client has said it already, and goes on by itself.
                    tracing::debug!(%error, topic = self.topic, "reading");
                    silent += 1;
                }
                // Of an assignment that is over.
                Some(Ok(message)) if message.partition() != i32::from(id.0) => {}
                Some(Ok(message)) => {
                    if message.offset() < end {
                        found = said_by(&message).or(found);
                    }
                    if message.offset() + 1 >= end {
                        return Ok(found);
                    }
                    silent = 0;
                }
            }
        }
        Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))
    }

    fn marked(
        &self,
        client: &BaseConsumer<Voice>,
        id: PartitionId,
    ) -> Result<Option<EndPlace>, KafkaError> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, i32::from(id.0));
        let committed = client.committed_offsets(list, PATIENCE);
        let read = committed.and_then(|list| {
            let found = list.find_partition(&self.topic, i32::from(id.0));
            found
                .map_or(Ok(None), |found| found.error().map(|()| feed::read_mark(found.metadata())))
        });
        match read {
            Err(error) if not_ours(&error) => {
                tracing::debug!(%error, "no marks for derived topics");
                Ok(None)
            }
            read => read,
        }
    }

    /// Notes how far partitions were carried.
    pub(super) fn mark(&self, places: &[(PartitionId, EndPlace)]) {
        let Some(client) = self.client.as_ref().filter(|_| !places.is_empty()) else { return };
        let mut list = TopicPartitionList::new();
        for (id, place) in places {
            // Only the metadata says anything.
            let mut entry = list.add_partition(&self.topic, i32::from(id.0));
            entry.set_metadata(feed::mark(*place));
            if let Err(error) = entry.set_offset(Offset::Offset(0)) {
                return tracing::debug!(%error, "marking a derived topic");
            }
        }
        if let Err(error) = client.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, topic = self.topic, "not marked; it is marked again");
        }
    }

    /// Serves what the client has to say.
    pub(super) fn serve(&self) {
        if let Some(client) = &self.client {
            drop(client.poll(Duration::ZERO));
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            dropped("the reader of a derived topic", client, CLOSE_LIMIT);
        }
    }
}

/// The group may be denied to this instance; it goes on without marks.
fn not_ours(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
}

fn said_by(message: &BorrowedMessage<'_>) -> Option<EndPlace> {
    let headers = message.headers()?;
    feed::behind(headers.iter().map(|header| (header.key, header.value)))
}
