//! Soft affinity: which task of a lane suits a worker best, and what workers have learned.
//!
//! Keys and sets of keys are small numbers, part of a task's class, so they are in the image. What
//! a worker learned is a hint: it is in no record, no image and no state hash, and may be lost.

use crate::core::intern::{Class, Interner, JobKey, KeyNumber, KeySet, Weighed, WorkerKey};
use crate::core::lanes::Lane;
use crate::core::partition::Partition;
use crate::model::affinity::{AffinityKey, AffinityMode, Fit};
use crate::model::command::Consume;
use crate::model::id::{Name, TaskSeq};
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::time::Tick;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How often the workers that fell silent are looked for, ms.
const SWEEP_MS: u64 = 1_000;

/// Affinity keys of a partition and the sets of them that its tasks carry.
#[derive(Clone, Debug)]
pub struct Keys {
    keys: Interner<Name>,
    sets: Interner<Vec<Weighed>>,
    /// Sum of the weights of the heaviest set: a task that scores so much cannot be beaten.
    heaviest: u32,
    /// Whether tasks stand under their keys in the lanes.
    on: bool,
}

/// Columns of [`Keys`] for an image.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct KeyColumns {
    keys: Vec<Name>,
    sets: Vec<Vec<Weighed>>,
}

impl Keys {
    /// The number of the set of a task's keys, a new one at first sight.
    pub fn set(&mut self, keys: &[AffinityKey]) -> KeySet {
        if keys.is_empty() {
            return KeySet::default();
        }
        let mut set: Vec<Weighed> = Vec::with_capacity(keys.len());
        for key in keys {
            let number = KeyNumber(self.keys.number(&key.key));
            if set.iter().all(|(known, _)| *known != number) {
                set.push((number, key.weight));
            }
        }
        self.heaviest = self.heaviest.max(weight(&set));
        KeySet(self.sets.number(&set))
    }

    /// The keys of a set with their weights.
    #[must_use]
    pub fn of(&self, set: KeySet) -> &[Weighed] {
        self.sets.value(set.0)
    }

    /// The keys of a set by name.
    #[must_use]
    pub fn named(&self, set: KeySet) -> Vec<(Name, u8)> {
        self.of(set).iter().map(|(key, weight)| (self.name(*key).clone(), *weight)).collect()
    }

    /// The name of a key.
    #[must_use]
    pub fn name(&self, key: KeyNumber) -> &Name {
        self.keys.value(key.0)
    }

    /// Those of its keys under which a task stands in its lane: all, or none with affinity off.
    #[must_use]
    pub fn posted(&self, set: KeySet) -> &[Weighed] {
        if self.on { self.of(set) } else { &[] }
    }

    /// The number of a key that some task carried.
    #[must_use]
    pub fn known(&self, key: &Name) -> Option<KeyNumber> {
        self.keys.known(key).map(KeyNumber)
    }

    /// Number of keys.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.keys.values().len()).expect("keys are numbered in 32 bits")
    }

    /// Columns for an image.
    #[must_use]
    pub fn columns(&self) -> KeyColumns {
        let (keys, sets) = (self.keys.values().to_vec(), self.sets.values().to_vec());
        KeyColumns { keys, sets }
    }

    /// Rebuilds from columns; `on` = affinity is.
    #[must_use]
    pub fn restore(columns: KeyColumns, on: bool) -> Self {
        let heaviest = columns.sets.iter().map(|set| weight(set)).max().unwrap_or(0);
        let mut sets = Interner::restore(columns.sets);
        // The empty set is number 0.
        sets.number(&Vec::new());
        Self { keys: Interner::restore(columns.keys), sets, heaviest, on }
    }
}

fn weight(set: &[Weighed]) -> u32 {
    set.iter().map(|(_, weight)| u32::from(*weight)).sum()
}

/// Keys of the tasks that workers completed here lately.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    workers: BTreeMap<WorkerKey, Recent>,
    swept: Tick,
}

#[derive(Clone, Debug)]
struct Recent {
    /// Distinct, latest last.
    keys: Vec<KeyNumber>,
    seen: Tick,
}

impl Learned {
    /// Notes the keys of a task that a worker completed; the `most` latest are kept. Beyond
    /// [`limits::LEARNED_WORKERS_MAX`] workers a new one learns nothing.
    pub fn note(&mut self, worker: WorkerKey, keys: &[Weighed], most: usize, now: Tick) {
        let known = self.workers.contains_key(&worker);
        if most == 0 || keys.is_empty() || !known && self.full() {
            return;
        }
        let recent = self.workers.entry(worker);
        let recent = recent.or_insert_with(|| Recent { keys: Vec::new(), seen: now });
        recent.seen = now;
        for (key, _) in keys {
            if recent.keys.last() == Some(key) {
                continue;
            }
            recent.keys.retain(|known| known != key);
            recent.keys.push(*key);
        }
        let over = recent.keys.len().saturating_sub(most);
        recent.keys.drain(..over);
    }

    /// A sign of life.
    pub fn seen(&mut self, worker: WorkerKey, now: Tick, forget_ms: u64) {
        if let Some(recent) = self.workers.get_mut(&worker) {
            if now.since(recent.seen) > forget_ms {
                recent.keys.clear();
            }
            recent.seen = now;
        }
    }

    /// What a worker has learned, oldest first.
    #[must_use]
    pub fn of(&self, worker: WorkerKey) -> &[KeyNumber] {
        self.workers.get(&worker).map_or(&[], |recent| &recent.keys)
    }

    /// Forgets one worker.
    pub fn forget(&mut self, worker: WorkerKey) {
        self.workers.remove(&worker);
    }

    /// Forgets who was silent for long, at most once a second.
    pub fn sweep(&mut self, now: Tick, forget_ms: u64) {
        if now.since(self.swept) >= SWEEP_MS {
            self.swept = now;
            self.workers.retain(|_, recent| now.since(recent.seen) <= forget_ms);
        }
    }

    fn full(&self) -> bool {
        self.workers.len() >= limits::LEARNED_WORKERS_MAX
    }
}

/// What a worker holds, as one partition sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warm {
    /// Ascending; keys that no task here ever carried are not among them.
    keys: Vec<KeyNumber>,
    /// Whether it holds any key at all.
    any: bool,
    /// What is known of the lane this answer was last served from.
    seen: Option<Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    place: (JobKey, Priority),
    /// Oldest task under each key of the warm set.
    oldest: Vec<Option<TaskSeq>>,
}

impl Warm {
    /// Sum of the weights of the keys in both.
    fn score(&self, set: &[Weighed]) -> u32 {
        let warm = |key: &KeyNumber| self.keys.binary_search(key).is_ok();
        set.iter().filter(|(key, _)| warm(key)).map(|(_, weight)| u32::from(*weight)).sum()
    }
}

impl Partition {
    /// The warm set of a consume: the keys it names and those its worker has learned here.
    pub(crate) fn warm(&mut self, consume: &Consume) -> Warm {
        if !self.policy.affinity_on() {
            return Warm::default();
        }
        let (now, forget_ms) = (self.now.tick, self.policy.worker_forget_ms);
        self.learned.sweep(now, forget_ms);
        let worker = self.workers.known(&consume.worker).map(WorkerKey);
        let learned = match worker {
            Some(worker) => {
                self.learned.seen(worker, now, forget_ms);
                self.learned.of(worker)
            }
            None => &[],
        };
        let named = consume.warm.iter().filter_map(|key| self.keys.known(key));
        let mut keys: Vec<KeyNumber> = named.chain(learned.iter().copied()).collect();
        keys.sort_unstable();
        keys.dedup();
        Warm { keys, any: !consume.warm.is_empty() || !learned.is_empty(), seen: None }
    }

    /// The task of a lane that a worker gets: of the oldest ones under each warm key the one with
    /// the highest score, the older one of equals; the head when none fits or its turn has come.
    pub(crate) fn choose(
        &self,
        place: (JobKey, Priority),
        warm: &mut Warm,
        mode: AffinityMode,
    ) -> Option<TaskSeq> {
        let lane = self.lane(place);
        let head_is_due = lane.since_head.saturating_add(1) >= self.policy.head_every;
        if head_is_due || mode == AffinityMode::Any {
            return lane.head();
        }
        if warm.seen.as_ref().is_none_or(|seen| seen.place != place) {
            let oldest = warm.keys.iter().map(|key| lane.oldest_with(*key)).collect();
            warm.seen = Some(Seen { place, oldest });
        }
        let oldest = warm.seen.iter().flat_map(|seen| &seen.oldest).flatten();
        let Some(first) = oldest.clone().min().copied() else { return lane.head() };
        let mut best = (self.score(first, warm), first);
        // To look a task up costs more than to find it: where keys weigh the same, once is enough.
        if best.0 < self.keys.heaviest {
            let mut candidates: Vec<TaskSeq> = oldest.copied().collect();
            candidates.sort_unstable();
            candidates.dedup();
            for seq in candidates {
                let score = self.score(seq, warm);
                if score > best.0 {
                    best = (score, seq);
                }
                if score == self.keys.heaviest {
                    break;
                }
            }
        }
        Some(best.1)
    }

    /// A task was handed out in this answer: what is remembered of its lane moves on.
    pub(crate) fn handed_out(&self, seq: TaskSeq, warm: &mut Warm) {
        let Some(Seen { place, oldest }) = &mut warm.seen else { return };
        let lane = self.lane(*place);
        for (oldest, key) in oldest.iter_mut().zip(&warm.keys) {
            if *oldest == Some(seq) {
                *oldest = lane.oldest_with(*key);
            }
        }
    }

    fn lane(&self, (job, priority): (JobKey, Priority)) -> &Lane {
        &self.job(job).lanes[priority.index()]
    }

    fn score(&self, seq: TaskSeq, warm: &Warm) -> u32 {
        let class = self.class(seq).expect("a pending task keeps its class");
        warm.score(self.keys.of(class.keys))
    }

    /// How a task of this class fits a worker, however it was chosen.
    pub(crate) fn fit(&self, class: &Class, warm: &Warm) -> Fit {
        let set = self.keys.of(class.keys);
        if !warm.any || set.is_empty() {
            Fit::None
        } else if warm.score(set) > 0 {
            Fit::Hit
        } else {
            Fit::Miss
        }
    }

    /// Counts a hand-out and whether it was the head of its lane, which is about to be taken.
    pub(crate) fn count_fit(&mut self, class: &Class, level: usize, seq: TaskSeq, fit: Fit) {
        self.stats.fits[fit as usize] += 1;
        let job = self.job_mut(class.job);
        job.numbers.hits += u64::from(fit == Fit::Hit);
        job.numbers.misses += u64::from(fit == Fit::Miss);
        let lane = &mut job.lanes[level];
        let head = lane.head() == Some(seq);
        lane.since_head = if head { 0 } else { lane.since_head.saturating_add(1) };
    }

    /// A worker completed a task of this class.
    pub(crate) fn learn(&mut self, worker: WorkerKey, class: &Class) {
        // In replay nobody is there yet to profit.
        if self.armed && self.policy.affinity_on() {
            let keys = self.keys.of(class.keys);
            self.learned.note(worker, keys, self.policy.learned_keys, self.now.tick);
        }
    }

    /// A call of a worker, which keeps what it has learned.
    pub(crate) fn alive(&mut self, worker: WorkerKey) {
        self.learned.seen(worker, self.now.tick, self.policy.worker_forget_ms);
    }

    /// Bytes of all postings, for measurements: O(lanes × keys).
    #[must_use]
    pub fn posting_bytes(&self) -> usize {
        let lanes = self.jobs.iter().flat_map(|job| &job.lanes);
        lanes.map(|lane| lane.posting_bytes(self.keys.count())).sum()
    }
}

#[cfg(test)]
#[path = "affinity_tests.rs"]
mod tests;
