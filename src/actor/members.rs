//! The other instances of a shared log, as this one hears of them: what the group proposes goes to
//! the node, what they tell of themselves becomes doors and offers.
//!
//! ```text
//!   group ── assigned, revoked, lost ─► NodeActor          (`ownership`)
//!   others ── heard, left ─► slots: who serves what ─► hub: what there is to hand out elsewhere
//!   state ─► others
//! ```
//! An instance that was not heard of for 5 s is gone. Of two that claim a partition the
//! higher epoch is right.

use crate::actor::engine::{Engine, OUTAGE_MS, lock};
use crate::actor::handle::KwqHandle;
use crate::actor::ownership::{Lose, Overtaken, Release, Take};
use crate::actor::request::InstanceView;
use crate::actor::slot::{Peer, Slot, SlotState};
use crate::client::peer::PeerClient;
use crate::log::Room;
use crate::model::id::{Epoch, Name, PartitionId, Position};
use crate::model::instance::{InstanceState, ServedPartition};
use crate::model::time::{Tick, WallMs};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// Silence after which an instance is gone, ms; it tells of itself once a second.
const SILENT_MS: u64 = 5_000;
/// Instances that are kept in mind.
const INSTANCES_MAX: usize = 1_024;

/// Others by their names, with when they were last heard of.
pub(crate) type Others = BTreeMap<Name, (InstanceState, Tick)>;

/// The own words of this instance as they come back from Kafka, once a second: the way there and
/// back is open, or it is not.
#[derive(Default)]
pub(crate) struct Echo {
    heard_at: Option<Tick>,
    /// When the first word was told.
    told_at: Option<Tick>,
    /// Since then without a break.
    since: Tick,
    /// A broker answered when nothing came back.
    answered_at: Option<Tick>,
    /// Who spoke under this name before this instance did.
    before: Option<Name>,
    double: bool,
}

impl Echo {
    fn told(&mut self, now: Tick) {
        self.told_at.get_or_insert(now);
    }

    fn heard(&mut self, now: Tick) {
        if self.is_silent(now) || self.heard_at.is_none() {
            self.since = now;
        }
        self.heard_at = Some(now);
    }

    /// Somebody else speaks under this name: did they before this instance?
    fn is_double(&mut self, addr: &Name) -> bool {
        if self.heard_at.is_none() {
            self.before = Some(addr.clone());
        } else if self.before.as_ref() == Some(addr) {
            self.double = true;
        }
        self.double
    }

    /// Another instance had this name before, and has it still.
    pub(crate) fn double(&self) -> bool {
        self.double
    }

    /// What was told long ago has not come back.
    pub(crate) fn is_silent(&self, now: Tick) -> bool {
        self.heard_at.or(self.told_at).is_some_and(|at| now.since(at) > OUTAGE_MS)
    }

    /// Nor does any broker answer: nothing can be recorded.
    pub(crate) fn is_cut_off(&self, now: Tick) -> bool {
        let answered = self.answered_at.is_some_and(|at| now.since(at) <= OUTAGE_MS);
        self.is_silent(now) && !answered
    }

    /// For so long by now others would have been heard, ms. Not while only the way is broken by
    /// which they are; who is cut off knows nothing of others either way, and serves nobody.
    fn listens_ms(&self, now: Tick) -> u64 {
        if self.is_cut_off(now) { u64::MAX } else { self.there_ms(now) }
    }

    /// Kafka has been there for so long by now, ms.
    pub(crate) fn there_ms(&self, now: Tick) -> u64 {
        if self.heard_at.is_none() || self.is_silent(now) { 0 } else { now.since(self.since) }
    }
}

/// Who spoke under the name of this instance before it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// Its own first word has not come back yet.
    Unknown,
    /// Nobody, or who was there has said farewell.
    Nobody,
    /// An instance of this address: a former life, or another one.
    At(Name),
}

/// This instance among others; cheap to clone.
#[derive(Clone)]
pub struct Membership {
    engine: Arc<Engine>,
}

impl Membership {
    /// Of a running engine, which reaches the others by `client` from now on.
    #[must_use]
    pub fn new(handle: &KwqHandle, client: PeerClient) -> Self {
        let engine = Arc::clone(&handle.engine);
        engine.peers.reach_by(client);
        Self { engine }
    }

    /// The group proposes these.
    pub fn assigned(&self, ids: &[PartitionId]) {
        self.tell(Take(ids.to_vec()));
    }

    /// The group takes these back: returns when nothing is decided for them any more, or after
    /// `limit`.
    pub fn revoked(&self, ids: &[PartitionId], limit: Duration) {
        let (done, released) = sync_channel(1);
        self.tell(Release { ids: ids.to_vec(), done, limit });
        if released.recv_timeout(limit).is_err() {
            tracing::warn!(partitions = ids.len(), "not released in time");
        }
    }

    /// The group has given these away.
    pub fn lost(&self, ids: &[PartitionId]) {
        self.tell(Lose(ids.to_vec()));
    }

    fn tell<M>(&self, message: M)
    where
        M: actix::Message<Result = ()> + Send + 'static,
        crate::actor::node::NodeActor: actix::Handler<M>,
    {
        match self.engine.node() {
            Some(node) => node.do_send(message),
            None => tracing::error!("there is no node to tell of the group"),
        }
    }

    /// Another instance tells of itself.
    pub fn heard(&self, state: InstanceState) {
        for served in &state.partitions {
            self.serves(&state, served);
        }
        let now = self.engine.clock.now().tick;
        let mut others = lock(&self.engine.others);
        if others.len() < INSTANCES_MAX || others.contains_key(&state.node) {
            let before = others.insert(state.node.clone(), (state.clone(), now));
            drop(others);
            self.serves_no_more(before.map(|(before, _)| before), &state);
        }
    }

    /// A word under this instance's own name has come all the way through Kafka. Words of a former
    /// life of it come before its own first one only; who goes on speaking is another instance.
    pub fn heard_own(&self, state: &InstanceState) {
        let now = self.engine.clock.now().tick;
        let mut echo = lock(&self.engine.echo);
        if state.addr == self.engine.addr {
            return echo.heard(now);
        }
        // Whoever has taken partitions under this name has deposed this instance all the same.
        for served in &state.partitions {
            if let Some(slot) = self.engine.slot(served.partition) {
                self.is_overtaken(slot, served);
            }
        }
        if echo.is_double(&state.addr) {
            let (node, other, own) = (&state.node, &state.addr, &self.engine.addr);
            tracing::error!(
                %node, %other, %own,
                "two instances have the same node.id; this one came later and serves nothing: stop \
                 it and give it a name of its own"
            );
        } else if echo.heard_at.is_some() {
            let (node, other) = (&state.node, &state.addr);
            tracing::error!(%node, %other, "another instance was started with the same node.id");
        }
    }

    /// A broker answers, though nothing is heard.
    pub fn kafka_answers(&self) {
        lock(&self.engine.echo).answered_at = Some(self.engine.clock.now().tick);
    }

    /// Who had the name of this one before.
    #[must_use]
    pub fn before(&self) -> Before {
        let echo = lock(&self.engine.echo);
        match (&echo.heard_at, &echo.before) {
            (None, _) => Before::Unknown,
            (Some(_), None) => Before::Nobody,
            (Some(_), Some(addr)) => Before::At(addr.clone()),
        }
    }

    /// Another instance had the name of this one before, and still has.
    #[must_use]
    pub fn is_double(&self) -> bool {
        lock(&self.engine.echo).double()
    }

    /// Everything that is served here is given up.
    pub fn give_up_all(&self, limit: Duration) {
        let all: Vec<PartitionId> = self.engine.slots.iter().map(|slot| slot.id).collect();
        self.revoked(&all, limit);
    }

    fn serves(&self, state: &InstanceState, served: &ServedPartition) {
        let Some(slot) = self.engine.slot(served.partition) else { return };
        let (node, addr) = (state.node.clone(), state.addr.clone());
        let peer = Peer { node, addr, epoch: served.epoch };
        if slot.point(peer.clone()) {
            tracing::info!(partition = %slot.id, node = %state.node, "served by another instance");
        }
        if !self.is_overtaken(slot, served) && slot.peer() == Some(peer) {
            self.engine.heard(slot, served.position);
            // What was told before an answer of it came is older than that.
            if let Some(moved) = slot.offers(served.position) {
                let (levels, tasks) = (served.levels, served.tasks);
                self.engine.hub.publish(slot.id, levels, tasks, moved, Vec::new());
            }
        }
    }

    /// Is it served elsewhere under a newer epoch than here? Then its actor is told: one that has
    /// nothing to append would not notice.
    fn is_overtaken(&self, slot: &Slot, served: &ServedPartition) -> bool {
        let here = slot.state() == SlotState::Ready;
        let overtaken = here && slot.epoch.load(Ordering::Acquire) < served.epoch.0;
        if overtaken {
            self.tell(Overtaken(slot.id));
        }
        overtaken
    }

    /// What it served before and does not any more has nobody until somebody says so.
    fn serves_no_more(&self, before: Option<InstanceState>, now: &InstanceState) {
        for was in before.iter().flat_map(|before| &before.partitions) {
            if !now.partitions.iter().any(|served| served.partition == was.partition) {
                self.lose(was.partition, &now.node);
            }
        }
    }

    fn lose(&self, id: PartitionId, node: &str) {
        let Some(slot) = self.engine.slot(id) else { return };
        if slot.lose(node) {
            self.engine.hub.publish(id, 0, 0, false, Vec::new());
        }
    }

    /// An instance has said farewell.
    pub fn left(&self, node: &str) {
        tracing::info!(node, "an instance has left");
        self.gone(&Name::from(node));
    }

    fn gone(&self, node: &Name) {
        lock(&self.engine.others).remove(node);
        for slot in &self.engine.slots {
            self.lose(slot.id, node);
        }
    }

    /// Lets go of instances that were not heard of for long.
    pub fn forget_silent(&self) {
        let now = self.engine.clock.now().tick;
        let listens_ms = lock(&self.engine.echo).listens_ms(now);
        let silent = |(node, (_, heard)): (&Name, &(InstanceState, Tick))| {
            (now.since(*heard).min(listens_ms) > SILENT_MS).then(|| node.clone())
        };
        let gone: Vec<Name> = lock(&self.engine.others).iter().filter_map(silent).collect();
        for node in gone {
            tracing::warn!(%node, "an instance was not heard of for 5 s");
            self.gone(&node);
        }
    }

    /// Everything was read that was there at the start; nothing can be taken before.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.engine.log().is_ok()
    }

    /// Are there others?
    #[must_use]
    pub fn has_others(&self) -> bool {
        !lock(&self.engine.others).is_empty()
    }

    /// Is there one that serves, or could?
    #[must_use]
    pub fn others_serve(&self) -> bool {
        lock(&self.engine.others).values().any(|(state, _)| !state.draining)
    }

    /// Partitions that others took, and 2 s later the group still gave them to this one; so far.
    #[must_use]
    pub fn disputes(&self) -> u64 {
        self.engine.disputes.load(Ordering::Acquire)
    }

    /// Partitions that nobody serves, as far as was heard.
    #[must_use]
    pub fn unserved(&self) -> usize {
        self.engine.slots.iter().filter(|slot| !slot.served()).count()
    }

    /// Of an open log: how much may be written to it, and the appends that were refused to this
    /// instance since it was opened, whatever it sent.
    #[must_use]
    pub fn log_seen(&self) -> Option<(Room, u64)> {
        self.engine.log().ok().map(|log| (log.room(), log.refusals()))
    }

    /// For how long Kafka has been heard without a break, ms.
    #[must_use]
    pub fn kafka_there_ms(&self) -> u64 {
        lock(&self.engine.echo).there_ms(self.engine.clock.now().tick)
    }

    /// It serves nothing from now on, and says so, why in a word as in the body of ready; `None` =
    /// it takes part again.
    pub fn step_aside(&self, why: Option<&'static str>) {
        *lock(&self.engine.aside) = why;
    }

    /// Does anybody wait for work at another one, as far as was heard?
    #[must_use]
    pub fn others_wait(&self) -> bool {
        lock(&self.engine.others).values().any(|(state, _)| state.waiting > 0)
    }

    /// It was told of this instance.
    pub fn told(&self) {
        lock(&self.engine.echo).told(self.engine.clock.now().tick);
    }

    /// What this instance tells of itself.
    #[must_use]
    pub fn state(&self) -> InstanceState {
        let engine = &self.engine;
        let here = engine.slots.iter().filter(|slot| slot.state() == SlotState::Ready);
        let served = here.map(|slot| {
            let (levels, tasks) = engine.hub.offer(slot.id);
            ServedPartition {
                partition: slot.id,
                epoch: Epoch(slot.epoch.load(Ordering::Acquire)),
                position: Position(slot.position.load(Ordering::Acquire)),
                levels,
                tasks,
            }
        });
        InstanceState {
            node: engine.node_name(),
            addr: engine.addr.clone(),
            version: Name::from(env!("CARGO_PKG_VERSION")),
            ts: engine.clock.now().wall,
            draining: engine.draining.load(Ordering::Acquire) || lock(&engine.aside).is_some(),
            waiting: engine.hub.waiting() as u64,
            partitions: served.collect(),
        }
    }
}

impl Engine {
    /// All instances that are heard of, this one first.
    pub(super) fn instances(&self) -> Vec<InstanceView> {
        let now = self.clock.now();
        let alone = !self.config.log.backend.is_shared();
        let here = self.slots.iter().filter(|slot| alone || slot.state() == SlotState::Ready);
        let own = InstanceView {
            node: self.node_name(),
            addr: self.addr.clone(),
            version: Name::from(env!("CARGO_PKG_VERSION")),
            seen: now.wall,
            partitions: here.map(|slot| slot.id).collect(),
        };
        let shown = |(state, heard): &(InstanceState, Tick)| InstanceView {
            node: state.node.clone(),
            addr: state.addr.clone(),
            version: state.version.clone(),
            seen: WallMs(now.wall.0.saturating_sub(now.tick.since(*heard))),
            partitions: state.partitions.iter().map(|served| served.partition).collect(),
        };
        let others = lock(&self.others);
        std::iter::once(own).chain(others.values().map(shown)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafka_is_there_as_long_as_own_words_come_back() {
        let mut echo = Echo::default();
        assert!(!echo.is_silent(Tick(9_000)), "nothing was told yet");
        echo.told(Tick(6_000));
        assert!(echo.is_silent(Tick(9_001)), "what was told has not come back");
        for at in [10_000, 11_000, 12_000] {
            echo.heard(Tick(at));
        }
        assert_eq!((echo.is_silent(Tick(15_000)), echo.there_ms(Tick(15_000))), (false, 5_000));
        assert_eq!((echo.is_silent(Tick(15_001)), echo.there_ms(Tick(15_001))), (true, 0));
        echo.heard(Tick(20_000));
        assert_eq!((echo.is_silent(Tick(20_500)), echo.there_ms(Tick(20_500))), (false, 500));
    }

    #[test]
    fn who_gets_an_answer_of_any_broker_is_not_cut_off() {
        let mut echo = Echo::default();
        echo.told(Tick(0));
        assert!(!echo.is_cut_off(Tick(3_000)) && echo.is_cut_off(Tick(3_001)));
        echo.answered_at = Some(Tick(2_500));
        assert!(!echo.is_cut_off(Tick(5_500)) && echo.is_cut_off(Tick(5_501)));
        assert_eq!((echo.is_silent(Tick(5_000)), echo.there_ms(Tick(5_000))), (true, 0));
        let listens = |at| echo.listens_ms(Tick(at));
        assert_eq!((listens(5_000), listens(6_000)), (0, u64::MAX), "cut off from 5,501 on");
    }

    #[test]
    fn a_former_life_is_no_double_and_who_comes_later_is_one() {
        let (former, other) = (Name::from("h:1"), Name::from("h:2"));
        let mut echo = Echo::default();
        assert!(!echo.is_double(&former), "words from before the start");
        echo.heard(Tick(1));
        assert!(!echo.is_double(&other), "this one was there first");
        assert!(echo.is_double(&former) && echo.double(), "it speaks still");
    }
}
