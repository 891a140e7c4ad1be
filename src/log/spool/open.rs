//! Opening: what is kept of what lies on disk.
//!
//! ```text
//! note of damage? ─► drop from there on
//! headers, oldest first ─► the first that is bad or does not fit the one before it: drop from it
//! newest segment, entry by entry ─► cut at the first bad one; everything may be missing or zero
//! nothing left ─► an empty segment that goes on where the dropped ones began
//! ```
//! Newer segments are dropped first, so that what remains after a crash has no hole.

use super::index::Index;
use super::marker;
use super::segment::{self, HEADER_BYTES, Header, Segment};
use super::walk::{SCAN_BYTES, Walk};
use crate::log::Error;
use crate::log::files::{io_error, make_dir, names, remove_temporary, sync_dir};
use std::fs::{self, File, OpenOptions};
use std::path::Path;

/// A spool on disk after it was made whole.
pub(super) struct Found {
    /// At least one, the newest last; their ids count from 0.
    pub(super) segments: Vec<Segment>,
    /// The newest, for the appender.
    pub(super) file: File,
    /// Behind the last record.
    pub(super) next: u64,
    /// Records in all segments since `begin`, also those trimmed.
    pub(super) records: u64,
    /// Bytes dropped and cut.
    pub(super) cut_bytes: u64,
}

/// Makes a spool whole.
pub(super) fn open(dir: &Path) -> Result<Found, Error> {
    make_dir(dir)?;
    remove_temporary(dir)?;
    let mut firsts = firsts(dir)?;
    let mut oldest = firsts.first().copied().unwrap_or(0);
    let mut cut_bytes = 0;
    if let Some(noted) = marker::read(dir)? {
        // Less than the oldest: of a `begin` that was cut short.
        oldest = oldest.min(noted);
        let kept = firsts.partition_point(|first| *first < noted);
        cut_bytes += remove(dir, &firsts.split_off(kept))?;
        marker::clear(dir)?;
    }
    let (mut headers, good) = chain(dir, &firsts)?;
    cut_bytes += remove(dir, &firsts.split_off(good))?;
    let Some((newest, _)) = headers.pop() else {
        return begin(dir, oldest, cut_bytes);
    };
    let end = |(id, (header, bytes)): (usize, (Header, u64))| {
        Segment::new(id as u64, header, bytes, None)
    };
    let segments = headers.into_iter().enumerate().map(end).collect();
    let mut found = check(dir, newest, segments)?;
    found.cut_bytes += cut_bytes;
    if let Some(first) = found.segments.first() {
        let path = segment::path(dir, first.header.first);
        let file = File::open(&path).map_err(|e| io_error("opening", &path, &e))?;
        if first.look_first(&file).is_ok() {
            return Ok(found);
        }
    }
    // Damage where the oldest segment begins: everything else is newer.
    let cut_bytes = found.cut_bytes + remove(dir, &firsts)?;
    begin(dir, oldest, cut_bytes)
}

/// Headers and sizes as far as each fits the one before it, and how many that are.
fn chain(dir: &Path, firsts: &[u64]) -> Result<(Vec<(Header, u64)>, usize), Error> {
    let mut headers: Vec<(Header, u64)> = Vec::with_capacity(firsts.len());
    for first in firsts {
        let path = segment::path(dir, *first);
        let file = File::open(&path).map_err(|e| io_error("opening", &path, &e))?;
        let bytes = file.metadata().map_err(|e| io_error("looking at", &path, &e))?.len();
        let before = headers.last().map(|(header, bytes)| (header.first, *bytes));
        let fits = |header: &Header| {
            header.first == *first && (before.is_none() || header.previous == before)
        };
        let Some(header) = Header::read(&file).filter(fits) else {
            tracing::warn!(path = %path.display(), "a damaged segment is dropped");
            break;
        };
        headers.push((header, bytes));
    }
    let good = headers.len();
    Ok((headers, good))
}

/// Checks the newest segment and cuts what follows its last whole entry.
fn check(dir: &Path, header: Header, mut segments: Vec<Segment>) -> Result<Found, Error> {
    let path = segment::path(dir, header.first);
    let file = OpenOptions::new().read(true).write(true).open(&path);
    let file = file.map_err(|e| io_error("opening", &path, &e))?;
    let bytes = file.metadata().map_err(|e| io_error("looking at", &path, &e))?.len();
    let (mut index, mut records) = (Index::default(), header.before);
    let mut walk = Walk::new(&file, header.first, bytes, SCAN_BYTES);
    loop {
        match walk.next() {
            Ok(Some(entry)) => {
                index.add(entry.at);
                records += 1;
            }
            Ok(None) => break,
            Err(bad) => {
                let at = bad.place;
                tracing::warn!(path = %path.display(), at, reason = %bad.reason, "a tail is cut");
                break;
            }
        }
    }
    let end = walk.place();
    let cut_bytes = bytes.saturating_sub(end);
    if cut_bytes > 0 {
        let cut = file.set_len(end).and_then(|()| file.sync_data());
        cut.map_err(|e| io_error("cutting", &path, &e))?;
    }
    let next = index.last().map_or(header.first, |last| last.offset + 1);
    let id = segments.len() as u64;
    segments.push(Segment::new(id, header, end, Some(index)));
    Ok(Found { segments, file, next, records, cut_bytes })
}

/// A spool without records.
fn begin(dir: &Path, first: u64, cut_bytes: u64) -> Result<Found, Error> {
    let (file, newest) = empty(dir, first, 0)?;
    Ok(Found { segments: vec![newest], file, next: first, records: 0, cut_bytes })
}

/// A first segment without records.
pub(super) fn empty(dir: &Path, first: u64, id: u64) -> Result<(File, Segment), Error> {
    let header = Header { first, previous: None, before: 0 };
    let file = segment::create(dir, &header)?;
    Ok((file, Segment::new(id, header, HEADER_BYTES, Some(Index::default()))))
}

/// First offsets of the segments of a directory, rising.
pub(super) fn firsts(dir: &Path) -> Result<Vec<u64>, Error> {
    Ok(names(dir)?.iter().filter_map(|name| segment::parse_name(name)).collect())
}

/// Removes segments, the newest first; for good on return. Answers their bytes.
pub(super) fn remove(dir: &Path, firsts: &[u64]) -> Result<u64, Error> {
    let mut bytes = 0;
    for first in firsts.iter().rev() {
        bytes += delete(dir, *first)?;
    }
    if !firsts.is_empty() {
        sync_dir(dir)?;
    }
    Ok(bytes)
}

/// Deletes a segment; a power cut may bring it back. Answers its bytes.
pub(super) fn delete(dir: &Path, first: u64) -> Result<u64, Error> {
    let path = segment::path(dir, first);
    let bytes = fs::metadata(&path).map_or(0, |file| file.len());
    fs::remove_file(&path).map_err(|e| io_error("removing", &path, &e))?;
    Ok(bytes)
}
