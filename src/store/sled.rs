//! The sled back end: pages, never tasks, as keys; one batch a checkpoint; anything doubtful is
//! dropped.
//!
//! sled 0.34 does not see damage in its files and may panic on open, so every value carries its own
//! CRC32C, opening runs
//! under `catch_unwind`, all pages are checked at open, and the whole store is disposable.

use crate::model::row::{Details, Row};
use crate::store::cache::PageKey;
use crate::store::facade::{Backing, Error, TaskKey};
use crate::store::meta::Meta;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// sled's own cache, bytes; ours holds what is hot.
const CACHE_BYTES: u64 = 16 << 20;
const META_KEY: &[u8] = b"m";
const PAGE_PREFIX: u8 = b'p';
const DETAILS_PREFIX: u8 = b'd';

/// Tracker pages in a sled tree.
pub struct SledStore {
    db: ::sled::Db,
    file: PathBuf,
}

impl SledStore {
    /// Opens the store in `dir`, checked page by page; a doubtful one is dropped and begun anew.
    ///
    /// # Errors
    /// The directory cannot be used at all.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        match Self::try_open(dir).and_then(Self::checked) {
            Ok(store) => Ok(store),
            Err(error) => {
                tracing::warn!(%error, "the tracker's store is dropped and folded again");
                let gone = std::fs::remove_dir_all(dir);
                gone.map_err(|e| Error::Backing(format!("cannot drop {}: {e}", dir.display())))?;
                Self::try_open(dir)
            }
        }
    }

    fn try_open(dir: &Path) -> Result<Self, Error> {
        let refused = |e: String| Error::Damaged(format!("{}: {e}", dir.display()));
        std::fs::create_dir_all(dir).map_err(|e| refused(e.to_string()))?;
        drop_leftovers(dir);
        let config = ::sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE_BYTES)
            .use_compression(false)
            .flush_every_ms(None);
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| config.open()));
        let db = opened
            .map_err(|_| refused("opening it panicked".to_owned()))?
            .map_err(|e| refused(e.to_string()))?;
        Ok(Self { db, file: dir.join("db") })
    }

    /// Every page must be what was written.
    fn checked(self) -> Result<Self, Error> {
        for entry in self.db.scan_prefix([PAGE_PREFIX]) {
            let (_, value) = entry.map_err(|e| Error::Damaged(e.to_string()))?;
            crate::codec::page::decode(&value).map_err(|e| Error::Damaged(e.to_string()))?;
        }
        self.meta()?;
        Ok(self)
    }
}

impl Backing for SledStore {
    fn meta(&self) -> Result<Option<Meta>, Error> {
        let value = self.db.get(META_KEY).map_err(|e| Error::Damaged(e.to_string()))?;
        value.map(|bytes| crate::codec::stored::decode(&bytes).map_err(Error::Damaged)).transpose()
    }

    fn page(&self, key: PageKey) -> Result<Vec<Row>, Error> {
        let value = self.db.get(page_key(key)).map_err(|e| Error::Damaged(e.to_string()))?;
        let Some(bytes) = value else { return Ok(Vec::new()) };
        crate::codec::page::decode(&bytes).map_err(|e| Error::Damaged(e.to_string()))
    }

    fn details(&self, key: TaskKey) -> Result<Option<Details>, Error> {
        let value = self.db.get(details_key(key)).map_err(|e| Error::Damaged(e.to_string()))?;
        value.map(|bytes| crate::codec::stored::decode(&bytes).map_err(Error::Damaged)).transpose()
    }

    fn write(
        &mut self,
        meta: &Meta,
        pages: &[(PageKey, Vec<u8>)],
        details: &BTreeMap<TaskKey, Details>,
    ) -> Result<(), Error> {
        let mut batch = ::sled::Batch::default();
        for (key, bytes) in pages {
            batch.insert(&page_key(*key)[..], &bytes[..]);
        }
        for (key, details) in details {
            batch.insert(&details_key(*key)[..], crate::codec::stored::encode(details));
        }
        batch.insert(META_KEY, crate::codec::stored::encode(meta));
        let refused = |e: String| Error::Backing(e);
        self.db.apply_batch(batch).map_err(|e| refused(e.to_string()))?;
        self.db.flush().map_err(|e| refused(e.to_string()))?;
        // sled asks the kernel only to start writing; this waits for the disk.
        let file = std::fs::File::open(&self.file).map_err(|e| refused(e.to_string()))?;
        file.sync_data().map_err(|e| refused(e.to_string()))
    }
}

/// A snapshot that was being written when the process died makes sled refuse to open.
fn drop_leftovers(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let leftover = name.to_str().is_some_and(|n| n.ends_with(".generating"));
        if leftover && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(%error, "a leftover of the tracker's store stays");
        }
    }
}

fn page_key((partition, page): PageKey) -> [u8; 11] {
    key(PAGE_PREFIX, partition, page)
}

fn details_key((partition, seq): TaskKey) -> [u8; 11] {
    key(DETAILS_PREFIX, partition, seq)
}

/// Big-endian, so that keys sort by partition, then number.
fn key(prefix: u8, partition: u16, number: u64) -> [u8; 11] {
    let mut key = [0; 11];
    key[0] = prefix;
    key[1..3].copy_from_slice(&partition.to_be_bytes());
    key[3..].copy_from_slice(&number.to_be_bytes());
    key
}
