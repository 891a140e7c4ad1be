//! What all handles share: the partitions' doors, the hub, the registry of workers, the clocks, the
//! log in force.

use crate::actor::away::Away;
use crate::actor::control::ControlLock;
use crate::actor::envelope::{Envelope, Inspect, Work};
use crate::actor::feed::Feed;
use crate::actor::handle_workers::Elsewhere;
use crate::actor::hub::Hub;
use crate::actor::ids::HandedIds;
use crate::actor::members::{Echo, Others};
use crate::actor::pace;
use crate::actor::peers::Peers;
use crate::actor::sampler::Sampler;
use crate::actor::slot::{Slot, SlotState, Turn};
use crate::actor::tracker::TrackerDoor;
use crate::clock::{Clock, Entropy};
use crate::config::Config;
use crate::core::question::Ask;
use crate::core::workers::{WorkerRegistry, heartbeat_ms};
use crate::log::{EventLog, Room};
use crate::metrics::{Metrics, RestartCause, ShedClass, ShedReason};
use crate::model::command::{Class, Command};
use crate::model::id::{PartitionId, Position};
use crate::model::key::Digest;
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use crate::model::reply::Decided;
use crate::model::time::Now;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Shared by every handle and shell.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Metrics,
    pub(crate) slots: Vec<Slot>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) peers: Peers,
    /// Where reports are left whose owner is away.
    pub(crate) away: Away,
    /// What other instances tell of themselves.
    pub(crate) others: Mutex<Others>,
    /// What comes back of what this one tells.
    pub(crate) echo: Mutex<Echo>,
    pub(crate) workers: Mutex<WorkerRegistry>,
    /// What others told of theirs last.
    pub(crate) elsewhere: Mutex<Elsewhere>,
    pub(crate) ids: Mutex<HandedIds>,
    /// Keys whose call runs; bounded by the connections.
    pub(crate) running_keys: Mutex<BTreeSet<Digest>>,
    pub(crate) tracker: TrackerDoor,
    pub(crate) feed: Feed,
    pub(crate) sampler: Mutex<Sampler>,
    /// On its way out: not ready any more, but everything is still served.
    pub(crate) draining: AtomicBool,
    /// Partitions that others took though the group still gave them to this instance.
    pub(crate) disputes: AtomicU64,
    /// Why it serves nothing while others can.
    pub(crate) aside: Mutex<Option<&'static str>>,
    /// All partitions were served once since the start.
    pub(crate) complete: AtomicBool,
    /// No new work, in or out; reports go on.
    pub(crate) refusing: AtomicBool,
    /// Memory beyond the mark: submits are refused until it falls again.
    pub(crate) memory_tight: AtomicBool,
    pub(crate) replay_permille: AtomicU16,
    pub(crate) heartbeat_tick: AtomicU64,
    /// When somebody last asked for work or sent a heartbeat, tick + 1; 0 = never.
    asked_at: AtomicU64,
    /// When this process was last seen to have stood still; 0 = never.
    thawed_at: AtomicU64,
    log: RwLock<Option<Arc<dyn EventLog>>>,
    /// Where the first partition is served: held while a verb goes to all partitions.
    pub(crate) control: ControlLock,
    node: Mutex<Option<actix::Addr<crate::actor::node::NodeActor>>>,
    node_name: crate::model::id::Name,
    /// Where this node is reached.
    pub(crate) addr: crate::model::id::Name,
}

/// Nobody can be heard, or nothing recorded, for this long: lease clocks stand still and start
/// anew (`docs/semantics.md` 6.5).
pub(crate) const OUTAGE_MS: u64 = 3_000;

/// A call waits so long for a partition that changes hands, and looks so often.
const OWNER_WAIT: Duration = Duration::from_secs(3);
const OWNER_LOOK: Duration = Duration::from_millis(10);
/// Owners of a partition that are called if each has given it up by then.
pub(super) const OWNERS: usize = 3;
/// Without a consume or a heartbeat for this long there are no workers, ms.
const WORKERS_MS: u64 = 60_000;
/// Consumes by which the partitions of a thread may be ahead of the others.
const TURNS_AHEAD: u64 = 4;
/// Consumes that a partition may have to catch up; more than it may be behind by the others' lead.
const TURNS_BEHIND: u64 = 2 * TURNS_AHEAD;

thread_local! {
    /// Shard of the present thread, so that local partitions are asked first.
    static SHARD: std::cell::Cell<Option<usize>> = const { std::cell::Cell::new(None) };
}

/// Marks the present thread as a shard.
pub(crate) fn enter_shard(shard: usize) {
    SHARD.with(|s| s.set(Some(shard)));
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything an engine is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: Metrics,
    pub(crate) shards: usize,
    pub(crate) node_name: crate::model::id::Name,
    pub(crate) addr: crate::model::id::Name,
}

impl Engine {
    pub(crate) fn new(parts: Parts) -> Self {
        let partitions = usize::from(parts.config.log.partitions);
        let slot = |i: usize| {
            let id = PartitionId(u16::try_from(i).expect("at most 1,024 partitions"));
            Slot::new(id, i % parts.shards)
        };
        Self {
            slots: (0..partitions).map(slot).collect(),
            hub: Arc::new(Hub::new(partitions, parts.config.poll.max_parked)),
            peers: Peers::default(),
            away: Away::default(),
            others: Mutex::default(),
            echo: Mutex::default(),
            elsewhere: Mutex::default(),
            workers: Mutex::new(WorkerRegistry::new(
                parts.config.worker_forget_ms,
                heartbeat_ms(parts.config.policy.lease_ms),
            )),
            ids: Mutex::default(),
            running_keys: Mutex::default(),
            tracker: TrackerDoor::new(partitions),
            feed: Feed::default(),
            sampler: Mutex::default(),
            draining: AtomicBool::new(false),
            disputes: AtomicU64::new(0),
            aside: Mutex::default(),
            complete: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
            memory_tight: AtomicBool::new(false),
            replay_permille: AtomicU16::new(0),
            heartbeat_tick: AtomicU64::new(0),
            asked_at: AtomicU64::new(0),
            thawed_at: AtomicU64::new(0),
            log: RwLock::new(None),
            control: ControlLock::default(),
            node: Mutex::new(None),
            node_name: parts.node_name,
            addr: parts.addr,
            config: parts.config,
            clock: parts.clock,
            entropy: parts.entropy,
            metrics: parts.metrics,
        }
    }

    pub(crate) fn log(&self) -> Result<Arc<dyn EventLog>, Reject> {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner).clone();
        log.ok_or_else(|| {
            Reject::new(Code::LogUnavailable, "the log is being opened").retry_unapplied(1_000)
        })
    }

    pub(crate) fn set_log(&self, log: Option<Arc<dyn EventLog>>) {
        *self.log.write().unwrap_or_else(PoisonError::into_inner) = log;
    }

    /// Slots in the order in which one call should try them: the one that had the fewest turns
    /// first, so that all partitions advance together whoever asks. Slots of this thread are
    /// cheaper and may be [`TURNS_AHEAD`]; one that had nothing to do for long has no more than
    /// [`TURNS_BEHIND`] to catch up. Those of other instances come last.
    pub(crate) fn turn_order(&self, of: Turn) -> Vec<usize> {
        let here = SHARD.with(std::cell::Cell::get);
        let turns: Vec<u64> = self.slots.iter().map(|slot| slot.turns(of)).collect();
        let floor = floor(turns.iter().copied());
        let mut order: Vec<usize> = (0..self.slots.len()).collect();
        order.sort_by_key(|i| {
            let slot = &self.slots[*i];
            let far = if Some(slot.shard) == here { 0 } else { TURNS_AHEAD };
            (slot.state() == SlotState::Elsewhere, turns[*i].max(floor) + far)
        });
        order
    }

    /// A call goes to a slot: its turn is counted.
    pub(crate) fn begin_turn(&self, slot: &Slot, of: Turn) {
        slot.take_turn(of, floor(self.slots.iter().map(|slot| slot.turns(of))));
    }

    /// When the process last went on after it had stood still; whoever looks notices it. The node's
    /// timer ticks once a second, so a long silence means that the whole process stood still
    /// (stopped, swapped out, the machine suspended): what workers sent meanwhile still waits in
    /// the sockets.
    pub(crate) fn thawed_at(&self, now: Now) -> u64 {
        let last = self.heartbeat_tick.load(Ordering::Acquire);
        if last != 0 && now.tick.0.saturating_sub(last) > OUTAGE_MS {
            // Before the heartbeat: who sees that one renewed must see this as well.
            self.thawed_at.fetch_max(now.tick.0, Ordering::AcqRel);
            let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
            if self.heartbeat_tick.compare_exchange(last, now.tick.0, set, get).is_ok() {
                let ms = now.tick.0 - last;
                tracing::warn!(ms, "the process stood still; leases start anew");
            }
        }
        self.thawed_at.load(Ordering::Acquire)
    }

    /// Notes that a worker asked for work or sent a heartbeat.
    pub(crate) fn worker_asked(&self) {
        self.asked_at.fetch_max(self.clock.now().tick.0 + 1, Ordering::AcqRel);
    }

    /// Is there a worker? One that waits for work, or was heard of in the last 60 s.
    pub(crate) fn has_workers(&self) -> bool {
        let asked = self.asked_at.load(Ordering::Acquire);
        let silent_ms = (self.clock.now().tick.0 + 1).saturating_sub(asked);
        self.hub.waiting() > 0 || (asked != 0 && silent_ms <= WORKERS_MS)
    }

    /// A ready partition for new work, local first.
    pub(crate) fn any_slot(&self) -> Result<&Slot, Reject> {
        let number = self.turn_order(Turn::Submit).into_iter().find(|i| self.slots[*i].served());
        let slot = number.map(|i| &self.slots[i]).ok_or_else(unavailable)?;
        self.begin_turn(slot, Turn::Submit);
        Ok(slot)
    }

    /// Shuts the door of a partition; it offers no work any more.
    pub(crate) fn close(&self, id: PartitionId, state: SlotState) {
        self.slots[id.index()].close(state);
        self.hub.publish(id, 0, 0, false, Vec::new());
    }

    /// Has a command decided, wherever the partition is served, and waits until its reply is
    /// durable.
    pub(crate) async fn decide(
        &self,
        slot: &Slot,
        command: Command,
        class: Class,
        bytes: usize,
    ) -> Result<Decided, Reject> {
        if class != Class::Consume {
            self.await_owner(slot).await;
        }
        let mut command = command;
        for _ in 0..OWNERS {
            let Some(peer) = slot.peer() else { break };
            command = match self.decide_there(slot, peer, (command, class, bytes)).await {
                Ok(decided) => return decided,
                Err(_) if class == Class::Consume => return Err(unavailable()),
                Err(command) => command,
            };
            self.await_owner(slot).await;
        }
        self.decide_here(slot, command, class, bytes).await
    }

    /// A partition that changes hands has an owner again in a moment: a call that came just then
    /// waits. What asks for work waits in the hub.
    pub(super) async fn await_owner(&self, slot: &Slot) {
        let mut waited = Duration::ZERO;
        while slot.state() == SlotState::Replaying
            && self.config.log.backend.is_shared()
            && self.complete.load(Ordering::Acquire)
            && waited < OWNER_WAIT
        {
            tokio::time::sleep(OWNER_LOOK).await;
            waited += OWNER_LOOK;
        }
    }

    /// Has it decided by this process.
    pub(super) async fn decide_here(
        &self,
        slot: &Slot,
        command: Command,
        class: Class,
        bytes: usize,
    ) -> Result<Decided, Reject> {
        let (reply, answer) = oneshot::channel();
        self.send(slot, Work::Decide(command, reply), class, bytes)?;
        answer.await.map_err(|_| unknown_outcome())
    }

    /// Sends a command whose reply nobody waits for.
    pub(crate) fn post(&self, slot: &Slot, command: Command) -> Result<(), Reject> {
        if let Some(peer) = slot.peer() {
            return self.post_there(slot, peer, command);
        }
        let (reply, _) = oneshot::channel();
        self.send(slot, Work::Decide(command, reply), Class::Report, 0)
    }

    /// Why an acknowledgement means less than it should; what a log that is away would say is
    /// left out.
    pub(crate) fn durability_reasons(&self) -> Vec<String> {
        let mut reasons = self.config.durability_reasons();
        reasons.extend(self.log().map(|log| log.reduced()).unwrap_or_default());
        reasons
    }

    /// Asks a partition, wherever it is, and waits until what its answer rests on is durable.
    pub(crate) async fn ask<Q: Ask>(
        &self,
        slot: &Slot,
        question: Q,
    ) -> Result<(Q::Answer, Position), Reject> {
        self.await_owner(slot).await;
        for _ in 0..OWNERS {
            let Some(peer) = slot.peer() else { break };
            if let Some(answer) = self.ask_there(slot, peer, question.clone()).await {
                return answer;
            }
            self.await_owner(slot).await;
        }
        self.inspect_local(slot, move |partition| question.ask(partition)).await
    }

    /// Runs a closure on a partition of this process and waits until what it saw is durable. For
    /// what only this process wants to know; everything else is a question.
    pub(crate) async fn inspect_local<T: Send + 'static>(
        &self,
        slot: &Slot,
        read: impl FnOnce(&crate::core::partition::Partition) -> T + Send + 'static,
    ) -> Result<(T, Position), Reject> {
        let (reply, answer) = oneshot::channel();
        let work: Inspect = Box::new(move |partition| {
            let value = read(partition);
            // The caller may have gone; then nobody wants the value.
            Box::new(move |position| drop(reply.send((value, position))))
        });
        self.send(slot, Work::Inspect(work), Class::Query, 0)?;
        answer.await.map_err(|_| unavailable())
    }

    fn send(&self, slot: &Slot, work: Work, class: Class, bytes: usize) -> Result<(), Reject> {
        let Some(sender) = slot.sender() else {
            // Nobody is refused anything when the engine itself looks at what is not there yet.
            if matches!(work, Work::Decide(..)) {
                self.metrics.shed(shed_class(class), ShedReason::Recovery);
            }
            return Err(unavailable());
        };
        let share = match class {
            Class::Submit => 50,
            Class::Query => 60,
            Class::Consume => 80,
            Class::Report => 100,
        };
        let queued = limits::CHANNEL_COMMANDS - sender.capacity();
        let queued_bytes = slot.backlog.bytes();
        // One body of the largest size always fits an idle partition.
        let full = queued * 100 >= limits::CHANNEL_COMMANDS * share
            || (queued_bytes > 0
                && (queued_bytes + bytes) * 100 > limits::CHANNEL_BYTES * 2 * share);
        if full {
            return Err(self.overloaded(slot, class));
        }
        let (held, sent) = (slot.backlog.hold(bytes), self.clock.now().tick);
        let envelope = Envelope { work, class, held, sent };
        sender.try_send(envelope).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => self.overloaded(slot, class),
            mpsc::error::TrySendError::Closed(_) => unavailable(),
        })
    }

    fn overloaded(&self, slot: &Slot, class: Class) -> Reject {
        self.metrics.shed(shed_class(class), ShedReason::Channel);
        let jitter = 1_000 + self.entropy.next_u64() % 2_000;
        let detail = format!("partition {} is busy", slot.id);
        Reject::new(Code::Overloaded, detail).retry_unapplied(jitter)
    }

    /// Lets a submit wait while the tracker is far behind.
    ///
    /// # Errors
    /// `overloaded`; see [`pace::wait`].
    pub(crate) async fn pace_submit(&self, begin_by: Option<Instant>) -> Result<(), Reject> {
        let (lag, most) = (self.tracker.lag(), self.config.tracker.max_lag);
        match pace::wait(lag, most, begin_by.map(|by| by.duration_since(Instant::now()))) {
            Ok(Duration::ZERO) => {}
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(detail) => {
                self.metrics.shed(ShedClass::Submit, ShedReason::Tracker);
                let jitter = 1_000 + self.entropy.next_u64() % 2_000;
                return Err(Reject::new(Code::Overloaded, detail).retry_unapplied(jitter));
            }
        }
        Ok(())
    }

    /// May these new tasks come in? Counts a no.
    pub(crate) fn admits_submits(&self) -> Result<(), Reject> {
        let Some((why, reject)) = self.refuses_submits() else { return Ok(()) };
        if let Some(why) = why {
            self.metrics.shed(ShedClass::Submit, why);
        }
        Err(reject)
    }

    /// Why new tasks are refused now, if they are.
    pub(crate) fn refuses_submits(&self) -> Option<(Option<ShedReason>, Reject)> {
        if self.refusing.load(Ordering::Acquire) {
            return Some((Some(ShedReason::Draining), draining()));
        }
        if self.memory_tight.load(Ordering::Acquire) {
            let detail = "memory is above the limit; new tasks are refused until it falls";
            let reject = Reject::new(Code::Overloaded, detail).retry_unapplied(3_000);
            return Some((Some(ShedReason::Memory), reject));
        }
        match self.log().map(|log| log.room()) {
            Ok(Room::Plenty) => None,
            Ok(Room::WorkOnly | Room::None) => Some((Some(ShedReason::Disk), disk_full())),
            Err(reject) => Some((None, reject)),
        }
    }

    pub(crate) fn restarted(&self, panicked: bool) {
        let cause = if panicked { RestartCause::Panic } else { RestartCause::Log };
        self.metrics.restarted(cause);
    }

    /// The node actor, once it runs.
    pub(crate) fn node(&self) -> Option<actix::Addr<crate::actor::node::NodeActor>> {
        lock(&self.node).clone()
    }

    pub(crate) fn set_node(&self, node: actix::Addr<crate::actor::node::NodeActor>) {
        *lock(&self.node) = Some(node);
    }

    /// Name of this node, for people.
    pub(crate) fn node_name(&self) -> crate::model::id::Name {
        self.node_name.clone()
    }

    /// The slot of a partition number that came from outside.
    pub(crate) fn slot(&self, id: PartitionId) -> Option<&Slot> {
        self.slots.get(id.index())
    }
}

pub(crate) fn disk_full() -> Reject {
    Reject::new(Code::DiskFull, "the disk of the log is nearly full; no new tasks for now")
        .hint("free space on the data directory; submits resume by themselves")
        .retry_unapplied(5_000)
}

pub(crate) fn draining() -> Reject {
    Reject::new(Code::Draining, "this node is shutting down").retry_unapplied(2_000)
}

pub(crate) fn unavailable() -> Reject {
    let detail = "the partition is not being served right now";
    Reject::new(Code::PartitionUnavailable, detail).retry_unapplied(1_000)
}

/// The partition went away with the command inside: it may or may not have been logged.
pub(crate) fn unknown_outcome() -> Reject {
    let mut reject = Reject::new(Code::LogUnavailable, "the outcome is unknown; repeat the call");
    reject.retry_after_ms = Some(1_000);
    reject
}

/// What a slot counts at least, however long it had nothing to do.
fn floor(turns: impl Iterator<Item = u64>) -> u64 {
    turns.max().map_or(0, |most| most.saturating_sub(TURNS_BEHIND))
}

pub(crate) fn shed_class(class: Class) -> ShedClass {
    match class {
        Class::Submit => ShedClass::Submit,
        Class::Query => ShedClass::Query,
        Class::Consume => ShedClass::Consume,
        Class::Report => ShedClass::Report,
    }
}
