//! [`Tracker`]: fold, read, list, checkpoint over a [`Backing`].

use crate::core::tracker::{self, Rows};
use crate::model::event::Stamped;
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::row::{Details, JobMarks, Row};
use crate::model::state::TaskState;
use crate::model::time::WallMs;
use crate::model::view::{Attempt, ResultAt, TrackedTask};
use crate::store::cache::{Cache, PageKey, place};
use crate::store::meta::{Meta, VERSION};
use crate::store::rates::{Counter, Rates};
use std::collections::{BTreeMap, VecDeque};

/// Dirty pages after which a checkpoint is due, so that the set stays bounded.
const DIRTY_MAX: usize = 128;
/// Longest time between checkpoints, ms.
const CHECKPOINT_MS: u64 = 10_000;

/// Why the store cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The back end refused.
    #[error("{0}")]
    Backing(String),
    /// What is stored is not what was written; drop it and fold again.
    #[error("the tracker's store is damaged: {0}")]
    Damaged(String),
}

/// Key of details: partition, sequence number.
pub type TaskKey = (u16, u64);

/// Where pages lie between starts. One batch is all or nothing.
pub trait Backing: Send {
    /// The last checkpoint, `None` for an empty store.
    ///
    /// # Errors
    /// `Damaged`.
    fn meta(&self) -> Result<Option<Meta>, Error>;
    /// A page.
    ///
    /// # Errors
    /// `Damaged`.
    fn page(&self, key: PageKey) -> Result<Vec<Row>, Error>;
    /// Details of a task.
    ///
    /// # Errors
    /// `Damaged`.
    fn details(&self, key: TaskKey) -> Result<Option<Details>, Error>;
    /// Writes a checkpoint atomically.
    ///
    /// # Errors
    /// The back end refused.
    fn write(
        &mut self,
        meta: &Meta,
        pages: &[(PageKey, Vec<u8>)],
        details: &BTreeMap<TaskKey, Details>,
    ) -> Result<(), Error>;
}

/// The tracker: rows by sequence number, folded from the log.
pub struct Tracker {
    pub(crate) inner: Inner,
    last_checkpoint: WallMs,
    now: WallMs,
}

pub(crate) struct Inner {
    pub(crate) backing: Box<dyn Backing>,
    cache: Cache,
    details: BTreeMap<TaskKey, Details>,
    pub(crate) meta: Meta,
    numbers: BTreeMap<Name, u32>,
    marks: BTreeMap<(u16, u32), JobMarks>,
    counter: Counter,
    pub(crate) recent: VecDeque<(u64, PartitionId, TaskSeq)>,
    pub(crate) recent_max: usize,
    pub(crate) changes: u64,
    damage: Option<Error>,
}

impl Tracker {
    /// Opens a store; an empty or older one starts from position 0.
    ///
    /// # Errors
    /// `Damaged`: drop the store and open an empty one.
    pub fn open(
        backing: Box<dyn Backing>,
        partitions: u16,
        recent_max: usize,
        now: WallMs,
    ) -> Result<Self, Error> {
        let mut meta = backing.meta()?.unwrap_or_default();
        if meta.version != VERSION {
            meta = Meta { version: VERSION, ..Meta::default() };
        }
        meta.cursors.resize(usize::from(partitions), (Position(0), TaskSeq(0)));
        let numbers = (1u32..).zip(&meta.names).map(|(n, name)| (name.clone(), n)).collect();
        let marks = meta.marks.iter().map(|(p, j, m)| ((*p, *j), m.clone())).collect();
        let inner = Inner {
            backing,
            cache: Cache::default(),
            details: BTreeMap::new(),
            meta,
            numbers,
            marks,
            counter: Counter::new(now),
            recent: VecDeque::new(),
            recent_max,
            changes: 0,
            damage: None,
        };
        let mut tracker = Self { inner, last_checkpoint: now, now };
        tracker.refill_recent();
        Ok(tracker)
    }

    /// First position not folded, per partition.
    #[must_use]
    pub fn cursors(&self) -> Vec<Position> {
        self.inner.meta.cursors.iter().map(|(position, _)| *position).collect()
    }

    /// Folds durable records; what lies below the cursor is passed over.
    pub fn fold(&mut self, partition: PartitionId, records: &[(Position, &Stamped)]) {
        for (position, stamped) in records {
            let cursor = &mut self.inner.meta.cursors[partition.index()].0;
            if *position < *cursor {
                continue;
            }
            *cursor = Position(position.0 + 1);
            tracker::fold(&mut self.inner, partition, *position, stamped);
            if self.inner.cache.dirty() >= DIRTY_MAX
                && let Err(error) = self.checkpoint()
            {
                self.inner.damage = Some(error);
            }
        }
    }

    /// Tells the time, for delays that have passed and for checkpoints.
    pub fn advance(&mut self, now: WallMs) {
        self.now = now;
    }

    /// Is it time to write?
    #[must_use]
    pub fn checkpoint_due(&self) -> bool {
        self.now.since(self.last_checkpoint) >= CHECKPOINT_MS
    }

    /// Writes changed pages, cursors, names and marks in one atomic batch.
    ///
    /// # Errors
    /// The back end refused; nothing is lost, the log has it.
    pub fn checkpoint(&mut self) -> Result<(), Error> {
        let inner = &mut self.inner;
        let mut pages = Vec::with_capacity(inner.cache.dirty());
        inner.cache.take_dirty(|key, rows| pages.push((key, crate::codec::page::encode(rows))));
        inner.meta.checkpoint += 1;
        inner.meta.marks = inner.marks.iter().map(|((p, j), m)| (*p, *j, m.clone())).collect();
        inner.backing.write(&inner.meta, &pages, &inner.details)?;
        inner.details.clear();
        self.last_checkpoint = self.now;
        Ok(())
    }

    /// Damage met while reading; the store must be dropped and folded again.
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

    /// Tasks ended per second by job.
    #[must_use]
    pub fn job_rates(&self, now: WallMs) -> BTreeMap<Name, f64> {
        self.inner.counter.by_job(now, |job| self.inner.name(job))
    }

    /// The seed's windows, newest first.
    #[must_use]
    pub fn windows(&self, limit: usize, now: WallMs) -> Vec<(WallMs, [u64; 5])> {
        self.inner.counter.windows(limit, now)
    }

    pub(crate) fn shown(&mut self, partition: PartitionId, seq: TaskSeq, row: &Row) -> TrackedTask {
        let marks = self.inner.marks(partition, row.job);
        let state = row.shown_state(seq, &marks, self.now);
        let details = if row.class == 0 { None } else { self.inner.details(partition, seq) };
        let name = |number: u32| (number != 0).then(|| self.inner.name(number));
        let by_job = state == TaskState::Cancelled && row.stored_state() != state;
        let cancelled = marks.cancel.filter(|_| by_job).map(|(_, _, at)| at);
        let result = ResultAt {
            record: Position(row.result_record),
            index: row.result_entry,
            bytes: row.result_bytes,
        };
        TrackedTask {
            partition,
            seq,
            job: self.inner.name(row.job),
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
            available: WallMs(row.available),
            allocated: WallMs(row.allocated),
            running: WallMs(row.running),
            ended: cancelled.unwrap_or(WallMs(row.ended)),
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
        let partitions = self.inner.meta.cursors.len().max(1);
        let each = (self.inner.recent_max / partitions) as u64;
        let cursors: Vec<TaskSeq> = self.inner.meta.cursors.iter().map(|(_, s)| *s).collect();
        for (number, next) in (0u16..).zip(cursors) {
            for seq in next.0.saturating_sub(each)..next.0 {
                self.inner.changes += 1;
                let entry = (self.inner.changes, PartitionId(number), TaskSeq(seq));
                self.inner.recent.push_back(entry);
            }
        }
    }
}

impl Inner {
    fn page_rows(&mut self, key: PageKey) -> &mut Vec<Row> {
        let (backing, damage) = (&self.backing, &mut self.damage);
        self.cache.rows(key, |key| {
            backing.page(key).unwrap_or_else(|error| {
                *damage = Some(error);
                Vec::new()
            })
        })
    }
}

impl Rows for Inner {
    fn push(&mut self, partition: PartitionId, row: Row) {
        let seq = self.next(partition);
        let (key, offset) = place(partition, seq);
        let rows = self.page_rows(key);
        rows.truncate(offset);
        rows.push(row);
        self.cache.touch(key);
        self.meta.cursors[partition.index()].1 = seq.plus(1);
    }

    fn update(&mut self, partition: PartitionId, seq: TaskSeq, change: &mut dyn FnMut(&mut Row)) {
        let (key, offset) = place(partition, seq);
        if let Some(row) = self.page_rows(key).get_mut(offset) {
            change(row);
            self.cache.touch(key);
        }
    }

    fn row(&mut self, partition: PartitionId, seq: TaskSeq) -> Option<Row> {
        if seq >= self.next(partition) {
            return None;
        }
        let (key, offset) = place(partition, seq);
        self.page_rows(key).get(offset).copied()
    }

    fn details(&mut self, partition: PartitionId, seq: TaskSeq) -> Option<Details> {
        let key = (partition.0, seq.0);
        if let Some(details) = self.details.get(&key) {
            return Some(details.clone());
        }
        self.backing.details(key).unwrap_or_else(|error| {
            self.damage = Some(error);
            None
        })
    }

    fn set_details(&mut self, partition: PartitionId, seq: TaskSeq, details: Details) {
        self.details.insert((partition.0, seq.0), details);
    }

    fn number(&mut self, name: &Name) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        self.meta.names.push(name.clone());
        let number = u32::try_from(self.meta.names.len()).expect("fewer than 2^32 names");
        self.numbers.insert(name.clone(), number);
        number
    }

    fn name(&self, number: u32) -> Name {
        let known = (number as usize).checked_sub(1).and_then(|at| self.meta.names.get(at));
        known.cloned().unwrap_or_else(|| Name::from(""))
    }

    fn marks(&self, partition: PartitionId, job: u32) -> JobMarks {
        self.marks.get(&(partition.0, job)).cloned().unwrap_or_default()
    }

    fn set_marks(&mut self, partition: PartitionId, job: u32, marks: JobMarks) {
        self.marks.insert((partition.0, job), marks);
    }

    fn next(&self, partition: PartitionId) -> TaskSeq {
        self.meta.cursors[partition.index()].1
    }

    fn changed(
        &mut self,
        partition: PartitionId,
        seq: TaskSeq,
        to: TaskState,
        row: &Row,
        at: WallMs,
    ) {
        let level = usize::from(row.submit_priority.clamp(1, 9)) - 1;
        self.counter.count(to, level, row.job, at);
        self.changes += 1;
        if self.recent.len() == self.recent_max {
            self.recent.pop_front();
        }
        self.recent.push_back((self.changes, partition, seq));
    }
}

#[cfg(test)]
#[path = "facade_tests.rs"]
mod tests;
