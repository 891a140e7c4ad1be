//! Plain counters and coarse histograms; shells publish differences.

use crate::model::event::FailCause;
use crate::model::priority::Priority;

pub use crate::model::limits::WAIT_BUCKETS;

/// One number per level, index [`Priority::index`].
pub type Levels = [u64; Priority::LEVELS];

/// Numbers since the partition was loaded.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Tasks admitted, by admitted priority.
    pub submitted: Levels,
    /// Hand-outs.
    pub allocated: Levels,
    /// Starts.
    pub started: Levels,
    /// Completions.
    pub completed: Levels,
    /// Failed attempts by cause (error, crash, timeout) and level.
    pub failed: [Levels; 3],
    /// Failed attempts that went back to the queue.
    pub retried: Levels,
    /// Tasks cancelled.
    pub cancelled: Levels,
    /// Leases given back: by the worker, undelivered, by deleting the worker.
    pub released: [u64; 3],
    /// Dead letters by cause (error, timeout, crash).
    pub dead: [u64; 3],
    /// Records of inboxes taken, by level: offsets passed, those that hold no record included.
    pub inbox_taken: Levels,
    /// Offsets of inboxes that were gone before they were taken.
    pub inbox_lost: Levels,
    /// Tasks that came in dead, by admitted priority.
    pub came_in_dead: Levels,
    /// Leases expired.
    pub expired: u64,
    /// Hand-outs by affinity, index [`crate::model::affinity::Fit`].
    pub fits: [u64; 3],
    /// Refused tokens: stale (once ours), unknown.
    pub lease_rejected: [u64; 2],
    /// Run times of completed attempts.
    pub runs: [[u64; WAIT_BUCKETS]; Priority::LEVELS],
    /// Submit → completion.
    pub totals: [[u64; WAIT_BUCKETS]; Priority::LEVELS],
    /// Waits in PENDING.
    pub waits: [[u64; WAIT_BUCKETS]; Priority::LEVELS],
}

impl Stats {
    /// Counts a hand-out after this wait.
    pub fn handed_out(&mut self, priority: Priority, wait_ms: u64) {
        self.allocated[priority.index()] += 1;
        self.waits[priority.index()][bucket(wait_ms)] += 1;
    }

    /// Counts a completion.
    pub fn finished(&mut self, priority: Priority, run_ms: u64, total_ms: u64) {
        self.completed[priority.index()] += 1;
        self.runs[priority.index()][bucket(run_ms)] += 1;
        self.totals[priority.index()][bucket(total_ms)] += 1;
    }

    /// Counts a failed attempt.
    pub fn attempt_failed(
        &mut self,
        cause: FailCause,
        priority: Priority,
        dead: bool,
        again: bool,
    ) {
        let (failed, reason) = match cause {
            FailCause::Error => (0, 0),
            FailCause::Crash => (1, 2),
            FailCause::Timeout => (2, 1),
        };
        self.failed[failed][priority.index()] += 1;
        self.expired += u64::from(cause == FailCause::Crash);
        self.dead[reason] += u64::from(dead);
        self.retried[priority.index()] += u64::from(again);
    }

    /// Upper bound of the wait that `share` (0…1) of all hand-outs stayed below, ms.
    #[must_use]
    pub fn wait_quantile(waits: &[u64; WAIT_BUCKETS], share: f64) -> u64 {
        let total: u64 = waits.iter().sum();
        let mut seen = 0;
        for (bits, count) in (0u32..).zip(waits) {
            seen += count;
            if total > 0 && seen as f64 >= share * total as f64 {
                return (1u64 << bits) - 1;
            }
        }
        0
    }
}

fn bucket(ms: u64) -> usize {
    ((u64::BITS - ms.leading_zeros()) as usize).min(WAIT_BUCKETS - 1)
}
