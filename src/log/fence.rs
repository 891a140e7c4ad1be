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
//! Batches are numbered in their epoch. A producer that gives one up may still send the next, which
//! rests on it: behind a hole nothing of that epoch counts, and nobody was told of it.
//! Explored exhaustively in `verify/`, which runs this code.
//!
//! Must not: know what a batch holds, or do I/O.

use std::collections::VecDeque;

/// Which batches count: those of the latest `Owner` record before them (rule 5 of the log), one
/// after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Latest {
    epoch: Option<u64>,
    /// Number of the next of its batches.
    next: u64,
}

impl Latest {
    /// Of a reader that begins behind a batch that counts; that of the `Owner` has the number 0.
    #[must_use]
    pub fn behind(epoch: u64, number: u64) -> Self {
        Self { epoch: Some(epoch), next: number + 1 }
    }

    /// An `Owner` record at this offset: its offset is the epoch.
    pub fn owner(&mut self, offset: u64) {
        *self = Self::behind(offset, 0);
    }

    /// Is this the epoch in force?
    #[must_use]
    pub fn is(self, epoch: u64) -> bool {
        self.epoch == Some(epoch)
    }

    /// Does a batch with this number count? If so, the next one is due.
    pub fn counts(&mut self, epoch: u64, number: u64) -> bool {
        let counts = self.is(epoch) && number == self.next;
        self.next += u64::from(counts);
        counts
    }

    /// The owner itself was told that the next one counts: its reports come in order, and with one
    /// that fails it stands down.
    pub fn reported(&mut self) {
        self.next += 1;
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
    /// Number of the next batch that is begun.
    number: u64,
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
        let (in_flight, behind_gap) = (VecDeque::new(), None);
        Self { epoch, expected, number: 1, in_flight, behind_gap, down: false }
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

    /// The number that the next batch is sent with.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The batch with the next number is on its way.
    pub fn begin(&mut self, batch: T) {
        self.number += 1;
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
        assert!(!latest.counts(0, 0));
        latest.owner(4);
        assert!(latest.counts(4, 1) && !latest.counts(0, 2));
        latest.owner(7);
        assert!(latest.counts(7, 1) && !latest.counts(4, 2));
        assert!(latest.is(7) && !latest.is(4));
        assert!(Latest::behind(7, 0).counts(7, 1));
    }

    #[test]
    fn behind_a_hole_nothing_of_the_epoch_counts() {
        let mut latest = Latest::behind(7, 3);
        assert!(latest.counts(7, 4) && !latest.counts(7, 4), "once");
        assert!(!latest.counts(7, 6) && !latest.counts(7, 7));
        assert!(latest.counts(7, 5), "it was late");
        let mut fence = with(&['a', 'b']);
        assert_eq!(fence.number(), 3);
        fence.begin('c');
        assert_eq!(fence.number(), 4);
    }
}
