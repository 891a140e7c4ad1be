//! Strings and task classes → small numbers, so that a row costs bytes and not pointers.

use crate::core::map::{self, Map};
use crate::model::id::Name;
use crate::model::policy::Backoff;
use crate::model::priority::Priority;
use serde::{Deserialize, Serialize};
use std::hash::Hash;

/// Number of a job in this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobKey(pub u32);

/// Number of a worker name in this partition.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct WorkerKey(pub u32);

/// Number of a task class in this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClassKey(pub u32);

/// Number of an affinity key in this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyNumber(pub u32);

/// An affinity key with its weight.
pub type Weighed = (KeyNumber, u8);

/// Number of a set of affinity keys in this partition; 0 = the empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeySet(pub u32);

/// Everything the partition needs to know of a task beyond its state; most tasks of a job share
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Class {
    /// Job.
    pub job: JobKey,
    /// Priority at admission.
    pub priority: Priority,
    /// Lease asked for, ms; 0 = the policy's.
    pub lease_ms: u32,
    /// Run limit, seconds; 0 = none.
    pub timeout_s: u32,
    /// Budget of errors.
    pub max_attempts: u8,
    /// Budget of lost workers.
    pub max_crashes: u8,
    /// Back-off.
    pub backoff: Backoff,
    /// Affinity keys.
    pub keys: KeySet,
}

/// Values numbered in order of first sight.
#[derive(Clone, Debug)]
pub struct Interner<T> {
    by_value: Map<T, u32>,
    values: Vec<T>,
}

impl<T: Clone + Eq + Hash> Default for Interner<T> {
    fn default() -> Self {
        Self { by_value: map::new(), values: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Interner<T> {
    /// The number of a value, a new one at first sight.
    ///
    /// # Panics
    /// After 2^32 distinct values.
    pub fn number(&mut self, value: &T) -> u32 {
        if let Some(number) = self.by_value.get(value) {
            return *number;
        }
        let number = u32::try_from(self.values.len()).expect("fewer than 2^32 distinct values");
        self.by_value.insert(value.clone(), number);
        self.values.push(value.clone());
        number
    }

    /// The number of a known value.
    #[must_use]
    pub fn known(&self, value: &T) -> Option<u32> {
        self.by_value.get(value).copied()
    }

    /// The value of a number given out before.
    #[must_use]
    pub fn value(&self, number: u32) -> &T {
        &self.values[number as usize]
    }

    /// All values in order of their numbers.
    #[must_use]
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// Rebuilds from [`Self::values`].
    #[must_use]
    pub fn restore(values: Vec<T>) -> Self {
        let mut interner = Self::default();
        for value in &values {
            interner.number(value);
        }
        interner
    }
}

/// Worker names.
pub type Workers = Interner<Name>;
