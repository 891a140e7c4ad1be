//! Pages in memory: the ones that changed since the last checkpoint, and a bounded number of clean
//! ones.

use crate::model::id::{PartitionId, TaskSeq};
use crate::model::limits::PAGE_TASKS;
use crate::model::row::Row;
use std::collections::BTreeMap;

/// Key of a page: partition, page number.
pub type PageKey = (u16, u64);

/// Clean pages kept; each is about 120 KB.
const CLEAN_MAX: usize = 64;

struct Page {
    rows: Vec<Row>,
    dirty: bool,
    used: u64,
}

/// The page cache. Decoding and reading from disk are the loader's.
#[derive(Default)]
pub struct Cache {
    pages: BTreeMap<PageKey, Page>,
    dirty: usize,
    clock: u64,
}

/// Page and place of a task.
#[must_use]
pub fn place(partition: PartitionId, seq: TaskSeq) -> (PageKey, usize) {
    let size = PAGE_TASKS as u64;
    let offset = usize::try_from(seq.0 % size).expect("below 1,024");
    ((partition.0, seq.0 / size), offset)
}

impl Cache {
    /// Pages that wait for the next checkpoint.
    #[must_use]
    pub fn dirty(&self) -> usize {
        self.dirty
    }

    /// The rows of a page, loaded at need.
    pub fn rows(&mut self, key: PageKey, load: impl FnOnce(PageKey) -> Vec<Row>) -> &mut Vec<Row> {
        self.clock += 1;
        if !self.pages.contains_key(&key) {
            self.evict();
            let rows = load(key);
            self.pages.insert(key, Page { rows, dirty: false, used: 0 });
        }
        let page = self.pages.get_mut(&key).expect("inserted just now");
        page.used = self.clock;
        &mut page.rows
    }

    /// Marks a page that is in the cache as changed.
    pub fn touch(&mut self, key: PageKey) {
        if let Some(page) = self.pages.get_mut(&key) {
            self.dirty += usize::from(!page.dirty);
            page.dirty = true;
        }
    }

    /// The changed pages; they are clean afterwards.
    pub fn take_dirty(&mut self, mut each: impl FnMut(PageKey, &[Row])) {
        for (key, page) in self.pages.iter_mut().filter(|(_, page)| page.dirty) {
            each(*key, &page.rows);
            page.dirty = false;
        }
        self.dirty = 0;
        self.evict();
    }

    fn evict(&mut self) {
        let clean = self.pages.len() - self.dirty;
        if clean <= CLEAN_MAX {
            return;
        }
        // Half at once, so that the search for the oldest is paid once in many loads.
        let mut ages: Vec<(u64, PageKey)> =
            self.pages.iter().filter(|(_, p)| !p.dirty).map(|(k, p)| (p.used, *k)).collect();
        ages.sort_unstable();
        for (_, key) in ages.into_iter().take(clean - CLEAN_MAX / 2) {
            self.pages.remove(&key);
        }
    }
}
