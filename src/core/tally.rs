//! The counters of one tag key: tasks by value and state, of one job or of all jobs of a partition.
//!
//! The first values have a row each, all others share row 0. A row of a job knows the row of all
//! jobs it is part of, so whatever moves the one moves the other, also when a job verb moves all
//! tasks of a job in one step. A value that came too late in its job but not among all jobs has a
//! row as well, which is shown with the rest: else nobody could tell what to move among all jobs.

use crate::model::breakdown::OWN_WORDS;
use crate::model::id::Name;
use crate::model::state::{StateCounts, TaskState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Row of the values that have none of their own.
pub const REST: u16 = 0;

/// Tasks that leave a state and enter another; `None` = come in, go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Leave.
    pub from: Option<TaskState>,
    /// Enter.
    pub to: Option<TaskState>,
    /// How many.
    pub count: u64,
}

/// A counter would have become negative: what is stored does not fit what is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negative;

impl Move {
    /// Moves the tasks in a set of counters.
    ///
    /// # Errors
    /// There are not as many.
    pub fn apply(self, counts: &mut StateCounts) -> Result<(), Negative> {
        if let Some(from) = self.from {
            let slot = &mut counts.0[from.index()];
            *slot = slot.checked_sub(self.count).ok_or(Negative)?;
        }
        if let Some(to) = self.to {
            counts.add(to, self.count);
        }
        Ok(())
    }
}

/// Takes counts out of others.
///
/// # Errors
/// There are not as many.
pub fn go(all: &mut StateCounts, own: &StateCounts) -> Result<(), Negative> {
    for (all, own) in all.0.iter_mut().zip(own.0) {
        *all = all.checked_sub(own).ok_or(Negative)?;
    }
    Ok(())
}

/// A value with a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    value: Name,
    counts: StateCounts,
    /// Its row in the tally of all jobs.
    whole: u16,
    /// It has a row of its own in answers.
    own: bool,
}

/// Counters of a tag key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Number of the tally of all jobs that this one is part of; of that one its own.
    pub whole: u32,
    /// Tasks that have the key.
    with_key: StateCounts,
    /// Row 0.
    rest: StateCounts,
    /// A value was counted with the rest.
    folded: bool,
    /// Rows with own ones first seen first; row n + 1.
    lines: Vec<Line>,
    /// Lines that are shown.
    own: usize,
    /// Row by value; made anew from the lines.
    #[serde(skip)]
    places: BTreeMap<Name, u16>,
}

impl Tally {
    /// An empty one, part of this tally.
    #[must_use]
    pub fn new(whole: u32) -> Self {
        Self { whole, ..Self::default() }
    }

    /// Completes what came out of the store.
    #[must_use]
    pub fn indexed(mut self) -> Self {
        let values = self.lines.iter().map(|line| line.value.clone());
        self.places = values.zip(1..).collect();
        self
    }

    /// Rows, for the bound on memory.
    #[must_use]
    pub fn size(&self) -> usize {
        self.lines.len() + 1
    }

    /// Numbers of its rows.
    pub fn rows(&self) -> impl Iterator<Item = u16> {
        let last = u16::try_from(self.lines.len()).expect("at most 2 × 10,000 rows");
        REST..=last
    }

    /// Row of a value that has one.
    #[must_use]
    pub fn row(&self, value: &str) -> Option<u16> {
        self.places.get(value).copied()
    }

    /// Row of a value among all jobs: a new one as long as there is room.
    pub fn place_whole(&mut self, value: &Name, most: usize) -> u16 {
        if let Some(row) = self.row(value) {
            return row;
        }
        if self.own >= most || value.starts_with(OWN_WORDS) {
            self.folded = true;
            return REST;
        }
        self.add_line(value, REST, true)
    }

    /// Row of a value in a job; `whole` is its row among all jobs.
    pub fn place(&mut self, value: &Name, whole: u16, most: usize) -> u16 {
        if let Some(row) = self.row(value) {
            return row;
        }
        let own = self.own < most && !value.starts_with(OWN_WORDS);
        self.folded |= !own;
        if own || whole != REST { self.add_line(value, whole, own) } else { REST }
    }

    /// Row among all jobs of a row of a job.
    #[must_use]
    pub fn whole_row(&self, row: u16) -> u16 {
        self.line(row).map_or(REST, |line| line.whole)
    }

    /// Moves tasks in a row.
    ///
    /// # Errors
    /// There are not as many.
    pub fn shift(&mut self, row: u16, step: Move) -> Result<(), Negative> {
        match usize::from(row).checked_sub(1) {
            None => step.apply(&mut self.rest),
            Some(at) => step.apply(&mut self.lines.get_mut(at).ok_or(Negative)?.counts),
        }
    }

    /// Moves tasks that have the key, each once however many values it has.
    ///
    /// # Errors
    /// There are not as many.
    pub fn shift_key(&mut self, step: Move) -> Result<(), Negative> {
        step.apply(&mut self.with_key)
    }

    /// Takes out all that is counted in a tally that was part of this one.
    ///
    /// # Errors
    /// There are not as many.
    pub fn leave(&mut self, part: &Self) -> Result<(), Negative> {
        go(&mut self.with_key, &part.with_key)?;
        go(&mut self.rest, &part.rest)?;
        for line in &part.lines {
            match usize::from(line.whole).checked_sub(1) {
                None => go(&mut self.rest, &line.counts)?,
                Some(at) => {
                    go(&mut self.lines.get_mut(at).ok_or(Negative)?.counts, &line.counts)?;
                }
            }
        }
        Ok(())
    }

    /// Counts of a row.
    #[must_use]
    pub fn counts(&self, row: u16) -> StateCounts {
        if row == REST {
            self.rest
        } else {
            self.line(row).map_or_else(Default::default, |l| l.counts)
        }
    }

    /// Tasks that have the key.
    #[must_use]
    pub fn with_key(&self) -> StateCounts {
        self.with_key
    }

    /// Rows that are shown, in the order of first sight.
    pub fn own_rows(&self) -> impl Iterator<Item = (&Name, &StateCounts)> {
        self.lines.iter().filter(|line| line.own).map(|line| (&line.value, &line.counts))
    }

    /// Values without a row of their own, summed; `None` as long as there is none.
    #[must_use]
    pub fn other(&self) -> Option<StateCounts> {
        let mut sum = self.rest;
        self.lines.iter().filter(|line| !line.own).for_each(|line| sum.merge(&line.counts));
        self.folded.then_some(sum)
    }

    fn line(&self, row: u16) -> Option<&Line> {
        self.lines.get(usize::from(row).checked_sub(1)?)
    }

    fn add_line(&mut self, value: &Name, whole: u16, own: bool) -> u16 {
        self.lines.push(Line { value: value.clone(), counts: Default::default(), whole, own });
        self.own += usize::from(own);
        let row = u16::try_from(self.lines.len()).expect("at most 2 × 10,000 rows");
        self.places.insert(value.clone(), row);
        row
    }
}
