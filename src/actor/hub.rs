//! Parked consumes. A parked consume is one entry and one waker: no thread, no timer of ours.
//!
//! A partition that has work wakes as many as it can serve: for work with keys that just became
//! ready those that are warm for it, best score first; then the longest waiting. A woken consume
//! asks that partition and parks in its old place if somebody was faster. A wake carries a
//! [`Promise`]: as long as it lives its share of the work is spoken for, and when it ends, in
//! whatever way, the partition looks again, so that work never lies beside somebody who waits.
//! Consumes that take only some jobs are *choosy*: nobody knows whether what is left of an offer
//! is for them, so it goes from one to the next, longest waiting first. One entry per (worker,
//! endpoint): a newer one ends the older.

mod places;

use crate::core::fresh::ReadyWork;
use crate::model::id::{Name, PartitionId};
use places::{Parked, Places};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
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

pub(crate) use places::Wish;

/// Everything under the lock.
struct Lobby {
    places: Places,
    /// By partition: work that some of the parked are warm for, but that was spoken for when it
    /// could have been offered to them.
    kept: Vec<Vec<ReadyWork>>,
    /// Workers sent away: their consumes below this number, awake at that moment, do not come back.
    sent_away: BTreeMap<Name, u64>,
    shut: bool,
}

/// Workers whose dismissal is kept in mind; a consume is awake for milliseconds.
const SENT_AWAY_MAX: usize = 1_024;

/// Kinds of work kept for those that are warm for them, a partition.
const KEPT_MAX: usize = 64;

/// What a partition last said of itself.
#[derive(Default)]
struct Offer {
    /// Levels with something to hand out.
    levels: AtomicU16,
    tasks: AtomicU64,
    /// Tasks spoken for by woken consumes that have not asked yet. Written under the lock of the
    /// places when it grows.
    promised: AtomicU64,
    /// All of it was spoken for when it could have been shown to the choosy.
    withheld: AtomicBool,
}

/// All parked consumes of the node and what its partitions offer.
pub(crate) struct Hub {
    lobby: Mutex<Lobby>,
    /// Parked consumes, for who only wants to know whether there are any.
    parked: AtomicUsize,
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
                hub.wake(self.partition, Vec::new());
                if hub.offers[self.partition.index()].withheld.swap(false, Ordering::AcqRel) {
                    hub.show(self.partition, 0);
                }
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
            lobby: Mutex::new(Lobby {
                places: Places::new(partitions),
                kept: vec![Vec::new(); partitions],
                sent_away: BTreeMap::new(),
                shut: false,
            }),
            parked: AtomicUsize::new(0),
            offers: (0..partitions).map(|_| Offer::default()).collect(),
            published: AtomicU64::new(0),
            max_parked,
        }
    }

    /// Does nobody find a place any more?
    pub(crate) fn is_full(&self) -> bool {
        self.lock().places.len() >= self.max_parked
    }

    fn lock(&self) -> MutexGuard<'_, Lobby> {
        // The sections cannot panic half way; a poisoned lock still guards whole data.
        self.lobby.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parks a consume; `old` is its former place after a wake that found nothing. `None` = full,
    /// shut, or its worker was sent away or asked anew while it was awake.
    pub(crate) fn park(&self, wish: Wish, old: Option<u64>) -> Option<Place<'_>> {
        let (wake, woken) = oneshot::channel();
        let key = wish.key.clone();
        let (number, displaced) = {
            let mut lobby = self.lock();
            if lobby.shut || lobby.places.len() >= self.max_parked {
                return None;
            }
            let mark = lobby.sent_away.get(&key.0);
            if old.zip(mark).is_some_and(|(old, mark)| old < *mark) {
                return None;
            }
            let parked = lobby.places.park(wish, wake, old)?;
            self.count(&lobby.places);
            parked
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

    /// What a partition last said of itself: levels, ready tasks.
    pub(crate) fn offer(&self, partition: PartitionId) -> (u16, u64) {
        let offer = &self.offers[partition.index()];
        (offer.levels.load(Ordering::Acquire), offer.tasks.load(Ordering::Acquire))
    }

    /// Count of the offers so far.
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// A partition says what it has now; who waits for it is woken. `moved` = something happened in
    /// it, even if the numbers are as before; `work` = what became ready and has keys.
    pub(crate) fn publish(
        self: &Arc<Self>,
        partition: PartitionId,
        levels: u16,
        tasks: u64,
        moved: bool,
        work: Vec<ReadyWork>,
    ) {
        let offer = &self.offers[partition.index()];
        let tasks_before = offer.tasks.swap(tasks, Ordering::AcqRel);
        let levels_before = offer.levels.swap(levels, Ordering::AcqRel);
        let moved = moved || (levels_before, tasks_before) != (levels, tasks);
        // A look that found nothing must not count as news: two of them would wake each other.
        if levels != 0 && moved {
            self.published.fetch_add(1, Ordering::AcqRel);
            self.wake(partition, work);
            self.show(partition, 0);
        }
    }

    /// Lets every partition wake whom it can serve.
    pub(crate) fn wake_all(self: &Arc<Self>) {
        for partition in (0..self.offers.len()).filter_map(|p| u16::try_from(p).ok()) {
            self.wake(PartitionId(partition), Vec::new());
            self.show(PartitionId(partition), 0);
        }
    }

    /// Wakes as many as the partition can serve.
    fn wake(self: &Arc<Self>, partition: PartitionId, mut work: Vec<ReadyWork>) {
        // A caller that has gone leaves its share to the next.
        loop {
            let mut unheard = false;
            for parked in self.take_served(partition, std::mem::take(&mut work)) {
                let tasks = parked.wish.max as u64;
                if !self.tell(parked, partition, Share::Tasks(tasks)) {
                    self.give_back(partition, tasks);
                    unheard = true;
                }
            }
            if !unheard {
                return;
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

    /// Takes those out of their places whom the partition can serve and notes their share: those
    /// that are warm for each kind of new work, then the longest waiting.
    fn take_served(&self, partition: PartitionId, work: Vec<ReadyWork>) -> Vec<Parked> {
        let offer = &self.offers[partition.index()];
        let lobby = &mut *self.lock();
        let places = &mut lobby.places;
        let kept = &mut lobby.kept[partition.index()];
        let levels = offer.levels.load(Ordering::Acquire);
        if places.len() == 0 || levels == 0 {
            kept.clear();
            return Vec::new();
        }
        let tasks = offer.tasks.load(Ordering::Acquire);
        let full = || offer.promised.load(Ordering::Acquire) >= tasks;
        let promise = |share: u64| offer.promised.fetch_add(share, Ordering::AcqRel);
        let mut served = Vec::new();
        kept.extend(work);
        let over = kept.len().saturating_sub(KEPT_MAX);
        kept.drain(..over);
        kept.retain_mut(|work| {
            if levels >> work.level.index() & 1 == 0 {
                return false;
            }
            if full() {
                return true;
            }
            for number in places.warm_for(work) {
                if work.count == 0 || full() {
                    return work.count > 0;
                }
                let share = places.share(number);
                promise(share);
                work.count = work.count.saturating_sub(share);
                served.extend(places.take(number));
            }
            // Whoever parks later looks at it before.
            false
        });
        let mut longest = Vec::new();
        for number in places.open(levels) {
            if full() {
                break;
            }
            promise(places.share(number));
            longest.push(number);
        }
        served.extend(longest.into_iter().filter_map(|number| places.take(number)));
        self.count(places);
        served
    }

    fn take_choosy(&self, partition: PartitionId, from: u64) -> Option<(u64, Parked)> {
        let offer = &self.offers[partition.index()];
        let places = &mut self.lock().places;
        let number = places.choosy(self.levels(partition), from)?;
        if offer.promised.load(Ordering::Acquire) >= offer.tasks.load(Ordering::Acquire) {
            // Who it is promised to goes first. The end of a promise shows what is left.
            offer.withheld.store(true, Ordering::Release);
            return None;
        }
        let parked = places.take(number).map(|parked| (number, parked));
        self.count(places);
        parked
    }

    /// Adds what the workers of the parked consumes have learned in a partition to what they are
    /// warm for.
    pub(crate) fn learn(&self, partition: PartitionId, learned: impl Fn(&Name) -> Vec<Name>) {
        self.lock().places.learn(partition, learned);
    }

    /// Sends the parked consumes of a worker away: it was drained or deleted.
    pub(crate) fn dismiss(&self, worker: &str) {
        let dismissed = {
            let mut lobby = self.lock();
            let next = lobby.places.next();
            lobby.sent_away.insert(Name::from(worker), next);
            if lobby.sent_away.len() > SENT_AWAY_MAX {
                lobby.sent_away.retain(|_, mark| *mark == next);
            }
            let dismissed = lobby.places.take_worker(worker);
            self.count(&lobby.places);
            dismissed
        };
        for parked in dismissed {
            parked.wake.send(Wake::Leave).ok();
        }
    }

    /// Parked consumes.
    pub(crate) fn waiting(&self) -> usize {
        self.parked.load(Ordering::Acquire)
    }

    /// Wakes everybody without work and parks nobody any more.
    pub(crate) fn shut(&self) {
        let parked = {
            let mut lobby = self.lock();
            lobby.shut = true;
            let parked = lobby.places.take_all();
            self.count(&lobby.places);
            parked
        };
        for parked in parked {
            parked.wake.send(Wake::Leave).ok();
        }
    }

    fn count(&self, places: &Places) {
        self.parked.store(places.len(), Ordering::Release);
    }

    fn leave(&self, number: u64, key: &(Name, Option<Name>)) {
        let places = &mut self.lock().places;
        places.leave(number, key);
        self.count(places);
    }
}

#[cfg(test)]
mod tests;
