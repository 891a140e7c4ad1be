//! Plain counters and a coarse histogram; shells publish differences.

use crate::model::priority::Priority;

/// Buckets of the wait histogram: powers of two of a millisecond, the last one open.
pub const WAIT_BUCKETS: usize = 32;

/// Numbers since the partition was loaded.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Tasks admitted by admitted priority.
    pub submitted: [u64; Priority::LEVELS],
    /// Hand-outs by level.
    pub allocated: [u64; Priority::LEVELS],
    /// Starts.
    pub started: u64,
    /// Completions.
    pub completed: u64,
    /// Failed attempts by cause: error, timeout, crash.
    pub failed: [u64; 3],
    /// Leases given back.
    pub released: u64,
    /// Tasks cancelled.
    pub cancelled: u64,
    /// Dead letters.
    pub dead: u64,
    /// Waits in PENDING: bucket *k* counts waits below 2^k ms.
    pub waits: [u64; WAIT_BUCKETS],
}

impl Stats {
    /// Counts a hand-out after this wait.
    pub fn handed_out(&mut self, priority: Priority, wait_ms: u64) {
        self.allocated[priority.index()] += 1;
        let bits = (u64::BITS - wait_ms.leading_zeros()) as usize;
        self.waits[bits.min(WAIT_BUCKETS - 1)] += 1;
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
