//! The anchor: membership in the consumer group that proposes which partitions this instance
//! should own. It only proposes: whoever is assigned a partition appends an `Owner` record, and the
//! log decides (`log::fence`).
//!
//! ```text
//!   broker ─► consumer, polled by one thread ─┬─► assigned(…)   returns at once
//!                                             ├─► revoked(…)    is waited for, not for ever
//!                                             └─► lost(…)       returns at once
//! ```
//! It subscribes to the changelog, because its partitions are kwq's partitions, and pauses each at
//! once: no record is read by it, no offset committed. Cooperative: a partition that stays where it
//! is hears nothing of a rebalance.
//!
//! Callbacks run inside the client's poll, and inside its drop. A client is therefore dropped by a
//! thread that is watched, and left behind if it does not end.
//!
//! Must not: keep a list of librdkafka's (a consumer whose lists are kept never ends), read
//! records, or decide who owns anything.

mod calls;
mod strangers;

pub use calls::Assigned;
pub use strangers::strangers;

use crate::log::Error;
use crate::log::kafka::client::{Cluster, complain, refused, say};
use crate::log::kafka::threads::{PAUSE, dropped, ended, spawn};
use crate::log::kafka::topics::Topics;
use crate::model::id::PartitionId;
use calls::Calls;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Events are waited for so long before it is looked whether the group is to be left.
const POLL: Duration = Duration::from_millis(100);
/// Before a member that could not go on joins anew.
const REJOIN: Duration = Duration::from_secs(1);
/// A client has so long to leave the group, releases of the node included.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// And the thread of the group to end.
const LEAVE_LIMIT: Duration = Duration::from_secs(15);

/// Client ids of instances begin with it.
const OURS: &str = "kwq/";

/// Name of the group.
fn name(topics: &Topics) -> String {
    format!("{}-kwq", topics.prefix)
}

/// Who joins.
#[derive(Clone, Debug)]
pub struct Member {
    /// Name of the instance.
    pub node: String,
    /// Where others reach it.
    pub addr: String,
    /// Silence after which its partitions go to others; brokers take no less than 6 s by default.
    pub session: Duration,
}

impl Member {
    /// Under which the brokers list it: tells everybody who describes the group where it is.
    #[must_use]
    pub fn client_id(&self) -> String {
        format!("{OURS}{}@{}", self.node, self.addr)
    }
}

/// Membership in the group; dropping it leaves.
pub struct Group {
    calls: Arc<Calls>,
    thread: Option<JoinHandle<()>>,
}

impl Group {
    /// Joins the group `<prefix>-kwq`; what it proposes is told to `on` from then on. A cluster
    /// that is not reached is tried again, for ever.
    ///
    /// # Errors
    /// `Io` = the client cannot be set up.
    pub fn join(
        cluster: &Cluster,
        topics: &Topics,
        member: &Member,
        on: Arc<dyn Assigned>,
    ) -> Result<Self, Error> {
        let group = name(topics);
        let calls = Arc::new(Calls::new(on));
        let seat = Seat {
            config: cluster.group(&group, &member.client_id(), member.session),
            topic: topics.changelog(),
            calls: Arc::clone(&calls),
        };
        let first = seat.client()?;
        let thread = spawn("kwq-kafka-group", move || seat.serve(first))?;
        Ok(Self { calls, thread: Some(thread) })
    }

    /// What this instance should own, as far as it was told.
    #[must_use]
    pub fn assigned(&self) -> Vec<PartitionId> {
        self.calls.owned()
    }

    /// Releases everything and leaves the group, so that others need not wait for the end of the
    /// session. Takes 15 s at most.
    pub fn leave(self) {
        drop(self);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.calls.stop();
        let Some(thread) = self.thread.take() else { return };
        ended("the thread of the group", thread, LEAVE_LIMIT);
    }
}

/// A place in the group, for one client after the other.
struct Seat {
    config: ClientConfig,
    topic: String,
    calls: Arc<Calls>,
}

impl Seat {
    fn client(&self) -> Result<BaseConsumer<Anchor>, Error> {
        let anchor = Anchor::new(Arc::clone(&self.calls));
        let client = BaseConsumer::from_config_and_context(&self.config, anchor);
        let client = client.map_err(|e| refused("setting up the member of the group", &e))?;
        let what = format!("subscribing to {}", self.topic);
        client.subscribe(&[&self.topic]).map_err(|e| refused(&what, &e))?;
        Ok(client)
    }

    /// Until the group is to be left.
    fn serve(self, mut client: BaseConsumer<Anchor>) {
        loop {
            self.poll(&client);
            close(client);
            // What a client that did not end has not given back.
            self.calls.lost(&self.calls.owned());
            match self.again() {
                Some(next) => client = next,
                None => return,
            }
        }
    }

    /// Until the group is to be left or the client cannot go on.
    fn poll(&self, client: &BaseConsumer<Anchor>) {
        while !self.calls.stopped() && !client.context().ended() {
            // A message was on its way before its partition was paused; an error was said already.
            drop(client.poll(POLL));
            if let Some((_, reason)) = client.client().fatal_error() {
                tracing::error!(reason, "the member of the group cannot go on");
                client.context().end();
            }
        }
    }

    /// A client after one that could not go on; none = the group is to be left.
    fn again(&self) -> Option<BaseConsumer<Anchor>> {
        loop {
            let mut pause = REJOIN;
            while !pause.is_zero() {
                if self.calls.stopped() {
                    return None;
                }
                thread::sleep(PAUSE);
                pause = pause.saturating_sub(PAUSE);
            }
            match self.client() {
                Ok(client) => return Some(client),
                Err(error) => tracing::error!(%error, "the group cannot be joined anew"),
            }
        }
    }
}

/// Gives back what it has, leaves the group and drops the client.
fn close(client: BaseConsumer<Anchor>) {
    let anchor = Arc::clone(client.context());
    if !dropped("the member of the group", client, CLOSE_LIMIT) {
        // Whatever it says from now on comes too late.
        anchor.mute();
    }
}

/// What a client calls back.
struct Anchor {
    calls: Arc<Calls>,
    /// It cannot go on.
    ends: AtomicBool,
    /// It was left behind.
    muted: AtomicBool,
}

impl Anchor {
    fn new(calls: Arc<Calls>) -> Self {
        Self { calls, ends: AtomicBool::new(false), muted: AtomicBool::new(false) }
    }

    fn end(&self) {
        self.ends.store(true, Ordering::Release);
    }

    fn ended(&self) -> bool {
        self.ends.load(Ordering::Acquire)
    }

    fn mute(&self) {
        self.muted.store(true, Ordering::Release);
    }

    fn muted(&self) -> bool {
        self.muted.load(Ordering::Acquire)
    }

    /// Tells the node of what was taken only: a partition that is not unassigned again would
    /// never be revoked.
    fn take(&self, client: &BaseConsumer<Self>, list: &mut TopicPartitionList) {
        let ids = partitions(list);
        // Not the committed offset, of which there is none; nothing is read from it anyway.
        let taken =
            list.set_all_offsets(Offset::End).and_then(|()| client.incremental_assign(list));
        if let Err(error) = taken {
            let answered = client.incremental_assign(&TopicPartitionList::new());
            return self.refuse(client, &error, answered);
        }
        if let Err(error) = pause(client, list) {
            tracing::warn!(%error, "partitions of the group are not paused");
        }
        if !self.muted() {
            self.calls.assigned(&ids);
        }
    }

    fn give(&self, client: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let ids = partitions(list);
        // Asked before the answer, with which the client forgets it.
        let lost = client.assignment_lost();
        if self.muted() {
            tracing::debug!("a client that was left behind gives up");
        } else if lost {
            self.calls.lost(&ids);
        } else {
            self.calls.revoked(&ids);
        }
        if let Err(error) = client.incremental_unassign(list) {
            let answered = client.incremental_unassign(&TopicPartitionList::new());
            self.refuse(client, &error, answered);
        }
    }

    /// librdkafka did not take the answer: what it believes to be assigned and what the node was
    /// told differ, so this client ends. Even then it would wait for an answer; any will do.
    fn refuse(&self, client: &BaseConsumer<Self>, error: &KafkaError, answered: KafkaResult<()>) {
        tracing::error!(%error, "the member of the group leaves and joins anew");
        self.end();
        if let Err(error) = answered.or_else(|_| client.unassign()) {
            tracing::error!(%error, "the member of the group is left without an answer");
        }
    }
}

impl ClientContext for Anchor {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        say(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        complain(&error, reason);
    }
}

impl ConsumerContext for Anchor {
    /// The default one does not look at what the client answers.
    fn rebalance(
        &self,
        client: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.take(client, list);
        } else {
            self.give(client, list);
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<PartitionId> {
    let numbers = list.elements().into_iter().map(|element| u16::try_from(element.partition()));
    numbers.filter_map(Result::ok).map(PartitionId).collect()
}

/// Errors are those of single partitions.
fn pause(client: &BaseConsumer<Anchor>, list: &TopicPartitionList) -> KafkaResult<()> {
    client.pause(list)?;
    list.elements().iter().try_for_each(|element| element.error())
}
