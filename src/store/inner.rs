//! What the fold works on: the page cache, histories, names and marks, counters, cursors.

use crate::core::tracker::Rows;
use crate::model::id::{Name, PartitionId, TaskSeq};
use crate::model::limits::PAGE_TASKS;
use crate::model::row::{ArrayRows, Details, JobMarks, Row};
use crate::model::state::TaskState;
use crate::model::time::WallMs;
use crate::store::block::Error;
use crate::store::cache::{Cache, PageKey, place};
use crate::store::counts::Counts;
use crate::store::details::Histories;
use crate::store::ledger::Ledger;
use crate::store::rates::Counter;
use crate::store::vault::{Cursor, Vault};
use crate::store::walk::Places;
use std::collections::VecDeque;

/// Blocks that wait for the store after which a checkpoint is written, so that the set is bounded.
/// Changed pages in the cache do not count: encoding a page that is about to change again is what
/// a checkpoint costs.
const WAITING_MAX: usize = 1_024;
/// The same in bytes of what waits encoded.
const WAITING_BYTES_MAX: usize = 8 << 20;
const PAGE: u64 = PAGE_TASKS as u64;

/// Everything a fold changes, but for the clock.
pub(crate) struct Inner {
    pub(crate) vault: Vault,
    pub(crate) cache: Cache,
    pub(crate) histories: Histories,
    pub(crate) ledger: Ledger,
    pub(crate) counts: Counts,
    pub(crate) cursors: Vec<Cursor>,
    pub(super) counter: Counter,
    pub(crate) recent: VecDeque<(u64, PartitionId, TaskSeq)>,
    pub(super) recent_max: usize,
    pub(super) changes: u64,
    pub(super) damage: Option<Error>,
}

impl Inner {
    /// Where a list looks.
    pub(crate) fn places(&self) -> Places<'_> {
        let Self { cache, vault, ledger, counts, .. } = self;
        Places { cache, vault, ledger, counts }
    }

    pub(super) fn much_waits(&self) -> bool {
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
    pub(super) fn pass_time(&mut self, now: WallMs) {
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

    pub(super) fn note_change(&mut self, partition: PartitionId, seq: TaskSeq) {
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
