//! Does a task have the tags that are asked for? Its row names the set of counters it counts in
//! (`tagsets`), which tells for all tasks of the set at once; only where a value or a key has no
//! counter of its own must the text be read.

use crate::core::map::{self, Map};
use crate::core::tally::REST;
use crate::model::breakdown::BARE_KEY;
use crate::model::id::Name;
use crate::model::row::Row;
use crate::model::tags::{TagPart, fits, split};
use crate::model::view::{TaskQuery, TextAt};
use crate::store::block::Error;
use crate::store::counts::Counts;
use crate::store::query::TaskTexts;
use crate::store::tagsets;
use crate::store::vault::Vault;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

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
    /// By partition and job.
    wants: RefCell<Map<(u16, u32), Rc<Wants>>>,
    /// By partition, job and block of sets.
    known: RefCell<Map<(u16, u32, u64), Vec<Verdict>>>,
    blocks_read: Cell<u64>,
}

impl TagFilter {
    /// `None` for a query without tags.
    pub(crate) fn of(query: &TaskQuery) -> Option<Self> {
        let (all, any) = (query.tags.clone(), query.tags_any.clone());
        if all.is_empty() && any.is_empty() {
            return None;
        }
        let (wants, known) = (RefCell::new(map::new()), RefCell::new(map::new()));
        Some(Self { all, any, wants, known, blocks_read: Cell::new(0) })
    }

    /// The candidates that have the tags. `place` tells where the text of one lies whose row does
    /// not tell; `None` = its row did.
    ///
    /// # Errors
    /// Texts could not be read.
    pub(crate) fn sure<T>(
        &self,
        candidates: Vec<T>,
        place: impl Fn(&T) -> Option<TextAt>,
        texts: &dyn TaskTexts,
    ) -> Result<Vec<T>, String> {
        let wanted: Vec<_> = candidates.iter().filter_map(&place).collect();
        if wanted.is_empty() {
            return Ok(candidates);
        }
        let mut told = texts.texts(&wanted)?.into_iter();
        let has = |candidate: &T| {
            let mut by_text = || {
                let text = told.next();
                text.is_some_and(|text| fits(text.spec.tag.as_deref(), &self.all, &self.any))
            };
            place(candidate).is_none() || by_text()
        };
        Ok(candidates.into_iter().filter(has).collect())
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
        let Some((block, at)) = tagsets::place(row.tags) else {
            return Ok(self.wants((counts, vault), partition, row.job)?.of(&[]));
        };
        let key = (partition, row.job, block);
        if let Some(known) = self.known.borrow().get(&key) {
            return known.get(at).copied().ok_or_else(tagsets::missing);
        }
        let wants = self.wants((counts, vault), partition, row.job)?;
        // All sets of the block: neighbours were admitted together, and reading is what costs.
        let verdicts = counts.sets.with_block(vault, (partition, block), |sets| {
            sets.iter().map(|cells| wants.of(cells)).collect::<Vec<_>>()
        })?;
        self.blocks_read.set(self.blocks_read.get() + 1);
        let verdict = verdicts.get(at).copied().ok_or_else(tagsets::missing);
        self.known.borrow_mut().insert(key, verdicts);
        verdict
    }

    /// Blocks of sets looked at since it was asked last.
    pub(crate) fn blocks_read(&self) -> u64 {
        self.blocks_read.take()
    }

    fn wants(
        &self,
        places: (&Counts, &Vault),
        partition: u16,
        job: u32,
    ) -> Result<Rc<Wants>, Error> {
        if let Some(known) = self.wants.borrow().get(&(partition, job)) {
            return Ok(Rc::clone(known));
        }
        let each = |tags: &[Name]| -> Result<Vec<Want>, Error> {
            tags.iter().map(|tag| want(places, partition, job, tag)).collect()
        };
        let wants = Rc::new(Wants { all: each(&self.all)?, any: each(&self.any)? });
        self.wants.borrow_mut().insert((partition, job), Rc::clone(&wants));
        Ok(wants)
    }
}

/// What a tag means in the counters of a job.
#[derive(Clone, Copy)]
enum Want {
    /// No task of the job has it.
    Never,
    /// Its key is not counted.
    Uncounted,
    /// Tally of the key, and row of the value if it has one.
    Cell(u32, Option<u16>),
}

struct Wants {
    all: Vec<Want>,
    any: Vec<Want>,
}

impl Wants {
    fn of(&self, cells: &[(u32, u16)]) -> Verdict {
        let all = self.all.iter().map(|want| want.of(cells)).min().unwrap_or(Verdict::Yes);
        let any = self.any.iter().map(|want| want.of(cells)).max().unwrap_or(Verdict::Yes);
        all.min(any)
    }
}

impl Want {
    fn of(self, cells: &[(u32, u16)]) -> Verdict {
        // A value never gets a row after it was once counted with the rest: the room only shrinks.
        match self {
            Self::Uncounted => Verdict::Unsure,
            Self::Cell(tally, Some(line)) if cells.contains(&(tally, line)) => Verdict::Yes,
            Self::Cell(tally, None) if cells.contains(&(tally, REST)) => Verdict::Unsure,
            Self::Never | Self::Cell(..) => Verdict::No,
        }
    }
}

fn want(
    (counts, vault): (&Counts, &Vault),
    partition: u16,
    job: u32,
    tag: &str,
) -> Result<Want, Error> {
    let (key, value) = match split(tag) {
        TagPart::Pair(key, value) => (key, value),
        TagPart::Bare(bare) => (BARE_KEY, bare),
    };
    let Some(head) = counts.heads.get(&(partition, job)) else { return Ok(Want::Never) };
    let Some(tally) = head.keys.get(key).copied() else {
        return Ok(if head.left_out { Want::Uncounted } else { Want::Never });
    };
    let at = (partition, u64::from(tally));
    Ok(Want::Cell(tally, counts.tallies.with(vault, at, |t| t.row(value))?))
}
