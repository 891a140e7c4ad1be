//! The reference store: a sorted map. Clones share it, so that a test can "start again".

use crate::store::block::{BlockKey, Error, Kind, TrackerStore, Visit};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Blocks in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    blocks: Arc<Mutex<BTreeMap<BlockKey, Vec<u8>>>>,
}

impl MemoryStore {
    /// The blocks as they lie; for tests that damage them.
    ///
    /// # Panics
    /// Never: a poisoned map is still whole.
    pub fn blocks(&self) -> MutexGuard<'_, BTreeMap<BlockKey, Vec<u8>>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TrackerStore for MemoryStore {
    fn get(&self, key: BlockKey) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.blocks().get(&key).cloned())
    }

    fn each(&self, kind: Kind, visit: Visit<'_>) -> Result<(), Error> {
        let first = BlockKey::new(kind, 0, 0);
        let last = BlockKey::new(kind, u16::MAX, u64::MAX);
        self.blocks().range(first..=last).try_for_each(|(key, bytes)| visit(*key, bytes))
    }

    fn write(&mut self, blocks: &[(BlockKey, Vec<u8>)]) -> Result<(), Error> {
        let mut held = self.blocks();
        for (key, bytes) in blocks {
            if bytes.is_empty() {
                held.remove(key);
            } else {
                held.insert(*key, bytes.clone());
            }
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Error> {
        self.blocks().clear();
        Ok(())
    }
}
