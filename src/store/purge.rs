//! Purging rows: a purged row is a mark in its page, and a page of nothing but such marks is
//! dropped, in memory and in the store.

use crate::core::tracker::Rows as _;
use crate::model::id::{PartitionId, TaskSeq};
use crate::model::limits::PAGE_TASKS;
use crate::model::row::Row;
use crate::store::cache::{PageKey, block, place};
use crate::store::inner::Inner;

const PAGE: u64 = PAGE_TASKS as u64;

impl Inner {
    pub(crate) fn purge_row(&mut self, partition: PartitionId, seq: TaskSeq) {
        let Some(row) = self.row(partition, seq) else { return };
        self.update(partition, seq, &mut |row| *row = Row::purged());
        self.drop_history(partition, seq, &row);
        self.drop_if_empty(place(partition, seq).0);
    }

    /// Pages whose summary shows no task of the job are passed over unread.
    pub(crate) fn purge_rows_of(&mut self, partition: PartitionId, job: u32) {
        self.ledger.purge_job(partition.0, job);
        if let Err(error) = self.counts.purge_job(&mut self.vault, partition.0, job) {
            self.damaged(error);
        }
        let end = self.next(partition).0;
        for page in 0..end.div_ceil(PAGE) {
            let key: PageKey = (partition.0, page);
            let stored = self.vault.page_summary(key.0, key.1);
            let may_hold = stored.is_some_and(|known| known.jobs >> (job % 64) & 1 == 1);
            if may_hold || self.cache.peek(key).is_some() {
                self.purge_in_page(partition, key, job);
            }
            // It was kept because an array that is gone now was still there.
            let empty = stored.is_some_and(|known| known.states == 0) && (page + 1) * PAGE <= end;
            if empty && self.ledger.array_of_page(key).is_none() {
                self.cache.drop_page(key);
                self.vault.remove(block(key));
            }
        }
    }

    fn purge_in_page(&mut self, partition: PartitionId, key: PageKey, job: u32) {
        let Some(rows) = self.page_rows(key) else { return };
        let mut purged: Vec<(TaskSeq, Row)> = Vec::new();
        for (offset, row) in rows.iter_mut().enumerate() {
            if row.job == job && !row.gone() {
                let seq = TaskSeq(key.1 * PAGE + offset as u64);
                purged.push((seq, std::mem::replace(row, Row::purged())));
            }
        }
        if purged.is_empty() {
            return;
        }
        self.cache.touch(key);
        for (seq, row) in &purged {
            self.drop_history(partition, *seq, row);
        }
        self.drop_if_empty(key);
    }

    fn drop_history(&mut self, partition: PartitionId, seq: TaskSeq, row: &Row) {
        if row.attempt == 0 {
            return;
        }
        if let Err(error) = self.histories.remove(&mut self.vault, partition, seq) {
            self.damaged(error);
        }
    }

    /// Inside a living array a page that is not stored would mean "untouched".
    fn drop_if_empty(&mut self, key: PageKey) {
        let whole = |rows: &[Row]| rows.len() == PAGE_TASKS && rows.iter().all(Row::gone);
        let empty = self.cache.peek(key).is_some_and(whole);
        if empty && self.ledger.array_of_page(key).is_none() {
            self.cache.drop_page(key);
            self.vault.remove(block(key));
        }
    }
}
