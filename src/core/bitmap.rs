//! A set of task sequence numbers: ranges while they are dense, bitmaps after disorder, short lists
//! while sparse.
//!
//! Blocks of 4,096 numbers in a deque ordered by block number. First and push touch one end (O(1));
//! an arbitrary number is
//! found by binary search over blocks. A block is one contiguous run (8 B), a sorted list of ≤ 64
//! offsets, or 512 B of bits:
//! 0.13 B a task when dense, ≤ 2 B when sparse. A heap was rejected: 340–569 ns a pop at 50 M
//! against about 10.
//! Source of the idea: Chambi et al., "Better bitmap performance with Roaring bitmaps", with runs
//! kept first-class.

use crate::model::id::TaskSeq;
use std::collections::VecDeque;

const BLOCK_BITS: u32 = 12;
const BLOCK: u16 = 1 << BLOCK_BITS;
const WORDS: usize = BLOCK as usize / 64;
const LIST_MAX: usize = 64;

/// Ordered set of sequence numbers.
#[derive(Clone, Debug, Default)]
pub struct SeqSet {
    blocks: VecDeque<(u64, Block)>,
    len: u64,
}

#[derive(Clone, Debug)]
enum Block {
    /// `from..to`, never empty.
    Run(u16, u16),
    /// Sorted, never empty, at most [`LIST_MAX`].
    List(Vec<u16>),
    /// Bits and their number, never zero.
    Bits(Box<[u64; WORDS]>, u16),
}

const _: () = assert!(size_of::<(u64, Block)>() <= 40);

impl SeqSet {
    /// Number of members.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True without members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The smallest member.
    #[must_use]
    pub fn first(&self) -> Option<TaskSeq> {
        let (number, block) = self.blocks.front()?;
        Some(join(*number, block.first()))
    }

    /// Members smaller than this number; O(blocks before it).
    #[must_use]
    pub fn rank(&self, seq: TaskSeq) -> u64 {
        let (number, offset) = split(seq);
        let before = self.blocks.iter().take_while(|(n, _)| *n < number);
        let whole: u64 = before.map(|(_, block)| u64::from(block.len())).sum();
        let own = self.find(number).ok().map_or(0, |at| self.blocks[at].1.rank(offset));
        whole + u64::from(own)
    }

    /// True for a member.
    #[must_use]
    pub fn contains(&self, seq: TaskSeq) -> bool {
        let (number, offset) = split(seq);
        self.find(number).is_ok_and(|at| self.blocks[at].1.contains(offset))
    }

    /// Adds a number; false if it was there.
    pub fn insert(&mut self, seq: TaskSeq) -> bool {
        let (number, offset) = split(seq);
        let added = match self.find(number) {
            Ok(at) => self.blocks[at].1.insert(offset),
            Err(at) => {
                self.blocks.insert(at, (number, Block::Run(offset, offset + 1)));
                true
            }
        };
        self.len += u64::from(added);
        added
    }

    /// Adds `count` consecutive numbers from `first`, none of which may be a member yet.
    pub fn insert_run(&mut self, first: TaskSeq, count: u64) {
        let end = first.0 + count;
        let mut at = first.0;
        while at < end {
            let (number, from) = split(TaskSeq(at));
            let room = u64::from(BLOCK - from);
            let take = room.min(end - at);
            self.insert_piece(number, from, u16::try_from(take).expect("a piece fits in a block"));
            at += take;
        }
        self.len += count;
    }

    /// Takes a number out; false if it was not there.
    pub fn remove(&mut self, seq: TaskSeq) -> bool {
        let (number, offset) = split(seq);
        let Ok(at) = self.find(number) else { return false };
        match self.blocks[at].1.remove(offset) {
            Removal::Absent => return false,
            Removal::Removed => {}
            Removal::Emptied => {
                self.blocks.remove(at);
            }
        }
        self.len -= 1;
        true
    }

    /// Members in order.
    pub fn iter(&self) -> impl Iterator<Item = TaskSeq> + '_ {
        self.blocks.iter().flat_map(|(number, block)| {
            (0..BLOCK).filter(|o| block.contains(*o)).map(|o| join(*number, o))
        })
    }

    /// Members in order as (first, count) of consecutive ones; where a block is one run, in O(1).
    pub fn runs(&self) -> impl Iterator<Item = (TaskSeq, u64)> + '_ {
        self.blocks.iter().flat_map(|(number, block)| {
            let (run, others) = match block {
                Block::Run(from, to) => (Some((join(*number, *from), u64::from(to - from))), 0),
                Block::List(_) | Block::Bits(..) => (None, BLOCK),
            };
            let others = (0..others).filter(|o| block.contains(*o)).map(|o| (join(*number, o), 1));
            run.into_iter().chain(others)
        })
    }

    fn insert_piece(&mut self, number: u64, from: u16, count: u16) {
        let run = Block::Run(from, from + count);
        match self.find(number) {
            Err(at) => self.blocks.insert(at, (number, run)),
            Ok(at) => {
                let block = &mut self.blocks[at].1;
                if let Block::Run(_, to) = block
                    && *to == from
                {
                    *to = from + count;
                    return;
                }
                for offset in from..from + count {
                    block.insert(offset);
                }
            }
        }
    }

    /// The last block is by far the most frequent answer: tasks arrive in order.
    fn find(&self, number: u64) -> Result<usize, usize> {
        match (self.blocks.back(), self.blocks.front()) {
            (Some((last, _)), _) if *last == number => Ok(self.blocks.len() - 1),
            (Some((last, _)), _) if *last < number => Err(self.blocks.len()),
            (_, Some((first, _))) if *first == number => Ok(0),
            _ => self.blocks.binary_search_by_key(&number, |(n, _)| *n),
        }
    }
}

enum Removal {
    Absent,
    Removed,
    Emptied,
}

impl Block {
    fn first(&self) -> u16 {
        match self {
            Self::Run(from, _) => *from,
            Self::List(list) => list[0],
            Self::Bits(words, _) => {
                let at = words.iter().position(|w| *w != 0).expect("bits are never empty");
                offset_of(at, words[at].trailing_zeros())
            }
        }
    }

    fn len(&self) -> u16 {
        match self {
            Self::Run(from, to) => *to - *from,
            Self::List(list) => u16::try_from(list.len()).expect("at most 64"),
            Self::Bits(_, count) => *count,
        }
    }

    /// Members below an offset.
    fn rank(&self, offset: u16) -> u16 {
        match self {
            Self::Run(from, to) => offset.clamp(*from, *to) - *from,
            Self::List(list) => {
                u16::try_from(list.partition_point(|o| *o < offset)).expect("at most 64")
            }
            Self::Bits(words, _) => {
                let at = usize::from(offset / 64);
                let whole: u32 = words[..at].iter().map(|w| w.count_ones()).sum();
                let rest = (words[at] & ((1u64 << (offset % 64)) - 1)).count_ones();
                u16::try_from(whole + rest).expect("a block has 4,096 offsets")
            }
        }
    }

    fn contains(&self, offset: u16) -> bool {
        match self {
            Self::Run(from, to) => (*from..*to).contains(&offset),
            Self::List(list) => list.binary_search(&offset).is_ok(),
            Self::Bits(words, _) => words[usize::from(offset / 64)] >> (offset % 64) & 1 == 1,
        }
    }

    fn insert(&mut self, offset: u16) -> bool {
        match self {
            Self::Run(from, to) => {
                if (*from..*to).contains(&offset) {
                    return false;
                }
                if offset == *to {
                    *to += 1;
                } else if offset + 1 == *from {
                    *from = offset;
                } else {
                    let mut all: Vec<u16> = (*from..*to).collect();
                    all.push(offset);
                    all.sort_unstable();
                    *self = Self::pack(all);
                }
                true
            }
            Self::List(list) => {
                let Err(at) = list.binary_search(&offset) else { return false };
                list.insert(at, offset);
                if list.len() > LIST_MAX {
                    *self = Self::pack(std::mem::take(list));
                }
                true
            }
            Self::Bits(words, count) => {
                let (word, bit) = (&mut words[usize::from(offset / 64)], 1u64 << (offset % 64));
                let added = *word & bit == 0;
                *word |= bit;
                *count += u16::from(added);
                added
            }
        }
    }

    fn remove(&mut self, offset: u16) -> Removal {
        if !self.contains(offset) {
            return Removal::Absent;
        }
        match self {
            Self::Run(from, to) => {
                if *to - *from == 1 {
                    return Removal::Emptied;
                }
                if offset == *from {
                    *from += 1;
                } else if offset + 1 == *to {
                    *to -= 1;
                } else {
                    *self = Self::pack((*from..*to).filter(|o| *o != offset).collect());
                }
            }
            Self::List(list) => {
                list.retain(|o| *o != offset);
                if list.is_empty() {
                    return Removal::Emptied;
                }
            }
            Self::Bits(words, count) => {
                words[usize::from(offset / 64)] &= !(1u64 << (offset % 64));
                *count -= 1;
                if *count == 0 {
                    return Removal::Emptied;
                }
            }
        }
        Removal::Removed
    }

    fn pack(sorted: Vec<u16>) -> Self {
        if sorted.len() <= LIST_MAX {
            return Self::List(sorted);
        }
        let mut words = Box::new([0u64; WORDS]);
        for offset in &sorted {
            words[usize::from(offset / 64)] |= 1 << (offset % 64);
        }
        Self::Bits(words, u16::try_from(sorted.len()).expect("a block has 4,096 offsets"))
    }
}

fn split(seq: TaskSeq) -> (u64, u16) {
    let offset = seq.0 & u64::from(BLOCK - 1);
    (seq.0 >> BLOCK_BITS, u16::try_from(offset).expect("masked to 12 bits"))
}

fn join(number: u64, offset: u16) -> TaskSeq {
    TaskSeq(number << BLOCK_BITS | u64::from(offset))
}

fn offset_of(word: usize, bit: u32) -> u16 {
    u16::try_from(word * 64 + bit as usize).expect("64 words of 64 bits")
}

#[cfg(test)]
#[path = "bitmap_tests.rs"]
mod tests;
