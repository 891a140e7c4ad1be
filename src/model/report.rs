//! What a worker says about its leases, and what it is told.

use crate::model::id::{Name, TaskSeq};
use crate::model::lease::LeaseToken;
use crate::model::reference::TaskRef;
use crate::model::reject::Reject;
use crate::model::state::TaskState;
use crate::model::task::Blob;
use crate::model::time::WallMs;
use serde::{Deserialize, Serialize};

/// One report on one lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The token; `None` when the text is no token of ours (answered `lease_lost`).
    pub token: Option<LeaseToken>,
    /// If given it must be the lease's worker, else `lease_lost`.
    pub worker: Option<Name>,
    /// The verb.
    pub verb: Verb,
}

/// Verb of a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Verb {
    /// The task runs.
    Start,
    /// The task is done.
    Complete {
        /// Result.
        result: Option<Blob>,
        /// The worker's own measure, ms.
        run_ms: Option<u64>,
    },
    /// The attempt failed.
    Fail {
        /// Class, ≤ 64 B.
        class: Name,
        /// Message, already cut to 4,096 B.
        message: Name,
        /// False = dead letter at once.
        retryable: bool,
        /// Replaces the back-off, ms.
        retry_after_ms: Option<u32>,
        /// The worker's own measure, ms.
        run_ms: Option<u64>,
    },
    /// The worker gives the task back.
    Release {
        /// Not handed out again before, ms.
        delay_ms: u32,
    },
}

/// Verdict on a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Accepted.
    Ok,
    /// Failure accepted, the task runs again.
    Retry,
    /// Failure accepted, the task is dead.
    Dead,
    /// The accepted call was repeated.
    Duplicate,
    /// The token does not act (any more).
    LeaseLost,
    /// The task was cancelled while leased.
    Cancelled,
    /// Nothing done, repeat.
    Unavailable(Reject),
    /// The report breaks a rule.
    Invalid(Reject),
    /// Durable, but its owner is away and decides later.
    Accepted,
}

/// Verdict with what is known of the task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportOutcome {
    /// The verdict.
    pub outcome: Outcome,
    /// The task, when known.
    pub task: Option<ReportedTask>,
    /// Holder of the lease, if it was live.
    pub worker: Option<Name>,
}

/// The task of a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedTask {
    /// Sequence number.
    pub seq: TaskSeq,
    /// Reference.
    pub reference: TaskRef,
    /// Client id; filled in by the shell when known.
    pub id: Option<Name>,
    /// State after the accepted call.
    pub state: TaskState,
    /// Attempt of the lease.
    pub attempt: u32,
    /// Budgets, after `fail`.
    pub budget: Option<Budget>,
}

/// Budgets of a task after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// When it may run again; unset for a dead letter.
    pub at_ts: WallMs,
    /// Errors so far.
    pub errors: u8,
    /// Crashes so far.
    pub crashes: u8,
    /// Budget of errors.
    pub max_attempts: u8,
}

impl ReportOutcome {
    /// A verdict about which nothing is known.
    #[must_use]
    pub fn bare(outcome: Outcome) -> Self {
        Self { outcome, task: None, worker: None }
    }
}
