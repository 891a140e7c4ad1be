//! SHA-256 of payloads and static files, and tags that only the holder of a key can make.

use crate::model::key::Digest;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&sha256(bytes))
}

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String accepts every write");
    }
    text
}

/// SHA-256 of a text that comes in pieces.
#[derive(Clone, Debug, Default)]
pub struct Pieces(Sha256);

impl Pieces {
    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash; begins anew.
    pub fn take(&mut self) -> Digest {
        Digest(self.0.finalize_reset().into())
    }
}

/// A digest from its hexadecimal text.
#[must_use]
pub fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut out = [0; 32];
    if pairs.len() != out.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(pairs) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(out)
}

/// Tag of a message under a key: nested SHA-256 in the manner of HMAC (RFC 2104), so a longer
/// message cannot be tagged from a tag that was seen.
#[must_use]
pub fn keyed_tag(key: &[u8], message: &[&[u8]]) -> [u8; 32] {
    let mut inner = Sha256::new().chain_update(key);
    message.iter().for_each(|part| inner.update(part));
    Sha256::new().chain_update(key).chain_update(inner.finalize()).finalize().into()
}
