//! What comes in dead: a record of an inbox topic that cannot become a task is kept as a dead
//! letter, so that nothing a foreign producer was acknowledged disappears.

use crate::model::id::Name;
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use crate::model::task::TaskInput;
use serde::{Deserialize, Serialize};

/// Why a record is dead from the beginning (T5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeadClass {
    /// It breaks a rule.
    Malformed,
    /// It has a field of a later release.
    NotSupported,
    /// Its job takes no more tasks.
    JobClosed,
}

/// A task that is admitted straight to ERROR and never handed out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadInput {
    /// Class of its error.
    pub class: DeadClass,
    /// What is wrong, where, and what to do; at most 4,096 B.
    pub message: Name,
    /// What could be read of it; the payload is the record as it came.
    pub task: TaskInput,
}

impl DeadClass {
    /// The class of a refusal.
    #[must_use]
    pub fn of(code: Code) -> Self {
        if code == Code::NotSupported {
            Self::NotSupported
        } else if code == Code::JobClosed {
            Self::JobClosed
        } else {
            Self::Malformed
        }
    }

    /// As shown in `error.class`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotSupported => "not_supported",
            Self::JobClosed => "job_closed",
        }
    }
}

impl DeadInput {
    /// A dead letter of a refusal; `place` says where in the inbox the record lies.
    #[must_use]
    pub fn new(place: &str, reject: &Reject, task: TaskInput) -> Self {
        let mut text = format!("{place}: {}: {}", reject.code.word(), reject.detail);
        if let Some(hint) = &reject.hint {
            text.push_str("; ");
            text.push_str(hint);
        }
        text.truncate(text.floor_char_boundary(limits::MESSAGE_BYTES_MAX));
        Self { class: DeadClass::of(reject.code), message: text.into(), task }
    }
}
