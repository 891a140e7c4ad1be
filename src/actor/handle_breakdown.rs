//! Break-downs through the door: the tracker's counters. The question stands behind everything
//! acknowledged before it, so the answer is always fresh.

use crate::actor::handle::{Answer, KwqHandle};
use crate::actor::request::At;
use crate::metrics::QueryKind;
use crate::model::breakdown::{Breakdown, By, Within};
use crate::model::id::Name;

impl KwqHandle {
    /// Tasks of a job by state, priority or tag.
    ///
    /// # Errors
    /// `job_not_found`, `tracker_behind`.
    pub async fn breakdown(&self, job: Name, by: By) -> Answer<At<Breakdown>> {
        // A job may be there before its first task; the tracker knows it by its tasks only.
        self.job(job.clone()).await?;
        let started = self.now().tick;
        let tracker = &self.engine.tracker;
        let value = match by {
            By::State => Breakdown::of_states(&tracker.level_counts(job).await?),
            By::Priority => Breakdown::of_levels(&tracker.level_counts(job).await?),
            By::Tag(key) => Breakdown::of_tags(tracker.tag_counts(Within::Job(job), key).await?),
        };
        Ok(self.counted(value, started))
    }

    /// Tasks of all jobs by the values of a tag key.
    ///
    /// # Errors
    /// `tracker_behind`.
    pub async fn tags(&self, key: Name) -> Answer<At<Breakdown>> {
        let started = self.now().tick;
        let within = Within::Jobs(self.scopes.clone());
        let counts = self.engine.tracker.tag_counts(within, key).await?;
        Ok(self.counted(Breakdown::of_tags(counts), started))
    }

    fn counted<T>(&self, value: T, started: crate::model::time::Tick) -> At<T> {
        let took_ms = self.now().tick.since(started);
        self.engine.metrics.queried(QueryKind::Counters, took_ms as f64 / 1_000.0);
        At { value, positions: self.positions() }
    }
}
