//! What happened. Events are the only thing that changes state, live and in replay; every uncertain
//! value (time, chance,
//! token key) is inside. One event is one record of the log.

use crate::model::affinity::Fit;
use crate::model::array::ArraySpec;
use crate::model::id::{LeaseNo, Name, TaskSeq};
use crate::model::job::{JobChange, JobSpec};
use crate::model::key::{KeyAnswer, KeyPart};
use crate::model::operation::{OpNo, OpStep};
use crate::model::priority::Priority;
use crate::model::task::{Blob, TaskError, TaskSpec};
use crate::model::time::WallMs;
use serde::{Deserialize, Serialize};

/// An event with the stamp of the turn that decided it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamped {
    /// Wall clock of the turn; never falls inside a partition.
    pub at: WallMs,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A process took the partition; the position of this record is the epoch.
    Owner {
        /// Node id.
        node: Name,
        /// Address of the node, may be empty.
        addr: Name,
        /// Key of the lease tokens of this epoch.
        token_key: [u64; 2],
    },
    /// A job was created, made explicit or its text fields changed.
    JobDefined {
        /// Job id.
        job: Name,
        /// Created by its first task.
        implicit: bool,
        /// Specification.
        spec: JobSpec,
    },
    /// A control verb on a job.
    JobChanged {
        /// Job id.
        job: Name,
        /// The verb.
        change: JobChange,
    },
    /// A level (or all of them) was paused or resumed.
    LevelChanged {
        /// `None` = all.
        level: Option<Priority>,
        /// Paused from now on.
        paused: bool,
    },
    /// A worker drains from now on, or no longer does.
    WorkerDrained {
        /// Its name.
        worker: Name,
        /// Gets no work.
        drains: bool,
    },
    /// Tasks were admitted; task *i* has sequence number `first + i`.
    Submitted {
        /// Sequence number of the first.
        first: TaskSeq,
        /// The tasks.
        tasks: Vec<TaskSpec>,
    },
    /// An array was admitted; element *k* has sequence number `first + k`.
    SubmittedArray {
        /// Sequence number of the first.
        first: TaskSeq,
        /// The array.
        array: Box<ArraySpec>,
    },
    /// Tasks were handed out in one answer; lease *i* has number `first_lease + i`.
    Allocated {
        /// Worker.
        worker: Name,
        /// Its endpoint, for people.
        endpoint: Option<Name>,
        /// Number of the first lease.
        first_lease: LeaseNo,
        /// The hand-outs in the order of the answer.
        tasks: Vec<Allocation>,
    },
    /// Leased tasks were started.
    Started(Vec<Start>),
    /// Completions were accepted.
    Completed(Vec<Completion>),
    /// Attempts failed, timed out or lost their worker.
    Failed {
        /// Which of the three.
        cause: FailCause,
        /// The tasks.
        tasks: Vec<Failure>,
    },
    /// Leases were given back without use of a budget.
    Released {
        /// By whom.
        cause: ReleaseCause,
        /// The tasks.
        tasks: Vec<Release>,
    },
    /// Single tasks were cancelled.
    Cancelled(Vec<TaskSeq>),
    /// Dead tasks went back to the queue with fresh budgets.
    Redriven {
        /// The tasks in submit order.
        tasks: Vec<TaskSeq>,
        /// New priority, if one was set.
        priority: Option<Priority>,
    },
    /// A part of a request under an `Idempotency-Key` is remembered, or forgotten.
    Key {
        /// Which.
        part: KeyPart,
        /// What it answers.
        answer: KeyAnswer,
    },
    /// Tasks were submitted that their jobs had already: of `dedup: task`, or elements of an array
    /// of the same id.
    Duplicates(Vec<(Name, u64)>),
    /// Records of an inbox were taken; what came of them stands in the records before it, in the
    /// same batch.
    Inbox {
        /// Which inbox.
        level: Priority,
        /// Offset of the first record.
        from: u64,
        /// Offset behind the last one.
        next: u64,
        /// Offsets before `from` that nobody had taken: their records were trimmed, or had expired.
        lost: u64,
    },
    /// Ended tasks are gone for good.
    Purged(Vec<TaskSeq>),
    /// A step of an operation; what it did to tasks stands in the records before it.
    Operation {
        /// Number.
        op: OpNo,
        /// The step.
        step: OpStep,
    },
}

/// One hand-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Task.
    pub seq: TaskSeq,
    /// Number of this hand-out of the task, 1, 2, 3 …
    pub attempt: u32,
    /// Lease as granted, ms.
    pub lease_ms: u32,
    /// Affinity of task and worker. In the log, because the learned keys of a worker are not.
    pub fit: Fit,
    /// Level it was served and charged at, if that is not the task's own: its lane had waited
    /// long. In the log, because a replay knows no waiting.
    pub served: Option<Priority>,
}

/// One start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Task.
    pub seq: TaskSeq,
    /// Attempt.
    pub attempt: u32,
}

/// One accepted completion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// Task.
    pub seq: TaskSeq,
    /// Attempt.
    pub attempt: u32,
    /// Lease it came with.
    pub lease: LeaseNo,
    /// Accepted after the lease had lapsed.
    pub late: bool,
    /// Run time, ms: the worker's own measure or the owner's.
    pub run_ms: u64,
    /// Result, if one was sent.
    pub result: Option<Blob>,
}

/// Why an attempt ended badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailCause {
    /// The worker said so.
    Error,
    /// `timeoutSeconds` passed.
    Timeout,
    /// The lease expired.
    Crash,
}

/// Where a task went after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// Back to its lane.
    Pending,
    /// Back to its lane at this time.
    Delayed(WallMs),
    /// Dead letter.
    Error,
    /// Cancelled, because its job is (mode `drop-queued`).
    Cancelled,
}

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Task.
    pub seq: TaskSeq,
    /// Attempt. 0 = there was none: the task came in dead, in the record before this one, and was
    /// never anybody's; then lease, budgets and run time are 0 and `next` is [`Next::Error`].
    pub attempt: u32,
    /// Its lease.
    pub lease: LeaseNo,
    /// Class, ≤ 64 B.
    pub class: Name,
    /// Message, ≤ 4,096 B.
    pub message: Name,
    /// Errors after this one.
    pub errors: u8,
    /// Crashes after this one.
    pub crashes: u8,
    /// Where the task went.
    pub next: Next,
    /// Run time, ms.
    pub run_ms: u64,
}

impl Failure {
    /// As shown with its task.
    #[must_use]
    pub fn error(&self, at: WallMs) -> TaskError {
        let (class, message) = (self.class.clone(), self.message.clone());
        TaskError { class, message, attempt: self.attempt, ts: at }
    }
}

/// Who gave a lease back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReleaseCause {
    /// The `release` verb.
    Release,
    /// The worker was deleted.
    Worker,
    /// The answer could not be delivered.
    Undelivered,
}

impl ReleaseCause {
    /// The word of the log dump.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Worker => "worker",
            Self::Undelivered => "undelivered",
        }
    }
}

/// One lease given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Task.
    pub seq: TaskSeq,
    /// Attempt.
    pub attempt: u32,
    /// Its lease.
    pub lease: LeaseNo,
    /// Where the task went (`Pending`, `Delayed` or `Cancelled`).
    pub next: Next,
}

impl Event {
    /// First sequence number and number of the tasks it admits; `None` for what admits none.
    #[must_use]
    pub fn admits(&self) -> Option<(TaskSeq, u64)> {
        if let Self::Submitted { first, tasks } = self {
            Some((*first, tasks.len() as u64))
        } else if let Self::SubmittedArray { first, array } = self {
            Some((*first, array.span.count))
        } else {
            None
        }
    }

    /// The `kind` of the log dump.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Owner { .. } => "Owner",
            Self::JobDefined { .. } => "JobDefined",
            Self::JobChanged { .. } => "JobChanged",
            Self::LevelChanged { .. } => "LevelChanged",
            Self::WorkerDrained { .. } => "WorkerDrained",
            Self::Submitted { .. } | Self::SubmittedArray { .. } => "Submitted",
            Self::Allocated { .. } => "Allocated",
            Self::Started(_) => "Started",
            Self::Completed(_) => "Completed",
            Self::Failed { cause: FailCause::Error, .. } => "Failed",
            Self::Failed { cause: FailCause::Timeout, .. } => "TimedOut",
            Self::Failed { cause: FailCause::Crash, .. } => "Crashed",
            Self::Released { .. } => "Released",
            Self::Cancelled(_) => "Cancelled",
            Self::Redriven { .. } => "Redriven",
            Self::Key { .. } | Self::Duplicates(_) => "Key",
            Self::Inbox { .. } => "Inbox",
            Self::Purged(_) => "Purged",
            Self::Operation { .. } => "Operation",
        }
    }
}
