//! A task as the tracker stores it, the history beside it, and the marks a job verb leaves.

use crate::model::array::{ArraySpec, Span, payload_bytes};
use crate::model::id::{Name, TaskSeq};
use crate::model::job::CancelMode;
use crate::model::priority::Priority;
use crate::model::state::TaskState;
use crate::model::task::TaskError;
use crate::model::time::WallMs;
use serde::{Deserialize, Serialize};

/// `state` of a purged task; no [`TaskState`] has it.
const PURGED: u8 = 9;
const _: () = assert!(PURGED as usize == TaskState::COUNT);

/// Columns of one task. Names are numbers of the store's dictionary; 0 = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// `TaskState` as stored; see [`Row::shown_state`].
    pub state: u8,
    /// Priority at admission.
    pub submit_priority: u8,
    /// Priority set by a redrive or frozen at hand-out; 0 = as admitted.
    pub set_priority: u8,
    /// Re-prioritises of the job that a redrive with a priority of its own overrides.
    pub set_after: u32,
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
    /// Set of tags it is counted under.
    pub tags: u32,
    /// Admitted, ms.
    pub submitted: u64,
    /// Latest entry into PENDING, ms; 0 = never.
    pub available: u64,
    /// When a delayed task becomes PENDING, ms; that moment is in no record. 0 = not delayed.
    pub due: u64,
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

/// The rows of an array, as long as nobody has touched them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrayRows {
    /// Its first element.
    pub first: TaskSeq,
    /// Its values.
    pub span: Span,
    /// What all elements have in common.
    common: Row,
    /// Places of the value in a payload.
    places: u32,
}

impl ArrayRows {
    /// Of an array whose first element has this number.
    #[must_use]
    pub fn new(first: TaskSeq, array: &ArraySpec, common: Row) -> Self {
        let template = &array.task.payload.bytes;
        // A value of one digit and one of two differ by one byte a place.
        let places = payload_bytes(template, 10) - payload_bytes(template, 1);
        let fixed = payload_bytes(template, 1) - places;
        let short = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let common = Row { payload_bytes: short(fixed), ..common };
        Self { first, span: array.span, common, places: short(places) }
    }

    /// Number of its job.
    #[must_use]
    pub fn job(&self) -> u32 {
        self.common.job
    }

    /// Behind its last element.
    #[must_use]
    pub fn end(&self) -> TaskSeq {
        self.first.plus(self.span.count)
    }

    /// The row of an element.
    #[must_use]
    pub fn row(&self, seq: TaskSeq) -> Row {
        let k = seq.0 - self.first.0;
        let digits = self.span.value(k).checked_ilog10().unwrap_or(0) + 1;
        let payload_bytes = self.common.payload_bytes + self.places * digits;
        Row { entry: u32::try_from(k).unwrap_or(u32::MAX), payload_bytes, ..self.common }
    }
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobMarks {
    /// The latest cancel.
    pub cancel: Option<CancelCut>,
    /// An earlier cancel of mode `drop-queued` which a later one of mode `stop` went beyond.
    pub dropped: Option<CancelCut>,
    /// The latest re-prioritise.
    pub moved: Option<MoveCut>,
}

/// A cancel of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelCut {
    /// First task it does not reach.
    pub cut: TaskSeq,
    /// What it does to leased tasks.
    pub mode: CancelMode,
    /// When.
    pub at: WallMs,
    /// What the re-prioritise was then: a later one does not move what is cancelled.
    pub moved: Option<MoveCut>,
}

/// A re-prioritise of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveCut {
    /// First task it does not reach.
    pub cut: TaskSeq,
    /// The new priority.
    pub priority: Priority,
    /// Counts the re-prioritises of the job from 1.
    pub number: u32,
}

impl MoveCut {
    /// The re-prioritise that follows `earlier`.
    #[must_use]
    pub fn after(earlier: Option<Self>, cut: TaskSeq, priority: Priority) -> Self {
        Self { cut, priority, number: earlier.map_or(0, |m| m.number) + 1 }
    }

    /// Does it reach a queued task whose own priority was set after so many re-prioritises?
    #[must_use]
    pub fn reaches(&self, seq: TaskSeq, set_after: u32) -> bool {
        seq < self.cut && set_after < self.number
    }
}

impl JobMarks {
    /// Lays a cancel over all tasks before `cut`.
    pub fn cancel(&mut self, cut: TaskSeq, mode: CancelMode, at: WallMs) {
        if let Some(earlier) = self.cancel.filter(|c| c.mode == CancelMode::DropQueued) {
            self.dropped.get_or_insert(earlier);
        }
        self.cancel = Some(CancelCut { cut, mode, at, moved: self.moved });
    }

    /// The cancel that ended a task which is stored in this state, if one did.
    #[must_use]
    pub fn ended(&self, seq: TaskSeq, stored: TaskState) -> Option<CancelCut> {
        let reaches = |c: &CancelCut| seq < c.cut && stored.live() && c.mode.reaches(stored);
        self.dropped.filter(reaches).or_else(|| self.cancel.filter(reaches))
    }
}

impl Row {
    /// What is left of a purged task.
    #[must_use]
    pub fn purged() -> Self {
        Self { state: PURGED, ..Self::default() }
    }

    /// Was the task purged? Then nothing else here means anything.
    #[must_use]
    pub fn gone(&self) -> bool {
        self.state == PURGED
    }

    /// State as stored.
    #[must_use]
    pub fn stored_state(&self) -> TaskState {
        TaskState::from_index(usize::from(self.state)).unwrap_or(TaskState::Pending)
    }

    /// State as shown: the job's cancel laid over, and a delay that has passed.
    #[must_use]
    pub fn shown_state(&self, seq: TaskSeq, marks: &JobMarks, now: WallMs) -> TaskState {
        let stored = self.stored_state();
        match marks.ended(seq, stored) {
            Some(_) => TaskState::Cancelled,
            None if stored == TaskState::Delayed && self.due <= now.0 => TaskState::Pending,
            None => stored,
        }
    }

    /// Nothing has happened to it since it was admitted, but perhaps a cancel.
    #[must_use]
    pub fn untouched(&self) -> bool {
        self.attempt == 0 && self.redriven == 0
    }

    /// Priority as shown: the job's re-prioritise laid over queued tasks.
    #[must_use]
    pub fn shown_priority(&self, seq: TaskSeq, marks: &JobMarks) -> Priority {
        let own = if self.set_priority == 0 { self.submit_priority } else { self.set_priority };
        let own = Priority::new(u64::from(own)).unwrap_or(Priority::DEFAULT);
        let stored = self.stored_state();
        let moved = marks.ended(seq, stored).map_or(marks.moved, |cancel| cancel.moved);
        let reaches = |m: &MoveCut| stored.queued() && m.reaches(seq, self.set_after);
        moved.filter(reaches).map_or(own, |m| m.priority)
    }

    /// Latest entry into PENDING as shown; 0 = never.
    #[must_use]
    pub fn shown_available(&self, seq: TaskSeq, marks: &JobMarks, now: WallMs) -> WallMs {
        let until = marks.ended(seq, self.stored_state()).map_or(now, |cancel| cancel.at);
        let came = self.due != 0 && self.due <= until.0;
        WallMs(if came { self.due } else { self.available })
    }

    /// A record at `at` moves the task on: the delay it had is over or void.
    pub fn end_delay(&mut self, at: WallMs) {
        if self.due != 0 && self.due <= at.0 {
            self.available = self.due;
        }
        self.due = 0;
    }
}
