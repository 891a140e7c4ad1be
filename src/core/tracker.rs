//! The tracker's fold: committed events → rows. Pure; rows live wherever [`Rows`] keeps them.
//!
//! The fold never scans: what a job verb does to all tasks of a job is one mark, laid over a row
//! when it is read.

use crate::model::array::ArraySpec;
use crate::model::event::{
    Completion, Event, FailCause, Failure, Next, Release, ReleaseCause, Stamped,
};
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::job::JobChange;
use crate::model::priority::Priority;
use crate::model::row::{ArrayRows, Details, JobMarks, MoveCut, PastAttempt, Row};
use crate::model::state::TaskState;
use crate::model::task::{Blob, TaskError, TaskSpec};
use crate::model::time::WallMs;
use crate::model::view::{Attempt, AttemptOutcome, ResultAt};

/// Where rows, details, names and marks are kept.
pub trait Rows {
    /// Appends a row; its sequence number is the next of the partition.
    fn push(&mut self, partition: PartitionId, row: Row);
    /// Appends the elements of an array; what they have in common is in `array`.
    fn push_array(&mut self, partition: PartitionId, array: ArrayRows);
    /// Changes a row in place.
    fn update(&mut self, partition: PartitionId, seq: TaskSeq, change: &mut dyn FnMut(&mut Row));
    /// Reads a row.
    fn row(&mut self, partition: PartitionId, seq: TaskSeq) -> Option<Row>;
    /// Reads details.
    fn details(&mut self, partition: PartitionId, seq: TaskSeq) -> Option<Details>;
    /// Replaces details.
    fn set_details(&mut self, partition: PartitionId, seq: TaskSeq, details: Details);
    /// Number of a name, a new one at first sight; never 0.
    fn number(&mut self, name: &Name) -> u32;
    /// A name by its number.
    fn name(&self, number: u32) -> Name;
    /// Number of the set of tags of a task of a job that is about to be admitted; 0 = none.
    fn tags(&mut self, partition: PartitionId, job: u32, text: Option<&Name>) -> u32;
    /// Marks of a job.
    fn marks(&self, partition: PartitionId, job: u32) -> JobMarks;
    /// Changes the marks of a job.
    fn set_marks(&mut self, partition: PartitionId, job: u32, marks: JobMarks);
    /// Removes a row and its details for good.
    fn purge(&mut self, partition: PartitionId, seq: TaskSeq);
    /// Removes every row of a job, its arrays and its marks for good.
    fn purge_job(&mut self, partition: PartitionId, job: u32);
    /// Next sequence number of a partition.
    fn next(&self, partition: PartitionId) -> TaskSeq;
    /// Elements were admitted, for rates and the list of recent changes.
    fn admitted(&mut self, partition: PartitionId, array: &ArrayRows, at: WallMs);
    /// A task changed its state, for rates and the list of recent changes.
    fn changed(
        &mut self,
        partition: PartitionId,
        seq: TaskSeq,
        to: TaskState,
        row: &Row,
        at: WallMs,
    );
}

const OUTCOMES: [AttemptOutcome; 9] = [
    AttemptOutcome::Leased,
    AttemptOutcome::Completed,
    AttemptOutcome::Late,
    AttemptOutcome::Failed,
    AttemptOutcome::Timeout,
    AttemptOutcome::Crashed,
    AttemptOutcome::Released,
    AttemptOutcome::Undelivered,
    AttemptOutcome::Cancelled,
];

/// Folds one record. `sizes` are those of its payloads or results, if its reader left them out.
pub fn fold(
    rows: &mut dyn Rows,
    partition: PartitionId,
    position: Position,
    stamped: &Stamped,
    sizes: &[u32],
) {
    let at = stamped.at;
    match &stamped.event {
        Event::Owner { .. }
        | Event::JobDefined { .. }
        | Event::LevelChanged { .. }
        | Event::WorkerDrained { .. }
        | Event::Key { .. }
        | Event::Duplicates(_)
        | Event::Inbox { .. }
        | Event::Operation { .. } => {}
        Event::Purged(tasks) => tasks.iter().for_each(|seq| rows.purge(partition, *seq)),
        Event::JobChanged { job, change } => job_changed(rows, partition, job, change, at),
        Event::Submitted { tasks, .. } => {
            submitted(rows, partition, position, (tasks, sizes), at);
        }
        Event::SubmittedArray { array, .. } => {
            submitted_array(rows, partition, position, array, at)
        }
        Event::Allocated { worker, endpoint, tasks, .. } => {
            let worker = rows.number(worker);
            let endpoint = endpoint.as_ref().map_or(0, |e| rows.number(e));
            for task in tasks {
                allocated(rows, partition, task.seq, task.attempt, (worker, endpoint), at);
            }
        }
        Event::Started(starts) => {
            for start in starts {
                rows.update(partition, start.seq, &mut |row| {
                    row.state = TaskState::Running as u8;
                    row.running = at.0;
                });
                note(rows, partition, start.seq, at);
            }
        }
        Event::Completed(tasks) => {
            for (entry, done) in (0u32..).zip(tasks) {
                let result = done.result.as_ref().map(|result| ResultAt {
                    record: position,
                    index: entry,
                    bytes: size(sizes, entry, result),
                });
                completed(rows, partition, done, result, at);
            }
        }
        Event::Failed { cause, tasks } => {
            tasks.iter().for_each(|f| failed(rows, partition, *cause, f, at));
        }
        Event::Released { cause, tasks } => {
            tasks.iter().for_each(|r| released(rows, partition, *cause, *r, at));
        }
        Event::Cancelled(tasks) => tasks.iter().for_each(|seq| {
            freeze(rows, partition, *seq);
            end_attempt(rows, partition, *seq, AttemptOutcome::Cancelled, None, at);
            land(rows, partition, *seq, Next::Cancelled, at);
        }),
        Event::Redriven { tasks, priority } => {
            tasks.iter().for_each(|seq| redriven(rows, partition, *seq, *priority, at));
        }
    }
}

/// Size of the blob of an entry, from its record's list or its own bytes.
fn size(sizes: &[u32], entry: u32, blob: &Blob) -> u32 {
    let listed = usize::try_from(entry).ok().and_then(|entry| sizes.get(entry));
    listed.copied().unwrap_or_else(|| u32::try_from(blob.bytes.len()).unwrap_or(u32::MAX))
}

fn note(rows: &mut dyn Rows, partition: PartitionId, seq: TaskSeq, at: WallMs) {
    if let Some(row) = rows.row(partition, seq) {
        rows.changed(partition, seq, row.stored_state(), &row, at);
    }
}

fn job_changed(
    rows: &mut dyn Rows,
    partition: PartitionId,
    job: &Name,
    change: &JobChange,
    at: WallMs,
) {
    let job = rows.number(job);
    let cut = rows.next(partition);
    let mut marks = rows.marks(partition, job);
    match change {
        JobChange::Cancel(mode, _) => marks.cancel(cut, *mode, at),
        JobChange::Prioritise(priority) => {
            marks.moved = Some(MoveCut::after(marks.moved, cut, *priority));
        }
        JobChange::Purge => return rows.purge_job(partition, job),
        JobChange::Close
        | JobChange::Pause
        | JobChange::Resume
        | JobChange::Weight(_)
        | JobChange::Retention(_) => return,
    }
    rows.set_marks(partition, job, marks);
}

fn submitted(
    rows: &mut dyn Rows,
    partition: PartitionId,
    position: Position,
    (tasks, sizes): (&[TaskSpec], &[u32]),
    at: WallMs,
) {
    for (entry, task) in (0u32..).zip(tasks) {
        let payload_bytes = size(sizes, entry, &task.payload);
        let common = admission(rows, partition, position, task, at);
        let row = Row { entry, payload_bytes, ..common };
        let seq = rows.next(partition);
        rows.push(partition, row);
        rows.changed(partition, seq, TaskState::Pending, &row, at);
    }
}

/// The row of a task that was just admitted.
fn admission(
    rows: &mut dyn Rows,
    partition: PartitionId,
    position: Position,
    task: &TaskSpec,
    at: WallMs,
) -> Row {
    let job = rows.number(&task.job);
    let state = task.first_state();
    let delayed = state == TaskState::Delayed;
    Row {
        state: state as u8,
        submit_priority: task.priority.get(),
        job,
        tags: rows.tags(partition, job, task.tag.as_ref()),
        submitted: at.0,
        available: if delayed { 0 } else { at.0 },
        due: if delayed { task.not_before.0 } else { 0 },
        record: position.0,
        ..Row::default()
    }
}

fn submitted_array(
    rows: &mut dyn Rows,
    partition: PartitionId,
    position: Position,
    array: &ArraySpec,
    at: WallMs,
) {
    if array.span.count == 0 {
        return;
    }
    let payload_bytes = size(&[], 0, &array.task.payload);
    let common = Row { payload_bytes, ..admission(rows, partition, position, &array.task, at) };
    let first = rows.next(partition);
    let array = ArrayRows::new(first, array, common);
    rows.push_array(partition, array);
    rows.admitted(partition, &array, at);
}

fn allocated(
    rows: &mut dyn Rows,
    partition: PartitionId,
    seq: TaskSeq,
    attempt: u32,
    (worker, endpoint): (u32, u32),
    at: WallMs,
) {
    freeze(rows, partition, seq);
    rows.update(partition, seq, &mut |row| {
        row.state = TaskState::Allocated as u8;
        row.end_delay(at);
        row.attempt = attempt;
        row.worker = worker;
        row.endpoint = endpoint;
        row.allocated = at.0;
        row.running = 0;
        row.ended = 0;
    });
    note(rows, partition, seq, at);
}

/// What leaves the queue keeps the priority it had there until it comes back.
fn freeze(rows: &mut dyn Rows, partition: PartitionId, seq: TaskSeq) {
    let Some(row) = rows.row(partition, seq).filter(|r| r.stored_state().queued()) else { return };
    let marks = rows.marks(partition, row.job);
    let shown = row.shown_priority(seq, &marks).get();
    let set = if shown == row.submit_priority { 0 } else { shown };
    if set != row.set_priority {
        rows.update(partition, seq, &mut |row| row.set_priority = set);
    }
}

fn completed(
    rows: &mut dyn Rows,
    partition: PartitionId,
    done: &Completion,
    result: Option<ResultAt>,
    at: WallMs,
) {
    let first = done.attempt == 1 && !done.late;
    if !first {
        let outcome = if done.late { AttemptOutcome::Late } else { AttemptOutcome::Completed };
        if done.late {
            freeze(rows, partition, done.seq);
            late(rows, partition, done, at);
        } else {
            end_attempt(rows, partition, done.seq, outcome, None, at);
        }
    }
    rows.update(partition, done.seq, &mut |row| {
        row.state = TaskState::Completed as u8;
        row.end_delay(at);
        row.ended = at.0;
        if row.running == 0 {
            row.running = row.allocated;
        }
        if let Some(result) = result {
            row.result_record = result.record.0;
            row.result_entry = result.index;
            row.result_bytes = result.bytes;
        }
    });
    note(rows, partition, done.seq, at);
}

/// The attempt was closed as crashed or timed out; now it turns out that its work counts.
fn late(rows: &mut dyn Rows, partition: PartitionId, done: &Completion, at: WallMs) {
    let Some(mut details) = rows.details(partition, done.seq) else { return };
    if let Some(last) = details.attempts.last_mut().filter(|a| a.attempt == done.attempt) {
        last.outcome = outcome_number(AttemptOutcome::Late);
        last.stamps[2] = at;
    }
    rows.set_details(partition, done.seq, details);
}

fn failed(
    rows: &mut dyn Rows,
    partition: PartitionId,
    cause: FailCause,
    failure: &Failure,
    at: WallMs,
) {
    let outcome = match cause {
        FailCause::Error => AttemptOutcome::Failed,
        FailCause::Timeout => AttemptOutcome::Timeout,
        FailCause::Crash => AttemptOutcome::Crashed,
    };
    let text = (failure.class.clone(), failure.message.clone());
    end_attempt(rows, partition, failure.seq, outcome, Some(text), at);
    if failure.attempt == 0 {
        // It came in dead; an error without an attempt.
        let details = Details { error: Some(failure.error(at)), ..Details::default() };
        rows.set_details(partition, failure.seq, details);
    }
    let class = rows.number(&failure.class);
    rows.update(partition, failure.seq, &mut |row| {
        row.errors = failure.errors;
        row.crashes = failure.crashes;
        row.class = class;
    });
    land(rows, partition, failure.seq, failure.next, at);
}

fn released(
    rows: &mut dyn Rows,
    partition: PartitionId,
    cause: ReleaseCause,
    release: Release,
    at: WallMs,
) {
    let outcome = match cause {
        ReleaseCause::Release | ReleaseCause::Worker => AttemptOutcome::Released,
        ReleaseCause::Undelivered => AttemptOutcome::Undelivered,
    };
    end_attempt(rows, partition, release.seq, outcome, None, at);
    land(rows, partition, release.seq, release.next, at);
}

fn redriven(
    rows: &mut dyn Rows,
    partition: PartitionId,
    seq: TaskSeq,
    priority: Option<Priority>,
    at: WallMs,
) {
    let Some(row) = rows.row(partition, seq) else { return };
    let moves = rows.marks(partition, row.job).moved.map_or(0, |m| m.number);
    rows.update(partition, seq, &mut |row| {
        row.errors = 0;
        row.crashes = 0;
        row.redriven = row.redriven.saturating_add(1);
        if let Some(priority) = priority {
            (row.set_priority, row.set_after) = (priority.get(), moves);
        }
    });
    land(rows, partition, seq, Next::Pending, at);
}

/// Moves a row where an event says.
fn land(rows: &mut dyn Rows, partition: PartitionId, seq: TaskSeq, next: Next, at: WallMs) {
    rows.update(partition, seq, &mut |row| {
        row.end_delay(at);
        let (state, ended) = match next {
            Next::Pending => {
                row.available = at.0;
                (TaskState::Pending, 0)
            }
            Next::Delayed(due) => {
                row.due = due.0;
                (TaskState::Delayed, 0)
            }
            Next::Error => (TaskState::Error, at.0),
            Next::Cancelled => (TaskState::Cancelled, at.0),
        };
        (row.state, row.ended) = (state as u8, ended);
    });
    note(rows, partition, seq, at);
}

/// Closes the open attempt of a row in its history.
fn end_attempt(
    rows: &mut dyn Rows,
    partition: PartitionId,
    seq: TaskSeq,
    outcome: AttemptOutcome,
    failure: Option<(Name, Name)>,
    at: WallMs,
) {
    let Some(row) = rows.row(partition, seq).filter(|r| r.stored_state().leased()) else { return };
    let mut details = rows.details(partition, seq).unwrap_or_default();
    let running = if row.running == 0 { row.allocated } else { row.running };
    if let Some((class, message)) = &failure {
        let (class, message) = (class.clone(), message.clone());
        details.error = Some(TaskError { class, message, attempt: row.attempt, ts: at });
    }
    if details.attempts.len() == crate::model::limits::ATTEMPTS_KEPT {
        details.attempts.remove(0);
    }
    details.attempts.push(PastAttempt {
        attempt: row.attempt,
        worker: rows.name(row.worker),
        endpoint: (row.endpoint != 0).then(|| rows.name(row.endpoint)),
        stamps: [WallMs(row.allocated), WallMs(running), at],
        outcome: outcome_number(outcome),
        failure,
    });
    rows.set_details(partition, seq, details);
    rows.update(partition, seq, &mut |row| row.running = running);
}

fn outcome_number(outcome: AttemptOutcome) -> u8 {
    let at = OUTCOMES.iter().position(|o| *o == outcome).unwrap_or(0);
    u8::try_from(at).unwrap_or(0)
}

/// The attempts of a task: the history, and the present or only one from the row.
pub fn attempts(rows: &mut dyn Rows, partition: PartitionId, seq: TaskSeq) -> Vec<Attempt> {
    let Some(row) = rows.row(partition, seq).filter(|r| r.attempt > 0) else { return Vec::new() };
    let past = rows.details(partition, seq).unwrap_or_default().attempts;
    let mut all: Vec<Attempt> = past.into_iter().map(shown).collect();
    if all.last().is_none_or(|a| a.attempt < row.attempt) {
        let marks = rows.marks(partition, row.job);
        let state = row.shown_state(seq, &marks, WallMs(0));
        let ended = marks.ended(seq, row.stored_state());
        let cancelled_at = ended.map_or(WallMs(row.ended), |cancel| cancel.at);
        let (outcome, ended) = match state {
            TaskState::Completed => (AttemptOutcome::Completed, WallMs(row.ended)),
            TaskState::Cancelled => (AttemptOutcome::Cancelled, cancelled_at),
            TaskState::Blocked
            | TaskState::Delayed
            | TaskState::Pending
            | TaskState::Allocated
            | TaskState::Running
            | TaskState::Error
            | TaskState::Expired => (AttemptOutcome::Leased, WallMs(0)),
        };
        all.push(Attempt {
            attempt: row.attempt,
            worker: rows.name(row.worker),
            endpoint: (row.endpoint != 0).then(|| rows.name(row.endpoint)),
            allocated: WallMs(row.allocated),
            running: WallMs(if ended != WallMs(0) && row.running == 0 {
                row.allocated
            } else {
                row.running
            }),
            ended,
            outcome,
            class: None,
            message: None,
        });
    }
    let more = all.len().saturating_sub(crate::model::limits::ATTEMPTS_KEPT);
    all.drain(..more);
    all
}

fn shown(past: PastAttempt) -> Attempt {
    let [allocated, running, ended] = past.stamps;
    let (class, message) = past.failure.map_or((None, None), |(c, m)| (Some(c), Some(m)));
    Attempt {
        attempt: past.attempt,
        worker: past.worker,
        endpoint: past.endpoint,
        allocated,
        running,
        ended,
        outcome: OUTCOMES.get(usize::from(past.outcome)).copied().unwrap_or(AttemptOutcome::Leased),
        class,
        message,
    }
}
