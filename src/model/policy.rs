//! The knobs of a partition; one value for the whole node, resolved from the configuration.

use serde::{Deserialize, Serialize};

/// Jitter of a back-off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Jitter {
    /// Uniform between 0 and the computed delay.
    #[default]
    Full,
    /// The computed delay itself.
    None,
}

/// Exponential back-off: `min(cap, base × 2^(n−1))`, n = errors or crashes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Backoff {
    /// First delay, ms.
    pub base_ms: u32,
    /// Longest delay, ms.
    pub cap_ms: u32,
    /// Jitter.
    pub jitter: Jitter,
}

/// How lanes of one level share the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// Stride scheduling in worker time between jobs.
    #[default]
    Fair,
    /// Strictly by submit order.
    Fifo,
}

/// Defaults and rules every partition decides by.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// `queue.share`.
    pub share: Share,
    /// `lease.default`, ms.
    pub lease_ms: u32,
    /// `lease.memory`, ms: how long spent tokens are remembered.
    pub lease_memory_ms: u64,
    /// `retry.enabled`.
    pub retry_enabled: bool,
    /// `retry.max-attempts`.
    pub max_attempts: u8,
    /// `retry.max-crashes`.
    pub max_crashes: u8,
    /// `retry.base`, `retry.cap`, `retry.jitter`.
    pub backoff: Backoff,
    /// `job.retention`, ms.
    pub retention_ms: u64,
    /// `idempotency.retention`, ms.
    pub key_retention_ms: u64,
    /// `log.partitions`: unique ids are dealt to them by hash; 1 = all are decided where they come.
    pub partitions: u16,
    /// `affinity.head-every`: of so many hand-outs of a lane one is its head; 1 = affinity off.
    pub head_every: u16,
    /// `affinity.learned-keys`: keys of completed tasks remembered per worker.
    pub learned_keys: usize,
    /// `queue.age-step`, ms: a head that has waited so long raises its lane by a level; 0 = off.
    pub age_step_ms: u64,
    /// `queue.age-max`: levels a lane rises at most.
    pub age_max: u8,
    /// 1 ÷ `queue.low-floor`: every so many hand-outs the lowest level has its turn; 0 = off.
    pub low_every: u32,
    /// `worker.forget`, ms: how long a silent worker's learned keys are kept.
    pub worker_forget_ms: u64,
}

impl Policy {
    /// `affinity.head-every` = 1 switches it off: no postings, nothing learned, nothing counted.
    #[must_use]
    pub fn affinity_on(&self) -> bool {
        self.head_every > 1
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            share: Share::Fair,
            lease_ms: 30_000,
            lease_memory_ms: 900_000,
            retry_enabled: true,
            max_attempts: 4,
            max_crashes: 5,
            backoff: Backoff { base_ms: 1_000, cap_ms: 300_000, jitter: Jitter::Full },
            retention_ms: 604_800_000,
            key_retention_ms: 86_400_000,
            partitions: 1,
            head_every: 8,
            learned_keys: 64,
            age_step_ms: 0,
            age_max: 2,
            low_every: 0,
            worker_forget_ms: 600_000,
        }
    }
}
