//! Break-downs: counters of one job, of all jobs, or of the jobs a caller may see, summed over the
//! partitions.
//!
//! A job costs one block a partition, all jobs together the same; a caller with scopes one block
//! for each of its jobs that knows the key.

use crate::model::breakdown::{LevelCounts, TagCounts, Within};
use crate::model::id::Name;
use crate::model::state::{StateCounts, TaskState};
use crate::store::block::Error;
use crate::store::counts::{Head, WHOLE};
use crate::store::facade::Tracker;
use crate::store::inner::Inner;
use std::collections::BTreeMap;

impl Tracker {
    /// Tasks of a job by priority and state.
    #[must_use]
    pub fn level_counts(&self, job: &Name) -> LevelCounts {
        let mut sum = LevelCounts::default();
        for (_, head) in self.inner.heads_of(&Within::Job(job.clone())) {
            for (sum, level) in sum.iter_mut().zip(&head.levels) {
                sum.merge(level);
            }
        }
        sum
    }

    /// Tasks by the values of a tag key.
    ///
    /// # Errors
    /// The store's words; there is [`Self::damage`] then.
    pub fn tag_counts(&mut self, within: &Within, key: &str) -> Result<TagCounts, String> {
        self.inner.tag_counts(within, key).map_err(|error| {
            let reason = error.to_string();
            self.inner.damaged(error);
            reason
        })
    }
}

impl Inner {
    /// The heads whose sum is asked for.
    fn heads_of(&self, within: &Within) -> Vec<(u16, &Head)> {
        let one = |job: u32| {
            let numbered = (0u16..).take(self.cursors.len());
            numbered.filter_map(|p| Some((p, self.counts.heads.get(&(p, job))?))).collect()
        };
        match within {
            Within::Job(name) => self.ledger.known(name).map(one).unwrap_or_default(),
            Within::Jobs(scopes) if scopes.everything() => one(WHOLE),
            Within::Jobs(scopes) => {
                let all = self.counts.heads.iter();
                let seen = all
                    .filter(|((_, job), _)| *job != WHOLE && scopes.cover(&self.ledger.name(*job)));
                seen.map(|((partition, _), head)| (*partition, head)).collect()
            }
        }
    }

    fn tag_counts(&self, within: &Within, key: &str) -> Result<TagCounts, Error> {
        let mut rows: BTreeMap<Name, StateCounts> = BTreeMap::new();
        let left_out = self.leaves_out(within, key);
        let mut sum = TagCounts { overflow: left_out, ..Default::default() };
        let mut none = StateCounts::default();
        for (partition, head) in self.heads_of(within) {
            let mut without = StateCounts::default();
            head.levels.iter().for_each(|level| without.merge(level));
            if let Some(number) = head.keys.get(key) {
                let at = (partition, u64::from(*number));
                self.counts.tallies.with(&self.vault, at, |tally| {
                    for (value, counts) in tally.own_rows() {
                        rows.entry(value.clone()).or_default().merge(counts);
                    }
                    if let Some(other) = tally.other() {
                        sum.other.merge(&other);
                        sum.overflow = true;
                    }
                    for state in TaskState::ALL {
                        let have = tally.with_key().of(state).min(without.of(state));
                        without.sub(state, have);
                    }
                })?;
            }
            none.merge(&without);
        }
        sum.none = (!left_out).then_some(none);
        sum.rows = rows.into_iter().filter(|(_, counts)| counts.total() > 0).collect();
        Ok(sum)
    }

    /// Is the key not counted in a job that has too many?
    fn leaves_out(&self, within: &Within, key: &str) -> bool {
        let lacks = |head: &Head| head.left_out && !head.keys.contains_key(key);
        match within {
            Within::Jobs(scopes) if scopes.everything() => self.counts.heads.values().any(lacks),
            Within::Job(_) | Within::Jobs(_) => self.heads_of(within).iter().any(|(_, h)| lacks(h)),
        }
    }
}
