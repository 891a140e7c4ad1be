//! The record frame: what stands around every body in the log.
//!
//! ```text
//!  0  u32  length of the body
//!  4  u32  CRC32C of bytes 8.., seeded with (first offset of the segment, position, length)
//!  8  u8   version (1)
//!  9  u8   kind
//! 10  u16  partition
//! 12  u32  distance back to the position up to which the log was synced before this was written
//! 16  u64  epoch
//! 24  u64  wall clock of the turn, ms
//! 32  …    body
//! ```
//! Little endian. The seed binds a frame to its place: stale bytes of any other place never read as
//! a record. The distance is the proof of sync: bytes before `position − distance` were on disk
//! when this frame was written, so if one of them is bad, it was damaged, not torn. To change the
//! format raise [`VERSION`], keep the reader of the old one, and add golden bytes.

use crate::codec::Malformed;
use crate::codec::bytes::len_u32;
use crate::model::id::{Epoch, PartitionId, Position};
use crate::model::limits;
use crate::model::time::WallMs;

/// Version written.
pub const VERSION: u8 = 1;
/// Bytes before the body.
pub const HEAD_BYTES: usize = 32;
/// A distance that did not fit: nothing is proven.
const BACK_UNKNOWN: u32 = u32::MAX;

/// Kind of the seal that ends a group.
pub const KIND_SEAL: u8 = 0;
/// Kind of the mark that ends a segment.
pub const KIND_END: u8 = 1;
/// First kind of [`crate::codec::event`].
pub const KIND_EVENT_MIN: u8 = 16;
/// Last kind of [`crate::codec::event`].
pub const KIND_EVENT_MAX: u8 = 33;

/// Everything a frame says beside its body and its CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Kind of the body.
    pub kind: u8,
    /// Partition.
    pub partition: PartitionId,
    /// Position up to which the log was synced before this was written; 0 = nothing is known.
    pub synced_to: Position,
    /// Epoch.
    pub epoch: Epoch,
    /// Stamp.
    pub at: WallMs,
}

/// Where a frame lies; part of its CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// First offset of the segment.
    pub segment: u64,
    /// Position of the frame.
    pub position: Position,
}

/// A frame that was read and whose CRC is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: &'a [u8],
    /// Its CRC, input of the group's CRC.
    pub crc: u32,
}

impl Frame<'_> {
    /// Bytes from the start of this frame to the next.
    #[must_use]
    pub fn bytes(&self) -> usize {
        HEAD_BYTES + self.body.len()
    }
}

/// Appends a frame; answers its CRC.
pub fn put(out: &mut Vec<u8>, place: Place, head: &Head, body: &[u8]) -> u32 {
    let start = out.len();
    let length = len_u32(body.len());
    let back = place.position.0.saturating_sub(head.synced_to.0);
    let back = u32::try_from(back).unwrap_or(BACK_UNKNOWN);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[VERSION, head.kind]);
    out.extend_from_slice(&head.partition.0.to_le_bytes());
    out.extend_from_slice(&back.to_le_bytes());
    out.extend_from_slice(&head.epoch.0.to_le_bytes());
    out.extend_from_slice(&head.at.0.to_le_bytes());
    out.extend_from_slice(body);
    let (_, covered) = out.split_at(start + 8);
    let crc = crc32c::crc32c_append(seed(place, length), covered);
    for (to, from) in out.iter_mut().skip(start + 4).zip(crc.to_le_bytes()) {
        *to = from;
    }
    crc
}

/// Bytes of the whole frame as its first four bytes tell, if they can be true at all.
#[must_use]
pub fn frame_bytes(start: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(*start.first_chunk()?);
    let body = usize::try_from(length).ok()?;
    (body <= limits::RECORD_BYTES_MAX).then_some(HEAD_BYTES + body)
}

/// Reads the frame at the front of `bytes`. It must lie in there as a whole.
///
/// # Errors
/// Cut short, unknown version or kind, wrong CRC.
pub fn read(bytes: &[u8], place: Place) -> Result<Frame<'_>, Malformed> {
    let whole = frame_bytes(bytes).ok_or(Malformed("record: length"))?;
    let frame = bytes.get(..whole).ok_or(Malformed("record: cut short"))?;
    let (head, body) = frame.split_first_chunk::<HEAD_BYTES>().ok_or(Malformed("record"))?;
    if head[8] != VERSION || !known(head[9]) {
        return Err(Malformed("record: version or kind"));
    }
    let (_, covered) = frame.split_at(8);
    let crc = word32(head, 4);
    if crc32c::crc32c_append(seed(place, word32(head, 0)), covered) != crc {
        return Err(Malformed("record: checksum"));
    }
    let back = word32(head, 12);
    let synced = place.position.0.checked_sub(u64::from(back));
    let head = Head {
        kind: head[9],
        partition: PartitionId(u16::from_le_bytes([head[10], head[11]])),
        synced_to: Position(if back == BACK_UNKNOWN { 0 } else { synced.unwrap_or(0) }),
        epoch: Epoch(word64(head, 16)),
        at: WallMs(word64(head, 24)),
    };
    Ok(Frame { head, body, crc })
}

fn known(kind: u8) -> bool {
    matches!(kind, KIND_SEAL | KIND_END | KIND_EVENT_MIN..=KIND_EVENT_MAX)
}

fn seed(place: Place, length: u32) -> u32 {
    let mut bytes = [0u8; 20];
    bytes[0..8].copy_from_slice(&place.segment.to_le_bytes());
    bytes[8..16].copy_from_slice(&place.position.0.to_le_bytes());
    bytes[16..20].copy_from_slice(&length.to_le_bytes());
    crc32c::crc32c(&bytes)
}

fn word32(head: &[u8; HEAD_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

fn word64(head: &[u8; HEAD_BYTES], at: usize) -> u64 {
    u64::from(word32(head, at)) | u64::from(word32(head, at + 4)) << 32
}

/// Body of a seal: ends a group; the group counts only if all `count` seals of it are there.
///
/// ```text
/// 0 u64 synced to, before this group | 8 u32 CRC32C of the CRCs of the group's records
/// 12 u32 records | 16 u16 number | 18 u16 count
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Position up to which the log was synced before the group was written.
    pub synced_to: Position,
    /// CRC32C over the CRCs of the records of the group.
    pub crc: u32,
    /// Records of the group, seals not counted.
    pub records: u32,
    /// Number of this seal, 0-based.
    pub number: u16,
    /// Seals of the group, one a partition touched.
    pub count: u16,
}

impl Seal {
    /// Bytes of the body.
    pub const BYTES: usize = 20;

    /// The body.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[0..8].copy_from_slice(&self.synced_to.0.to_le_bytes());
        out[8..12].copy_from_slice(&self.crc.to_le_bytes());
        out[12..16].copy_from_slice(&self.records.to_le_bytes());
        out[16..18].copy_from_slice(&self.number.to_le_bytes());
        out[18..20].copy_from_slice(&self.count.to_le_bytes());
        out
    }

    /// Reads a body.
    ///
    /// # Errors
    /// Wrong size or number.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let b: &[u8; Self::BYTES] = body.try_into().map_err(|_| Malformed("seal"))?;
        let half = |at: usize| u16::from_le_bytes([b[at], b[at + 1]]);
        let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
        let seal = Self {
            synced_to: Position(u64::from(word(0)) | u64::from(word(4)) << 32),
            crc: word(8),
            records: word(12),
            number: half(16),
            count: half(18),
        };
        if seal.number < seal.count { Ok(seal) } else { Err(Malformed("seal: number")) }
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
