//! The tracker's shell: committed batches → fold → store; answers questions between batches.
//!
//! Partitions hand over what is durable *before* they answer their callers, and a question notes
//! how far that was when it was asked: it is answered when the fold has come there, so the answer
//! has everything in it that was acknowledged before (P15). A tracker that cannot follow leaves
//! batches out and reads them from the log, a stretch at a time; between stretches it answers those
//! whose patience is over, and says how old the answer is. A loop and no actor, because it chooses
//! what it does next.

mod door;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use door::{Behind, Patience, Seen, TrackerDoor};
pub(crate) use state::TrackerState;

use crate::actor::engine::Engine;
use crate::actor::handle::{Answer, log_refusal};
use crate::actor::request::SeedWindow;
use crate::log::{Error, EventLog};
use crate::model::breakdown::{LevelCounts, TagCounts, Within};
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::priority::Priority;
use crate::model::reject::{Code, Reject};
use crate::model::tags;
use crate::model::time::{Now, Tick, WallMs};
use crate::model::view::{Attempt, TaskPage, TaskQuery, TaskView, TextAt, TrackedTask};
use crate::store::{CancelRecord, Selected, StoredText, TaskTexts};
use actix::ArbiterHandle;
use door::{Asked, Handed, Inbox};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Rows looked at before a page ends; about 20 ms of work.
const PAGE_BUDGET: u64 = 100_000;

/// Changes folded before questions are looked at again; about 20 ms of work.
const STRETCH: u64 = 16_384;
/// A batch that is on its way is waited for so long before it is read from the log.
const MISSED: Duration = Duration::from_millis(5);
/// Longest sleep, because of checkpoints.
const SLEEP: Duration = Duration::from_secs(1);
/// Questions that wait for the fold.
const WAITING_MAX: usize = 1_024;
/// Pause after the log could not be read.
const RETRY_MS: u64 = 1_000;

/// Rates over the last 60 s.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    /// Submit, allocate, complete, fail.
    pub(crate) total: [f64; 4],
    pub(crate) level_in: [f64; Priority::LEVELS],
    pub(crate) level_out: [f64; Priority::LEVELS],
}

/// Texts of tasks, read from the log.
struct LogTexts(Arc<dyn EventLog>);

impl TaskTexts for LogTexts {
    fn texts(&self, wanted: &[TextAt]) -> Result<Vec<StoredText>, String> {
        let tasks = self.0.read_tasks(wanted).map_err(|e| e.to_string())?;
        Ok(tasks.into_iter().map(|t| StoredText { spec: t.spec }).collect())
    }
}

impl TrackerDoor {
    /// An answer that knows everything acknowledged before.
    async fn fresh<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut TrackerState, WallMs) -> T + Send + 'static,
    ) -> Answer<T> {
        Ok(self.ask(Patience::Fresh, question).await?.value)
    }

    /// An answer at once.
    pub(super) async fn at_once<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut TrackerState, WallMs) -> T + Send + 'static,
    ) -> Answer<T> {
        Ok(self.ask(Patience::None, question).await?.value)
    }

    pub(crate) async fn task(&self, id: PartitionId, seq: TaskSeq) -> Answer<Option<TrackedTask>> {
        self.fresh(move |state, _| state.tracker.task(id, seq)).await
    }

    /// Where the texts of tasks lie, as far as is known at once; what was handed out is known as a
    /// rule.
    pub(crate) async fn texts(
        &self,
        id: PartitionId,
        seqs: Vec<TaskSeq>,
    ) -> Answer<Vec<Option<TextAt>>> {
        self.at_once(move |state, _| {
            let text = |seq: &TaskSeq| state.tracker.task(id, *seq).map(|row| row.text());
            seqs.iter().map(text).collect()
        })
        .await
    }

    pub(crate) async fn task_with_attempts(
        &self,
        id: PartitionId,
        seq: TaskSeq,
    ) -> Answer<Option<(TrackedTask, Vec<Attempt>)>> {
        let read = move |state: &mut TrackerState, _| {
            let row = state.tracker.task(id, seq)?;
            let attempts = state.tracker.attempts(id, seq);
            Some((row, attempts))
        };
        self.fresh(read).await
    }

    /// A page; what it is valid for is the caller's to say.
    pub(crate) async fn list(
        &self,
        query: TaskQuery,
        log: Arc<dyn EventLog>,
    ) -> Answer<Seen<TaskPage>> {
        let texts = LogTexts(Arc::clone(&log));
        let patience = Patience::of(query.fresh);
        let question =
            move |state: &mut TrackerState, _| state.tracker.list(&query, &texts, PAGE_BUDGET);
        let Seen { value, behind } = self.ask(patience, question).await?;
        let list = value.map_err(|reason| Reject::new(Code::LogUnavailable, reason))?;
        let wanted: Vec<_> = list.rows.iter().map(TrackedTask::text).collect();
        let stored = log.read_tasks(&wanted).map_err(|e| log_refusal(&e))?;
        let view = |(row, stored): (TrackedTask, crate::log::StoredTask)| {
            let mut spec = stored.spec;
            spec.payload.bytes = Vec::new();
            TaskView {
                row,
                spec,
                attempts: Vec::new(),
                result: None,
                payload_sha256: None,
                with_payload: false,
            }
        };
        let value = TaskPage {
            rows: list.rows.into_iter().zip(stored).map(view).collect(),
            next: list.next,
            scanned: list.scanned,
            positions: Vec::new(),
            lag_ms: 0,
        };
        Ok(Seen { value, behind })
    }

    pub(crate) async fn select(
        &self,
        query: TaskQuery,
        log: Arc<dyn EventLog>,
        from: (PartitionId, u64),
    ) -> Answer<Selected> {
        let texts = LogTexts(log);
        let found =
            self.fresh(move |state, _| state.tracker.select(&query, &texts, from, PAGE_BUDGET));
        found.await?.map_err(|reason| Reject::new(Code::LogUnavailable, reason))
    }

    /// First position not folded yet, of each partition.
    pub(crate) async fn cursors(&self) -> Answer<Vec<Position>> {
        self.fresh(|state, _| state.tracker.cursors()).await
    }

    pub(crate) async fn first_records(
        &self,
        job: Name,
        rows_max: u64,
    ) -> Answer<Vec<Option<Position>>> {
        let found = self.fresh(move |state, _| state.tracker.first_records(&job, rows_max)).await?;
        found.map_err(|reason| Reject::new(Code::TrackerBehind, reason))
    }

    pub(crate) async fn cancelled_by(
        &self,
        cancel: CancelRecord,
        job: Name,
        (from, most): (u64, (usize, u64)),
    ) -> Answer<Selected> {
        let found = self
            .fresh(move |state, _| state.tracker.cancelled_by(cancel, &job, from, most))
            .await?;
        found.map_err(|reason| Reject::new(Code::TrackerBehind, reason))
    }

    /// For each task its row, if it is of this job and was not purged.
    pub(crate) async fn rows_of(
        &self,
        job: Name,
        tasks: Vec<(PartitionId, TaskSeq)>,
    ) -> Answer<Vec<Option<TrackedTask>>> {
        self.fresh(move |state, _| {
            let row = |(id, seq)| state.tracker.task(id, seq).filter(|row| row.job == job);
            tasks.into_iter().map(row).collect()
        })
        .await
    }

    pub(crate) async fn rates(&self) -> Answer<Rates> {
        self.at_once(|state, now| {
            let rates = state.tracker.rates(now);
            Rates { total: rates.total, level_in: rates.level_in, level_out: rates.level_out }
        })
        .await
    }

    pub(crate) async fn level_counts(
        &self,
        job: Name,
        patience: Patience,
    ) -> Answer<Seen<LevelCounts>> {
        self.ask(patience, move |state, _| state.tracker.level_counts(&job)).await
    }

    pub(crate) async fn tag_counts(
        &self,
        within: Within,
        key: Name,
        patience: Patience,
    ) -> Answer<Seen<TagCounts>> {
        let question = move |state: &mut TrackerState, _| state.tracker.tag_counts(&within, &key);
        let Seen { value, behind } = self.ask(patience, question).await?;
        let value = value.map_err(|reason| Reject::new(Code::TrackerBehind, reason))?;
        Ok(Seen { value, behind })
    }

    /// Hand-outs per second of a partition over the last 60 s.
    pub(crate) async fn hand_outs(&self, id: PartitionId) -> Answer<f64> {
        self.at_once(move |state, now| state.tracker.hand_outs(id, now)).await
    }

    pub(crate) async fn windows(&self, limit: usize) -> Answer<Seen<Vec<SeedWindow>>> {
        let question = move |state: &mut TrackerState, now| {
            let windows = state.tracker.windows(limit, now);
            let shown = |(time, changes)| SeedWindow { changes, time };
            windows.into_iter().map(shown).collect()
        };
        self.ask(Patience::None, question).await
    }

    pub(crate) async fn job_rates(&self) -> BTreeMap<Name, f64> {
        self.at_once(|state, now| state.tracker.job_rates(now)).await.unwrap_or_default()
    }

    /// Folds everything sent so far and writes it down; at a clean stop.
    pub(crate) async fn close(&self) {
        let done = self.ask(Patience::Last, |state, _| state.tracker.checkpoint()).await;
        if let Ok(Seen { value: Err(error), .. }) = done {
            tracing::warn!(%error, "the tracker was not written; it will be folded again");
        }
    }
}

/// Does a task pass a filter (all parts but order, limit and cursor)?
pub(crate) fn matches(view: &TaskView, query: &TaskQuery) -> bool {
    let row = &view.row;
    query.scopes.cover(&row.job)
        && query.job.as_ref().is_none_or(|j| *j == row.job)
        && query.priority.is_none_or(|p| p == row.priority)
        && query.worker.as_ref().is_none_or(|w| Some(w) == row.worker.as_ref())
        && (query.states == 0 || query.states >> row.state.index() & 1 == 1)
        && tags::fits(view.spec.tag.as_deref(), &query.tags, &query.tags_any)
        && query.class.as_ref().is_none_or(|c| row.error.as_ref().is_some_and(|e| e.class == *c))
        && row.submitted >= query.since
        && (query.until == WallMs(0) || row.submitted < query.until)
}

/// Starts the tracker on its thread and opens its door.
pub(crate) fn start(arbiter: &ArbiterHandle, state: TrackerState, engine: Arc<Engine>) {
    let Some(inbox) = engine.tracker.open() else {
        return tracing::error!("the tracker was started twice");
    };
    let turns = Turns { state, engine, inbox, waiting: Vec::new(), not_before: Tick(0) };
    if !arbiter.spawn(turns.run()) {
        tracing::error!("the thread of the tracker has ended");
    }
}

/// Owns the tracker, on its own thread.
struct Turns {
    state: TrackerState,
    engine: Arc<Engine>,
    inbox: Inbox,
    waiting: Vec<Asked>,
    /// The log is not read before.
    not_before: Tick,
}

/// What woke the tracker.
enum Woken {
    Batch(Handed),
    Question(Asked),
    /// Nothing came for a while.
    Nothing,
}

impl Turns {
    async fn run(mut self) {
        loop {
            let woken = self.wait().await;
            let started = self.engine.clock.now();
            self.turn(woken, started);
            let took_ms = self.engine.clock.now().tick.since(started.tick);
            let took = Duration::from_millis(took_ms);
            self.engine.metrics.tracker_apply_seconds.record(took);
            tokio::task::yield_now().await;
        }
    }

    async fn wait(&mut self) -> Woken {
        let now = self.engine.clock.now().tick;
        let reads = self.state.gap && now >= self.not_before;
        let due = self.waiting.iter().map(|asked| asked.until.0.saturating_sub(now.0)).min();
        let due = due.map_or(SLEEP, |ms| Duration::from_millis(ms).min(SLEEP));
        let pause = match reads {
            true => Duration::ZERO,
            false if self.is_behind() => due.min(MISSED),
            false => due,
        };
        tokio::select! {
            biased;
            Some(asked) = self.inbox.questions.recv(), if self.waiting.len() < WAITING_MAX => {
                Woken::Question(asked)
            }
            Some(batch) = self.inbox.batches.recv() => Woken::Batch(batch),
            () = tokio::time::sleep(pause) => Woken::Nothing,
        }
    }

    fn is_behind(&self) -> bool {
        let heads = self.engine.tracker.heads();
        heads.iter().zip(self.state.tracker.cursors()).any(|(head, cursor)| *head > cursor)
    }

    fn turn(&mut self, woken: Woken, now: Now) {
        self.state.tracker.advance(now.wall);
        match woken {
            Woken::Question(asked) => self.waiting.push(asked.taken_at(now.tick)),
            Woken::Batch(batch) => self.take_batches(batch),
            // No batch is on its way: it was left out.
            Woken::Nothing => self.state.gap |= self.is_behind(),
        }
        while self.waiting.len() < WAITING_MAX
            && let Ok(asked) = self.inbox.questions.try_recv()
        {
            self.waiting.push(asked.taken_at(now.tick));
        }
        if self.state.gap && now.tick >= self.not_before {
            self.catch_up(now.tick);
        }
        if self.state.tracker.checkpoint_due()
            && let Err(error) = self.state.tracker.checkpoint()
        {
            tracing::error!(%error, "the tracker could not write its pages");
        }
        self.state.heal(now.wall);
        self.engine.tracker.settle(&self.state.tracker.cursors());
        self.answer(now);
    }

    fn take_batches(&mut self, first: Handed) {
        let (mut next, mut room) = (Some(first), STRETCH);
        while let Some(batch) = next {
            self.engine.tracker.taken(&batch);
            self.state.take(&batch, &self.engine.tracker);
            room = room.saturating_sub(batch.positions.len() as u64);
            next = if room > 0 { self.inbox.batches.try_recv().ok() } else { None };
        }
    }

    fn catch_up(&mut self, now: Tick) {
        let read = match self.engine.log() {
            Ok(log) => self.state.catch_up(&*log, &self.engine.tracker),
            Err(reject) => Err(Error::Failed(reject.detail.into_owned())),
        };
        if let Err(error) = read {
            tracing::error!(%error, "the tracker cannot read the log");
            self.not_before = Tick(now.0 + RETRY_MS);
        }
    }

    fn answer(&mut self, now: Now) {
        if self.state.healing {
            // Dropped, which tells those who ask.
            self.waiting.clear();
        }
        let state = &self.state;
        let over = |asked: &Asked| asked.until <= now.tick || asked.met(state);
        let (over, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(over);
        self.waiting = waiting;
        let over: Vec<Asked> = over;
        for asked in over {
            asked.answer(&mut self.state, now.wall);
        }
    }
}
