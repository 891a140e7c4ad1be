//! The partition: its state, and `decide`, the one match on [`Command`].
//!
//! `decide` reads, refuses or turns a command into events, and applies each event at once through
//! the very functions that
//! replay uses, so that the next command of a batch sees it. Nothing here is acknowledged before
//! the log has it.

use crate::core::affinity::{KeyColumns, Keys, Learned};
use crate::core::ageing::Rises;
use crate::core::bitmap::SeqSet;
use crate::core::fresh::Fresh;
use crate::core::gone::Gone;
use crate::core::idindex::IdIndex;
use crate::core::intern::{Class, ClassKey, Interner, JobKey, WorkerKey, Workers};
use crate::core::job::JobRow;
use crate::core::keys::RememberedKeys;
use crate::core::lanes::Level;
use crate::core::lease::LeaseTable;
use crate::core::map::{self, Map};
use crate::core::operations::Operations;
use crate::core::rows::Rows;
use crate::core::stats::{Levels, Stats};
use crate::core::unique::UniqueIndex;
use crate::core::wheel::Wheel;
use crate::model::command::Command;
use crate::model::event::{Event, Stamped};
use crate::model::id::{Epoch, LeaseNo, Name, PartitionId, Position, TaskSeq};
use crate::model::key::Hash128;
use crate::model::policy::{Policy, Share};
use crate::model::priority::Priority;
use crate::model::reject::{Code, Reject};
use crate::model::reply::Reply;
use crate::model::state::TaskState;
use crate::model::time::{Now, Tick, WallMs};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One partition. Equal logs give equal partitions.
#[derive(Clone, Debug)]
pub struct Partition {
    pub(crate) id: PartitionId,
    pub(crate) policy: Policy,
    pub(crate) epoch: Epoch,
    pub(crate) rows: Rows,
    pub(crate) classes: Interner<Class>,
    pub(crate) keys: Keys,
    pub(crate) workers: Workers,
    /// What workers are warm for; a hint, not state.
    pub(crate) learned: Learned,
    /// What became ready in this turn; a hint, not state.
    pub(crate) fresh: Fresh,
    pub(crate) jobs: Vec<JobRow>,
    /// Slots of `jobs` whose job was purged; the lowest is taken first.
    pub(crate) free_jobs: BTreeSet<JobKey>,
    /// Tasks of jobs that were purged whole.
    pub(crate) departed: u64,
    pub(crate) job_keys: Map<Name, JobKey>,
    pub(crate) levels: [Level; Priority::LEVELS],
    /// When lanes rise next; empty without ageing.
    pub(crate) rises: Rises,
    /// Hand-outs ever, for the turns of the lowest level.
    pub(crate) hand_outs: u64,
    pub(crate) touched: Map<TaskSeq, Touched>,
    pub(crate) delayed: Map<TaskSeq, Due>,
    pub(crate) delayed_order: SeqSet,
    /// Elements of delayed arrays that wait for the array's time, by first element.
    pub(crate) delayed_arrays: BTreeMap<TaskSeq, DelayedArray>,
    /// Arrays with an id.
    pub(crate) array_ids: BTreeMap<ArrayId, ArrayAt>,
    pub(crate) leases: LeaseTable,
    pub(crate) wheel: Wheel<Timer>,
    pub(crate) ids: IdIndex,
    /// Tasks of jobs whose ids are unique.
    pub(crate) unique: UniqueIndex,
    /// Remembered `Idempotency-Key`s.
    pub(crate) remembered: RememberedKeys,
    pub(crate) gone: Gone,
    pub(crate) operations: Operations,
    /// Workers that get no work; kept by the first partition for all of them.
    pub(crate) drained: BTreeSet<Name>,
    /// Offset of the first record of each inbox that was not taken.
    pub(crate) inbox: Levels,
    pub(crate) stats: Stats,
    /// Clocks of the turn; in replay the wall part follows the records.
    pub(crate) now: Now,
    /// So far is the wall part ahead of the owner's clock, ms.
    pub(crate) ahead_ms: u64,
    /// Timers run; false during replay.
    pub(crate) armed: bool,
    /// State of the dice for jitter; drawn only by `decide`, results are in events.
    pub(crate) dice: u64,
}

/// A task that has been handed out at least once and is not over, or is dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// Latest hand-out.
    pub attempt: u32,
    /// Errors since the last redrive.
    pub errors: u8,
    /// Crashes since the last redrive.
    pub crashes: u8,
    /// Redrives.
    pub redriven: u16,
    /// Its lease.
    pub lease: LeaseNo,
    /// Who was given it.
    pub worker: WorkerKey,
    /// Latest entry into PENDING after the first.
    pub available: WallMs,
    /// Priority set by a redrive, and how often the job had been re-prioritised by then.
    pub priority: Option<(Priority, u32)>,
    /// Record of its latest failure, once that is durable.
    pub failed: Option<Position>,
}

/// When a delayed task is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// By the wall clock; what is logged.
    pub wall: WallMs,
    /// By the monotonic clock; what counts while the owner lives.
    #[serde(skip)]
    pub tick: Tick,
}

/// Job and id of an array.
pub(crate) type ArrayId = (JobKey, Name);
/// Its first element, and a hash of it as sent.
pub(crate) type ArrayAt = (TaskSeq, Hash128);

/// A delayed array: its elements become due in one step.
#[derive(Clone, Debug, Default)]
pub struct DelayedArray {
    /// When.
    pub due: Due,
    /// Those that nothing has happened to.
    pub members: SeqSet,
}

/// What the wheel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// A lease may have ended or run too long.
    Lease(LeaseNo),
    /// A delayed task may be due.
    Due(TaskSeq),
    /// A delayed array may be due.
    DueArray(TaskSeq),
    /// Operations go on.
    Operations,
}

impl Partition {
    /// An empty partition. `dice` seeds the jitter.
    #[must_use]
    pub fn new(id: PartitionId, policy: Policy, dice: u64) -> Self {
        Self {
            id,
            policy,
            epoch: Epoch(0),
            rows: Rows::default(),
            classes: Interner::default(),
            keys: Keys::restore(KeyColumns::default(), policy.affinity_on()),
            workers: Workers::default(),
            learned: Learned::default(),
            fresh: Fresh::default(),
            jobs: Vec::new(),
            free_jobs: BTreeSet::new(),
            departed: 0,
            job_keys: map::new(),
            levels: Default::default(),
            rises: Rises::new(),
            hand_outs: 0,
            touched: map::new(),
            delayed: map::new(),
            delayed_order: SeqSet::default(),
            delayed_arrays: BTreeMap::new(),
            array_ids: BTreeMap::new(),
            leases: LeaseTable::default(),
            wheel: Wheel::default(),
            ids: IdIndex::default(),
            unique: UniqueIndex::default(),
            remembered: RememberedKeys::default(),
            gone: Gone::default(),
            operations: Operations::default(),
            drained: BTreeSet::new(),
            inbox: Levels::default(),
            stats: Stats::default(),
            now: Now::default(),
            ahead_ms: 0,
            armed: false,
            dice,
        }
    }

    /// Decides one command. Events are appended to `events` already applied.
    pub fn decide(&mut self, command: Command, now: Now, events: &mut Vec<Stamped>) -> Reply {
        self.set_now(now);
        match command {
            Command::Submit(call) => self.submit(*call, events),
            Command::TakeInbox(batch) => self.take_inbox(*batch, events),
            Command::Remember { part, note } => self.remember(part, note, events),
            Command::ForgetKey(part) => self.forget_key(part, events),
            Command::Consume(consume) => Reply::Granted(self.consume(&consume, events)),
            Command::Report(reports) => Reply::Reported(self.report(reports, events)),
            Command::Heartbeat(beat) => Reply::Renewed(self.heartbeat(&beat, events)),
            Command::Undeliver(leases) => Reply::Released(self.undeliver(leases, events)),
            Command::DropWorker(worker) => Reply::Released(self.drop_worker(&worker, events)),
            Command::DefineJob { job, spec, replace } => {
                Reply::Job(self.define_job(job, *spec, replace, events))
            }
            Command::ChangeJob { job, change, spec, implicit } => {
                Reply::Job(self.change_job(&job, change, *spec, implicit, events))
            }
            Command::DrainWorker { worker, drains } => {
                if self.drained.contains(&worker) != drains {
                    self.commit(Event::WorkerDrained { worker, drains }, events);
                }
                Reply::Done
            }
            Command::SetLevel { level, paused } => self.set_level(level, paused, events),
            Command::CancelTask(seq) => self.cancel_task(seq, events),
            Command::RetryTask { seq, priority } => self.retry_task(seq, priority, events),
            Command::StartOperation { op, spec, tasks } => {
                self.start_operation(op, spec, tasks, events)
            }
            Command::StopOperation(op) => self.stop_operation(op, events),
            Command::Tick => self.tick(events),
        }
    }

    /// Seeds the jitter of this owner.
    pub fn seed(&mut self, dice: u64) {
        self.dice = dice;
    }

    /// When [`Command::Tick`] is due next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Tick> {
        self.wheel.next_due()
    }

    /// Bit `Priority::index` of every level that has something to hand out.
    #[must_use]
    pub fn ready_levels(&self) -> u16 {
        let ready = |(i, level): (usize, &Level)| u16::from(level.ready()) << i;
        self.levels.iter().enumerate().map(ready).fold(0, |a, b| a | b)
    }

    /// Number of this partition.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// Its latest stamp.
    #[must_use]
    pub fn wall(&self) -> WallMs {
        self.now.wall
    }

    /// The owner's clock. Stamps may be ahead of it, after a time in which it was.
    pub(crate) fn clock(&self) -> WallMs {
        WallMs(self.now.wall.0.saturating_sub(self.ahead_ms))
    }

    /// Epoch it is served under.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Applies an event now and appends it.
    pub(crate) fn commit(&mut self, event: Event, events: &mut Vec<Stamped>) {
        self.apply(&event, self.now.wall);
        events.push(Stamped { at: self.now.wall, event });
    }

    /// Appends an event whose items were applied one by one.
    pub(crate) fn commit_applied(&mut self, event: Event, events: &mut Vec<Stamped>) {
        events.push(Stamped { at: self.now.wall, event });
    }

    /// The wall clock never falls inside a partition; a clock set back repeats the last stamp.
    pub(crate) fn set_now(&mut self, now: Now) {
        let wall = now.wall.max(self.now.wall);
        self.ahead_ms = wall.since(now.wall);
        self.now = Now { wall, tick: now.tick.max(self.now.tick) };
    }

    /// State of a task with its job's cancel laid over.
    #[must_use]
    pub fn state(&self, seq: TaskSeq) -> Option<TaskState> {
        let stored = self.rows.state(seq)?;
        if stored.terminal() {
            return Some(stored);
        }
        let class = self.class(seq)?;
        Some(self.job(class.job).overlay(seq, stored))
    }

    pub(crate) fn class(&self, seq: TaskSeq) -> Option<Class> {
        self.rows.class(seq).map(|ClassKey(number)| *self.classes.value(number))
    }

    pub(crate) fn job(&self, key: JobKey) -> &JobRow {
        &self.jobs[key.0 as usize]
    }

    pub(crate) fn job_mut(&mut self, key: JobKey) -> &mut JobRow {
        &mut self.jobs[key.0 as usize]
    }

    pub(crate) fn worker_key(&mut self, worker: &Name) -> WorkerKey {
        WorkerKey(self.workers.number(worker))
    }

    /// Priority a queued task is served at.
    pub(crate) fn current_priority(&self, seq: TaskSeq, class: &Class) -> Priority {
        let set = self.touched.get(&seq).and_then(|t| t.priority);
        let (own, set_after) = set.unwrap_or((class.priority, 0));
        self.job(class.job).current(seq, own, set_after)
    }

    /// Brings the level's order up to date after a lane of the job changed.
    pub(crate) fn relist(&mut self, key: JobKey, priority: Priority) {
        let job = &mut self.jobs[key.0 as usize];
        let runs = job.runs();
        let fair = self.policy.share == Share::Fair;
        let (mean_us, level) = (job.mean_us, priority.index());
        let lane = &mut job.lanes[level];
        let listed = self.levels[level].relist(key, lane, (runs, fair), mean_us);
        job.listed = job.listed & !(1 << level) | u16::from(listed) << level;
        self.aged(key, priority);
    }

    /// Next roll of the dice (splitmix64; Steele, Lea, Flood 2014).
    pub(crate) fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn set_level(
        &mut self,
        level: Option<Priority>,
        paused: bool,
        events: &mut Vec<Stamped>,
    ) -> Reply {
        let mut affected = Priority::DESCENDING.iter().filter(|p| level.is_none_or(|l| l == **p));
        if affected.any(|p| self.levels[p.index()].paused != paused) {
            self.commit(Event::LevelChanged { level, paused }, events);
            self.level_became_ready(level);
        }
        Reply::Done
    }

    fn cancel_task(&mut self, seq: TaskSeq, events: &mut Vec<Stamped>) -> Reply {
        match self.state(seq) {
            None => unknown_task(),
            Some(TaskState::Cancelled) => Reply::Task(TaskState::Cancelled),
            Some(state) if state.terminal() => illegal(state, "cancelled"),
            Some(_) => {
                self.commit(Event::Cancelled(vec![seq]), events);
                Reply::Task(TaskState::Cancelled)
            }
        }
    }

    fn retry_task(
        &mut self,
        seq: TaskSeq,
        priority: Option<Priority>,
        events: &mut Vec<Stamped>,
    ) -> Reply {
        match self.state(seq) {
            None => unknown_task(),
            Some(TaskState::Error) => {
                let class = self.class(seq).expect("a dead task keeps its class");
                if self.job(class.job).cancel.is_some() {
                    let detail = "the job was cancelled; its tasks cannot run again";
                    return Reply::Refused(Reject::new(Code::JobEnded, detail));
                }
                if self.came_in_dead(seq) {
                    let detail = "it came in dead: its record was never admitted as a task";
                    let reject = Reject::new(Code::IllegalTransition, detail);
                    let hint = "its error says why; its payload is the record, to be sent again";
                    return Reply::Refused(reject.hint(hint));
                }
                self.commit(Event::Redriven { tasks: vec![seq], priority }, events);
                Reply::Task(TaskState::Pending)
            }
            Some(state) => illegal(state, "retried; only ERROR can"),
        }
    }
}

fn unknown_task() -> Reply {
    Reply::Refused(Reject::new(Code::TaskNotFound, "no such task"))
}

fn illegal(state: TaskState, verb: &str) -> Reply {
    let detail = format!("a task in state {} cannot be {verb}", state.name());
    Reply::Refused(Reject::new(Code::IllegalTransition, detail))
}

#[cfg(test)]
#[path = "partition_tests.rs"]
pub(crate) mod tests;
