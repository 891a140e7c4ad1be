//! Parked consumes. A parked consume is one entry and one waker: no thread, no timer of ours.
//!
//! A partition that has work wakes as many as it can serve, longest waiting first; a woken consume
//! asks that partition again
//! and parks in its old place if somebody was faster. One entry per (worker, endpoint): a newer one
//! ends the older.

use crate::core::map::{self, Map};
use crate::model::id::{Name, PartitionId};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Why a parked consume was woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// This partition may have work.
    Work(PartitionId),
    /// A newer consume of the same worker took the place, or the node drains: answer without tasks.
    Leave,
}

/// What a consume waits for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) key: (Name, Option<Name>),
    pub(crate) levels: u16,
    pub(crate) max: usize,
    /// Only some jobs: woken in addition, because the partition may hold none of them.
    pub(crate) choosy: bool,
}

struct Parked {
    wish: Wish,
    wake: oneshot::Sender<Wake>,
}

#[derive(Default)]
struct Places {
    parked: BTreeMap<u64, Parked>,
    next: u64,
    shut: bool,
}

/// All parked consumes of the node.
pub(crate) struct Hub {
    places: Mutex<Places>,
    by_worker: Mutex<Map<(Name, Option<Name>), u64>>,
    /// Hand-outs already on their way to woken consumes, per partition.
    promised: Vec<Mutex<usize>>,
    max_parked: usize,
}

/// A place in the hub; given up on drop.
pub(crate) struct Place<'a> {
    hub: &'a Hub,
    key: (Name, Option<Name>),
    pub(crate) number: u64,
    pub(crate) woken: oneshot::Receiver<Wake>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.hub.leave(self.number, &self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The sections below cannot panic half way; a poisoned lock still guards whole data.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(crate) fn new(partitions: usize, max_parked: usize) -> Self {
        Self {
            places: Mutex::default(),
            by_worker: Mutex::new(map::new()),
            promised: (0..partitions).map(|_| Mutex::new(0)).collect(),
            max_parked,
        }
    }

    /// Parks a consume; `old` is its former place after a wake that found nothing. `None` = full or
    /// shut.
    pub(crate) fn park(&self, wish: Wish, old: Option<u64>) -> Option<Place<'_>> {
        let (wake, woken) = oneshot::channel();
        let key = wish.key.clone();
        let (number, displaced) = {
            let mut places = lock(&self.places);
            if places.shut || places.parked.len() >= self.max_parked {
                return None;
            }
            let number = old.unwrap_or(places.next);
            places.next = places.next.max(number + 1);
            let mut by_worker = lock(&self.by_worker);
            let before = by_worker.get(&key).copied().filter(|n| *n != number);
            if before.is_some_and(|newer| newer > number) {
                // While this consume was awake a newer one of the same worker took its place.
                return None;
            }
            by_worker.insert(key.clone(), number);
            let displaced = before.and_then(|n| places.parked.remove(&n));
            places.parked.insert(number, Parked { wish, wake });
            (number, displaced)
        };
        if let Some(displaced) = displaced {
            // Its caller may be gone already.
            displaced.wake.send(Wake::Leave).ok();
        }
        Some(Place { hub: self, key, number, woken })
    }

    /// Wakes consumes for `ready` tasks of a partition on the given levels.
    pub(crate) fn wake(&self, partition: PartitionId, levels: u16, ready: u64) {
        let ready = usize::try_from(ready).unwrap_or(usize::MAX);
        let mut woken = Vec::new();
        {
            let mut places = lock(&self.places);
            if places.parked.is_empty() {
                return;
            }
            let mut promised = lock(&self.promised[partition.index()]);
            let mut numbers = Vec::new();
            for (number, parked) in &places.parked {
                if parked.wish.levels & levels == 0 {
                    continue;
                }
                if parked.wish.choosy {
                    numbers.push(*number);
                } else if *promised < ready {
                    *promised += parked.wish.max;
                    numbers.push(*number);
                }
            }
            woken.extend(numbers.into_iter().filter_map(|n| places.parked.remove(&n)));
        }
        for parked in woken {
            let max = if parked.wish.choosy { 0 } else { parked.wish.max };
            if parked.wake.send(Wake::Work(partition)).is_err() {
                self.kept(partition, max);
            }
        }
    }

    /// A woken consume has asked the partition: its promise is over.
    pub(crate) fn kept(&self, partition: PartitionId, max: usize) {
        let mut promised = lock(&self.promised[partition.index()]);
        *promised = promised.saturating_sub(max);
    }

    /// Parked consumes.
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.places).parked.len()
    }

    /// Wakes everybody without work and parks nobody any more.
    pub(crate) fn shut(&self) {
        let parked = {
            let mut places = lock(&self.places);
            places.shut = true;
            std::mem::take(&mut places.parked)
        };
        for (_, parked) in parked {
            parked.wake.send(Wake::Leave).ok();
        }
    }

    fn leave(&self, number: u64, key: &(Name, Option<Name>)) {
        let mut places = lock(&self.places);
        places.parked.remove(&number);
        let mut by_worker = lock(&self.by_worker);
        if by_worker.get(key) == Some(&number) {
            by_worker.remove(key);
        }
    }
}
