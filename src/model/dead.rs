//! What comes in dead: a record of an inbox topic that cannot become a task is kept as a dead
//! letter, so that nothing a foreign producer was acknowledged disappears.

use crate::model::id::Name;
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::reject::{Code, Reject};
use crate::model::task::{Blob, TaskInput, run_in, run_out};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Why a record is dead from the beginning (T5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeadClass {
    /// It breaks a rule.
    Malformed,
    /// It has a field of a later release.
    NotSupported,
    /// Its job takes no more tasks.
    JobClosed,
}

/// A task that is admitted straight to ERROR and never handed out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadInput {
    /// Class of its error.
    pub class: DeadClass,
    /// What is wrong, where, and what to do; at most 4,096 B.
    pub message: Name,
    /// What could be read of it; the payload is the record as it came, or a piece of it.
    pub task: TaskInput,
}

/// A record of an inbox, or a line of one, as it came: what is kept if it is not admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its inbox.
    pub level: Priority,
    /// Offset of the record there.
    pub offset: u64,
    /// Which line of it, from 1; `None` = all of it.
    pub line: Option<u64>,
    /// Is it NDJSON? Then it is cut between lines.
    pub lines: bool,
    /// Headers of the record, `name=value` a line.
    pub headers: Option<Name>,
    /// The bytes; of an item that is dead already nothing.
    #[serde(serialize_with = "run_out", deserialize_with = "run_in")]
    pub text: Vec<u8>,
}

impl DeadClass {
    /// The class of a refusal.
    #[must_use]
    pub fn of(code: Code) -> Self {
        if code == Code::NotSupported {
            Self::NotSupported
        } else if code == Code::JobClosed {
            Self::JobClosed
        } else {
            Self::Malformed
        }
    }

    /// As shown in `error.class`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotSupported => "not_supported",
            Self::JobClosed => "job_closed",
        }
    }
}

impl DeadInput {
    /// A dead letter of a refusal; `place` says where in the inbox the record lies.
    #[must_use]
    pub fn new(place: &str, reject: &Reject, task: TaskInput) -> Self {
        let mut text = format!("{place}: {}: {}", reject.code.word(), reject.detail);
        if let Some(hint) = &reject.hint {
            text.push_str("; ");
            text.push_str(hint);
        }
        text.truncate(text.floor_char_boundary(limits::MESSAGE_BYTES_MAX));
        Self { class: DeadClass::of(reject.code), message: text.into(), task }
    }
}

impl Source {
    /// A record without headers, or nothing of it.
    #[must_use]
    pub fn new(level: Priority, offset: u64, text: Vec<u8>) -> Self {
        Self { level, offset, line: None, lines: false, headers: None, text }
    }

    /// All of it as dead letters of a refusal: one, or several that are its pieces in their order.
    /// `task` is what could be read of it; `part` says which part of it is wrong, if any.
    #[must_use]
    pub fn bury(self, part: &str, reject: &Reject, task: TaskInput) -> Vec<DeadInput> {
        let mut place = format!("record {} of level {}", self.offset, self.level);
        if let Some(line) = self.line {
            place.push_str(&format!(", line {line}"));
        }
        place.push_str(part);
        let known = TaskInput { payload: Blob::default(), meta: None, ..task };
        let first = TaskInput { meta: self.headers.clone(), ..known.clone() };
        let pieces = self.pieces();
        if pieces.len() == 1 {
            let payload = Blob::opaque(self.text);
            return vec![DeadInput::new(&place, reject, TaskInput { payload, ..first })];
        }
        let (of, mut letters) = (pieces.len(), Vec::with_capacity(pieces.len()));
        for (number, piece) in (1..).zip(pieces) {
            let (from, to) = (piece.start, piece.end - 1);
            let place = format!("piece {number} of {of}, bytes {from} to {to} of {place}");
            let bytes = self.text.get(piece).unwrap_or_default().to_vec();
            let task = if number == 1 { &first } else { &known };
            let task = TaskInput { payload: Blob::opaque(bytes), ..task.clone() };
            letters.push(DeadInput::new(&place, reject, task));
        }
        letters
    }

    /// Where it is cut; at least one piece.
    fn pieces(&self) -> Vec<Range<usize>> {
        let all = self.text.len();
        if all <= limits::INBOX_PIECE_BYTES {
            return std::iter::once(0..all).collect();
        }
        let utf8 = std::str::from_utf8(&self.text).ok();
        let (mut pieces, mut from) = (Vec::new(), 0);
        while from < all {
            let to = self.between_lines(from).unwrap_or_else(|| {
                let most = from + limits::INBOX_PIECE_BYTES;
                // Pieces of a text are texts.
                utf8.map_or_else(|| most.min(all), |text| text.floor_char_boundary(most))
            });
            pieces.push(from..to);
            from = to;
        }
        pieces
    }

    /// End of the lines that begin at a place and are a batch of their own; `None` = the first one
    /// is too long, or there are no lines.
    fn between_lines(&self, from: usize) -> Option<usize> {
        let rest = self.text.get(from..).filter(|_| self.lines)?;
        let within = rest.get(..limits::INBOX_PIECE_BYTES).unwrap_or(rest);
        // The end of a line that was cut stays alone.
        let begun = from > 0 && self.text.get(from - 1) != Some(&b'\n');
        let most = if begun { 1 } else { limits::INBOX_BATCH_TASKS };
        let (mut length, mut tasks) = (0, 0);
        for line in within.split_inclusive(|byte| *byte == b'\n') {
            tasks += usize::from(begun || !line.trim_ascii().is_empty());
            let whole = line.ends_with(b"\n") || length + line.len() == rest.len();
            if tasks > most || !whole {
                break;
            }
            length += line.len();
        }
        (length > 0).then_some(from + length)
    }
}

#[cfg(test)]
#[path = "dead_tests.rs"]
mod tests;
