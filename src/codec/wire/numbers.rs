//! Levels and workers as they are shown.

use crate::codec::wire::out::Out;
use crate::model::state::TaskState;
use crate::model::view::{QueueView, WorkerView};

/// One row of `GET /kwq/queues`.
pub fn queue(to: &mut Out, queue: &QueueView, now_ms: u64) {
    to.open();
    to.num("priority", queue.priority.get());
    to.str("topic", &queue.priority.topic("KWQ"));
    to.flag("paused", queue.paused);
    to.num("pending", queue.counts.of(TaskState::Pending));
    to.num("delayed", queue.counts.of(TaskState::Delayed));
    to.num("allocated", queue.counts.of(TaskState::Allocated));
    to.num("running", queue.counts.of(TaskState::Running));
    let age = queue.oldest_pending.known().map_or(0, |at| now_ms.saturating_sub(at.0));
    to.num("oldestAgeMs", age);
    to.float("inPerSec", queue.in_per_sec, 1);
    to.float("outPerSec", queue.out_per_sec, 1);
    to.num("jobs", queue.jobs);
    to.close();
}

/// A worker; `held` only by name.
pub fn worker(to: &mut Out, worker: &WorkerView, held: bool) {
    to.open();
    to.str("worker", &worker.worker);
    to.opt_str("endpoint", worker.endpoint.as_deref());
    to.str("state", worker.state.name());
    if let Some(slots) = worker.slots {
        to.num("slots", slots);
    }
    to.opt_str("version", worker.version.as_deref());
    to.num("leases", worker.leases);
    to.num("completed", worker.completed);
    to.num("failed", worker.failed);
    to.num("crashed", worker.crashed);
    to.stamp("firstSeen_ts", worker.first_seen);
    to.stamp("lastSeen_ts", worker.last_seen);
    to.list("affinity");
    worker.affinity.iter().for_each(|key| to.text(key));
    to.close_list();
    if held {
        to.list("held");
        for task in &worker.held {
            to.open();
            to.shown("ref", task.reference);
            to.str("groupId", &task.job);
            to.num("attempt", task.attempt);
            to.stamp("allocated_ts", task.allocated);
            to.close();
        }
        to.close_list();
    }
    to.close();
}
