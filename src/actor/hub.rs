//! Parked consumes. A parked consume is one entry and one waker: no thread, no timer of ours.
//!
//! A partition that has work wakes as many as it can serve, longest waiting first; a woken consume
//! asks that partition and parks in its old place if somebody was faster. A wake carries a
//! [`Promise`]: as long as it lives its share of the work is spoken for, and when it ends, in
//! whatever way, the partition looks again, so that work never lies beside somebody who waits.
//! Consumes that take only some jobs are *choosy*: nobody knows whether a new offer is for them, so
//! it goes from one to the next, longest waiting first. One entry per (worker, endpoint): a newer
//! one ends the older.

use crate::core::map::{self, Map};
use crate::model::id::{Name, PartitionId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Why a parked consume was woken.
#[derive(Debug)]
pub(crate) enum Wake {
    /// This partition may have work.
    Work(Promise),
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

struct Places {
    parked: BTreeMap<u64, Parked>,
    by_worker: Map<(Name, Option<Name>), u64>,
    next: u64,
    /// Workers sent away: their consumes below this number, awake at that moment, do not come back.
    sent_away: BTreeMap<Name, u64>,
    shut: bool,
}

/// Workers whose dismissal is kept in mind; a consume is awake for milliseconds.
const SENT_AWAY_MAX: usize = 1_024;

/// What a partition last said of itself.
#[derive(Default)]
struct Offer {
    /// Levels with something to hand out.
    levels: AtomicU16,
    tasks: AtomicU64,
    /// Tasks spoken for by woken consumes that have not asked yet. Written under the lock of the
    /// places when it grows.
    promised: AtomicU64,
}

/// All parked consumes of the node and what its partitions offer.
pub(crate) struct Hub {
    places: Mutex<Places>,
    offers: Vec<Offer>,
    /// Grows with each offer: a consume that sees it move between its look and its parking has to
    /// look again.
    published: AtomicU64,
    max_parked: usize,
}

/// Work of a partition spoken for by one woken consume.
pub(crate) struct Promise {
    hub: Option<Arc<Hub>>,
    pub(crate) partition: PartitionId,
    share: Share,
}

#[derive(Clone, Copy, Debug)]
enum Share {
    /// So many tasks.
    Tasks(u64),
    /// Place of the choosy consume that looks through the offer; the next one comes after it.
    Look(u64),
}

impl std::fmt::Debug for Promise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Promise")
            .field("partition", &self.partition)
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let Some(hub) = self.hub.take() else { return };
        match self.share {
            Share::Tasks(tasks) => {
                hub.give_back(self.partition, tasks);
                // What this consume did not take is for the next one.
                hub.wake(self.partition);
            }
            Share::Look(place) => hub.show(self.partition, place + 1),
        }
    }
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

impl Hub {
    pub(crate) fn new(partitions: usize, max_parked: usize) -> Self {
        Self {
            places: Mutex::new(Places {
                parked: BTreeMap::new(),
                by_worker: map::new(),
                next: 0,
                sent_away: BTreeMap::new(),
                shut: false,
            }),
            offers: (0..partitions).map(|_| Offer::default()).collect(),
            published: AtomicU64::new(0),
            max_parked,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        // The sections cannot panic half way; a poisoned lock still guards whole data.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parks a consume; `old` is its former place after a wake that found nothing. `None` = full,
    /// shut, or its worker was sent away or asked anew while it was awake.
    pub(crate) fn park(&self, wish: Wish, old: Option<u64>) -> Option<Place<'_>> {
        let (wake, woken) = oneshot::channel();
        let key = wish.key.clone();
        let (number, displaced) = {
            let mut places = self.lock();
            if places.shut || places.parked.len() >= self.max_parked {
                return None;
            }
            let mark = places.sent_away.get(&key.0);
            if old.zip(mark).is_some_and(|(old, mark)| old < *mark) {
                return None;
            }
            let number = old.unwrap_or(places.next);
            places.next = places.next.max(number + 1);
            let before = places.by_worker.get(&key).copied().filter(|n| *n != number);
            if before.is_some_and(|newer| newer > number) {
                // While this consume was awake a newer one of the same worker took its place.
                return None;
            }
            places.by_worker.insert(key.clone(), number);
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

    /// Levels on which this partition has something to hand out, as of its last turn.
    pub(crate) fn levels(&self, partition: PartitionId) -> u16 {
        self.offers[partition.index()].levels.load(Ordering::Acquire)
    }

    /// Count of the offers so far.
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// A partition says what it has now; who waits for it is woken. `moved` = something happened in
    /// it, even if the numbers are as before.
    pub(crate) fn publish(
        self: &Arc<Self>,
        partition: PartitionId,
        levels: u16,
        tasks: u64,
        moved: bool,
    ) {
        let offer = &self.offers[partition.index()];
        let tasks_before = offer.tasks.swap(tasks, Ordering::AcqRel);
        let levels_before = offer.levels.swap(levels, Ordering::AcqRel);
        let moved = moved || (levels_before, tasks_before) != (levels, tasks);
        // A look that found nothing must not count as news: two of them would wake each other.
        if levels != 0 && moved {
            self.published.fetch_add(1, Ordering::AcqRel);
            self.wake(partition);
            self.show(partition, 0);
        }
    }

    /// Lets every partition wake whom it can serve.
    pub(crate) fn wake_all(self: &Arc<Self>) {
        for partition in (0..self.offers.len()).filter_map(|p| u16::try_from(p).ok()) {
            self.wake(PartitionId(partition));
            self.show(PartitionId(partition), 0);
        }
    }

    /// Wakes as many as the partition can serve, longest waiting first.
    fn wake(self: &Arc<Self>, partition: PartitionId) {
        let mut unheard = true;
        // A caller that has gone leaves its share to the next.
        while unheard {
            unheard = false;
            for parked in self.take_served(partition) {
                let tasks = parked.wish.max as u64;
                if !self.tell(parked, partition, Share::Tasks(tasks)) {
                    self.give_back(partition, tasks);
                    unheard = true;
                }
            }
        }
    }

    /// Shows an offer to the first choosy consume at this place or behind.
    fn show(self: &Arc<Self>, partition: PartitionId, from: u64) {
        let mut from = from;
        while let Some((place, parked)) = self.take_choosy(partition, from) {
            if self.tell(parked, partition, Share::Look(place)) {
                return;
            }
            from = place + 1;
        }
    }

    /// Whether it heard it.
    fn tell(self: &Arc<Self>, parked: Parked, partition: PartitionId, share: Share) -> bool {
        let promise = Promise { hub: Some(Arc::clone(self)), partition, share };
        match parked.wake.send(Wake::Work(promise)) {
            Err(Wake::Work(mut promise)) => {
                // Disarmed: its end would wake in a recursion.
                promise.hub = None;
                false
            }
            Ok(()) | Err(Wake::Leave) => true,
        }
    }

    fn give_back(&self, partition: PartitionId, tasks: u64) {
        self.offers[partition.index()].promised.fetch_sub(tasks, Ordering::AcqRel);
    }

    /// Takes those out of their places whom the partition can serve and notes their share.
    fn take_served(&self, partition: PartitionId) -> Vec<Parked> {
        let offer = &self.offers[partition.index()];
        let mut places = self.lock();
        let levels = offer.levels.load(Ordering::Acquire);
        if places.parked.is_empty() || levels == 0 {
            return Vec::new();
        }
        let tasks = offer.tasks.load(Ordering::Acquire);
        let mut promised = offer.promised.load(Ordering::Acquire);
        let mut numbers = Vec::new();
        let open =
            places.parked.iter().filter(|(_, p)| !p.wish.choosy && p.wish.levels & levels != 0);
        for (number, parked) in open {
            if promised >= tasks {
                break;
            }
            let share = parked.wish.max as u64;
            promised = offer.promised.fetch_add(share, Ordering::AcqRel) + share;
            numbers.push(*number);
        }
        numbers.into_iter().filter_map(|n| places.parked.remove(&n)).collect()
    }

    fn take_choosy(&self, partition: PartitionId, from: u64) -> Option<(u64, Parked)> {
        let mut places = self.lock();
        let levels = self.levels(partition);
        let mut here = places.parked.range(from..);
        let number = *here.find(|(_, p)| p.wish.choosy && p.wish.levels & levels != 0)?.0;
        places.parked.remove(&number).map(|parked| (number, parked))
    }

    /// Sends the parked consumes of a worker away: it was drained or deleted.
    pub(crate) fn dismiss(&self, worker: &str) {
        let dismissed: Vec<Parked> = {
            let mut places = self.lock();
            let next = places.next;
            places.sent_away.insert(Name::from(worker), next);
            if places.sent_away.len() > SENT_AWAY_MAX {
                places.sent_away.retain(|_, mark| *mark == next);
            }
            let of_worker = |parked: &Parked| &*parked.wish.key.0 == worker;
            let numbers: Vec<u64> =
                places.parked.iter().filter(|(_, p)| of_worker(p)).map(|(n, _)| *n).collect();
            numbers.into_iter().filter_map(|n| places.parked.remove(&n)).collect()
        };
        for parked in dismissed {
            parked.wake.send(Wake::Leave).ok();
        }
    }

    /// Parked consumes.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().parked.len()
    }

    /// Wakes everybody without work and parks nobody any more.
    pub(crate) fn shut(&self) {
        let parked = {
            let mut places = self.lock();
            places.shut = true;
            std::mem::take(&mut places.parked)
        };
        for (_, parked) in parked {
            parked.wake.send(Wake::Leave).ok();
        }
    }

    fn leave(&self, number: u64, key: &(Name, Option<Name>)) {
        let mut places = self.lock();
        places.parked.remove(&number);
        if places.by_worker.get(key) == Some(&number) {
            places.by_worker.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
