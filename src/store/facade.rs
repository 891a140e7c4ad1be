//! [`Tracker`]: fold, read, list, checkpoint over a [`TrackerStore`].

use crate::core::tracker::{self, Rows};
use crate::model::breakdown::TagCaps;
use crate::model::event::Stamped;
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::row::Row;
use crate::model::time::WallMs;
use crate::model::view::{Attempt, ResultAt, TrackedTask};
use crate::store::block::{Error, TrackerStore};
use crate::store::cache::Cache;
use crate::store::details::Histories;
use crate::store::inner::Inner;
use crate::store::ledger::Ledger;
use crate::store::proven::proven;
use crate::store::rates::{Counter, Rates};
use crate::store::vault::Cursor;
use std::collections::{BTreeMap, VecDeque};

/// Longest time between checkpoints, ms.
const CHECKPOINT_MS: u64 = 10_000;

/// The tracker: rows by sequence number, folded from the log.
pub struct Tracker {
    pub(crate) inner: Inner,
    last_checkpoint: WallMs,
    pub(crate) now: WallMs,
    /// The last write was refused; the next try waits for its time.
    refused: bool,
}

impl Tracker {
    /// Opens a store. An empty, doubtful or foreign one starts from position 0: see
    /// [`Self::cursors`].
    ///
    /// # Errors
    /// The store cannot even be emptied.
    pub fn open(
        store: Box<dyn TrackerStore>,
        partitions: u16,
        recent_max: usize,
        now: WallMs,
    ) -> Result<Self, Error> {
        Self::open_capped(store, partitions, recent_max, TagCaps::default(), now)
    }

    /// As [`Self::open`], with caps of its own for the tag counters; a store that was counted under
    /// others is folded again.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_capped(
        store: Box<dyn TrackerStore>,
        partitions: u16,
        recent_max: usize,
        caps: TagCaps,
        now: WallMs,
    ) -> Result<Self, Error> {
        let (vault, cursors, ledger, counts) = proven(store, partitions, caps)?;
        let inner = Inner {
            vault,
            cache: Cache::default(),
            histories: Histories::default(),
            ledger,
            counts,
            cursors,
            counter: Counter::new(now),
            recent: VecDeque::new(),
            recent_max,
            changes: 0,
            damage: None,
        };
        let mut tracker = Self { inner, last_checkpoint: now, now, refused: false };
        tracker.refill_recent();
        Ok(tracker)
    }

    /// Empties the store and forgets everything: the log has to be folded from position 0 again.
    ///
    /// # Errors
    /// The store refused.
    pub fn reset(&mut self) -> Result<(), Error> {
        let inner = &mut self.inner;
        inner.cache.clear();
        inner.histories.clear();
        inner.ledger = Ledger::default();
        inner.counts = inner.counts.emptied();
        inner.cursors.fill(Cursor::default());
        inner.recent.clear();
        inner.vault.reset()?;
        inner.damage = None;
        self.refused = false;
        Ok(())
    }

    /// First position not folded, per partition.
    #[must_use]
    pub fn cursors(&self) -> Vec<Position> {
        self.inner.cursors.iter().map(|cursor| cursor.position).collect()
    }

    /// First position not folded of a partition.
    #[must_use]
    pub fn cursor(&self, partition: PartitionId) -> Position {
        self.inner.cursors.get(partition.index()).map(|cursor| cursor.position).unwrap_or_default()
    }

    /// The last record folded of each partition: position and stamp. A log that has another record
    /// there, or none, is not the one that was folded.
    #[must_use]
    pub fn witnesses(&self) -> Vec<Option<(Position, WallMs)>> {
        self.inner.cursors.iter().map(|cursor| cursor.witness).collect()
    }

    /// Folds durable records; what lies below the cursor is passed over. Nothing is folded once
    /// there is [`Self::damage`].
    pub fn fold(&mut self, partition: PartitionId, records: &[(Position, &Stamped)]) {
        for (position, stamped) in records {
            self.fold_one(partition, *position, stamped, &[]);
        }
    }

    /// Folds one record, as [`Self::fold`]. `sizes` are those of its payloads or results, if its
    /// reader left them out.
    pub fn fold_one(
        &mut self,
        partition: PartitionId,
        position: Position,
        stamped: &Stamped,
        sizes: &[u32],
    ) {
        let inner = &mut self.inner;
        let Cursor { position: from, next, .. } = inner.cursors[partition.index()];
        if position < from {
            return;
        }
        let admits = stamped.event.admits().filter(|(_, count)| *count > 0);
        if let Some((first, _)) = admits.filter(|(first, _)| *first != next) {
            let gap = format!("the log goes on at task {first}, the tracker at {next}");
            inner.damage.get_or_insert(Error::Damaged(gap));
        }
        if inner.damage.is_some() {
            return;
        }
        let cursor = &mut inner.cursors[partition.index()];
        cursor.position = Position(position.0 + 1);
        cursor.witness = Some((position, stamped.at));
        tracker::fold(inner, partition, position, stamped, sizes);
        if !self.refused && self.inner.much_waits() {
            self.write_or_wait();
        }
    }

    fn write_or_wait(&mut self) {
        if let Err(error) = self.checkpoint() {
            tracing::error!(%error, "the tracker's store refused a checkpoint");
        }
    }

    /// Tells the time, for delays that have passed and for checkpoints.
    pub fn advance(&mut self, now: WallMs) {
        self.now = now;
        self.inner.pass_time(now);
    }

    /// Is it time to write?
    #[must_use]
    pub fn checkpoint_due(&self) -> bool {
        self.now.since(self.last_checkpoint) >= CHECKPOINT_MS
    }

    /// Writes changed pages, histories, names, marks and the cursors in one atomic batch.
    ///
    /// # Errors
    /// The store refused: nothing is lost, it is tried again with the next checkpoint. Or there is
    /// damage, which is never written.
    pub fn checkpoint(&mut self) -> Result<(), Error> {
        self.last_checkpoint = self.now;
        self.inner.pass_time(self.now);
        let inner = &mut self.inner;
        if let Some(damage) = &inner.damage {
            return Err(damage.clone());
        }
        inner.cache.flush(&mut inner.vault);
        inner.histories.flush(&mut inner.vault);
        inner.ledger.flush(&mut inner.vault);
        inner.counts.flush(&mut inner.vault);
        let written = inner.vault.commit(&inner.cursors);
        self.refused = written.is_err();
        written
    }

    /// Damage met since the last reset. Answers given since then may be wrong: refuse them, call
    /// [`Self::reset`] and fold the log from 0.
    #[must_use]
    pub fn damage(&self) -> Option<&Error> {
        self.inner.damage.as_ref()
    }

    /// One task.
    pub fn task(&mut self, partition: PartitionId, seq: TaskSeq) -> Option<TrackedTask> {
        let row = self.inner.row(partition, seq)?;
        Some(self.shown(partition, seq, &row))
    }

    /// Attempts of a task, the last 100.
    pub fn attempts(&mut self, partition: PartitionId, seq: TaskSeq) -> Vec<Attempt> {
        tracker::attempts(&mut self.inner, partition, seq)
    }

    /// Rates over the last 60 s.
    #[must_use]
    pub fn rates(&self, now: WallMs) -> Rates {
        self.inner.counter.rates(now)
    }

    /// Hand-outs per second of a partition over the last 60 s.
    #[must_use]
    pub fn hand_outs(&self, partition: PartitionId, now: WallMs) -> f64 {
        self.inner.counter.hand_outs(partition.0, now)
    }

    /// Tasks ended per second by job.
    #[must_use]
    pub fn job_rates(&self, now: WallMs) -> BTreeMap<Name, f64> {
        self.inner.counter.by_job(now, |job| self.inner.ledger.name(job))
    }

    /// The seed's windows, newest first.
    #[must_use]
    pub fn windows(&self, limit: usize, now: WallMs) -> Vec<(WallMs, [u64; 5])> {
        self.inner.counter.windows(limit, now)
    }

    pub(crate) fn shown(&mut self, partition: PartitionId, seq: TaskSeq, row: &Row) -> TrackedTask {
        let marks = self.inner.ledger.marks(partition.0, row.job);
        let state = row.shown_state(seq, &marks, self.now);
        let details = if row.class == 0 { None } else { self.inner.details(partition, seq) };
        let name = |number: u32| (number != 0).then(|| self.inner.ledger.name(number));
        let (mut running, mut ended) = (WallMs(row.running), WallMs(row.ended));
        if let Some(cancel) = marks.ended(seq, row.stored_state()) {
            ended = cancel.at;
            // An attempt that ends without having been started gets `running_ts = allocated_ts`.
            running = running.known().unwrap_or(WallMs(row.allocated));
        }
        let result = ResultAt {
            record: Position(row.result_record),
            index: row.result_entry,
            bytes: row.result_bytes,
        };
        TrackedTask {
            partition,
            seq,
            job: self.inner.ledger.name(row.job),
            submit_priority: crate::model::priority::Priority::new(u64::from(row.submit_priority))
                .unwrap_or(crate::model::priority::Priority::DEFAULT),
            priority: row.shown_priority(seq, &marks),
            state,
            worker: name(row.worker),
            endpoint: name(row.endpoint),
            attempt: row.attempt,
            errors: row.errors,
            crashes: row.crashes,
            redriven: row.redriven,
            submitted: WallMs(row.submitted),
            available: row.shown_available(seq, &marks, self.now),
            allocated: WallMs(row.allocated),
            running,
            ended,
            error: details.and_then(|d| d.error),
            record: Position(row.record),
            index: row.entry,
            payload_bytes: row.payload_bytes,
            result: (row.result_record != 0).then_some(result),
        }
    }

    pub(crate) fn now(&self) -> WallMs {
        self.now
    }

    /// After a start the newest tasks stand in for the latest changes.
    fn refill_recent(&mut self) {
        let inner = &mut self.inner;
        let each = (inner.recent_max / inner.cursors.len().max(1)) as u64;
        let mut newest: Vec<(u64, PartitionId, TaskSeq)> = Vec::new();
        for (number, Cursor { next, .. }) in (0u16..).zip(inner.cursors.clone()) {
            let partition = PartitionId(number);
            for seq in (next.0.saturating_sub(each)..next.0).map(TaskSeq) {
                newest.extend(inner.row(partition, seq).map(|r| (r.submitted, partition, seq)));
            }
        }
        newest.sort_unstable();
        for (_, partition, seq) in newest {
            inner.note_change(partition, seq);
        }
    }
}

#[cfg(all(test, feature = "server"))]
#[path = "facade_tests.rs"]
mod tests;
