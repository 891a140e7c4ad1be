//! Lists: columns first, then texts page-wise, a cursor that neither repeats nor skips.

use crate::core::tracker::Rows as _;
use crate::model::id::PartitionId;
use crate::model::task::TaskSpec;
use crate::model::view::{Order, TaskCursor, TaskQuery, TextAt, TrackedTask};
use crate::store::facade::Tracker;
use crate::store::tagfilter::Verdict;
use crate::store::vault::Cursor;
use crate::store::walk::{Budget, Filter, Found, Walk};
use std::collections::BTreeSet;

/// Candidates whose texts are read at once.
const TEXT_BATCH: usize = 64;

/// Text of a task, as the log keeps it.
#[derive(Clone, Debug)]
pub struct StoredText {
    /// Text and budgets.
    pub spec: TaskSpec,
}

/// Reads texts back from the log.
pub trait TaskTexts: Send {
    /// Texts, in order.
    ///
    /// # Errors
    /// The log's words.
    fn texts(&self, wanted: &[TextAt]) -> Result<Vec<StoredText>, String>;
}

/// A page of rows.
#[derive(Clone, Debug, Default)]
pub struct TaskList {
    /// Rows that passed the filter, in order.
    pub rows: Vec<TrackedTask>,
    /// More may follow from here.
    pub next: Option<TaskCursor>,
    /// Rows looked at.
    pub scanned: u64,
}

impl Tracker {
    /// A page of tasks. Stops after `budget` rows looked at; then `next` goes on.
    ///
    /// # Errors
    /// Texts could not be read.
    pub fn list(
        &mut self,
        query: &TaskQuery,
        texts: &dyn TaskTexts,
        budget: u64,
    ) -> Result<TaskList, String> {
        match query.order {
            Order::Recent => self.list_recent(query, texts),
            Order::New | Order::Old => self.list_all(query, texts, budget),
        }
    }

    fn list_all(
        &mut self,
        query: &TaskQuery,
        texts: &dyn TaskTexts,
        budget: u64,
    ) -> Result<TaskList, String> {
        let Some(filter) = Filter::new(query, &self.inner.ledger, self.now()) else {
            return Ok(TaskList::default());
        };
        let mut walks = self.walks(query);
        let mut list = TaskList::default();
        let mut budget = Budget { left: budget, looked: 0 };
        let mut batch: Vec<Candidate> = Vec::new();
        loop {
            let wanted = query.limit - list.rows.len();
            while batch.len() < wanted.min(TEXT_BATCH)
                && let Some((partition, found)) = self.nearest(&mut walks, &filter, &mut budget)?
            {
                batch.push((self.shown(partition, found.seq, &found.row), found.unsure));
            }
            if batch.is_empty() {
                break;
            }
            budget.spend_texts(batch.iter().filter(|(_, unsure)| *unsure).count());
            list.rows.extend(sure(std::mem::take(&mut batch), &filter, texts)?);
        }
        list.scanned = budget.looked;
        let more = walks.iter().any(|w| !w.over());
        list.next = more.then(|| TaskCursor { next: walks.iter().map(Walk::cursor).collect() });
        Ok(list)
    }

    fn walks(&self, query: &TaskQuery) -> Vec<Walk> {
        let newest_first = query.order == Order::New;
        let walk = |(number, Cursor { next, .. }): (u16, &Cursor)| {
            let from = query.cursor.as_ref().and_then(|c| c.next.get(usize::from(number)));
            let start = if newest_first { next.0 } else { 0 };
            let from = from.copied().unwrap_or(start);
            Walk::new(PartitionId(number), from, next.0, newest_first)
        };
        (0u16..).zip(&self.inner.cursors).map(walk).collect()
    }

    /// Of the next matches of all partitions the one that was admitted first (or last). `None` at
    /// the end, and when the budget is used before every partition's next match is known.
    fn nearest(
        &mut self,
        walks: &mut [Walk],
        filter: &Filter,
        budget: &mut Budget,
    ) -> Result<Option<(PartitionId, Found)>, String> {
        let inner = &mut self.inner;
        let mut best: Option<(usize, u64)> = None;
        for (at, walk) in walks.iter_mut().enumerate() {
            if let Err(error) = walk.look(filter, inner.places(), budget) {
                let reason = error.to_string();
                inner.damaged(error);
                return Err(reason);
            }
            let Some(Found { row, .. }) = walk.head() else {
                if walk.over() {
                    continue;
                }
                return Ok(None);
            };
            let better = best.is_none_or(|(_, other)| {
                if filter.newest_first { row.submitted > other } else { row.submitted < other }
            });
            if better {
                best = Some((at, row.submitted));
            }
        }
        let Some((at, _)) = best else { return Ok(None) };
        let partition = walks[at].partition;
        Ok(walks[at].take().map(|found| (partition, found)))
    }

    /// Latest changes first; a task appears once, at its latest change.
    fn list_recent(
        &mut self,
        query: &TaskQuery,
        texts: &dyn TaskTexts,
    ) -> Result<TaskList, String> {
        let Some(filter) = Filter::new(query, &self.inner.ledger, self.now()) else {
            return Ok(TaskList::default());
        };
        let below = query.cursor.as_ref().and_then(|c| c.next.first()).copied();
        let below = below.unwrap_or(u64::MAX);
        let mut seen = BTreeSet::new();
        let newest = self.inner.recent.iter().rev();
        let changes: Vec<_> = newest
            .filter(|(number, at, seq)| seen.insert((*at, *seq)) && *number < below)
            .copied()
            .collect();
        let mut changes = changes.into_iter().peekable();
        let (mut list, mut batch, mut last) = (TaskList::default(), Vec::new(), below);
        while list.rows.len() < query.limit && changes.peek().is_some() {
            let wanted = (query.limit - list.rows.len()).min(TEXT_BATCH);
            while batch.len() < wanted
                && let Some((number, partition, seq)) = changes.next()
            {
                list.scanned += 1;
                last = number;
                let Some(row) = self.inner.row(partition, seq) else { continue };
                let verdict = filter.verdict(partition, seq, &row, self.inner.places());
                let verdict = verdict.map_err(|error| {
                    let reason = error.to_string();
                    self.inner.damaged(error);
                    reason
                })?;
                if verdict != Verdict::No {
                    batch.push((self.shown(partition, seq, &row), verdict == Verdict::Unsure));
                }
            }
            list.rows.extend(sure(std::mem::take(&mut batch), &filter, texts)?);
        }
        list.next = changes.peek().map(|_| TaskCursor { next: vec![last] });
        Ok(list)
    }
}

/// A row as it is shown, and whether only its text tells that it has the tags.
type Candidate = (TrackedTask, bool);

/// Those of the candidates that have the tags of the filter.
fn sure(
    batch: Vec<Candidate>,
    filter: &Filter,
    texts: &dyn TaskTexts,
) -> Result<Vec<TrackedTask>, String> {
    let place = |(task, unsure): &Candidate| unsure.then(|| task.text());
    let kept = match &filter.tags {
        Some(tags) => tags.sure(batch, place, texts)?,
        None => batch,
    };
    Ok(kept.into_iter().map(|(task, _)| task).collect())
}
