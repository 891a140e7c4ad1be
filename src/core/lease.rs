//! Leases: the live ones, by number and by worker, and the memory of spent tokens.
//!
//! Every token ever granted stays answerable for `lease.memory`: 7 B a hand-out in chunks of 256
//! numbers. A live lease
//! costs about 100 B more.

use crate::core::intern::WorkerKey;
use crate::core::map::{self, Map};
use crate::core::sip;
use crate::model::id::{Epoch, LeaseNo, PartitionId, TaskSeq};
use crate::model::lease::LeaseToken;
use crate::model::priority::Priority;
use crate::model::report::Budget;
use crate::model::state::TaskState;
use crate::model::time::{Tick, WallMs};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque, btree_set};

const CHUNK: u64 = 256;

/// A live lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// Task.
    pub seq: TaskSeq,
    /// Holder.
    pub worker: WorkerKey,
    /// Attempt.
    pub attempt: u32,
    /// Duration, ms.
    pub lease_ms: u32,
    /// Run limit, ms; 0 = none.
    pub limit_ms: u64,
    /// Priority it was handed out at.
    pub priority: Priority,
    /// Level whose virtual time was charged.
    pub served: Priority,
    /// Tasks in the same answer, for the run time.
    pub batch: u32,
    /// Fair-share cost charged at hand-out, µs.
    pub charged_us: u64,
    /// Started.
    pub started: bool,
    /// Handed out.
    pub allocated: WallMs,
    /// Started at, else handed out at.
    pub running: WallMs,
    /// Ends then; re-armed after a restart.
    #[serde(skip)]
    pub ends: Tick,
    /// Longest run ends then; `None` = no limit.
    #[serde(skip)]
    pub limit: Option<Tick>,
}

/// What became of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Fate {
    /// It acts.
    Live = 0,
    /// An accepted `complete`.
    Completed = 1,
    /// An accepted `fail`.
    Failed = 2,
    /// An accepted `release`; given back otherwise or dead of its lease, when there is no answer to
    /// repeat.
    Released = 3,
    /// Expired or timed out; a late completion may still be accepted.
    Lapsed = 4,
    /// Its task was cancelled while leased.
    Cancelled = 5,
}

/// A remembered token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Task.
    pub seq: TaskSeq,
    /// Fate.
    pub fate: Fate,
    /// Attempt (saturates at 65,535).
    pub attempt: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Chunk {
    /// Low halves of the sequence numbers.
    seqs: Vec<u32>,
    fates: Vec<Fate>,
    attempts: Vec<u16>,
    live: u16,
    /// Latest change of a fate.
    changed: WallMs,
}

/// What a repeated `fail` or `release` is told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// State after the accepted call.
    pub state: TaskState,
    /// When it may run again.
    pub at: WallMs,
    /// Errors, crashes, budget of errors.
    pub budget: (u8, u8, u8),
}

impl Answer {
    /// As shown.
    #[must_use]
    pub fn budget(&self) -> Budget {
        let (errors, crashes, max_attempts) = self.budget;
        Budget { at_ts: self.at, errors, crashes, max_attempts }
    }
}

/// All leases of a partition.
#[derive(Clone, Debug)]
pub struct LeaseTable {
    live: Map<LeaseNo, Live>,
    /// By worker, length (ms) and number: the first of a worker is its shortest.
    by_worker: BTreeSet<(WorkerKey, u32, LeaseNo)>,
    memory: VecDeque<Chunk>,
    /// Number of the first lease of the first chunk.
    base: u64,
    next: LeaseNo,
    answers: Map<LeaseNo, Answer>,
    answered: VecDeque<(WallMs, LeaseNo)>,
    /// Cancelled while leased: until when the worker, if it beats without a list, is told.
    cancelled: BTreeMap<(WorkerKey, LeaseNo), WallMs>,
    /// The same in order of the cancels, to forget them.
    cancels: VecDeque<(WallMs, WorkerKey, LeaseNo)>,
    keys: Vec<TokenKey>,
}

/// What the tokens of an epoch are made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct TokenKey {
    epoch: Epoch,
    secret: [u64; 2],
    /// First lease granted in it.
    first: LeaseNo,
}

impl Default for LeaseTable {
    fn default() -> Self {
        Self {
            live: map::new(),
            by_worker: BTreeSet::new(),
            memory: VecDeque::new(),
            base: 0,
            next: LeaseNo(0),
            answers: map::new(),
            answered: VecDeque::new(),
            cancelled: BTreeMap::new(),
            cancels: VecDeque::new(),
            keys: Vec::new(),
        }
    }
}

/// Columns of the table for an image.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LeaseColumns {
    live: Vec<(LeaseNo, Live)>,
    memory: VecDeque<Chunk>,
    base: u64,
    next: LeaseNo,
    answers: Vec<(WallMs, LeaseNo, Answer)>,
    cancelled: BTreeMap<(WorkerKey, LeaseNo), WallMs>,
    cancels: VecDeque<(WallMs, WorkerKey, LeaseNo)>,
    keys: Vec<TokenKey>,
}

impl LeaseTable {
    /// Number of the next hand-out.
    #[must_use]
    pub fn next(&self) -> LeaseNo {
        self.next
    }

    /// Live leases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// True without live leases.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Grants the next lease.
    pub fn grant(&mut self, lease: Live) -> LeaseNo {
        let number = self.next;
        self.next.0 += 1;
        if number.0 >= self.base + self.memory.len() as u64 * CHUNK {
            self.memory.push_back(Chunk::default());
        }
        let chunk = self.memory.back_mut().expect("just made sure of one");
        chunk.seqs.push((lease.seq.0 & u64::from(u32::MAX)).try_into().expect("masked"));
        chunk.fates.push(Fate::Live);
        chunk.attempts.push(u16::try_from(lease.attempt).unwrap_or(u16::MAX));
        chunk.live += 1;
        self.by_worker.insert((lease.worker, lease.lease_ms, number));
        self.live.insert(number, lease);
        number
    }

    /// A live lease.
    #[must_use]
    pub fn get(&self, number: LeaseNo) -> Option<&Live> {
        self.live.get(&number)
    }

    /// A live lease, to renew or start it.
    pub fn get_mut(&mut self, number: LeaseNo) -> Option<&mut Live> {
        self.live.get_mut(&number)
    }

    /// Ends a live lease.
    pub fn end(&mut self, number: LeaseNo, fate: Fate, at: WallMs) -> Option<Live> {
        let lease = self.live.remove(&number)?;
        self.by_worker.remove(&(lease.worker, lease.lease_ms, number));
        self.set_fate(number, fate, at);
        if fate == Fate::Cancelled {
            // Without a beat the worker gives up by itself when the lease is over.
            self.cancelled.insert((lease.worker, number), at.plus(u64::from(lease.lease_ms)));
            self.cancels.push_back((at, lease.worker, number));
        }
        Some(lease)
    }

    /// Changes the fate of a remembered token (a lapsed one that completed late).
    pub fn set_fate(&mut self, number: LeaseNo, fate: Fate, at: WallMs) {
        let Some((chunk, offset)) = self.slot(number) else { return };
        let chunk = &mut self.memory[chunk];
        chunk.live -= u16::from(chunk.fates[offset] == Fate::Live && fate != Fate::Live);
        chunk.fates[offset] = fate;
        chunk.changed = at;
    }

    /// Keeps what a repeat of an accepted call is told.
    pub fn remember_answer(&mut self, number: LeaseNo, answer: Answer, at: WallMs) {
        self.answers.insert(number, answer);
        self.answered.push_back((at, number));
    }

    /// What the accepted call was told.
    #[must_use]
    pub fn answer(&self, number: LeaseNo) -> Option<Answer> {
        self.answers.get(&number).copied()
    }

    /// A token's memory, while it lasts. `newest` bounds the sequence numbers in use.
    #[must_use]
    pub fn remembered(&self, number: LeaseNo, newest: TaskSeq) -> Option<Remembered> {
        let (chunk, offset) = self.slot(number)?;
        let chunk = &self.memory[chunk];
        let low = u64::from(*chunk.seqs.get(offset)?);
        let mut seq = newest.0 & !u64::from(u32::MAX) | low;
        if seq > newest.0 {
            seq = seq.wrapping_sub(1 << 32);
        }
        let attempt = u32::from(chunk.attempts[offset]);
        Some(Remembered { seq: TaskSeq(seq), fate: chunk.fates[offset], attempt })
    }

    /// Forgets what is older than `memory_ms`.
    pub fn forget(&mut self, now: WallMs, memory_ms: u64) {
        while let Some(chunk) = self.memory.front() {
            let full = chunk.seqs.len() as u64 == CHUNK;
            if !full || chunk.live > 0 || now.since(chunk.changed) <= memory_ms {
                break;
            }
            self.memory.pop_front();
            self.base += CHUNK;
        }
        while let Some((at, number)) = self.answered.front() {
            if now.since(*at) <= memory_ms {
                break;
            }
            self.answers.remove(number);
            self.answered.pop_front();
        }
        while let Some((at, worker, number)) = self.cancels.front() {
            if now.since(*at) <= memory_ms {
                break;
            }
            self.cancelled.remove(&(*worker, *number));
            self.cancels.pop_front();
        }
    }

    /// Leases of a worker that were cancelled so lately that it may still work on them.
    pub fn cancelled_of(
        &self,
        worker: WorkerKey,
        now: WallMs,
    ) -> impl Iterator<Item = LeaseNo> + '_ {
        let all = (worker, LeaseNo(0))..=(worker, LeaseNo(u64::MAX));
        self.cancelled.range(all).filter(move |(_, until)| now <= **until).map(|((_, n), _)| *n)
    }

    /// Live leases of a worker, oldest first.
    #[must_use]
    pub fn of_worker(&self, worker: WorkerKey) -> Vec<LeaseNo> {
        let mut numbers: Vec<_> = self.range_of(worker).map(|(_, _, number)| *number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Shortest live lease of a worker, ms.
    #[must_use]
    pub fn shortest_of(&self, worker: WorkerKey) -> Option<u32> {
        self.range_of(worker).next().map(|(_, lease_ms, _)| *lease_ms)
    }

    fn range_of(&self, worker: WorkerKey) -> btree_set::Range<'_, (WorkerKey, u32, LeaseNo)> {
        self.by_worker.range((worker, 0, LeaseNo(0))..=(worker, u32::MAX, LeaseNo(u64::MAX)))
    }

    /// Every live lease, by worker, length and number.
    pub fn iter(&self) -> impl Iterator<Item = (LeaseNo, &Live)> + '_ {
        self.by_worker.iter().filter_map(|(_, _, n)| self.live.get(n).map(|lease| (*n, lease)))
    }

    /// Adds the token key of a new epoch.
    pub fn add_key(&mut self, epoch: Epoch, key: [u64; 2]) {
        self.keys.retain(|known| known.epoch != epoch);
        self.keys.push(TokenKey { epoch, secret: key, first: self.next });
    }

    /// The latest epoch and its key.
    #[must_use]
    pub fn latest_key(&self) -> Option<(Epoch, [u64; 2])> {
        self.keys.last().map(|key| (key.epoch, key.secret))
    }

    /// Key of the first epoch.
    #[must_use]
    pub fn first_key(&self) -> [u64; 2] {
        self.keys.first().map(|key| key.secret).unwrap_or_default()
    }

    /// The token of a lease, as it was given out.
    #[must_use]
    pub fn token(&self, partition: PartitionId, number: LeaseNo) -> LeaseToken {
        let key = self.keys.iter().rfind(|key| key.first <= number);
        let TokenKey { epoch, secret, .. } = key.copied().unwrap_or_default();
        LeaseToken { partition, epoch, number, secret: keyed_hash(secret, number.0, partition.0) }
    }

    /// Did this partition grant exactly this token?
    #[must_use]
    pub fn genuine(&self, token: &LeaseToken) -> bool {
        self.keys.iter().any(|key| {
            key.epoch == token.epoch
                && token.secret == keyed_hash(key.secret, token.number.0, token.partition.0)
        })
    }

    /// Columns for an image.
    #[must_use]
    pub fn columns(&self) -> LeaseColumns {
        let answer = |(at, n): &(WallMs, LeaseNo)| self.answers.get(n).map(|a| (*at, *n, *a));
        LeaseColumns {
            live: self.iter().map(|(number, lease)| (number, lease.clone())).collect(),
            memory: self.memory.clone(),
            base: self.base,
            next: self.next,
            answers: self.answered.iter().filter_map(answer).collect(),
            cancelled: self.cancelled.clone(),
            cancels: self.cancels.clone(),
            keys: self.keys.clone(),
        }
    }

    /// Rebuilds from columns; deadlines are armed by the caller.
    #[must_use]
    pub fn restore(columns: LeaseColumns) -> Self {
        let mut table = Self {
            memory: columns.memory,
            base: columns.base,
            next: columns.next,
            cancelled: columns.cancelled,
            cancels: columns.cancels,
            keys: columns.keys,
            ..Self::default()
        };
        for (number, lease) in columns.live {
            table.by_worker.insert((lease.worker, lease.lease_ms, number));
            table.live.insert(number, lease);
        }
        for (at, number, answer) in columns.answers {
            table.remember_answer(number, answer, at);
        }
        table
    }

    fn slot(&self, number: LeaseNo) -> Option<(usize, usize)> {
        let ahead = number.0.checked_sub(self.base)?;
        let chunk = usize::try_from(ahead / CHUNK).ok()?;
        let offset = usize::try_from(ahead % CHUNK).ok()?;
        (self.memory.get(chunk)?.seqs.len() > offset).then_some((chunk, offset))
    }
}

/// SipHash-2-4 of (number, partition): unguessable without the key of the epoch.
fn keyed_hash(key: [u64; 2], number: u64, partition: u16) -> u64 {
    let mut v = sip::begin(key);
    for word in [number, u64::from(partition), 16 << 56] {
        sip::absorb(&mut v, word);
    }
    v[2] ^= 0xff;
    for _ in 0..4 {
        sip::round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}
