//! Break-downs through the door: the tracker's counters, with everything acknowledged before the
//! question, or as old as they say.

use crate::actor::handle::{Answer, KwqHandle};
use crate::actor::request::At;
use crate::actor::tracker::{Patience, Seen};
use crate::metrics::QueryKind;
use crate::model::breakdown::{Breakdown, By, Within};
use crate::model::id::Name;

impl KwqHandle {
    /// Tasks of a job by state, priority or tag.
    ///
    /// # Errors
    /// `job_not_found`, `tracker_behind`.
    pub async fn breakdown(&self, job: Name, by: By, fresh: bool) -> Answer<At<Breakdown>> {
        // A job may be there before its first task; the tracker knows it by its tasks only.
        self.job(job.clone()).await?;
        let (started, patience) = (self.now().tick, Patience::of(fresh));
        let tracker = &self.engine.tracker;
        let seen = match by {
            By::State => {
                tracker.level_counts(job, patience).await?.map(|c| Breakdown::of_states(&c))
            }
            By::Priority => {
                tracker.level_counts(job, patience).await?.map(|c| Breakdown::of_levels(&c))
            }
            By::Tag(key) => {
                let counts = tracker.tag_counts(Within::Job(job), key, patience).await?;
                counts.map(Breakdown::of_tags)
            }
        };
        Ok(self.counted(seen, started))
    }

    /// Tasks of all jobs by the values of a tag key.
    ///
    /// # Errors
    /// `tracker_behind`.
    pub async fn tags(&self, key: Name, fresh: bool) -> Answer<At<Breakdown>> {
        let started = self.now().tick;
        if fresh {
            self.hear_others().await;
        }
        let within = Within::Jobs(self.scopes.clone());
        let counts = self.engine.tracker.tag_counts(within, key, Patience::of(fresh)).await?;
        Ok(self.counted(counts.map(Breakdown::of_tags), started))
    }

    fn counted<T>(&self, seen: Seen<T>, started: crate::model::time::Tick) -> At<T> {
        let took_ms = self.now().tick.since(started);
        self.engine.metrics.queried(QueryKind::Counters, took_ms as f64 / 1_000.0);
        let (positions, lag_ms) = self.valid(seen.behind);
        At { value: seen.value, positions, lag_ms }
    }
}
