//! Segment files: their names, headers, and the chain that makes a missing or foreign one visible.
//!
//! ```text
//!  0  8 B  magic                     40 u64  first offset of the previous segment, ones = none
//!  8  u32  format version (1)        48 u64  end of the previous one: behind it nothing counts
//! 12  u32  bytes of this header      56 u64  hash of the previous header
//! 16  u64  first offset              64 u32  flags: 1 = the previous was closed by a fault
//! 24  u64  capacity = file size      68 u32  owners n
//! 32  u64  id of the log             72 n × (u16 partition, u64 epoch) | u32 CRC32C of all before
//! ```
//! A segment starts where the capacity of the one before it ends, so a gap shows. The owners are
//! the epochs in force at the start, so a reader need not begin at the first segment. Headers are
//! synced before any record.

use crate::codec::bytes::checksum;
use crate::log::Error;
use crate::log::files::{create_reserved, io_error};
use crate::model::id::{Epoch, PartitionId};
use crate::model::limits;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Version written.
pub(crate) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"KWQ-SEG\n";
const FIXED_BYTES: usize = 72;
const OWNER_BYTES: usize = 10;
const CRC_BYTES: usize = 4;
const NO_PREVIOUS: u64 = u64::MAX;
const FLAG_FAULT: u32 = 1;

/// Epochs in force, by partition.
pub(crate) type Owners = BTreeMap<PartitionId, Epoch>;

/// What a segment says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) first: u64,
    pub(crate) capacity: u64,
    pub(crate) log_id: u64,
    pub(crate) previous: Option<Previous>,
    pub(crate) owners: Owners,
}

/// What a segment says about the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Previous {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) hash: u64,
    /// Closed by a fault: bytes behind `end` are void, and there is no end mark.
    pub(crate) fault: bool,
}

/// Why a header does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Nothing but zeros: reserved, never used.
    Blank,
    /// Bytes that were never a whole header, or no longer are.
    Broken,
    /// Whole, but of a newer version.
    Newer(u32),
}

impl Header {
    /// Most bytes a header can have.
    pub(crate) const BYTES_MAX: usize =
        FIXED_BYTES + CRC_BYTES + OWNER_BYTES * limits::PARTITIONS_MAX as usize;

    /// Bytes of this header, that is the offset of the first record in the file.
    pub(crate) fn bytes(&self) -> u64 {
        (FIXED_BYTES + CRC_BYTES + OWNER_BYTES * self.owners.len()) as u64
    }

    /// First offset of the segment after this one.
    pub(crate) fn next_first(&self) -> u64 {
        self.first + self.capacity
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::BYTES_MAX);
        let size = u32::try_from(self.bytes()).expect("a header is small");
        let owners = u32::try_from(self.owners.len()).expect("partitions are bounded");
        let none = Previous { first: NO_PREVIOUS, end: 0, hash: 0, fault: false };
        let previous = self.previous.unwrap_or(none);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&size.to_le_bytes());
        for word in
            [self.first, self.capacity, self.log_id, previous.first, previous.end, previous.hash]
        {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&if previous.fault { FLAG_FAULT } else { 0 }.to_le_bytes());
        out.extend_from_slice(&owners.to_le_bytes());
        for (partition, epoch) in &self.owners {
            out.extend_from_slice(&partition.0.to_le_bytes());
            out.extend_from_slice(&epoch.0.to_le_bytes());
        }
        out.extend_from_slice(&checksum(&out).to_le_bytes());
        out
    }

    /// Reads the header at the front of a file.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        if bytes.iter().all(|b| *b == 0) {
            return Err(BadHeader::Blank);
        }
        let fixed: &[u8; FIXED_BYTES] = bytes.first_chunk().ok_or(BadHeader::Broken)?;
        let size = usize::try_from(u32_at(fixed, 12)).map_err(|_| BadHeader::Broken)?;
        let body = size.checked_sub(CRC_BYTES).and_then(|n| bytes.get(..n));
        let stored = bytes.get(..size).and_then(|b| b.last_chunk::<CRC_BYTES>());
        let (Some(body), Some(stored)) = (body, stored) else { return Err(BadHeader::Broken) };
        let whole = checksum(body) == u32::from_le_bytes(*stored);
        if !whole || !fixed.starts_with(MAGIC) {
            return Err(BadHeader::Broken);
        }
        match u32_at(fixed, 8) {
            VERSION => {}
            other => return Err(BadHeader::Newer(other)),
        }
        let table = body.get(FIXED_BYTES..).ok_or(BadHeader::Broken)?;
        let (rows, rest) = table.as_chunks::<OWNER_BYTES>();
        if !rest.is_empty() || u64::from(u32_at(fixed, 68)) != rows.len() as u64 {
            return Err(BadHeader::Broken);
        }
        let previous = Previous {
            first: u64_at(fixed, 40),
            end: u64_at(fixed, 48),
            hash: u64_at(fixed, 56),
            fault: u32_at(fixed, 64) & FLAG_FAULT != 0,
        };
        Ok(Self {
            first: u64_at(fixed, 16),
            capacity: u64_at(fixed, 24),
            log_id: u64_at(fixed, 32),
            previous: (previous.first != NO_PREVIOUS).then_some(previous),
            owners: rows.iter().map(owner).collect(),
        })
    }

    /// FNV-1a over the encoded header; the next header holds it.
    pub(crate) fn hash(&self) -> u64 {
        let step =
            |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        self.encode().iter().fold(0xcbf2_9ce4_8422_2325, step)
    }
}

fn owner(row: &[u8; OWNER_BYTES]) -> (PartitionId, Epoch) {
    let [a, b, epoch @ ..] = *row;
    (PartitionId(u16::from_le_bytes([a, b])), Epoch(u64::from_le_bytes(epoch)))
}

fn u32_at(bytes: &[u8; FIXED_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; FIXED_BYTES], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Name of the segment that starts at an offset.
pub(crate) fn name(first: u64) -> String {
    format!("{first:016x}.seg")
}

/// Inverse of [`name`]; only the canonical form.
pub(crate) fn parse_name(text: &str) -> Option<u64> {
    let first = u64::from_str_radix(text.strip_suffix(".seg")?, 16).ok()?;
    (name(first) == text).then_some(first)
}

/// Path of the segment that starts at an offset.
pub(crate) fn path(log_dir: &Path, first: u64) -> PathBuf {
    log_dir.join(name(first))
}

/// Opens a segment for reading and writing.
pub(crate) fn open(log_dir: &Path, first: u64) -> Result<File, Error> {
    let path = path(log_dir, first);
    let file = OpenOptions::new().read(true).write(true).open(&path);
    file.map_err(|e| io_error("opening", &path, &e))
}

/// Creates an empty segment.
pub(crate) fn create(log_dir: &Path, first: u64, capacity: u64) -> Result<File, Error> {
    create_reserved(&path(log_dir, first), capacity)
}

/// Writes a header into an empty segment; durable on return.
pub(crate) fn begin(file: &File, log_dir: &Path, header: &Header) -> Result<(), Error> {
    let written = file.write_all_at(&header.encode(), 0).and_then(|()| file.sync_data());
    written.map_err(|e| io_error("starting", &path(log_dir, header.first), &e))
}

/// Damage in a segment.
pub(crate) fn damaged(first: u64, offset: u64, reason: impl Into<String>) -> Error {
    Error::Damaged { segment: name(first), offset, reason: reason.into() }
}
