//! What is asked of a partition.

use crate::model::access::Scopes;
use crate::model::affinity::AffinityMode;
use crate::model::array::ArrayInput;
use crate::model::id::{LeaseNo, Name, TaskSeq};
use crate::model::job::{JobChange, JobSpec};
use crate::model::lease::LeaseToken;
use crate::model::operation::{OpNo, OpSpec};
use crate::model::priority::Priority;
use crate::model::report::Report;
use crate::model::task::TaskInput;

/// One command; `decide` holds the one match on it.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Admit tasks.
    Submit(Vec<TaskInput>),
    /// Admit tasks up to the first one that is refused; what follows it is not looked at.
    SubmitUntil(Vec<TaskInput>),
    /// Admit tasks and arrays, in one atomic batch.
    SubmitItems(Vec<Item>),
    /// Hand out tasks.
    Consume(Consume),
    /// Reports of workers, all on leases of this partition.
    Report(Vec<Report>),
    /// Renew leases of a worker.
    Heartbeat(Heartbeat),
    /// Give back leases whose answer could not be delivered.
    Undeliver(Vec<LeaseNo>),
    /// Give back all leases of a worker.
    DropWorker(Name),
    /// Create a job or make it explicit.
    DefineJob {
        /// Job id.
        job: Name,
        /// Specification.
        spec: Box<JobSpec>,
        /// Replace the spec of an explicit job (a PATCH of text fields).
        replace: bool,
    },
    /// Control verb on a job; `spec` defines it here first if this partition never saw it.
    ChangeJob {
        /// Job id.
        job: Name,
        /// The verb.
        change: JobChange,
        /// Used when the job is unknown in this partition.
        spec: Box<JobSpec>,
        /// Whether that definition is implicit.
        implicit: bool,
    },
    /// Drain a worker, or take that back.
    DrainWorker {
        /// Its name.
        worker: Name,
        /// Gets no work.
        drains: bool,
    },
    /// Pause or resume a level, `None` = all.
    SetLevel {
        /// The level.
        level: Option<Priority>,
        /// Pause or resume.
        paused: bool,
    },
    /// Cancel one task.
    CancelTask(TaskSeq),
    /// Redrive one dead task.
    RetryTask {
        /// The task.
        seq: TaskSeq,
        /// New priority.
        priority: Option<Priority>,
    },
    /// Begin this partition's part of an operation.
    StartOperation {
        /// Number.
        op: OpNo,
        /// What was asked for.
        spec: Box<OpSpec>,
        /// Tasks that matched here, in submit order.
        tasks: Vec<TaskSeq>,
    },
    /// Stop an operation.
    StopOperation(OpNo),
    /// Time has passed: expire, time out, wake, go on with operations.
    Tick,
}

/// One item of a submit.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A task.
    Task(Box<TaskInput>),
    /// An array, or its share in one partition.
    Array(Box<ArrayInput>),
}

impl Item {
    /// The task, or what the elements of the array have in common.
    #[must_use]
    pub fn task(&self) -> &TaskInput {
        match self {
            Self::Task(task) => task,
            Self::Array(array) => &array.task,
        }
    }
}

/// A consume as one partition sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Consume {
    /// Worker name.
    pub worker: Name,
    /// Its endpoint, for people.
    pub endpoint: Option<Name>,
    /// Tasks at most, ≥ 1.
    pub max: usize,
    /// Stop before this much expected run time, ms.
    pub target_ms: Option<u64>,
    /// Payload bytes at most; the first task is always given.
    pub max_bytes: u64,
    /// Lease instead of the task's, ms.
    pub lease_ms: Option<u32>,
    /// The seed's lease rule: `timeoutSeconds` × 1,000 if set, else 60,000 ms.
    pub seed_lease: bool,
    /// Levels allowed; bit `Priority::index`.
    pub levels: u16,
    /// Jobs allowed; empty = all.
    pub jobs: Vec<Name>,
    /// Jobs its caller may touch.
    pub scopes: Scopes,
    /// Keys the worker says it holds.
    pub warm: Vec<Name>,
    /// Use of affinity.
    pub mode: AffinityMode,
}

impl Consume {
    /// May it be given tasks of this job?
    #[must_use]
    pub fn takes(&self, job: &Name) -> bool {
        (self.jobs.is_empty() || self.jobs.contains(job)) && self.scopes.cover(job)
    }
}

/// All nine levels.
pub const ALL_LEVELS: u16 = 0x1ff;

/// A heartbeat as one partition sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// Worker name.
    pub worker: Name,
    /// Exactly these leases; `None` = all of the worker's here.
    pub leases: Option<Vec<LeaseToken>>,
}
