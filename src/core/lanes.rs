//! Lanes: the pending tasks of one (priority, job), and the levels that order lanes by virtual
//! time.
//!
//! A lane has one or more strands, each an ordered set of sequence numbers. Re-prioritising a job
//! moves its strands to
//! another lane without touching a task; the head of a lane is the smallest head of its strands. A
//! level keeps its
//! eligible lanes in one ordered set keyed (virtual time, head, job), so the fair choice is its
//! first entry.
//! Source of the idea: Waldspurger, Weihl, "Stride scheduling" (1995).

use crate::core::ageing::Age;
use crate::core::bitmap::SeqSet;
use crate::core::intern::{JobKey, KeyNumber, Weighed};
use crate::core::posting::Postings;
use crate::model::id::TaskSeq;
use crate::model::priority::Priority;
use std::collections::BTreeSet;

/// Pending tasks of one job at one priority.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    strands: Vec<Strand>,
    /// Virtual time, µs of worker time ÷ weight.
    pub vtime: i64,
    /// Hand-outs since the latest one of the head, which waits no longer than
    /// `affinity.head-every`.
    pub since_head: u16,
    /// Where it stands at a higher level, once its head has waited long.
    pub age: Age,
    /// Key under which the level holds this lane; `None` while it is not eligible.
    listed: Option<Listing>,
}

/// Tasks with their postings; both move together.
#[derive(Clone, Debug, Default)]
struct Strand {
    tasks: SeqSet,
    postings: Postings,
}

impl Lane {
    /// Pending tasks.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.strands.iter().map(|s| s.tasks.len()).sum()
    }

    /// No pending task.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.strands.iter().all(|s| s.tasks.is_empty())
    }

    /// The pending task with the lowest sequence number.
    #[must_use]
    pub fn head(&self) -> Option<TaskSeq> {
        self.strands.iter().filter_map(|s| s.tasks.first()).min()
    }

    /// The pending task with the lowest sequence number among those that carry this key.
    #[must_use]
    pub fn oldest_with(&self, key: KeyNumber) -> Option<TaskSeq> {
        self.strands.iter().filter_map(|s| s.postings.first(key)).min()
    }

    /// Pending tasks with a lower sequence number than this.
    #[must_use]
    pub fn rank(&self, seq: TaskSeq) -> u64 {
        self.strands.iter().map(|s| s.tasks.rank(seq)).sum()
    }

    /// Adds consecutive tasks that were just admitted.
    pub fn push_run(&mut self, first: TaskSeq, count: u64, keys: &[Weighed]) {
        let strand = self.strand();
        strand.tasks.insert_run(first, count);
        strand.postings.push_run(first, count, keys);
    }

    /// Takes over a set of tasks that have the same keys, in O(blocks of the set).
    pub fn absorb_set(&mut self, tasks: SeqSet, keys: &[Weighed]) {
        let mut postings = Postings::default();
        if !keys.is_empty() {
            tasks.runs().for_each(|(first, count)| postings.push_run(first, count, keys));
        }
        self.strands.retain(|s| !s.tasks.is_empty());
        self.strands.push(Strand { tasks, postings });
    }

    /// Adds one task at its place.
    pub fn insert(&mut self, seq: TaskSeq, keys: &[Weighed]) {
        let strand = self.strand();
        strand.tasks.insert(seq);
        strand.postings.insert(seq, keys);
    }

    /// Takes one task out, with the keys it was put in with; false if it is not here.
    pub fn remove(&mut self, seq: TaskSeq, keys: &[Weighed]) -> bool {
        let Some(strand) = self.strands.iter_mut().find_map(|s| s.tasks.remove(seq).then_some(s))
        else {
            return false;
        };
        strand.postings.remove(seq, keys);
        true
    }

    /// Empties the lane without looking at its tasks.
    pub fn clear(&mut self) {
        self.strands.clear();
    }

    /// Takes over the tasks of another lane in O(strands), however many tasks and keys there are.
    pub fn absorb(&mut self, other: &mut Self) {
        self.strands.append(&mut other.strands);
        self.strands.retain(|s| !s.tasks.is_empty());
        // What has waited for its turn as a head goes on waiting, not from the beginning.
        self.since_head = self.since_head.max(std::mem::take(&mut other.since_head));
    }

    /// Pending tasks, strand by strand.
    pub fn iter(&self) -> impl Iterator<Item = TaskSeq> + '_ {
        self.strands.iter().flat_map(|s| s.tasks.iter())
    }

    /// Bytes of the postings; `keys` = number of keys of the partition.
    #[must_use]
    pub fn posting_bytes(&self, keys: u32) -> usize {
        self.strands.iter().map(|s| s.postings.bytes((0..keys).map(KeyNumber))).sum()
    }

    fn strand(&mut self) -> &mut Strand {
        if self.strands.is_empty() {
            self.strands.push(Strand::default());
        }
        self.strands.last_mut().expect("just made sure of one")
    }
}

/// How a lane stands in the order of its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listing {
    vtime: i64,
    head: TaskSeq,
    tasks: u64,
    /// Average run time of the job, µs; 0 = none yet.
    mean_us: u64,
}

/// The eligible lanes of one priority.
#[derive(Clone, Debug, Default)]
pub struct Level {
    /// Hand-outs of this level are off.
    pub paused: bool,
    order: BTreeSet<(i64, TaskSeq, JobKey)>,
    /// Virtual time of the lane that was served last, before it was charged.
    pub latest: i64,
    /// Tasks of the listed lanes.
    tasks: u64,
    /// Sum and number of the run-time averages of their jobs.
    means: (u64, u64),
    /// Lanes of lower levels that are served here by their age, in the same order.
    pub risen: BTreeSet<(i64, TaskSeq, JobKey, Priority)>,
}

impl Level {
    /// Lanes with work: virtual time, head and job; the one to serve first in front.
    pub fn lanes(&self) -> impl Iterator<Item = (i64, TaskSeq, JobKey)> + '_ {
        self.order.iter().copied()
    }

    /// True when something may be handed out.
    #[must_use]
    pub fn ready(&self) -> bool {
        !self.paused && !self.order.is_empty()
    }

    /// Tasks that may be handed out.
    #[must_use]
    pub fn ready_tasks(&self) -> u64 {
        if self.paused { 0 } else { self.tasks }
    }

    /// Lanes with work but this one, and their tasks.
    #[must_use]
    pub fn beside(&self, lane: &Lane) -> (u64, u64) {
        let own = lane.listed.map_or(0, |l| l.tasks);
        let others = self.order.len() - usize::from(lane.listed.is_some());
        (others as u64, self.tasks - own)
    }

    /// Lowest virtual time of a lane with work. Without one that at which a lane was served last:
    /// what all lanes have used so far is no credit of the one that comes first.
    #[must_use]
    pub fn floor(&self) -> i64 {
        self.order.first().map_or(self.latest, |(vtime, _, _)| *vtime)
    }

    /// Mean of the run-time averages of the jobs with work here, µs; `None` before the first.
    #[must_use]
    pub fn mean_us(&self) -> Option<u64> {
        let (sum, count) = self.means;
        sum.checked_div(count)
    }

    /// Brings the order up to date after a lane changed. `runs`: the job may be handed out; `fair`
    /// false = by submit order. `mean_us`: average run time of the job. True when it stands there
    /// now.
    pub fn relist(
        &mut self,
        job: JobKey,
        lane: &mut Lane,
        (runs, fair): (bool, bool),
        mean_us: u64,
    ) -> bool {
        let head = lane.head().filter(|_| runs);
        let vtime = if fair { lane.vtime } else { 0 };
        let wanted = head.map(|head| Listing { vtime, head, tasks: lane.len(), mean_us });
        let before = std::mem::replace(&mut lane.listed, wanted);
        let place = |l: Listing| (l.vtime, l.head, job);
        if wanted.map(place) != before.map(place) {
            if let Some(before) = before {
                self.order.remove(&place(before));
            }
            self.order.extend(wanted.map(place));
        }
        self.tasks += wanted.map_or(0, |l| l.tasks);
        self.tasks -= before.map_or(0, |l| l.tasks);
        let mean = |l: Option<Listing>| l.map(|l| l.mean_us).filter(|mean| *mean > 0);
        if let Some(mean_us) = mean(wanted) {
            self.means = (self.means.0 + mean_us, self.means.1 + 1);
        }
        if let Some(mean_us) = mean(before) {
            self.means = (self.means.0 - mean_us, self.means.1 - 1);
        }
        wanted.is_some()
    }
}
