//! Cursors of lists: opaque, signed with a key of the log, good for one hour.
//!
//! ```text
//! base64url of: expiry u64 BE | data | tag
//! tag = first 8 bytes of SHA-256(key, SHA-256(key, kind, expiry, data))
//! ```
//! The kind (list and order) is signed but not stored, so a cursor fits only the list it came from.

use crate::codec::digest::keyed_tag;
use crate::model::reject::{Code, Reject};
use crate::model::time::WallMs;

const LIFE_MS: u64 = 3_600_000;
const TAG_BYTES: usize = 8;

/// Signs and checks cursors.
pub(crate) struct Seal {
    key: [u8; 16],
}

impl Seal {
    pub(crate) fn new(key: [u64; 2]) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&key[0].to_be_bytes());
        bytes[8..].copy_from_slice(&key[1].to_be_bytes());
        Self { key: bytes }
    }

    /// The text of a cursor.
    pub(crate) fn wrap(&self, kind: &str, data: &[u8], now: WallMs) -> String {
        let mut bytes = now.plus(LIFE_MS).0.to_be_bytes().to_vec();
        bytes.extend_from_slice(data);
        let tag = self.tag(kind, &bytes);
        bytes.extend_from_slice(&tag);
        let mut text = Vec::new();
        crate::codec::wire::base64::encode_into(&mut text, &bytes);
        let url = text.into_iter().filter(|b| *b != b'=').map(|b| match b {
            b'+' => '-',
            b'/' => '_',
            other => char::from(other),
        });
        url.collect()
    }

    /// The data of a cursor of this kind.
    ///
    /// # Errors
    /// `bad_cursor` for anything that was not signed for this list within the last hour.
    pub(crate) fn unwrap(&self, kind: &str, text: &str, now: WallMs) -> Result<Vec<u8>, Reject> {
        self.open(kind, text, now).ok_or_else(|| {
            Reject::new(Code::BadCursor, "the cursor is not of this list or older than an hour")
                .hint("begin again without cursor")
        })
    }

    fn open(&self, kind: &str, text: &str, now: WallMs) -> Option<Vec<u8>> {
        if text.contains(['+', '/', '=']) {
            return None;
        }
        let mut padded = text.replace('-', "+").replace('_', "/");
        while !padded.len().is_multiple_of(4) {
            padded.push('=');
        }
        let bytes = crate::codec::wire::base64::decode(&padded)?;
        let (signed, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG_BYTES)?)?;
        // The key is unguessable, so a difference in timing helps nobody for long;
        // still, no early end.
        let wrong = self.tag(kind, signed).iter().zip(tag).fold(0, |acc, (a, b)| acc | (a ^ b));
        let (expiry, data) = signed.split_first_chunk::<8>()?;
        (wrong == 0 && u64::from_be_bytes(*expiry) > now.0).then(|| data.to_vec())
    }

    fn tag(&self, kind: &str, data: &[u8]) -> [u8; TAG_BYTES] {
        let outer = keyed_tag(&self.key, &[kind.as_bytes(), &[0], data]);
        let mut tag = [0; TAG_BYTES];
        tag.iter_mut().zip(outer.iter()).for_each(|(t, o)| *t = *o);
        tag
    }
}

/// Numbers as bytes, seven bits each.
pub(crate) fn pack(numbers: &[u64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(numbers.len() * 4);
    for number in numbers {
        let mut rest = *number;
        loop {
            let low = u8::try_from(rest & 0x7f).unwrap_or(0);
            rest >>= 7;
            out.push(if rest == 0 { low } else { low | 0x80 });
            if rest == 0 {
                break;
            }
        }
    }
    out
}

/// Inverse of [`pack`]; `None` for bytes it did not write.
pub(crate) fn unpack(bytes: &[u8]) -> Option<Vec<u64>> {
    let mut out = Vec::new();
    let (mut number, mut shift) = (0u64, 0u32);
    for byte in bytes {
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            out.push(number);
            (number, shift) = (0, 0);
        }
    }
    (shift == 0).then_some(out)
}

#[cfg(test)]
mod tests;
