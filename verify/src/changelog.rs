//! What the log of the model holds, and what a reader of it comes to.

use kwq::log::fence::Latest;
use std::collections::BTreeMap;

/// A task.
pub type Task = u8;

/// What proves a hand-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    pub(crate) epoch: u64,
    pub(crate) number: u8,
}

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// Somebody takes over.
    Owner { node: usize },
    /// A hand-out.
    Grant { epoch: u64, number: u64, task: Task, token: Token },
    /// All that counts before it.
    Checkpoint { epoch: u64, number: u64, folded: Folded },
}

impl Record {
    /// Epoch and number of a batch that is no `Owner`.
    pub(crate) fn batch(&self) -> Option<(u64, u64)> {
        match self {
            Self::Owner { .. } => None,
            Self::Grant { epoch, number, .. } | Self::Checkpoint { epoch, number, .. } => {
                Some((*epoch, *number))
            }
        }
    }
}

/// The partition as the log says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Folded {
    pub(crate) latest: Latest,
    pub(crate) held: BTreeMap<Task, Token>,
}

impl Folded {
    /// Reads from a checkpoint that was committed, or from the beginning, up to an offset.
    pub(crate) fn of(log: &[Record], mark: Option<usize>, end: usize) -> Self {
        Self::read(log, mark, end, false)
    }

    /// As [`Self::of`]; a reader that accepts holes reads on where a batch of the epoch was lost.
    pub(crate) fn read(log: &[Record], mark: Option<usize>, end: usize, accept_hole: bool) -> Self {
        let mut folded = Self::default();
        let mut from = 0;
        if let Some(mark) = mark
            && let Some(Record::Checkpoint { folded: kept, epoch, number }) = log.get(mark)
        {
            folded = kept.clone();
            folded.latest = Latest::behind(*epoch, *number);
            from = mark + 1;
        }
        for (offset, record) in log.iter().enumerate().take(end).skip(from) {
            let Some((epoch, number)) = record.batch() else {
                folded.latest.owner(offset as u64);
                continue;
            };
            let counts = if accept_hole {
                folded.latest.is(epoch)
            } else {
                folded.latest.counts(epoch, number)
            };
            if let Record::Grant { task, token, .. } = record
                && counts
            {
                folded.held.insert(*task, *token);
            }
        }
        folded
    }
}
