//! Parked consumes: in the order of their waiting, by worker, and under the keys they are warm for.
//!
//! A consume names its keys when it parks. What its worker has learned a partition adds when it
//! first has work with keys to offer, once for each parking. Must not: look through all that are
//! parked to find one.

use crate::core::fresh::ReadyWork;
use crate::core::map::{self, Map};
use crate::model::access::Scopes;
use crate::model::id::{Name, PartitionId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;

use super::Wake;

/// Parked consumes looked at for one key, longest waiting first: one that fits better but waits
/// shorter than so many others with the same key is not seen.
const LOOK_MAX: usize = 256;

/// What a consume waits for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) key: (Name, Option<Name>),
    pub(crate) levels: u16,
    pub(crate) max: usize,
    /// Jobs allowed; empty = all.
    pub(crate) jobs: Vec<Name>,
    /// Jobs its caller may touch.
    pub(crate) scopes: Scopes,
    /// Keys it is warm for; `None` = it does not care.
    pub(crate) warm: Option<Vec<Name>>,
}

impl Wish {
    /// Takes only some jobs: nobody knows whether an offer without a job is for it.
    pub(super) fn choosy(&self) -> bool {
        !self.jobs.is_empty() || !self.scopes.everything()
    }

    fn takes(&self, work: &ReadyWork) -> bool {
        let job = &work.job;
        self.levels >> work.level.index() & 1 != 0
            && (self.jobs.is_empty() || self.jobs.contains(job))
            && self.scopes.cover(job)
    }
}

pub(super) struct Parked {
    pub(super) wish: Wish,
    pub(super) wake: oneshot::Sender<Wake>,
    /// Its number among all parkings; another than its place when it came back to that.
    arrival: u64,
}

pub(super) struct Places {
    parked: BTreeMap<u64, Parked>,
    by_worker: Map<(Name, Option<Name>), u64>,
    by_key: Map<Name, BTreeSet<u64>>,
    /// Places of those that care for keys, by arrival.
    arrivals: BTreeMap<u64, u64>,
    /// Arrivals that each partition has added its learned keys to.
    told: Vec<u64>,
    arrived: u64,
    next: u64,
}

impl Places {
    pub(super) fn new(partitions: usize) -> Self {
        Self {
            parked: BTreeMap::new(),
            by_worker: map::new(),
            by_key: map::new(),
            arrivals: BTreeMap::new(),
            told: vec![0; partitions],
            arrived: 0,
            next: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.parked.len()
    }

    /// Number of the next place.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Parks at a place, or at the next one. The place and who had to leave it; `None` = meanwhile
    /// a newer consume of the same worker took its place.
    pub(super) fn park(
        &mut self,
        wish: Wish,
        wake: oneshot::Sender<Wake>,
        old: Option<u64>,
    ) -> Option<(u64, Option<Parked>)> {
        let number = old.unwrap_or(self.next);
        self.next = self.next.max(number + 1);
        let before = self.by_worker.get(&wish.key).copied().filter(|n| *n != number);
        if before.is_some_and(|newer| newer > number) {
            return None;
        }
        self.by_worker.insert(wish.key.clone(), number);
        let displaced = before.and_then(|n| self.take(n));
        self.arrived += 1;
        let arrival = self.arrived;
        if let Some(warm) = &wish.warm {
            self.arrivals.insert(arrival, number);
            for key in warm {
                self.by_key.entry(key.clone()).or_default().insert(number);
            }
        }
        self.parked.insert(number, Parked { wish, wake, arrival });
        Some((number, displaced))
    }

    /// Takes a consume out of its place.
    pub(super) fn take(&mut self, number: u64) -> Option<Parked> {
        let parked = self.parked.remove(&number)?;
        self.arrivals.remove(&parked.arrival);
        for key in parked.wish.warm.iter().flatten() {
            let Some(places) = self.by_key.get_mut(key) else { continue };
            places.remove(&number);
            if places.is_empty() {
                self.by_key.remove(key);
            }
        }
        Some(parked)
    }

    /// The consume at this place has ended.
    pub(super) fn leave(&mut self, number: u64, key: &(Name, Option<Name>)) {
        self.take(number);
        if self.by_worker.get(key) == Some(&number) {
            self.by_worker.remove(key);
        }
    }

    /// Takes out all of a worker.
    pub(super) fn take_worker(&mut self, worker: &str) -> Vec<Parked> {
        let of_worker = |parked: &Parked| &*parked.wish.key.0 == worker;
        let numbers: Vec<u64> =
            self.parked.iter().filter(|(_, p)| of_worker(p)).map(|(n, _)| *n).collect();
        numbers.into_iter().filter_map(|number| self.take(number)).collect()
    }

    /// Takes out everybody.
    pub(super) fn take_all(&mut self) -> Vec<Parked> {
        let numbers: Vec<u64> = self.parked.keys().copied().collect();
        numbers.into_iter().filter_map(|number| self.take(number)).collect()
    }

    /// Adds what the workers of those who came since the last call have learned in a partition.
    pub(super) fn learn(&mut self, partition: PartitionId, learned: impl Fn(&Name) -> Vec<Name>) {
        let told = std::mem::replace(&mut self.told[partition.index()], self.arrived);
        for number in self.arrivals.range(told + 1..).map(|(_, number)| number) {
            let Some(parked) = self.parked.get_mut(number) else { continue };
            for key in learned(&parked.wish.key.0) {
                let places = self.by_key.entry(key.clone()).or_default();
                if places.insert(*number) {
                    parked.wish.warm.get_or_insert_default().push(key);
                }
            }
        }
    }

    /// Places of the consumes that score for this work: best first, longest waiting of equals.
    pub(super) fn warm_for(&self, work: &ReadyWork) -> Vec<u64> {
        let under = |key: &Name| self.by_key.get(key);
        let score = |number: u64| {
            let holds = |key: &Name| under(key).is_some_and(|places| places.contains(&number));
            let warm = work.keys.iter().filter(|(key, _)| holds(key));
            warm.map(|(_, weight)| u32::from(*weight)).sum::<u32>()
        };
        let takes = |number: &u64| self.parked.get(number).is_some_and(|p| p.wish.takes(work));
        let places = work.keys.iter().filter_map(|(key, _)| under(key));
        let seen = places.flat_map(|places| places.iter().copied().take(LOOK_MAX)).filter(takes);
        let mut scored: Vec<_> = seen.map(|number| (Reverse(score(number)), number)).collect();
        scored.sort_unstable();
        scored.dedup();
        scored.into_iter().map(|(_, number)| number).collect()
    }

    /// Tasks that a consume at this place asks for.
    pub(super) fn share(&self, number: u64) -> u64 {
        self.parked.get(&number).map_or(0, |parked| parked.wish.max as u64)
    }

    /// Distinct keys somebody is warm for.
    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.by_key.len()
    }

    /// Places of those that take any job, on these levels, longest waiting first.
    pub(super) fn open(&self, levels: u16) -> impl Iterator<Item = u64> + '_ {
        let open = move |p: &Parked| !p.wish.choosy() && p.wish.levels & levels != 0;
        self.parked.iter().filter(move |(_, p)| open(p)).map(|(number, _)| *number)
    }

    /// First place from this one on of a consume that takes only some jobs.
    pub(super) fn choosy(&self, levels: u16, from: u64) -> Option<u64> {
        let mut here = self.parked.range(from..);
        here.find(|(_, p)| p.wish.choosy() && p.wish.levels & levels != 0).map(|(n, _)| *n)
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
