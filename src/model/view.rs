//! What is shown: rows and summaries that queries answer with. Values only; how they look on the
//! wire is `codec::wire`.

use crate::model::access::Scopes;
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::job::{JobSpec, JobState};
pub use crate::model::place::{ResultAt, TextAt};
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reply::Grant;
use crate::model::state::{StateCounts, TaskState};
use crate::model::task::{Blob, TaskError, TaskSpec};
use crate::model::time::WallMs;
use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// A task as the tracker knows it; the text fields are read from the log at `record`.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackedTask {
    /// Partition.
    pub partition: PartitionId,
    /// Sequence number.
    pub seq: TaskSeq,
    /// Job.
    pub job: Name,
    /// Priority at admission; part of the reference.
    pub submit_priority: Priority,
    /// Current priority.
    pub priority: Priority,
    /// State.
    pub state: TaskState,
    /// Worker of the latest hand-out.
    pub worker: Option<Name>,
    /// Its endpoint.
    pub endpoint: Option<Name>,
    /// Number of the latest hand-out, 0 before.
    pub attempt: u32,
    /// Errors since the last redrive.
    pub errors: u8,
    /// Crashes since the last redrive.
    pub crashes: u8,
    /// Redrives.
    pub redriven: u16,
    /// Admitted.
    pub submitted: WallMs,
    /// Latest entry into PENDING (or the time it will be).
    pub available: WallMs,
    /// Latest hand-out.
    pub allocated: WallMs,
    /// Start of that attempt.
    pub running: WallMs,
    /// Entry into the terminal state.
    pub ended: WallMs,
    /// Latest failure.
    pub error: Option<TaskError>,
    /// `Submitted` record.
    pub record: Position,
    /// Entry in it.
    pub index: u32,
    /// Payload bytes.
    pub payload_bytes: u32,
    /// `Completed` record and entry in it that hold the result, and its size.
    pub result: Option<ResultAt>,
}

impl TrackedTask {
    /// Where its text is.
    #[must_use]
    pub fn text(&self) -> TextAt {
        TextAt { partition: self.partition, record: self.record, entry: self.index }
    }
}

/// Outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Now.
    Leased,
    /// Completed in time.
    Completed,
    /// Completed after the lease had lapsed.
    Late,
    /// The worker reported a failure.
    Failed,
    /// Ran too long.
    Timeout,
    /// The lease expired.
    Crashed,
    /// Given back.
    Released,
    /// The answer could not be delivered.
    Undelivered,
    /// Cancelled while leased.
    Cancelled,
}

impl AttemptOutcome {
    /// All outcomes.
    pub const ALL: [Self; 9] = [
        Self::Leased,
        Self::Completed,
        Self::Late,
        Self::Failed,
        Self::Timeout,
        Self::Crashed,
        Self::Released,
        Self::Undelivered,
        Self::Cancelled,
    ];

    /// Wire name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Leased => "leased",
            Self::Completed => "completed",
            Self::Late => "late",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Crashed => "crashed",
            Self::Released => "released",
            Self::Undelivered => "undelivered",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One attempt of a task's history.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Number.
    pub attempt: u32,
    /// Worker.
    pub worker: Name,
    /// Endpoint.
    pub endpoint: Option<Name>,
    /// Handed out.
    pub allocated: WallMs,
    /// Started.
    pub running: WallMs,
    /// Ended; unset while leased.
    pub ended: WallMs,
    /// How.
    pub outcome: AttemptOutcome,
    /// Class of a failure.
    pub class: Option<Name>,
    /// Message of a failure.
    pub message: Option<Name>,
}

/// A task with its text, as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskView {
    /// State and stamps.
    pub row: TrackedTask,
    /// Text and budgets; the payload is emptied unless asked for.
    pub spec: TaskSpec,
    /// Attempts, by id only.
    pub attempts: Vec<Attempt>,
    /// Result, by id and on demand only.
    pub result: Option<Blob>,
    /// SHA-256 of the payload in hex, by id only.
    pub payload_sha256: Option<String>,
    /// Payload shown.
    pub with_payload: bool,
}

impl TaskView {
    /// Its reference.
    #[must_use]
    pub fn reference(&self) -> TaskRef {
        self.spec.reference(self.row.partition, self.row.seq)
    }
}

/// A hand-out with the task's text and payload.
#[derive(Clone, Debug, PartialEq)]
pub struct HandOut {
    /// Lease and numbers.
    pub grant: Grant,
    /// Text and payload.
    pub spec: TaskSpec,
    /// Admitted.
    pub submitted: WallMs,
    /// Its latest failure.
    pub error: Option<TaskError>,
}

/// A job summed over its partitions.
#[derive(Clone, Debug, PartialEq)]
pub struct JobView {
    /// Id.
    pub id: Name,
    /// Specification in force.
    pub spec: JobSpec,
    /// State.
    pub state: JobState,
    /// Created by its first task.
    pub implicit: bool,
    /// Hand-outs are off.
    pub paused: bool,
    /// Reason of the cancel.
    pub cancel_reason: Option<Name>,
    /// Numbers.
    pub numbers: JobNumbers,
    /// Tasks ended per second, last 60 s.
    pub rate_per_sec: f64,
    /// Expected end.
    pub eta: Option<WallMs>,
    /// When it ended.
    pub ended: WallMs,
    /// After a control verb: partitions in all, in force.
    pub partitions: Option<(usize, usize)>,
}

impl JobView {
    /// A print of everything but what moves by itself (rates, and what is made of them and the
    /// clock): as long as it stays, nothing has happened to the job.
    #[must_use]
    pub fn print(&self) -> u64 {
        let mut print = DefaultHasher::new();
        (&self.spec, self.state, self.implicit, self.paused).hash(&mut print);
        (&self.cancel_reason, &self.numbers).hash(&mut print);
        print.finish()
    }
}

/// Counters and stamps of a job; partitions are merged by [`Self::merge`].
#[derive(Clone, Debug, Default, PartialEq, Hash, Serialize, Deserialize)]
pub struct JobNumbers {
    /// By state.
    pub counts: StateCounts,
    /// Admitted.
    pub submitted: u64,
    /// Purged.
    pub purged: u64,
    /// Hand-outs.
    pub handed_out: u64,
    /// `fail` and time-outs.
    pub failed_attempts: u64,
    /// Leases expired.
    pub crashes: u64,
    /// Redriven.
    pub redriven: u64,
    /// Duplicates refused.
    pub duplicates: u64,
    /// Affinity hits.
    pub hits: u64,
    /// Affinity misses.
    pub misses: u64,
    /// Attempts with a run time.
    pub runs: u64,
    /// Sum of their run times, ms.
    pub run_ms_sum: u64,
    /// Admission of the oldest PENDING task.
    pub oldest_pending: WallMs,
    /// First final failure.
    pub first_error: Option<(TaskRef, TaskError)>,
    /// Created.
    pub created: WallMs,
    /// First hand-out.
    pub first_allocated: WallMs,
    /// Latest time at which no live task was left.
    pub drained: WallMs,
    /// Latest purge of a dead task.
    pub buried: WallMs,
}

impl JobNumbers {
    /// Adds the numbers of another partition.
    pub fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        self.submitted += other.submitted;
        self.purged += other.purged;
        self.handed_out += other.handed_out;
        self.failed_attempts += other.failed_attempts;
        self.crashes += other.crashes;
        self.redriven += other.redriven;
        self.duplicates += other.duplicates;
        self.hits += other.hits;
        self.misses += other.misses;
        self.runs += other.runs;
        self.run_ms_sum += other.run_ms_sum;
        self.oldest_pending = earliest(self.oldest_pending, other.oldest_pending);
        self.created = earliest(self.created, other.created);
        self.first_allocated = earliest(self.first_allocated, other.first_allocated);
        self.drained = self.drained.max(other.drained);
        self.buried = self.buried.max(other.buried);
        if let Some(theirs) = &other.first_error {
            let keep = self.first_error.as_ref().is_some_and(|mine| mine.1.ts <= theirs.1.ts);
            if !keep {
                self.first_error = Some(theirs.clone());
            }
        }
    }

    /// Dead tasks that have gone since the last live task ended: they count for how the job ended.
    #[must_use]
    pub fn died_before(&self) -> bool {
        self.buried.known().is_some_and(|buried| buried >= self.drained)
    }

    /// Mean run time, ms; `None` before the first.
    #[must_use]
    pub fn mean_run_ms(&self) -> Option<f64> {
        (self.runs > 0).then(|| self.run_ms_sum as f64 / self.runs as f64)
    }
}

fn earliest(a: WallMs, b: WallMs) -> WallMs {
    match (a.known(), b.known()) {
        (Some(a), Some(b)) => a.min(b),
        _ => a.max(b),
    }
}

/// One row of `GET /kwq/queues`.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueView {
    /// Level.
    pub priority: Priority,
    /// Paused.
    pub paused: bool,
    /// Tasks by state, current priority.
    pub counts: StateCounts,
    /// Admission of the oldest PENDING task.
    pub oldest_pending: WallMs,
    /// Lanes with queued tasks.
    pub jobs: u64,
    /// Admissions per second.
    pub in_per_sec: f64,
    /// Hand-outs per second.
    pub out_per_sec: f64,
}

/// Order of a task list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Latest change first, over the last changes only.
    #[default]
    Recent,
    /// Newest admission first.
    New,
    /// Oldest admission first.
    Old,
}

/// Filter of a task list; every part is an AND.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskQuery {
    /// Jobs the caller may see.
    pub scopes: Scopes,
    /// Job.
    pub job: Option<Name>,
    /// Client id (or reference).
    pub id: Option<Name>,
    /// Value of an array element; only beside `job`.
    pub index: Option<u64>,
    /// Current priority.
    pub priority: Option<Priority>,
    /// Worker of the latest hand-out.
    pub worker: Option<Name>,
    /// Allowed states, bit `TaskState::index`; 0 = all.
    pub states: u16,
    /// Has all of these tags.
    pub tags: Vec<Name>,
    /// Has one of these tags; empty = no condition.
    pub tags_any: Vec<Name>,
    /// Class of the latest failure.
    pub class: Option<Name>,
    /// Admitted at or after.
    pub since: WallMs,
    /// Admitted before; unset = no bound.
    pub until: WallMs,
    /// Order.
    pub order: Order,
    /// Rows at most.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<TaskCursor>,
    /// Rather none than an old one.
    pub fresh: bool,
}

/// Where a list goes on: for each partition the next sequence number to look at (exclusive bound
/// for `New`), or the change number for `Recent`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskCursor {
    /// One number per partition; one in all for `Recent`.
    pub next: Vec<u64>,
}

/// A page of tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskPage {
    /// Rows.
    pub rows: Vec<TaskView>,
    /// More may follow from here.
    pub next: Option<TaskCursor>,
    /// Rows looked at.
    pub scanned: u64,
    /// What the answer is valid for.
    pub positions: Vec<(PartitionId, Position)>,
    /// Age of the tracker's data, ms; 0 = everything acknowledged before is in it.
    pub lag_ms: u64,
}
