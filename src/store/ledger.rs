//! Names by number and the marks of job verbs. Both are held in memory whole: their number follows
//! jobs, workers and failure classes ever seen, not tasks.

use crate::codec::stored;
use crate::core::map::{self, Map};
use crate::model::id::Name;
use crate::model::row::JobMarks;
use crate::store::block::{BlockKey, Error, Kind};
use crate::store::vault::Vault;
use std::collections::{BTreeMap, BTreeSet};

/// Names of a block.
const NAMES: usize = 256;
/// Jobs of a block.
const JOBS: u32 = 64;

/// Names and marks.
pub struct Ledger {
    names: Vec<Name>,
    numbers: Map<Name, u32>,
    /// Names the vault has.
    saved: usize,
    marks: BTreeMap<(u16, u32), JobMarks>,
    changed: BTreeSet<(u16, u32)>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            numbers: map::new(),
            saved: 0,
            marks: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }
}

impl Ledger {
    /// Reads it back.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn load(vault: &Vault, partitions: u16) -> Result<Self, Error> {
        let mut ledger = Self::default();
        for number in vault.numbers(Kind::Names, 0) {
            let names: Vec<Name> = block(vault, BlockKey::new(Kind::Names, 0, number))?;
            for name in names {
                ledger.number(&name);
            }
        }
        ledger.saved = ledger.names.len();
        for partition in 0..partitions {
            for number in vault.numbers(Kind::Marks, partition) {
                let key = BlockKey::new(Kind::Marks, partition, number);
                let marks: Vec<(u32, JobMarks)> = block(vault, key)?;
                ledger.marks.extend(marks.into_iter().map(|(job, m)| ((partition, job), m)));
            }
        }
        Ok(ledger)
    }

    /// Hands what changed to the vault.
    pub fn flush(&mut self, vault: &mut Vault) {
        if self.saved < self.names.len() {
            let first = self.saved / NAMES;
            for (number, names) in self.names.chunks(NAMES).enumerate().skip(first) {
                let key = BlockKey::new(Kind::Names, 0, number as u64);
                vault.put(key, stored::encode(&names.to_vec()));
            }
            self.saved = self.names.len();
        }
        for (partition, number) in std::mem::take(&mut self.changed) {
            let jobs = (partition, number * JOBS)..=(partition, number * JOBS + (JOBS - 1));
            let marks = self.marks.range(jobs).map(|((_, job), m)| (*job, *m));
            let key = BlockKey::new(Kind::Marks, partition, u64::from(number));
            vault.put(key, stored::encode(&marks.collect::<Vec<_>>()));
        }
    }

    /// Number of a name, a new one at first sight; never 0.
    pub fn number(&mut self, name: &Name) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        self.names.push(name.clone());
        let number = u32::try_from(self.names.len()).expect("fewer than 2^32 names");
        self.numbers.insert(name.clone(), number);
        number
    }

    /// Number of a name that was seen.
    #[must_use]
    pub fn known(&self, name: &Name) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// A name by its number.
    #[must_use]
    pub fn name(&self, number: u32) -> Name {
        let known = (number as usize).checked_sub(1).and_then(|at| self.names.get(at));
        known.cloned().unwrap_or_else(|| Name::from(""))
    }

    /// Marks of a job.
    #[must_use]
    pub fn marks(&self, partition: u16, job: u32) -> JobMarks {
        self.marks.get(&(partition, job)).copied().unwrap_or_default()
    }

    /// Changes the marks of a job.
    pub fn set_marks(&mut self, partition: u16, job: u32, marks: JobMarks) {
        self.marks.insert((partition, job), marks);
        self.changed.insert((partition, job / JOBS));
    }

    /// Was any job ever cancelled or moved?
    #[must_use]
    pub fn any_marks(&self) -> bool {
        !self.marks.is_empty()
    }
}

fn block<T: serde::de::DeserializeOwned>(vault: &Vault, key: BlockKey) -> Result<T, Error> {
    let bytes = vault.get(key)?.ok_or_else(|| Error::Damaged("a block is missing".to_owned()))?;
    stored::decode(&bytes).map_err(Error::Damaged)
}
