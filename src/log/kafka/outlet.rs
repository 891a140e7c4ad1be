//! A topic that is derived from the log, as the one who writes it sees it: records go out in order,
//! and what is on the topic says where to go on.
//!
//! ```text
//!   send ─► producer ─► broker ─► report ─► carried ─► mark, now and then
//!   last ◄── the last record's headers, or the mark if it is further
//! ```
//! A record may be there twice, but never without those before it: the producer is idempotent,
//! gives nothing up by itself, and after any failure sends nothing more
//! (`enable.gapless.guarantee`), so whoever goes on behind the last record leaves nothing out.
//!
//! Must not: read what a value says, or go on after a failure.

use crate::codec::feed;
use crate::log::Error;
use crate::log::kafka::client::{Cluster, complain, refused, say};
use crate::log::kafka::place;
use crate::log::kafka::tail::Tail;
use crate::log::kafka::threads::dropped;
use crate::log::kafka::topics::{Topics, present};
use crate::model::ending::EndPlace;
use crate::model::feed::Feed;
use crate::model::id::{PartitionId, Position};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes on their way beyond which nothing more is taken; one record may be larger.
const FLYING_MAX: usize = 8 << 20;
/// Charged for a record on top of its bytes, so that the limit bounds their number as well.
const RECORD_BYTES: usize = 2_048;
/// A client has so long to end.
const CLOSE_LIMIT: Duration = Duration::from_millis(1_500);

/// Where to go on with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// Everything before this place is carried.
    Behind(EndPlace),
    /// More was carried than the changelog holds: from another one, that was lost or made anew.
    Ahead,
    /// Something was carried, and Kafka keeps nothing of it any more.
    Expired,
    /// Nothing was ever carried.
    Never,
}

/// Writes one derived topic; of one thread.
pub struct Outlet {
    topic: String,
    tail: Tail,
    /// Taken when it is dropped.
    client: Option<BaseProducer<Way>>,
}

impl Outlet {
    /// Begins; `None` = the topic is missing.
    ///
    /// # Errors
    /// `Io` = the cluster is not reached, or a client cannot be had.
    pub fn start(cluster: &Cluster, topics: &Topics, feed: Feed) -> Result<Option<Self>, Error> {
        let topic = topics.feed(feed);
        if !present(cluster, &topic)? {
            return Ok(None);
        }
        let tail = Tail::new(cluster, topics, topic.clone())?;
        let client = BaseProducer::from_config_and_context(&cluster.feeder(), Way::default());
        let client =
            client.map_err(|e| refused(&format!("setting up the writer of {topic}"), &e))?;
        Ok(Some(Self { topic, tail, client: Some(client) }))
    }

    /// Where to go on with a partition: behind what is on the topic, or what was marked.
    ///
    /// # Errors
    /// `Io`.
    pub fn last(&self, id: PartitionId) -> Result<Last, Error> {
        self.tail.last(id)
    }

    /// Puts a record on its way: what stands at a place of the log, under a key. False = too much
    /// is on its way, come again after [`Self::serve`].
    ///
    /// # Errors
    /// `Failed`: nothing more is sent.
    pub fn send(
        &self,
        id: PartitionId,
        place: EndPlace,
        (key, value): (&str, &[u8]),
    ) -> Result<bool, Error> {
        self.check()?;
        let Some(client) = &self.client else { return Ok(false) };
        let charged = key.len() + value.len() + RECORD_BYTES;
        if !client.context().begin(id, charged) {
            return Ok(false);
        }
        let headers =
            feed::headers(place).into_iter().fold(OwnedHeaders::new(), |all, (key, text)| {
                all.insert(Header { key, value: Some(&text) })
            });
        let tag = Box::new(Tag { id, place, charged });
        let record = BaseRecord::<str, [u8], Box<Tag>>::with_opaque_to(&self.topic, tag)
            .partition(i32::from(id.0))
            .key(key)
            .payload(value)
            .headers(headers);
        client.send(record).map_err(|(error, record)| {
            client.context().end(&record.delivery_opaque, Err(&error));
            self.failed(&error.to_string())
        })?;
        Ok(true)
    }

    /// Serves reports for so long at most.
    pub fn serve(&self, limit: Duration) {
        if let Some(client) = &self.client {
            client.poll(limit);
        }
        self.tail.serve();
    }

    /// # Errors
    /// `Failed`: a record did not arrive, so nothing more is sent.
    pub fn check(&self) -> Result<(), Error> {
        let Some(client) = &self.client else { return Err(self.failed("it is closed")) };
        let fatal = || client.client().fatal_error().map(|(_, reason)| reason);
        match client.context().state().failed.clone().or_else(fatal) {
            Some(reason) => Err(self.failed(&reason)),
            None => Ok(()),
        }
    }

    fn failed(&self, why: &str) -> Error {
        Error::Failed(format!("writing {}: {why}", self.topic))
    }

    /// Everything before this place has arrived, if everything before `next` was sent.
    #[must_use]
    pub fn carried(&self, id: PartitionId, next: EndPlace) -> EndPlace {
        let way = self.client.as_ref().map(|client| client.context().state());
        let flight = way.and_then(|state| state.flights.get(&id).copied());
        flight.filter(|flight| flight.count > 0).map_or(next, |flight| flight.carried)
    }

    /// A partition is begun at a place.
    pub fn begin(&self, id: PartitionId, next: EndPlace) {
        if let Some(client) = &self.client {
            let flight = &mut client.context().state().flights;
            flight.entry(id).or_default().carried = next;
        }
    }

    /// Is anything on its way?
    #[must_use]
    pub fn flying(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.context().state().bytes > 0)
    }

    /// Notes for whoever goes on how far partitions were carried; it may get lost.
    pub fn mark(&self, places: &[(PartitionId, EndPlace)]) {
        self.tail.mark(places);
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            dropped("the writer of a derived topic", client, CLOSE_LIMIT);
        }
    }
}

/// Records of the changelog from the one of a position to the one of the last event.
#[must_use]
pub fn records_between(from: Position, last: Position) -> u64 {
    if from > last {
        return 0;
    }
    place::offset(last).0 - place::offset(from).0 + 1
}

/// A record on its way.
struct Tag {
    id: PartitionId,
    place: EndPlace,
    charged: usize,
}

/// What is on its way of a partition.
#[derive(Clone, Copy, Default)]
struct Flight {
    count: usize,
    /// Everything before has arrived.
    carried: EndPlace,
}

#[derive(Default)]
struct State {
    bytes: usize,
    flights: BTreeMap<PartitionId, Flight>,
    failed: Option<String>,
}

/// Takes reports in.
#[derive(Default)]
struct Way {
    state: Mutex<State>,
}

impl Way {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole before it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False = no room.
    fn begin(&self, id: PartitionId, charged: usize) -> bool {
        let mut state = self.state();
        let room = state.bytes == 0 || state.bytes + charged <= FLYING_MAX;
        if room {
            state.bytes += charged;
            state.flights.entry(id).or_default().count += 1;
        }
        room
    }

    fn end(&self, tag: &Tag, arrived: Result<(), &KafkaError>) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(tag.charged);
        match arrived {
            Ok(()) => {
                let flight = state.flights.entry(tag.id).or_default();
                flight.count = flight.count.saturating_sub(1);
                flight.carried = EndPlace { read: tag.place.read + 1, ..tag.place };
            }
            // It counts as on its way for ever: what comes behind it is never carried.
            Err(error) => {
                state.failed.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

impl ClientContext for Way {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // That a setting is experimental was known when it was set.
        let level = if facility == "CONFWARN" { RDKafkaLogLevel::Debug } else { level };
        say(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        complain(&error, reason);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.state().failed.get_or_insert_with(|| reason.to_owned());
        }
    }
}

impl ProducerContext for Way {
    type DeliveryOpaque = Box<Tag>;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: Box<Tag>) {
        let arrived = result.as_ref().map(|_| ()).map_err(|(error, _)| error);
        self.end(&tag, arrived);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: PartitionId = PartitionId(1);

    fn tag(read: u64, charged: usize) -> Tag {
        Tag { id: ID, place: EndPlace { record: Position(5), read }, charged }
    }

    #[test]
    fn no_more_is_on_its_way_than_the_limit_but_one_record_of_any_size() {
        let way = Way::default();
        assert!(way.begin(ID, FLYING_MAX + 1));
        assert!(!way.begin(ID, 1));
        way.end(&tag(0, FLYING_MAX + 1), Ok(()));
        assert!(way.begin(ID, 1) && way.begin(ID, 1));
        assert_eq!(way.state().flights[&ID].carried, EndPlace { record: Position(5), read: 1 });
    }

    #[test]
    fn what_is_not_carried_is_counted_in_records() {
        let at = |offset, number| place::position(offset, number);
        assert_eq!(records_between(Position(0), at(0, 3)), 1);
        assert_eq!(records_between(at(2, 1), at(4, 0)), 3);
        assert_eq!(records_between(at(4, 1), at(4, 0)), 0);
    }

    #[test]
    fn the_first_failure_is_kept_and_nothing_counts_as_carried_by_it() {
        let way = Way::default();
        assert!(way.begin(ID, 1));
        let error = KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge);
        way.end(&tag(3, 1), Err(&error));
        way.end(&tag(4, 1), Err(&KafkaError::Canceled));
        let state = way.state();
        assert!(state.failed.as_ref().is_some_and(|why| why.contains("MessageSizeTooLarge")));
        assert_eq!(state.flights[&ID].carried, EndPlace::default());
        assert_eq!(state.flights[&ID].count, 1);
    }
}
