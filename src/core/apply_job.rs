//! Applies the control verbs of a job: flags, marks and counters move, no task is touched.

use crate::core::intern::JobKey;
use crate::core::job::CancelMark;
use crate::core::lease::Fate;
use crate::core::partition::Partition;
use crate::model::id::{Name, TaskSeq};
use crate::model::job::{CancelMode, JobChange};
use crate::model::priority::Priority;
use crate::model::row::MoveCut;
use crate::model::state::TaskState;
use crate::model::time::WallMs;

impl Partition {
    pub(crate) fn apply_job_change(&mut self, name: &Name, change: &JobChange, at: WallMs) {
        let Some(key) = self.job_keys.get(name).copied() else { return };
        let cut = self.rows.next();
        // What else is changed of a job that has ended does not move its end.
        let ends = matches!(change, JobChange::Close | JobChange::Cancel(..));
        match change {
            JobChange::Close => self.job_mut(key).closed = true,
            JobChange::Pause => self.job_mut(key).paused = true,
            JobChange::Resume => {
                self.job_mut(key).paused = false;
                for level in Priority::DESCENDING {
                    self.join_level(key, level);
                    self.lane_became_ready(key, level);
                }
            }
            JobChange::Weight(weight) => self.job_mut(key).spec.weight = *weight,
            JobChange::Retention(ms) => self.job_mut(key).spec.retention_ms = *ms,
            JobChange::Prioritise(priority) => self.prioritise(key, *priority, cut),
            JobChange::Purge => return self.purge_job(key, at),
            JobChange::Cancel(mode, reason) => {
                let mark = CancelMark { cut, mode: *mode, at, reason: reason.clone() };
                self.cancel_job(key, mark, at);
            }
        }
        for priority in Priority::DESCENDING {
            self.relist(key, priority);
        }
        if ends {
            self.note_drained(key, at);
        }
    }

    fn cancel_job(&mut self, key: JobKey, mark: CancelMark, at: WallMs) {
        if mark.mode == CancelMode::Stop {
            let of_job = |p: &Self, seq| p.class(seq).is_some_and(|c| c.job == key);
            let leased: Vec<_> = self
                .leases
                .iter()
                .map(|(n, l)| (n, l.seq))
                .filter(|(_, s)| of_job(self, *s))
                .collect();
            for (number, seq) in leased {
                self.leases.end(number, Fate::Cancelled, at);
                self.touched.remove(&seq);
            }
        }
        let job = self.job_mut(key);
        job.closed = true;
        let mut cancelled = [0; Priority::LEVELS];
        for state in TaskState::ALL.into_iter().filter(|s| mark.mode.reaches(*s)) {
            let count = job.numbers.counts.of(state);
            job.numbers.counts.sub(state, count);
            job.numbers.counts.add(TaskState::Cancelled, count);
            for (level, sum) in job.by_level.iter_mut().zip(&mut cancelled) {
                *sum += level.of(state);
                level.sub(state, level.of(state));
            }
        }
        job.lanes.iter_mut().for_each(crate::core::lanes::Lane::clear);
        job.cancel = Some(mark);
        for (total, count) in self.stats.cancelled.iter_mut().zip(cancelled) {
            *total += count;
        }
    }

    fn prioritise(&mut self, key: JobKey, priority: Priority, cut: TaskSeq) {
        self.wake_lane(key, priority);
        let job = self.job_mut(key);
        job.moved = Some(MoveCut::after(job.moved, cut, priority));
        job.spec.priority = priority;
        let to = priority.index();
        for from in (0..Priority::LEVELS).filter(|from| *from != to) {
            let mut lane = std::mem::take(&mut job.lanes[from]);
            job.lanes[to].absorb(&mut lane);
            job.lanes[from] = lane;
            for state in [TaskState::Blocked, TaskState::Delayed, TaskState::Pending] {
                let count = job.by_level[from].of(state);
                job.by_level[from].sub(state, count);
                job.by_level[to].add(state, count);
            }
        }
    }
}
