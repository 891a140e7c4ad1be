//! Does a task have the tags that are asked for? Its row names the set of counters it counts in
//! (`tagsets`), which tells for all tasks of the set at once; only where a value or a key has no
//! counter of its own must the text be read.

use crate::core::map::{self, Map};
use crate::core::tally::REST;
use crate::model::breakdown::BARE_KEY;
use crate::model::id::Name;
use crate::model::row::Row;
use crate::model::tags::{TagPart, TagSet, split};
use crate::model::view::TaskQuery;
use crate::store::block::Error;
use crate::store::counts::Counts;
use crate::store::vault::Vault;
use std::cell::RefCell;

/// What a row tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    No,
    /// The text tells.
    Unsure,
    Yes,
}

/// The tags of a query.
pub(crate) struct TagFilter {
    /// All of these.
    all: Vec<Name>,
    /// One of these; empty = no condition.
    any: Vec<Name>,
    /// By partition, job and set.
    known: RefCell<Map<(u16, u32, u32), Verdict>>,
}

impl TagFilter {
    /// `None` for a query without tags.
    pub(crate) fn of(query: &TaskQuery) -> Option<Self> {
        let (all, any) = (query.tags.clone(), query.tags_any.clone());
        let known = RefCell::new(map::new());
        (!(all.is_empty() && any.is_empty())).then_some(Self { all, any, known })
    }

    /// By the text.
    pub(crate) fn has(&self, text: Option<&Name>) -> bool {
        let set = text.and_then(|text| TagSet::parse(text).ok()).unwrap_or_default();
        self.all.iter().all(|tag| set.contains(tag))
            && (self.any.is_empty() || self.any.iter().any(|tag| set.contains(tag)))
    }

    /// By the row.
    ///
    /// # Errors
    /// `Damaged`.
    pub(crate) fn verdict(
        &self,
        (counts, vault): (&Counts, &Vault),
        partition: u16,
        row: &Row,
    ) -> Result<Verdict, Error> {
        let key = (partition, row.job, row.tags);
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(*known);
        }
        let mut all = Verdict::Yes;
        for tag in &self.all {
            all = all.min(one((counts, vault), partition, row, tag)?);
        }
        let mut any = if self.any.is_empty() { Verdict::Yes } else { Verdict::No };
        for tag in &self.any {
            any = any.max(one((counts, vault), partition, row, tag)?);
        }
        let verdict = all.min(any);
        self.known.borrow_mut().insert(key, verdict);
        Ok(verdict)
    }
}

fn one(
    (counts, vault): (&Counts, &Vault),
    partition: u16,
    row: &Row,
    tag: &str,
) -> Result<Verdict, Error> {
    let (key, value) = match split(tag) {
        TagPart::Pair(key, value) => (key, value),
        TagPart::Bare(bare) => (BARE_KEY, bare),
    };
    let Some(head) = counts.heads.get(&(partition, row.job)) else { return Ok(Verdict::No) };
    let Some(number) = head.keys.get(key).copied() else {
        return Ok(if head.left_out { Verdict::Unsure } else { Verdict::No });
    };
    if row.tags == 0 {
        return Ok(Verdict::No);
    }
    let line = counts.tallies.with(vault, (partition, u64::from(number)), |t| t.row(value))?;
    let has = |line: u16| {
        counts.sets.with(vault, partition, row.tags, |cells| cells.contains(&(number, line)))
    };
    // A value never gets a row after it was once counted with the rest: the room only shrinks.
    Ok(match line {
        Some(line) if has(line)? => Verdict::Yes,
        None if has(REST)? => Verdict::Unsure,
        Some(_) | None => Verdict::No,
    })
}
