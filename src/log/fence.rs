//! The fence of an owner whose log others may append to as well: who may answer, and whose records
//! count. The log decides ownership; whoever proposes owners (a consumer group, an operator) may be
//! late or wrong.
//!
//! ```text
//!   Owner at offset E ─► epoch E ─► batches {E, …} ─► report: offset == expected ─► answer
//!                                                      │ gap: read what lies between
//!                                                      ├─ no Owner ─► still owner ─► answer
//!                                                      └─ an Owner ─► down, answer nobody
//! ```
//! An owner that was deposed cannot get its batch in right behind its last one, because the `Owner`
//! record of the next lies between; and no reader counts a batch behind that. So nothing is told
//! that the next owner does not know of, without transactions and without reading back.
//! Explored exhaustively in `verify/`, which runs this code.
//!
//! Must not: know what a batch holds, or do I/O.

use std::collections::VecDeque;

/// Whose batches count: those of the latest `Owner` record before them (rule 5 of the log).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Latest(Option<u64>);

impl Latest {
    /// Of a reader that begins behind a record of this epoch that counts.
    #[must_use]
    pub fn behind(epoch: u64) -> Self {
        Self(Some(epoch))
    }

    /// An `Owner` record at this offset: its offset is the epoch.
    pub fn owner(&mut self, offset: u64) {
        self.0 = Some(offset);
    }

    /// Does a batch of this epoch count?
    #[must_use]
    pub fn counts(self, epoch: u64) -> bool {
        self.0 == Some(epoch)
    }
}

/// What a record between two of an owner's own is to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// A batch of an epoch before this one, appended late: it counts for nobody.
    Void,
    /// Somebody took over, or an attempt to that was believed lost.
    Owner,
}

/// What became of the oldest batch in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled<T> {
    /// It counts: answer those who wait for it.
    Counts(T),
    /// Others have written before it: read from one offset up to another, then
    /// [`Fence::bridge`].
    Gap {
        /// First offset to read.
        from: u64,
        /// That of the batch itself, which is not read.
        to: u64,
    },
    /// Ownership is over, or nobody knows: drop the state of the partition and answer nobody.
    Down,
}

/// An owner's view of its own appends, which end in the order in which they were begun.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fence<T> {
    epoch: u64,
    /// Offset of the next batch if nobody else writes.
    expected: u64,
    in_flight: VecDeque<T>,
    /// Offset of the oldest in flight, which lies behind a gap.
    behind_gap: Option<u64>,
    down: bool,
}

impl<T> Fence<T> {
    /// Of the owner whose `Owner` record lies at this offset, once it has read up to there.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        let expected = epoch + 1;
        Self { epoch, expected, in_flight: VecDeque::new(), behind_gap: None, down: false }
    }

    /// The epoch of its batches.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Batches whose end is not known.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// A batch is on its way.
    pub fn begin(&mut self, batch: T) {
        self.in_flight.push_back(batch);
    }

    /// The oldest batch in flight has this offset; `None` = it failed, or nobody knows. Not to be
    /// called between a gap and its [`Self::bridge`].
    pub fn report(&mut self, offset: Option<u64>) -> Settled<T> {
        match offset {
            _ if self.down || self.behind_gap.is_some() => self.stand_down(),
            Some(offset) if offset == self.expected => self.counts(offset),
            Some(offset) if offset > self.expected => {
                self.behind_gap = Some(offset);
                Settled::Gap { from: self.expected, to: offset }
            }
            Some(_) | None => self.stand_down(),
        }
    }

    /// What lies in the gap, all of it.
    pub fn bridge(&mut self, between: impl IntoIterator<Item = Between>) -> Settled<T> {
        let Some(offset) = self.behind_gap.take() else { return self.stand_down() };
        if between.into_iter().any(|record| record == Between::Owner) {
            return self.stand_down();
        }
        self.counts(offset)
    }

    /// Those whose end is not known, for an owner that gives up.
    pub fn abandon(self) -> impl Iterator<Item = T> {
        self.in_flight.into_iter()
    }

    fn counts(&mut self, offset: u64) -> Settled<T> {
        self.expected = offset + 1;
        self.in_flight.pop_front().map_or_else(|| self.stand_down(), Settled::Counts)
    }

    /// For good: who is assigned again begins with an `Owner` record of its own.
    fn stand_down(&mut self) -> Settled<T> {
        self.down = true;
        self.in_flight.clear();
        Settled::Down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(batches: &[char]) -> Fence<char> {
        let mut fence = Fence::new(10);
        batches.iter().for_each(|batch| fence.begin(*batch));
        fence
    }

    #[test]
    fn contiguous_batches_count_in_order() {
        let mut fence = with(&['a', 'b']);
        assert_eq!((fence.epoch(), fence.in_flight()), (10, 2));
        assert_eq!(fence.report(Some(11)), Settled::Counts('a'));
        assert_eq!(fence.report(Some(12)), Settled::Counts('b'));
        assert_eq!(fence.report(Some(13)), Settled::Down, "nothing was in flight");
    }

    #[test]
    fn late_batches_of_older_epochs_are_stepped_over() {
        let mut fence = with(&['a', 'b']);
        assert_eq!(fence.report(Some(13)), Settled::Gap { from: 11, to: 13 });
        assert_eq!(fence.bridge([Between::Void, Between::Void]), Settled::Counts('a'));
        assert_eq!(fence.report(Some(14)), Settled::Counts('b'));
    }

    #[test]
    fn another_owner_in_the_gap_ends_it_for_good() {
        let mut fence = with(&['a', 'b']);
        assert_eq!(fence.report(Some(13)), Settled::Gap { from: 11, to: 13 });
        assert_eq!(fence.bridge([Between::Void, Between::Owner]), Settled::Down);
        assert_eq!(fence.report(Some(14)), Settled::Down);
        fence.begin('c');
        assert_eq!(fence.report(Some(15)), Settled::Down);
    }

    #[test]
    fn what_is_not_known_or_cannot_be_ends_it() {
        for odd in [None, Some(10), Some(0)] {
            assert_eq!(with(&['a']).report(odd), Settled::Down, "{odd:?}");
        }
        let mut fence = with(&['a', 'b']);
        fence.report(Some(13));
        assert_eq!(fence.report(Some(14)), Settled::Down, "a gap was never looked into");
    }

    #[test]
    fn a_batch_counts_under_the_latest_owner_only() {
        let mut latest = Latest::default();
        assert!(!latest.counts(0));
        latest.owner(4);
        assert!(latest.counts(4) && !latest.counts(0));
        latest.owner(7);
        assert!(latest.counts(7) && !latest.counts(4));
        assert!(Latest::behind(7).counts(7));
    }
}
