//! Small stored records of the tracker: bincode behind a CRC32C.
//!
//! ```text
//! crc32c u32 LE of what follows | bincode (standard configuration)
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest record that is decoded, bytes.
const LIMIT: usize = 64 << 20;

/// Value → bytes.
///
/// # Panics
/// Never for values built from plain columns: encoding into memory cannot fail.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let body = bincode::serde::encode_to_vec(value, bincode::config::standard())
        .expect("plain columns always encode");
    let mut out = crc32c::crc32c(&body).to_le_bytes().to_vec();
    out.extend(body);
    out
}

/// Checksum of a stored block, as the store's table keeps it. Never 0, which means "no block".
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).max(1)
}

/// Bytes → value.
///
/// # Errors
/// What is wrong with them.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let (crc, body) = bytes.split_first_chunk::<4>().ok_or("a stored record is cut short")?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err("a stored record is damaged".to_owned());
    }
    let config = bincode::config::standard().with_limit::<LIMIT>();
    let (value, used) =
        bincode::serde::decode_from_slice(body, config).map_err(|e| e.to_string())?;
    if used == body.len() { Ok(value) } else { Err("a stored record has a tail".to_owned()) }
}

/// Value → bytes, compressed where that saves an eighth.
///
/// ```text
/// 0 | record as of `encode`          1 | length u32 LE | LZ4 block of that record
/// ```
#[must_use]
pub fn encode_packed<T: Serialize>(value: &T) -> Vec<u8> {
    let plain = encode(value);
    let packed = lz4_flex::compress_prepend_size(&plain);
    let (how, body) = if packed.len() < plain.len() / 8 * 7 { (1, packed) } else { (0, plain) };
    let mut out = Vec::with_capacity(body.len() + 1);
    out.push(how);
    out.extend(body);
    out
}

/// Inverse of [`encode_packed`].
///
/// # Errors
/// What is wrong with them.
pub fn decode_packed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((0, plain)) => decode(plain),
        Some((1, packed)) => {
            let length = packed.first_chunk().ok_or("a stored record is cut short")?;
            // LZ4 cannot make more than 255 bytes of one; never reserve what cannot be there.
            let length = u32::from_le_bytes(*length) as usize;
            if length > LIMIT || length > packed.len().saturating_mul(255) {
                return Err("a stored record is damaged".to_owned());
            }
            decode(&lz4_flex::decompress_size_prepended(packed).map_err(|e| e.to_string())?)
        }
        Some(_) | None => Err("a stored record is damaged".to_owned()),
    }
}

#[cfg(test)]
#[path = "stored_tests.rs"]
mod tests;
