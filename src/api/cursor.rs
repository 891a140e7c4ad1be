//! Opaque cursors of lists: signed, good for one hour, refused when they were made up or belong to
//! another list.

use crate::model::reject::{Code, Reject};
use crate::model::time::WallMs;
use std::fmt::Write as _;

/// Life of a cursor, ms.
const LIFE_MS: u64 = 3_600_000;

/// Signs and checks cursors with a key of this process.
pub(crate) struct Signer {
    key: [u64; 2],
}

impl Signer {
    pub(crate) fn new(key: [u64; 2]) -> Self {
        Self { key }
    }

    /// A cursor over `parts` for the list named by `scope`.
    pub(crate) fn sign(&self, scope: &str, parts: &str, now: WallMs) -> String {
        let body = format!("{:x}.{}", now.plus(LIFE_MS).0, hex(parts));
        let mac = self.mac(scope, &body);
        format!("{body}.{mac}")
    }

    /// The parts of a cursor of this list.
    pub(crate) fn open(&self, scope: &str, text: &str, now: WallMs) -> Result<String, Reject> {
        let bad = || {
            Reject::new(Code::BadCursor, "the cursor is not of this list or has expired")
                .hint("start the list again without a cursor")
        };
        let (body, mac) = text.rsplit_once('.').ok_or_else(bad)?;
        if self.mac(scope, body) != mac {
            return Err(bad());
        }
        let (until, parts) = body.split_once('.').ok_or_else(bad)?;
        let until = u64::from_str_radix(until, 16).map_err(|_| bad())?;
        if now.0 > until {
            return Err(bad());
        }
        unhex(parts).ok_or_else(bad)
    }

    fn mac(&self, scope: &str, body: &str) -> String {
        let keyed = format!("{:016x}{:016x}|{scope}|{body}", self.key[0], self.key[1]);
        let mut digest = crate::codec::digest::sha256_hex(keyed.as_bytes());
        digest.truncate(32);
        digest
    }
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a String accepts every write");
        out
    })
}

fn unhex(text: &str) -> Option<String> {
    let pair = |p: &[u8]| {
        let text = std::str::from_utf8(p).ok()?;
        u8::from_str_radix(text, 16).ok()
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    String::from_utf8(bytes?).ok()
}
