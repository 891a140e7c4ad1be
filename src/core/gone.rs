//! What was purged lately: it is answered as `purged` for seven days, then as unknown.
//!
//! Jobs by name, tasks as sets by the hour, client ids as hashes. A purge of millions of tasks in a
//! row costs some bytes here; only client ids cost 8 B and more each.

use crate::core::bitmap::SeqSet;
use crate::core::idindex::hash_of;
use crate::model::id::{Name, TaskSeq};
use crate::model::limits;
use crate::model::time::WallMs;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const HOUR_MS: u64 = 3_600_000;

/// Memory of purges.
#[derive(Clone, Debug, Default)]
pub struct Gone {
    jobs: BTreeMap<Name, WallMs>,
    /// The same in the order of time.
    oldest: BTreeSet<(WallMs, Name)>,
    hours: VecDeque<Hour>,
}

#[derive(Clone, Debug, Default)]
struct Hour {
    number: u64,
    tasks: SeqSet,
    ids: BTreeSet<u64>,
}

/// As an image keeps it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GoneColumns {
    jobs: Vec<(Name, WallMs)>,
    hours: Vec<HourColumns>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct HourColumns {
    number: u64,
    tasks: Vec<(TaskSeq, u64)>,
    ids: Vec<u64>,
}

impl Hour {
    /// No purge of this hour is remembered any more.
    fn over(&self, now: WallMs) -> bool {
        now.0 / HOUR_MS > self.number + limits::PURGED_KNOWN_MS / HOUR_MS
    }
}

impl Gone {
    /// Remembers a job.
    pub fn add_job(&mut self, job: &Name, at: WallMs) {
        if let Some(before) = self.jobs.insert(job.clone(), at) {
            self.oldest.remove(&(before, job.clone()));
        }
        self.oldest.insert((at, job.clone()));
        while let Some((first, _)) = self.oldest.first()
            && (self.jobs.len() > limits::PURGED_JOBS_MAX || over(*first, at))
        {
            if let Some((_, name)) = self.oldest.pop_first() {
                self.jobs.remove(&name);
            }
        }
    }

    /// Remembers consecutive tasks, none of which is remembered yet.
    pub fn add_tasks(&mut self, first: TaskSeq, count: u64, at: WallMs) {
        self.hour(at).tasks.insert_run(first, count);
    }

    /// Remembers the hash of a client id.
    pub fn add_id(&mut self, hash: u64, at: WallMs) {
        self.hour(at).ids.insert(hash);
    }

    /// Was this job purged lately?
    #[must_use]
    pub fn job(&self, job: &str, now: WallMs) -> bool {
        self.jobs.get(job).is_some_and(|at| !over(*at, now))
    }

    /// Was this task purged lately?
    #[must_use]
    pub fn task(&self, seq: TaskSeq, now: WallMs) -> bool {
        self.hours.iter().any(|hour| !hour.over(now) && hour.tasks.contains(seq))
    }

    /// Was a task of this client id purged lately?
    #[must_use]
    pub fn id(&self, id: &str, now: WallMs) -> bool {
        let hash = hash_of(id);
        self.hours.iter().any(|hour| !hour.over(now) && hour.ids.contains(&hash))
    }

    /// For an image.
    #[must_use]
    pub fn columns(&self) -> GoneColumns {
        let hour = |hour: &Hour| HourColumns {
            number: hour.number,
            tasks: hour.tasks.runs().collect(),
            ids: hour.ids.iter().copied().collect(),
        };
        GoneColumns {
            jobs: self.jobs.iter().map(|(name, at)| (name.clone(), *at)).collect(),
            hours: self.hours.iter().map(hour).collect(),
        }
    }

    /// From [`Self::columns`].
    #[must_use]
    pub fn restore(columns: GoneColumns) -> Self {
        let mut gone = Self::default();
        for (name, at) in columns.jobs {
            gone.oldest.insert((at, name.clone()));
            gone.jobs.insert(name, at);
        }
        for hour in columns.hours {
            let mut tasks = SeqSet::default();
            hour.tasks.iter().for_each(|(first, count)| tasks.insert_run(*first, *count));
            let ids = hour.ids.into_iter().collect();
            gone.hours.push_back(Hour { number: hour.number, tasks, ids });
        }
        gone
    }

    /// The present hour; those that are over are let go.
    fn hour(&mut self, at: WallMs) -> &mut Hour {
        while self.hours.front().is_some_and(|hour| hour.over(at)) {
            self.hours.pop_front();
        }
        let number = at.0 / HOUR_MS;
        if self.hours.back().is_none_or(|hour| hour.number != number) {
            self.hours.push_back(Hour { number, ..Hour::default() });
        }
        self.hours.back_mut().expect("just made sure of one")
    }
}

fn over(at: WallMs, now: WallMs) -> bool {
    now.since(at) >= limits::PURGED_KNOWN_MS
}

#[cfg(test)]
#[path = "gone_tests.rs"]
mod tests;
