//! What was used last, bounded in number and bytes.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Segments kept open for readers; with that of the appender 32 files.
const FILES_KEPT: usize = 31;
/// Records kept, because hand-outs in order read one record many times; and their bytes.
pub(super) const RECORDS_KEPT: usize = 64;
const RECORD_BYTES_KEPT: usize = 16 << 20;

/// Files by the id of their segment.
pub(super) type Files = Line<Arc<File>>;
/// Values by their offset.
pub(super) type Records = Line<Arc<[u8]>>;

/// What a thing weighs.
pub(super) trait Weight {
    /// Bytes of memory.
    fn weight(&self) -> usize;
}

impl Weight for Arc<File> {
    fn weight(&self) -> usize {
        0
    }
}

impl Weight for Arc<[u8]> {
    fn weight(&self) -> usize {
        self.len()
    }
}

/// Things in a line, the one used last at its end.
#[derive(Debug)]
pub(super) struct Line<V> {
    line: Mutex<VecDeque<(u64, V)>>,
    number_max: usize,
    weight_max: usize,
}

impl Files {
    pub(super) fn files() -> Self {
        Self { line: Mutex::default(), number_max: FILES_KEPT, weight_max: 0 }
    }
}

impl Records {
    pub(super) fn records() -> Self {
        Self { line: Mutex::default(), number_max: RECORDS_KEPT, weight_max: RECORD_BYTES_KEPT }
    }
}

impl<V: Clone + Weight> Line<V> {
    fn line(&self) -> MutexGuard<'_, VecDeque<(u64, V)>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thing of a key, which moves to the end.
    pub(super) fn get(&self, key: u64) -> Option<V> {
        let mut line = self.line();
        let at = line.iter().rposition(|(k, _)| *k == key)?;
        let entry = line.remove(at)?;
        let value = entry.1.clone();
        line.push_back(entry);
        Some(value)
    }

    /// Keeps a thing if it still counts, which is asked while nobody can clear the line.
    pub(super) fn keep(&self, key: u64, value: &V, counts: impl FnOnce() -> bool) {
        let mut line = self.line();
        if value.weight() > self.weight_max || !counts() {
            return;
        }
        line.retain(|(k, _)| *k != key);
        line.push_back((key, value.clone()));
        let weight = |line: &VecDeque<(u64, V)>| line.iter().map(|(_, v)| v.weight()).sum();
        let too_much = |sum: usize, line: &VecDeque<(u64, V)>| {
            line.len() > self.number_max || sum > self.weight_max
        };
        while too_much(weight(&line), &line) {
            line.pop_front();
        }
    }

    /// Keeps only what the key says.
    pub(super) fn retain(&self, keep: impl Fn(u64) -> bool) {
        self.line().retain(|(key, _)| keep(*key));
    }

    /// Things kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.line().len()
    }
}
