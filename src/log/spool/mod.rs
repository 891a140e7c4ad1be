//! The spool: the local copy of one partition of a Kafka changelog topic. A cache that can always
//! be read again from Kafka, but it serves all reads (payloads at hand-out, scans for replay), so
//! it answers the bytes that were appended or an error, never others.
//!
//! ```text
//!                      0000000000000000.spool  000000000001a2b0.spool  000000000003f001.spool
//! trim_below ─► drops  [header|entry entry …]  [header|entry entry …]  [header|entry … ◄ append
//!                         finished, synced        finished, synced       newest, not synced
//! read(offset)  list of segments ─► index, a point every 64 KiB ─► walk ─► value, kept for a while
//! scan(from)    the same, then entry after entry, 1 MiB at a time
//! open          headers of all; the newest entry by entry, cut at the first bad one
//! look          the same for tools, which change nothing
//! ```
//! Layouts: `segment` (header), `walk` (entry). Each entry is checked whenever it is read. Damage
//! is answered as such and noted on disk (`marker`); the next [`Spool::open`] drops that segment
//! and all newer ones, and [`Spool::next`] says from where to read again.
//!
//! Bounds: a segment has up to `segment_bytes` and one entry, an entry 16 B and a value of up to
//! 64 MiB. Memory: 16 B of index per 64 KiB of file, so 256 KiB per GiB (twice that for what the
//! newest segment has reserved); some 200 B a segment; 64 records of 16 MiB together; a buffer of
//! 1 MiB or one entry for each scan, 64 KiB or one entry for each read. Open files: 32, and one for
//! each scan that runs.
//!
//! Must not: know what a record holds or which records count, decide what to trim, retry a failed
//! sync, or tell one topic from another of the same name (the caller compares [`Spool::last`] with
//! Kafka and calls [`Spool::begin`]). The directory is locked by whoever owns it.

mod cache;
mod index;
pub(crate) mod look;
mod marker;
mod open;
mod read;
mod segment;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

use crate::log::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Local copy of one partition. Every method may be called from any thread; appends wait for each
/// other, readers for nobody but the moment in which a list is looked at.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    segment_bytes: u64,
    /// The newest last; empty only while it begins anew, or after that failed.
    segments: RwLock<Vec<Arc<segment::Segment>>>,
    /// Behind the last record.
    next: AtomicU64,
    writer: Mutex<writer::Writer>,
    files: cache::Files,
    records: cache::Records,
    /// First offset of the oldest segment noted as damaged.
    damage: Mutex<Option<u64>>,
}

/// An offset and the value of its record.
pub(crate) type Kept = (u64, Arc<[u8]>);

/// What opening found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Records kept.
    pub(crate) records: u64,
    /// Bytes of a torn tail that was cut, and of damaged segments and newer ones that were dropped.
    pub(crate) cut_bytes: u64,
}

impl Spool {
    /// Opens or creates the spool of a directory; drops what cannot be trusted.
    ///
    /// # Errors
    /// `Io`, `Full`. Damage is none: it is dropped.
    pub(crate) fn open(dir: &Path, segment_bytes: u64) -> Result<(Self, Opened), Error> {
        let found = open::open(dir)?;
        let trimmed = found.segments.first().map_or(0, |oldest| oldest.header.before);
        let records = found.records - trimmed.min(found.records);
        let opened = Opened { records, cut_bytes: found.cut_bytes };
        let id = found.segments.len() as u64;
        let spool = Self {
            dir: dir.to_owned(),
            segment_bytes,
            segments: RwLock::new(found.segments.into_iter().map(Arc::new).collect()),
            next: AtomicU64::new(found.next),
            writer: Mutex::new(writer::Writer::new(found.file, found.records, id)),
            files: cache::Files::files(),
            records: cache::Records::records(),
            damage: Mutex::new(None),
        };
        Ok((spool, opened))
    }

    /// Offset behind the last record kept; in an empty spool that of `begin`, or 0.
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Offset of the oldest record kept.
    #[cfg_attr(not(test), expect(dead_code, reason = "the changelog is not trimmed yet"))]
    pub(crate) fn first(&self) -> Option<u64> {
        self.list().first().and_then(|oldest| oldest.first_known())
    }

    /// Size of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.list().iter().map(|segment| segment.end()).sum()
    }

    /// Empties it; the next record expected is this one. A crash in between leaves it empty, or as
    /// it was; on a full disk it may also leave some of the older records.
    ///
    /// # Errors
    /// `Io`, `Full`; nothing is appended then until it succeeds.
    #[cfg_attr(not(test), expect(dead_code, reason = "the changelog is not trimmed yet"))]
    pub(crate) fn begin(&self, offset: u64) -> Result<(), Error> {
        let mut writer = self.writer();
        let begun = self.begin_anew(&mut writer, offset);
        writer.failed = begun.as_ref().err().map(ToString::to_string);
        begun
    }

    fn begin_anew(&self, writer: &mut writer::Writer, offset: u64) -> Result<(), Error> {
        let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = marker::write(&self.dir, 0) {
            tracing::warn!(%error, "a spool begins anew without a note of it");
        }
        self.list_mut().clear();
        self.records.retain(|_| false);
        self.files.retain(|_| false);
        self.next.store(offset, Ordering::Release);
        // From the directory, not from the list: an earlier attempt may have got half way.
        open::remove(&self.dir, &open::firsts(&self.dir)?)?;
        marker::clear(&self.dir)?;
        *damage = None;
        drop(damage);
        let (file, newest) = open::empty(&self.dir, offset, writer.id)?;
        *writer = writer::Writer::new(file, 0, writer.id + 1);
        self.list_mut().push(Arc::new(newest));
        Ok(())
    }

    /// Appends a record; readers see it on return. Gaps are allowed (void records are not kept).
    ///
    /// # Errors
    /// `Full` without room: nothing has changed, it may be tried again. `Io`, also for an offset
    /// before [`Self::next`] or a value beyond 64 MiB. `Failed` after a failed sync or `begin`,
    /// until the next `begin` or `open`.
    pub(crate) fn append(&self, offset: u64, value: &[u8]) -> Result<(), Error> {
        let mut writer = self.writer();
        if let Some(why) = &writer.failed {
            return Err(Error::Failed(why.clone()));
        }
        let next = self.next();
        if offset < next || offset == u64::MAX || value.len() > walk::VALUE_BYTES_MAX {
            let what = format!("appending record {offset} of {} bytes", value.len());
            return Err(Error::Io { what, cause: format!("{next} is the next one") });
        }
        let newest = self.list().last().map(Arc::clone);
        let Some(mut newest) = newest else {
            return Err(Error::Failed("the spool has no segment".to_owned()));
        };
        if newest.end() >= self.segment_bytes && !newest.is_empty() {
            let rolled = writer.roll(&self.dir, &newest, offset);
            if writer.failed.is_some() {
                self.note(&newest);
            }
            newest = rolled?;
            self.list_mut().push(Arc::clone(&newest));
        }
        writer.write(&self.dir, &newest, offset, value)?;
        self.next.store(offset + 1, Ordering::Release);
        Ok(())
    }

    /// Drops the segments that lie below an offset, but never the newest.
    ///
    /// # Errors
    /// `Io`; `Damaged` if the first record that is left does not read.
    #[cfg_attr(not(test), expect(dead_code, reason = "the changelog is not trimmed yet"))]
    pub(crate) fn trim_below(&self, offset: u64) -> Result<(), Error> {
        // Not beside `begin`, which may use the same names again.
        let _writer = self.writer();
        let dropped: Vec<Arc<segment::Segment>> = {
            let mut list = self.list_mut();
            let from = list.partition_point(|segment| segment.header.first <= offset);
            list.drain(..from.saturating_sub(1)).collect()
        };
        let Some(last) = dropped.last() else { return Ok(()) };
        self.files.retain(|id| id > last.id);
        let first = self.list().first().map(Arc::clone);
        self.records.retain(|offset| first.as_ref().is_some_and(|f| offset >= f.header.first));
        // The oldest first: a hole would cost all that lies behind it.
        for segment in &dropped {
            open::delete(&self.dir, segment.header.first)?;
        }
        let Some(first) = first else { return Ok(()) };
        let Some(file) = self.file(&first)? else { return Ok(()) };
        first.look_first(&file).map_err(|bad| self.damaged(&first, bad))
    }

    fn writer(&self) -> MutexGuard<'_, writer::Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
