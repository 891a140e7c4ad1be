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
