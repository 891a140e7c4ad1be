//! Bodies that both an answer and an event carry, so that the two cannot differ.

use crate::actor::request::{ClusterView, StatsNow};
use crate::codec::wire::out::Out;
use crate::codec::wire::{cluster as cluster_wire, job as job_wire, operation, stats};
use crate::model::operation::Operation;
use crate::model::policy::Policy;
use crate::model::time::WallMs;
use crate::model::view::JobView;

/// A job.
#[must_use]
pub fn job(job: &JobView, policy: &Policy, now: WallMs) -> Vec<u8> {
    let mut out = Out::with_capacity(900);
    job_wire::view(&mut out, job, policy, now);
    out.into_bytes()
}

/// An operation.
#[must_use]
pub fn operation_of(of: &Operation) -> Vec<u8> {
    let mut out = Out::with_capacity(300);
    operation::view(&mut out, of);
    out.into_bytes()
}

/// Nodes and partitions.
#[must_use]
pub fn cluster(cluster: &ClusterView) -> Vec<u8> {
    let partitions = &cluster.partitions;
    let mut out = Out::with_capacity(400 + partitions.len() * 160);
    out.open();
    out.str("version", &cluster.version);
    out.str("backend", cluster.backend);
    cluster_wire::durability(&mut out, &cluster.durability_reasons);
    out.list("nodes");
    for instance in &cluster.instances {
        out.open();
        out.str("node", &instance.node);
        out.str("addr", &instance.addr);
        out.str("version", &instance.version);
        out.stamp("lastSeen_ts", instance.seen);
        out.list("partitions");
        instance.partitions.iter().for_each(|p| out.number(u64::from(p.0)));
        out.close_list();
        out.close();
    }
    out.close_list();
    out.list("partitions");
    for row in partitions {
        cluster_wire::partition(
            &mut out,
            &cluster_wire::Partition {
                partition: row.partition.0,
                owner: &row.owner,
                epoch: row.epoch,
                state: row.state,
                position: row.position.0,
                replay: row.replay,
                pending: row.pending,
            },
        );
    }
    out.close_list();
    out.flag("paused", cluster.paused);
    out.close();
    out.into_bytes()
}

/// The snapshot, of at most 5 KB with 3 partitions: with fewer jobs when their names are long.
#[must_use]
pub fn snapshot(now: &StatsNow) -> Vec<u8> {
    let most = snapshot_max(now.partitions.len());
    let with = |jobs: usize| snapshot_of(now, &now.jobs[..jobs]);
    let fits = (1..=now.jobs.len()).rev().map(with).find(|body| body.len() <= most);
    fits.unwrap_or_else(|| with(0))
}

/// 5 KB with 3 partitions, 60 B for each one more.
const fn snapshot_max(partitions: usize) -> usize {
    5_000 + 60 * partitions.saturating_sub(3)
}

fn snapshot_of(now: &StatsNow, jobs: &[JobView]) -> Vec<u8> {
    let mut out = Out::with_capacity(6 << 10);
    out.open();
    stats::snapshot(
        &mut out,
        &stats::Numbers {
            ts: now.ts,
            verdict: now.verdict,
            verdict_text: &now.verdict_text,
            counts: &now.counts,
            totals: (now.submitted, now.purged),
            queues: &now.queues,
            rates: now.rates,
            wait_ms: now.wait_ms,
            workers: now.workers,
            consumers_waiting: now.consumers_waiting,
            leases: now.leases,
            affinity: now.affinity,
            jobs,
        },
    );
    out.list("partitions");
    for partition in &now.partitions {
        out.open();
        out.num("i", partition.partition.0);
        out.str("owner", &partition.owner);
        out.str("state", partition.state);
        out.float("replay", partition.replay, 3);
        out.close();
    }
    out.close_list();
    out.list("alerts");
    out.close_list();
    out.close();
    out.into_bytes()
}

#[cfg(test)]
#[path = "bodies_tests.rs"]
mod tests;
