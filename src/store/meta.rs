//! What is stored beside the pages: cursors, names, marks of job verbs.

use crate::model::id::{Name, Position, TaskSeq};
use crate::model::row::JobMarks;
use serde::{Deserialize, Serialize};

/// Raised with every change of the stored shapes; another version is folded again.
pub const VERSION: u32 = 1;

/// One record, replaced with every checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Layout.
    pub version: u32,
    /// Number of this checkpoint.
    pub checkpoint: u64,
    /// Per partition: first position not folded, next sequence number.
    pub cursors: Vec<(Position, TaskSeq)>,
    /// Names in order of their numbers, from 1.
    pub names: Vec<Name>,
    /// Marks by partition and job.
    pub marks: Vec<(u16, u32, JobMarks)>,
}
