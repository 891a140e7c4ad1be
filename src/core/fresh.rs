//! Work that became ready in this turn, by the keys it carries: it tells whom to wake first. A hint
//! of one turn, bounded and best effort: in no event, no image and no state hash.

use crate::core::intern::{Class, JobKey, KeySet};
use crate::core::partition::Partition;
use crate::model::id::Name;
use crate::model::priority::Priority;

/// Entries of a turn; what comes beyond them wakes by waiting time alone.
const KINDS_MAX: usize = 64;

/// Ready work that some workers suit better than others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyWork {
    /// Job.
    pub job: Name,
    /// Where it is served.
    pub level: Priority,
    /// Keys with their weights.
    pub keys: Vec<(Name, u8)>,
    /// Tasks.
    pub count: u64,
}

/// What became ready since the last look.
#[derive(Clone, Debug, Default)]
pub struct Fresh {
    kinds: Vec<(JobKey, Priority, KeySet, u64)>,
}

impl Fresh {
    fn note(&mut self, (job, level, keys): (JobKey, Priority, KeySet), count: u64) {
        if keys == KeySet::default() {
            return;
        }
        // Tasks of one kind mostly come one after another.
        if let Some((.., known)) =
            self.kinds.last_mut().filter(|k| (k.0, k.1, k.2) == (job, level, keys))
        {
            *known += count;
        } else if self.kinds.len() < KINDS_MAX {
            self.kinds.push((job, level, keys, count));
        }
    }
}

impl Partition {
    /// Tasks of a class came into a lane.
    pub(crate) fn became_ready(&mut self, class: &Class, level: Priority, count: u64) {
        if self.armed && self.policy.affinity_on() {
            self.fresh.note((class.job, level, class.keys), count);
        }
    }

    /// All tasks of a lane may be handed out again; of many only the oldest are looked at.
    pub(crate) fn lane_became_ready(&mut self, job: JobKey, level: Priority) {
        let lane = &self.job(job).lanes[level.index()];
        let oldest = lane.iter().take(KINDS_MAX);
        let classes: Vec<Class> = oldest.filter_map(|seq| self.class(seq)).collect();
        for class in classes {
            self.became_ready(&class, level, 1);
        }
    }

    /// A level, or all, may be handed out again; of many lanes only the first are looked at.
    pub(crate) fn level_became_ready(&mut self, level: Option<Priority>) {
        for level in Priority::DESCENDING.into_iter().filter(|l| level.is_none_or(|one| one == *l))
        {
            let lanes = self.levels[level.index()].lanes().take(KINDS_MAX);
            let first: Vec<JobKey> = lanes.map(|(.., job)| job).collect();
            first.into_iter().for_each(|job| self.lane_became_ready(job, level));
        }
    }

    /// Work with keys that became ready since the last call and may be handed out now.
    pub fn fresh_work(&mut self) -> Vec<ReadyWork> {
        let kinds = std::mem::take(&mut self.fresh.kinds);
        let open = |(job, level, ..): &(JobKey, Priority, KeySet, u64)| {
            self.job(*job).runs() && !self.levels[level.index()].paused
        };
        let named = |(job, level, set, count): (JobKey, Priority, KeySet, u64)| ReadyWork {
            job: self.job(job).name.clone(),
            level,
            keys: self.keys.named(set),
            count,
        };
        kinds.into_iter().filter(open).map(named).collect()
    }

    /// Nobody waits: what became ready needs nobody's attention.
    pub fn forget_fresh(&mut self) {
        self.fresh.kinds.clear();
    }

    /// Keys that a worker has learned here, oldest first.
    #[must_use]
    pub fn learned_by(&self, worker: &Name) -> Vec<Name> {
        let known = self.workers.known(worker).map(crate::core::intern::WorkerKey);
        let learned = known.map_or(&[][..], |worker| self.learned.of(worker));
        learned.iter().map(|key| self.keys.name(*key).clone()).collect()
    }
}
