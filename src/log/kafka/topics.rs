//! The topic of the changelog: made if it is missing, and compared with what kwq needs.

use crate::log::Error;
use crate::log::kafka::client::{Cluster, VALUE_BYTES_MAX, Voice, refused};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// For one answer of the cluster.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// A topic that was made is known to every broker soon.
pub(super) const SPREAD: Duration = Duration::from_millis(50);

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
}

/// Sees to the changelog.
///
/// # Errors
/// `Io` = the cluster is not reached or refuses; `Settings` = the topic is missing and may not be
/// made, or has another number of partitions.
pub(super) fn ensure(cluster: &Cluster, topics: &Topics) -> Result<Found, Error> {
    let what = format!("reaching Kafka at {}", cluster.brokers);
    let admin = AdminClient::from_config_and_context(&cluster.admin(), Voice);
    let admin = admin.map_err(|e| refused("setting up the Kafka client", &e))?;
    let name = topics.changelog();
    let ask = |name: &str| {
        let metadata = admin.inner().fetch_metadata(Some(name), PATIENCE);
        metadata.map_err(|e| refused(&what, &e))
    };
    let mut found = Found::default();
    let mut seen = look(&ask(&name)?, &name);
    if seen.partitions == 0 {
        if !topics.manage {
            let what = format!("topic {name} is missing and topics.manage is false: make it");
            return Err(Error::Settings(what));
        }
        let copies = i32::from(topics.replication.min(seen.brokers).max(1));
        create(&admin, &name, topics.partitions, copies)?;
        found.created = true;
        let end = Instant::now() + PATIENCE;
        while seen.partitions == 0 && Instant::now() < end {
            thread::sleep(SPREAD);
            seen = look(&ask(&name)?, &name);
        }
    }
    if seen.partitions != usize::from(topics.partitions) {
        let what = format!(
            "topic {name} has {} partitions, log.partitions says {}",
            seen.partitions, topics.partitions
        );
        return Err(Error::Settings(what));
    }
    if seen.copies < 3 {
        found.reduced.push(format!("{name} has {} of 3 copies", seen.copies));
    }
    Ok(found)
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
    name: &str,
    partitions: u16,
    copies: i32,
) -> Result<(), Error> {
    let bytes = VALUE_BYTES_MAX.to_string();
    let in_sync = if copies >= 3 { "2" } else { "1" };
    let topic = NewTopic::new(name, i32::from(partitions), TopicReplication::Fixed(copies))
        .set("cleanup.policy", "delete")
        .set("retention.ms", "-1")
        .set("retention.bytes", "-1")
        .set("max.message.bytes", &bytes)
        .set("min.insync.replicas", in_sync);
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let what = format!("making topic {name}");
    let made = block_on(admin.create_topics(&[topic], &options)).map_err(|e| refused(&what, &e))?;
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
fn block_on<T>(future: impl Future<Output = T>) -> T {
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
