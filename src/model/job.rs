//! A job: its specification, its states and the rule that ends it.

use crate::model::affinity::AffinityKey;
use crate::model::id::Name;
use crate::model::policy::Policy;
use crate::model::priority::Priority;
use crate::model::state::{StateCounts, TaskState};
use crate::model::task::BackoffInput;
use serde::{Deserialize, Serialize};

/// Scope of idempotency by client id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dedup {
    /// Ids are labels.
    #[default]
    Batch,
    /// An id names one task of the job.
    Task,
}

/// Values for fields a task omits; tags are united.
#[derive(Clone, Debug, Default, PartialEq, Hash, Serialize, Deserialize)]
pub struct JobDefaults {
    /// Tag text.
    pub tag: Option<Name>,
    /// Affinity keys.
    pub affinity: Option<Vec<AffinityKey>>,
    /// Source.
    pub source: Option<Name>,
    /// Meta.
    pub meta: Option<Name>,
    /// Longest run, seconds.
    pub timeout_s: Option<u32>,
    /// Lease, ms.
    pub lease_ms: Option<u32>,
    /// Budget of errors.
    pub max_attempts: Option<u8>,
    /// Budget of lost workers.
    pub max_crashes: Option<u8>,
    /// Back-off.
    pub backoff: BackoffInput,
}

/// What a job is made of. [`JobSpec::same`] decides between 200 and 409 `job_conflict`.
#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
pub struct JobSpec {
    /// Shown name; `None` = the id.
    pub name: Option<Name>,
    /// Priority of tasks that name none.
    pub priority: Priority,
    /// Weight in the fair share, 1…1,000.
    pub weight: u16,
    /// Label of the job itself, not of its tasks.
    pub tag: Option<Name>,
    /// Scope of client ids.
    pub dedup: Dedup,
    /// Kept this long after it ended, ms.
    pub retention_ms: u64,
    /// Created paused.
    pub paused: bool,
    /// Values for fields a task omits.
    pub defaults: JobDefaults,
}

impl JobDefaults {
    /// With the policy's values where none are given.
    fn filled(&self, policy: &Policy) -> Self {
        let (own, usual) = (self.backoff, policy.backoff);
        Self {
            timeout_s: Some(self.timeout_s.unwrap_or(0)),
            lease_ms: Some(self.lease_ms.unwrap_or(policy.lease_ms)),
            max_attempts: Some(self.max_attempts.unwrap_or(policy.max_attempts)),
            max_crashes: Some(self.max_crashes.unwrap_or(policy.max_crashes)),
            backoff: BackoffInput {
                base_ms: Some(own.base_ms.unwrap_or(usual.base_ms)),
                cap_ms: Some(own.cap_ms.unwrap_or(usual.cap_ms)),
                jitter: Some(own.jitter.unwrap_or(usual.jitter)),
            },
            ..self.clone()
        }
    }
}

impl JobSpec {
    /// Equal once the defaults are filled in.
    #[must_use]
    pub fn same(&self, other: &Self, policy: &Policy) -> bool {
        let filled = |spec: &Self| Self { defaults: spec.defaults.filled(policy), ..spec.clone() };
        filled(self) == filled(other)
    }
}

/// State of a job over all partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum JobState {
    /// Takes tasks.
    Open,
    /// Takes no more; tasks are left.
    Closed,
    /// Ended: cancelled.
    Cancelled,
    /// Ended: nothing completed, at least one error.
    Failed,
    /// Ended: some tasks failed.
    CompletedWithErrors,
    /// Ended.
    Completed,
}

impl JobState {
    /// Wire name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Closed => "CLOSED",
            Self::Cancelled => "CANCELLED",
            Self::Failed => "FAILED",
            Self::CompletedWithErrors => "COMPLETED_WITH_ERRORS",
            Self::Completed => "COMPLETED",
        }
    }
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Open,
        Self::Closed,
        Self::Cancelled,
        Self::Failed,
        Self::CompletedWithErrors,
        Self::Completed,
    ];

    /// Reads a wire name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
    /// Neither OPEN nor CLOSED.
    #[must_use]
    pub fn ended(self) -> bool {
        !matches!(self, Self::Open | Self::Closed)
    }

    /// The completion rule of `docs/semantics.md` 11.1 over the summed counters of all partitions.
    /// `died_before`: dead tasks were purged after the job had ended, which changes no state.
    #[must_use]
    pub fn derive(
        (closed, cancelled): (bool, bool),
        counts: &StateCounts,
        died_before: bool,
    ) -> Self {
        let failures = counts.of(TaskState::Error) + counts.of(TaskState::Expired);
        if !(closed || cancelled) {
            Self::Open
        } else if counts.live() > 0 {
            Self::Closed
        } else if cancelled {
            Self::Cancelled
        } else if failures == 0 && !died_before {
            Self::Completed
        } else if counts.of(TaskState::Completed) == 0 {
            Self::Failed
        } else {
            Self::CompletedWithErrors
        }
    }
}

/// What a job cancel does to leased tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelMode {
    /// Every live task is cancelled, tokens are void.
    #[default]
    Stop,
    /// Queued tasks are cancelled, leased ones may still complete.
    DropQueued,
}

impl CancelMode {
    /// Does a cancel of this mode reach a task in this state?
    #[must_use]
    pub fn reaches(self, state: TaskState) -> bool {
        state.queued() || (self == Self::Stop && state.leased())
    }
}

/// A control verb on a job; one record per partition, O(1) in the number of tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobChange {
    /// No more tasks.
    Close,
    /// No hand-outs.
    Pause,
    /// Hand-outs again.
    Resume,
    /// Cancel with mode and reason.
    Cancel(CancelMode, Option<Name>),
    /// All queued tasks move to this priority.
    Prioritise(Priority),
    /// Weight in the fair share.
    Weight(u16),
    /// Retention after the end, ms.
    Retention(u64),
    /// The job and all its tasks are gone for good.
    Purge,
}

impl JobChange {
    /// The word of the log dump (`change`).
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel(..) => "cancel",
            Self::Prioritise(_) => "prioritise",
            Self::Weight(_) => "weight",
            Self::Retention(_) => "retention",
            Self::Purge => "purge",
        }
    }
}

/// The job name of tasks that name none.
pub const DEFAULT_JOB: &str = "default";
