//! Delayed tasks by the time they are due. That moment is in no record, so the counters must be
//! moved when it passes. An array is one entry, however many elements it has; a task costs about
//! 60 B as long as it is delayed. Made anew from the rows at a start.

use crate::model::id::TaskSeq;
use crate::model::row::{JobMarks, Row};
use std::collections::BTreeMap;

/// Tasks that become PENDING together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// Job.
    pub job: u32,
    /// Their set of tags.
    pub tags: u32,
    /// Priority they have of their own.
    pub own: u8,
    /// Re-prioritises that one overrides.
    pub set_after: u32,
    /// How many.
    pub count: u64,
}

/// Partition, due time in ms, first task.
type Key = (u16, u64, TaskSeq);

/// All delayed tasks.
#[derive(Default)]
pub struct Waiting {
    by_due: BTreeMap<u16, BTreeMap<(u64, TaskSeq), Waiter>>,
}

impl Waiting {
    /// Adds tasks.
    pub fn insert(&mut self, (partition, due, seq): Key, waiter: Waiter) {
        self.by_due.entry(partition).or_default().insert((due, seq), waiter);
    }

    /// Is there such an entry?
    #[must_use]
    pub fn holds(&self, (partition, due, seq): Key) -> bool {
        self.by_due.get(&partition).is_some_and(|all| all.contains_key(&(due, seq)))
    }

    /// Takes one task out of an entry.
    pub fn take_one(&mut self, (partition, due, seq): Key) {
        let Some(all) = self.by_due.get_mut(&partition) else { return };
        if let Some(waiter) = all.get_mut(&(due, seq)) {
            waiter.count -= 1;
            if waiter.count == 0 {
                all.remove(&(due, seq));
            }
        }
    }

    /// Forgets the tasks of a job.
    pub fn forget(&mut self, partition: u16, job: u32) {
        if let Some(all) = self.by_due.get_mut(&partition) {
            all.retain(|_, waiter| waiter.job != job);
        }
    }

    /// The next entry that is due by `now`.
    pub fn pop_due(&mut self, now: u64) -> Option<(u16, TaskSeq, Waiter)> {
        for (partition, all) in &mut self.by_due {
            if let Some(first) = all.first_entry().filter(|first| first.key().0 <= now) {
                let seq = first.key().1;
                return Some((*partition, seq, first.remove()));
            }
        }
        None
    }
}

impl Waiter {
    /// Of tasks like this row.
    #[must_use]
    pub fn of(row: &Row, count: u64) -> Self {
        let own = if row.set_priority == 0 { row.submit_priority } else { row.set_priority };
        Self { job: row.job, tags: row.tags, own, set_after: row.set_after, count }
    }

    /// Index of the level they are shown at.
    #[must_use]
    pub fn level(&self, seq: TaskSeq, marks: &JobMarks) -> usize {
        let moved = marks.moved.filter(|m| m.reaches(seq, self.set_after));
        moved.map_or_else(|| usize::from(self.own.clamp(1, 9)) - 1, |m| m.priority.index())
    }
}
