//! Client id → tasks, newest first. Holds hashes only; a hit is verified against the log by the
//! shell.

use crate::core::map::{self, Map};
use crate::model::id::TaskSeq;
use serde::{Deserialize, Serialize};

/// Index of client ids. 17 B a distinct id; nothing for tasks without one.
#[derive(Clone, Debug)]
pub struct IdIndex {
    newest: Map<u64, TaskSeq>,
    /// Earlier task with the same hash.
    older: Map<TaskSeq, TaskSeq>,
    /// Every entry in order of admission, for the image.
    order: Vec<IdEntry>,
}

/// One entry, as an image keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdEntry {
    /// Hash of the id.
    pub hash: u64,
    /// Task.
    pub seq: TaskSeq,
}

impl Default for IdIndex {
    fn default() -> Self {
        Self { newest: map::new(), older: map::new(), order: Vec::new() }
    }
}

impl IdIndex {
    /// Notes a task's id.
    pub fn insert(&mut self, id: &str, seq: TaskSeq) {
        self.insert_hash(IdEntry { hash: fnv1a(id.as_bytes()), seq });
    }

    /// Tasks whose id may be this one, newest first.
    pub fn candidates(&self, id: &str) -> impl Iterator<Item = TaskSeq> + '_ {
        let first = self.newest.get(&fnv1a(id.as_bytes())).copied();
        std::iter::successors(first, |seq| self.older.get(seq).copied())
    }

    /// Entries for an image.
    #[must_use]
    pub fn entries(&self) -> &[IdEntry] {
        &self.order
    }

    /// Rebuilds from [`Self::entries`].
    #[must_use]
    pub fn restore(entries: Vec<IdEntry>) -> Self {
        let mut index = Self::default();
        entries.into_iter().for_each(|entry| index.insert_hash(entry));
        index
    }

    fn insert_hash(&mut self, entry: IdEntry) {
        if let Some(older) = self.newest.insert(entry.hash, entry.seq) {
            self.older.insert(entry.seq, older);
        }
        self.order.push(entry);
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo). Collisions cost a look into the log, never a wrong answer.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
