//! This partition's part of the operations: a set of tasks that were dead when the operation was
//! accepted, and a slice of it at every beat of the wheel.
//!
//! The set is in the record of the start and shrinks with every record of progress, which is
//! appended in one batch with what it did. So after a restart it goes on behind the last task it
//! dealt with, and a task that dies again is not in the set any more.

use crate::core::bitmap::SeqSet;
use crate::core::partition::{Partition, Timer};
use crate::model::event::{Event, Stamped};
use crate::model::id::TaskSeq;
use crate::model::job::JobChange;
use crate::model::limits;
use crate::model::operation::{OpKind, OpNo, OpSpec, OpState, OpStep, Operation};
use crate::model::reject::{Code, Reject};
use crate::model::reply::Reply;
use crate::model::state::TaskState;
use crate::model::time::WallMs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An operation rests this long while the disk is nearly full, ms.
const REST_MS: u64 = 1_000;

/// All parts, by number.
#[derive(Clone, Debug, Default)]
pub struct Operations {
    parts: BTreeMap<OpNo, Part>,
    /// Lowest number never given.
    next: u64,
    /// Nothing is done for now.
    resting: bool,
}

#[derive(Clone, Debug)]
struct Part {
    shown: Operation,
    todo: SeqSet,
}

/// As an image keeps them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OperationColumns {
    next: u64,
    parts: Vec<(Operation, Vec<(TaskSeq, u64)>)>,
}

impl Operations {
    /// The running part that was started first.
    fn running(&self) -> Option<OpNo> {
        let running = |part: &&Part| part.shown.state == OpState::Running;
        self.parts.values().find(running).map(|part| part.shown.op)
    }

    /// Lets go of the oldest of those that have ended.
    fn forget(&mut self, at: WallMs) {
        let old = |part: &Part| {
            let ended = part.shown.ended.known();
            ended.is_some_and(|ended| at.since(ended) >= limits::OPERATION_FORGET_MS)
        };
        self.parts.retain(|_, part| !old(part));
        while self.parts.len() > limits::OPERATIONS_KEPT {
            let ended = self.parts.values().find(|part| part.shown.state != OpState::Running);
            let Some(op) = ended.map(|part| part.shown.op) else { break };
            self.parts.remove(&op);
        }
    }

    /// For an image.
    #[must_use]
    pub fn columns(&self) -> OperationColumns {
        let parts =
            self.parts.values().map(|part| (part.shown.clone(), part.todo.runs().collect()));
        OperationColumns { next: self.next, parts: parts.collect() }
    }

    /// From [`Self::columns`].
    #[must_use]
    pub fn restore(columns: OperationColumns) -> Self {
        let mut all = Self { next: columns.next, ..Self::default() };
        for (shown, runs) in columns.parts {
            let mut todo = SeqSet::default();
            runs.iter().for_each(|(first, count)| todo.insert_run(*first, *count));
            all.parts.insert(shown.op, Part { shown, todo });
        }
        all
    }
}

impl Partition {
    /// Its parts, the oldest first.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.parts.values().map(|part| &part.shown)
    }

    /// Lowest number that no operation of this partition has had.
    #[must_use]
    pub fn next_operation(&self) -> OpNo {
        OpNo(self.operations.next.max(1))
    }

    /// Operations that are at work here.
    #[must_use]
    pub fn operations_running(&self) -> usize {
        self.operations().filter(|part| part.state == OpState::Running).count()
    }

    /// Of these tasks those that are dead, and those of them that a redrive would leave as they
    /// are.
    #[must_use]
    pub fn dead_among(&self, tasks: &[TaskSeq]) -> (u64, u64) {
        let dead = tasks.iter().filter(|seq| self.state(**seq) == Some(TaskState::Error));
        dead.fold((0, 0), |(dead, left), seq| {
            (dead + 1, left + u64::from(!self.may_operate(OpKind::Redrive, *seq)))
        })
    }

    /// Operations do nothing (or go on) from now on: there is hardly room to record it.
    pub fn rest_operations(&mut self, rest: bool) {
        self.operations.resting = rest;
    }

    pub(crate) fn start_operation(
        &mut self,
        op: OpNo,
        spec: Box<OpSpec>,
        mut tasks: Vec<TaskSeq>,
        events: &mut Vec<Stamped>,
    ) -> Reply {
        if op < self.next_operation() {
            // The set of the one that has it would be gone.
            let detail = format!("{op} is the number of another operation");
            return Reply::Refused(Reject::new(Code::Overloaded, detail).retry_unapplied(1_000));
        }
        if spec.kind == OpKind::PurgeJob {
            return self.start_purge(op, spec, events);
        }
        tasks.retain(|seq| self.state(*seq) == Some(TaskState::Error));
        tasks.sort_unstable();
        tasks.dedup();
        let matched = tasks.len() as u64;
        let step = OpStep::Started { spec, matched, tasks };
        self.commit(Event::Operation { op, step }, events);
        Reply::Done
    }

    /// The purge of a job is one record, whatever its size: it ends where it begins.
    fn start_purge(&mut self, op: OpNo, spec: Box<OpSpec>, events: &mut Vec<Stamped>) -> Reply {
        let job = spec.job.clone().filter(|job| self.job_keys.contains_key(job));
        let counts = job.as_ref().map(|job| self.job(self.job_keys[job]).numbers.counts);
        if counts.is_some_and(|counts| counts.live() > 0) {
            return Reply::Refused(unfinished());
        }
        let matched = counts.map_or(0, |counts| counts.total());
        let step = OpStep::Started { spec, matched, tasks: Vec::new() };
        self.commit(Event::Operation { op, step }, events);
        if let Some(job) = job {
            self.commit(Event::JobChanged { job, change: JobChange::Purge }, events);
        }
        Reply::Done
    }

    pub(crate) fn stop_operation(&mut self, op: OpNo, events: &mut Vec<Stamped>) -> Reply {
        match self.operations.parts.get(&op).map(|part| part.shown.state) {
            Some(OpState::Running) => {
                self.commit(Event::Operation { op, step: OpStep::Stopped }, events);
                Reply::Done
            }
            Some(OpState::Done | OpState::Stopped) => {
                let detail = format!("operation {op} has ended");
                Reply::Refused(Reject::new(Code::OperationEnded, detail))
            }
            None => {
                let detail = format!("no operation {op}");
                Reply::Refused(Reject::new(Code::OperationNotFound, detail))
            }
        }
    }

    /// One slice of the oldest running operation.
    pub(crate) fn operate(&mut self, events: &mut Vec<Stamped>) {
        let Some(op) = self.operations.running() else { return };
        if self.operations.resting {
            self.wheel.insert(self.now.tick.plus(REST_MS), Timer::Operations);
            return;
        }
        let part = &self.operations.parts[&op];
        let (kind, priority) = (part.shown.spec.kind, part.shown.spec.priority);
        let slice = part.todo.iter().take(limits::OPERATION_SLICE);
        let (doing, left): (Vec<TaskSeq>, Vec<TaskSeq>) =
            slice.partition(|seq| self.may_operate(kind, *seq));
        let upto = doing.last().max(left.last()).copied();
        let (done, skipped) = (doing.len() as u64, left.len() as u64);
        if !doing.is_empty() {
            let event = match kind {
                OpKind::Redrive => Event::Redriven { tasks: doing, priority },
                OpKind::PurgeDlq | OpKind::PurgeJob => Event::Purged(doing),
            };
            self.commit(event, events);
        }
        let upto = upto.expect("a running operation has tasks to look at");
        let step = OpStep::Progress { upto, done, skipped };
        self.commit(Event::Operation { op, step }, events);
        if self.operations.running().is_some() {
            self.wheel.insert(self.now.tick.plus(1), Timer::Operations);
        }
    }

    fn may_operate(&self, kind: OpKind, seq: TaskSeq) -> bool {
        if self.state(seq) != Some(TaskState::Error) {
            return false;
        }
        let cancelled = |job| self.job(job).cancel.is_some();
        kind != OpKind::Redrive
            || !self.came_in_dead(seq) && self.class(seq).is_some_and(|class| !cancelled(class.job))
    }

    pub(crate) fn apply_operation(&mut self, op: OpNo, step: &OpStep, at: WallMs) {
        match step {
            OpStep::Started { spec, matched, tasks } => {
                self.operations.forget(at);
                self.operations.next = self.operations.next.max(op.0 + 1);
                let mut todo = SeqSet::default();
                for seq in tasks {
                    todo.insert(*seq);
                }
                let running = !todo.is_empty();
                let shown = Operation {
                    op,
                    spec: (**spec).clone(),
                    state: if running { OpState::Running } else { OpState::Done },
                    matched: *matched,
                    done: if spec.kind == OpKind::PurgeJob { *matched } else { 0 },
                    skipped: 0,
                    created: at,
                    ended: if running { WallMs(0) } else { at },
                };
                self.operations.parts.insert(op, Part { shown, todo });
                if self.armed {
                    self.start_operations();
                }
            }
            OpStep::Progress { upto, done, skipped } => {
                let Some(part) = self.operations.parts.get_mut(&op) else { return };
                while let Some(first) = part.todo.first().filter(|first| first <= upto) {
                    part.todo.remove(first);
                }
                part.shown.done += done;
                part.shown.skipped += skipped;
                if part.todo.is_empty() {
                    (part.shown.state, part.shown.ended) = (OpState::Done, at);
                }
            }
            OpStep::Stopped => {
                let Some(part) = self.operations.parts.get_mut(&op) else { return };
                part.todo = SeqSet::default();
                (part.shown.state, part.shown.ended) = (OpState::Stopped, at);
            }
        }
    }

    /// Gives running operations their beat; several entries on the wheel count as one.
    pub(crate) fn start_operations(&mut self) {
        if self.operations.running().is_some() {
            self.wheel.insert(self.now.tick.plus(1), Timer::Operations);
        }
    }
}

/// The refusal of the purge of a job that has not ended.
pub(crate) fn unfinished() -> Reject {
    Reject::new(Code::NotFinished, "the job has not ended; only an ended job can be purged")
        .hint("cancel it, or close it and wait")
}

#[cfg(test)]
#[path = "operations_tests.rs"]
mod tests;
