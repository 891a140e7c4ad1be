//! Images ↔ bytes: bincode inside blocks with checksums, so that a bit flip never becomes state.
//!
//! ```text
//! 0  8 B  magic | 8 u32 version of this frame (1) | 12 u32 kind, the caller's | 16 u32 CRC32C of
//! bytes 0..16
//! 20  blocks: u32 length ≤ 256 KiB | u32 CRC32C of (number, length, bytes) | bytes
//!     last block: length 0
//! ```
//! The body is bincode 2 with its standard configuration; field order is the format. Callers raise
//! `kind` when it changes.

use crate::codec::Malformed;
use crate::codec::bytes::Cursor;
use bincode::config::{self, Configuration, LittleEndian, Varint};
use bincode::de::read::Reader;
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use serde::Serialize;
use serde::de::DeserializeOwned;

const MAGIC: &[u8; 8] = b"KWQ-IMG\n";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 20;
const BLOCK_HEAD_BYTES: usize = 8;
const BLOCK_BYTES: usize = 256 << 10;
/// What a decode may claim in memory; the body itself is bounded by its blocks.
const LIMIT: usize = 64 << 30;

/// Why an image cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an image of this kind, or damaged.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Another kind or version.
    #[error("image of kind {kind:#x} and version {version}")]
    Unknown {
        /// Kind found.
        kind: u32,
        /// Version found.
        version: u32,
    },
    /// The body does not fit the type.
    #[error("image body: {0}")]
    Body(String),
}

fn settings() -> Configuration<LittleEndian, Varint, config::Limit<LIMIT>> {
    config::standard().with_limit::<LIMIT>()
}

/// Encodes a value.
///
/// # Errors
/// The value refuses to be serialised.
pub fn encode<T: Serialize>(kind: u32, value: &T) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(BLOCK_BYTES);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    let mut blocks = BlockWriter { out, block_at: HEAD_BYTES, number: 0 };
    blocks.begin();
    bincode::serde::encode_into_writer(value, &mut blocks, settings())
        .map_err(|e| Error::Body(e.to_string()))?;
    Ok(blocks.finish())
}

/// Decodes a value.
///
/// # Errors
/// Another kind or version, damage, or bytes that do not fit the type.
pub fn decode<T: DeserializeOwned>(kind: u32, bytes: &[u8]) -> Result<T, Error> {
    let mut head = Cursor::new(bytes);
    let covered = bytes.get(..HEAD_BYTES - 4).unwrap_or_default();
    let magic = head.take(MAGIC.len())?;
    let (version, found, crc) = (head.u32()?, head.u32()?, head.u32()?);
    if magic != MAGIC || crc32c::crc32c(covered) != crc {
        return Err(Malformed("image: head").into());
    }
    if version != VERSION || found != kind {
        return Err(Error::Unknown { kind: found, version });
    }
    let mut blocks = BlockReader { rest: head, block: Cursor::new(&[]), number: 0, ended: false };
    let value = bincode::serde::decode_from_reader(&mut blocks, settings())
        .map_err(|e| Error::Body(e.to_string()))?;
    blocks.finish()?;
    Ok(value)
}

fn block_crc(number: u32, length: u32, bytes: &[u8]) -> u32 {
    let seed = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &length.to_le_bytes());
    crc32c::crc32c_append(seed, bytes)
}

/// Cuts what bincode writes into blocks, in place.
struct BlockWriter {
    out: Vec<u8>,
    block_at: usize,
    number: u32,
}

impl BlockWriter {
    fn begin(&mut self) {
        self.block_at = self.out.len();
        self.out.extend_from_slice(&[0; BLOCK_HEAD_BYTES]);
    }

    fn room(&self) -> usize {
        (self.block_at + BLOCK_HEAD_BYTES + BLOCK_BYTES) - self.out.len()
    }

    fn end_block(&mut self) {
        let (_, block) = self.out.split_at_mut(self.block_at);
        let (head, bytes) = block.split_at_mut(BLOCK_HEAD_BYTES);
        let length = crate::codec::bytes::len_u32(bytes.len());
        let crc = block_crc(self.number, length, bytes);
        let words = length.to_le_bytes().into_iter().chain(crc.to_le_bytes());
        head.iter_mut().zip(words).for_each(|(to, from)| *to = from);
        self.number += 1;
    }

    fn finish(mut self) -> Vec<u8> {
        if self.out.len() > self.block_at + BLOCK_HEAD_BYTES {
            self.end_block();
            self.begin();
        }
        self.end_block();
        self.out
    }
}

impl Writer for BlockWriter {
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), EncodeError> {
        while !bytes.is_empty() {
            if self.room() == 0 {
                self.end_block();
                self.begin();
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.room()));
            self.out.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }
}

/// Hands checked blocks to bincode.
struct BlockReader<'a> {
    rest: Cursor<'a>,
    block: Cursor<'a>,
    number: u32,
    ended: bool,
}

impl BlockReader<'_> {
    fn next_block(&mut self) -> Result<(), Malformed> {
        if self.ended {
            return Err(Malformed("image: cut short"));
        }
        let (length, crc) = (self.rest.u32()?, self.rest.u32()?);
        let size = usize::try_from(length).map_err(|_| Malformed("image: block"))?;
        let bytes = self.rest.take(size)?;
        if size > BLOCK_BYTES || block_crc(self.number, length, bytes) != crc {
            return Err(Malformed("image: block checksum"));
        }
        self.number += 1;
        self.ended = size == 0;
        self.block = Cursor::new(bytes);
        Ok(())
    }

    fn finish(mut self) -> Result<(), Malformed> {
        self.block.end()?;
        if !self.ended {
            self.next_block()?;
        }
        if self.ended { self.rest.end() } else { Err(Malformed("image: bytes left over")) }
    }
}

impl Reader for BlockReader<'_> {
    #[inline]
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), DecodeError> {
        let mut done = 0;
        while done < bytes.len() {
            if self.block.rest().is_empty() {
                self.next_block().map_err(|e| DecodeError::OtherString(e.to_string()))?;
                continue;
            }
            let (_, wanted) = bytes.split_at_mut(done);
            let size = wanted.len().min(self.block.rest().len());
            let part = self.block.take(size);
            let part = part.map_err(|e| DecodeError::OtherString(e.to_string()))?;
            let (to, _) = wanted.split_at_mut(size);
            to.copy_from_slice(part);
            done += size;
        }
        Ok(())
    }

    #[inline]
    fn peek_read(&mut self, n: usize) -> Option<&[u8]> {
        self.block.rest().get(..n)
    }

    #[inline]
    fn consume(&mut self, n: usize) {
        // Only ever called after a `peek_read` of as many bytes.
        if self.block.take(n).is_err() {
            self.ended = true;
        }
    }
}
