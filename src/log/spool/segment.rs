//! Segment files: their names, headers, and the chain that makes a missing or shortened one
//! visible.
//!
//! ```text
//!  0  8 B  magic                       28 u64  bytes of the segment before this one
//!  8  u32  format version (1)          36 u64  records in all segments before, since `begin`
//! 12  u64  first offset                44 u32  CRC32C of all before
//! 20  u64  first offset of the segment before this one, ones = none
//! ```
//! A segment is finished when the next one begins, so only the next one can say how long it is.

use super::Kept;
use super::index::{Index, Point};
use super::walk::{Bad, READ_BYTES, Walk};
use crate::codec::bytes::{Cursor, checksum};
use crate::log::Error;
use crate::log::files::io_error;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const MAGIC: &[u8; 8] = b"KWQ-SPL\n";
const VERSION: u32 = 1;
const NO_PREVIOUS: u64 = u64::MAX;
/// Bytes of a header; the first entry lies behind it.
pub(super) const HEADER_BYTES: u64 = 48;
const HEADER_LEN: usize = 48;

/// What a segment says about itself and the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// No record of it has a smaller offset.
    pub(super) first: u64,
    /// First offset and size of the one before it.
    pub(super) previous: Option<(u64, u64)>,
    /// Records in all segments before it.
    pub(super) before: u64,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        let (previous, bytes) = self.previous.unwrap_or((NO_PREVIOUS, 0));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        for word in [self.first, previous, bytes, self.before] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&checksum(&out).to_le_bytes());
        out
    }

    /// Reads a header; `None` = it is none of this version, which for a cache is all the same.
    fn decode(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let (body, stored) = bytes.split_last_chunk::<4>()?;
        if checksum(body) != u32::from_le_bytes(*stored) {
            return None;
        }
        let mut rest = Cursor::new(body.strip_prefix(MAGIC)?);
        if rest.u32().ok()? != VERSION {
            return None;
        }
        let first = rest.u64().ok()?;
        let (previous, bytes) = (rest.u64().ok()?, rest.u64().ok()?);
        let previous = (previous != NO_PREVIOUS).then_some((previous, bytes));
        Some(Self { first, previous, before: rest.u64().ok()? })
    }

    /// The header of a file, if it has one.
    pub(super) fn read(file: &File) -> Option<Self> {
        let mut bytes = [0; HEADER_LEN];
        file.read_exact_at(&mut bytes, 0).ok()?;
        Self::decode(&bytes)
    }
}

/// Name of the segment that starts at an offset.
pub(super) fn name(first: u64) -> String {
    format!("{first:016x}.spool")
}

/// Inverse of [`name`]; only the canonical form.
pub(super) fn parse_name(text: &str) -> Option<u64> {
    let first = u64::from_str_radix(text.strip_suffix(".spool")?, 16).ok()?;
    (name(first) == text).then_some(first)
}

/// Path of the segment that starts at an offset.
pub(super) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(name(first))
}

/// A new segment with its header. Nothing is left behind on failure.
pub(super) fn create(dir: &Path, header: &Header) -> Result<File, Error> {
    let path = path(dir, header.first);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
    let file = file.map_err(|e| io_error("creating", &path, &e))?;
    if let Err(e) = file.write_all_at(&header.encode(), 0) {
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "an unfinished segment is left");
        }
        return Err(io_error("starting", &path, &e));
    }
    Ok(file)
}

/// A segment in use.
#[derive(Debug)]
pub(super) struct Segment {
    /// Unlike its first offset, never used again by this spool.
    pub(super) id: u64,
    pub(super) header: Header,
    body: Mutex<Body>,
}

/// What changes about it.
#[derive(Debug)]
struct Body {
    /// Bytes that readers may see.
    end: u64,
    /// Offset of its first record, where known.
    first: Option<u64>,
    /// `None` = it was finished before the spool was opened and not looked into since.
    index: Option<Index>,
}

impl Segment {
    pub(super) fn new(id: u64, header: Header, end: u64, index: Option<Index>) -> Self {
        let first = index.as_ref().and_then(Index::first).map(|point| point.offset);
        Self { id, header, body: Mutex::new(Body { end, first, index }) }
    }

    fn body(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that readers may see.
    pub(super) fn end(&self) -> u64 {
        self.body().end
    }

    /// Has no record. A segment that was not looked into is a finished one, which has.
    pub(super) fn is_empty(&self) -> bool {
        self.body().end <= HEADER_BYTES
    }

    /// Shows readers an entry which has been written behind the end.
    pub(super) fn grow(&self, entry: Point, end: u64) {
        let mut body = self.body();
        body.end = end;
        body.first.get_or_insert(entry.offset);
        body.index.get_or_insert_default().add(entry);
    }

    /// No entry will follow: gives back what the index has reserved.
    pub(super) fn finish(&self) {
        if let Some(index) = &mut self.body().index {
            index.shrink();
        }
    }

    /// Offset of its first record; of a finished segment only after [`Self::look_first`].
    pub(super) fn first_known(&self) -> Option<u64> {
        self.body().first
    }

    /// Looks at the first record.
    pub(super) fn look_first(&self, file: &File) -> Result<(), Bad> {
        if self.first_known().is_none() {
            let mut walk = Walk::new(file, self.header.first, self.end(), READ_BYTES);
            let first = walk.next()?.map(|entry| entry.at.offset);
            self.body().first = first;
        }
        Ok(())
    }

    /// Looks at the heads of all entries, if that was not done yet.
    pub(super) fn look(&self, file: &File) -> Result<(), Bad> {
        if self.body().index.is_some() {
            return Ok(());
        }
        let mut index = Index::default();
        let mut walk = Walk::new(file, self.header.first, self.end(), READ_BYTES);
        while let Some(point) = walk.skip()? {
            index.add(point);
        }
        index.shrink();
        self.body().index.get_or_insert(index);
        Ok(())
    }

    /// Where to start for an offset.
    pub(super) fn start(&self, file: &File, offset: u64) -> Result<Option<Point>, Bad> {
        if offset <= self.header.first {
            return Ok(None);
        }
        self.look(file)?;
        Ok(self.body().index.as_ref().and_then(|index| index.before(offset)))
    }

    /// The record at an offset. Every entry on the way is checked: a damaged one must not pass for
    /// a record that never was.
    pub(super) fn find(&self, file: &File, offset: u64) -> Result<Option<Arc<[u8]>>, Bad> {
        let start = self.start(file, offset)?;
        let mut walk = Walk::new(file, self.header.first, self.end(), READ_BYTES).from(start);
        while let Some(entry) = walk.next()? {
            if entry.at.offset >= offset {
                return Ok((entry.at.offset == offset).then(|| entry.value.into()));
            }
        }
        Ok(None)
    }

    /// The newest record.
    pub(super) fn last(&self, file: &File) -> Result<Option<Kept>, Bad> {
        self.look(file)?;
        let (start, end) = {
            let body = self.body();
            (body.index.as_ref().and_then(Index::last), body.end)
        };
        let mut walk = Walk::new(file, self.header.first, end, READ_BYTES).from(start);
        let mut newest = None;
        while let Some(entry) = walk.next()? {
            newest = Some((entry.at.offset, entry.value.into()));
        }
        Ok(newest)
    }
}
