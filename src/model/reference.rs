//! The public reference of a task: `<priority>-<partition>-<offset>[-<index>]`.
//!
//! On the embedded log *offset* is the task's sequence number (for array elements that of the
//! array's first element),
//! so a reference finds its row without any index.

use crate::model::id::{PartitionId, TaskSeq};
use crate::model::priority::Priority;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names one task for ever; does not change when the task is re-prioritised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskRef {
    /// Priority of the accepting inbox.
    pub priority: Priority,
    /// Partition of the accepting inbox.
    pub partition: PartitionId,
    /// Offset of the record there.
    pub offset: u64,
    /// Value of an array element, or place in a multi-task record.
    pub index: Option<u64>,
}

impl TaskRef {
    /// Reference of a task that is no array element, on the embedded log.
    #[must_use]
    pub fn of_seq(priority: Priority, partition: PartitionId, seq: TaskSeq) -> Self {
        Self { priority, partition, offset: seq.0, index: None }
    }

    /// Parses the canonical form only: decimal, no signs, no leading zeros. `None` for anything
    /// else, so that a
    /// client id that merely resembles a reference is told apart by [`Self::looks_like`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-').map(canonical_u64);
        let priority = Priority::new(parts.next()??)?;
        let partition = PartitionId(u16::try_from(parts.next()??).ok()?);
        let offset = parts.next()??;
        let index = match parts.next() {
            Some(part) => Some(part?),
            None => None,
        };
        parts.next().is_none().then_some(Self { priority, partition, offset, index })
    }

    /// True for `^[1-9]-\d+-\d+(-\d+)?$`: such client ids are refused with `reserved_id`.
    #[must_use]
    pub fn looks_like(text: &str) -> bool {
        let mut parts = text.split('-');
        let first = parts.next().is_some_and(|p| p.len() == 1 && p != "0" && is_digits(p));
        let rest: Vec<&str> = parts.collect();
        first && (rest.len() == 2 || rest.len() == 3) && rest.iter().all(|p| is_digits(p))
    }
}

impl fmt::Display for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.priority, self.partition, self.offset)?;
        self.index.map_or(Ok(()), |index| write!(f, "-{index}"))
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn canonical_u64(text: &str) -> Option<u64> {
    (is_digits(text) && (text == "0" || !text.starts_with('0')))
        .then(|| text.parse().ok())
        .flatten()
}
