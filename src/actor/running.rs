//! Start and stop of the engine as seen from the composition root.

use crate::actor::engine::{Engine, Parts};
use crate::actor::handle::KwqHandle;
use crate::actor::node::{NodeActor, OpenLog, Serve, WriteImages};
use crate::actor::ownership::Former;
use crate::actor::recovery::{self, Recipe, Replayed};
use crate::actor::shard::Shards;
use crate::actor::slot::{Slot, SlotState};
use crate::actor::standby::Standby;
use crate::actor::takeover::{Begun, first_start};
use crate::actor::tracker::{self, TrackerState};
use crate::client::peer;
use crate::clock::{Clock, Entropy};
use crate::config::Config;
use crate::core::partition::Partition;
use crate::log::{Error, EventLog, LogRecord};
use crate::metrics::Metrics;
use crate::model::id::{Name, PartitionId, Position};
use crate::model::policy::Policy;
use crate::store::Tracker;
use actix::Addr;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Between two looks whether the last report is in.
const REPORTS_LOOK: Duration = Duration::from_millis(20);

/// Opens (or rebuilds) the tracker's store.
pub type OpenTracker =
    Box<dyn FnOnce(crate::model::time::WallMs) -> Result<Tracker, String> + Send>;

/// What the engine is started with.
pub struct NodeParts {
    /// Configuration.
    pub config: Config,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Metrics.
    pub metrics: Metrics,
    /// Opens the log again after a fault.
    pub open_log: OpenLog,
    /// Opens the tracker's store.
    pub open_tracker: OpenTracker,
    /// Name of this instance; no other of the same log has it.
    pub name: String,
    /// Address written into `Owner` records.
    pub addr: String,
}

/// A started engine.
pub struct Running {
    engine: Arc<Engine>,
    node: Addr<NodeActor>,
    standby: Standby,
    recovered: Mutex<Option<Receiver<Result<u64, Error>>>>,
}

/// Starts recovery in the background; the handle answers health at once.
///
/// # Errors
/// A thread could not be started.
pub fn start(
    shards: &Shards,
    parts: NodeParts,
    log: Arc<dyn EventLog>,
) -> std::io::Result<Running> {
    let node_name = Name::from(parts.name);
    let addr = Name::from(parts.addr);
    let recipe =
        Recipe { policy: parts.config.policy, node: node_name.clone(), addr: addr.clone() };
    let engine = Arc::new(Engine::new(Parts {
        config: parts.config,
        clock: parts.clock,
        entropy: parts.entropy,
        metrics: parts.metrics,
        shards: shards.shards.len(),
        node_name,
        addr,
    }));
    engine.feed.begin(engine.entropy.next_u64());
    let standby = Standby::default();
    let (for_node, waiting) = (Arc::clone(&engine), standby.clone());
    let node = NodeActor::start_on(shards, for_node, parts.open_log, recipe.clone(), waiting);
    let followers = standby.clone();
    engine.set_node(node.clone());
    let (tell, told) = sync_channel(1);
    let (for_recovery, address) = (Arc::clone(&engine), node.clone());
    let (arbiter, open_tracker) = (shards.tracker.clone(), parts.open_tracker);
    crate::telemetry::spawn_thread("kwq-recovery", move || {
        let engine = for_recovery;
        let outcome = recover(&engine, &*log, &recipe, open_tracker).map(|(tracker, begun)| {
            let Begun { recovered, followed } = begun;
            let partitions = recovered.iter().map(|r| &r.partition);
            let partitions = partitions.chain(followed.iter().map(|f| &f.partition));
            let live = partitions.map(Partition::live_tasks).sum();
            tracker::start(&arbiter, tracker, Arc::clone(&engine));
            if log.others_append() {
                address.do_send(Former(former(&followed, &*log, &recipe)));
                for state in followed {
                    followers.follow(state.partition.id(), Some(state));
                }
                if let Err(error) = followers.start(Arc::clone(&engine), recipe.clone()) {
                    tracing::error!(%error, "partitions of other instances are not followed");
                }
            }
            address.do_send(Serve { recovered, log: Arc::clone(&log) });
            live
        });
        if let Err(error) = &outcome {
            tracing::error!(%error, "recovery failed");
            for slot in &engine.slots {
                engine.close(slot.id, SlotState::Failed);
            }
        }
        // The starter may not wait for it.
        drop(tell.send(outcome));
    })?;
    Ok(Running { engine, node, standby, recovered: Mutex::new(Some(told)) })
}

/// Partitions whose latest owner was this instance, before it was started again. Where somebody
/// still takes connections, that may be another one of the same name: the group decides then.
fn former(followed: &[Replayed], log: &dyn EventLog, recipe: &Recipe) -> Vec<PartitionId> {
    let mut lives = BTreeMap::from([(recipe.addr.clone(), false)]);
    let mut was_ours = |state: &&Replayed| {
        let owner = recovery::owner(log, state.partition.id(), state);
        owner.is_some_and(|(owner, addr, _)| {
            owner == recipe.node
                && !*lives.entry(addr).or_insert_with_key(|addr| peer::listens(addr))
        })
    };
    followed.iter().filter(|state| was_ours(state)).map(|state| state.partition.id()).collect()
}

fn recover(
    engine: &Engine,
    log: &dyn EventLog,
    recipe: &Recipe,
    open_tracker: OpenTracker,
) -> Result<(TrackerState, Begun), Error> {
    let tracker = open_tracker(engine.clock.now().wall).map_err(Error::Failed)?;
    let mut tracker = TrackerState::new(tracker);
    let begun = first_start(engine, log, recipe, &mut tracker)?;
    Ok((tracker, begun))
}

impl Running {
    /// The door.
    #[must_use]
    pub fn handle(&self) -> KwqHandle {
        KwqHandle::new(Arc::clone(&self.engine))
    }

    /// Blocks until recovery is over; number of live tasks found.
    ///
    /// # Errors
    /// Recovery failed.
    pub fn wait_recovered(&self) -> Result<u64, Error> {
        let told = self.recovered.lock().unwrap_or_else(PoisonError::into_inner).take();
        let gone = || Error::Failed("recovery ended without an answer".to_owned());
        told.map_or(Ok(0), |told| told.recv().map_err(|_| gone())?)
    }

    /// Readiness false; everything still served.
    pub fn begin_drain(&self) {
        self.engine.draining.store(true, Ordering::Release);
    }

    /// Parked consumes leave, new ones get nothing.
    pub fn refuse_work(&self) {
        self.engine.refusing.store(true, Ordering::Release);
        self.engine.hub.shut();
    }

    /// Tells the listeners of events what has changed since the latest look: there is no next one.
    pub fn tell_changes(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(crate::actor::publish::changes(&self.handle()));
        }
    }

    /// Lets reports in until no lease is held any more, `limit` at most; the time it took. A
    /// partition that is away takes no reports, so nobody waits for its leases.
    pub fn await_reports(&self, limit: Duration) -> Duration {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return Duration::ZERO };
        runtime.block_on(async {
            let begun = tokio::time::Instant::now();
            let reported = async {
                while self.leases_held().await > 0 {
                    tokio::time::sleep(REPORTS_LOOK).await;
                }
            };
            if tokio::time::timeout(limit, reported).await.is_err() {
                tracing::warn!("drain.timeout is over; leases that are held stay valid in the log");
            }
            begun.elapsed()
        })
    }

    async fn leases_held(&self) -> usize {
        let mut held = 0;
        let served = |slot: &&Slot| slot.state() == SlotState::Ready;
        for slot in self.engine.slots.iter().filter(served) {
            let count = self.engine.inspect_local(slot, Partition::lease_count).await;
            // Too busy to be asked: the reports are still coming.
            held += count.map_or(1, |(count, _)| count);
        }
        held
    }

    /// Images of all partitions, the tracker's pages, the end of the log.
    pub fn close(self) {
        let (reply, written) = tokio::sync::oneshot::channel();
        self.node.do_send(WriteImages { stop: true, reply: Some(reply) });
        match written.blocking_recv() {
            Ok(Ok(images)) => tracing::info!(count = images.len(), "images written"),
            Ok(Err(reject)) => tracing::warn!(detail = %reject.detail, "no image at stop"),
            Err(_) => tracing::warn!("the node stopped before its images"),
        }
        self.standby.stop();
        let tracker = self.engine.tracker.clone();
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(tracker.close());
        }
        if let Ok(log) = self.engine.log() {
            log.close();
        }
    }
}

pub(crate) fn host_name() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = read.trim();
    if name.is_empty() { "kwq".to_owned() } else { name.to_owned() }
}

/// Hashes of every partition in a log, without serving it.
///
/// # Errors
/// Damage, or the log cannot be read.
pub fn replay_offline(
    log: &dyn EventLog,
    policy: Policy,
    from_zero: bool,
) -> Result<Vec<(PartitionId, Position, String)>, Error> {
    let mut last: BTreeMap<PartitionId, Position> = BTreeMap::new();
    let all: Vec<(PartitionId, Position)> =
        (0..crate::model::limits::PARTITIONS_MAX).map(|i| (PartitionId(i), Position(0))).collect();
    log.scan(&all, &mut |record: LogRecord| {
        last.insert(record.partition, record.position);
        true
    })?;
    let ids: Vec<PartitionId> = last.keys().copied().collect();
    let partitions = recovery::rebuild(log, &ids, policy, from_zero)?;
    let hashed = partitions.into_iter().zip(last).map(|(p, (id, at))| (id, at, p.state_hash()));
    Ok(hashed.collect())
}
