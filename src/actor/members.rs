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

use crate::actor::engine::{Engine, lock};
use crate::actor::handle::KwqHandle;
use crate::actor::ownership::{Lose, Overtaken, Release, Take};
use crate::actor::request::InstanceView;
use crate::actor::slot::{Peer, SlotState};
use crate::client::peer::PeerClient;
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
        if state.node == self.engine.node_name() {
            if state.addr != self.engine.addr {
                let (node, addr) = (&state.node, &state.addr);
                tracing::error!(%node, %addr, "another instance has the name of this one: node.id");
            }
            return;
        }
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

    fn serves(&self, state: &InstanceState, served: &ServedPartition) {
        let Some(slot) = self.engine.slot(served.partition) else { return };
        let (node, addr) = (state.node.clone(), state.addr.clone());
        let peer = Peer { node, addr, epoch: served.epoch };
        if slot.point(peer.clone()) {
            tracing::info!(partition = %slot.id, node = %state.node, "served by another instance");
        }
        if slot.state() == SlotState::Ready && slot.epoch.load(Ordering::Acquire) < served.epoch.0 {
            self.tell(Overtaken(slot.id));
        } else if slot.peer() == Some(peer) {
            self.engine.heard(slot, served.position);
            // What was told before an answer of it came is older than that.
            if let Some(moved) = slot.offers(served.position) {
                let (levels, tasks) = (served.levels, served.tasks);
                self.engine.hub.publish(slot.id, levels, tasks, moved, Vec::new());
            }
        }
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
        let silent = |(node, (_, heard)): (&Name, &(InstanceState, Tick))| {
            (now.since(*heard) > SILENT_MS).then(|| node.clone())
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

    /// Does anybody wait for work at another one, as far as was heard?
    #[must_use]
    pub fn others_wait(&self) -> bool {
        lock(&self.engine.others).values().any(|(state, _)| state.waiting > 0)
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
            draining: engine.draining.load(Ordering::Acquire),
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
