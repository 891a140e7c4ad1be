//! Ends of tasks in the order of the log: what a reader of results is given.

use crate::model::id::Name;
use crate::model::id::Position;
use crate::model::reference::TaskRef;
use crate::model::state::TaskState;
use crate::model::task::{Blob, TaskError};
use crate::model::time::WallMs;

/// A place between two ends: a record, and how much of it has been read. In a record that ends
/// listed tasks these are entries, in the cancel of a job sequence numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndPlace {
    /// The record.
    pub record: Position,
    /// Read of it.
    pub read: u64,
}

/// One end of a task. A task that was redriven has several.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// Reference.
    pub reference: TaskRef,
    /// Client id.
    pub id: Option<Name>,
    /// The state it ended in; it may have moved on since.
    pub state: TaskState,
    /// Number of the hand-out it ended with; 0 = it was never handed out.
    pub attempt: u32,
    /// What the worker sent.
    pub result: Option<Blob>,
    /// Why it failed.
    pub error: Option<TaskError>,
    /// When.
    pub ended: WallMs,
    /// The places behind it, one a series of the log.
    pub next: Vec<EndPlace>,
}
