//! Numbers through the door: levels, the snapshot of everything, state hashes, images.

use crate::actor::handle::{Answer, KwqHandle};
use crate::actor::request::{At, SeedWindow, StatsNow};
use crate::core::stats::{Stats, WAIT_BUCKETS};
use crate::model::command::{Class, Command};
use crate::model::id::{Name, PartitionId, Position};
use crate::model::priority::Priority;
use crate::model::question::{Numbers, PartNumbers, StateHash};
use crate::model::reject::{Code, Reject};
use crate::model::reply::Decided;
use crate::model::state::{StateCounts, TaskState};
use crate::model::time::WallMs;
use crate::model::view::QueueView;
use std::collections::BTreeMap;
use std::time::Duration;

impl KwqHandle {
    /// Nine levels, 9 first.
    ///
    /// # Errors
    /// A partition that is away.
    pub async fn queues(&self) -> Answer<Vec<QueueView>> {
        let parts = self.part_numbers().await?;
        let rates = self.engine.tracker.rates().await?;
        let jobs = self.all_jobs().await?;
        let view = |priority: Priority| {
            let level = priority.index();
            let mut counts = StateCounts::default();
            let mut oldest = WallMs(0);
            for part in &parts {
                counts.merge(&part.levels[level].counts);
                let at = part.levels[level].oldest;
                if at != WallMs(0) && (oldest == WallMs(0) || at < oldest) {
                    oldest = at;
                }
            }
            let lanes = parts.iter().map(|p| p.levels[level].lanes).max().unwrap_or(0);
            QueueView {
                priority,
                paused: parts.iter().any(|p| p.levels[level].paused),
                counts,
                oldest_pending: oldest,
                jobs: lanes.min(jobs.len() as u64),
                in_per_sec: rates.level_in[level],
                out_per_sec: rates.level_out[level],
            }
        };
        Ok(Priority::DESCENDING.iter().map(|p| view(*p)).collect())
    }

    async fn part_numbers(&self) -> Answer<Vec<Box<PartNumbers>>> {
        let calls = self.engine.slots.iter().map(|slot| self.engine.ask(slot, Numbers));
        let parts = futures_util::future::try_join_all(calls).await?;
        Ok(parts.into_iter().map(|(part, _)| part).collect())
    }

    /// Pauses or resumes a level, `None` = all.
    ///
    /// # Errors
    /// A partition that is away.
    pub async fn set_level(&self, level: Option<Priority>, paused: bool) -> Answer<Vec<QueueView>> {
        let engine = &*self.engine;
        let _control = engine.control().await?;
        let calls = engine
            .slots
            .iter()
            .map(|slot| engine.decide(slot, Command::SetLevel { level, paused }, Class::Report, 0));
        for decided in futures_util::future::join_all(calls).await {
            let accepted = decided.and_then(Decided::accepted);
            accepted.map_err(Reject::possibly_applied)?;
        }
        self.queues().await.map_err(Reject::possibly_applied)
    }

    /// Snapshot of everything the UI shows. The counters are the owners', so they are always fresh.
    ///
    /// # Errors
    /// A partition that is away.
    pub async fn stats_now(&self) -> Answer<StatsNow> {
        let parts = self.part_numbers().await?;
        let queues = self.queues().await?;
        let (mut jobs, departed) = self.jobs_and_departed().await?;
        let rates = self.engine.tracker.rates().await?;
        let mut counts = StateCounts::default();
        let (mut submitted, mut purged, mut hits, mut misses) = (departed, departed, 0, 0);
        for job in &jobs {
            counts.merge(&job.numbers.counts);
            submitted += job.numbers.submitted;
            purged += job.numbers.purged;
            hits += job.numbers.hits;
            misses += job.numbers.misses;
        }
        let mut waits = [0; WAIT_BUCKETS];
        for part in &parts {
            waits.iter_mut().zip(part.waits).for_each(|(sum, count)| *sum += count);
        }
        jobs.sort_by_key(|j| std::cmp::Reverse(j.numbers.counts.of(TaskState::Pending)));
        jobs.truncate(10);
        let leases = parts.iter().flat_map(|p| &p.holders).map(|holder| holder.leases).sum();
        let now = self.now();
        let (verdict, verdict_text) = verdict(&counts, &queues, rates.total[2], now.wall);
        Ok(StatsNow {
            ts: now.wall,
            verdict,
            verdict_text,
            counts,
            submitted,
            purged,
            queues,
            rates: rates.total,
            wait_ms: [0.5, 0.95, 0.99].map(|share| Stats::wait_quantile(&waits, share)),
            workers: self.worker_counts(&parts).await,
            consumers_waiting: self.engine.hub.waiting() as u64,
            leases,
            affinity: (hits, misses),
            jobs,
            partitions: self.partitions().await,
        })
    }

    /// The seed's windows, newest first.
    ///
    /// # Errors
    /// The tracker is being rebuilt.
    pub async fn seed_stats(&self, limit: usize) -> Answer<At<Vec<SeedWindow>>> {
        let seen = self.engine.tracker.windows(limit).await?;
        let (positions, lag_ms) = self.valid(seen.behind);
        Ok(At { value: seen.value, positions, lag_ms })
    }

    /// Tasks ended per second by job, last 60 s.
    pub(crate) async fn job_rates(&self) -> BTreeMap<Name, f64> {
        self.engine.tracker.job_rates().await
    }

    /// State hash of each partition owned here.
    ///
    /// # Errors
    /// A partition that is away.
    pub async fn state_hash(&self) -> Answer<Vec<(PartitionId, Position, String)>> {
        let mut rows = Vec::new();
        for slot in &self.engine.slots {
            let (hash, position) = self.engine.ask(slot, StateHash).await?;
            rows.push((slot.id, position, hash));
        }
        Ok(rows)
    }

    /// Writes images now.
    ///
    /// # Errors
    /// The log refused one.
    pub async fn write_images(&self) -> Answer<Vec<(PartitionId, Position)>> {
        let Some(node) = self.engine.node() else {
            return Err(Reject::new(Code::NotReady, "the node is starting"));
        };
        crate::actor::node::write_images(&node, &self.engine).await
    }
}

/// A time for people, in the largest unit that has two of it.
fn coarse(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(size, _)| seconds >= 2 * size);
    unit.map_or_else(|| format!("{seconds} s"), |(size, name)| format!("{} {name}", seconds / size))
}

/// One sentence for people: is it fine, and when is it done.
fn verdict(
    counts: &StateCounts,
    queues: &[QueueView],
    complete_per_sec: f64,
    now: WallMs,
) -> (&'static str, String) {
    let pending = counts.of(TaskState::Pending);
    let leased = counts.of(TaskState::Allocated) + counts.of(TaskState::Running);
    if pending == 0 && leased == 0 {
        return ("ok", "idle: nothing waits".to_owned());
    }
    let oldest = queues.iter().filter_map(|q| q.oldest_pending.known()).min();
    let age_s = oldest.map_or(0, |at| now.since(at) / 1_000);
    if complete_per_sec > 0.0 {
        let left = Duration::try_from_secs_f64((pending + leased) as f64 / complete_per_sec);
        let left = coarse(left.map_or(u64::MAX, |left| left.as_secs()));
        let age = coarse(age_s);
        return ("ok", format!("healthy: {pending} waiting, oldest {age}, drains in {left}"));
    }
    if pending > 0 && leased == 0 {
        let age = coarse(age_s);
        return ("warn", format!("{pending} waiting, nobody works on them; oldest {age}"));
    }
    ("ok", format!("{pending} waiting, {leased} handed out, none ended in the last minute"))
}
