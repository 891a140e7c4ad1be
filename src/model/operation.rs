//! Long work on many tasks: redrive and purge of dead letters, purge of a job. Each partition has
//! its own part of an operation; what is shown is the sum of the parts.

use crate::model::id::{Name, TaskSeq};
use crate::model::priority::Priority;
use crate::model::time::WallMs;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Number of an operation; never given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OpNo(pub u64);

impl OpNo {
    /// Reads the wire form, e.g. `op-12`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("op-")?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
        plain.then(|| digits.parse().ok().map(Self)).flatten()
    }
}

impl fmt::Display for OpNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op-{}", self.0)
    }
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpKind {
    /// Dead tasks go back to the queue.
    Redrive,
    /// Dead tasks are removed.
    PurgeDlq,
    /// A job is removed with all its tasks.
    PurgeJob,
}

impl OpKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Redrive, Self::PurgeDlq, Self::PurgeJob];

    /// Wire name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::PurgeDlq => "purgeDlq",
            Self::PurgeJob => "purgeJob",
        }
    }
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpState {
    /// At work.
    Running,
    /// Everything that matched was looked at.
    Done,
    /// Stopped by a caller; what it had done stays.
    Stopped,
}

impl OpState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Running, Self::Done, Self::Stopped];

    /// Wire name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Done => "DONE",
            Self::Stopped => "STOPPED",
        }
    }
}

/// What was asked for; the same in every partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpSpec {
    /// What it does.
    pub kind: OpKind,
    /// The filter as shown: a JSON object. The tasks it named are in the record of the start.
    pub filter: Name,
    /// The job it is about, if the filter names one.
    pub job: Option<Name>,
    /// Job id prefixes of the token it was asked for with; none = every job.
    pub scopes: Vec<Name>,
    /// Name of that token.
    pub by: Name,
    /// Priority a redrive sets.
    pub priority: Option<Priority>,
}

/// A step of one partition's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpStep {
    /// It was accepted here.
    Started {
        /// What was asked for.
        spec: Box<OpSpec>,
        /// Tasks the filter matched here.
        matched: u64,
        /// Those it has to look at, in submit order; none for the purge of a job, which is one
        /// record.
        tasks: Vec<TaskSeq>,
    },
    /// Its next tasks have been dealt with.
    Progress {
        /// The last of them.
        upto: TaskSeq,
        /// Those it changed.
        done: u64,
        /// Those it left as they were.
        skipped: u64,
    },
    /// A caller stopped it.
    Stopped,
}

impl OpStep {
    /// The word of the log dump (`step`).
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Started { .. } => "start",
            Self::Progress { .. } => "progress",
            Self::Stopped => "stop",
        }
    }
}

/// An operation as shown, or one partition's part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Number.
    pub op: OpNo,
    /// What was asked for.
    pub spec: OpSpec,
    /// How far it is.
    pub state: OpState,
    /// Tasks the filter matched when it was accepted, skipped ones included.
    pub matched: u64,
    /// Tasks it changed.
    pub done: u64,
    /// Tasks it left as they were: no longer dead, or their job was cancelled.
    pub skipped: u64,
    /// Accepted.
    pub created: WallMs,
    /// Ended; unset while it runs.
    pub ended: WallMs,
}

impl Operation {
    /// Adds the part of another partition.
    pub fn merge(&mut self, other: &Self) {
        self.matched += other.matched;
        self.done += other.done;
        self.skipped += other.skipped;
        self.created = self.created.min(other.created);
        let either = |state| self.state == state || other.state == state;
        let state = if either(OpState::Running) {
            OpState::Running
        } else if either(OpState::Stopped) {
            OpState::Stopped
        } else {
            OpState::Done
        };
        let ended = self.ended.max(other.ended);
        self.ended = if state == OpState::Running { WallMs(0) } else { ended };
        self.state = state;
    }
}
