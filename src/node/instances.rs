//! This instance among others of one log on Kafka: its listener for them, the group that proposes
//! what it serves, and the beat by which they hear of it.

use crate::actor::handle::KwqHandle;
use crate::actor::members::{Before, Membership};
use crate::actor::shard::Spawner;
use crate::api::internal::{self, InternalServer};
use crate::client::peer::{self, PeerClient};
use crate::codec::instance as wire;
use crate::config::{Backend, Config};
use crate::log::Error;
use crate::log::kafka::{Assigned, Cluster, Gossip, Group, Heard, Member, Topics, strangers};
use crate::model::id::{Epoch, PartitionId, Position};
use crate::model::instance::InstanceState;
use crate::node::fitness::{Fitness, Sight, Step};
use crate::node::kafka;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks whether there is something new to tell.
const LOOK: Duration = Duration::from_millis(20);
/// It is told again after so long, ms.
const BEAT_MS: u64 = 1_000;
/// Partitions without an owner for so long, with Kafka there, may have been given to somebody who
/// is no instance, ms; and how long until that is looked at again.
const UNSERVED_MS: (u64, u64) = (10_000, 60_000);
/// Who has this name is heard of within this time, ms.
const NAMESAKE_MS: u64 = 3_000;
/// Before what could not be set up is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Calls of others have so long to end.
const CALLS: Duration = Duration::from_secs(1);

/// The listener for other instances, bound before the log is opened: its address goes into the
/// log.
pub(super) struct Listening(Option<(TcpListener, String)>);

impl Listening {
    /// # Errors
    /// The address is taken or not ours.
    pub(super) fn bind(config: &Config) -> Result<Self, super::Error> {
        if config.log.backend != Backend::Kafka {
            return Ok(Self(None));
        }
        let wanted = config.instance.internal_listen;
        let listener = TcpListener::bind(wanted).map_err(|e| super::Error::Listen(wanted, e))?;
        let addr = config.instance.address_for(listener.local_addr()?);
        Ok(Self(Some((listener, addr))))
    }

    /// Where others reach this instance.
    pub(super) fn addr(&self) -> Option<&str> {
        self.0.as_ref().map(|(_, addr)| addr.as_str())
    }
}

/// Name of this instance: `node.id`, or that of the host and what its data directory was marked
/// with, so that two on one host differ and a restarted one is known again.
///
/// # Errors
/// The data directory cannot be read or written.
pub(super) fn name(config: &Config, host: String, chance: u64) -> io::Result<String> {
    if let Some(id) = &config.instance.id {
        return Ok(id.to_string());
    }
    if config.log.backend != Backend::Kafka {
        return Ok(host);
    }
    let dir = config.log.data_dir.join("kafka");
    let file = dir.join("instance");
    let mark = match std::fs::read_to_string(&file) {
        Ok(mark) if !mark.trim().is_empty() => mark.trim().to_owned(),
        Ok(_) | Err(_) => {
            let mark = format!("{:08x}", chance & 0xffff_ffff);
            std::fs::create_dir_all(&dir)?;
            std::fs::write(&file, &mark)?;
            mark
        }
    };
    Ok(format!("{host}-{mark}"))
}

/// What the group says goes to the node.
struct Proposals(Membership);

impl Assigned for Proposals {
    fn assigned(&self, partitions: &[PartitionId]) {
        self.0.assigned(partitions);
    }

    fn revoked(&self, partitions: &[PartitionId], limit: Duration) {
        self.0.revoked(partitions, limit);
    }

    fn lost(&self, partitions: &[PartitionId]) {
        self.0.lost(partitions);
    }
}

/// What others tell of themselves.
struct Ears(Membership);

impl Heard for Ears {
    fn told(&self, node: &str, value: Option<&[u8]>) {
        match value.map(wire::decode) {
            None => self.0.left(node),
            Some(Ok(state)) => self.0.heard(state),
            Some(Err(error)) => tracing::warn!(node, %error, "what an instance tells is no state"),
        }
    }

    fn own(&self, value: &[u8]) {
        // A former life may have been of another release.
        if let Ok(state) = wire::decode(value) {
            self.0.heard_own(&state);
        }
    }

    fn answers(&self) {
        self.0.kafka_answers();
    }
}

/// This instance among others; nothing with a log of its own.
#[derive(Default)]
pub(super) struct Instances(Option<Shared>);

struct Shared {
    membership: Membership,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    server: InternalServer,
}

impl Instances {
    /// Answers other instances from now on, and joins the group once everything was read.
    ///
    /// # Errors
    /// A client or a thread cannot be had.
    pub(super) fn start(
        config: &Config,
        node: &str,
        handle: &KwqHandle,
        listening: Listening,
        shards: Vec<Spawner>,
    ) -> Result<Self, super::Error> {
        let Some((listener, addr)) = listening.0 else { return Ok(Self::default()) };
        let secret = config.instance.secret.clone();
        let client = PeerClient::new(secret.as_deref()).map_err(io::Error::other)?;
        let door = handle.clone();
        let answer: internal::Handler = Arc::new(move |bytes| {
            let door = door.clone();
            Box::pin(async move { door.answer_peer(&bytes).await })
        });
        let server = internal::start(listener, shards, secret, answer)?;
        let membership = Membership::new(handle, client);
        let stop = Arc::new(AtomicBool::new(false));
        let seat = Seat {
            cluster: kafka::cluster(config, node),
            topics: kafka::topics(config),
            member: Member {
                node: node.to_owned(),
                addr,
                session: Duration::from_millis(config.kafka.session_ms),
            },
            membership: membership.clone(),
            handle: handle.clone(),
            stop: Arc::clone(&stop),
        };
        let thread = crate::telemetry::spawn_thread("kwq-members", move || seat.run())?;
        Ok(Self(Some(Shared { membership, stop, thread: Some(thread), server })))
    }

    /// Are there others who go on with what is served here?
    pub(super) fn has_others(&self) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.membership.has_others())
    }

    /// Gives up everything that is served here and says farewell. Calls of others are still
    /// answered.
    pub(super) fn leave(&mut self) {
        let Some(shared) = &mut self.0 else { return };
        shared.stop.store(true, Ordering::Release);
        if shared.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the members panicked");
        }
    }

    /// Answers nobody any more.
    pub(super) fn close(mut self) {
        self.leave();
        if let Some(shared) = self.0 {
            shared.server.shutdown(CALLS);
        }
    }
}

/// A place among the instances.
struct Seat {
    cluster: Cluster,
    topics: Topics,
    member: Member,
    membership: Membership,
    handle: KwqHandle,
    stop: Arc<AtomicBool>,
}

impl Seat {
    fn run(self) {
        while !self.membership.recovered() {
            if self.stopped() {
                return;
            }
            std::thread::sleep(LOOK);
        }
        let Some(gossip) = self.until_done("telling other instances", || {
            let ears = Arc::new(Ears(self.membership.clone()));
            Gossip::start(&self.cluster, &self.topics, &self.member.node, ears)
        }) else {
            return;
        };
        let (mut told, mut look_at) = (None, None);
        self.wait_for_namesake(&gossip, &mut told);
        let (mut group, mut fitness) = (None, Fitness::default());
        if !self.membership.is_double() {
            group = self.join();
        }
        while !self.stopped() && !self.membership.is_double() {
            self.beat(&gossip, &mut told);
            self.membership.forget_silent();
            group = self.take_part_if_fit(group, &mut fitness);
            self.look_for_strangers(&mut look_at);
            std::thread::sleep(LOOK);
        }
        if let Some(group) = group {
            group.leave();
        }
        if self.membership.is_double() {
            self.membership.give_up_all(CALLS);
            // A farewell would be taken for one of the other's.
            return;
        }
        gossip.leave();
    }

    /// Somebody may have this name already: to join the group under it would take from them what
    /// they serve. Where nobody takes a connection any more there is none.
    fn wait_for_namesake(&self, gossip: &Gossip, told: &mut Option<(Told, u64)>) {
        let until_ms = self.handle.now().tick.0 + NAMESAKE_MS;
        let mut listens = false;
        while !self.stopped() && !self.membership.is_double() {
            self.beat(gossip, told);
            match self.membership.before() {
                Before::Unknown => {}
                Before::Nobody => return,
                Before::At(addr) => {
                    listens = listens || peer::listens(&addr);
                    if !listens {
                        return;
                    }
                }
            }
            if self.handle.now().tick.0 >= until_ms {
                return;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn join(&self) -> Option<Group> {
        self.until_done("joining the group", || {
            let proposals = Arc::new(Proposals(self.membership.clone()));
            Group::join(&self.cluster, &self.topics, &self.member, proposals)
        })
    }

    /// Leaves what it cannot serve to others if there are any, and tries again later.
    fn take_part_if_fit(&self, group: Option<Group>, fitness: &mut Fitness) -> Option<Group> {
        let seen = Sight {
            now_ms: self.handle.now().tick.0,
            log: self.membership.log_seen(),
            kafka_there_ms: self.membership.kafka_there_ms(),
            others_serve: self.membership.others_serve(),
            disputes: self.membership.disputes(),
        };
        match fitness.step(group.is_some(), &seen) {
            Step::Stay => group,
            Step::Leave(why) => {
                let reason = why.word();
                tracing::error!(reason, "this instance serves nothing; it leaves all to others");
                self.membership.step_aside(Some(reason));
                if let Some(group) = group {
                    group.leave();
                }
                self.membership.give_up_all(CALLS);
                None
            }
            Step::Rejoin => {
                tracing::warn!("others take what the group gives to this instance; it joins anew");
                if let Some(group) = group {
                    group.leave();
                }
                // A member that did not end has not told what it gives back.
                self.membership.give_up_all(CALLS);
                self.join()
            }
            Step::Join => {
                tracing::info!("this instance takes part again");
                self.membership.step_aside(None);
                self.join()
            }
        }
    }

    /// A member of the group that is no instance keeps what it is given from everybody.
    fn look_for_strangers(&self, at_ms: &mut Option<u64>) {
        let (now, unserved) = (self.handle.now().tick.0, self.membership.unserved());
        if unserved == 0 || self.membership.kafka_there_ms() < UNSERVED_MS.0 {
            *at_ms = None;
        } else if now >= *at_ms.get_or_insert(now + UNSERVED_MS.0) {
            *at_ms = Some(now + UNSERVED_MS.1);
            match strangers(&self.cluster, &self.topics) {
                Ok(members) if members.is_empty() => {}
                Ok(members) => tracing::error!(
                    unserved,
                    ?members,
                    "partitions have no owner, and the group has members that are no instances of \
                     kwq: stop them, or give them a group of their own"
                ),
                Err(error) => tracing::warn!(%error, unserved, "partitions have no owner"),
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn until_done<T>(&self, what: &str, begin: impl Fn() -> Result<T, Error>) -> Option<T> {
        while !self.stopped() {
            match begin() {
                Ok(done) => return Some(done),
                Err(error) => tracing::error!(%error, what, "is tried again"),
            }
            std::thread::sleep(AGAIN);
        }
        None
    }

    /// Tells the others, if there is news or the last time is long ago.
    fn beat(&self, gossip: &Gossip, told: &mut Option<(Told, u64)>) {
        let (state, now) = (self.membership.state(), self.handle.now().tick.0);
        let news = Told::of(&state, self.membership.others_wait());
        if told.as_ref().is_some_and(|(told, at_ms)| *told == news && now < at_ms + BEAT_MS) {
            return;
        }
        match wire::encode(&state) {
            Ok(value) => {
                gossip.tell(value);
                self.membership.told();
            }
            Err(error) => tracing::error!(%error, "this instance cannot be told of"),
        }
        *told = Some((news, now));
    }
}

/// What cannot wait for the next beat if it changes.
#[derive(PartialEq, Eq)]
struct Told {
    partitions: Vec<(PartitionId, Epoch, u16, Position)>,
    draining: bool,
    waiting: bool,
}

impl Told {
    /// While somebody waits elsewhere, everything that happens where there is work: what has come
    /// may be what they wait for, although there was other work before.
    fn of(state: &InstanceState, others_wait: bool) -> Self {
        let served = state.partitions.iter().map(|served| {
            let position =
                if others_wait && served.tasks > 0 { served.position } else { Position(0) };
            (served.partition, served.epoch, served.levels, position)
        });
        Self { partitions: served.collect(), draining: state.draining, waiting: state.waiting > 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::instance::ServedPartition;
    use crate::model::time::WallMs;

    fn state(levels: u16, tasks: u64, position: u64) -> InstanceState {
        let (partition, epoch, position) = (PartitionId(0), Epoch(1), Position(position));
        InstanceState {
            node: "a".into(),
            addr: "a:1".into(),
            version: "1".into(),
            ts: WallMs(0),
            draining: false,
            waiting: 0,
            partitions: vec![ServedPartition { partition, epoch, position, levels, tasks }],
        }
    }

    /// What came may be for a job of which there was nothing, beside others of the same level.
    #[test]
    fn more_work_of_a_level_is_news_if_somebody_waits_elsewhere() {
        let same =
            |a: &InstanceState, b: &InstanceState, wait| Told::of(a, wait) == Told::of(b, wait);
        let (before, after) = (state(1, 5, 10), state(1, 6, 11));
        assert!(!same(&before, &after, true));
        assert!(same(&before, &after, false), "nobody is told of each task");
        assert!(!same(&before, &state(3, 6, 11), false), "another level has work");
        assert!(same(&state(0, 0, 10), &state(0, 0, 11), true), "there is no work");
        let parked = InstanceState { waiting: 1, ..before.clone() };
        assert!(!same(&before, &parked, false), "the others learn that somebody waits");
    }
}
