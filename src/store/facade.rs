//! [`Tracker`]: fold, read, list, checkpoint over a [`TrackerStore`].

use crate::core::tracker::{self, Rows};
use crate::model::breakdown::TagCaps;
use crate::model::event::Stamped;
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::limits::PAGE_TASKS;
use crate::model::row::{ArrayRows, Details, JobMarks, Row};
use crate::model::state::TaskState;
use crate::model::time::WallMs;
use crate::model::view::{Attempt, ResultAt, TrackedTask};
use crate::store::block::{Error, TrackerStore};
use crate::store::cache::{Cache, PageKey, place};
use crate::store::counts::Counts;
use crate::store::details::Histories;
use crate::store::ledger::Ledger;
use crate::store::proven::proven;
use crate::store::rates::{Counter, Rates};
use crate::store::vault::{Cursor, Vault};
use crate::store::walk::Places;
use std::collections::{BTreeMap, VecDeque};

/// Blocks that wait for the store after which a checkpoint is written, so that the set is bounded.
/// Changed pages in the cache do not count: encoding a page that is about to change again is what
/// a checkpoint costs.
const WAITING_MAX: usize = 1_024;
/// The same in bytes of what waits encoded.
const WAITING_BYTES_MAX: usize = 8 << 20;
const PAGE: u64 = PAGE_TASKS as u64;
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

pub(crate) struct Inner {
    pub(crate) vault: Vault,
    pub(crate) cache: Cache,
    pub(crate) histories: Histories,
    pub(crate) ledger: Ledger,
    pub(crate) counts: Counts,
    pub(crate) cursors: Vec<Cursor>,
    counter: Counter,
    pub(crate) recent: VecDeque<(u64, PartitionId, TaskSeq)>,
    recent_max: usize,
    changes: u64,
    damage: Option<Error>,
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

impl Inner {
    /// Where a list looks.
    pub(crate) fn places(&self) -> Places<'_> {
        let Self { cache, vault, ledger, counts, .. } = self;
        Places { cache, vault, ledger, counts }
    }

    fn much_waits(&self) -> bool {
        let (blocks, bytes) = self.vault.waiting();
        blocks >= WAITING_MAX || bytes >= WAITING_BYTES_MAX
    }

    /// The rows of a page; `None` after damage, which is kept for the shell.
    pub(crate) fn page_rows(&mut self, key: PageKey) -> Option<&mut Vec<Row>> {
        match self.cache.rows(key, &mut self.vault, &self.ledger) {
            Ok(rows) => Some(rows),
            Err(error) => {
                self.damage.get_or_insert(error);
                None
            }
        }
    }

    pub(crate) fn damaged(&mut self, error: Error) {
        self.damage.get_or_insert(error);
    }

    /// Counts as PENDING what was delayed until now.
    fn pass_time(&mut self, now: WallMs) {
        if self.damage.is_none()
            && let Err(error) = self.counts.drain(&mut self.vault, &self.ledger, now.0)
        {
            self.damaged(error);
        }
    }

    /// Appends a row that is counted elsewhere.
    fn append(&mut self, partition: PartitionId, row: Row) {
        let seq = self.next(partition);
        let (key, offset) = place(partition, seq);
        let Some(rows) = self.page_rows(key) else { return };
        if rows.len() != offset {
            let gap = format!("page {}/{} has {} rows, not {offset}", key.0, key.1, rows.len());
            return self.damaged(Error::Damaged(gap));
        }
        rows.push(row);
        self.cache.touch(key);
        if offset + 1 == PAGE_TASKS {
            self.cache.put_away(key, &mut self.vault);
        }
        self.cursors[partition.index()].next = seq.plus(1);
    }

    fn counted(&mut self, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            self.damaged(error);
        }
    }

    fn note_change(&mut self, partition: PartitionId, seq: TaskSeq) {
        self.changes += 1;
        if self.recent.len() >= self.recent_max {
            self.recent.pop_front();
        }
        self.recent.push_back((self.changes, partition, seq));
    }
}

impl Rows for Inner {
    fn push(&mut self, partition: PartitionId, row: Row) {
        let at = (partition, self.next(partition));
        self.append(partition, row);
        let counted = self.counts.admit(&mut self.vault, at, &row, 1);
        self.counted(counted);
    }

    fn push_array(&mut self, partition: PartitionId, array: ArrayRows) {
        self.ledger.add_array(partition.0, array);
        let (at, first) = ((partition, array.first), array.row(array.first));
        let counted = self.counts.admit(&mut self.vault, at, &first, array.span.count);
        self.counted(counted);
        let mut seq = array.first;
        while seq < array.end() {
            let page_end = TaskSeq((seq.0 / PAGE + 1) * PAGE);
            if seq.0.is_multiple_of(PAGE) && page_end <= array.end() {
                // Nothing is kept of a page that nobody has touched.
                seq = page_end;
                self.cursors[partition.index()].next = seq;
            } else {
                self.append(partition, array.row(seq));
                seq = seq.plus(1);
            }
        }
    }

    fn admitted(&mut self, partition: PartitionId, array: &ArrayRows, at: WallMs) {
        let first = array.row(array.first);
        self.counter.count_many(TaskState::Pending, &first, at, array.span.count);
        let shown = array.span.count.min(self.recent_max as u64);
        for seq in array.end().0 - shown..array.end().0 {
            self.note_change(partition, TaskSeq(seq));
        }
    }

    fn update(&mut self, partition: PartitionId, seq: TaskSeq, change: &mut dyn FnMut(&mut Row)) {
        let (key, offset) = place(partition, seq);
        let Some(row) = self.page_rows(key).and_then(|rows| rows.get_mut(offset)) else {
            let gap = format!("task {seq} of an event has no row");
            return self.damaged(Error::Damaged(gap));
        };
        let before = *row;
        change(row);
        let after = *row;
        self.cache.touch(key);
        let ways = (&before, &after);
        let counted = self.counts.changed(&mut self.vault, &self.ledger, (partition, seq), ways);
        self.counted(counted);
    }

    fn row(&mut self, partition: PartitionId, seq: TaskSeq) -> Option<Row> {
        if seq >= self.next(partition) {
            return None;
        }
        let (key, offset) = place(partition, seq);
        let rows = self.page_rows(key)?;
        let (row, purged) = (rows.get(offset).copied(), rows.is_empty());
        if row.is_none() && !purged {
            self.damaged(Error::Damaged(format!("task {seq} has no row")));
        }
        row.filter(|row| !row.gone())
    }

    fn details(&mut self, partition: PartitionId, seq: TaskSeq) -> Option<Details> {
        self.histories.get(&self.vault, partition, seq).unwrap_or_else(|error| {
            self.damage.get_or_insert(error);
            None
        })
    }

    fn set_details(&mut self, partition: PartitionId, seq: TaskSeq, details: Details) {
        if let Err(error) = self.histories.set(&mut self.vault, partition, seq, details) {
            self.damaged(error);
        }
    }

    fn number(&mut self, name: &Name) -> u32 {
        self.ledger.number(name)
    }

    fn name(&self, number: u32) -> Name {
        self.ledger.name(number)
    }

    fn tags(&mut self, partition: PartitionId, job: u32, text: Option<&Name>) -> u32 {
        let Some(text) = text else { return 0 };
        let set = self.counts.tags(&mut self.vault, (partition.0, job), text);
        set.unwrap_or_else(|error| {
            self.damaged(error);
            0
        })
    }

    fn marks(&self, partition: PartitionId, job: u32) -> JobMarks {
        self.ledger.marks(partition.0, job)
    }

    fn set_marks(&mut self, partition: PartitionId, job: u32, marks: JobMarks) {
        let before = self.ledger.marks(partition.0, job);
        self.ledger.set_marks(partition.0, job, marks);
        let at = (partition.0, job);
        let counted = self.counts.marked(&mut self.vault, at, (&before, &marks));
        self.counted(counted);
    }

    fn purge(&mut self, partition: PartitionId, seq: TaskSeq) {
        self.purge_row(partition, seq);
    }

    fn purge_job(&mut self, partition: PartitionId, job: u32) {
        self.purge_rows_of(partition, job);
    }

    fn next(&self, partition: PartitionId) -> TaskSeq {
        self.cursors[partition.index()].next
    }

    fn changed(
        &mut self,
        partition: PartitionId,
        seq: TaskSeq,
        to: TaskState,
        row: &Row,
        at: WallMs,
    ) {
        self.counter.count(to, row, at);
        if to == TaskState::Allocated {
            self.counter.handed_out(partition.0, at);
        }
        self.note_change(partition, seq);
    }
}

#[cfg(all(test, feature = "server"))]
#[path = "facade_tests.rs"]
mod tests;
