//! Every task of a partition that passes a filter, a stretch at a time: what bulk work begins with.

use crate::model::id::{PartitionId, Position, TaskSeq};
use crate::model::view::{TaskQuery, TextAt};
use crate::store::facade::Tracker;
use crate::store::query::TaskTexts;
use crate::store::walk::{Budget, Filter, Found, Walk};

/// Tasks of one stretch at most.
const TASKS: usize = 10_000;
/// The same where their texts have to be read for the tags.
const TEXTS: usize = 1_000;

/// One stretch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// Tasks that pass, in submit order.
    pub tasks: Vec<TaskSeq>,
    /// The next stretch begins here; `None` at the end.
    pub next: Option<u64>,
}

impl Tracker {
    /// The tasks from a sequence number on that pass; stops after `budget` rows looked at.
    ///
    /// # Errors
    /// Texts or pages could not be read.
    pub fn select(
        &mut self,
        query: &TaskQuery,
        texts: &dyn TaskTexts,
        (partition, from): (PartitionId, u64),
        budget: u64,
    ) -> Result<Selected, String> {
        let inner = &mut self.inner;
        let Some(filter) = Filter::new(query, &inner.ledger, self.now) else {
            return Ok(Selected::default());
        };
        let end = inner.cursors.get(partition.index()).map_or(0, |cursor| cursor.next.0);
        let mut walk = Walk::new(partition, from, end, false);
        let mut budget = Budget { left: budget, looked: 0 };
        let (mut found, mut unsure): (Vec<Found>, usize) = (Vec::new(), 0);
        while found.len() < TASKS && unsure < TEXTS {
            if let Err(error) = walk.look(&filter, inner.places(), &mut budget) {
                let reason = error.to_string();
                inner.damaged(error);
                return Err(reason);
            }
            match walk.take() {
                Some(task) => {
                    unsure += usize::from(task.unsure);
                    found.push(task);
                }
                None => break,
            }
        }
        if let Some(tags) = &filter.tags {
            let text = |t: &Found| {
                let (record, entry) = (Position(t.row.record), t.row.entry);
                TextAt { partition, record, entry }
            };
            let place = |t: &Found| t.unsure.then(|| text(t));
            found = tags.sure(found, place, texts)?;
        }
        let tasks = found.into_iter().map(|task| task.seq).collect();
        Ok(Selected { tasks, next: (!walk.over()).then(|| walk.cursor()) })
    }
}
