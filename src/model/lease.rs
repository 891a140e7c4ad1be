//! The fencing token of a hand-out: partition, epoch, lease number and 64 unguessable bits.
//!
//! ```text
//! base64url (no padding) of 26 bytes, 35 characters:
//!   0..2  partition u16 BE | 2..10 epoch u64 BE | 10..18 lease number u64 BE | 18..26 secret bits
//! ```
//! The secret bits are a keyed hash of (epoch, number) under the key in the partition's `Owner`
//! record, so no random
//! byte is stored per lease and a token is never issued twice. The key never leaves the data
//! directory.

use crate::model::id::{Epoch, LeaseNo, PartitionId};
use serde::{Deserialize, Serialize};

/// Opaque to clients; compared as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseToken {
    /// Partition that granted it.
    pub partition: PartitionId,
    /// Epoch it was granted in.
    pub epoch: Epoch,
    /// Number of the hand-out.
    pub number: LeaseNo,
    /// Keyed hash; a wrong value makes the token unknown.
    pub secret: u64,
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BYTES: usize = 26;
const CHARS: usize = 35;

impl LeaseToken {
    /// The wire form, 35 characters of `[A-Za-z0-9_-]`.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut raw = [0u8; BYTES + 1];
        raw[0..2].copy_from_slice(&self.partition.0.to_be_bytes());
        raw[2..10].copy_from_slice(&self.epoch.0.to_be_bytes());
        raw[10..18].copy_from_slice(&self.number.0.to_be_bytes());
        raw[18..26].copy_from_slice(&self.secret.to_be_bytes());
        let mut out = String::with_capacity(CHARS + 1);
        for group in raw.chunks_exact(3) {
            let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
            for shift in [18, 12, 6, 0] {
                out.push(char::from(ALPHABET[(bits >> shift & 63) as usize]));
            }
        }
        out.truncate(CHARS);
        out
    }

    /// `None` for anything this node could not have issued; such a token is answered `lease_lost`.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() != CHARS {
            return None;
        }
        let mut raw = [0u8; BYTES + 1];
        for (group, out) in text.as_bytes().chunks(4).zip(raw.chunks_exact_mut(3)) {
            let mut bits = 0u32;
            for place in 0..4 {
                let value = group.get(place).map_or(Some(0), |byte| sextet(*byte))?;
                bits = bits << 6 | u32::from(value);
            }
            out.copy_from_slice(&bits.to_be_bytes()[1..]);
        }
        let word = |from: usize| {
            raw[from..from + 8].try_into().map(u64::from_be_bytes).unwrap_or_default()
        };
        let token = Self {
            partition: PartitionId(u16::from_be_bytes([raw[0], raw[1]])),
            epoch: Epoch(word(2)),
            number: LeaseNo(word(10)),
            secret: word(18),
        };
        // The two unused low bits of the last character must be zero, or two texts would name one
        // token.
        (raw[BYTES] == 0).then_some(token)
    }
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}
