//! The rows of the tag counters a task counts in. Tasks whose tags fold to the same rows share one
//! set; a row of the tracker names it by a number, so a change of state finds its counters without
//! looking at any text. Sets lie in blocks of 64; what is remembered of texts and sets to find an
//! equal one again is bounded and may be forgotten: then a set gets a second number, nothing else.

use crate::core::map::{self, Map};
use crate::model::id::Name;
use crate::store::block::{Error, Kind};
use crate::store::shelf::{Shelf, Shelved};
use crate::store::vault::Vault;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Sets of a block.
const SETS: u64 = 64;
/// Rows in the blocks held, 8 B each.
const HELD_MAX: usize = 1 << 20;
/// Texts and sets remembered at most.
const KNOWN_MAX: usize = 1 << 16;
/// Bytes of those texts at most.
const KNOWN_BYTES_MAX: usize = 8 << 20;

/// Number of a tally and row in it, ascending; a row twice when two values share it.
pub type Cells = Vec<(u32, u16)>;

#[derive(Default, Serialize, Deserialize)]
struct Block(Vec<Cells>);

impl Shelved for Block {
    const KIND: Kind = Kind::TagSets;
    const HELD_MAX: usize = HELD_MAX;

    fn weight(&self) -> usize {
        self.0.iter().map(Vec::len).sum::<usize>() + self.0.len() * 4
    }

    fn revived(self) -> Self {
        self
    }
}

/// Sets by number.
pub struct TagSets {
    blocks: Shelf<Block>,
    /// Sets of each partition.
    given: BTreeMap<u16, u32>,
    by_text: Map<(u16, u32, Name), u32>,
    text_bytes: usize,
    by_cells: Map<(u16, Cells), u32>,
}

impl Default for TagSets {
    fn default() -> Self {
        Self {
            blocks: Shelf::default(),
            given: BTreeMap::new(),
            by_text: map::new(),
            text_bytes: 0,
            by_cells: map::new(),
        }
    }
}

impl TagSets {
    /// Reads back how many there are.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn load(vault: &Vault, partitions: u16) -> Result<Self, Error> {
        let mut sets = Self::default();
        for partition in 0..partitions {
            let Some(last) = vault.numbers(Kind::TagSets, partition).last() else { continue };
            let count = sets.blocks.with(vault, (partition, last), |block| block.0.len() as u64)?;
            let given = u32::try_from(last * SETS + count).map_err(|_| full())?;
            sets.given.insert(partition, given);
        }
        Ok(sets)
    }

    /// Set of a tag text in a job, if it is remembered.
    #[must_use]
    pub fn of_text(&self, partition: u16, job: u32, text: &Name) -> Option<u32> {
        self.by_text.get(&(partition, job, text.clone())).copied()
    }

    /// Remembers the set of a tag text.
    pub fn remember(&mut self, partition: u16, job: u32, text: &Name, set: u32) {
        if self.by_text.len() >= KNOWN_MAX || self.text_bytes >= KNOWN_BYTES_MAX {
            self.by_text.clear();
            self.text_bytes = 0;
        }
        self.text_bytes += text.len();
        self.by_text.insert((partition, job, text.clone()), set);
    }

    /// Forgets which text means which set.
    pub fn forget_texts(&mut self) {
        self.by_text.clear();
        self.text_bytes = 0;
    }

    /// Number of a set, from 1; 0 is the empty one.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn number(
        &mut self,
        vault: &mut Vault,
        partition: u16,
        mut cells: Cells,
    ) -> Result<u32, Error> {
        if cells.is_empty() {
            return Ok(0);
        }
        cells.sort_unstable();
        if let Some(known) = self.by_cells.get(&(partition, cells.clone())) {
            return Ok(*known);
        }
        if self.by_cells.len() >= KNOWN_MAX {
            self.by_cells.clear();
        }
        let given = self.given.get(&partition).copied().unwrap_or(0);
        let number = given.checked_add(1).ok_or_else(full)?;
        let at = (partition, u64::from(given) / SETS);
        if u64::from(given).is_multiple_of(SETS) {
            self.blocks.put(vault, at, Block(vec![cells.clone()]));
        } else {
            self.blocks.change(vault, at)?.0.push(cells.clone());
        }
        self.given.insert(partition, number);
        self.by_cells.insert((partition, cells), number);
        Ok(number)
    }

    /// The rows of a set.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn cells(&mut self, vault: &mut Vault, partition: u16, set: u32) -> Result<&Cells, Error> {
        let (number, at) = place(set).ok_or_else(missing)?;
        self.blocks.get(vault, (partition, number))?.0.get(at).ok_or_else(missing)
    }

    /// Looks at the sets of a block without keeping it.
    ///
    /// # Errors
    /// `Damaged`.
    pub(crate) fn with_block<R>(
        &self,
        vault: &Vault,
        at: (u16, u64),
        look: impl FnOnce(&[Cells]) -> R,
    ) -> Result<R, Error> {
        self.blocks.with(vault, at, |block: &Block| look(&block.0))
    }

    /// Hands what changed to the vault.
    pub fn flush(&mut self, vault: &mut Vault) {
        self.blocks.flush(vault);
    }
}

/// Block of a set and place in it; `None` for the empty one.
pub(crate) fn place(set: u32) -> Option<(u64, usize)> {
    let place = u64::from(set).checked_sub(1)?;
    Some((place / SETS, usize::try_from(place % SETS).expect("below 64")))
}

pub(crate) fn missing() -> Error {
    Error::Damaged("a task names a set of tags that is not there".to_owned())
}

fn full() -> Error {
    Error::Damaged("more than 2^32 sets of tags".to_owned())
}
