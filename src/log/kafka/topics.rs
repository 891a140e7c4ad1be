//! The topics: made if they are missing, and compared with what kwq needs.

use crate::log::Error;
use crate::log::kafka::client::{Cluster, VALUE_BYTES_MAX, Voice, administration, refused};
use crate::model::feed::Feed;
use crate::model::priority::Priority;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
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
    /// Partitions of each, but for the one on which instances tell each other what they serve.
    pub partitions: u16,
    /// Copies of each record, at most one a broker.
    pub replication: u16,
    /// Missing ones are made; otherwise they are only looked at.
    pub manage: bool,
    /// The inboxes are there and read.
    pub inboxes: bool,
    /// The derived topics that are written.
    pub feeds: Vec<Feed>,
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

    /// Name of the topic on which instances tell each other what they serve.
    #[must_use]
    pub fn cluster(&self) -> String {
        format!("{}-cluster", self.prefix)
    }

    /// Name of the topic on which instances leave what an owner is to find.
    #[must_use]
    pub fn commands(&self) -> String {
        format!("{}-commands", self.prefix)
    }

    /// Name of a derived topic.
    #[must_use]
    pub fn feed(&self, feed: Feed) -> String {
        format!("{}-{}", self.prefix, feed.name())
    }
}

/// A topic that must be there.
struct Wanted {
    name: String,
    partitions: u16,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What was acknowledged is on it.
    Records,
    /// As records, but one can do without: reports whose owner is away are refused then.
    Commands,
    /// The newest word of each instance is on it; lost, it is said again within a second.
    Gossip,
    /// Derived from the log, and one can do without.
    Feed(Feed),
}

impl Kind {
    /// What is not there without the topic; `None` = nothing is there without it.
    fn dispensable(self) -> Option<&'static str> {
        match self {
            Self::Records | Self::Gossip => None,
            Self::Commands => Some("reports whose owner is away are refused"),
            Self::Feed(Feed::Dead) => Some("dead letters are not written to Kafka"),
            Self::Feed(Feed::Status) => Some("changes of tasks are not written to Kafka"),
        }
    }

    /// Something acknowledged is on it and nowhere else.
    fn keeps(self) -> bool {
        match self {
            Self::Records | Self::Commands => true,
            Self::Gossip | Self::Feed(_) => false,
        }
    }
}

impl Wanted {
    fn all(topics: &Topics) -> Vec<Self> {
        let mut names = vec![topics.changelog()];
        if topics.inboxes {
            names.extend(Priority::ASCENDING.map(|level| topics.inbox(level)));
        }
        let records = |name| Self { name, partitions: topics.partitions, kind: Kind::Records };
        let (name, partitions) = (topics.commands(), topics.partitions);
        let commands = Self { name, partitions, kind: Kind::Commands };
        let gossip = Self { name: topics.cluster(), partitions: 1, kind: Kind::Gossip };
        let feed = |feed| {
            let (name, partitions) = (topics.feed(feed), topics.partitions);
            Self { name, partitions, kind: Kind::Feed(feed) }
        };
        let all = names.into_iter().map(records).chain([commands, gossip]);
        all.chain(topics.feeds.iter().copied().map(feed)).collect()
    }

    /// # Errors
    /// `Settings`: its number of partitions is another one.
    fn check(&self, seen: &Seen) -> Result<(), Error> {
        if seen.partitions == usize::from(self.partitions) {
            return Ok(());
        }
        let whose = match self.kind {
            Kind::Records | Kind::Commands | Kind::Feed(_) => "log.partitions says",
            Kind::Gossip => "it must have",
        };
        Err(Error::Settings(format!(
            "topic {} has {} partitions, {whose} {}",
            self.name, seen.partitions, self.partitions
        )))
    }

    fn settings<'a>(&'a self, copies: i32, texts: &'a Texts) -> NewTopic<'a> {
        let in_sync = if copies >= 3 { "2" } else { "1" };
        let replication = TopicReplication::Fixed(copies);
        let topic = NewTopic::new(&self.name, i32::from(self.partitions), replication)
            .set("min.insync.replicas", in_sync);
        match self.kind {
            Kind::Records | Kind::Commands => topic
                .set("cleanup.policy", "delete")
                .set("retention.ms", "-1")
                .set("retention.bytes", "-1")
                .set("max.message.bytes", &texts.value_bytes),
            // The segment that is written to is never compacted: a small one is soon another.
            Kind::Gossip => topic
                .set("cleanup.policy", "compact")
                .set("segment.bytes", "16777216")
                .set("segment.ms", "600000"),
            // Of the size that topics come with: any client reads it as it comes.
            Kind::Feed(feed) => topic
                .set("cleanup.policy", "delete")
                .set("retention.ms", &texts.retention_ms[feed as usize])
                .set("max.message.bytes", FEED_BYTES_MAX),
        }
    }
}

/// Longest batch of a derived topic, B: Kafka's default, whatever the cluster's is.
const FEED_BYTES_MAX: &str = "1048588";

/// Numbers as settings take them.
struct Texts {
    value_bytes: String,
    retention_ms: [String; Feed::COUNT],
}

impl Texts {
    fn new() -> Self {
        let value_bytes = VALUE_BYTES_MAX.to_string();
        Self { value_bytes, retention_ms: Feed::ALL.map(|feed| feed.retention_ms().to_string()) }
    }
}

/// Sees to the changelog, to what instances tell each other and leave for each other, to the
/// inboxes if they are read and to the derived topics if they are written.
///
/// # Errors
/// `Io` = the cluster is not reached or refuses; `Settings` = a topic is missing and may not be
/// made, or has another number of partitions.
pub(super) fn ensure(cluster: &Cluster, topics: &Topics) -> Result<Found, Error> {
    let admin = administration(cluster)?;
    let mut wanted = Wanted::all(topics);
    let what = format!("reaching Kafka at {}", cluster.brokers);
    let ask = |wanted: &Wanted| {
        let metadata = admin.inner().fetch_metadata(Some(&wanted.name), PATIENCE);
        metadata.map(|metadata| look(&metadata, &wanted.name)).map_err(|e| refused(&what, &e))
    };
    let mut seen = wanted.iter().map(ask).collect::<Result<Vec<_>, _>>()?;
    while !topics.manage
        && let Some((at, what)) = dispensable(&wanted, &seen)
    {
        tracing::warn!(topic = wanted[at].name, what, "missing with topics.manage=false");
        wanted.remove(at);
        seen.remove(at);
    }
    let pairs = wanted.iter().zip(&seen);
    let missing: Vec<_> = pairs.filter(|(_, seen)| seen.partitions == 0).map(|(w, _)| w).collect();
    let created = !missing.is_empty();
    if created {
        if !topics.manage {
            let what = format!("missing with topics.manage=false, make them: {}", names(&missing));
            return Err(Error::Settings(what));
        }
        let brokers = seen.iter().map(|seen| seen.brokers).max().unwrap_or(1);
        let copies = i32::from(topics.replication.min(brokers).max(1));
        create(&admin, &missing, copies)?;
        for _ in 0..TRIES {
            if seen.iter().all(|seen| seen.partitions > 0) {
                break;
            }
            thread::sleep(SPREAD);
            seen = wanted.iter().map(ask).collect::<Result<Vec<_>, _>>()?;
        }
    }
    let mut reduced = Vec::new();
    for (wanted, seen) in wanted.iter().zip(&seen) {
        wanted.check(seen)?;
        if seen.copies < 3 && wanted.kind.keeps() {
            reduced.push(format!("{} has {} of 3 copies", wanted.name, seen.copies));
        }
    }
    // One word for all of them is enough.
    reduced.truncate(1);
    Ok(Found { created, reduced })
}

/// Place of a missing topic that one can do without, and what there is not then.
fn dispensable(wanted: &[Wanted], seen: &[Seen]) -> Option<(usize, &'static str)> {
    let mut pairs = wanted.iter().zip(seen).enumerate();
    pairs.find_map(|(at, (wanted, seen))| {
        let what = wanted.kind.dispensable().filter(|_| seen.partitions == 0);
        what.map(|what| (at, what))
    })
}

/// Is a topic there?
///
/// # Errors
/// `Io` = the cluster is not reached.
pub(super) fn present(cluster: &Cluster, topic: &str) -> Result<bool, Error> {
    let admin = administration(cluster)?;
    let metadata = admin.inner().fetch_metadata(Some(topic), PATIENCE);
    let metadata =
        metadata.map_err(|e| refused(&format!("reaching Kafka at {}", cluster.brokers), &e))?;
    Ok(look(&metadata, topic).partitions > 0)
}

fn names(topics: &[&Wanted]) -> String {
    topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>().join(", ")
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

fn create(admin: &AdminClient<Voice>, topics: &[&Wanted], copies: i32) -> Result<(), Error> {
    let texts = Texts::new();
    let all: Vec<_> = topics.iter().map(|topic| topic.settings(copies, &texts)).collect();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let what = format!("making {}", names(topics));
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
