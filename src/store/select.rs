//! Every task of a partition that passes a filter, a stretch at a time: what bulk work begins with.

use crate::model::id::{PartitionId, Position, TaskSeq};
use crate::model::row::Row;
use crate::model::tags::TagSet;
use crate::model::view::TaskQuery;
use crate::store::facade::Tracker;
use crate::store::query::TaskTexts;
use crate::store::walk::{Budget, Filter, Walk};

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
        let tagged = !(query.tags.is_empty() && query.tags_any.is_empty());
        let most = if tagged { TEXTS } else { TASKS };
        let mut found: Vec<(TaskSeq, Row)> = Vec::new();
        while found.len() < most {
            let rows = (&inner.cache, &inner.vault, &inner.ledger);
            if let Err(error) = walk.look(&filter, rows, &mut budget) {
                let reason = error.to_string();
                inner.damaged(error);
                return Err(reason);
            }
            match walk.take() {
                Some(task) => found.push(task),
                None => break,
            }
        }
        if tagged {
            found = tagged_ones(found, query, texts)?;
        }
        let tasks = found.into_iter().map(|(seq, _)| seq).collect();
        Ok(Selected { tasks, next: (!walk.over()).then(|| walk.cursor()) })
    }
}

fn tagged_ones(
    found: Vec<(TaskSeq, Row)>,
    query: &TaskQuery,
    texts: &dyn TaskTexts,
) -> Result<Vec<(TaskSeq, Row)>, String> {
    let wanted: Vec<_> = found.iter().map(|(_, r)| (Position(r.record), r.entry)).collect();
    let texts = texts.texts(&wanted)?;
    let passes = |tag: Option<&crate::model::id::Name>| {
        let set = tag.and_then(|text| TagSet::parse(text).ok()).unwrap_or_default();
        query.tags.iter().all(|tag| set.contains(tag))
            && (query.tags_any.is_empty() || query.tags_any.iter().any(|tag| set.contains(tag)))
    };
    let tagged = found.into_iter().zip(texts);
    let kept = tagged.filter(|(_, text)| passes(text.spec.tag.as_ref()));
    Ok(kept.map(|(task, _)| task).collect())
}
