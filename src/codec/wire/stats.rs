//! Queues and the numbers for people.

use crate::codec::wire::job;
use crate::codec::wire::out::Out;
use crate::model::state::{StateCounts, TaskState};
use crate::model::time::WallMs;
use crate::model::view::{JobView, QueueView};

/// A row of `GET /kwq/queues`; `prefix` begins the names of topics.
pub fn queue(out: &mut Out, row: &QueueView, prefix: &str, now: WallMs) {
    let count = |state| row.counts.of(state);
    out.open();
    out.num("priority", row.priority.get());
    out.str("topic", &row.priority.topic(prefix));
    out.flag("paused", row.paused);
    out.num("pending", count(TaskState::Pending));
    out.num("delayed", count(TaskState::Delayed));
    out.num("allocated", count(TaskState::Allocated));
    out.num("running", count(TaskState::Running));
    out.num("oldestAgeMs", age(row.oldest_pending, now));
    out.float("inPerSec", row.in_per_sec, 3);
    out.float("outPerSec", row.out_per_sec, 3);
    out.num("jobs", row.jobs);
    out.close();
}

fn age(oldest: WallMs, now: WallMs) -> u64 {
    oldest.known().map_or(0, |oldest| now.since(oldest))
}

/// Parts of `GET /kwq/stats/now` that are plain numbers.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a> {
    /// Taken at.
    pub ts: WallMs,
    /// `ok`, `warn`, `bad`.
    pub verdict: &'a str,
    /// One sentence for people.
    pub verdict_text: &'a str,
    /// Tasks by state.
    pub counts: &'a StateCounts,
    /// Admitted ever, purged ever.
    pub totals: (u64, u64),
    /// Levels, 9 first.
    pub queues: &'a [QueueView],
    /// Per second: submit, allocate, complete, fail.
    pub rates: [f64; 4],
    /// Wait, ms: p50, p95, p99.
    pub wait_ms: [u64; 3],
    /// Workers idle, busy, draining, lost.
    pub workers: [u64; 4],
    /// Parked consumes.
    pub consumers_waiting: u64,
    /// Live leases.
    pub leases: u64,
    /// Affinity hits, misses.
    pub affinity: (u64, u64),
    /// Top jobs by pending.
    pub jobs: &'a [JobView],
}

/// Writes the members of the snapshot but `partitions` and `alerts` into the open object.
pub fn snapshot(out: &mut Out, now: &Numbers<'_>) {
    out.num("ts", now.ts.0);
    out.object("verdict");
    out.str("level", now.verdict);
    out.str("text", now.verdict_text);
    out.close();
    out.key("tasks");
    job::counts(out, now.counts);
    out.num("submitted", now.totals.0);
    out.num("purged", now.totals.1);
    out.list("queues");
    now.queues.iter().for_each(|row| short_queue(out, row, now.ts));
    out.close_list();
    out.object("rates");
    for (name, rate) in ["submit", "allocate", "complete", "fail"].into_iter().zip(now.rates) {
        out.float(name, rate, 3);
    }
    out.close();
    out.object("wait");
    for (name, ms) in ["p50Ms", "p95Ms", "p99Ms"].into_iter().zip(now.wait_ms) {
        out.num(name, ms);
    }
    out.close();
    out.object("workers");
    for (name, n) in ["idle", "busy", "draining", "lost"].into_iter().zip(now.workers) {
        out.num(name, n);
    }
    out.close();
    out.num("consumersWaiting", now.consumers_waiting);
    out.num("leases", now.leases);
    out.object("affinity");
    out.num("hits", now.affinity.0);
    out.num("misses", now.affinity.1);
    out.close();
    out.list("jobs");
    now.jobs.iter().for_each(|view| short_job(out, view));
    out.close_list();
}

/// Without what a page of levels would ask for itself: the snapshot is to stay below 5 KB.
fn short_queue(out: &mut Out, row: &QueueView, now: WallMs) {
    out.open();
    out.num("priority", row.priority.get());
    out.num("pending", row.counts.of(TaskState::Pending));
    out.num("oldestAgeMs", age(row.oldest_pending, now));
    out.float("inPerSec", row.in_per_sec, 3);
    out.float("outPerSec", row.out_per_sec, 3);
    out.flag("paused", row.paused);
    out.close();
}

fn short_job(out: &mut Out, view: &JobView) {
    let count = |state| view.numbers.counts.of(state);
    out.open();
    out.str("id", &view.id);
    out.num("priority", view.spec.priority.get());
    out.num("pending", count(TaskState::Pending));
    out.num("running", count(TaskState::Running));
    out.num("completed", count(TaskState::Completed));
    out.num("error", count(TaskState::Error));
    if let Some(eta) = view.eta {
        out.num("eta_ts", eta.0);
    }
    out.close();
}

/// A window of the seed's statistics: changes to SUBMITTED, ALLOCATED, RUNNING, ERROR, COMPLETED;
/// its end.
pub fn seed_window(out: &mut Out, changes: [u64; 5], end: WallMs) {
    out.open();
    out.num("total", changes.iter().sum::<u64>());
    let names = ["submitted", "allocated", "running", "error", "completed"];
    for (name, n) in names.into_iter().zip(changes) {
        out.num(name, n);
    }
    out.num("time", end.0);
    out.close();
}

/// Time series: a value or `null` for each step. Whole values are written without a fraction.
pub fn series<'a>(
    out: &mut Out,
    from: WallMs,
    step_ms: u64,
    rows: impl Iterator<Item = (&'a str, &'a [Option<f64>])>,
) {
    out.open();
    out.num("from_ts", from.0);
    out.num("stepMs", step_ms);
    out.object("series");
    for (name, values) in rows {
        out.list(name);
        for value in values {
            match value {
                None => out.raw(b"null"),
                Some(value) if value.fract() == 0.0 => out.plain(format_args!("{value:.0}")),
                Some(value) => out.plain(format_args!("{value:.3}")),
            }
        }
        out.close_list();
    }
    out.close();
    out.close();
}
