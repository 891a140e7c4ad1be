//! What jobs do by themselves as time passes: implicit ones close when nothing comes any more,
//! ended ones go. Which those are is told by the stamps of the log; that it happens is in the log
//! as well.

use crate::actor::handle::{Answer, KwqHandle};
use crate::actor::handle_jobs::state_of;
use crate::core::question::is_over;
use crate::model::id::Name;
use crate::model::job::{DEFAULT_JOB, JobChange, JobState};
use crate::model::question::{JobsOver, OverRule};
use crate::model::state::TaskState;
use crate::model::time::WallMs;
use std::collections::BTreeSet;

/// Jobs of a partition that one round looks at.
const RETIRED_AT_ONCE: usize = 1_000;

impl KwqHandle {
    /// Purges the jobs that ended long enough ago, dead tasks not before `dead_ms`.
    ///
    /// # Errors
    /// A partition that is away; the next round tries again.
    pub(crate) async fn retire_jobs(&self, dead_ms: u64) -> Answer<()> {
        let now = self.now().wall;
        for job in self.jobs_over(now, OverRule::Retention).await? {
            let _control = self.engine.control().await?;
            let Some(sum) = self.sum_job(&job).await? else { continue };
            let (numbers, retention) = (&sum.first.numbers, sum.first.spec.retention_ms);
            let dead = numbers.counts.of(TaskState::Error) > 0;
            let keep_ms = if dead { retention.max(dead_ms) } else { retention };
            if state_of(&sum.first).ended() && is_over(numbers, now, keep_ms) {
                self.apply_change(&job, JobChange::Purge, &sum).await?;
                tracing::info!(%job, "job purged, its retention is over");
            }
        }
        Ok(())
    }

    /// Closes the implicit jobs that have had no live task and no submit for that long. Not
    /// `default`: tasks that name no job must find it open.
    ///
    /// # Errors
    /// As [`Self::retire_jobs`].
    pub(crate) async fn close_idle_jobs(&self, idle_ms: u64) -> Answer<()> {
        let now = self.now().wall;
        let idle = self.jobs_over(now, OverRule::Idle(idle_ms)).await?;
        for job in idle.into_iter().filter(|job| **job != *DEFAULT_JOB) {
            let _control = self.engine.control().await?;
            let Some(sum) = self.sum_job(&job).await? else { continue };
            let open = sum.first.implicit && state_of(&sum.first) == JobState::Open;
            if open && is_over(&sum.first.numbers, now, idle_ms) {
                self.apply_change(&job, JobChange::Close, &sum).await?;
                tracing::info!(%job, "implicit job closed, nothing came for long");
            }
        }
        Ok(())
    }

    /// Names of the jobs of which some partition says so.
    async fn jobs_over(&self, now: WallMs, rule: OverRule) -> Answer<BTreeSet<Name>> {
        let mut names = BTreeSet::new();
        for slot in &self.engine.slots {
            let over = JobsOver { now, rule, max: RETIRED_AT_ONCE };
            names.extend(self.engine.ask(slot, over).await?.0);
        }
        Ok(names)
    }
}
