//! The door of the tracker: batches go in, questions go in, and who asks says how long he waits
//! for an answer that knows everything acknowledged before.
//!
//! What is handed in and not folded yet is held up to a bound; beyond it a batch is left out and
//! the tracker reads it from the log (ADR 0020).

use super::TrackerState;
use crate::actor::handle::Answer;
use crate::model::event::{Event, Stamped};
use crate::model::id::{PartitionId, Position};
use crate::model::reject::{Code, Reject};
use crate::model::time::{Tick, WallMs};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{mpsc, oneshot};

/// Batches held.
const BATCHES: usize = 4_096;
/// Their bytes, estimated; one batch of any size is taken.
const BATCH_BYTES: u64 = 64 << 20;
/// Questions that wait for the tracker's attention.
const QUESTIONS: usize = 1_024;
/// Of a task or an attempt in a batch, beside its blob; an estimate.
const CHANGE_BYTES: u64 = 256;

/// How long a question waits for what was acknowledged before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all: rates.
    None,
    /// A moment; then what there is, with its age: lists and counters.
    Usual,
    /// 5 s, or no answer: what must not be old.
    Fresh,
    /// 5 s, then what there is: the last words at a stop.
    Last,
}

impl Patience {
    pub(crate) fn of(fresh: bool) -> Self {
        if fresh { Self::Fresh } else { Self::Usual }
    }

    fn ms(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Usual => 250,
            Self::Fresh | Self::Last => 5_000,
        }
    }
}

/// An answer, and what it knows.
#[derive(Debug)]
pub(crate) struct Seen<T> {
    pub(crate) value: T,
    /// `None`: everything acknowledged before the question.
    pub(crate) behind: Option<Behind>,
}

impl<T> Seen<T> {
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Seen<U> {
        Seen { value: change(self.value), behind: self.behind }
    }
}

/// What the tracker had not folded when it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Behind {
    /// Age of what was folded last, ms.
    pub(crate) lag_ms: u64,
    /// First position not folded, of each partition.
    pub(crate) cursors: Vec<Position>,
}

/// A durable batch.
pub(super) struct Handed {
    pub(super) id: PartitionId,
    /// End of the batch before it: with everything below that, this one can be folded.
    pub(super) after: Position,
    pub(super) positions: Vec<Position>,
    pub(super) events: Arc<[Stamped]>,
    /// Changes handed in by this partition, these included.
    pub(super) changes: u64,
    bytes: u64,
}

type Run = Box<dyn FnOnce(&mut TrackerState, WallMs, Option<Behind>) + Send>;

/// A question.
pub(super) struct Asked {
    /// What was durable when it was asked; empty = no matter.
    heads: Vec<Position>,
    patience: Patience,
    /// When its patience ends.
    pub(super) until: Tick,
    run: Run,
}

impl Asked {
    pub(super) fn met(&self, state: &TrackerState) -> bool {
        self.heads.iter().zip(0u16..).all(|(head, id)| state.cursor(PartitionId(id)) >= *head)
    }

    /// Its patience begins when the tracker takes it.
    pub(super) fn taken_at(mut self, now: Tick) -> Self {
        self.until = Tick(now.0 + self.patience.ms());
        self
    }

    /// Answers; a question that wants no old answer and came to its end is dropped, which tells its
    /// asker.
    pub(super) fn answer(self, state: &mut TrackerState, now: WallMs) {
        let behind = if self.met(state) { None } else { Some(state.behind(now)) };
        if behind.is_none() || self.patience != Patience::Fresh {
            (self.run)(state, now, behind);
        }
    }
}

/// How far a partition and its fold have come.
#[derive(Default)]
struct Mark {
    /// End of what is durable.
    head: AtomicU64,
    /// Changes handed in, and those of them that are folded.
    handed: AtomicU64,
    folded: AtomicU64,
}

struct Shared {
    marks: Vec<Mark>,
    held_bytes: AtomicU64,
    queues: OnceLock<(mpsc::Sender<Handed>, mpsc::Sender<Asked>)>,
}

/// The door; opened once the tracker runs.
#[derive(Clone)]
pub(crate) struct TrackerDoor {
    shared: Arc<Shared>,
}

/// What the tracker takes from its door.
pub(super) struct Inbox {
    pub(super) batches: mpsc::Receiver<Handed>,
    pub(super) questions: mpsc::Receiver<Asked>,
}

impl TrackerDoor {
    pub(crate) fn new(partitions: usize) -> Self {
        let marks = (0..partitions).map(|_| Mark::default()).collect();
        let (held_bytes, queues) = (AtomicU64::new(0), OnceLock::new());
        Self { shared: Arc::new(Shared { marks, held_bytes, queues }) }
    }

    /// Opens it; `None` when it is open.
    pub(super) fn open(&self) -> Option<Inbox> {
        let (batch, batches) = mpsc::channel(BATCHES);
        let (question, questions) = mpsc::channel(QUESTIONS);
        self.shared.queues.set((batch, question)).ok()?;
        Some(Inbox { batches, questions })
    }

    /// The tracker reads up to here, whoever may hand it in or not: the `Owner` record of a
    /// partition of this process, because what that had appended before it fell may never have
    /// been handed in; what is heard of a partition that another instance serves.
    pub(crate) fn reached(&self, id: PartitionId, position: Position) {
        self.shared.marks[id.index()].head.fetch_max(position.0 + 1, Ordering::AcqRel);
    }

    /// Hands over a durable batch; never blocks a partition.
    pub(crate) fn committed(
        &self,
        id: PartitionId,
        positions: Vec<Position>,
        events: Arc<[Stamped]>,
    ) {
        let Some((batches, _)) = self.shared.queues.get() else { return };
        let Some(last) = positions.last() else { return };
        let (changes, bytes) = size(&events);
        let mark = &self.shared.marks[id.index()];
        // In this order: see `settle`.
        let after = Position(mark.head.swap(last.0 + 1, Ordering::AcqRel));
        let changes = mark.handed.fetch_add(changes, Ordering::AcqRel) + changes;
        let held = self.shared.held_bytes.fetch_add(bytes, Ordering::AcqRel);
        let batch = Handed { id, after, positions, events, changes, bytes };
        if (held > 0 && held + bytes > BATCH_BYTES) || batches.try_send(batch).is_err() {
            self.shared.held_bytes.fetch_sub(bytes, Ordering::AcqRel);
            tracing::trace!(partition = %id, "the tracker will read a batch from the log");
        }
    }

    /// Gives back the room of a batch.
    pub(super) fn taken(&self, batch: &Handed) {
        self.shared.held_bytes.fetch_sub(batch.bytes, Ordering::AcqRel);
    }

    /// Notes how far the fold of a partition has come: `changes` handed in by it.
    pub(super) fn folded(&self, id: PartitionId, changes: u64) {
        self.shared.marks[id.index()].folded.fetch_max(changes, Ordering::AcqRel);
    }

    /// Notes changes that were read from the log.
    pub(super) fn read(&self, id: PartitionId, changes: u64) {
        let mark = &self.shared.marks[id.index()];
        let folded = mark.folded.load(Ordering::Acquire) + changes;
        mark.folded.store(folded.min(mark.handed.load(Ordering::Acquire)), Ordering::Release);
    }

    /// Notes what is folded wherever the cursor has reached the head.
    pub(super) fn settle(&self, cursors: &[Position]) {
        for (mark, cursor) in self.shared.marks.iter().zip(cursors) {
            // In this order: what was handed in before it was read lies below the head.
            let handed = mark.handed.load(Ordering::Acquire);
            if mark.head.load(Ordering::Acquire) <= cursor.0 {
                mark.folded.fetch_max(handed, Ordering::AcqRel);
            }
        }
    }

    /// End of what is durable, of each partition.
    pub(super) fn heads(&self) -> Vec<Position> {
        let head = |mark: &Mark| Position(mark.head.load(Ordering::Acquire));
        self.shared.marks.iter().map(head).collect()
    }

    /// Changes of tasks that are durable and not folded.
    pub(crate) fn lag(&self) -> u64 {
        (0u16..).take(self.shared.marks.len()).map(|id| self.lag_of(PartitionId(id))).sum()
    }

    /// The same of a partition.
    pub(crate) fn lag_of(&self, id: PartitionId) -> u64 {
        let mark = &self.shared.marks[id.index()];
        let folded = mark.folded.load(Ordering::Acquire);
        mark.handed.load(Ordering::Acquire).saturating_sub(folded)
    }

    /// Asks the tracker.
    ///
    /// # Errors
    /// `tracker_behind`: not open yet, being folded again, or a fresh answer took too long.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        patience: Patience,
        question: impl FnOnce(&mut TrackerState, WallMs) -> T + Send + 'static,
    ) -> Answer<Seen<T>> {
        let behind = || {
            Reject::new(Code::TrackerBehind, "the tracker is catching up").retry_unapplied(1_000)
        };
        let (_, questions) = self.shared.queues.get().ok_or_else(behind)?;
        let (reply, answer) = oneshot::channel();
        let run: Run = Box::new(move |state, now, behind| {
            let value = question(state, now);
            if state.tracker.damage().is_none() {
                // The asker may have gone.
                drop(reply.send(Seen { value, behind }));
            }
        });
        let heads = if patience == Patience::None { Vec::new() } else { self.heads() };
        let asked = Asked { heads, patience, until: Tick(0), run };
        questions.send(asked).await.map_err(|_| behind())?;
        answer.await.map_err(|_| behind())
    }
}

/// Changes of tasks in a batch, and about its bytes in memory.
fn size(events: &[Stamped]) -> (u64, u64) {
    events.iter().fold((0, 0), |(changes, bytes), stamped| {
        let (more, blobs) = size_of(&stamped.event);
        (changes + more, bytes + more * CHANGE_BYTES + blobs)
    })
}

/// Changes of tasks by an event, and bytes of its blobs. An array is one change, whatever it holds.
pub(super) fn size_of(event: &Event) -> (u64, u64) {
    let listed = |count: usize| (count as u64, 0);
    match event {
        Event::Submitted { tasks, .. } => {
            let blobs = tasks.iter().map(|task| task.payload.bytes.len() as u64).sum();
            (tasks.len() as u64, blobs)
        }
        Event::Completed(tasks) => {
            let results = tasks.iter().filter_map(|done| done.result.as_ref());
            (tasks.len() as u64, results.map(|result| result.bytes.len() as u64).sum())
        }
        Event::Allocated { tasks, .. } => listed(tasks.len()),
        Event::Started(tasks) => listed(tasks.len()),
        Event::Failed { tasks, .. } => listed(tasks.len()),
        Event::Released { tasks, .. } => listed(tasks.len()),
        Event::Cancelled(tasks) | Event::Purged(tasks) | Event::Redriven { tasks, .. } => {
            listed(tasks.len())
        }
        Event::Owner { .. }
        | Event::JobDefined { .. }
        | Event::JobChanged { .. }
        | Event::LevelChanged { .. }
        | Event::WorkerDrained { .. }
        | Event::SubmittedArray { .. }
        | Event::Key { .. }
        | Event::Duplicates(_)
        | Event::Inbox { .. }
        | Event::Operation { .. } => (1, 0),
    }
}
