//! What a feed tells of a stretch of the log, a slice at a time: a record of any size is taken in
//! parts, so what a slice holds in memory is bounded.

use crate::core::changes::change;
use crate::log::{Error, EventLog, LogRecord};
use crate::model::array::Element;
use crate::model::ending::EndPlace;
use crate::model::event::Event;
use crate::model::feed::{Change, Feed};
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::job::JobChange;
use crate::model::state::TaskState;
use crate::model::task::TaskSpec;
use crate::model::time::WallMs;
use crate::store::{CancelRecord, Selected};

/// Changes of one slice.
pub(super) const FOUND: usize = 1_000;
/// Events and changes looked at for one slice.
const LOOKED: u64 = 100_000;

/// Something to be told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// Its record and entry.
    pub(super) at: EndPlace,
    /// Stamp of the event.
    pub(super) stamp: WallMs,
    pub(super) change: Change,
    /// The task without its payload, if the event says it.
    pub(super) spec: Option<TaskSpec>,
}

/// A slice.
#[derive(Debug, Default)]
pub(super) struct Slice {
    pub(super) found: Vec<Found>,
    /// Where to go on.
    pub(super) next: EndPlace,
    /// A job was cancelled at `next`; the tracker knows whom this ended.
    pub(super) cancel: Option<(Name, CancelRecord)>,
}

/// The place behind a record.
pub(super) fn behind(record: Position) -> EndPlace {
    EndPlace { record: Position(record.0 + 1), read: 0 }
}

/// What a feed tells from a place on and of this stamp or later, before a position.
///
/// # Errors
/// `Damaged`, `Io`.
pub(super) fn gather(
    log: &dyn EventLog,
    (feed, since): (Feed, WallMs),
    id: PartitionId,
    from: EndPlace,
    until: Position,
) -> Result<Slice, Error> {
    let slice = Slice { next: from, ..Slice::default() };
    let mut gather = Gather { feed, since, from, until, looked: 0, slice };
    let mut stopped = false;
    log.skim(&[(id, from.record)], &mut |skimmed| {
        stopped = !gather.visit(&skimmed.record);
        !stopped
    })?;
    if !stopped {
        // Nothing lies between the last record seen and the end.
        gather.slice.next = gather.slice.next.max(EndPlace { record: until, read: 0 });
    }
    Ok(gather.slice)
}

struct Gather {
    feed: Feed,
    since: WallMs,
    from: EndPlace,
    until: Position,
    looked: u64,
    slice: Slice,
}

impl Gather {
    /// False at the end of the slice.
    fn visit(&mut self, record: &LogRecord) -> bool {
        if record.position >= self.until {
            self.slice.next = self.slice.next.max(EndPlace { record: self.until, read: 0 });
            return false;
        }
        let read = if record.position == self.from.record { self.from.read } else { 0 };
        let here = EndPlace { record: record.position, read };
        if record.stamped.at >= self.since {
            if let (Feed::Status, Event::JobChanged { job, change: JobChange::Cancel(mode, _) }) =
                (self.feed, &record.stamped.event)
            {
                self.slice.next = here;
                // What came before goes out first.
                if self.slice.found.is_empty() {
                    let (partition, at) = (record.partition, record.stamped.at);
                    let cancel = CancelRecord { partition, at, mode: *mode };
                    self.slice.cancel = Some((job.clone(), cancel));
                }
                return false;
            }
            if !self.take(record, here) {
                return false;
            }
        }
        self.slice.next = behind(record.position);
        self.looked += 1;
        self.looked < LOOKED
    }

    /// False at the end of the slice; `next` says where.
    fn take(&mut self, record: &LogRecord, here: EndPlace) -> bool {
        let (event, stamp) = (&record.stamped.event, record.stamped.at);
        for entry in here.read.. {
            let Some(change) = change(event, entry) else { break };
            let at = EndPlace { read: entry, ..here };
            self.looked += 1;
            if self.slice.found.len() == FOUND || self.looked > LOOKED {
                self.slice.next = at;
                return false;
            }
            if self.tells(&change) {
                let spec = self.spec(event, entry);
                self.slice.found.push(Found { at, stamp, change, spec });
            } else if change.failure.is_none() && self.feed == Feed::Dead {
                // No other entry of it is a dead letter.
                break;
            }
        }
        true
    }

    fn tells(&self, change: &Change) -> bool {
        match self.feed {
            Feed::Status => true,
            Feed::Dead => change.failure.is_some() && change.to == TaskState::Error,
        }
    }

    fn spec(&self, event: &Event, entry: u64) -> Option<TaskSpec> {
        if let Event::Submitted { tasks, .. } = event {
            return tasks.get(usize::try_from(entry).ok()?).cloned();
        }
        let Event::SubmittedArray { first, array } = event else { return None };
        let mut spec = array.task.clone();
        spec.payload.bytes = Vec::new();
        spec.element = Some(Element { first: *first, value: array.span.value(entry) });
        Some(spec)
    }
}

/// The tasks that a cancel ended as a slice.
pub(super) fn swept(at: EndPlace, stamp: WallMs, ended: Selected) -> Slice {
    let found = |seq: TaskSeq| Found {
        at: EndPlace { read: seq.0, ..at },
        stamp,
        change: Change::to(seq, TaskState::Cancelled),
        spec: None,
    };
    let next = match ended.next {
        Some(read) => EndPlace { read, ..at },
        None => behind(at.record),
    };
    Slice { found: ended.tasks.into_iter().map(found).collect(), next, cancel: None }
}
