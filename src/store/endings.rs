//! What a reader of ends asks the tracker: where a job begins in the log, and which tasks the
//! cancel of a job ended. The cancel is one record, so only the rows know them.

use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::job::CancelMode;
use crate::model::state::TaskState;
use crate::model::time::WallMs;
use crate::model::view::{Order, TaskQuery};
use crate::store::facade::Tracker;
use crate::store::select::Selected;
use crate::store::walk::{Budget, Filter, Found, Walk};

/// The record of a job's cancel, as its marks know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CancelRecord {
    /// Where it lies.
    pub partition: PartitionId,
    /// Its stamp.
    pub at: WallMs,
    /// Its mode.
    pub mode: CancelMode,
}

impl Tracker {
    /// For each partition the record of the first task of a job that is still there; no earlier
    /// record there ends one of its tasks. `None` = it has no task there; empty = there is no job.
    ///
    /// # Errors
    /// Pages could not be read.
    pub fn first_records(
        &mut self,
        job: &Name,
        rows_max: u64,
    ) -> Result<Vec<Option<Position>>, String> {
        let mut first = Vec::new();
        for number in 0..self.inner.cursors.len() {
            let id = u16::try_from(number).expect("partitions are numbered by u16");
            let mut budget = Budget { left: rows_max, looked: 0 };
            let Some((mut walk, filter)) = self.walk_of(job, 0, (PartitionId(id), 0)) else {
                return Ok(Vec::new());
            };
            self.look(&mut walk, &filter, &mut budget)?;
            first.push(match walk.head() {
                Some(found) => Some(Position(found.row.record)),
                None if walk.over() => None,
                // Too far to look: from the beginning it is slower and as right.
                None => Some(Position(0)),
            });
        }
        Ok(first)
    }

    /// The tasks of a job that this cancel ended, in submit order from a sequence number on; at
    /// most `most`, and stops after `rows_max` rows looked at.
    ///
    /// # Errors
    /// Pages could not be read.
    pub fn cancelled_by(
        &mut self,
        cancel: CancelRecord,
        job: &Name,
        from: u64,
        (most, rows_max): (usize, u64),
    ) -> Result<Selected, String> {
        let states = 1 << TaskState::Cancelled.index();
        let Some((mut walk, filter)) = self.walk_of(job, states, (cancel.partition, from)) else {
            return Ok(Selected::default());
        };
        let mut budget = Budget { left: rows_max, looked: 0 };
        let mut tasks: Vec<TaskSeq> = Vec::new();
        while tasks.len() < most {
            self.look(&mut walk, &filter, &mut budget)?;
            let Some(Found { seq, row, .. }) = walk.take() else { break };
            let marks = self.inner.ledger.marks(cancel.partition.0, row.job);
            let by = marks.ended(seq, row.stored_state());
            if by.is_some_and(|cut| cut.at == cancel.at && cut.mode == cancel.mode) {
                tasks.push(seq);
            }
        }
        Ok(Selected { tasks, next: (!walk.over()).then(|| walk.cursor()) })
    }

    fn walk_of(
        &self,
        job: &Name,
        states: u16,
        (partition, from): (PartitionId, u64),
    ) -> Option<(Walk, Filter)> {
        let query =
            TaskQuery { job: Some(job.clone()), states, order: Order::Old, ..TaskQuery::default() };
        let filter = Filter::new(&query, &self.inner.ledger, self.now)?;
        let end = self.inner.cursors.get(partition.index()).map_or(0, |cursor| cursor.next.0);
        Some((Walk::new(partition, from, end, false), filter))
    }

    fn look(
        &mut self,
        walk: &mut Walk,
        filter: &Filter,
        budget: &mut Budget,
    ) -> Result<(), String> {
        let inner = &mut self.inner;
        walk.look(filter, inner.places(), budget).map_err(|error| {
            let reason = error.to_string();
            inner.damaged(error);
            reason
        })
    }
}
