//! What waits of one partition of a topic, in the order of its offsets.
//!
//! Must not: talk to Kafka.

use crate::model::time::WallMs;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use std::collections::VecDeque;

/// Records and bytes of one line.
const LINE: (usize, usize) = (4_096, 1 << 20);
/// Pulls in a row that wait for records of a topic that are known to be there, before those of the
/// topics below it are pulled: 2 s of a puller that comes every 10 ms. A place that holds no
/// record, such as the mark of a transaction, may be the last one: then there is nothing to wait
/// for.
pub(super) const WAITS: u32 = 200;

/// A record as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its offset.
    pub offset: u64,
    /// Its stamp; unset if it has none.
    pub at: WallMs,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// In the order they were written; a name that is no text is left out by the client.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What waits of one partition of a topic.
#[derive(Default)]
pub(super) struct Line {
    pub(super) letters: VecDeque<Letter>,
    pub(super) bytes: usize,
    /// Where the next piece begins.
    pub(super) from: u64,
    /// Where the topic ended when reading began.
    pub(super) known: u64,
    /// Pulls that have waited for what lies before that.
    pub(super) waited: u32,
    /// A hole before this offset was read twice.
    pub(super) hole: Option<u64>,
}

impl Line {
    /// Records that are known to be there have not come yet, and are still waited for.
    pub(super) fn awaited(&self) -> bool {
        self.from < self.known && self.waited < WAITS
    }

    /// Records and bytes that may come.
    pub(super) fn room(&self) -> (usize, usize) {
        (LINE.0.saturating_sub(self.letters.len()), LINE.1.saturating_sub(self.bytes))
    }

    /// Puts a letter behind the last one, or answers from where the line is to be read again.
    pub(super) fn push(&mut self, letter: Letter) -> Option<u64> {
        let last = self.letters.back().map_or(self.from, |last| last.offset + 1);
        if letter.offset < last {
            return None; // of an assignment that is over
        }
        // As with the changelog: a late message of an earlier assignment looks like a hole.
        if letter.offset > last && self.hole != Some(letter.offset) {
            self.hole = Some(letter.offset);
            return Some(last);
        }
        self.bytes += size(&letter);
        self.letters.push_back(letter);
        None
    }
}

/// The last topic that has anything, if none behind it is to be waited for.
pub(super) fn due(lines: &mut [Line]) -> Option<usize> {
    for (topic, line) in lines.iter_mut().enumerate().rev() {
        if !line.letters.is_empty() {
            line.waited = 0;
            return Some(topic);
        }
        if line.awaited() {
            line.waited += 1;
            return None;
        }
    }
    None
}

pub(super) fn size(letter: &Letter) -> usize {
    let headers =
        letter.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
    letter.value.as_ref().map_or(0, Vec::len) + headers.sum::<usize>() + 64
}

pub(super) fn letter(message: &BorrowedMessage<'_>) -> Letter {
    let header =
        |(name, value): (&str, Option<&[u8]>)| (name.to_owned(), value.map(<[u8]>::to_vec));
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|h| header((h.key, h.value))).collect()
    });
    let at = message.timestamp().to_millis().and_then(|ms| u64::try_from(ms).ok());
    Letter {
        offset: u64::try_from(message.offset()).unwrap_or(0),
        at: at.map_or(WallMs(0), WallMs),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}
