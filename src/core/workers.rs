//! Registry of workers: who was heard of, when, and what it said of itself. For display, drain and
//! heartbeat intervals;
//! leases live and die by their own clocks.

use crate::model::id::Name;
use crate::model::time::{Now, Tick, WallMs};
use crate::model::view::{WorkerState, WorkerView};
use std::collections::BTreeMap;

/// Silent for this many heartbeats = LOST.
const LOST_AFTER_BEATS: u64 = 3;

/// What a worker may say of itself with any call.
#[derive(Clone, Debug, Default)]
pub struct Sign {
    /// Endpoint.
    pub endpoint: Option<Name>,
    /// Slots.
    pub slots: Option<u32>,
    /// Version.
    pub version: Option<Name>,
    /// Keys it holds.
    pub warm: Option<Vec<Name>>,
}

#[derive(Clone, Debug)]
struct Entry {
    sign: Sign,
    draining: bool,
    completed: u64,
    failed: u64,
    crashed: u64,
    first_seen: WallMs,
    last_seen: Now,
}

/// Seconds after its last call in which a worker counts as active.
const ACTIVE_S: usize = 60;

/// How many workers called last in which second; asked for at every consume by time, when a walk
/// over thousands of workers would cost more than the hand-out.
#[derive(Clone, Debug)]
struct Recency {
    /// By second modulo the length: the second, and the workers whose last call was in it.
    seconds: [(u64, u32); ACTIVE_S],
}

impl Recency {
    fn new() -> Self {
        Self { seconds: [(0, 0); ACTIVE_S] }
    }

    fn slot(&mut self, second: u64) -> &mut (u64, u32) {
        let at = usize::try_from(second % ACTIVE_S as u64).expect("below 60");
        &mut self.seconds[at]
    }

    fn left(&mut self, last: Tick) {
        let second = last.0 / 1_000;
        let (of, count) = self.slot(second);
        if *of == second {
            *count = count.saturating_sub(1);
        }
    }

    fn came(&mut self, now: Tick) {
        let second = now.0 / 1_000;
        let slot = self.slot(second);
        // What stood here is a minute old.
        let before = if slot.0 == second { slot.1 } else { 0 };
        *slot = (second, before + 1);
    }

    fn count(&self, now: Tick) -> u32 {
        let oldest = (now.0 / 1_000 + 1).saturating_sub(ACTIVE_S as u64);
        self.seconds.iter().filter(|(second, _)| *second >= oldest).map(|(_, count)| count).sum()
    }
}

/// All workers of the node, by name.
#[derive(Clone, Debug)]
pub struct WorkerRegistry {
    workers: BTreeMap<Name, Entry>,
    forget_ms: u64,
    swept: Tick,
    recency: Recency,
}

impl WorkerRegistry {
    /// Forgets workers this long after their last call, ms.
    #[must_use]
    pub fn new(forget_ms: u64) -> Self {
        Self { workers: BTreeMap::new(), forget_ms, swept: Tick(0), recency: Recency::new() }
    }

    /// Notes a call of a worker; true = it drains.
    pub fn seen(&mut self, worker: &Name, now: Now, sign: Sign) -> bool {
        let fresh = || Entry {
            sign: Sign::default(),
            draining: false,
            completed: 0,
            failed: 0,
            crashed: 0,
            first_seen: now.wall,
            last_seen: now,
        };
        match self.workers.get(worker) {
            Some(known) => self.recency.left(known.last_seen.tick),
            None => drop(self.workers.insert(worker.clone(), fresh())),
        }
        self.recency.came(now.tick);
        let entry = self.workers.get_mut(worker).expect("inserted just now");
        entry.last_seen = now;
        let known = &mut entry.sign;
        known.endpoint = sign.endpoint.or_else(|| known.endpoint.take());
        known.slots = sign.slots.or(known.slots);
        known.version = sign.version.or_else(|| known.version.take());
        known.warm = sign.warm.or_else(|| known.warm.take());
        entry.draining
    }

    /// Counts verdicts on a worker's reports.
    pub fn reported(&mut self, worker: &Name, completed: u64, failed: u64) {
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.completed += completed;
            entry.failed += failed;
        }
    }

    /// Counts a lease that a worker let expire.
    pub fn crashed(&mut self, worker: &str) {
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.crashed += 1;
        }
    }

    /// Drains a worker or takes that back; false = unknown.
    pub fn drain(&mut self, worker: &str, draining: bool) -> bool {
        let entry = self.workers.get_mut(worker);
        entry.map(|e| e.draining = draining).is_some()
    }

    /// Does it drain?
    #[must_use]
    pub fn drains(&self, worker: &str) -> bool {
        self.workers.get(worker).is_some_and(|e| e.draining)
    }

    /// Forgets a worker; false = unknown.
    pub fn remove(&mut self, worker: &str) -> bool {
        let gone = self.workers.remove(worker);
        gone.map(|entry| self.recency.left(entry.last_seen.tick)).is_some()
    }

    /// Workers that called within the last 60 s.
    #[must_use]
    pub fn active(&self, now: Tick) -> u32 {
        self.recency.count(now)
    }

    /// Forgets who has been silent for long, at most once a second. Returns those of them that were
    /// draining: their drain is to be taken back.
    pub fn sweep(&mut self, now: Now) -> Vec<Name> {
        if now.tick.since(self.swept) < 1_000 {
            return Vec::new();
        }
        self.swept = now.tick;
        let forget_ms = self.forget_ms;
        let silent = |entry: &Entry| now.tick.since(entry.last_seen.tick) > forget_ms;
        let gone = self.workers.extract_if(.., |_, entry| silent(entry));
        gone.filter(|(_, entry)| entry.draining).map(|(name, _)| name).collect()
    }

    /// A worker as shown; leases and held tasks are added by the caller.
    #[must_use]
    pub fn view(&self, worker: &str, now: Now, heartbeat_ms: u64) -> Option<WorkerView> {
        let (name, entry) = self.workers.get_key_value(worker)?;
        Some(shown(name, entry, now, heartbeat_ms))
    }

    /// All workers in order of their names, from after a name on.
    pub fn views<'a>(
        &'a self,
        after: Option<&str>,
        now: Now,
        heartbeat_ms: u64,
    ) -> impl Iterator<Item = WorkerView> + 'a {
        let after = after.map(Name::from);
        self.workers
            .iter()
            .filter(move |(name, _)| after.as_ref().is_none_or(|a| *name > a))
            .map(move |(name, entry)| shown(name, entry, now, heartbeat_ms))
    }
}

fn shown(name: &Name, entry: &Entry, now: Now, heartbeat_ms: u64) -> WorkerView {
    let silent = now.tick.since(entry.last_seen.tick);
    let state = if silent > LOST_AFTER_BEATS * heartbeat_ms {
        WorkerState::Lost
    } else if entry.draining {
        WorkerState::Draining
    } else {
        WorkerState::Active
    };
    WorkerView {
        worker: name.clone(),
        endpoint: entry.sign.endpoint.clone(),
        state,
        slots: entry.sign.slots,
        version: entry.sign.version.clone(),
        leases: 0,
        completed: entry.completed,
        failed: entry.failed,
        crashed: entry.crashed,
        first_seen: entry.first_seen,
        last_seen: entry.last_seen.wall,
        affinity: entry.sign.warm.clone().unwrap_or_default(),
        held: Vec::new(),
    }
}
