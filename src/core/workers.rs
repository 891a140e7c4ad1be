//! Registry of workers: who was heard of, when, and what it said of itself. For display and drain;
//! leases live and die by their own clocks.

use crate::model::access::Scopes;
use crate::model::event::FailCause;
use crate::model::id::Name;
use crate::model::time::{Now, Tick, WallMs};
use crate::model::worker::{WorkerState, WorkerTally, WorkerView};
use std::cmp::Ordering;
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
    /// What the token that says it may touch; `None` = the engine itself says it.
    pub by: Option<Scopes>,
}

/// What is known of the shortest lease a worker holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortest {
    /// None is shorter, ms; 0 = nothing is known, `u32::MAX` = it holds none.
    pub at_least_ms: u32,
    /// Hand-outs to it that were noted: a measurement that began before the latest is worthless.
    handed_out: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    sign: Sign,
    shortest: Shortest,
    draining: bool,
    /// It has not called here; all that is known of it is that it drains.
    hearsay: bool,
    tally: WorkerTally,
    first_seen: WallMs,
    last_seen: Now,
    /// Interval of its heartbeats as it was last told, ms; unset = it was told nothing.
    heartbeat_ms: Option<u64>,
    /// Its consumes that are open: as long as one is, it is there.
    open: u32,
}

/// How often the holder of such a lease shall beat, ms: a third of it.
#[must_use]
pub fn heartbeat_ms(lease_ms: u32) -> u64 {
    u64::from(lease_ms / 3).max(1)
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
    heartbeat_ms: u64,
    swept: Tick,
    recency: Recency,
}

impl WorkerRegistry {
    /// Forgets workers this long after their last call, ms, once they hold no lease; those that
    /// were told no interval are expected to beat every `heartbeat_ms`.
    #[must_use]
    pub fn new(forget_ms: u64, heartbeat_ms: u64) -> Self {
        let (workers, recency) = (BTreeMap::new(), Recency::new());
        Self { workers, forget_ms, heartbeat_ms, swept: Tick(0), recency }
    }

    /// Notes a call of a worker; true = it drains.
    ///
    /// Whose token says something of it first has the say, with those that may touch every job:
    /// what a token of other scopes says of it is a sign of life and no more.
    pub fn seen(&mut self, worker: &Name, now: Now, sign: Sign) -> bool {
        let fresh = || Entry {
            sign: Sign::default(),
            shortest: Shortest::default(),
            draining: false,
            hearsay: false,
            tally: WorkerTally::default(),
            first_seen: now.wall,
            last_seen: now,
            heartbeat_ms: None,
            open: 0,
        };
        if !self.heard(worker, now) {
            self.workers.insert(worker.clone(), fresh());
            self.recency.came(now.tick);
        }
        let entry = self.workers.get_mut(worker).expect("inserted just now");
        entry.hearsay = false;
        let known = &mut entry.sign;
        if !has_the_say(known, &sign) {
            return entry.draining;
        }
        known.by = known.by.take().or(sign.by);
        known.endpoint = sign.endpoint.or_else(|| known.endpoint.take());
        known.slots = sign.slots.or(known.slots);
        known.version = sign.version.or_else(|| known.version.take());
        known.warm = sign.warm.or_else(|| known.warm.take());
        entry.draining
    }

    /// Notes a sign of life; false = unknown.
    fn heard(&mut self, worker: &str, now: Now) -> bool {
        let Some(entry) = self.workers.get_mut(worker) else { return false };
        let before = std::mem::replace(&mut entry.last_seen, now);
        self.recency.left(before.tick);
        self.recency.came(now.tick);
        true
    }

    /// A consume of a worker begins, after [`Self::seen`].
    pub fn opened(&mut self, worker: &str) {
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.open += 1;
        }
    }

    /// A consume of a worker is over. One that was forgotten meanwhile stays so.
    pub fn closed(&mut self, worker: &str, now: Now) {
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.open = entry.open.saturating_sub(1);
            self.heard(worker, now);
        }
    }

    /// A worker is told to beat at this interval.
    pub fn told(&mut self, worker: &str, heartbeat_ms: u64) {
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.heartbeat_ms = Some(heartbeat_ms);
        }
    }

    /// A worker holds leases from before a restart, in one of several partitions.
    pub fn restored(&mut self, worker: &Name, now: Now, heartbeat_ms: u64) {
        self.seen(worker, now, Sign::default());
        let entry = self.workers.get_mut(worker).expect("seen just now");
        entry.heartbeat_ms = Some(entry.heartbeat_ms.unwrap_or(u64::MAX).min(heartbeat_ms));
    }

    /// A worker was handed tasks, of which none has a shorter lease than this, ms.
    pub fn handed_out(&mut self, worker: &str, shortest_ms: u32) {
        if let Some(entry) = self.workers.get_mut(worker) {
            let known = &mut entry.shortest;
            known.handed_out += 1;
            known.at_least_ms = known.at_least_ms.min(shortest_ms);
        }
    }

    /// What is known of a worker's shortest lease.
    #[must_use]
    pub fn shortest(&self, worker: &str) -> Shortest {
        self.workers.get(worker).map(|entry| entry.shortest).unwrap_or_default()
    }

    /// All partitions were asked for a worker's shortest lease, which takes the place of what was
    /// known when that began; `None` = it holds none.
    pub fn measured(&mut self, worker: &str, known: Shortest, shortest_ms: Option<u32>) {
        if let Some(entry) = self.workers.get_mut(worker)
            && entry.shortest == known
        {
            entry.shortest.at_least_ms = shortest_ms.unwrap_or(u32::MAX);
        }
    }

    /// An accepted report of a worker, which counts as completed, as failed, or as neither.
    pub fn reported(&mut self, worker: &str, now: Now, counts: WorkerTally) {
        self.heard(worker, now);
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.tally.completed += counts.completed;
            entry.tally.failed += counts.failed;
        }
    }

    /// Counts a lease whose time, or the time of its task, was over.
    pub fn lapsed(&mut self, worker: &str, cause: FailCause) {
        let Some(entry) = self.workers.get_mut(worker) else { return };
        match cause {
            FailCause::Crash => entry.tally.crashed += 1,
            FailCause::Error | FailCause::Timeout => entry.tally.failed += 1,
        }
    }

    /// Drains a worker or takes that back; false = unknown.
    pub fn drain(&mut self, worker: &str, draining: bool) -> bool {
        let entry = self.workers.get_mut(worker);
        entry.map(|e| e.draining = draining).is_some()
    }

    /// The log says that a worker drains, or that its drain is over, maybe long after that was so:
    /// the end of a drain makes nobody known, and forgets who was known by it only.
    pub fn drained(&mut self, worker: &Name, now: Now, drains: bool) {
        if self.drain(worker, drains) {
            if !drains && self.workers.get(worker).is_some_and(|entry| entry.hearsay) {
                self.remove(worker);
            }
        } else if drains {
            self.seen(worker, now, Sign::default());
            if let Some(entry) = self.workers.get_mut(worker) {
                (entry.draining, entry.hearsay) = (true, true);
            }
        }
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

    /// Is there a worker that may be forgotten? Asked at most once a second, else none.
    pub fn some_silent(&mut self, now: Now) -> bool {
        if now.tick.since(self.swept) < 1_000 {
            return false;
        }
        self.swept = now.tick;
        self.workers.values().any(|entry| silent_ms(entry, now) > self.forget_ms)
    }

    /// Forgets who has been silent for long and holds no lease. Returns those of them that were
    /// draining: their drain is to be taken back.
    pub fn sweep(&mut self, now: Now, holds: impl Fn(&Name) -> bool) -> Vec<Name> {
        let forget_ms = self.forget_ms;
        let silent = |entry: &Entry| silent_ms(entry, now) > forget_ms;
        let gone = self.workers.extract_if(.., |name, entry| silent(entry) && !holds(name));
        gone.filter(|(_, entry)| entry.draining).map(|(name, _)| name).collect()
    }

    /// A worker as shown; leases and held tasks are added by the caller.
    #[must_use]
    pub fn view(&self, worker: &str, now: Now) -> Option<WorkerView> {
        let (name, entry) = self.workers.get_key_value(worker)?;
        Some(self.shown(name, entry, now))
    }

    /// All workers in order of their names, from after a name on.
    pub fn views<'a>(
        &'a self,
        after: Option<&str>,
        now: Now,
    ) -> impl Iterator<Item = WorkerView> + 'a {
        let after = after.map(Name::from);
        self.workers
            .iter()
            .filter(move |(name, _)| after.as_ref().is_none_or(|a| *name > a))
            .map(move |(name, entry)| self.shown(name, entry, now))
    }

    /// State of each worker.
    #[must_use]
    pub fn states(&self, now: Now) -> Vec<WorkerState> {
        self.workers.values().map(|entry| self.state(entry, now)).collect()
    }

    fn state(&self, entry: &Entry, now: Now) -> WorkerState {
        let heartbeat_ms = entry.heartbeat_ms.unwrap_or(self.heartbeat_ms);
        if silent_ms(entry, now) > LOST_AFTER_BEATS * heartbeat_ms {
            WorkerState::Lost
        } else if entry.draining {
            WorkerState::Draining
        } else {
            WorkerState::Active
        }
    }

    fn shown(&self, name: &Name, entry: &Entry, now: Now) -> WorkerView {
        WorkerView {
            worker: name.clone(),
            endpoint: entry.sign.endpoint.clone(),
            state: self.state(entry, now),
            slots: entry.sign.slots,
            version: entry.sign.version.clone(),
            leases: 0,
            tally: Some(entry.tally),
            first_seen: entry.first_seen,
            last_seen: entry.last_seen.wall,
            affinity: entry.sign.warm.clone().unwrap_or_default(),
            held: Vec::new(),
            by: entry.sign.by.clone(),
        }
    }
}

/// Workers of two lists in order of their names, each name once.
pub fn joined<'a>(
    own: impl Iterator<Item = WorkerView> + 'a,
    others: impl Iterator<Item = &'a WorkerView> + 'a,
) -> impl Iterator<Item = WorkerView> + 'a {
    let (mut own, mut others) = (own.peekable(), others.peekable());
    std::iter::from_fn(move || {
        let order = match (own.peek(), others.peek()) {
            (Some(one), Some(other)) => one.worker.cmp(&other.worker),
            (_, None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
        };
        match order {
            Ordering::Less => own.next(),
            Ordering::Greater => others.next().cloned(),
            Ordering::Equal => {
                own.next().zip(others.next()).map(|(one, other)| one.with(other.clone()))
            }
        }
    })
}

/// How long nothing was heard of a worker. One whose consume is open waits, it is not silent.
fn silent_ms(entry: &Entry, now: Now) -> u64 {
    if entry.open > 0 { 0 } else { now.tick.since(entry.last_seen.tick) }
}

/// May what `sign` says take the place of what is known?
fn has_the_say(known: &Sign, sign: &Sign) -> bool {
    let (Some(by), Some(of)) = (&sign.by, &known.by) else { return true };
    by.everything() || by == of
}

#[cfg(test)]
#[path = "workers_tests.rs"]
mod tests;
