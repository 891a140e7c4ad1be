//! Entries of a segment, one after the other, as they lie in the file.
//!
//! ```text
//! 0 u32  bytes of the value    12 u32  CRC32C over first offset of the segment, place in the
//! 4 u64  offset                        file, bytes of the value, offset, value
//!                              16      value
//! ```
//! The place is part of the sum, so bytes that look like an entry (a value that holds one, a block
//! of a file that was removed) count only where they were written as one.

use super::index::Point;
use super::segment::HEADER_BYTES;
use crate::codec::bytes::{Cursor, checksum, checksum_append, len_u32};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes of the head of an entry.
pub(super) const HEAD_BYTES: usize = 16;
/// Largest value.
pub(super) const VALUE_BYTES_MAX: usize = 64 << 20;
/// Read at a time for a single record, and for a scan.
pub(super) const READ_BYTES: usize = 64 << 10;
pub(super) const SCAN_BYTES: usize = 1 << 20;

/// An entry that was checked.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) at: Point,
    pub(super) value: &'a [u8],
}

/// Bytes that are no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) place: u64,
    pub(super) reason: String,
}

/// Lays out an entry of the segment that starts at `first`.
pub(super) fn encode(first: u64, at: Point, value: &[u8], out: &mut Vec<u8>) {
    let len = len_u32(value.len());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&at.offset.to_le_bytes());
    out.extend_from_slice(&sum(first, at, len, value).to_le_bytes());
    out.extend_from_slice(value);
}

fn sum(first: u64, at: Point, len: u32, value: &[u8]) -> u32 {
    let mut head = [0; 28];
    let (place, rest) = head.split_at_mut(16);
    place[..8].copy_from_slice(&first.to_le_bytes());
    place[8..].copy_from_slice(&at.place.to_le_bytes());
    rest[..4].copy_from_slice(&len.to_le_bytes());
    rest[4..].copy_from_slice(&at.offset.to_le_bytes());
    checksum_append(checksum(&head), value)
}

/// Do these bytes, which lie at this place of the segment that starts at `first`, begin with an
/// entry? Only one whose offset is near is taken for one: most bytes are none at the first look.
pub(super) fn is_entry(bytes: &[u8], first: u64, place: u64) -> bool {
    const NEAR: u64 = 1 << 40;
    let mut head = Cursor::new(bytes);
    let (Ok(len), Ok(offset), Ok(stored)) = (head.u32(), head.u64(), head.u32()) else {
        return false;
    };
    let size = usize::try_from(len).ok().filter(|size| *size <= VALUE_BYTES_MAX);
    let value = size.and_then(|size| bytes.get(HEAD_BYTES..HEAD_BYTES + size));
    let near = offset.checked_sub(first).is_some_and(|far| far < NEAR);
    value.is_some_and(|value| near && sum(first, Point { offset, place }, len, value) == stored)
}

/// The head of an entry, before its sum is known to be right.
#[derive(Clone, Copy)]
struct Head {
    at: Point,
    len: u32,
    sum: u32,
    /// Of the whole entry.
    bytes: usize,
}

/// Goes through the entries of a segment up to an end.
pub(super) struct Walk<'a> {
    file: &'a File,
    first: u64,
    end: u64,
    read_bytes: usize,
    /// The next entry begins here, and has at least this offset.
    place: u64,
    offset_min: u64,
    /// Bytes of the file from `base`.
    buffer: Vec<u8>,
    base: u64,
}

impl<'a> Walk<'a> {
    /// Through the segment that starts at offset `first`.
    pub(super) fn new(file: &'a File, first: u64, end: u64, read_bytes: usize) -> Self {
        let (place, base) = (HEADER_BYTES, HEADER_BYTES);
        Self { file, first, end, read_bytes, place, offset_min: first, buffer: Vec::new(), base }
    }

    /// From an entry on.
    pub(super) fn from(mut self, start: Option<Point>) -> Self {
        if let Some(Point { offset, place }) = start {
            (self.place, self.offset_min) = (place, offset);
        }
        self
    }

    /// Where the next entry begins.
    pub(super) fn place(&self) -> u64 {
        self.place
    }

    /// The next entry, checked.
    pub(super) fn next(&mut self) -> Result<Option<Entry<'_>>, Bad> {
        let Some(head) = self.head()? else { return Ok(None) };
        self.fill(head.bytes)?;
        let from = self.seen();
        let whole = self.buffer.get(from..from + head.bytes);
        let value = whole.and_then(|b| b.get(HEAD_BYTES..)).unwrap_or_default();
        if sum(self.first, head.at, head.len, value) != head.sum {
            return Err(self.bad("checksum"));
        }
        self.pass(&head);
        let value = self.buffer.get(from + HEAD_BYTES..from + head.bytes).unwrap_or_default();
        Ok(Some(Entry { at: head.at, value }))
    }

    /// Where the next entry lies, going by the heads alone.
    pub(super) fn skip(&mut self) -> Result<Option<Point>, Bad> {
        let Some(head) = self.head()? else { return Ok(None) };
        self.pass(&head);
        Ok(Some(head.at))
    }

    fn head(&mut self) -> Result<Option<Head>, Bad> {
        if self.place >= self.end {
            return Ok(None);
        }
        if self.end - self.place < HEAD_BYTES as u64 {
            return Err(self.bad("an entry is cut short"));
        }
        self.fill(HEAD_BYTES)?;
        let mut bytes = Cursor::new(self.buffer.get(self.seen()..).unwrap_or_default());
        let (Ok(len), Ok(offset), Ok(sum)) = (bytes.u32(), bytes.u64(), bytes.u32()) else {
            return Err(self.bad("an entry is cut short"));
        };
        let size = usize::try_from(len).ok().filter(|size| *size <= VALUE_BYTES_MAX);
        let Some(bytes) = size.map(|size| size + HEAD_BYTES) else {
            return Err(self.bad("an entry beyond its limit"));
        };
        if self.end - self.place < bytes as u64 {
            return Err(self.bad("an entry is cut short"));
        }
        // The largest offset is kept free, so that there is one behind every record.
        if offset < self.offset_min || offset == u64::MAX {
            return Err(self.bad("offsets do not rise"));
        }
        Ok(Some(Head { at: Point { offset, place: self.place }, len, sum, bytes }))
    }

    fn pass(&mut self, head: &Head) {
        self.place += head.bytes as u64;
        self.offset_min = head.at.offset + 1;
    }

    /// Bytes of the buffer that lie before the next entry.
    fn seen(&self) -> usize {
        usize::try_from(self.place - self.base).unwrap_or(usize::MAX).min(self.buffer.len())
    }

    /// The buffer holds so many bytes of the next entry, which lie before the end.
    fn fill(&mut self, bytes: usize) -> Result<(), Bad> {
        let seen = self.seen();
        if self.buffer.len() - seen >= bytes {
            return Ok(());
        }
        self.buffer.drain(..seen);
        self.base = self.place;
        let kept = self.buffer.len();
        let left = usize::try_from(self.end - self.place).unwrap_or(usize::MAX);
        let wanted = bytes.max(self.read_bytes).min(left);
        self.buffer.resize(wanted, 0);
        self.buffer.shrink_to(self.read_bytes);
        let (_, missing) = self.buffer.split_at_mut(kept);
        let read = self.file.read_exact_at(missing, self.base + kept as u64);
        read.map_err(|e| self.bad(&format!("reading failed: {e}")))
    }

    fn bad(&self, reason: &str) -> Bad {
        Bad { place: self.place, reason: reason.to_owned() }
    }
}
