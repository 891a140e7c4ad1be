//! Applies purges: rows, ids, arrays and the job's slot go, and what is left is a counter and the
//! short memory of [`crate::core::gone`].

use crate::core::intern::JobKey;
use crate::core::job::JobRow;
use crate::core::map;
use crate::core::partition::Partition;
use crate::core::rows::Stretch;
use crate::model::id::{Name, TaskSeq};
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::state::TaskState;
use crate::model::time::WallMs;

impl Partition {
    /// Single tasks; dead ones, as an operation names them.
    pub(crate) fn apply_purged(&mut self, tasks: &[TaskSeq], at: WallMs) {
        for seq in tasks {
            let (Some(class), Some(state)) = (self.class(*seq), self.rows.purge(*seq)) else {
                continue;
            };
            let numbers = &mut self.job_mut(class.job).numbers;
            numbers.counts.sub(state, 1);
            numbers.purged += 1;
            numbers.buried = at;
            self.gone.add_tasks(*seq, 1, at);
            self.touched.remove(seq);
            self.unique.remove(*seq);
        }
        // The newest of several tasks of one id is found first.
        for seq in tasks.iter().rev() {
            if let Some(hash) = self.ids.remove(*seq) {
                self.gone.add_id(hash, at);
            }
        }
        map::slim(&mut self.touched);
    }

    /// A whole job, all of whose tasks have ended here.
    pub(crate) fn purge_job(&mut self, key: JobKey, at: WallMs) {
        let row = self.job(key);
        let (name, span) = (row.name.clone(), row.span.unwrap_or_default());
        let classes = &self.classes;
        let ours = |class: crate::core::intern::ClassKey| classes.value(class.0).job == key;
        let mut runs: Vec<Stretch> = Vec::new();
        let arrays = self.rows.purge_class(span, &ours, &mut |run| runs.push(run));
        for run in &runs {
            self.forget_tasks(*run, at);
        }
        self.forget_ids(&runs, at);
        for first in arrays {
            self.delayed_arrays.remove(&first);
        }
        let of_job = (key, Name::from(""))..(JobKey(key.0 + 1), Name::from(""));
        let ids: Vec<_> = self.array_ids.range(of_job).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.array_ids.remove(&id);
        }
        for priority in Priority::DESCENDING {
            self.job_mut(key).lanes[priority.index()].clear();
            self.relist(key, priority);
        }
        self.departed += self.job(key).numbers.submitted;
        *self.job_mut(key) = JobRow::vacant();
        self.job_keys.remove(&name);
        self.free_jobs.insert(key);
        self.gone.add_job(&name, at);
        map::slim(&mut self.touched);
        map::slim(&mut self.delayed);
    }

    fn forget_tasks(&mut self, run: Stretch, at: WallMs) {
        self.gone.add_tasks(run.first, run.count, at);
        if matches!(run.state, TaskState::Completed | TaskState::Cancelled) {
            return;
        }
        // Dead, or cancelled with the whole job and never looked at since.
        for seq in (run.first.0..run.first.0 + run.count).map(TaskSeq) {
            self.touched.remove(&seq);
            if self.delayed.remove(&seq).is_some() {
                self.delayed_order.remove(seq);
            }
        }
    }

    fn forget_ids(&mut self, runs: &[Stretch], at: WallMs) {
        for run in runs.iter().rev() {
            self.unique.remove_within(run.first, run.first.plus(run.count));
            for seq in self.ids.within(run.first, run.first.plus(run.count)).into_iter().rev() {
                if let Some(hash) = self.ids.remove(seq) {
                    self.gone.add_id(hash, at);
                }
            }
        }
    }

    /// Was this task purged lately? Of an array that is gone only the first element can be asked
    /// for: nobody knows the values any more.
    #[must_use]
    pub fn purged_task(&self, seq: TaskSeq) -> bool {
        self.rows.state(seq).is_none() && self.gone.task(seq, self.now.wall)
    }

    /// Was the task of this reference purged lately?
    #[must_use]
    pub fn purged_reference(&self, reference: TaskRef) -> bool {
        let first = TaskSeq(reference.offset);
        let array = self.rows.array_of(first).filter(|array| array.first == first);
        let place = array.and_then(|array| array.span.place(reference.index?));
        self.purged_task(place.map_or(first, |place| first.plus(place)))
    }

    /// Was a task of this client id purged lately?
    #[must_use]
    pub fn purged_id(&self, id: &str) -> bool {
        self.gone.id(id, self.now.wall)
    }

    /// Was this job purged lately?
    #[must_use]
    pub fn purged_job(&self, job: &str) -> bool {
        self.gone.job(job, self.now.wall)
    }

    /// Tasks of jobs that were purged whole; they count as submitted and as purged.
    #[must_use]
    pub fn departed(&self) -> u64 {
        self.departed
    }
}

#[cfg(test)]
#[path = "purge_tests.rs"]
mod tests;
