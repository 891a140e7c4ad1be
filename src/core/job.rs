//! A job as one partition sees it: flags, counters, its lanes' virtual times, its run-time average.

use crate::core::admit::implicit_spec;
use crate::core::lanes::Lane;
use crate::model::id::{Name, TaskSeq};
use crate::model::job::{CancelMode, JobSpec};
use crate::model::policy::Policy;
use crate::model::priority::Priority;
use crate::model::row::MoveCut;
use crate::model::state::{StateCounts, TaskState};
use crate::model::time::WallMs;
use crate::model::view::JobNumbers;
use serde::{Deserialize, Serialize};

/// Cost of a hand-out before anything of the level has run, µs.
pub(crate) const FIRST_COST_US: u64 = 1_000_000;

/// One job in one partition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobRow {
    /// Id.
    pub name: Name,
    /// Specification in force.
    pub spec: JobSpec,
    /// Created by its first task.
    pub implicit: bool,
    /// Takes no more tasks.
    pub closed: bool,
    /// Hand-outs are off.
    pub paused: bool,
    /// Cancelled: everything admitted before `cut` is affected.
    pub cancel: Option<CancelMark>,
    /// Queued tasks admitted before the cut have this priority.
    pub moved: Option<MoveCut>,
    /// Counters and stamps.
    pub numbers: JobNumbers,
    /// Queued and leased tasks by level and state; terminal states are not kept here.
    pub by_level: [StateCounts; Priority::LEVELS],
    /// Moving average of the run time, µs; 0 = none yet.
    pub mean_us: u64,
    /// Levels whose order holds its lane, bit `Priority::index`; rebuilt, never stored.
    #[serde(skip)]
    pub listed: u16,
    /// Lane per level; rebuilt, never stored.
    #[serde(skip)]
    pub lanes: [Lane; Priority::LEVELS],
    /// Its first task here, and behind its last one.
    pub span: Option<(TaskSeq, TaskSeq)>,
    /// Nothing: the slot waits for another job.
    pub vacant: bool,
    /// Virtual time per level, for the image.
    pub vtimes: [i64; Priority::LEVELS],
    /// Hand-outs since the latest head per level, for the image.
    pub since_heads: [u16; Priority::LEVELS],
}

/// What a job cancel left behind, so that no task needs to be touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelMark {
    /// First sequence number not affected.
    pub cut: TaskSeq,
    /// Leased tasks too?
    pub mode: CancelMode,
    /// When.
    pub at: WallMs,
    /// Why.
    pub reason: Option<Name>,
}

impl JobRow {
    /// A fresh job.
    #[must_use]
    pub fn new(name: Name, spec: JobSpec, implicit: bool, at: WallMs) -> Self {
        let numbers = JobNumbers { created: at, ..JobNumbers::default() };
        Self {
            name,
            paused: spec.paused,
            spec,
            implicit,
            closed: false,
            cancel: None,
            moved: None,
            numbers,
            by_level: Default::default(),
            mean_us: 0,
            listed: 0,
            lanes: Default::default(),
            span: None,
            vacant: false,
            vtimes: [0; Priority::LEVELS],
            since_heads: [0; Priority::LEVELS],
        }
    }

    /// A copy for an image: its lanes are empty, because they are derived from the rows again.
    #[must_use]
    pub fn columns(&self) -> Self {
        Self {
            name: self.name.clone(),
            spec: self.spec.clone(),
            cancel: self.cancel.clone(),
            numbers: self.numbers.clone(),
            lanes: Default::default(),
            vtimes: std::array::from_fn(|level| self.lanes[level].vtime),
            since_heads: std::array::from_fn(|level| self.lanes[level].since_head),
            ..*self
        }
    }

    /// The slot of a job that was purged.
    #[must_use]
    pub fn vacant() -> Self {
        let spec = implicit_spec(&Policy::default());
        Self { vacant: true, ..Self::new(Name::from(""), spec, true, WallMs(0)) }
    }

    /// Notes tasks that were just admitted.
    pub fn extend(&mut self, first: TaskSeq, count: u64) {
        let start = self.span.map_or(first, |(start, _)| start);
        self.span = Some((start, first.plus(count)));
    }

    /// May its tasks be handed out?
    #[must_use]
    pub fn runs(&self) -> bool {
        !self.paused && self.cancel.is_none()
    }

    /// The state of a task of this job, with the job's cancel laid over the stored one.
    #[must_use]
    pub fn overlay(&self, seq: TaskSeq, stored: TaskState) -> TaskState {
        match &self.cancel {
            Some(mark) if seq < mark.cut && mark.mode.reaches(stored) => TaskState::Cancelled,
            _ => stored,
        }
    }

    /// Priority of a queued task, with the job's re-prioritise laid over its own: the admitted one,
    /// or the one a redrive set after so many re-prioritises.
    #[must_use]
    pub fn current(&self, seq: TaskSeq, own: Priority, set_after: u32) -> Priority {
        self.moved.filter(|m| m.reaches(seq, set_after)).map_or(own, |m| m.priority)
    }

    /// Re-prioritises so far.
    #[must_use]
    pub fn moves(&self) -> u32 {
        self.moved.map_or(0, |m| m.number)
    }

    /// Moves one task of a level between states.
    pub fn shift(&mut self, priority: Priority, from: TaskState, to: TaskState) {
        self.shift_many(priority, from, to, 1);
    }

    /// Moves tasks of a level between states.
    pub fn shift_many(&mut self, priority: Priority, from: TaskState, to: TaskState, count: u64) {
        self.numbers.counts.sub(from, count);
        self.numbers.counts.add(to, count);
        let level = &mut self.by_level[priority.index()];
        level.sub(from, count);
        if to.live() {
            level.add(to, count);
        }
    }

    /// Folds a run time into the moving average: avg += 0.2 × (run − avg).
    pub fn ran(&mut self, run_ms: u64) {
        let run_us = run_ms.saturating_mul(1_000).max(1_000);
        self.mean_us =
            if self.mean_us == 0 { run_us } else { self.mean_us - self.mean_us / 5 + run_us / 5 };
        self.numbers.runs += 1;
        self.numbers.run_ms_sum += run_ms;
    }
}

/// Worker time on the scale of virtual times.
pub(crate) fn weighted(us: u64, weight: u16) -> i64 {
    i64::try_from(us / u64::from(weight.max(1))).unwrap_or(i64::MAX / 4)
}
