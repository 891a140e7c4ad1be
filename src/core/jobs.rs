//! Job commands: definition and control verbs, O(1) in the number of tasks.

use crate::core::partition::Partition;
use crate::model::event::{Event, Stamped};
use crate::model::id::Name;
use crate::model::job::{CancelMode, JobChange, JobSpec};
use crate::model::reply::JobOutcome;

impl Partition {
    pub(crate) fn define_job(
        &mut self,
        job: Name,
        spec: JobSpec,
        replace: bool,
        events: &mut Vec<Stamped>,
    ) -> JobOutcome {
        let same = |known: &JobSpec| match replace {
            true => *known == spec,
            false => known.same(&spec, &self.policy),
        };
        let outcome = match self.job_keys.get(&job).map(|key| self.job(*key)) {
            None => JobOutcome::Created,
            Some(known) if !known.implicit && same(&known.spec) => JobOutcome::Unchanged,
            Some(known) if !known.implicit && !replace => JobOutcome::Conflict,
            Some(_) => JobOutcome::Changed,
        };
        if outcome == JobOutcome::Created || outcome == JobOutcome::Changed {
            self.commit(Event::JobDefined { job, implicit: false, spec }, events);
        }
        outcome
    }

    pub(crate) fn change_job(
        &mut self,
        job: &Name,
        change: JobChange,
        spec: JobSpec,
        implicit: bool,
        events: &mut Vec<Stamped>,
    ) -> JobOutcome {
        if !self.job_keys.contains_key(job) {
            if change == JobChange::Purge {
                return JobOutcome::Unchanged;
            }
            self.commit(Event::JobDefined { job: job.clone(), implicit, spec }, events);
        }
        let row = self.job(self.job_keys[job]);
        let same = match &change {
            JobChange::Close => row.closed,
            JobChange::Pause => row.paused,
            JobChange::Resume => !row.paused,
            JobChange::Weight(weight) => row.spec.weight == *weight,
            JobChange::Retention(ms) => row.spec.retention_ms == *ms,
            // Also moves tasks that were submitted with another priority of their own.
            JobChange::Prioritise(_) => false,
            JobChange::Purge => row.numbers.counts.live() > 0,
            JobChange::Cancel(mode, _) => row
                .cancel
                .as_ref()
                .is_some_and(|mark| mark.mode == CancelMode::Stop || mark.mode == *mode),
        };
        if same {
            return JobOutcome::Unchanged;
        }
        self.commit(Event::JobChanged { job: job.clone(), change }, events);
        JobOutcome::Changed
    }
}
