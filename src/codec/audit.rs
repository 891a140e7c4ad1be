//! Lines of the audit trail: one JSON object each, chained by SHA-256.
//!
//! ```text
//! {"seq":81,"ts":…,"actor":"token:ops-2","from":"10.0.0.7","role":"operate","op":"job.cancel",
//!  "call":"POST /kwq/jobs/{job}/cancel","target":"eod-risk","result":"ok","position":"0:4711",
//!  "prev":"9f…","hash":"c1…"}
//! ```
//! `hash` is the SHA-256 of the bytes of the line before `,"hash":`; `prev` is the `hash` of the
//! line before, 64 zeros in the first one. So a line that was edited, taken out or put in breaks
//! the chain at its place. What no chain can show is that lines were cut off its end. Members are
//! only ever added, in front of `prev`.

use crate::codec::digest;
use crate::codec::json;
use crate::codec::wire::out::Out;
use crate::model::time::WallMs;

/// Bytes from the first digit of `hash` to the end of a line: the digits, `"` and `}`.
const HASH_TAIL_BYTES: usize = 66;

/// What is told of a call, without its place in the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// When it was answered.
    pub at: WallMs,
    /// `token:NAME`, or `anonymous` where no tokens are configured.
    pub actor: String,
    /// Address it came from.
    pub from: String,
    /// Role it was allowed by, or would have needed.
    pub role: &'static str,
    /// Name of the operation.
    pub op: &'static str,
    /// Method and template of the route.
    pub call: String,
    /// Job, task, worker, level; `*` = several.
    pub target: String,
    /// `ok`, or the code of the refusal.
    pub result: &'static str,
    /// Job of the task that is the target; empty when there is none.
    pub job: String,
    /// Operation that it began; empty when there is none.
    pub operation: String,
    /// What its answer was valid for; empty when unknown.
    pub position: String,
}

/// Where a trail goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Number of the next line.
    pub next: u64,
    /// `hash` of the line before.
    pub prev: String,
}

/// What is wrong with a line of a trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No line of a trail at all.
    #[error("it is no line of an audit trail")]
    Malformed,
    /// Its own hash is another.
    #[error("it was changed")]
    Changed,
    /// It does not follow the line before.
    #[error("a line before it is missing, or was put in")]
    Unchained,
}

impl Default for Link {
    fn default() -> Self {
        Self { next: 1, prev: "0".repeat(64) }
    }
}

/// The next line, without its end, and where the trail goes on.
#[must_use]
pub fn line(link: &Link, deed: &Deed) -> (Vec<u8>, Link) {
    let mut out = Out::with_capacity(512);
    out.open();
    out.num("seq", link.next);
    out.stamp("ts", deed.at);
    out.str("actor", &deed.actor);
    out.str("from", &deed.from);
    out.str("role", deed.role);
    out.str("op", deed.op);
    out.str("call", &deed.call);
    out.str("target", &deed.target);
    out.str("result", deed.result);
    let parts = [("job", &deed.job), ("operation", &deed.operation), ("position", &deed.position)];
    for (name, text) in parts {
        out.opt_str(name, Some(text.as_str()).filter(|text| !text.is_empty()));
    }
    out.str("prev", &link.prev);
    let mut bytes = out.into_bytes();
    let hash = digest::sha256_hex(&bytes);
    bytes.extend_from_slice(format!(",\"hash\":\"{hash}\"}}").as_bytes());
    (bytes, Link { next: link.next + 1, prev: hash })
}

/// Where the trail goes on behind a line, read from the line itself.
///
/// # Errors
/// `Malformed`, `Changed`.
pub fn link(line: &str) -> Result<Link, Fault> {
    let (hashed, _) = line.rsplit_once(",\"hash\":\"").ok_or(Fault::Malformed)?;
    let fields = json::object(line).map_err(|_| Fault::Malformed)?;
    let seq = fields.get("seq").and_then(json::Raw::integer).and_then(|n| u64::try_from(n).ok());
    let hash = fields.get("hash").and_then(|raw| raw.string().ok().flatten());
    let (seq, hash) = seq.zip(hash).ok_or(Fault::Malformed)?;
    let own = digest::sha256_hex(hashed.as_bytes());
    // Nothing may stand behind the hash, where it is not covered.
    if own != *hash || line.strip_prefix(hashed) != Some(&format!(",\"hash\":\"{own}\"}}")) {
        return Err(Fault::Changed);
    }
    let next = seq.checked_add(1).ok_or(Fault::Malformed)?;
    Ok(Link { next, prev: hash.into_owned() })
}

/// Number of a line; `None` = it is none.
#[must_use]
pub fn number(line: &str) -> Option<u64> {
    let (digits, _) = line.strip_prefix("{\"seq\":")?.split_once(',')?;
    json::object(line).ok()?;
    digits.parse().ok()
}

/// Can a kill or a power cut have left these bytes behind the last line end? They are a line that
/// was begun: its number is the one that was due; no control character is in it but the zeros of
/// pages that never reached the disk, at its end; nothing stands behind a whole line.
#[must_use]
pub fn is_unfinished(due: u64, rest: &[u8]) -> bool {
    let zeros = rest.iter().rev().take_while(|byte| **byte == 0).count();
    let (written, _) = rest.split_at(rest.len() - zeros);
    let head = format!("{{\"seq\":{due},");
    let begun = written.iter().zip(head.as_bytes()).all(|(byte, due)| byte == due);
    let mark = b",\"hash\":\"";
    let tail = written.windows(mark.len()).rposition(|window| window == mark);
    let tail_bytes = tail.map_or(0, |at| written.len() - at - mark.len());
    begun && !written.iter().any(u8::is_ascii_control) && tail_bytes <= HASH_TAIL_BYTES
}

/// As [`link`], and the line must follow `before`.
///
/// # Errors
/// Every fault.
pub fn follow(before: &Link, line: &str) -> Result<Link, Fault> {
    let after = link(line)?;
    let fields = json::object(line).map_err(|_| Fault::Malformed)?;
    let prev = fields.get("prev").and_then(|raw| raw.string().ok().flatten());
    let follows = prev.is_some_and(|prev| prev == before.prev) && after.next == before.next + 1;
    if follows { Ok(after) } else { Err(Fault::Unchained) }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
