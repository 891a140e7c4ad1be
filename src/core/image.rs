//! Image of a partition: plain columns from which it is rebuilt without the log before them.

use crate::core::affinity::{KeyColumns, Keys};
use crate::core::gone::{Gone, GoneColumns};
use crate::core::idindex::{IdEntry, IdIndex};
use crate::core::intern::{Class, Interner, JobKey};
use crate::core::job::JobRow;
use crate::core::keys::{Remembered, RememberedKeys};
use crate::core::lease::{LeaseColumns, LeaseTable};
use crate::core::operations::{OperationColumns, Operations};
use crate::core::partition::{ArrayAt, ArrayId, Due, Partition, Touched};
use crate::core::rows::{Rows, Stretch};
use crate::core::stats::Levels;
use crate::core::unique::{UniqueIndex, UniqueTask};
use crate::model::id::{Epoch, Name, PartitionId, TaskSeq};
use crate::model::policy::Policy;
use crate::model::priority::Priority;
use crate::model::state::TaskState;
use crate::model::time::WallMs;
use serde::{Deserialize, Serialize};

/// Columns of a partition. The field order is the format.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartitionImage {
    epoch: Epoch,
    at: WallMs,
    rows: Rows,
    classes: Vec<Class>,
    keys: KeyColumns,
    workers: Vec<Name>,
    jobs: Vec<JobRow>,
    levels_paused: [bool; Priority::LEVELS],
    levels_latest: [i64; Priority::LEVELS],
    hand_outs: u64,
    touched: Vec<(TaskSeq, Touched)>,
    delayed: Vec<(TaskSeq, Due)>,
    leases: LeaseColumns,
    ids: Vec<IdEntry>,
    array_ids: Vec<(ArrayId, ArrayAt)>,
    drained: Vec<Name>,
    unique: Vec<UniqueTask>,
    remembered: Vec<Remembered>,
    departed: u64,
    gone: GoneColumns,
    operations: OperationColumns,
    inbox: Levels,
}

impl Partition {
    /// Copies the columns. Everything decided so far is inside.
    #[must_use]
    pub fn image(&self) -> PartitionImage {
        let touched = |seq: TaskSeq| self.touched.get(&seq).map(|t| (seq, *t));
        let delayed = |seq: TaskSeq| self.delayed.get(&seq).map(|d| (seq, *d));
        PartitionImage {
            epoch: self.epoch,
            at: self.now.wall,
            rows: self.rows.clone(),
            classes: self.classes.values().to_vec(),
            keys: self.keys.columns(),
            workers: self.workers.values().to_vec(),
            jobs: self.jobs.iter().map(JobRow::columns).collect(),
            hand_outs: self.hand_outs,
            levels_paused: std::array::from_fn(|level| self.levels[level].paused),
            levels_latest: std::array::from_fn(|level| self.levels[level].latest),
            touched: self.single_rows().filter_map(touched).collect(),
            delayed: self.delayed_order.iter().filter_map(delayed).collect(),
            leases: self.leases.columns(),
            ids: self.ids.entries(),
            array_ids: self.array_ids.iter().map(|(k, v)| (k.clone(), *v)).collect(),
            drained: self.drained.iter().cloned().collect(),
            unique: self.unique.tasks().copied().collect(),
            remembered: self.remembered.iter().cloned().collect(),
            departed: self.departed,
            gone: self.gone.columns(),
            operations: self.operations.columns(),
            inbox: self.inbox,
        }
    }

    /// Rebuilds a partition; lanes are derived from the rows. Timers are armed later.
    #[must_use]
    pub fn restore(id: PartitionId, policy: Policy, dice: u64, image: PartitionImage) -> Self {
        let mut partition = Self::new(id, policy, dice);
        partition.epoch = image.epoch;
        partition.now.wall = image.at;
        partition.rows = image.rows;
        partition.classes = Interner::restore(image.classes);
        partition.keys = Keys::restore(image.keys, policy.affinity_on());
        partition.workers = Interner::restore(image.workers);
        partition.jobs = image.jobs;
        for (number, job) in (0u32..).zip(&partition.jobs) {
            if job.vacant {
                partition.free_jobs.insert(JobKey(number));
            } else {
                partition.job_keys.insert(job.name.clone(), JobKey(number));
            }
        }
        let levels = image.levels_paused.into_iter().zip(image.levels_latest);
        for (level, (paused, latest)) in partition.levels.iter_mut().zip(levels) {
            (level.paused, level.latest) = (paused, latest);
        }
        partition.hand_outs = image.hand_outs;
        partition.touched.extend(image.touched);
        for (seq, due) in image.delayed {
            partition.delayed.insert(seq, due);
            partition.delayed_order.insert(seq);
        }
        partition.leases = LeaseTable::restore(image.leases);
        partition.ids = IdIndex::restore(image.ids);
        partition.array_ids = image.array_ids.into_iter().collect();
        partition.drained = image.drained.into_iter().collect();
        partition.unique = UniqueIndex::restore(image.unique);
        partition.remembered = RememberedKeys::restore(image.remembered);
        partition.departed = image.departed;
        partition.gone = Gone::restore(image.gone);
        partition.operations = Operations::restore(image.operations);
        partition.inbox = image.inbox;
        partition.fill_lanes();
        partition
    }

    /// Tasks that something may have happened to.
    fn single_rows(&self) -> impl Iterator<Item = TaskSeq> + '_ {
        self.rows.stretches().filter(|s| s.count == 1).map(|s| s.first)
    }

    fn fill_lanes(&mut self) {
        for job in &mut self.jobs {
            for (level, lane) in job.lanes.iter_mut().enumerate() {
                lane.vtime = job.vtimes[level];
                lane.since_head = job.since_heads[level];
            }
        }
        let queued = |s: &Stretch| matches!(s.state, TaskState::Pending | TaskState::Delayed);
        let queued: Vec<Stretch> = self.rows.stretches().filter(queued).collect();
        for Stretch { first, count, state } in queued {
            let class = self.class(first).expect("a queued task keeps its class");
            if self.job(class.job).overlay(first, state) != state {
                continue;
            }
            if state == TaskState::Pending {
                let priority = self.current_priority(first, &class);
                let posted = self.keys.posted(class.keys);
                let job = &mut self.jobs[class.job.0 as usize];
                job.lanes[priority.index()].push_run(first, count, posted);
            } else if !self.delayed.contains_key(&first) {
                let array = self.rows.array_of(first).expect("a delayed task has its time");
                let (key, wall) = (array.first, array.available);
                let waiting = self.delayed_arrays.entry(key).or_default();
                waiting.due.wall = wall;
                waiting.members.insert_run(first, count);
            }
        }
        for number in 0..self.jobs.len() {
            let key = JobKey(u32::try_from(number).expect("fewer than 2^32 jobs"));
            Priority::DESCENDING.iter().for_each(|priority| self.relist(key, *priority));
        }
    }
}
