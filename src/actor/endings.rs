//! Ends of the tasks of a job, read from the log a slice at a time.
//!
//! A series of the log is in the order of completion, so a place in each is all a reader needs to
//! go on. Where every partition has a series of its own, they are read one after another. What a
//! slice holds in memory is bounded, however large job and log are.

use crate::actor::handle::{Answer, KwqHandle, log_refusal};
use crate::log::{Error, EventLog, Resume, Skimmed};
use crate::model::ending::{EndPlace, Ending};
use crate::model::event::{Completion, Event, Failure, Next, Release};
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
/// Bytes of results passed over in one slice, of submits payloads.
const RESULT_BYTES_MAX: usize = 32 << 20;
/// Rows the tracker looks at for one slice.
const ROWS: u64 = 100_000;

/// What is read.
#[derive(Clone, Debug)]
pub struct EndQuery {
    /// Of this job.
    pub job: Name,
    /// Ended in one of these states, a bit each.
    pub states: u16,
    /// From here, one place a series; `None` = from the beginning of the job.
    pub from: Option<Vec<EndPlace>>,
    /// Up to here, exclusive; one a series.
    pub until: Vec<Position>,
    /// At most so many.
    pub limit: usize,
    /// Of the slice before.
    pub resume: Resume,
}

/// A slice.
#[derive(Debug, Default)]
pub struct EndSlice {
    /// The ends.
    pub rows: Vec<Ending>,
    /// Where to go on; `None` = the job has no task yet.
    pub next: Option<Vec<EndPlace>>,
    /// For the slice after.
    pub resume: Resume,
    /// All up to the end that was asked for.
    pub over: bool,
    /// The next record is durable, but the tracker has not folded it yet.
    pub behind: bool,
}

/// An end as the log knows it.
struct Raw {
    at: EndPlace,
    partition: PartitionId,
    ended: WallMs,
    end: End,
}

/// Partitions that share a series.
type Span = std::ops::Range<u16>;

impl KwqHandle {
    /// For each series of the log the first position that is not durable yet: everything
    /// acknowledged lies before it, of other instances what was heard when the job was asked for.
    ///
    /// # Errors
    /// The log is away.
    pub async fn log_ends(&self) -> Answer<Vec<Position>> {
        let log = self.engine.log()?;
        self.copied(&*log, self.positions().into_iter()).await?;
        Ok(self.spans(&*log).map(|span| log.end(PartitionId(span.start))).collect())
    }

    fn spans(&self, log: &dyn EventLog) -> impl Iterator<Item = Span> + use<> {
        let all = u16::try_from(self.engine.slots.len()).unwrap_or(u16::MAX);
        let each = if log.one_series() { all.max(1) } else { 1 };
        (0..all).step_by(usize::from(each)).map(move |first| first..first + each)
    }

    /// The next slice of the ends of a job. The caller has asked for the job before.
    ///
    /// # Errors
    /// `tracker_behind`, `log_unavailable`.
    pub async fn endings(&self, query: EndQuery) -> Answer<EndSlice> {
        let log = self.engine.log()?;
        let spans: Vec<Span> = self.spans(&*log).collect();
        let Some(mut places) = self.places(&query, &spans).await? else {
            return Ok(EndSlice { over: true, ..EndSlice::default() });
        };
        // Asked before the log is read: what is below them is folded.
        let folded = Arc::new(self.engine.tracker.cursors().await?);
        let mut slice =
            EndSlice { over: true, resume: query.resume.clone(), ..EndSlice::default() };
        for (series, span) in spans.into_iter().enumerate() {
            let until = query.until.get(series).copied().unwrap_or_default();
            let asked = Asked { query: query.clone(), span, from: places[series], until };
            let part = self.part(&log, asked, Arc::clone(&folded)).await?;
            slice.resume = part.resume;
            places[series] = part.next;
            slice.behind |= part.behind;
            slice.over &= part.over;
            let more = !part.over && !part.behind;
            slice.rows = part.rows;
            for row in &mut slice.rows {
                let own = row.next.first().copied().unwrap_or_default();
                row.next.clone_from(&places);
                row.next[series] = own;
            }
            if more || !slice.rows.is_empty() {
                slice.over &= !more;
                break;
            }
        }
        slice.next = Some(places);
        Ok(slice)
    }

    /// Where a query begins; `None` = the job has no task yet.
    async fn places(&self, query: &EndQuery, spans: &[Span]) -> Answer<Option<Vec<EndPlace>>> {
        if let Some(places) = query.from.clone().filter(|places| places.len() == spans.len()) {
            return Ok(Some(places));
        }
        let records = self.engine.tracker.first_records(query.job.clone(), ROWS).await?;
        if records.iter().all(Option::is_none) {
            return Ok(None);
        }
        let first = |span: &Span| {
            let own = records.get(usize::from(span.start)..usize::from(span.end));
            let record = own.unwrap_or_default().iter().flatten().min().copied();
            // No task there yet: the first one comes behind what is there now or is in no hurry.
            EndPlace { record: record.unwrap_or_default(), read: 0 }
        };
        Ok(Some(spans.iter().map(first).collect()))
    }

    /// The next slice of one series; the place behind a row is the only one it names.
    async fn part(
        &self,
        log: &Arc<dyn EventLog>,
        asked: Asked,
        folded: Arc<Vec<Position>>,
    ) -> Answer<Part> {
        let tracker = &self.engine.tracker;
        let (job, limit) = (asked.query.job.clone(), asked.query.limit);
        let resume = asked.query.resume.clone();
        let source = Arc::clone(log);
        let mut found = blocking(move || Gather::new(&asked, &folded).run(&*source)).await?;
        if let Some(cancel) = found.cancel {
            let from = (found.next.read, (ENDS, ROWS));
            let ended = tracker.cancelled_by(cancel, job.clone(), from).await?;
            (found.raws, found.next) = swept(cancel, found.next, ended);
        }
        let seqs = found.raws.iter().map(|raw| (raw.partition, raw.end.seq)).collect();
        let rows = tracker.rows_of(job, seqs).await?;
        let pairs: Vec<(Raw, TrackedTask)> =
            found.raws.into_iter().zip(rows).filter_map(|(raw, row)| Some((raw, row?))).collect();
        let source = Arc::clone(log);
        let (rows, cut) = blocking(move || written(&*source, pairs, limit)).await?;
        // What was cut off is gathered again, from where this slice began.
        let cut_at = rows.last().filter(|_| cut).and_then(|last| last.next.first().copied());
        Ok(Part {
            rows,
            next: cut_at.unwrap_or(found.next),
            resume: if cut_at.is_some() { resume } else { found.resume },
            over: found.over && cut_at.is_none(),
            behind: found.behind && cut_at.is_none(),
        })
    }
}

/// What is asked of one series.
struct Asked {
    query: EndQuery,
    span: Span,
    from: EndPlace,
    until: Position,
}

/// A slice of one series.
struct Part {
    rows: Vec<Ending>,
    next: EndPlace,
    resume: Resume,
    over: bool,
    behind: bool,
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
        ended: cancel.at,
        end: End::plain(seq, TaskState::Cancelled),
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
    resume: Resume,
    over: bool,
    behind: bool,
}

/// Gathers ends of any job from the log; which job a task is of, the tracker knows.
struct Gather<'a> {
    asked: &'a Asked,
    folded: &'a [Position],
    found: Found,
    /// Of results.
    bytes: usize,
}

impl<'a> Gather<'a> {
    fn new(asked: &'a Asked, folded: &'a [Position]) -> Self {
        let found = Found { next: asked.from, ..Found::default() };
        Self { asked, folded, found, bytes: 0 }
    }

    fn run(mut self, log: &dyn EventLog) -> Result<Found, Error> {
        let numbers = self.asked.span.clone();
        let from: Vec<_> = numbers.map(|n| (PartitionId(n), self.asked.from.record)).collect();
        let mut resume = self.asked.query.resume.clone();
        let mut stopped = false;
        log.skim_on(&from, &mut resume, &mut |skimmed| {
            stopped = !self.visit(&skimmed);
            !stopped
        })?;
        if !stopped {
            // No event lies between the last one seen and the end.
            self.found.next = self.found.next.max(EndPlace { record: self.asked.until, read: 0 });
            self.found.over = true;
        }
        self.found.resume = resume;
        Ok(self.found)
    }

    /// False at the end of the slice.
    fn visit(&mut self, skimmed: &Skimmed) -> bool {
        let record = &skimmed.record;
        let (position, partition) = (record.position, record.partition);
        let read = if position == self.asked.from.record { self.asked.from.read } else { 0 };
        let here = EndPlace { record: position, read };
        if position >= self.asked.until {
            (self.found.next, self.found.over) = (here, true);
            return false;
        }
        if self.folded.get(partition.index()).is_none_or(|folded| position >= *folded) {
            (self.found.next, self.found.behind) = (here, true);
            return false;
        }
        if let Event::JobChanged { job, change: JobChange::Cancel(mode, _) } = &record.stamped.event
            && *job == self.asked.query.job
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
        self.bytes += skimmed.blob_bytes.iter().map(|bytes| *bytes as usize).sum::<usize>();
        self.found.next = behind(position);
        let room = self.found.raws.len() < ENDS && self.bytes < RESULT_BYTES_MAX;
        room && position.0 < self.asked.from.record.0 + LOG_BYTES
    }

    fn wants(&self, state: TaskState) -> bool {
        self.asked.query.states >> state.index() & 1 == 1
    }

    fn take(&mut self, skimmed: &Skimmed, here: EndPlace) {
        let record = &skimmed.record;
        let at = record.stamped.at;
        for (entry, end) in (0..).zip(ends(&record.stamped.event, at)) {
            let Some(end) = end.filter(|end| entry >= here.read && self.wants(end.state)) else {
                continue;
            };
            self.found.raws.push(Raw {
                at: EndPlace { read: entry, ..here },
                partition: record.partition,
                ended: at,
                end,
            });
        }
    }
}

/// What an entry of a record says of its task.
struct End {
    seq: TaskSeq,
    state: TaskState,
    attempt: Option<u32>,
    error: Option<TaskError>,
    result: bool,
}

impl End {
    fn plain(seq: TaskSeq, state: TaskState) -> Self {
        Self { seq, state, attempt: None, error: None, result: false }
    }

    fn completed(done: &Completion) -> Self {
        let (attempt, result) = (Some(done.attempt), done.result.is_some());
        Self { attempt, result, ..Self::plain(done.seq, TaskState::Completed) }
    }

    fn failed(failure: &Failure, at: WallMs) -> Option<Self> {
        let (attempt, error) = (Some(failure.attempt), Some(failure.error(at)));
        Some(Self { attempt, error, ..Self::plain(failure.seq, landed(failure.next)?) })
    }

    fn released(release: &Release) -> Option<Self> {
        let attempt = Some(release.attempt);
        Some(Self { attempt, ..Self::plain(release.seq, landed(release.next)?) })
    }
}

/// For each entry of an event the end of its task, if it is one.
fn ends(event: &Event, at: WallMs) -> Vec<Option<End>> {
    match event {
        Event::Completed(tasks) => tasks.iter().map(|done| Some(End::completed(done))).collect(),
        Event::Failed { tasks, .. } => tasks.iter().map(|f| End::failed(f, at)).collect(),
        Event::Released { tasks, .. } => tasks.iter().map(End::released).collect(),
        Event::Cancelled(tasks) => {
            tasks.iter().map(|seq| Some(End::plain(*seq, TaskState::Cancelled))).collect()
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
        | Event::Inbox { .. }
        | Event::Operation { .. } => Vec::new(),
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
    let wanted: Vec<_> = pairs.iter().take(limit).map(|(_, row)| row.text()).collect();
    let texts = log.read_tasks(&wanted)?;
    let mut results = Results { log, held: None };
    let (mut rows, mut bytes) = (Vec::with_capacity(texts.len()), 0);
    for ((raw, row), text) in pairs.into_iter().zip(texts) {
        if bytes >= RESULT_BYTES {
            break;
        }
        let result = if raw.end.result { results.read(raw.partition, raw.at)? } else { None };
        bytes += result.as_ref().map_or(0, |blob| blob.bytes.len());
        rows.push(Ending {
            reference: text.spec.reference(raw.partition, raw.end.seq),
            id: text.spec.id,
            state: raw.end.state,
            attempt: raw.end.attempt.unwrap_or(row.attempt),
            result,
            next: vec![EndPlace { read: raw.at.read + 1, ..raw.at }],
            error: raw.end.error,
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
    fn read(&mut self, partition: PartitionId, at: EndPlace) -> Result<Option<Blob>, Error> {
        if self.held.as_ref().is_none_or(|(position, _)| *position != at.record) {
            let Event::Completed(tasks) = self.log.read_event(partition, at.record)?.event else {
                return Err(Error::NoRecord(at.record));
            };
            self.held = Some((at.record, tasks));
        }
        let entry = usize::try_from(at.read).unwrap_or(usize::MAX);
        let held = self.held.as_mut().and_then(|(_, tasks)| tasks.get_mut(entry));
        Ok(held.and_then(|done| done.result.take()))
    }
}
