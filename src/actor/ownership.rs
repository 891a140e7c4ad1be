//! Which partitions this instance serves, where several share one log. The group proposes, the log
//! decides (ADR 0024); with a log of its own an instance serves all of them.
//!
//! ```text
//!            assigned, or its own before a restart
//!   followed ───────────────────────────────────────► taken ─► served
//!      ▲                                                          │
//!      └──── revoked: snapshot ── lost, deposed: from an image ───┘
//! ```
//! A deposed owner that is still assigned the partition takes it again after a pause: either the
//! group has not told it yet that it is not, or somebody took what is not theirs.

use crate::actor::engine::lock;
use crate::actor::node::NodeActor;
use crate::actor::partition::{Halt, Snapshot, TakeSnapshot};
use crate::actor::recovery::Replayed;
use crate::actor::slot::SlotState;
use crate::actor::standby::Standby;
use crate::log::Error;
use crate::model::id::PartitionId;
use actix::prelude::*;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::sync::oneshot;

/// A deposed owner waits so long: the group has told it by then if it is to take nothing.
const AGAIN: Duration = Duration::from_secs(2);

/// Whoever else took a partition in an outage is heard of within so long after it, ms.
const THERE_MS: u64 = 1_500;

/// These were served by this instance before it was restarted.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Former(pub(crate) Vec<PartitionId>);

/// The group assigns partitions.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Take(pub(crate) Vec<PartitionId>);

/// The group takes partitions back.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Release {
    pub(crate) ids: Vec<PartitionId>,
    /// Told when nothing is decided for them any more.
    pub(crate) done: SyncSender<()>,
    /// For what is on its way.
    pub(crate) limit: Duration,
}

/// The group has given partitions away.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Lose(pub(crate) Vec<PartitionId>);

/// Another instance serves it under a newer epoch.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Overtaken(pub(crate) PartitionId);

/// What the node knows of it.
pub(super) struct Ownership {
    pub(super) standby: Standby,
    shared: bool,
    assigned: BTreeSet<PartitionId>,
    /// To be served here.
    ours: BTreeSet<PartitionId>,
    taking: BTreeSet<PartitionId>,
    /// Served here until the group was lost.
    former: BTreeSet<PartitionId>,
}

impl Ownership {
    pub(super) fn new(standby: Standby, shared: bool) -> Self {
        let none = BTreeSet::new;
        let (assigned, ours, taking, former) = (none(), none(), none(), none());
        Self { standby, shared, assigned, ours, taking, former }
    }

    /// Those of them that are to be served here.
    pub(super) fn ours(&self, all: impl Iterator<Item = PartitionId>) -> Vec<PartitionId> {
        all.filter(|id| !self.shared || self.ours.contains(id)).collect()
    }

    /// Those of them that still are; the others are not being taken any more.
    pub(super) fn still_ours(&mut self, ids: Vec<PartitionId>) -> Vec<PartitionId> {
        if self.shared {
            ids.iter().filter(|id| !self.ours.contains(id)).for_each(|id| {
                self.taking.remove(id);
            });
        }
        self.ours(ids.into_iter())
    }

    /// A partition was taken; false = it is not to be served here any more.
    pub(super) fn begins(&mut self, id: PartitionId) -> bool {
        self.taking.remove(&id);
        !self.shared || self.ours.contains(&id)
    }
}

impl NodeActor {
    /// Takes what is to be served here and is not.
    pub(super) fn take_ours(&mut self, ctx: &mut Context<Self>) {
        if self.engine.log().is_err() || self.stopping || !self.ownership.shared {
            return;
        }
        let ownership = &mut self.ownership;
        let idle = |id: &&PartitionId| self.partitions[id.index()].is_none();
        let missing = ownership.ours.iter().filter(idle);
        let ids: Vec<_> = missing.copied().filter(|id| ownership.taking.insert(*id)).collect();
        if !ids.is_empty() {
            self.rebuild(ids, false, ctx);
        }
    }

    /// Takes back what was lost with the group, once Kafka has been there again for a while and
    /// nobody else has taken it. An outage of Kafka ends the sessions of all; the group would wait
    /// for those members until their sessions have ended a second time.
    pub(super) fn take_back(&mut self, ctx: &mut Context<Self>) {
        if self.ownership.former.is_empty() {
            return;
        }
        let now = self.engine.clock.now().tick;
        if lock(&self.engine.echo).there_ms(now) < THERE_MS {
            return;
        }
        for id in std::mem::take(&mut self.ownership.former) {
            let elsewhere = self.engine.slots.get(id.index()).is_none_or(|slot| slot.served());
            if !elsewhere && self.ownership.ours.insert(id) {
                tracing::info!(partition = %id, "taken back: nobody has it since the outage");
            }
        }
        self.take_ours(ctx);
    }

    /// Another instance may have the partition.
    pub(super) fn deposed(&mut self, id: PartitionId, ctx: &mut Context<Self>) {
        tracing::warn!(partition = %id, "deposed: another instance may have the partition");
        self.ownership.ours.remove(&id);
        self.ownership.standby.follow(id, None);
        ctx.run_later(AGAIN, move |actor, ctx| {
            if actor.ownership.assigned.contains(&id) {
                actor.engine.disputes.fetch_add(1, Ordering::AcqRel);
                actor.ownership.ours.insert(id);
                actor.take_ours(ctx);
            }
        });
    }

    /// Ends its actor, which answers nobody any more.
    fn halt(&self, id: PartitionId, reason: &str) {
        if let Some(Some(addr)) = self.partitions.get(id.index()) {
            addr.do_send(Halt(Error::Fenced(reason.to_owned())));
        }
    }

    /// Nothing is decided for these from now on; what is on its way is waited for.
    fn give_up(&mut self, ids: &[PartitionId]) -> Vec<(PartitionId, oneshot::Receiver<Snapshot>)> {
        let mut snapshots = Vec::new();
        for id in ids {
            self.ownership.assigned.remove(id);
            self.ownership.ours.remove(id);
            self.ownership.former.remove(id);
            let Some(addr) = self.partitions.get_mut(id.index()).and_then(Option::take) else {
                continue;
            };
            let (reply, answer) = oneshot::channel();
            addr.do_send(TakeSnapshot { reply, stop: true });
            self.engine.close(*id, SlotState::Replaying);
            snapshots.push((*id, answer));
        }
        snapshots
    }
}

impl Handler<Former> for NodeActor {
    type Result = ();

    fn handle(&mut self, Former(ids): Former, ctx: &mut Self::Context) {
        self.ownership.ours.extend(ids);
        self.take_ours(ctx);
    }
}

impl Handler<Take> for NodeActor {
    type Result = ();

    fn handle(&mut self, Take(ids): Take, ctx: &mut Self::Context) {
        let known = ids.into_iter().filter(|id| id.index() < self.partitions.len());
        let known: Vec<_> = known.collect();
        self.ownership.assigned.extend(&known);
        self.ownership.ours.extend(&known);
        self.take_ours(ctx);
    }
}

impl Handler<Release> for NodeActor {
    type Result = ();

    fn handle(&mut self, message: Release, ctx: &mut Self::Context) {
        let Release { ids, done, limit } = message;
        let snapshots = self.give_up(&ids);
        let (standby, policy) = (self.ownership.standby.clone(), self.recipe.policy);
        let work = async move {
            let end = tokio::time::Instant::now() + limit;
            for (id, snapshot) in snapshots {
                let state = match tokio::time::timeout_at(end, snapshot).await {
                    Ok(Ok(Snapshot { image, position })) => {
                        Some(Replayed::of_image((id, policy), image, position))
                    }
                    // It fell, or its reports did not come: what counts is in the log.
                    Ok(Err(_)) | Err(_) => None,
                };
                standby.follow(id, state);
                tracing::info!(partition = %id, "partition released");
            }
            // Whoever asked may have gone on.
            done.send(()).ok();
        };
        ctx.spawn(work.into_actor(self));
    }
}

impl Handler<Lose> for NodeActor {
    type Result = ();

    fn handle(&mut self, Lose(ids): Lose, _: &mut Self::Context) {
        for id in ids {
            self.ownership.assigned.remove(&id);
            if self.ownership.ours.remove(&id) {
                self.ownership.former.insert(id);
            }
            self.halt(id, "the group has given the partition away");
        }
    }
}

impl Handler<Overtaken> for NodeActor {
    type Result = ();

    fn handle(&mut self, Overtaken(id): Overtaken, _: &mut Self::Context) {
        self.halt(id, "another instance serves the partition under a newer epoch");
    }
}
