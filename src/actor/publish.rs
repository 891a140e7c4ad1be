//! Once a second: plain numbers of the core become metrics, points of the time series, and events.

use crate::actor::bodies;
use crate::actor::engine::lock;
use crate::actor::handle::KwqHandle;
use crate::actor::slot::{Slot, SlotState};
use crate::core::partition::Partition;
use crate::metrics::{BUCKETS, ClientShown, InboxRecord, LogShown, PartitionNumbers, WorkerShown};
use crate::model::job::JobState;
use crate::model::priority::Priority;
use crate::model::state::TaskState;
use crate::model::time::{Now, WallMs};
use crate::model::worker::WorkerState;
use std::sync::atomic::Ordering;

pub(crate) async fn publish(handle: &KwqHandle, now: Now) {
    let engine = &handle.engine;
    let wall = now.wall;
    let mut partitions = Vec::with_capacity(engine.slots.len());
    for slot in &engine.slots {
        if slot.state() == SlotState::Elsewhere {
            engine.metrics.rebase_partition(slot.id, &PartitionNumbers::default());
        }
        let read = move |partition: &Partition| numbers(partition, wall);
        partitions.push(match engine.inspect_local(slot, read).await {
            Ok((mut numbers, _)) => {
                numbers.commands = slot.queued() as u64;
                numbers.tracker_lag = engine.tracker.lag_of(slot.id);
                engine.metrics.publish_partition(slot.id, &numbers);
                Some(numbers)
            }
            Err(reject) => {
                tracing::trace!(detail = %reject.detail, "partition not published");
                None
            }
        });
    }
    lock(&engine.sampler).take(&partitions, now);
    engine.metrics.consumers_waiting.set(engine.hub.waiting() as f64);
    publish_log(handle).await;
    changes(handle).await;
    publish_cluster(handle, &partitions).await;
    publish_workers(handle);
}

/// The log looks at the disk, which may be slow.
async fn publish_log(handle: &KwqHandle) {
    let Ok(log) = handle.engine.log() else { return };
    let Ok(numbers) = tokio::task::spawn_blocking(move || log.numbers()).await else { return };
    handle.engine.metrics.publish_log(LogShown {
        sync_micros: numbers.sync_micros,
        sync_records: numbers.sync_records,
        bytes: [numbers.segment_bytes, numbers.image_bytes],
        free_bytes: numbers.free_bytes,
        clients: numbers.clients.map(|client| ClientShown {
            queued_bytes: client.queued_bytes,
            round_trip_micros: client.round_trip_micros,
            faults: client.faults,
        }),
    });
}

/// Tells when a partition has come or gone, or all levels were paused or resumed.
async fn publish_cluster(handle: &KwqHandle, partitions: &[Option<PartitionNumbers>]) {
    let engine = &handle.engine;
    let state = |slot: &Slot| (slot.epoch.load(Ordering::Acquire), slot.state() as u8);
    let known: Option<Vec<&PartitionNumbers>> = partitions.iter().map(Option::as_ref).collect();
    let all_paused = known.map(|known| {
        let paused = |level: usize| known.iter().any(|numbers| numbers.paused[level] > 0);
        (0..Priority::LEVELS).all(paused)
    });
    let mark = (engine.slots.iter().map(state).collect(), all_paused);
    if engine.feed.cluster_changed(mark) {
        let cluster = handle.cluster().await;
        engine.feed.cluster(&bodies::cluster(&cluster), handle.now());
    }
}

/// A look at jobs and operations, whose changes become events.
pub(crate) async fn changes(handle: &KwqHandle) {
    publish_jobs(handle).await;
    if let Ok(operations) = handle.operations().await {
        handle.engine.feed.operations(&operations, handle.now());
    }
}

async fn publish_jobs(handle: &KwqHandle) {
    let Ok(jobs) = handle.all_jobs().await else { return };
    handle.engine.feed.jobs(&jobs, &handle.engine.config.policy, handle.now());
    for state in JobState::ALL {
        let count = jobs.iter().filter(|job| job.state == state).count();
        handle.engine.metrics.set_jobs(state, count as u64);
    }
}

fn publish_workers(handle: &KwqHandle) {
    let shown = [
        (WorkerState::Active, WorkerShown::Active),
        (WorkerState::Draining, WorkerShown::Draining),
        (WorkerState::Lost, WorkerShown::Lost),
    ];
    let states = lock(&handle.engine.workers).states(handle.now());
    for (state, shown) in shown {
        let count = states.iter().filter(|known| **known == state).count();
        handle.engine.metrics.set_workers(shown, count as u64);
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
        numbers.inbox[InboxRecord::Taken as usize][at] = stats.inbox_taken[at];
        numbers.inbox[InboxRecord::Lost as usize][at] = stats.inbox_lost[at];
        numbers.inbox[InboxRecord::Dead as usize][at] = stats.came_in_dead[at];
        numbers.wait[at] = stats.waits[at];
        numbers.run[at] = stats.runs[at];
        numbers.total[at] = stats.totals[at];
    }
    numbers.released = stats.released;
    numbers.dead = stats.dead;
    numbers.leases = partition.lease_count() as u64;
    numbers.lease_oldest_age_ms = partition.oldest_lease().map_or(0, |at| now.since(at));
    numbers.leases_expired = stats.expired;
    numbers.lease_rejected = stats.lease_rejected;
    numbers.fits = stats.fits;
    numbers
}

const _: () = assert!(BUCKETS == crate::core::stats::WAIT_BUCKETS);
const _: () = assert!(BUCKETS == crate::log::SYNC_BUCKETS);
