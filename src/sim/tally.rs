//! Exact book-keeping of numbered tasks: every number is a bit, so lost and doubled ones are found,
//! not estimated. 50 M numbers take 6 MB a map.

use serde::Serialize;

/// One bit per number.
#[derive(Clone, Debug)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(count: u64) -> Self {
        Self(vec![0; usize::try_from(count / 64 + 1).expect("a bitmap fits into memory")])
    }

    /// Sets a bit; false if it was set.
    fn set(&mut self, number: u64) -> bool {
        let word = usize::try_from(number / 64).ok().and_then(|i| self.0.get_mut(i));
        let Some(word) = word else { return false };
        let mask = 1 << (number % 64);
        let fresh = *word & mask == 0;
        *word |= mask;
        fresh
    }

    fn has(&self, number: u64) -> bool {
        let word = usize::try_from(number / 64).ok().and_then(|i| self.0.get(i));
        word.is_some_and(|word| word >> (number % 64) & 1 == 1)
    }
}

/// What was seen of `0..count`.
#[derive(Clone, Debug)]
pub struct Tally {
    count: u64,
    /// Submit acknowledged.
    acked: Bits,
    /// Submit without a clear answer: may or may not be there.
    doubtful: Bits,
    /// Handed out.
    handed: Bits,
    /// Handed out again.
    doubled: u64,
    /// Handed out, though nobody submitted it.
    unexpected: u64,
    handed_count: u64,
    completed: u64,
    refused: u64,
}

/// The verdict. A run that is not clean has no speed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Books {
    /// Submits acknowledged.
    pub acked: u64,
    /// Submits whose outcome is not known.
    pub doubtful: u64,
    /// Distinct numbers handed out.
    pub handed: u64,
    /// Completions accepted.
    pub completed: u64,
    /// Completions refused.
    pub refused: u64,
    /// Acknowledged, never handed out (counted only when all was drained).
    pub lost: u64,
    /// Handed out more than once.
    pub doubled: u64,
    /// Handed out without having been submitted, or unreadable.
    pub unexpected: u64,
}

impl Books {
    /// Nothing is wrong.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.unexpected == 0 && self.refused == 0
    }
}

impl Tally {
    /// Book-keeping of `0..count`.
    #[must_use]
    pub fn new(count: u64) -> Self {
        let bits = || Bits::new(count);
        Self {
            count,
            acked: bits(),
            doubtful: bits(),
            handed: bits(),
            doubled: 0,
            unexpected: 0,
            handed_count: 0,
            completed: 0,
            refused: 0,
        }
    }

    /// Submits of a range were acknowledged.
    pub fn acked(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.acked.set(number);
        }
    }

    /// Submits of a range have an unknown outcome.
    pub fn doubtful(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.doubtful.set(number);
        }
    }

    /// A task arrived; `None` if its payload is not one of ours.
    pub fn handed(&mut self, number: Option<u64>) {
        let Some(number) = number.filter(|number| *number < self.count) else {
            self.unexpected += 1;
            return;
        };
        if self.handed.set(number) {
            self.handed_count += 1;
        } else {
            self.doubled += 1;
        }
    }

    /// Completions were answered.
    pub fn completed(&mut self, ok: u64, refused: u64) {
        self.completed += ok;
        self.refused += refused;
    }

    /// Distinct numbers handed out so far.
    #[must_use]
    pub fn handed_count(&self) -> u64 {
        self.handed_count
    }

    /// Closes the books. `drained`: everything must have been handed out by now.
    #[must_use]
    pub fn close(&self, drained: bool) -> Books {
        let (mut acked, mut doubtful, mut lost, mut foreign) = (0, 0, 0, 0);
        for number in 0..self.count {
            let (sent, maybe) = (self.acked.has(number), self.doubtful.has(number));
            let seen = self.handed.has(number);
            acked += u64::from(sent);
            doubtful += u64::from(maybe && !sent);
            lost += u64::from(sent && !seen && drained);
            foreign += u64::from(seen && !sent && !maybe);
        }
        Books {
            acked,
            doubtful,
            handed: self.handed_count,
            completed: self.completed,
            refused: self.refused,
            lost,
            doubled: self.doubled,
            unexpected: self.unexpected + foreign,
        }
    }
}
