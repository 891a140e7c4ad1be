//! What the node is told of the group, and how long the group waits for it.
//!
//! One call at a time, in the order of events. The group waits for a node that releases
//! partitions, because the next owner is assigned them when it stops waiting; a node that does not
//! answer must not hold up the whole group, so the wait has an end. What the node does after it is
//! harmless: the log counts nothing of a deposed owner.

use crate::log::kafka::threads::{PAUSE, spawn};
use crate::model::id::PartitionId;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest time to release partitions.
pub(super) const RELEASE_LIMIT: Duration = Duration::from_secs(3);
/// Beyond it, for a node that uses all of it.
const GRACE: Duration = Duration::from_millis(500);

/// What the group proposes to the node. All calls come from threads of the group, one at a time.
pub trait Assigned: Send + Sync {
    /// These are this instance's to take now. Returns at once.
    fn assigned(&self, partitions: &[PartitionId]);

    /// These are to be given up. Returns when nothing is decided for them any more, their reports
    /// are in and their images are written, or when `limit` has passed. A little after that the
    /// group goes on whether it has returned or not.
    fn revoked(&self, partitions: &[PartitionId], limit: Duration);

    /// These may have another owner already, who did not wait: write nothing, drop them. Returns
    /// at once.
    fn lost(&self, partitions: &[PartitionId]);
}

/// The node, as the group sees it.
pub(super) struct Calls {
    on: Arc<dyn Assigned>,
    /// What it was told to own.
    owned: Mutex<BTreeSet<PartitionId>>,
    /// Disconnected when a release that took too long has returned.
    late: Mutex<Option<Receiver<()>>>,
    stopped: AtomicBool,
}

impl Calls {
    pub(super) fn new(on: Arc<dyn Assigned>) -> Self {
        let (owned, late) = (Mutex::default(), Mutex::default());
        Self { on, owned, late, stopped: AtomicBool::new(false) }
    }

    pub(super) fn owned(&self) -> Vec<PartitionId> {
        locked(&self.owned).iter().copied().collect()
    }

    /// Nothing more is taken.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(super) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn assigned(&self, ids: &[PartitionId]) {
        if ids.is_empty() || self.stopped() {
            return;
        }
        tracing::info!(partitions = ?numbers(ids), "the group assigns partitions");
        locked(&self.owned).extend(ids);
        if self.free() {
            self.on.assigned(ids);
        }
    }

    pub(super) fn revoked(&self, ids: &[PartitionId]) {
        let ids = self.no_more(ids);
        if ids.is_empty() {
            return;
        }
        tracing::info!(partitions = ?numbers(&ids), "the group takes partitions back");
        if self.free() {
            self.release(ids);
        }
    }

    pub(super) fn lost(&self, ids: &[PartitionId]) {
        let ids = self.no_more(ids);
        if ids.is_empty() {
            return;
        }
        tracing::warn!(partitions = ?numbers(&ids), "the group has given partitions away");
        if self.free() {
            self.on.lost(&ids);
        }
    }

    /// Those of them that it was told to own, and owns no longer.
    fn no_more(&self, ids: &[PartitionId]) -> Vec<PartitionId> {
        let mut owned = locked(&self.owned);
        ids.iter().copied().filter(|id| owned.remove(id)).collect()
    }

    fn release(&self, ids: Vec<PartitionId>) {
        let (returned, end) = sync_channel::<()>(1);
        let (on, released) = (Arc::clone(&self.on), ids.clone());
        let started = spawn("kwq-release", move || {
            on.revoked(&released, RELEASE_LIMIT);
            drop(returned);
        });
        if let Err(error) = started {
            tracing::error!(%error, "without a watch on it");
            return self.on.revoked(&ids, RELEASE_LIMIT);
        }
        if end.recv_timeout(RELEASE_LIMIT + GRACE) == Err(RecvTimeoutError::Timeout) {
            tracing::error!(partitions = ?numbers(&ids), "not released in time; the group goes on");
            *locked(&self.late) = Some(end);
        }
    }

    /// Waits for a release that took too long: meanwhile nothing polls, and a node that never
    /// answers loses its place in the group (`max.poll.interval.ms`). When the group is left, the
    /// wait has an end; false = the node is not to be told anything more.
    fn free(&self) -> bool {
        let Some(late) = locked(&self.late).take() else { return true };
        let mut patience = RELEASE_LIMIT;
        while late.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
            if !self.stopped() {
                continue;
            }
            patience = patience.saturating_sub(PAUSE);
            if patience.is_zero() {
                tracing::error!("the node does not answer the group; it is left all the same");
                *locked(&self.late) = Some(late);
                return false;
            }
        }
        true
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn numbers(ids: &[PartitionId]) -> Vec<u16> {
    ids.iter().map(|id| id.0).collect()
}
