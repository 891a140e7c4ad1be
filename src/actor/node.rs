//! [`NodeActor`]: starts partitions, watches them, rebuilds what fell, writes images, publishes
//! numbers.

use crate::actor::engine::{Engine, lock};
use crate::actor::handle::{Answer, KwqHandle, log_refusal};
use crate::actor::ownership::Ownership;
use crate::actor::partition::{Halt, PartitionActor, Snapshot, Start, TakeSnapshot};
use crate::actor::recovery::{self, Recipe, Recovered, Replayed};
use crate::actor::restarts::Restarts;
use crate::actor::shard::Shards;
use crate::actor::slot::{Slot, SlotState};
use crate::actor::standby::Standby;
use crate::actor::takeover;
use crate::log::{Error, EventLog};
use crate::metrics::PartitionNumbers;
use crate::model::id::{PartitionId, Position};
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use crate::model::time::{Now, WallWatch};
use actix::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A snapshot that takes longer than this is given up, s.
const SNAPSHOT_S: u64 = 30;

/// Opens the log of the node; called again after a fault.
pub type OpenLog = Arc<dyn Fn() -> Result<Arc<dyn EventLog>, Error> + Send + Sync>;

/// A partition's actor is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct PartitionDown {
    pub(crate) id: PartitionId,
    pub(crate) fall: Fall,
}

/// Why it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fall {
    /// A defect.
    Panic,
    /// The log has failed, for all partitions.
    Log,
    /// Another owner may have this one.
    Fenced,
}

/// A partition is ready to serve.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Serve {
    pub(crate) recovered: Vec<Recovered>,
    pub(crate) log: Arc<dyn EventLog>,
}

/// Rebuilding did not work; try again later.
#[derive(Message)]
#[rtype(result = "()")]
struct RebuildFailed {
    ids: Vec<PartitionId>,
    reopen: bool,
    error: Error,
}

type ImagesReply = oneshot::Sender<Answer<Vec<(PartitionId, Position)>>>;

/// Write images of all partitions.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WriteImages {
    pub(crate) stop: bool,
    pub(crate) reply: Option<ImagesReply>,
}

/// Jobs whose retention is over are looked for this often, ms.
const RETIRE_EVERY_MS: u64 = 5_000;
/// A wall clock that was set forward may be wrong, and set back soon: nothing is deleted by it for
/// so long, ms.
const DOUBT_MS: u64 = 600_000;

/// Watches the partitions of the node.
pub struct NodeActor {
    pub(super) engine: Arc<Engine>,
    shards: Vec<ArbiterHandle>,
    pub(super) partitions: Vec<Option<Addr<PartitionActor>>>,
    pub(super) ownership: Ownership,
    restarts: Vec<Restarts>,
    open_log: OpenLog,
    pub(super) recipe: Recipe,
    /// Of the log.
    reopened: Restarts,
    last_image_ms: u64,
    last_retire_ms: u64,
    wall: WallWatch,
    retiring: bool,
    reopening: bool,
    /// Partitions that were stopped because a record of them is damaged.
    damaged: BTreeSet<PartitionId>,
    pub(super) stopping: bool,
}

impl NodeActor {
    pub(crate) fn start_on(
        shards: &Shards,
        engine: Arc<Engine>,
        open_log: OpenLog,
        recipe: Recipe,
        standby: Standby,
    ) -> Addr<Self> {
        let arbiters = shards.shards.clone();
        Self::start_in_arbiter(&shards.node, move |_| {
            let count = engine.slots.len();
            let shared = engine.config.log.backend.is_shared();
            Self {
                engine,
                shards: arbiters,
                partitions: vec![None; count],
                ownership: Ownership::new(standby, shared),
                restarts: vec![Restarts::default(); count],
                open_log,
                recipe,
                reopened: Restarts::default(),
                last_image_ms: 0,
                last_retire_ms: 0,
                wall: WallWatch::default(),
                retiring: false,
                reopening: false,
                damaged: BTreeSet::new(),
                stopping: false,
            }
        })
    }

    fn serve(&mut self, recovered: Recovered, log: &Arc<dyn EventLog>, node: Addr<Self>) {
        let id = recovered.partition.id();
        if !self.ownership.begins(id) {
            // Given up while it was taken: the next owner deposes this one.
            let next = Position(recovered.durable.0 + 1);
            let state = Replayed { partition: recovered.partition, next };
            return self.ownership.standby.follow(id, Some(state));
        }
        let slot = &self.engine.slots[id.index()];
        let (sender, receiver) = mpsc::channel(limits::CHANNEL_COMMANDS);
        let epoch = recovered.partition.epoch();
        slot.position.store(recovered.durable.0, Ordering::Release);
        self.engine.tracker.reached(id, recovered.durable);
        let start = Start {
            partition: recovered.partition,
            engine: Arc::clone(&self.engine),
            log: Arc::clone(log),
            node,
            receiver,
            durable: recovered.durable,
        };
        let shard = &self.shards[slot.shard];
        let addr = PartitionActor::start_in_arbiter(shard, move |_| PartitionActor::new(start));
        self.partitions[id.index()] = Some(addr);
        self.engine.metrics.rebase_partition(id, &PartitionNumbers::default());
        slot.open(sender, epoch);
        self.restarts[id.index()].serves(self.engine.clock.now().tick);
        tracing::info!(partition = %id, %epoch, "partition serves");
    }

    /// Rebuilds partitions on a thread of their own; with `reopen` the log is opened again first.
    pub(super) fn rebuild(&mut self, ids: Vec<PartitionId>, reopen: bool, ctx: &mut Context<Self>) {
        let wait = ids.iter().map(|id| self.restarts[id.index()].wait()).max().unwrap_or_default();
        // An instance that serves nothing has a log all the same.
        let wait = if reopen { wait.max(self.reopened.wait()) } else { wait };
        let (engine, node) = (Arc::clone(&self.engine), ctx.address());
        let (open_log, recipe) = (Arc::clone(&self.open_log), self.recipe.clone());
        let standby = self.ownership.standby.clone();
        let work = move |actor: &mut Self, _: &mut Context<Self>| {
            let ids = actor.ownership.still_ours(ids);
            if ids.is_empty() && !reopen {
                return;
            }
            let job = move || {
                let outcome =
                    takeover::rebuild(&engine, &open_log, (&recipe, &standby), &ids, reopen);
                match outcome {
                    Ok((recovered, log)) => node.do_send(Serve { recovered, log }),
                    Err(error) => node.do_send(RebuildFailed { ids, reopen, error }),
                }
            };
            if let Err(error) = crate::telemetry::spawn_thread("kwq-rebuild", job) {
                tracing::error!(%error, "no thread for a rebuild");
            }
        };
        ctx.run_later(wait, work);
    }

    /// The log has failed for all: everybody stops, then it is opened again.
    fn log_failed(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.reopening, true) {
            self.reopened.fell(self.engine.clock.now().tick);
        }
        let why = match self.engine.log().ok().and_then(|log| log.failure()) {
            Some(Error::Failed(why)) => why,
            Some(error) => error.to_string(),
            None => "another partition found it so".to_owned(),
        };
        let halt = || Halt(Error::Failed(why.clone()));
        self.partitions.iter().flatten().for_each(|addr| addr.do_send(halt()));
        self.reopen_when_empty(ctx);
    }

    /// A log fails by what it reads, too, and nobody who appends would notice.
    fn watch_log(&mut self, ctx: &mut Context<Self>) {
        let failed = || self.engine.log().is_ok_and(|log| log.failure().is_some());
        if !self.stopping && !self.reopening && failed() {
            self.log_failed(ctx);
        }
    }

    /// A partition with damage that nothing here can mend stops: workers would be refused by it
    /// again and again, and a load balancer would go on sending them.
    fn watch_damage(&mut self) {
        let found = self.engine.log().map(|log| log.damage()).unwrap_or_default();
        for (partition, damage) in found {
            let Some(addr) = &self.partitions[partition.index()] else { continue };
            if self.damaged.insert(partition) {
                tracing::error!(%partition, %damage, "the partition stops: kwq log verify, repair");
                self.engine.close(partition, SlotState::Failed);
                addr.do_send(Halt(damage));
            }
        }
    }

    /// Opens the log again once nobody serves from it any more.
    fn reopen_when_empty(&mut self, ctx: &mut Context<Self>) {
        if self.partitions.iter().all(Option::is_none) {
            self.engine.set_log(None);
            self.damaged.clear();
            let ids = self.ownership.ours(self.engine.slots.iter().map(|s| s.id));
            self.rebuild(ids, true, ctx);
        }
    }

    /// Submits are refused from 80 % of the limit on and taken again below 70 %.
    fn watch_memory(&self) {
        let limit = self.engine.config.memory_limit_bytes;
        let used = resident_bytes();
        let tight = &self.engine.memory_tight;
        if used > limit / 10 * 8 {
            tight.store(true, Ordering::Release);
        } else if used < limit / 10 * 7 {
            tight.store(false, Ordering::Release);
        }
    }

    /// Says that somebody has set the clock: stamps, times to wait for and retention go by it.
    fn watch_clock(&mut self, now: Now) {
        let Some(step_ms) = self.wall.look(now) else { return };
        tracing::warn!(
            step_ms,
            "the clock of this machine was set: is it right now? docs/operations.md, \"Clocks\""
        );
        if step_ms > 0 {
            self.last_retire_ms = now.tick.0 + DOUBT_MS;
        }
    }

    /// Closes implicit jobs that are idle and lets go of jobs whose retention is over, one round at
    /// a time.
    fn retire(&mut self, tick_ms: u64, ctx: &mut Context<Self>) {
        let early = tick_ms < self.last_retire_ms + RETIRE_EVERY_MS;
        // What is done once for all instances is done by the one with the first partition.
        let first = self.engine.slots.first().is_some_and(|s| s.state() == SlotState::Ready);
        if self.stopping || self.retiring || early || !first {
            return;
        }
        (self.retiring, self.last_retire_ms) = (true, tick_ms);
        let handle = KwqHandle::new(Arc::clone(&self.engine));
        let dead_ms = self.engine.config.dead_retention_ms;
        let idle_ms = self.engine.config.job.implicit_close_idle_ms;
        let round = async move {
            let closed = handle.close_idle_jobs(idle_ms).await;
            if let Err(reject) = closed.and(handle.retire_jobs(dead_ms).await) {
                tracing::warn!(detail = %reject.detail, "retention goes on in the next round");
            }
        };
        ctx.spawn(round.into_actor(self).map(|(), actor, _| actor.retiring = false));
    }

    fn every_second(&mut self, ctx: &mut Context<Self>) {
        let now = self.engine.clock.now();
        self.engine.thawed_at(now);
        self.engine.heartbeat_tick.store(now.tick.0, Ordering::Release);
        self.engine.feed.beat(now);
        if self.engine.slots.iter().all(Slot::served) {
            self.engine.complete.store(true, Ordering::Release);
        }
        let interval = self.engine.config.log.image_interval_ms;
        if !self.stopping && now.tick.0 >= self.last_image_ms + interval {
            self.last_image_ms = now.tick.0;
            ctx.notify(WriteImages { stop: false, reply: None });
        }
        self.watch_clock(now);
        self.watch_memory();
        self.watch_log(ctx);
        self.watch_damage();
        self.take_back(ctx);
        self.retire(now.tick.0, ctx);
        if lock(&self.engine.workers).some_silent(now) {
            let handle = KwqHandle::new(Arc::clone(&self.engine));
            ctx.spawn(async move { handle.forget_workers().await }.into_actor(self));
        }
        self.publish(now, ctx);
    }

    /// Looks at everything that is published.
    fn publish(&self, now: Now, ctx: &mut Context<Self>) {
        let handle = KwqHandle::new(Arc::clone(&self.engine));
        ctx.spawn(
            async move { crate::actor::publish::publish(&handle, now).await }.into_actor(self),
        );
    }
}

/// Resident set of this process; 0 where the kernel does not tell.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or_default();
    let kib = line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

/// Asks the node actor for images and waits for them.
pub(crate) async fn write_images(
    node: &Addr<NodeActor>,
    _engine: &Engine,
) -> Answer<Vec<(PartitionId, Position)>> {
    let (reply, answer) = oneshot::channel();
    node.do_send(WriteImages { stop: false, reply: Some(reply) });
    let gone = || Reject::new(Code::NotReady, "the node is stopping");
    answer.await.map_err(|_| gone())?
}

async fn collect_images(
    snapshots: Vec<(PartitionId, oneshot::Receiver<Snapshot>)>,
    log: Option<Arc<dyn EventLog>>,
) -> Answer<Vec<(PartitionId, Position)>> {
    let mut written = Vec::new();
    for (id, snapshot) in snapshots {
        let limit = Duration::from_secs(SNAPSHOT_S);
        let Ok(Ok(snapshot)) = tokio::time::timeout(limit, snapshot).await else { continue };
        let Some(log) = log.clone() else { continue };
        let position = snapshot.position;
        let work = tokio::task::spawn_blocking(move || {
            let bytes = recovery::encode(&snapshot.image).map_err(Error::Failed)?;
            log.commit_mark(id, position, &bytes)
        });
        match work.await {
            Ok(Ok(())) => written.push((id, position)),
            Ok(Err(error)) => return Err(log_refusal(&error)),
            Err(_) => return Err(Reject::new(Code::Internal, "writing an image failed")),
        }
    }
    Ok(written)
}

impl Actor for NodeActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.engine.heartbeat_tick.store(self.engine.clock.now().tick.0, Ordering::Release);
        self.last_image_ms = self.engine.clock.now().tick.0;
        ctx.run_interval(Duration::from_secs(1), Self::every_second);
    }
}

impl Handler<Serve> for NodeActor {
    type Result = ();

    fn handle(&mut self, message: Serve, ctx: &mut Self::Context) {
        if std::mem::take(&mut self.reopening) {
            self.reopened.serves(self.engine.clock.now().tick);
        }
        self.engine.set_log(Some(Arc::clone(&message.log)));
        for recovered in message.recovered {
            self.serve(recovered, &message.log, ctx.address());
        }
        self.take_ours(ctx);
        // The first look at once: what changes from now on is an event.
        self.publish(self.engine.clock.now(), ctx);
    }
}

impl Handler<PartitionDown> for NodeActor {
    type Result = ();

    fn handle(&mut self, down: PartitionDown, ctx: &mut Self::Context) {
        let at = down.id.index();
        self.partitions[at] = None;
        let damaged = self.damaged.contains(&down.id);
        let state = if damaged { SlotState::Failed } else { SlotState::Replaying };
        self.engine.close(down.id, state);
        if self.stopping || damaged {
            return;
        }
        if down.fall == Fall::Fenced && !self.reopening {
            return self.deposed(down.id, ctx);
        }
        self.restarts[at].fell(self.engine.clock.now().tick);
        tracing::error!(partition = %down.id, cause = ?down.fall, "partition will be rebuilt");
        self.engine.restarted(down.fall == Fall::Panic);
        if down.fall == Fall::Panic && !self.reopening {
            self.rebuild(vec![down.id], false, ctx);
            return;
        }
        self.log_failed(ctx);
    }
}

impl Handler<RebuildFailed> for NodeActor {
    type Result = ();

    fn handle(&mut self, failed: RebuildFailed, ctx: &mut Self::Context) {
        tracing::error!(error = %failed.error, "rebuild failed");
        // A copy of a shared log is read anew where it is damaged, once it is opened again.
        let shared = self.engine.config.log.backend.is_shared();
        let copy = shared && matches!(failed.error, Error::Damaged { .. });
        let damaged =
            !copy && matches!(failed.error, Error::Damaged { .. } | Error::UnknownFormat(_));
        for id in &failed.ids {
            self.restarts[id.index()].fell(self.engine.clock.now().tick);
            let state = if damaged { SlotState::Failed } else { SlotState::Replaying };
            self.engine.close(*id, state);
        }
        if damaged {
            return;
        }
        let log_failed = copy || matches!(failed.error, Error::Failed(_));
        if !failed.reopen && log_failed && !self.reopening {
            // Nobody serves who would have noticed.
            return self.log_failed(ctx);
        }
        if failed.reopen {
            self.reopened.fell(self.engine.clock.now().tick);
        }
        self.rebuild(failed.ids, failed.reopen, ctx);
    }
}

impl Handler<WriteImages> for NodeActor {
    type Result = ();

    fn handle(&mut self, message: WriteImages, ctx: &mut Self::Context) {
        self.stopping |= message.stop;
        let mut snapshots = Vec::new();
        for (addr, slot) in self.partitions.iter().zip(&self.engine.slots) {
            if let Some(addr) = addr {
                let (reply, answer) = oneshot::channel();
                addr.do_send(TakeSnapshot { reply, stop: message.stop });
                snapshots.push((slot.id, answer));
            }
        }
        if message.stop {
            self.engine
                .slots
                .iter()
                .for_each(|slot| self.engine.close(slot.id, SlotState::Replaying));
        }
        let log = self.engine.log().ok();
        let work = async move {
            let outcome = collect_images(snapshots, log).await;
            match message.reply {
                // The asker may have given up.
                Some(reply) => drop(reply.send(outcome)),
                None => {
                    if let Err(reject) = outcome {
                        tracing::warn!(detail = %reject.detail, "no image this time");
                    }
                }
            }
        };
        ctx.spawn(work.into_actor(self));
    }
}
