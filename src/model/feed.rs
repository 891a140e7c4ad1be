//! What is told outside of kwq, derived from the log: which feeds there are, and what one change of
//! a task's state says.

use crate::model::event::{FailCause, Failure};
use crate::model::id::{Name, TaskSeq};
use crate::model::state::TaskState;

/// A topic that is derived from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// Every task that becomes a dead letter.
    Dead,
    /// Every change of a task's state.
    Status,
}

impl Feed {
    /// Number of feeds.
    pub const COUNT: usize = 2;
    /// All feeds.
    pub const ALL: [Self; Self::COUNT] = [Self::Dead, Self::Status];

    /// The word in its topic's name and in labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Status => "status",
        }
    }

    /// Kafka keeps a record for so long, ms.
    #[must_use]
    pub const fn retention_ms(self) -> u64 {
        const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
        match self {
            Self::Dead => 14 * DAY_MS,
            Self::Status => 7 * DAY_MS,
        }
    }
}

/// A change of a task's state, as far as its event says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The task.
    pub seq: TaskSeq,
    /// What it was, where the event leaves no doubt.
    pub from: Option<TaskState>,
    /// What it is now.
    pub to: TaskState,
    /// Number of the hand-out it is of; 0 = before the first.
    pub attempt: Option<u32>,
    /// Whom it was handed to, of a hand-out.
    pub worker: Option<Name>,
    /// How the attempt failed.
    pub failure: Option<(FailCause, Failure)>,
}

impl Change {
    /// A change to a state.
    #[must_use]
    pub fn to(seq: TaskSeq, to: TaskState) -> Self {
        Self { seq, from: None, to, attempt: None, worker: None, failure: None }
    }
}
