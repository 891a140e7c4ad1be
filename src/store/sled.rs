//! [`TrackerStore`] on sled 0.34, under the rules its measured weaknesses call for: one owner
//! thread, one tree, one batch per checkpoint and our own sync after it; opened under
//! `catch_unwind` and a time limit; a directory that does not open is moved aside.
//!
//! sled's word is never taken: it has served old pages after one flipped byte, so the vault above
//! proves every block.

use crate::store::block::{BlockKey, Error, Kind, TrackerStore, Visit};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// sled's own cache, bytes; ours holds what is hot.
const CACHE_BYTES: u64 = 16 << 20;
/// Longest time an open may take.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// Room on the disk without which a store is not opened anew.
const ROOM_BYTES: usize = 4 << 20;
/// How often and how long to wait for the lock of a store just closed.
const LOCK_TRIES: u32 = 200;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// Blocks in a sled tree.
pub struct SledStore {
    dir: PathBuf,
    /// `None` only after a reset or a reopening that failed half way.
    db: Option<::sled::Db>,
    /// A write has failed. sled refuses everything from then on, so the next write opens it anew;
    /// what it had made durable by then is whole, since a batch is atomic.
    failed: bool,
}

impl SledStore {
    /// Opens the store in `dir`; one that does not open is moved aside and begun anew.
    ///
    /// # Errors
    /// The directory cannot be used at all.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let mut store = Self { dir: dir.to_owned(), db: None, failed: false };
        remove(&aside(dir))?;
        remove(&probe(dir))?;
        match open_db(dir) {
            Ok(db) => store.db = Some(db),
            Err(error) => {
                tracing::warn!(%error, "the tracker's store does not open and is begun anew");
                store.reset()?;
            }
        }
        Ok(store)
    }

    fn db(&self) -> Result<&::sled::Db, Error> {
        self.db.as_ref().ok_or_else(|| Error::Backing("the tracker's store is closed".to_owned()))
    }
}

impl TrackerStore for SledStore {
    fn get(&self, key: BlockKey) -> Result<Option<Vec<u8>>, Error> {
        let db = self.db()?;
        guarded(|| db.get(key.bytes()).map(|found| found.map(|bytes| bytes.to_vec())))
            .map_err(Error::Damaged)
    }

    fn each(&self, kind: Kind, visit: Visit<'_>) -> Result<(), Error> {
        let db = self.db()?;
        let mut entries = db.scan_prefix([kind.byte()]);
        while let Some(entry) = guarded(|| Ok(entries.next())).map_err(Error::Damaged)? {
            let (key, bytes) = entry.map_err(|e| Error::Damaged(e.to_string()))?;
            let key = BlockKey::parse(&key);
            let key = key.ok_or_else(|| Error::Damaged("a key is not ours".to_owned()))?;
            visit(key, &bytes)?;
        }
        Ok(())
    }

    fn write(&mut self, blocks: &[(BlockKey, Vec<u8>)]) -> Result<(), Error> {
        if std::mem::replace(&mut self.failed, true) {
            // Not before there is room again: what is open can at least be read.
            room(&self.dir)?;
            self.db = None;
            let opened = open_db(&self.dir);
            self.db = Some(opened.map_err(|e| Error::Backing(e.to_string()))?);
        }
        self.apply(blocks)?;
        self.failed = false;
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Error> {
        self.db = None;
        let aside = aside(&self.dir);
        remove(&aside)?;
        // Moved, not deleted: someone may want to know what happened. The next start deletes it.
        match std::fs::rename(&self.dir, &aside) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused(&self.dir, &error)),
        }
        self.db = Some(open_db(&self.dir)?);
        self.failed = false;
        Ok(())
    }
}

impl SledStore {
    fn apply(&self, blocks: &[(BlockKey, Vec<u8>)]) -> Result<(), Error> {
        let db = self.db()?;
        guarded(|| {
            let mut batch = ::sled::Batch::default();
            for (key, bytes) in blocks {
                match bytes.is_empty() {
                    true => batch.remove(&key.bytes()[..]),
                    false => batch.insert(&key.bytes()[..], &bytes[..]),
                }
            }
            db.apply_batch(batch)?;
            db.flush().map(drop)
        })
        .map_err(Error::Backing)?;
        // sled asks the kernel only to start writing; this waits for the disk.
        let path = self.dir.join("db");
        let file = std::fs::File::open(&path).map_err(|e| refused(&path, &e))?;
        file.sync_data().map_err(|e| refused(&path, &e))
    }
}

fn open_db(dir: &Path) -> Result<::sled::Db, Error> {
    std::fs::create_dir_all(dir).map_err(|e| refused(dir, &e))?;
    drop_leftovers(dir);
    let config = ::sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE_BYTES)
        .use_compression(false)
        .flush_every_ms(None);
    let (tell, told) = sync_channel(1);
    crate::telemetry::spawn_thread("kwq-tracker-open", move || {
        // Nobody listens any more when the time was up.
        drop(tell.send(open_unlocked(&config)));
    })
    .map_err(|e| refused(dir, &e))?;
    let opened = told.recv_timeout(OPEN_MAX);
    opened
        .map_err(|_| Error::Damaged(format!("{} did not open in 60 s", dir.display())))?
        .map_err(|e| Error::Damaged(format!("{}: {e}", dir.display())))
}

/// sled lets go of its file a little after the last handle is gone; a store that was closed a
/// moment ago in this process is not in doubt. Other processes are kept out by the lock of the log.
fn open_unlocked(config: &::sled::Config) -> Result<::sled::Db, String> {
    let mut outcome = guarded(|| config.open());
    for _ in 0..LOCK_TRIES {
        match &outcome {
            Err(reason) if reason.contains("could not acquire lock") => {
                std::thread::sleep(LOCK_WAIT);
                outcome = guarded(|| config.open());
            }
            Ok(_) | Err(_) => break,
        }
    }
    outcome
}

/// sled panics where others return errors.
fn guarded<T>(call: impl FnOnce() -> ::sled::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => outcome.map_err(|e| e.to_string()),
        Err(_) => Err("sled panicked".to_owned()),
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

fn aside(dir: &Path) -> PathBuf {
    dir.with_extension("doubt.tmp")
}

fn probe(dir: &Path) -> PathBuf {
    dir.with_extension("probe.tmp")
}

/// Can as much be written as an opening may write?
fn room(dir: &Path) -> Result<(), Error> {
    let probe = probe(dir);
    let written = std::fs::write(&probe, vec![1; ROOM_BYTES]);
    remove(&probe)?;
    written.map_err(|e| refused(&probe, &e))
}

fn remove(dir: &Path) -> Result<(), Error> {
    let file = std::fs::symlink_metadata(dir).is_ok_and(|found| !found.is_dir());
    let gone = if file { std::fs::remove_file(dir) } else { std::fs::remove_dir_all(dir) };
    match gone {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(refused(dir, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn refused(path: &Path, error: &std::io::Error) -> Error {
    Error::Backing(format!("{}: {error}", path.display()))
}
