//! The topics: made if they are missing, and compared with what kwq needs.

use crate::log::Error;
use crate::log::kafka::client::{
    Cluster, VALUE_BYTES_MAX, Voice, administration, refused, turned_down, unreached,
};
use crate::log::kafka::survey::More;
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

/// Partitions that are made by one request.
const AT_ONCE: usize = 2_000;

/// Partitions of new topics that the slowest brokers make known between two looks.
const FOLLOWED: usize = 10;

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
    /// Topics that have more partitions than it says; those are not used.
    pub more: Vec<More>,
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
    /// As records, written by other producers.
    Inbox,
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
            Self::Records | Self::Inbox | Self::Gossip => None,
            Self::Commands => Some("reports whose owner is away are refused"),
            Self::Feed(Feed::Dead) => Some("dead letters are not written to Kafka"),
            Self::Feed(Feed::Status) => Some("changes of tasks are not written to Kafka"),
        }
    }

    /// Something acknowledged is on it and nowhere else.
    fn keeps(self) -> bool {
        match self {
            Self::Records | Self::Inbox | Self::Commands => true,
            Self::Gossip | Self::Feed(_) => false,
        }
    }
}

impl Wanted {
    fn all(topics: &Topics) -> Vec<Self> {
        let records = |name, kind| Self { name, partitions: topics.partitions, kind };
        let mut first = vec![records(topics.changelog(), Kind::Records)];
        if topics.inboxes {
            let inbox = |level| records(topics.inbox(level), Kind::Inbox);
            first.extend(Priority::ASCENDING.map(inbox));
        }
        let commands = records(topics.commands(), Kind::Commands);
        let gossip = Self { name: topics.cluster(), partitions: 1, kind: Kind::Gossip };
        let feed = |feed| {
            let (name, partitions) = (topics.feed(feed), topics.partitions);
            Self { name, partitions, kind: Kind::Feed(feed) }
        };
        let all = first.into_iter().chain([commands, gossip]);
        all.chain(topics.feeds.iter().copied().map(feed)).collect()
    }

    /// # Errors
    /// `Settings`: it has fewer partitions, or more where that cannot be; `Io`: it is not there
    /// after all.
    fn check(&self, seen: &Seen) -> Result<(), Error> {
        if seen.partitions == usize::from(self.partitions) || self.more(seen).is_some() {
            return Ok(());
        }
        let there = seen.partitions;
        if there == 0 {
            let what = format!("making {}", self.name);
            let cause = "the brokers do not show it yet\nstart again: they go on making it";
            return Err(Error::Io { what, cause: cause.to_owned() });
        }
        let topic = self.name.clone();
        let cure = match self.kind {
            Kind::Records => {
                return Err(
                    More { topic, partitions: there, loses: false }.refused(self.partitions)
                );
            }
            Kind::Gossip => "delete it while no instance runs",
            Kind::Inbox | Kind::Commands | Kind::Feed(_) => "give it as many",
        };
        Err(Error::Settings(format!(
            "topic {topic} has {there} partitions, it must have {}\n{cure}, or set another \
             topics.prefix",
            self.partitions
        )))
    }

    /// Has it more partitions, of a kind that kwq writes to by number?
    fn more(&self, seen: &Seen) -> Option<More> {
        let more = seen.partitions > usize::from(self.partitions) && self.kind != Kind::Gossip;
        let (topic, partitions) = (self.name.clone(), seen.partitions);
        more.then(|| More { topic, partitions, loses: self.kind == Kind::Inbox })
    }

    /// A command that makes it.
    fn command(&self, cluster: &Cluster, copies: i32) -> String {
        let texts = Texts::new();
        let topic = self.settings(copies, &texts);
        let settings = topic.config.iter().map(|(name, value)| format!(" --config {name}={value}"));
        format!(
            "kafka-topics.sh --bootstrap-server {} --create --topic {} --partitions {} \
             --replication-factor {copies}{}",
            cluster.brokers,
            self.name,
            self.partitions,
            settings.collect::<String>()
        )
    }

    fn settings<'a>(&'a self, copies: i32, texts: &'a Texts) -> NewTopic<'a> {
        let in_sync = if copies >= 3 { "2" } else { "1" };
        let replication = TopicReplication::Fixed(copies);
        let topic = NewTopic::new(&self.name, i32::from(self.partitions), replication)
            .set("min.insync.replicas", in_sync);
        // A broker refuses stamps of an instance whose clock is an hour ahead; so it stamps itself
        // what instances write. Producers of inboxes may say when a task began to wait.
        let stamps = if self.kind == Kind::Inbox { "CreateTime" } else { "LogAppendTime" };
        let topic = topic.set("message.timestamp.type", stamps);
        match self.kind {
            Kind::Records | Kind::Inbox | Kind::Commands => topic
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
    let mut found = seen(&admin, cluster, &wanted)?;
    while !topics.manage
        && let Some((at, what)) = dispensable(&wanted, &found)
    {
        tracing::warn!(topic = wanted[at].name, what, "missing with topics.manage=false");
        wanted.remove(at);
        found.remove(at);
    }
    let pairs = wanted.iter().zip(&found);
    let missing: Vec<_> = pairs.filter(|(_, seen)| seen.partitions == 0).map(|(w, _)| w).collect();
    let created = !missing.is_empty();
    if created {
        let copies = i32::from(copies(topics, &found));
        if !topics.manage {
            return Err(absent(cluster, &missing, copies));
        }
        // Before anything is made: a start that is refused leaves nothing behind.
        let mut present = wanted.iter().zip(&found).filter(|(_, seen)| seen.partitions > 0);
        present.try_for_each(|(wanted, seen)| wanted.check(seen))?;
        create(&admin, &missing, copies)?;
        let many: usize = missing.iter().map(|wanted| usize::from(wanted.partitions)).sum();
        for _ in 0..TRIES as usize + many / FOLLOWED {
            if found.iter().all(|seen| seen.partitions > 0 && seen.led) {
                break;
            }
            thread::sleep(SPREAD);
            found = seen(&admin, cluster, &wanted)?;
        }
    }
    let (mut reduced, mut more) = (Vec::new(), Vec::new());
    for (wanted, seen) in wanted.iter().zip(&found) {
        wanted.check(seen)?;
        more.extend(wanted.more(seen));
        if seen.copies < 3 && wanted.kind.keeps() {
            reduced.push(few(wanted, seen));
        }
    }
    // One word for all of them is enough.
    reduced.truncate(1);
    Ok(Found { created, reduced, more })
}

/// How many topics are missing, which the first start would make, whether the changelog is one of
/// them, and which have more partitions; makes nothing.
///
/// # Errors
/// As [`ensure`].
pub(super) fn look_at_all(
    cluster: &Cluster,
    topics: &Topics,
) -> Result<(usize, bool, Vec<More>), Error> {
    let wanted = Wanted::all(topics);
    let seen = seen(&administration(cluster)?, cluster, &wanted)?;
    let (present, missing): (Vec<_>, Vec<_>) =
        wanted.iter().zip(&seen).partition(|(_, seen)| seen.partitions > 0);
    present.iter().try_for_each(|(wanted, seen)| wanted.check(seen))?;
    let needed: Vec<_> =
        missing.iter().map(|(w, _)| *w).filter(|w| w.kind.dispensable().is_none()).collect();
    if !topics.manage && !needed.is_empty() {
        return Err(absent(cluster, &needed, i32::from(copies(topics, &seen))));
    }
    let changelog = needed.iter().any(|wanted| wanted.kind == Kind::Records);
    let more = present.iter().filter_map(|(wanted, seen)| wanted.more(seen)).collect();
    Ok((missing.len(), changelog, more))
}

/// Which topics have too few copies, or would be made with them; makes nothing.
///
/// # Errors
/// `Io` = the cluster is not reached.
pub(super) fn few_copies(cluster: &Cluster, topics: &Topics) -> Result<Vec<String>, Error> {
    let wanted: Vec<_> = Wanted::all(topics).into_iter().filter(|w| w.kind.keeps()).collect();
    let seen = seen(&administration(cluster)?, cluster, &wanted)?;
    let made = copies(topics, &seen);
    let mut reasons = Vec::new();
    for (wanted, seen) in wanted.iter().zip(&seen) {
        if seen.partitions == 0 && topics.manage && made < 3 {
            let brokers = seen.brokers;
            reasons.push(format!(
                "topics would be made with {made} of 3 copies: brokers {brokers}, \
                 topics.replication {}",
                topics.replication
            ));
        } else if seen.partitions > 0 && seen.copies < 3 {
            reasons.push(few(wanted, seen));
        }
    }
    // One word for all of them is enough.
    reasons.truncate(1);
    Ok(reasons)
}

fn few(wanted: &Wanted, seen: &Seen) -> String {
    format!("{} has {} of 3 copies", wanted.name, seen.copies)
}

/// Copies that missing topics are made with.
fn copies(topics: &Topics, seen: &[Seen]) -> u16 {
    let brokers = seen.iter().map(|seen| seen.brokers).max().unwrap_or(1);
    topics.replication.min(brokers).max(1)
}

/// Topics are missing that an administrator makes.
fn absent(cluster: &Cluster, missing: &[&Wanted], copies: i32) -> Error {
    let command = missing.first().map(|first| first.command(cluster, copies)).unwrap_or_default();
    let rest = match missing.len() {
        0 | 1 => "",
        _ => "\nand so on; docs/kafka.md, \"Topics\", has the settings of each",
    };
    Error::Settings(format!(
        "topics are missing, and topics.manage=false: {}\n{command}{rest}",
        names(missing)
    ))
}

/// What there is of each.
fn seen(
    admin: &AdminClient<Voice>,
    cluster: &Cluster,
    wanted: &[Wanted],
) -> Result<Vec<Seen>, Error> {
    wanted.iter().map(|wanted| ask(admin, cluster, &wanted.name)).collect()
}

fn ask(admin: &AdminClient<Voice>, cluster: &Cluster, name: &str) -> Result<Seen, Error> {
    let metadata = admin.inner().fetch_metadata(Some(name), PATIENCE);
    metadata.map(|metadata| look(&metadata, name)).map_err(|e| unreached(cluster, &e))
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
    Ok(ask(&administration(cluster)?, cluster, topic)?.partitions > 0)
}

fn names(topics: &[&Wanted]) -> String {
    topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>().join(", ")
}

struct Seen {
    partitions: usize,
    /// Each of them has a leader.
    led: bool,
    copies: usize,
    brokers: u16,
}

fn look(metadata: &Metadata, name: &str) -> Seen {
    let topic =
        metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
    let partitions = topic.map_or(&[][..], |topic| topic.partitions());
    let copies = partitions.iter().map(|p| p.replicas().len()).min().unwrap_or(0);
    let brokers = u16::try_from(metadata.brokers().len()).unwrap_or(u16::MAX);
    let led = partitions.iter().all(|p| p.leader() >= 0 && p.error().is_none());
    Seen { partitions: partitions.len(), led, copies, brokers }
}

fn create(admin: &AdminClient<Voice>, topics: &[&Wanted], copies: i32) -> Result<(), Error> {
    requests(topics).into_iter().try_for_each(|some| create_at_once(admin, some, copies))
}

/// What is made by one request each. A broker refuses one for more than 10,000 partitions in all,
/// and takes a while for many.
fn requests<'a, 'b>(mut topics: &'a [&'b Wanted]) -> Vec<&'a [&'b Wanted]> {
    let mut all = Vec::new();
    while !topics.is_empty() {
        let mut partitions = 0;
        let fit = topics.iter().take_while(|topic| {
            partitions += usize::from(topic.partitions);
            partitions <= AT_ONCE
        });
        let (some, rest) = topics.split_at(fit.count().max(1));
        all.push(some);
        topics = rest;
    }
    all
}

fn create_at_once(
    admin: &AdminClient<Voice>,
    topics: &[&Wanted],
    copies: i32,
) -> Result<(), Error> {
    let texts = Texts::new();
    let all: Vec<_> = topics.iter().map(|topic| topic.settings(copies, &texts)).collect();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let what = format!("making {}", names(topics));
    let made = block_on(admin.create_topics(&all, &options)).map_err(|e| refused(&what, &e))?;
    for result in made {
        match result {
            // Another instance was faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(turned_down(&what, code)),
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

#[cfg(test)]
#[path = "topics_tests.rs"]
mod tests;
