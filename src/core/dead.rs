//! What comes in dead (T5): a record that cannot become a task is admitted and dies in the next
//! record of the same batch, so that nothing can hand it out and its text lies where that of any
//! other task does.
//!
//! Must not: refuse. There is nobody to tell.

use crate::core::admit::{Round, unite};
use crate::core::intern::JobKey;
use crate::core::partition::Partition;
use crate::model::dead::DeadInput;
use crate::model::event::{Failure, Next, Stamped};
use crate::model::id::{LeaseNo, Name, TaskSeq};
use crate::model::job::Dedup;
use crate::model::reply::AdmittedItem;
use crate::model::state::TaskState;
use crate::model::task::{TaskInput, TaskSpec};
use crate::model::time::WallMs;

impl Partition {
    /// Admits a dead letter, taking its task. Its job is created if need be and may be closed.
    pub(crate) fn admit_dead(
        &mut self,
        dead: &mut DeadInput,
        round: &mut Round,
        events: &mut Vec<Stamped>,
    ) -> AdmittedItem {
        let (name, key) = self.known_job(&dead.task, events);
        let seq = self.rows.next().plus(round.tasks.len() as u64);
        let spec = self.remains(std::mem::take(&mut dead.task), name, key);
        let entry = self.entry(spec.priority, seq, false);
        round.tasks.push(spec);
        round.dead.push(Failure {
            seq,
            attempt: 0,
            lease: LeaseNo(0),
            class: dead.class.word().into(),
            message: dead.message.clone(),
            errors: 0,
            crashes: 0,
            next: Next::Error,
            run_ms: 0,
        });
        AdmittedItem::Task(entry)
    }

    /// What is kept of it: what people look for. Nothing of how it would have run, as it never
    /// will; and no id where ids are unique, as it must not stand in the way of a good one.
    fn remains(&self, input: TaskInput, job: Name, key: JobKey) -> TaskSpec {
        let (spec, policy) = (&self.job(key).spec, &self.policy);
        let tag = unite(input.tag.clone(), spec.defaults.tag.as_ref()).unwrap_or(input.tag);
        TaskSpec {
            id: input.id.filter(|_| spec.dedup != Dedup::Task),
            job,
            priority: input.priority.unwrap_or(spec.priority),
            tag,
            payload: input.payload,
            affinity: Vec::new(),
            source: input.source,
            meta: input.meta,
            timeout_s: 0,
            lease_ms: 0,
            max_attempts: policy.max_attempts,
            max_crashes: policy.max_crashes,
            backoff: policy.backoff,
            not_before: WallMs(0),
            traceparent: input.traceparent,
            content: None,
            element: None,
        }
    }

    /// The death of a task that was admitted in the record before.
    pub(crate) fn apply_dead(&mut self, failure: &Failure, at: WallMs) {
        let seq = failure.seq;
        let class = self.class(seq).expect("it was admitted in the record before");
        let priority = self.current_priority(seq, &class);
        let from = self.take_queued(seq, &class, priority);
        let reference = self.reference_of(class.priority, seq);
        let job = self.job_mut(class.job);
        job.shift(priority, from, TaskState::Error);
        job.numbers.first_error.get_or_insert_with(|| (reference, failure.error(at)));
        // When a job that takes no more tasks ended is not for a stray record to say.
        let open = !job.closed && job.cancel.is_none();
        self.stats.came_in_dead[class.priority.index()] += 1;
        self.rows.set_state(seq, TaskState::Error);
        self.touched.entry(seq).or_default();
        if open {
            self.note_drained(class.job, at);
        }
    }

    /// Did a task in ERROR die before anybody had it? It cannot run: it is no task.
    pub(crate) fn came_in_dead(&self, seq: TaskSeq) -> bool {
        self.touched.get(&seq).is_none_or(|touched| touched.attempt == 0)
    }
}

#[cfg(test)]
#[path = "dead_tests.rs"]
mod tests;
