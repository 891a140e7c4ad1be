//! A task as the tracker stores it, the history beside it, and the marks a job verb leaves.

use crate::model::id::{Name, TaskSeq};
use crate::model::job::CancelMode;
use crate::model::priority::Priority;
use crate::model::state::TaskState;
use crate::model::task::TaskError;
use crate::model::time::WallMs;
use serde::{Deserialize, Serialize};

/// Columns of one task. Names are numbers of the store's dictionary; 0 = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// `TaskState` as stored; see [`Row::shown_state`].
    pub state: u8,
    /// Priority at admission.
    pub submit_priority: u8,
    /// Priority set by a redrive or frozen at hand-out; 0 = as admitted.
    pub set_priority: u8,
    /// Errors since the last redrive.
    pub errors: u8,
    /// Crashes since the last redrive.
    pub crashes: u8,
    /// Redrives.
    pub redriven: u16,
    /// Latest hand-out.
    pub attempt: u32,
    /// Job.
    pub job: u32,
    /// Worker of the latest hand-out.
    pub worker: u32,
    /// Its endpoint.
    pub endpoint: u32,
    /// Class of the latest failure.
    pub class: u32,
    /// Admitted, ms.
    pub submitted: u64,
    /// Latest entry into PENDING, or when it will be, ms.
    pub available: u64,
    /// Latest hand-out, ms.
    pub allocated: u64,
    /// Start of that attempt, ms.
    pub running: u64,
    /// End of that attempt or entry into the terminal state, ms.
    pub ended: u64,
    /// `Submitted` record.
    pub record: u64,
    /// Entry in it.
    pub entry: u32,
    /// Payload bytes.
    pub payload_bytes: u32,
    /// `Completed` record that holds the result; 0 = none.
    pub result_record: u64,
    /// Entry in it.
    pub result_entry: u32,
    /// Result bytes.
    pub result_bytes: u32,
}

/// What is kept beside a row that failed or was handed out more than once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// Latest failure.
    pub error: Option<TaskError>,
    /// Ended attempts, oldest first, at most [`crate::model::limits::ATTEMPTS_KEPT`].
    pub attempts: Vec<PastAttempt>,
}

/// An ended attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastAttempt {
    /// Number.
    pub attempt: u32,
    /// Worker.
    pub worker: Name,
    /// Endpoint.
    pub endpoint: Option<Name>,
    /// Handed out, started, ended.
    pub stamps: [WallMs; 3],
    /// Index into the outcomes.
    pub outcome: u8,
    /// Class and message of a failure.
    pub failure: Option<(Name, Name)>,
}

/// Marks a job verb left in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobMarks {
    /// Cancelled: cut, mode, when.
    pub cancel: Option<(TaskSeq, CancelMode, WallMs)>,
    /// An earlier cancel of mode `drop-queued`, which a later one of mode `stop` goes beyond: what it
    /// reached ended then.
    pub dropped: Option<(TaskSeq, WallMs)>,
    /// Re-prioritised: cut, priority.
    pub moved: Option<(TaskSeq, Priority)>,
}

impl JobMarks {
    /// Lays a cancel over all tasks before `cut`.
    pub fn cancel(&mut self, cut: TaskSeq, mode: CancelMode, at: WallMs) {
        if let Some((cut, CancelMode::DropQueued, at)) = self.cancel {
            self.dropped.get_or_insert((cut, at));
        }
        self.cancel = Some((cut, mode, at));
    }

    /// When a task that is shown as cancelled by its job was cancelled.
    #[must_use]
    pub fn cancelled_at(&self, seq: TaskSeq, stored: TaskState) -> WallMs {
        match (self.dropped, self.cancel) {
            (Some((cut, at)), _) if seq < cut && stored.queued() => at,
            (_, Some((_, _, at))) => at,
            (_, None) => WallMs(0),
        }
    }
}

impl Row {
    /// State as stored.
    #[must_use]
    pub fn stored_state(&self) -> TaskState {
        TaskState::from_index(usize::from(self.state)).unwrap_or(TaskState::Pending)
    }

    /// State as shown: the job's cancel laid over, and a delay that has passed.
    #[must_use]
    pub fn shown_state(&self, seq: TaskSeq, marks: &JobMarks, now: WallMs) -> TaskState {
        let stored = self.stored_state();
        match marks.cancel {
            Some((cut, mode, _)) if seq < cut && stored.live() && mode.reaches(stored) => {
                TaskState::Cancelled
            }
            _ if stored == TaskState::Delayed && self.available <= now.0 => TaskState::Pending,
            _ => stored,
        }
    }

    /// Priority as shown: the job's re-prioritise laid over queued tasks.
    #[must_use]
    pub fn shown_priority(&self, seq: TaskSeq, marks: &JobMarks) -> Priority {
        let own = if self.set_priority == 0 { self.submit_priority } else { self.set_priority };
        let own = Priority::new(u64::from(own)).unwrap_or(Priority::DEFAULT);
        match marks.moved {
            Some((cut, priority)) if seq < cut && self.stored_state().queued() => priority,
            _ => own,
        }
    }
}
