//! Lists: columns first, then texts page-wise, a cursor that neither repeats nor skips.

use crate::core::tracker::Rows as _;
use crate::model::id::{PartitionId, Position, TaskSeq};
use crate::model::row::Row;
use crate::model::tags::TagSet;
use crate::model::task::TaskSpec;
use crate::model::time::WallMs;
use crate::model::view::{Order, TaskCursor, TaskQuery, TrackedTask};
use crate::store::facade::Tracker;
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
    /// Texts of `(Submitted record, entry)`, in order.
    ///
    /// # Errors
    /// The log's words.
    fn texts(&self, wanted: &[(Position, u32)]) -> Result<Vec<StoredText>, String>;
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

/// Walks one partition in one direction.
#[derive(Clone, Copy)]
struct Walk {
    partition: PartitionId,
    /// Next to look at; for newest-first an exclusive upper bound.
    at: u64,
    end: u64,
    newest_first: bool,
}

impl Walk {
    fn peek(&self) -> Option<TaskSeq> {
        if self.newest_first {
            self.at.checked_sub(1).map(TaskSeq)
        } else {
            (self.at < self.end).then_some(TaskSeq(self.at))
        }
    }

    fn step(&mut self) {
        if self.newest_first {
            self.at -= 1;
        } else {
            self.at += 1;
        }
    }
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
        let mut walks = self.walks(query);
        let mut list = TaskList::default();
        let mut batch: Vec<(TrackedTask, Vec<u64>)> = Vec::new();
        while list.rows.len() + batch.len() < query.limit && list.scanned < budget {
            let Some((at, seq, row)) = self.nearest(&walks) else { break };
            let partition = walks[at].partition;
            walks[at].step();
            list.scanned += 1;
            if self.columns_pass(partition, seq, &row, query) {
                let cursor = walks.iter().map(|w| w.at).collect();
                batch.push((self.shown(partition, seq, &row), cursor));
            }
            let full = list.rows.len() + batch.len() == query.limit;
            if batch.len() == TEXT_BATCH || full {
                list.rows.extend(pass_texts(&mut batch, query, texts)?);
            }
        }
        list.rows.extend(pass_texts(&mut batch, query, texts)?);
        let more = walks.iter().any(|w| w.peek().is_some());
        list.next = more.then(|| TaskCursor { next: walks.iter().map(|w| w.at).collect() });
        Ok(list)
    }

    fn walks(&self, query: &TaskQuery) -> Vec<Walk> {
        let newest_first = query.order == Order::New;
        let cursors = &self.inner.meta.cursors;
        let walk = |(number, (_, next)): (u16, &(Position, TaskSeq))| {
            let from = query.cursor.as_ref().and_then(|c| c.next.get(usize::from(number)));
            let start = if newest_first { next.0 } else { 0 };
            let at = from.copied().unwrap_or(start).min(next.0);
            Walk { partition: PartitionId(number), at, end: next.0, newest_first }
        };
        (0u16..).zip(cursors).map(walk).collect()
    }

    /// Of the next rows of all partitions the one that was admitted first (or last).
    fn nearest(&mut self, walks: &[Walk]) -> Option<(usize, TaskSeq, Row)> {
        let mut best: Option<(usize, TaskSeq, Row)> = None;
        for (at, walk) in walks.iter().enumerate() {
            let Some(seq) = walk.peek() else { continue };
            let Some(row) = self.inner.row(walk.partition, seq) else { continue };
            let better = best.as_ref().is_none_or(|(_, _, other)| {
                if walk.newest_first {
                    row.submitted > other.submitted
                } else {
                    row.submitted < other.submitted
                }
            });
            if better {
                best = Some((at, seq, row));
            }
        }
        best
    }

    /// Latest changes first; a task appears once, at its latest change.
    fn list_recent(
        &mut self,
        query: &TaskQuery,
        texts: &dyn TaskTexts,
    ) -> Result<TaskList, String> {
        let below = query.cursor.as_ref().and_then(|c| c.next.first()).copied();
        let below = below.unwrap_or(u64::MAX);
        let (mut seen, mut list) = (BTreeSet::new(), TaskList::default());
        let mut batch = Vec::new();
        let mut changes = Vec::new();
        for (number, partition, seq) in self.inner.recent.iter().rev() {
            if seen.insert((*partition, *seq)) && *number < below {
                changes.push((*number, *partition, *seq));
            }
        }
        let mut changes = changes.into_iter().peekable();
        while list.rows.len() < query.limit {
            let Some((number, partition, seq)) = changes.next() else { break };
            list.scanned += 1;
            let Some(row) = self.inner.row(partition, seq) else { continue };
            if self.columns_pass(partition, seq, &row, query) {
                batch.push((self.shown(partition, seq, &row), vec![number]));
                list.rows.extend(pass_texts(&mut batch, query, texts)?);
            }
            if list.rows.len() == query.limit && changes.peek().is_some() {
                list.next = Some(TaskCursor { next: vec![number] });
            }
        }
        Ok(list)
    }

    fn columns_pass(
        &mut self,
        partition: PartitionId,
        seq: TaskSeq,
        row: &Row,
        query: &TaskQuery,
    ) -> bool {
        let inner = &self.inner;
        let marks = inner.marks(partition, row.job);
        let state = row.shown_state(seq, &marks, self.now());
        let named = |number: u32, name: &crate::model::id::Name| inner.name(number) == *name;
        (query.states == 0 || query.states >> state.index() & 1 == 1)
            && query.job.as_ref().is_none_or(|job| named(row.job, job))
            && query.worker.as_ref().is_none_or(|worker| named(row.worker, worker))
            && query.class.as_ref().is_none_or(|class| named(row.class, class))
            && query.priority.is_none_or(|p| row.shown_priority(seq, &marks) == p)
            && row.submitted >= query.since.0
            && (query.until == WallMs(0) || row.submitted < query.until.0)
    }
}

/// Keeps the rows whose tags pass; texts are read only when the filter asks for tags.
fn pass_texts(
    batch: &mut Vec<(TrackedTask, Vec<u64>)>,
    query: &TaskQuery,
    texts: &dyn TaskTexts,
) -> Result<Vec<TrackedTask>, String> {
    let rows: Vec<TrackedTask> = batch.drain(..).map(|(row, _)| row).collect();
    if query.tags.is_empty() && query.tags_any.is_empty() {
        return Ok(rows);
    }
    let wanted: Vec<(Position, u32)> = rows.iter().map(|r| (r.record, r.index)).collect();
    let found = texts.texts(&wanted)?;
    let tagged = |text: &StoredText| {
        let set = text.spec.tag.as_ref().and_then(|t| TagSet::parse(t).ok()).unwrap_or_default();
        query.tags.iter().all(|t| set.contains(t))
            && (query.tags_any.is_empty() || query.tags_any.iter().any(|t| set.contains(t)))
    };
    Ok(rows.into_iter().zip(found).filter(|(_, text)| tagged(text)).map(|(row, _)| row).collect())
}
