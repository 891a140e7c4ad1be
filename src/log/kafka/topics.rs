//! The topics: made if they are missing, and compared with what kwq needs.

use crate::log::Error;
use crate::log::kafka::client::{Cluster, VALUE_BYTES_MAX, Voice, refused};
use crate::model::priority::Priority;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

/// For one answer of the cluster.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// A topic that was made is known to every broker soon.
pub(super) const SPREAD: Duration = Duration::from_millis(50);
/// Looks whether it is.
pub(super) const TRIES: u32 = 200;

/// Topics as they shall be.
#[derive(Clone, Debug)]
pub struct Topics {
    /// Begins their names.
    pub prefix: String,
    /// Partitions of each.
    pub partitions: u16,
    /// Copies of each record, at most one a broker.
    pub replication: u16,
    /// Missing ones are made; otherwise they are only looked at.
    pub manage: bool,
    /// The inboxes are there and read.
    pub inboxes: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The topic was made now.
    pub created: bool,
    /// Why an acknowledgement means less than it should; empty = it does not.
    pub reduced: Vec<String>,
}

impl Topics {
    /// Name of the changelog.
    #[must_use]
    pub fn changelog(&self) -> String {
        format!("{}-changelog", self.prefix)
    }

    /// Name of the inbox of a level.
    #[must_use]
    pub fn inbox(&self, level: Priority) -> String {
        level.topic(&self.prefix)
    }

    /// Level of an inbox.
    pub(super) fn level(&self, name: &str) -> Option<Priority> {
        let number = name.strip_prefix(&self.prefix)?.strip_prefix('-')?;
        Priority::new(number.parse().ok()?)
    }
}

/// Sees to the changelog and, if they are read, to the inboxes.
///
/// # Errors
/// `Io` = the cluster is not reached or refuses; `Settings` = a topic is missing and may not be
/// made, or has another number of partitions.
pub(super) fn ensure(cluster: &Cluster, topics: &Topics) -> Result<Found, Error> {
    let admin = AdminClient::from_config_and_context(&cluster.admin(), Voice);
    let admin = admin.map_err(|e| refused("setting up the Kafka client", &e))?;
    let mut names = vec![topics.changelog()];
    if topics.inboxes {
        names.extend(Priority::ASCENDING.map(|level| topics.inbox(level)));
    }
    let what = format!("reaching Kafka at {}", cluster.brokers);
    let ask = |name: &str| {
        let metadata = admin.inner().fetch_metadata(Some(name), PATIENCE);
        metadata.map(|metadata| look(&metadata, name)).map_err(|e| refused(&what, &e))
    };
    let mut seen = names.iter().map(|name| ask(name)).collect::<Result<Vec<_>, _>>()?;
    let missing: Vec<&str> = names
        .iter()
        .zip(&seen)
        .filter(|(_, seen)| seen.partitions == 0)
        .map(|(name, _)| name.as_str())
        .collect();
    let created = !missing.is_empty();
    if created {
        if !topics.manage {
            let missing = missing.join(", ");
            let what = format!("missing with topics.manage=false, make them: {missing}");
            return Err(Error::Settings(what));
        }
        let brokers = seen.iter().map(|seen| seen.brokers).max().unwrap_or(1);
        let copies = i32::from(topics.replication.min(brokers).max(1));
        create(&admin, &missing, topics.partitions, copies)?;
        for _ in 0..TRIES {
            if seen.iter().all(|seen| seen.partitions > 0) {
                break;
            }
            thread::sleep(SPREAD);
            seen = names.iter().map(|name| ask(name)).collect::<Result<Vec<_>, _>>()?;
        }
    }
    let mut reduced = Vec::new();
    for (name, seen) in names.iter().zip(&seen) {
        if seen.partitions != usize::from(topics.partitions) {
            let what = format!(
                "topic {name} has {} partitions, log.partitions says {}",
                seen.partitions, topics.partitions
            );
            return Err(Error::Settings(what));
        }
        if seen.copies < 3 {
            reduced.push(format!("{name} has {} of 3 copies", seen.copies));
        }
    }
    // One word for all of them is enough.
    reduced.truncate(1);
    Ok(Found { created, reduced })
}

struct Seen {
    partitions: usize,
    copies: usize,
    brokers: u16,
}

fn look(metadata: &Metadata, name: &str) -> Seen {
    let topic =
        metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
    let partitions = topic.map_or(&[][..], |topic| topic.partitions());
    let copies = partitions.iter().map(|p| p.replicas().len()).min().unwrap_or(0);
    let brokers = u16::try_from(metadata.brokers().len()).unwrap_or(u16::MAX);
    Seen { partitions: partitions.len(), copies, brokers }
}

fn create(
    admin: &AdminClient<Voice>,
    names: &[&str],
    partitions: u16,
    copies: i32,
) -> Result<(), Error> {
    let bytes = VALUE_BYTES_MAX.to_string();
    let in_sync = if copies >= 3 { "2" } else { "1" };
    let topic = |name| {
        NewTopic::new(name, i32::from(partitions), TopicReplication::Fixed(copies))
            .set("cleanup.policy", "delete")
            .set("retention.ms", "-1")
            .set("retention.bytes", "-1")
            .set("max.message.bytes", &bytes)
            .set("min.insync.replicas", in_sync)
    };
    let all: Vec<_> = names.iter().map(|name| topic(*name)).collect();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let what = format!("making {}", names.join(", "));
    let made = block_on(admin.create_topics(&all, &options)).map_err(|e| refused(&what, &e))?;
    for result in made {
        match result {
            // Another instance was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(Error::Io { what, cause: code.to_string() }),
        }
    }
    Ok(())
}

/// Runs a future on this thread; the client's own threads wake it.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Parked(Thread);
    impl Wake for Parked {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Parked(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
