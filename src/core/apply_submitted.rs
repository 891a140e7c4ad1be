//! Applies admissions: tasks of one record, and arrays, whose elements cost nothing until somebody
//! touches them.

use crate::core::bitmap::SeqSet;
use crate::core::intern::{Class, ClassKey, JobKey};
use crate::core::partition::{DelayedArray, Due, Partition, Timer};
use crate::core::rows::ArrayRow;
use crate::core::unique::{UniqueTask, id_hash};
use crate::model::array::ArraySpec;
use crate::model::id::TaskSeq;
use crate::model::priority::Priority;
use crate::model::state::TaskState;
use crate::model::task::TaskSpec;
use crate::model::time::WallMs;

impl Partition {
    pub(crate) fn apply_submitted(&mut self, tasks: &[TaskSpec], at: WallMs) {
        let first = self.rows.next();
        let mut last: Option<(&TaskSpec, ClassKey, JobKey)> = None;
        let mut keys = Vec::with_capacity(tasks.len());
        for task in tasks {
            let (key, job) = match last {
                Some((same, key, job)) if same_class(same, task) => (key, job),
                _ => self.class_of(task),
            };
            last = Some((task, key, job));
            keys.push((key, job, task.first_state()));
        }
        let sizes = tasks.iter().map(|t| u32::try_from(t.payload.bytes.len()).unwrap_or(u32::MAX));
        let rows = keys.iter().zip(sizes).map(|((key, _, state), bytes)| (*key, *state, bytes));
        self.rows.push_record(at, rows);
        let mut from = 0;
        while from < keys.len() {
            let (key, job, state) = keys[from];
            let same = keys[from..].iter().take_while(|k| **k == keys[from]).count();
            let seq = first.plus(from as u64);
            let admitted = self.classes.value(key.0).priority;
            // A job that was moved serves what comes later at its own priority.
            self.count_admitted(job, admitted, state, same as u64);
            self.job_mut(job).extend(seq, same as u64);
            if state == TaskState::Pending {
                self.push_pending(key, seq, same as u64);
            } else {
                for (n, task) in (0u64..).zip(&tasks[from..from + same]) {
                    self.delay(seq.plus(n), task.not_before);
                }
            }
            from += same;
        }
        for (n, task) in (0u64..).zip(tasks) {
            if let Some(id) = &task.id {
                let seq = first.plus(n);
                self.ids.insert(id, seq);
                if let Some(content) = task.content {
                    let id = id_hash(&task.job, id);
                    self.unique.insert(UniqueTask { id, content, seq, priority: task.priority });
                }
            }
        }
    }

    pub(crate) fn apply_array(&mut self, array: &ArraySpec, at: WallMs) {
        let (first, span) = (self.rows.next(), array.span);
        let (class, job) = self.class_of(&array.task);
        if let Some(id) = &array.id {
            self.array_ids.insert((job, id.clone()), (first, array.content));
        }
        if span.count == 0 {
            return;
        }
        let row = ArrayRow::new(array, class, at);
        let (state, due) = (row.state, row.available);
        self.rows.push_array(row);
        let priority = array.task.priority;
        self.count_admitted(job, priority, state, span.count);
        self.job_mut(job).extend(first, span.count);
        if state == TaskState::Pending {
            self.push_pending(class, first, span.count);
        } else {
            let mut members = SeqSet::default();
            members.insert_run(first, span.count);
            self.delay_array(first, due, members);
        }
    }

    pub(crate) fn delay_array(&mut self, first: TaskSeq, wall: WallMs, members: SeqSet) {
        let tick = self.now.tick.plus(wall.since(self.clock()));
        self.delayed_arrays.insert(first, DelayedArray { due: Due { wall, tick }, members });
        if self.armed {
            self.wheel.insert(tick, Timer::DueArray(first));
        }
    }

    fn class_of(&mut self, task: &TaskSpec) -> (ClassKey, JobKey) {
        let job = *self.job_keys.get(&task.job).expect("a job is defined before its first task");
        let class = Class {
            job,
            priority: task.priority,
            lease_ms: task.lease_ms,
            timeout_s: task.timeout_s,
            max_attempts: task.max_attempts,
            max_crashes: task.max_crashes,
            backoff: task.backoff,
            keys: self.keys.set(&task.affinity),
        };
        (ClassKey(self.classes.number(&class)), job)
    }

    fn count_admitted(&mut self, job: JobKey, priority: Priority, state: TaskState, count: u64) {
        let row = self.job_mut(job);
        row.numbers.submitted += count;
        row.numbers.counts.add(state, count);
        row.by_level[priority.index()].add(state, count);
        self.stats.submitted[priority.index()] += count;
    }

    fn push_pending(&mut self, class: ClassKey, first: TaskSeq, count: u64) {
        let class = *self.classes.value(class.0);
        self.wake_lane(class.job, class.priority);
        let posted = self.keys.posted(class.keys);
        let job = &mut self.jobs[class.job.0 as usize];
        job.lanes[class.priority.index()].push_run(first, count, posted);
        self.became_ready(&class, class.priority, count);
        self.relist(class.job, class.priority);
    }
}

fn same_class(a: &TaskSpec, b: &TaskSpec) -> bool {
    a.job == b.job
        && a.priority == b.priority
        && (a.lease_ms, a.timeout_s, a.max_attempts, a.max_crashes, a.backoff)
            == (b.lease_ms, b.timeout_s, b.max_attempts, b.max_crashes, b.backoff)
        && a.affinity == b.affinity
}
