//! Decoded pages, a bounded number of them. A changed page that must make room waits encoded in the
//! vault, so that one record that touches many pages does not fill the memory.

use crate::codec::page::{decode, encode};
use crate::model::id::{PartitionId, TaskSeq};
use crate::model::limits::PAGE_TASKS;
use crate::model::row::Row;
use crate::store::block::{BlockKey, Error, Kind};
use crate::store::ledger::Ledger;
use crate::store::vault::Vault;
use std::collections::BTreeMap;

/// Key of a page: partition, page number.
pub type PageKey = (u16, u64);

/// Pages kept; each is about 130 KB. Fair share and affinity take tasks from many places of a long
/// queue at once: too few pages, and each hand-out decodes and encodes one.
const PAGES_MAX: usize = 512;

struct Page {
    rows: Vec<Row>,
    dirty: bool,
    used: u64,
}

/// The page cache.
#[derive(Default)]
pub struct Cache {
    pages: BTreeMap<PageKey, Page>,
    clock: u64,
    /// The clock at the flush before.
    flushed: u64,
}

/// Page and place of a task.
#[must_use]
pub fn place(partition: PartitionId, seq: TaskSeq) -> (PageKey, usize) {
    let size = PAGE_TASKS as u64;
    let offset = usize::try_from(seq.0 % size).expect("below 1,024");
    ((partition.0, seq.0 / size), offset)
}

impl Cache {
    /// Drops everything, changed or not.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The rows of a page, loaded at need; empty where none was ever written.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn rows(
        &mut self,
        key: PageKey,
        vault: &mut Vault,
        ledger: &Ledger,
    ) -> Result<&mut Vec<Row>, Error> {
        self.clock += 1;
        if !self.pages.contains_key(&key) {
            let rows = read(key, vault, ledger)?;
            self.make_room(vault);
            self.pages.insert(key, Page { rows, dirty: false, used: 0 });
        }
        let page = self.pages.get_mut(&key).expect("inserted just now");
        page.used = self.clock;
        Ok(&mut page.rows)
    }

    /// The rows of a page if it is here; a list that walks over everything must not push out what
    /// the fold needs.
    #[must_use]
    pub fn peek(&self, key: PageKey) -> Option<&[Row]> {
        self.pages.get(&key).map(|page| page.rows.as_slice())
    }

    /// Marks a page that is in the cache as changed.
    pub fn touch(&mut self, key: PageKey) {
        if let Some(page) = self.pages.get_mut(&key) {
            page.dirty = true;
        }
    }

    /// Drops a page, changed or not.
    pub fn drop_page(&mut self, key: PageKey) {
        self.pages.remove(&key);
    }

    /// Hands a page to the vault that nobody may want for long: it was just filled, and the queue
    /// before it is of unknown length. So a backlog of any size holds no page in memory.
    pub fn put_away(&mut self, key: PageKey, vault: &mut Vault) {
        if let Some(page) = self.pages.remove(&key).filter(|page| page.dirty) {
            vault.put(block(key), encode(&page.rows));
        }
    }

    /// Hands the changed pages to the vault; they are clean afterwards. Those that nobody wanted
    /// since the flush before leave.
    pub fn flush(&mut self, vault: &mut Vault) {
        for (key, page) in self.pages.iter_mut().filter(|(_, page)| page.dirty) {
            vault.put(block(*key), encode(&page.rows));
            page.dirty = false;
        }
        let idle = std::mem::replace(&mut self.flushed, self.clock);
        self.pages.retain(|_, page| page.used > idle);
    }

    fn make_room(&mut self, vault: &mut Vault) {
        if self.pages.len() < PAGES_MAX {
            return;
        }
        // A third at once, so that the search for the oldest is paid once in many loads.
        let mut ages: Vec<(u64, PageKey)> = self.pages.iter().map(|(k, p)| (p.used, *k)).collect();
        ages.sort_unstable();
        for (_, key) in ages.into_iter().take(PAGES_MAX / 3) {
            let Some(page) = self.pages.remove(&key) else { continue };
            if page.dirty {
                vault.put(block(key), encode(&page.rows));
            }
        }
    }
}

/// Reads a page past the cache; one that was never written is the array's, or empty.
///
/// # Errors
/// `Damaged`.
pub fn read(key: PageKey, vault: &Vault, ledger: &Ledger) -> Result<Vec<Row>, Error> {
    let Some(bytes) = vault.get(block(key))? else {
        return Ok(ledger.untouched(key).unwrap_or_default());
    };
    decode(&bytes).map_err(|e| Error::Damaged(e.to_string()))
}

/// Block of a page.
#[must_use]
pub fn block((partition, page): PageKey) -> BlockKey {
    BlockKey::new(Kind::Page, partition, page)
}
