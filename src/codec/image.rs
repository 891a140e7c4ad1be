//! Images of a partition: bincode cut into blocks, each behind its own CRC32C.
//!
//! ```text
//! kind u32 LE | version u32 LE | blocks
//! block: length u32 LE | crc32c u32 LE | bytes
//! ```
//! A flipped bit is found in the block that holds it; the image is then passed over and the log is replayed instead.

use crate::codec::Malformed;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Layout of this file.
const VERSION: u32 = 1;
const BLOCK: usize = 256 << 10;
/// Largest image that is decoded, bytes; above the image of a full partition.
const LIMIT: usize = 8 << 30;

/// Value → bytes.
///
/// # Errors
/// The value cannot be encoded (never for plain columns).
pub fn encode<T: Serialize>(kind: u32, value: &T) -> Result<Vec<u8>, Malformed> {
    let body = bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|_| Malformed("image"))?;
    let mut out = Vec::with_capacity(body.len() + body.len() / 1_000 + 16);
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&VERSION.to_le_bytes());
    for block in body.chunks(BLOCK) {
        let length = u32::try_from(block.len()).map_err(|_| Malformed("image block"))?;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(block).to_le_bytes());
        out.extend_from_slice(block);
    }
    Ok(out)
}

/// Bytes → value.
///
/// # Errors
/// Another kind or version, damage.
pub fn decode<T: DeserializeOwned>(kind: u32, bytes: &[u8]) -> Result<T, Malformed> {
    let (head, mut rest) = bytes.split_first_chunk::<8>().ok_or(Malformed("image head"))?;
    let word =
        |b: &[u8; 8], at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
    if word(head, 0) != kind || word(head, 4) != VERSION {
        return Err(Malformed("image kind or version"));
    }
    let mut body = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let (head, after) = rest.split_first_chunk::<8>().ok_or(Malformed("image block"))?;
        let length = usize::try_from(word(head, 0)).map_err(|_| Malformed("image block"))?;
        let (block, after) = after.split_at_checked(length).ok_or(Malformed("image block"))?;
        if crc32c::crc32c(block) != word(head, 4) {
            return Err(Malformed("image block checksum"));
        }
        body.extend_from_slice(block);
        rest = after;
    }
    let config = bincode::config::standard().with_limit::<LIMIT>();
    let decoded = bincode::serde::decode_from_slice(&body, config);
    match decoded {
        Ok((value, used)) if used == body.len() => Ok(value),
        _ => Err(Malformed("image body")),
    }
}
