//! Once a second: plain numbers of the core become metrics.

use crate::actor::handle::KwqHandle;
use crate::core::partition::Partition;
use crate::metrics::{BUCKETS, PartitionNumbers};
use crate::model::priority::Priority;
use crate::model::state::TaskState;
use crate::model::time::WallMs;

pub(crate) async fn publish(handle: &KwqHandle) {
    let now = handle.now().wall;
    for slot in &handle.engine.slots {
        let read = move |partition: &Partition| numbers(partition, now);
        match handle.engine.inspect(slot, read).await {
            Ok((numbers, _)) => handle.engine.metrics.publish_partition(slot.id, &numbers),
            Err(reject) => tracing::trace!(detail = %reject.detail, "partition not published"),
        }
    }
}

fn numbers(partition: &Partition, now: WallMs) -> PartitionNumbers {
    let mut numbers = PartitionNumbers { owned: 1, replay: (1, 1), ..PartitionNumbers::default() };
    for job in partition.job_rows() {
        for state in TaskState::ALL {
            numbers.states[state.index()] += job.numbers.counts.of(state);
        }
    }
    let levels = partition.level_parts();
    let stats = partition.stats();
    for priority in Priority::DESCENDING {
        let at = priority.index();
        numbers.depth[at] = levels[at].counts.of(TaskState::Pending);
        numbers.oldest_age_ms[at] = levels[at].oldest.known().map_or(0, |t| now.since(t));
        numbers.paused[at] = u64::from(levels[at].paused);
        numbers.submitted[at] = stats.submitted[at];
        numbers.allocated[at] = stats.allocated[at];
        numbers.started[at] = stats.started[at];
        numbers.completed[at] = stats.completed[at];
        numbers.cancelled[at] = stats.cancelled[at];
        numbers.retried[at] = stats.retried[at];
        for cause in 0..3 {
            numbers.failed[cause][at] = stats.failed[cause][at];
        }
        numbers.wait[at] = std::array::from_fn(|k| waits(&stats.waits[at], k));
    }
    numbers.released = stats.released;
    numbers.dead = stats.dead;
    numbers.leases = partition.lease_count() as u64;
    numbers.leases_expired = stats.expired;
    numbers
}

/// The last published bucket gathers all longer waits.
fn waits(waits: &[u64], bucket: usize) -> u64 {
    let last = bucket + 1 == BUCKETS;
    if last { waits.iter().skip(bucket).sum() } else { waits.get(bucket).copied().unwrap_or(0) }
}
