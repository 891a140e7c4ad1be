//! Postings: the pending tasks that carry one affinity key, in submit order. Exact: a task that
//! leaves its lane leaves its postings, so nothing stale is ever skipped or swept.
//!
//! A posting is an ordered set of sequence numbers in blocks of at most 256 words. A word is an
//! offset from the block's base with two bits that say what it is: a task alone, the first or the
//! last of a run. So a lone task costs 4 B and a run of any length 8 B, plus an eighth of a byte
//! for the block. First, push and pop touch one end; any other number is found by two binary
//! searches. Rejected: a deque of numbers cleaned lazily (8.2 B a posting, and a sweep of a long
//! one is a pause), delta chunks (4.7 B, the same sweep), a bitmap ([`crate::core::bitmap`]: 40 B
//! a posting where a key is rare).

use crate::core::intern::{KeyNumber, Weighed};
use crate::core::map::{self, Map};
use crate::model::id::TaskSeq;
use std::collections::VecDeque;

/// Words of a block.
const WORDS_MAX: usize = 256;
/// Numbers a block can reach from its base.
const SPAN: u64 = 1 << 30;
/// Base of a block in front of all others: far enough down that what follows finds room in it.
const FRONT_STEP: u64 = SPAN / 2;
/// Capacities below are not worth a move to give back.
const SMALL_WORDS: usize = 16;

const OFFSET: u32 = (1 << 30) - 1;
const START: u32 = 1 << 30;
const END: u32 = 1 << 31;

/// Ordered set of sequence numbers.
#[derive(Clone, Debug, Default)]
pub struct Posting {
    /// The smallest member, if there is any: looked at far more often than the blocks.
    first: TaskSeq,
    /// Ascending, none empty; the numbers of one lie before the base of the next.
    blocks: VecDeque<Block>,
}

#[derive(Clone, Debug)]
struct Block {
    base: u64,
    words: Vec<u32>,
}

const _: () = assert!(size_of::<Block>() == 32);

impl Posting {
    /// The smallest member.
    #[must_use]
    pub fn first(&self) -> Option<TaskSeq> {
        (!self.blocks.is_empty()).then_some(self.first)
    }

    /// True without members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Bytes it takes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let words: usize = self.blocks.iter().map(|block| block.words.capacity()).sum();
        self.blocks.capacity() * size_of::<Block>() + words * size_of::<u32>()
    }

    /// Adds `count` consecutive numbers, all greater than every member.
    pub fn push_run(&mut self, first: TaskSeq, count: u64) {
        let (mut at, end) = (first.0, first.0 + count);
        if self.blocks.is_empty() {
            self.first = first;
        }
        while at < end {
            let fits = self.blocks.back().is_some_and(|block| block.takes(at));
            if !fits {
                self.insert_block(self.blocks.len(), at);
            }
            let block = self.blocks.back_mut().expect("just made sure of one");
            let to = end.min(block.base + SPAN);
            block.push(at, to - 1);
            at = to;
        }
    }

    /// Adds a number anywhere; false if it was there.
    pub fn insert(&mut self, seq: TaskSeq) -> bool {
        let at = match self.find(seq.0) {
            Some(at) if seq.0 - self.blocks[at].base < SPAN => at,
            Some(at) => self.insert_block(at + 1, seq.0),
            None => self.insert_block(0, seq.0 - seq.0 % FRONT_STEP),
        };
        if self.blocks[at].words.len() >= WORDS_MAX {
            self.split(at);
            return self.insert(seq);
        }
        let added = self.blocks[at].insert(seq.0);
        self.find_first();
        added
    }

    /// Takes a number out; false if it was not there.
    pub fn remove(&mut self, seq: TaskSeq) -> bool {
        let Some(at) = self.find(seq.0).filter(|at| seq.0 - self.blocks[*at].base < SPAN) else {
            return false;
        };
        if !self.blocks[at].remove(seq.0) {
            return false;
        }
        if self.blocks[at].words.is_empty() {
            self.take_block(at);
        } else if self.blocks[at].words.len() > WORDS_MAX {
            self.split(at);
        } else {
            self.tighten(at);
        }
        self.find_first();
        true
    }

    fn find_first(&mut self) {
        self.first = self.blocks.front().map(Block::first).unwrap_or_default();
    }

    /// The block that holds this number if any does.
    fn find(&self, seq: u64) -> Option<usize> {
        let front = self.blocks.front()?;
        if seq < front.base {
            return None;
        }
        // Most tasks leave at the front.
        if self.blocks.get(1).is_none_or(|second| seq < second.base) {
            return Some(0);
        }
        Some(self.blocks.partition_point(|block| block.base <= seq) - 1)
    }

    fn insert_block(&mut self, at: usize, base: u64) -> usize {
        if self.blocks.is_empty() {
            // Most keys of a job with many hold a single block.
            self.blocks.reserve_exact(1);
        }
        self.blocks.insert(at, Block { base, words: Vec::new() });
        at
    }

    fn take_block(&mut self, at: usize) -> Block {
        let block = self.blocks.remove(at).expect("the caller has seen it");
        let (len, capacity) = (self.blocks.len(), self.blocks.capacity());
        if capacity > SMALL_WORDS && len * 4 < capacity {
            self.blocks.shrink_to(len * 2);
        }
        block
    }

    fn split(&mut self, at: usize) {
        let block = &mut self.blocks[at];
        let half = block.words.len() / 2;
        let cut = half + usize::from(block.words[half] & END != 0);
        let right = block.words.split_off(cut);
        block.words.shrink_to(WORDS_MAX);
        let step = right[0] & OFFSET;
        let base = block.base + u64::from(step);
        let words = right.iter().map(|word| word - step).collect();
        self.blocks.insert(at + 1, Block { base, words });
    }

    /// Gives memory back after a removal: at most half of a block's is unused, and small neighbours
    /// become one.
    fn tighten(&mut self, at: usize) {
        self.join(at);
        let words = &mut self.blocks[at].words;
        if words.capacity() > SMALL_WORDS && words.len() * 2 < words.capacity() {
            words.shrink_to(words.len() + words.len() / 4);
        }
        if let Some(before) = at.checked_sub(1) {
            self.join(before);
        }
    }

    /// Makes one of a small block and the next one.
    fn join(&mut self, at: usize) {
        let block = &self.blocks[at];
        let (base, len) = (block.base, block.words.len());
        if let Some(next) = self.blocks.get(at + 1)
            && len < WORDS_MAX / 4
            && len + next.words.len() <= WORDS_MAX / 2
            && next.last() - base < SPAN
        {
            let step = u32::try_from(next.base - base).expect("the last one is within the span");
            let next = self.take_block(at + 1);
            self.blocks[at].words.reserve_exact(next.words.len());
            self.blocks[at].words.extend(next.words.iter().map(|word| word + step));
        }
    }
}

impl Block {
    fn first(&self) -> TaskSeq {
        TaskSeq(self.base + u64::from(self.words[0] & OFFSET))
    }

    fn last(&self) -> u64 {
        self.base + u64::from(self.words[self.words.len() - 1] & OFFSET)
    }

    fn offset(&self, seq: u64) -> u32 {
        u32::try_from(seq - self.base).expect("the caller looked at the span")
    }

    /// Whether a run that begins here can be pushed.
    fn takes(&self, seq: u64) -> bool {
        let grows = self.words.last().is_some_and(|word| word & END != 0) && self.last() + 1 == seq;
        seq - self.base < SPAN && (grows || self.words.len() + 2 <= WORDS_MAX)
    }

    /// Room for the words of a run. A block grows by an eighth: half empty ones would cost more
    /// than to move them a few times.
    fn make_room(&mut self) {
        if self.words.len() + 2 > self.words.capacity() {
            self.words.reserve_exact(2 + self.words.len() / 8);
        }
    }

    fn push(&mut self, first: u64, last: u64) {
        let (from, to) = (self.offset(first), self.offset(last));
        if let Some(word) = self.words.last_mut()
            && (*word & OFFSET) + 1 == from
        {
            if *word & END != 0 {
                *word = to | END;
                return;
            }
            *word |= START;
            self.make_room();
            self.words.push(to | END);
            return;
        }
        self.make_room();
        if from == to {
            self.words.push(from);
        } else {
            self.words.extend([from | START, to | END]);
        }
    }

    /// Place behind the last word at or before an offset.
    fn behind(&self, offset: u32) -> usize {
        // Most tasks leave at the front.
        if self.words.get(1).is_none_or(|second| second & OFFSET > offset) {
            return usize::from(self.words.first().is_some_and(|word| word & OFFSET <= offset));
        }
        self.words.partition_point(|word| word & OFFSET <= offset)
    }

    fn insert(&mut self, seq: u64) -> bool {
        let offset = self.offset(seq);
        let at = self.behind(offset);
        let before = at.checked_sub(1).map(|before| self.words[before]);
        if before.is_some_and(|word| word & OFFSET == offset || word & START != 0) {
            return false;
        }
        let after = self.words.get(at).copied();
        let joins_before = before.is_some_and(|word| (word & OFFSET) + 1 == offset);
        let joins_after = after.is_some_and(|word| word & OFFSET == offset + 1);
        // What stands for the neighbours and the new one together, in place of the old words.
        let mut from = at;
        let (mut first, mut last) = (offset, offset);
        if joins_before {
            let ends_run = before.is_some_and(|word| word & END != 0);
            from -= 1 + usize::from(ends_run);
            first = self.words[from] & OFFSET;
        }
        let mut to = at;
        if joins_after {
            let begins_run = after.is_some_and(|word| word & START != 0);
            to += 1 + usize::from(begins_run);
            last = self.words[to - 1] & OFFSET;
        }
        self.make_room();
        self.replace(from, to, &[(first, last)]);
        true
    }

    fn remove(&mut self, seq: u64) -> bool {
        let offset = self.offset(seq);
        let Some(at) = self.behind(offset).checked_sub(1) else { return false };
        let word = self.words[at];
        if word & START != 0 {
            let (first, last) = (word & OFFSET, self.words[at + 1] & OFFSET);
            self.replace(at, at + 2, &[(first, offset.wrapping_sub(1)), (offset + 1, last)]);
            return true;
        }
        if word & OFFSET != offset {
            return false;
        }
        if word & END != 0 {
            let first = self.words[at - 1] & OFFSET;
            self.replace(at - 1, at + 1, &[(first, offset - 1)]);
        } else {
            self.words.remove(at);
        }
        true
    }

    /// Puts runs in place of the words `from..to`; a run that ends before it begins is none.
    fn replace(&mut self, from: usize, to: usize, runs: &[(u32, u32)]) {
        let (mut words, mut count) = ([0; 4], 0);
        let mut put = |word| {
            words[count] = word;
            count += 1;
        };
        for (first, last) in runs {
            if last.wrapping_add(1) == *first {
                continue;
            }
            if first == last {
                put(*first);
            } else {
                put(first | START);
                put(last | END);
            }
        }
        self.words.splice(from..to, words.into_iter().take(count));
    }
}

/// The postings of a strand, by key.
#[derive(Clone, Debug)]
pub struct Postings {
    lists: Map<KeyNumber, Posting>,
}

impl Default for Postings {
    fn default() -> Self {
        Self { lists: map::new() }
    }
}

impl Postings {
    /// The smallest number under a key.
    #[must_use]
    pub fn first(&self, key: KeyNumber) -> Option<TaskSeq> {
        self.lists.get(&key)?.first()
    }

    /// Adds consecutive numbers, all greater than every member, under each key.
    pub fn push_run(&mut self, first: TaskSeq, count: u64, keys: &[Weighed]) {
        for (key, _) in keys {
            self.lists.entry(*key).or_default().push_run(first, count);
        }
    }

    /// Adds a number under each key.
    pub fn insert(&mut self, seq: TaskSeq, keys: &[Weighed]) {
        for (key, _) in keys {
            self.lists.entry(*key).or_default().insert(seq);
        }
    }

    /// Takes a number out from under each key; a key without numbers is forgotten.
    pub fn remove(&mut self, seq: TaskSeq, keys: &[Weighed]) {
        for (key, _) in keys {
            let Some(list) = self.lists.get_mut(key) else { continue };
            list.remove(seq);
            if list.is_empty() {
                self.lists.remove(key);
            }
        }
    }

    /// Bytes on the heap; `keys` are all key numbers of the partition.
    pub fn bytes(&self, keys: impl Iterator<Item = KeyNumber>) -> usize {
        let lists: usize = keys.filter_map(|key| self.lists.get(&key)).map(Posting::bytes).sum();
        // A table keeps an eighth of its places free, and a byte of its own for each.
        let places = self.lists.capacity() + self.lists.capacity().div_ceil(7);
        lists + places * (1 + size_of::<(KeyNumber, Posting)>())
    }
}

#[cfg(test)]
#[path = "posting_tests.rs"]
mod tests;
