//! The readers' side. No lock is held while a file is read or a visitor runs.

use super::segment::{Segment, name, path};
use super::walk::{Bad, SCAN_BYTES, Walk};
use super::{Kept, Spool, marker};
use crate::log::Error;
use crate::log::files::io_error;
use std::fs::File;
use std::io;
use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};

type Segments = Vec<Arc<Segment>>;

impl Spool {
    pub(super) fn list(&self) -> RwLockReadGuard<'_, Segments> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn list_mut(&self) -> RwLockWriteGuard<'_, Segments> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record at an offset; `None` = there is no such record.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub(crate) fn read(&self, offset: u64) -> Result<Option<Arc<[u8]>>, Error> {
        if let Some(value) = self.records.get(offset) {
            return Ok(Some(value));
        }
        let Some(segment) = from(&self.list(), offset).first().map(Arc::clone) else {
            return Ok(None);
        };
        let Some(file) = self.file(&segment)? else { return Ok(None) };
        let found = segment.find(&file, offset).map_err(|bad| self.damaged(&segment, bad))?;
        if let Some(value) = &found {
            self.records.keep(offset, value, || self.holds(&segment));
        }
        Ok(found)
    }

    /// The newest record.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub(crate) fn last(&self) -> Result<Option<Kept>, Error> {
        let segments = self.list().clone();
        // The newest may be empty; the one before it is not.
        let Some(segment) = segments.iter().rfind(|segment| !segment.is_empty()) else {
            return Ok(None);
        };
        let Some(file) = self.file(segment)? else { return Ok(None) };
        segment.last(&file).map_err(|bad| self.damaged(segment, bad))
    }

    /// Visits the records from an offset on, in order, up to the end as of this call or until
    /// `visit` answers false. Appends may go on meanwhile; what is trimmed meanwhile may be left
    /// out.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub(crate) fn scan(
        &self,
        offset: u64,
        visit: &mut dyn FnMut(u64, &[u8]) -> bool,
    ) -> Result<(), Error> {
        let segments: Vec<(Arc<Segment>, u64)> = {
            let list = self.list();
            from(&list, offset).iter().map(|s| (Arc::clone(s), s.end())).collect()
        };
        for (segment, end) in segments {
            // A file of its own: a scan of many segments would drive out those of single reads.
            let Some(file) = self.open_file(&segment)? else { continue };
            let damaged = |bad| self.damaged(&segment, bad);
            let start = segment.start(&file, offset).map_err(damaged)?;
            let mut walk = Walk::new(&file, segment.header.first, end, SCAN_BYTES).from(start);
            while let Some(entry) = walk.next().map_err(damaged)? {
                if entry.at.offset >= offset && !visit(entry.at.offset, entry.value) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The file of a segment, kept open for the next reader; `None` = trimmed meanwhile.
    pub(super) fn file(&self, segment: &Arc<Segment>) -> Result<Option<Arc<File>>, Error> {
        if let Some(file) = self.files.get(segment.id) {
            return Ok(Some(file));
        }
        let Some(file) = self.open_file(segment)?.map(Arc::new) else { return Ok(None) };
        self.files.keep(segment.id, &file, || self.holds(segment));
        Ok(Some(file))
    }

    fn open_file(&self, segment: &Arc<Segment>) -> Result<Option<File>, Error> {
        let path = path(&self.dir, segment.header.first);
        let opened = File::open(&path);
        // Looked at after opening: a name may be that of another segment once `begin` was there.
        match opened {
            _ if !self.holds(segment) => Ok(None),
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let bad = Bad { place: 0, reason: "the file is gone".to_owned() };
                Err(self.damaged(segment, bad))
            }
            Err(e) => Err(io_error("opening", &path, &e)),
        }
    }

    fn holds(&self, segment: &Segment) -> bool {
        self.list().iter().any(|held| held.id == segment.id)
    }

    /// Damage as the contract shows it, noted on disk.
    pub(super) fn damaged(&self, segment: &Segment, bad: Bad) -> Error {
        self.note(segment);
        let Bad { place: offset, reason } = bad;
        Error::Damaged { segment: name(segment.header.first), offset, reason }
    }

    /// Notes that the next `open` has to drop this segment and all newer ones. Without a note (a
    /// full disk) the damage is found again by whoever reads there.
    pub(super) fn note(&self, segment: &Segment) {
        let first = segment.header.first;
        let mut noted = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.is_some_and(|noted| noted <= first) || !self.holds(segment) {
            return;
        }
        match marker::write(&self.dir, first) {
            Ok(()) => *noted = Some(first),
            Err(error) => tracing::warn!(%error, "damage in a spool could not be noted"),
        }
    }
}

/// The segments that may hold records from an offset on.
pub(super) fn from(list: &Segments, offset: u64) -> &[Arc<Segment>] {
    let behind = list.partition_point(|segment| segment.header.first <= offset);
    list.get(behind.saturating_sub(1)..).unwrap_or_default()
}
