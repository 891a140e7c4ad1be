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
    /// Every entry in order of admission; those of purged tasks are dropped many at a time.
    order: Vec<IdEntry>,
    /// Entries of `order` that are purged.
    dropped: usize,
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
        Self { newest: map::new(), older: map::new(), order: Vec::new(), dropped: 0 }
    }
}

impl IdIndex {
    /// Notes a task's id.
    pub fn insert(&mut self, id: &str, seq: TaskSeq) {
        self.insert_hash(IdEntry { hash: hash_of(id), seq });
    }

    /// Tasks whose id may be this one, newest first.
    pub fn candidates(&self, id: &str) -> impl Iterator<Item = TaskSeq> + '_ {
        let first = self.newest.get(&hash_of(id)).copied();
        std::iter::successors(first, |seq| self.older.get(seq).copied())
    }

    /// Forgets the id of a task; its hash, if it had one.
    pub fn remove(&mut self, seq: TaskSeq) -> Option<u64> {
        let at = self.order.binary_search_by_key(&seq, |entry| entry.seq).ok()?;
        let hash = std::mem::replace(&mut self.order[at].hash, PURGED);
        if hash == PURGED {
            return None;
        }
        self.unlink(hash, seq);
        self.dropped += 1;
        if self.dropped > self.order.len() / 2 {
            self.order.retain(|entry| entry.hash != PURGED);
            self.order.shrink_to(self.order.len() * 2);
            self.dropped = 0;
            map::slim(&mut self.newest);
            map::slim(&mut self.older);
        }
        Some(hash)
    }

    fn unlink(&mut self, hash: u64, seq: TaskSeq) {
        let before = self.older.remove(&seq);
        let newest = self.newest.get(&hash).copied();
        if newest == Some(seq) {
            match before {
                Some(before) => self.newest.insert(hash, before),
                None => self.newest.remove(&hash),
            };
            return;
        }
        let mut chain = std::iter::successors(newest, |at| self.older.get(at).copied());
        if let Some(after) = chain.find(|at| self.older.get(at) == Some(&seq)) {
            match before {
                Some(before) => self.older.insert(after, before),
                None => self.older.remove(&after),
            };
        }
    }

    /// Tasks with an id between two numbers (the last one excluded), in order.
    #[must_use]
    pub fn within(&self, first: TaskSeq, end: TaskSeq) -> Vec<TaskSeq> {
        let from = self.order.partition_point(|entry| entry.seq < first);
        let those = self.order[from..].iter().take_while(|entry| entry.seq < end);
        those.filter(|entry| entry.hash != PURGED).map(|entry| entry.seq).collect()
    }

    /// Entries for an image.
    #[must_use]
    pub fn entries(&self) -> Vec<IdEntry> {
        self.order.iter().filter(|entry| entry.hash != PURGED).copied().collect()
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

/// Hash of an entry whose task was purged.
const PURGED: u64 = 0;

/// Hash of a client id; never the one that stands for a purged task.
#[must_use]
pub fn hash_of(id: &str) -> u64 {
    fnv1a(id.as_bytes()).max(PURGED + 1)
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo). Collisions cost a look into the log, never a wrong answer.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
#[path = "idindex_tests.rs"]
mod tests;
