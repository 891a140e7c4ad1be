//! Where in the log what lies that is read back by its place.

use crate::model::id::{PartitionId, Position};

/// Where the text of a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TextAt {
    /// Partition.
    pub partition: PartitionId,
    /// Its `Submitted` or `SubmittedArray` record.
    pub record: Position,
    /// Entry in it.
    pub entry: u32,
}

/// Where a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultAt {
    /// `Completed` record.
    pub record: Position,
    /// Entry in it.
    pub index: u32,
    /// Bytes.
    pub bytes: u32,
}
