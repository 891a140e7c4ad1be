//! Ends of the tasks of a job, read from the log a slice at a time.
//!
//! The log is in the order of completion, so a place in it is all a reader needs to go on. What a
//! slice holds in memory is bounded, however large job and log are.

use crate::actor::handle::{Answer, KwqHandle, log_refusal};
use crate::log::{Error, EventLog, Skimmed};
use crate::model::ending::{EndPlace, Ending};
use crate::model::event::{Completion, Event, Next};
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::job::JobChange;
use crate::model::reject::{Code, Reject};
use crate::model::state::TaskState;
use crate::model::task::{Blob, TaskError};
use crate::model::time::WallMs;
use crate::model::view::TrackedTask;
use crate::store::{CancelRecord, Selected};
use std::sync::Arc;

/// Ends looked at in one slice; a record is never cut, so it may be some more.
const ENDS: usize = 1_000;
/// Bytes of the log passed over in one slice.
const LOG_BYTES: u64 = 32 << 20;
/// Bytes of results in one slice; a result is never cut, so it may be some more.
const RESULT_BYTES: usize = 1 << 20;
/// Rows the tracker looks at for one slice.
const ROWS: u64 = 100_000;

/// What is read.
#[derive(Clone, Debug)]
pub struct EndQuery {
    /// Of this job.
    pub job: Name,
    /// Ended in one of these states, a bit each.
    pub states: u16,
    /// From here; `None` = from the beginning of the job.
    pub from: Option<EndPlace>,
    /// Up to here, exclusive.
    pub until: Position,
    /// At most so many.
    pub limit: usize,
}

/// A slice.
#[derive(Debug, Default)]
pub struct EndSlice {
    /// The ends.
    pub rows: Vec<Ending>,
    /// Where to go on; `None` = the job has no task yet.
    pub next: Option<EndPlace>,
    /// All up to the end that was asked for.
    pub over: bool,
    /// The next record is durable, but the tracker has not folded it yet.
    pub behind: bool,
}

/// An end as the log knows it.
struct Raw {
    at: EndPlace,
    partition: PartitionId,
    seq: TaskSeq,
    state: TaskState,
    attempt: Option<u32>,
    error: Option<TaskError>,
    ended: WallMs,
    result: bool,
}

impl Raw {
    fn next(&self) -> EndPlace {
        EndPlace { read: self.at.read + 1, ..self.at }
    }
}

impl KwqHandle {
    /// First position of the log that is not durable yet: everything acknowledged lies before it.
    ///
    /// # Errors
    /// The log is away.
    pub fn log_end(&self) -> Answer<Position> {
        Ok(self.engine.log()?.end())
    }

    /// The next slice of the ends of a job. The caller has asked for the job before.
    ///
    /// # Errors
    /// `tracker_behind`, `log_unavailable`.
    pub async fn endings(&self, query: EndQuery) -> Answer<EndSlice> {
        let tracker = &self.engine.tracker;
        let from = match query.from {
            Some(place) => place,
            None => match tracker.first_record(query.job.clone(), ROWS).await? {
                Some(record) => EndPlace { record, read: 0 },
                None => return Ok(EndSlice { over: true, ..EndSlice::default() }),
            },
        };
        // Asked before the log is read: what is below them is folded.
        let folded = tracker.cursors().await?;
        let log = self.engine.log()?;
        let (job, states, until) = (query.job.clone(), query.states, query.until);
        let source = Arc::clone(&log);
        let found = blocking(move || {
            let mut gather = Gather::new(&job, states, from, until, &folded);
            gather.run(&*source).map(|()| gather.found)
        })
        .await?;
        let mut slice = EndSlice {
            rows: Vec::new(),
            next: Some(found.next),
            over: found.over,
            behind: found.behind,
        };
        let (raws, swept) = match found.cancel {
            None => (found.raws, None),
            Some(cancel) => {
                let ended = tracker.cancelled_by(cancel, query.job.clone(), from_of(&found.next));
                let (raws, next) = swept(cancel, found.next, ended.await?);
                (raws, Some(next))
            }
        };
        slice.next = swept.or(slice.next);
        let seqs = raws.iter().map(|raw| (raw.partition, raw.seq)).collect();
        let rows = tracker.rows_of(query.job, seqs).await?;
        let pairs: Vec<(Raw, TrackedTask)> =
            raws.into_iter().zip(rows).filter_map(|(raw, row)| Some((raw, row?))).collect();
        let limit = query.limit;
        let (rows, cut) = blocking(move || written(&*log, pairs, limit)).await?;
        if cut && let Some(last) = rows.last() {
            slice = EndSlice { next: Some(last.next), over: false, behind: false, ..slice };
        }
        slice.rows = rows;
        Ok(slice)
    }
}

fn from_of(place: &EndPlace) -> (u64, (usize, u64)) {
    (place.read, (ENDS, ROWS))
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Answer<T> {
    let joined = tokio::task::spawn_blocking(read).await;
    let joined = joined.map_err(|_| Reject::new(Code::Internal, "reading the log failed"))?;
    joined.map_err(|e| log_refusal(&e))
}

/// The tasks a cancel ended as ends, and where to go on: in the record or behind it.
fn swept(cancel: CancelRecord, at: EndPlace, ended: Selected) -> (Vec<Raw>, EndPlace) {
    let raw = |seq: TaskSeq| Raw {
        at: EndPlace { read: seq.0, ..at },
        partition: cancel.partition,
        seq,
        state: TaskState::Cancelled,
        attempt: None,
        error: None,
        ended: cancel.at,
        result: false,
    };
    let next = match ended.next {
        Some(read) => EndPlace { read, ..at },
        None => behind(at.record),
    };
    (ended.tasks.into_iter().map(raw).collect(), next)
}

fn behind(record: Position) -> EndPlace {
    EndPlace { record: Position(record.0 + 1), read: 0 }
}

#[derive(Default)]
struct Found {
    raws: Vec<Raw>,
    /// The job was cancelled at `next`; the tracker knows whom this ended.
    cancel: Option<CancelRecord>,
    next: EndPlace,
    over: bool,
    behind: bool,
}

/// Gathers ends of any job from the log; which job a task is of, the tracker knows.
struct Gather<'a> {
    job: &'a Name,
    states: u16,
    from: EndPlace,
    until: Position,
    folded: &'a [Position],
    found: Found,
}

impl<'a> Gather<'a> {
    fn new(
        job: &'a Name,
        states: u16,
        from: EndPlace,
        until: Position,
        folded: &'a [Position],
    ) -> Self {
        Self { job, states, from, until, folded, found: Found { next: from, ..Found::default() } }
    }

    fn run(&mut self, log: &dyn EventLog) -> Result<(), Error> {
        let numbers = 0..u16::try_from(self.folded.len()).unwrap_or(u16::MAX);
        let from: Vec<_> = numbers.map(|n| (PartitionId(n), self.from.record)).collect();
        let mut stopped = false;
        log.skim(&from, &mut |skimmed| {
            stopped = !self.visit(&skimmed);
            !stopped
        })?;
        if !stopped {
            // Nothing but records without events, or none, lies up to the end.
            self.found.next = self.found.next.max(EndPlace { record: self.until, read: 0 });
            self.found.over = true;
        }
        Ok(())
    }

    /// False at the end of the slice.
    fn visit(&mut self, skimmed: &Skimmed) -> bool {
        let record = &skimmed.record;
        let (position, partition) = (record.position, record.partition);
        let read = if position == self.from.record { self.from.read } else { 0 };
        let here = EndPlace { record: position, read };
        if position >= self.until {
            (self.found.next, self.found.over) = (here, true);
            return false;
        }
        if self.folded.get(partition.index()).is_none_or(|folded| position >= *folded) {
            (self.found.next, self.found.behind) = (here, true);
            return false;
        }
        if let Event::JobChanged { job, change: JobChange::Cancel(mode, _) } = &record.stamped.event
            && *job == *self.job
            && self.wants(TaskState::Cancelled)
        {
            self.found.next = here;
            // What came before goes out first.
            if self.found.raws.is_empty() {
                let at = record.stamped.at;
                self.found.cancel = Some(CancelRecord { partition, at, mode: *mode });
            }
            return false;
        }
        self.take(skimmed, here);
        self.found.next = behind(position);
        self.found.raws.len() < ENDS && position.0 < self.from.record.0 + LOG_BYTES
    }

    fn wants(&self, state: TaskState) -> bool {
        self.states >> state.index() & 1 == 1
    }

    fn take(&mut self, skimmed: &Skimmed, here: EndPlace) {
        let record = &skimmed.record;
        let at = record.stamped.at;
        let mut add = |entry: u64, seq, state: TaskState, attempt, error, result| {
            if self.states >> state.index() & 1 == 1 && entry >= here.read {
                self.found.raws.push(Raw {
                    at: EndPlace { read: entry, ..here },
                    partition: record.partition,
                    seq,
                    state,
                    attempt,
                    error,
                    ended: at,
                    result,
                });
            }
        };
        for (entry, end) in (0..).zip(ends(&record.stamped.event, at)) {
            if let Some(End { seq, state, attempt, error, result }) = end {
                add(entry, seq, state, attempt, error, result);
            }
        }
    }
}

struct End {
    seq: TaskSeq,
    state: TaskState,
    attempt: Option<u32>,
    error: Option<TaskError>,
    result: bool,
}

/// For each entry of an event the end of its task, if it is one.
fn ends(event: &Event, at: WallMs) -> Vec<Option<End>> {
    let plain = |seq, state, attempt, error| End { seq, state, attempt, error, result: false };
    match event {
        Event::Completed(tasks) => tasks.iter().map(|done| Some(completed(done))).collect(),
        Event::Failed { tasks, .. } => {
            let end = |f: &crate::model::event::Failure| {
                let error = Some(f.error(at));
                landed(f.next).map(|state| plain(f.seq, state, Some(f.attempt), error))
            };
            tasks.iter().map(end).collect()
        }
        Event::Released { tasks, .. } => {
            let end = |r: &crate::model::event::Release| {
                landed(r.next).map(|state| plain(r.seq, state, Some(r.attempt), None))
            };
            tasks.iter().map(end).collect()
        }
        Event::Cancelled(tasks) => {
            tasks.iter().map(|seq| Some(plain(*seq, TaskState::Cancelled, None, None))).collect()
        }
        Event::Owner { .. }
        | Event::JobDefined { .. }
        | Event::JobChanged { .. }
        | Event::LevelChanged { .. }
        | Event::WorkerDrained { .. }
        | Event::Submitted { .. }
        | Event::SubmittedArray { .. }
        | Event::Allocated { .. }
        | Event::Started(_)
        | Event::Redriven { .. }
        | Event::Key { .. }
        | Event::Duplicates(_)
        | Event::Purged(_)
        | Event::Operation { .. } => Vec::new(),
    }
}

fn completed(done: &Completion) -> End {
    End {
        seq: done.seq,
        state: TaskState::Completed,
        attempt: Some(done.attempt),
        error: None,
        result: done.result.is_some(),
    }
}

/// The end that is where a task went, if it is one.
fn landed(next: Next) -> Option<TaskState> {
    match next {
        Next::Pending | Next::Delayed(_) => None,
        Next::Error => Some(TaskState::Error),
        Next::Cancelled => Some(TaskState::Cancelled),
    }
}

/// Adds texts and results; true = not all of them, because of `limit` or of the bytes.
fn written(
    log: &dyn EventLog,
    pairs: Vec<(Raw, TrackedTask)>,
    limit: usize,
) -> Result<(Vec<Ending>, bool), Error> {
    let all = pairs.len();
    let wanted: Vec<_> = pairs.iter().take(limit).map(|(_, r)| (r.record, r.index)).collect();
    let texts = log.read_tasks(&wanted)?;
    let mut results = Results { log, held: None };
    let (mut rows, mut bytes) = (Vec::with_capacity(texts.len()), 0);
    for ((raw, row), text) in pairs.into_iter().zip(texts) {
        if bytes >= RESULT_BYTES {
            break;
        }
        let result = if raw.result { results.read(raw.at)? } else { None };
        bytes += result.as_ref().map_or(0, |blob| blob.bytes.len());
        rows.push(Ending {
            reference: text.spec.reference(raw.partition, raw.seq),
            id: text.spec.id,
            state: raw.state,
            attempt: raw.attempt.unwrap_or(row.attempt),
            result,
            next: raw.next(),
            error: raw.error,
            ended: raw.ended,
        });
    }
    let cut = rows.len() < all;
    Ok((rows, cut))
}

/// Results of `Completed` records; the last record is kept, its entries follow each other.
struct Results<'a> {
    log: &'a dyn EventLog,
    held: Option<(Position, Vec<Completion>)>,
}

impl Results<'_> {
    fn read(&mut self, at: EndPlace) -> Result<Option<Blob>, Error> {
        if self.held.as_ref().is_none_or(|(position, _)| *position != at.record) {
            let Event::Completed(tasks) = self.log.read_event(at.record)?.event else {
                return Err(Error::NoRecord(at.record));
            };
            self.held = Some((at.record, tasks));
        }
        let entry = usize::try_from(at.read).unwrap_or(usize::MAX);
        let held = self.held.as_mut().and_then(|(_, tasks)| tasks.get_mut(entry));
        Ok(held.and_then(|done| done.result.take()))
    }
}
