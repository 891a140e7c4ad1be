//! SHA-256 of payloads and static files, and tags that only the holder of a key can make.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// SHA-256 in hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("a String accepts every write");
    }
    text
}

/// Tag of a message under a key: nested SHA-256 in the manner of HMAC (RFC 2104), so a longer
/// message cannot be tagged from a tag that was seen.
#[must_use]
pub fn keyed_tag(key: &[u8], message: &[&[u8]]) -> [u8; 32] {
    let mut inner = Sha256::new().chain_update(key);
    message.iter().for_each(|part| inner.update(part));
    Sha256::new().chain_update(key).chain_update(inner.finalize()).finalize().into()
}
