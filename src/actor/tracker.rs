//! The tracker's shell: committed batches → fold → store; answers questions between batches.
//!
//! Partitions push what is durable into a bounded channel *before* they answer their callers, and
//! questions go through the
//! same channel, so an answer has everything in it that was acknowledged before the question (P15).
//! When the channel is
//! full a batch is left out; its number is then missing and the tracker reads the gap from the log.

use crate::actor::engine::Engine;
use crate::actor::handle::{Answer, log_refusal};
use crate::actor::request::SeedWindow;
use crate::log::{Error, EventLog};
use crate::model::breakdown::{LevelCounts, TagCounts, Within};
use crate::model::event::Stamped;
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::priority::Priority;
use crate::model::reject::{Code, Reject};
use crate::model::time::WallMs;
use crate::model::view::{Attempt, TaskPage, TaskQuery, TaskView, TrackedTask};
use crate::store::{CancelRecord, Selected, StoredText, TaskTexts, Tracker};
use actix::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tokio::sync::{mpsc, oneshot};

/// Batches and questions that may wait in front of the tracker.
const CHANNEL: usize = 4_096;
/// Rows looked at before a page ends; about 20 ms of work.
const PAGE_BUDGET: u64 = 100_000;

/// Shortest time between two folds from the beginning; the disk may be bad for good.
const HEAL_EVERY_MS: u64 = 60_000;

type Question = Box<dyn FnOnce(&mut TrackerState, WallMs) + Send>;

enum Message {
    Committed { id: PartitionId, number: u64, positions: Vec<Position>, events: Arc<[Stamped]> },
    Ask(Question),
    Checkpoint,
}

/// Rates over the last 60 s.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    /// Submit, allocate, complete, fail.
    pub(crate) total: [f64; 4],
    pub(crate) level_in: [f64; Priority::LEVELS],
    pub(crate) level_out: [f64; Priority::LEVELS],
}

/// The tracker with what its shell needs to notice gaps.
pub(crate) struct TrackerState {
    pub(crate) tracker: Tracker,
    expected: Vec<u64>,
    /// Not folded from the beginning again before.
    heal_after: WallMs,
}

impl TrackerState {
    pub(crate) fn new(tracker: Tracker, partitions: usize) -> Self {
        Self { tracker, expected: vec![1; partitions], heal_after: WallMs(0) }
    }

    /// Empties the store when it was folded from another log: one cut since then, an older copy,
    /// or another directory's. The log is the truth; the tracker follows it from 0 again.
    pub(crate) fn prove(&mut self, log: &dyn EventLog) -> Result<(), Error> {
        let foreign = |(position, at): (Position, WallMs)| {
            position >= log.end() || !log.read_event(position).is_ok_and(|record| record.at == at)
        };
        let mut witnesses = self.tracker.witnesses().into_iter().flatten();
        let Some((position, _)) = witnesses.find(|witness| foreign(*witness)) else {
            return Ok(());
        };
        tracing::warn!(%position, "the tracker was folded from another log and is folded again");
        self.tracker.reset().map_err(|e| Error::Failed(format!("the tracker's store: {e}")))
    }

    /// First position not folded yet.
    pub(crate) fn cursor(&self, id: PartitionId) -> Position {
        self.tracker.cursors().get(id.index()).copied().unwrap_or_default()
    }

    pub(crate) fn fold_one(&mut self, id: PartitionId, position: Position, stamped: &Stamped) {
        if position >= self.cursor(id) {
            self.tracker.fold(id, &[(position, stamped)]);
        }
    }

    /// Reads what the channel left out.
    fn fill_gap(&mut self, id: PartitionId, log: &dyn EventLog) {
        let from = self.cursor(id);
        let scanned = log.scan(&[(id, from)], &mut |record| {
            self.fold_one(record.partition, record.position, &record.stamped);
            true
        });
        if let Err(error) = scanned {
            tracing::error!(partition = %id, %error, "the tracker cannot read the log");
        }
    }

    /// After damage: empties the store and folds the whole log again. Until that has worked every
    /// question is refused, so nothing wrong is ever shown.
    pub(crate) fn heal(&mut self, log: &dyn EventLog, now: WallMs) {
        let Some(damage) = self.tracker.damage().filter(|_| now >= self.heal_after) else { return };
        self.heal_after = now.plus(HEAL_EVERY_MS);
        tracing::error!(%damage, "the tracker is folded again from the beginning");
        if let Err(error) = self.tracker.reset() {
            tracing::error!(%error, "the tracker's store cannot be emptied");
            return;
        }
        for number in 0..self.expected.len() {
            let id = u16::try_from(number).expect("partitions are numbered by u16");
            self.fill_gap(PartitionId(id), log);
            // What still waits in the channel may lie beyond the scan: the next batch asks again.
            self.expected[number] = 0;
        }
    }
}

/// Texts of tasks, read from the log.
struct LogTexts(Arc<dyn EventLog>);

impl TaskTexts for LogTexts {
    fn texts(&self, wanted: &[(Position, u32)]) -> Result<Vec<StoredText>, String> {
        let tasks = self.0.read_tasks(wanted).map_err(|e| e.to_string())?;
        Ok(tasks.into_iter().map(|t| StoredText { spec: t.spec }).collect())
    }
}

/// The door of the tracker; opened once the tracker runs.
#[derive(Clone, Default)]
pub(crate) struct TrackerDoor {
    sender: Arc<OnceLock<mpsc::Sender<Message>>>,
}

impl TrackerDoor {
    /// Starts the tracker's actor on its arbiter.
    pub(crate) fn open(&self, arbiter: &ArbiterHandle, state: TrackerState, engine: Arc<Engine>) {
        let (sender, receiver) = mpsc::channel(CHANNEL);
        let started = TrackerActor::start_in_arbiter(arbiter, move |ctx| {
            ctx.add_stream(Chunks { receiver });
            TrackerActor { state, engine }
        });
        // The stream holds the actor; its address is not needed.
        drop(started);
        if self.sender.set(sender).is_err() {
            tracing::error!("the tracker was started twice");
        }
    }

    /// Hands over a durable batch; never blocks a partition.
    pub(crate) fn committed(
        &self,
        id: PartitionId,
        number: u64,
        positions: Vec<Position>,
        events: Arc<[Stamped]>,
    ) {
        let Some(sender) = self.sender.get() else { return };
        let message = Message::Committed { id, number, positions, events };
        if sender.try_send(message).is_err() {
            tracing::debug!(partition = %id, "tracker channel full; the gap is read from the log");
        }
    }

    /// Lets the tracker write its pages if it is time.
    pub(crate) fn checkpoint(&self) {
        if let Some(sender) = self.sender.get()
            && sender.try_send(Message::Checkpoint).is_err()
        {
            tracing::debug!("tracker busy; checkpoint at the next tick");
        }
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut TrackerState, WallMs) -> T + Send + 'static,
    ) -> Answer<T> {
        let behind = || {
            Reject::new(Code::TrackerBehind, "the tracker is catching up").retry_unapplied(1_000)
        };
        let sender = self.sender.get().ok_or_else(behind)?;
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |state, now| {
            let value = question(state, now);
            if state.tracker.damage().is_none() {
                // The asker may have gone.
                drop(reply.send(value));
            }
        });
        sender.send(Message::Ask(question)).await.map_err(|_| behind())?;
        answer.await.map_err(|_| behind())
    }

    pub(crate) async fn task(&self, id: PartitionId, seq: TaskSeq) -> Answer<Option<TrackedTask>> {
        self.ask(move |state, _| state.tracker.task(id, seq)).await
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
        self.ask(read).await
    }

    pub(crate) async fn list(&self, query: TaskQuery, log: Arc<dyn EventLog>) -> Answer<TaskPage> {
        let texts = LogTexts(Arc::clone(&log));
        let found =
            self.ask(move |state, _| state.tracker.list(&query, &texts, PAGE_BUDGET)).await?;
        let list = found.map_err(|reason| Reject::new(Code::LogUnavailable, reason))?;
        let wanted: Vec<_> = list.rows.iter().map(|r| (r.record, r.index)).collect();
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
        Ok(TaskPage {
            rows: list.rows.into_iter().zip(stored).map(view).collect(),
            next: list.next,
            scanned: list.scanned,
            positions: Vec::new(),
            lag_ms: 0,
        })
    }

    pub(crate) async fn select(
        &self,
        query: TaskQuery,
        log: Arc<dyn EventLog>,
        from: (PartitionId, u64),
    ) -> Answer<Selected> {
        let texts = LogTexts(log);
        let found =
            self.ask(move |state, _| state.tracker.select(&query, &texts, from, PAGE_BUDGET));
        found.await?.map_err(|reason| Reject::new(Code::LogUnavailable, reason))
    }

    /// First position not folded yet, of each partition.
    pub(crate) async fn cursors(&self) -> Answer<Vec<Position>> {
        self.ask(|state, _| state.tracker.cursors()).await
    }

    pub(crate) async fn first_record(&self, job: Name, rows_max: u64) -> Answer<Option<Position>> {
        let found = self.ask(move |state, _| state.tracker.first_record(&job, rows_max)).await?;
        found.map_err(|reason| Reject::new(Code::TrackerBehind, reason))
    }

    pub(crate) async fn cancelled_by(
        &self,
        cancel: CancelRecord,
        job: Name,
        (from, most): (u64, (usize, u64)),
    ) -> Answer<Selected> {
        let found =
            self.ask(move |state, _| state.tracker.cancelled_by(cancel, &job, from, most)).await?;
        found.map_err(|reason| Reject::new(Code::TrackerBehind, reason))
    }

    /// For each task its row, if it is of this job and was not purged.
    pub(crate) async fn rows_of(
        &self,
        job: Name,
        tasks: Vec<(PartitionId, TaskSeq)>,
    ) -> Answer<Vec<Option<TrackedTask>>> {
        self.ask(move |state, _| {
            let row = |(id, seq)| state.tracker.task(id, seq).filter(|row| row.job == job);
            tasks.into_iter().map(row).collect()
        })
        .await
    }

    pub(crate) async fn rates(&self) -> Answer<Rates> {
        self.ask(|state, now| {
            let rates = state.tracker.rates(now);
            Rates { total: rates.total, level_in: rates.level_in, level_out: rates.level_out }
        })
        .await
    }

    pub(crate) async fn level_counts(&self, job: Name) -> Answer<LevelCounts> {
        self.ask(move |state, _| state.tracker.level_counts(&job)).await
    }

    pub(crate) async fn tag_counts(&self, within: Within, key: Name) -> Answer<TagCounts> {
        let counted = self.ask(move |state, _| state.tracker.tag_counts(&within, &key)).await?;
        counted.map_err(|reason| Reject::new(Code::TrackerBehind, reason))
    }

    /// Hand-outs per second of a partition over the last 60 s.
    pub(crate) async fn hand_outs(&self, id: PartitionId) -> Answer<f64> {
        self.ask(move |state, now| state.tracker.hand_outs(id, now)).await
    }

    pub(crate) async fn windows(&self, limit: usize) -> Answer<Vec<SeedWindow>> {
        self.ask(move |state, now| {
            let windows = state.tracker.windows(limit, now);
            let shown = |(time, changes)| SeedWindow { changes, time };
            windows.into_iter().map(shown).collect()
        })
        .await
    }

    pub(crate) async fn job_rates(&self) -> BTreeMap<Name, f64> {
        self.ask(|state, now| state.tracker.job_rates(now)).await.unwrap_or_default()
    }

    /// Folds everything sent so far and writes it down; at a clean stop.
    pub(crate) async fn close(&self) {
        let done = self.ask(|state, _| state.tracker.checkpoint()).await;
        if let Ok(Err(error)) = done {
            tracing::warn!(%error, "the tracker was not written; it will be folded again");
        }
    }
}

/// Does a task pass a filter (all parts but order, limit and cursor)?
pub(crate) fn matches(view: &TaskView, query: &TaskQuery) -> bool {
    let row = &view.row;
    let tags = view.spec.tag.as_ref().and_then(|t| crate::model::tags::TagSet::parse(t).ok());
    let tags = tags.unwrap_or_default();
    query.scopes.cover(&row.job)
        && query.job.as_ref().is_none_or(|j| *j == row.job)
        && query.priority.is_none_or(|p| p == row.priority)
        && query.worker.as_ref().is_none_or(|w| Some(w) == row.worker.as_ref())
        && (query.states == 0 || query.states >> row.state.index() & 1 == 1)
        && query.tags.iter().all(|t| tags.contains(t))
        && (query.tags_any.is_empty() || query.tags_any.iter().any(|t| tags.contains(t)))
        && query.class.as_ref().is_none_or(|c| row.error.as_ref().is_some_and(|e| e.class == *c))
        && row.submitted >= query.since
        && (query.until == WallMs(0) || row.submitted < query.until)
}

/// Whole chunks of what waits.
struct Chunks {
    receiver: mpsc::Receiver<Message>,
}

impl futures_util::Stream for Chunks {
    type Item = Vec<Message>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let mut chunk = Vec::new();
        self.receiver.poll_recv_many(cx, &mut chunk, 256).map(|n| (n > 0).then_some(chunk))
    }
}

/// Owns the tracker on its own thread.
struct TrackerActor {
    state: TrackerState,
    engine: Arc<Engine>,
}

impl Actor for TrackerActor {
    type Context = Context<Self>;
}

impl StreamHandler<Vec<Message>> for TrackerActor {
    fn handle(&mut self, chunk: Vec<Message>, _: &mut Self::Context) {
        let started = self.engine.clock.now();
        let now = started.wall;
        self.state.tracker.advance(now);
        for message in chunk {
            match message {
                Message::Committed { id, number, positions, events } => {
                    self.committed(id, number, &positions, &events);
                }
                Message::Ask(question) => question(&mut self.state, now),
                Message::Checkpoint => {
                    if self.state.tracker.checkpoint_due()
                        && let Err(error) = self.state.tracker.checkpoint()
                    {
                        tracing::error!(%error, "the tracker could not write its pages");
                    }
                }
            }
        }
        if self.state.tracker.damage().is_some()
            && let Ok(log) = self.engine.log()
        {
            self.state.heal(&*log, now);
        }
        let took_ms = self.engine.clock.now().tick.since(started.tick);
        let took = std::time::Duration::from_millis(took_ms);
        self.engine.metrics.tracker_apply_seconds.record(took);
    }
}

impl TrackerActor {
    fn committed(
        &mut self,
        id: PartitionId,
        number: u64,
        positions: &[Position],
        events: &[Stamped],
    ) {
        let in_order = self.state.expected[id.index()] == number;
        self.state.expected[id.index()] = number + 1;
        if !in_order {
            match self.engine.log() {
                Ok(log) => self.state.fill_gap(id, &*log),
                // Asked again with the next batch.
                Err(_) => self.state.expected[id.index()] = 0,
            }
            return;
        }
        let cursor = self.state.cursor(id);
        let pairs = positions.iter().copied().zip(events);
        let fresh: Vec<(Position, &Stamped)> = pairs.filter(|(p, _)| *p >= cursor).collect();
        self.state.tracker.fold(id, &fresh);
    }
}
