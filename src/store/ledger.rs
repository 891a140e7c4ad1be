//! Names by number, the marks of job verbs, and arrays. All are held in memory whole: their number
//! follows jobs, workers, failure classes and arrays ever seen, not tasks.

use crate::codec::stored;
use crate::core::map::{self, Map};
use crate::model::id::{Name, TaskSeq};
use crate::model::limits::PAGE_TASKS;
use crate::model::row::{ArrayRows, JobMarks, Row};
use crate::store::block::{BlockKey, Error, Kind};
use crate::store::cache::PageKey;
use crate::store::vault::Vault;
use std::collections::{BTreeMap, BTreeSet};

/// Names of a block.
const NAMES: usize = 256;
/// Jobs of a block.
const JOBS: u32 = 64;
/// Arrays of a block.
const ARRAYS: usize = 64;
const PAGE: u64 = PAGE_TASKS as u64;

/// Names and marks.
pub struct Ledger {
    names: Vec<Name>,
    numbers: Map<Name, u32>,
    /// Names the vault has.
    saved: usize,
    marks: BTreeMap<(u16, u32), JobMarks>,
    changed: BTreeSet<(u16, u32)>,
    /// By partition, in the order of their elements; and how many of them the vault has.
    arrays: BTreeMap<u16, (Vec<ArrayRows>, usize)>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            numbers: map::new(),
            saved: 0,
            marks: BTreeMap::new(),
            changed: BTreeSet::new(),
            arrays: BTreeMap::new(),
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
            for number in vault.numbers(Kind::Arrays, partition) {
                let key = BlockKey::new(Kind::Arrays, partition, number);
                let (arrays, saved) = ledger.arrays.entry(partition).or_default();
                arrays.extend(block::<Vec<ArrayRows>>(vault, key)?);
                *saved = arrays.len();
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
        for (partition, (arrays, saved)) in &mut self.arrays {
            let first = *saved / ARRAYS;
            let blocks = arrays.chunks(ARRAYS).enumerate().skip(first);
            for (number, block) in blocks.filter(|_| *saved < arrays.len()) {
                let key = BlockKey::new(Kind::Arrays, *partition, number as u64);
                vault.put(key, stored::encode(&block.to_vec()));
            }
            let blocks = arrays.len().div_ceil(ARRAYS) as u64;
            let behind: Vec<u64> = vault.numbers(Kind::Arrays, *partition).collect();
            for number in behind.into_iter().filter(|number| *number >= blocks) {
                vault.remove(BlockKey::new(Kind::Arrays, *partition, number));
            }
            *saved = arrays.len();
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

    /// Notes an array behind those that are there.
    pub fn add_array(&mut self, partition: u16, array: ArrayRows) {
        self.arrays.entry(partition).or_default().0.push(array);
    }

    /// Arrays of a partition.
    pub fn arrays(&self, partition: u16) -> impl Iterator<Item = &ArrayRows> {
        self.arrays.get(&partition).into_iter().flat_map(|(arrays, _)| arrays)
    }

    /// The array a task is an element of.
    #[must_use]
    pub fn array_at(&self, partition: u16, seq: TaskSeq) -> Option<&ArrayRows> {
        let (arrays, _) = self.arrays.get(&partition)?;
        let at = arrays.partition_point(|array| array.first <= seq).checked_sub(1)?;
        arrays.get(at).filter(|array| seq < array.end())
    }

    /// Forgets the arrays and the marks of a job. Its name stays: it may come again.
    pub fn purge_job(&mut self, partition: u16, job: u32) {
        if let Some((arrays, saved)) = self.arrays.get_mut(&partition)
            && let Some(first) = arrays.iter().position(|array| array.job() == job)
        {
            arrays.retain(|array| array.job() != job);
            *saved = (*saved).min(first);
        }
        if self.marks.remove(&(partition, job)).is_some() {
            self.changed.insert((partition, job / JOBS));
        }
    }

    /// The array all rows of a page belong to; such a page is stored only once it was touched.
    #[must_use]
    pub fn array_of_page(&self, (partition, page): PageKey) -> Option<&ArrayRows> {
        let (first, end) = (TaskSeq(page * PAGE), TaskSeq((page + 1) * PAGE));
        let (arrays, _) = self.arrays.get(&partition)?;
        let at = arrays.partition_point(|array| array.first <= first).checked_sub(1)?;
        arrays.get(at).filter(|array| array.end() >= end)
    }

    /// Rows of a page that nobody has touched.
    #[must_use]
    pub fn untouched(&self, key: PageKey) -> Option<Vec<Row>> {
        let array = self.array_of_page(key)?;
        let first = key.1 * PAGE;
        Some((first..first + PAGE).map(|seq| array.row(TaskSeq(seq))).collect())
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
