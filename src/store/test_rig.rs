//! Shared by the tests of the store: a folder that goes away, and a generator of legal event
//! histories that knows nothing of partitions.

use crate::model::affinity::Fit;
use crate::model::array::{ArraySpec, Span};
use crate::model::event::{
    Allocation, Completion, Event, FailCause, Failure, Next, Release, ReleaseCause, Stamped, Start,
};
use crate::model::id::{LeaseNo, Name, Position, TaskSeq};
use crate::model::job::{CancelMode, JobChange};
use crate::model::key::Hash128;
use crate::model::policy::Backoff;
use crate::model::priority::Priority;
use crate::model::task::{Blob, Encoding, TaskSpec};
use crate::model::time::WallMs;
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes away with the test.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kwq-tracker-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

pub(super) fn spec(job: &str, priority: u8, tag: Option<&str>, not_before: u64) -> TaskSpec {
    TaskSpec {
        id: None,
        job: job.into(),
        priority: Priority::try_from(priority).expect("1 to 9"),
        tag: tag.map(Name::from),
        payload: Blob { encoding: Encoding::Text, bytes: vec![7; usize::from(priority)] },
        affinity: Vec::new(),
        source: None,
        meta: None,
        timeout_s: 0,
        lease_ms: 0,
        max_attempts: 4,
        max_crashes: 5,
        backoff: Backoff { base_ms: 1, cap_ms: 2, jitter: Default::default() },
        not_before: WallMs(not_before),
        traceparent: None,
        content: None,
        element: None,
    }
}

/// What the generator knows of a task: just enough to stay legal.
#[derive(Clone, Debug)]
struct Sketch {
    job: usize,
    stage: Stage,
    attempt: u32,
    late: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Queued,
    Allocated,
    Running,
    Dead,
    Over,
}

/// A step: what to try, and bits to choose with.
pub(super) type Step = (u8, u16, u8);

pub(super) fn steps(max: usize) -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec((0u8..26, any::<u16>(), any::<u8>()), 1..max)
}

/// Builds a legal history for one partition.
pub(super) struct Writer {
    pub(super) log: Vec<Stamped>,
    tasks: Vec<Sketch>,
    cancelled: [Option<CancelMode>; 3],
    at: u64,
    lease: u64,
}

impl Writer {
    pub(super) fn new() -> Self {
        let owner = Event::Owner { node: "n".into(), addr: "".into(), token_key: [1, 2] };
        let log = vec![Stamped { at: WallMs(1_000), event: owner }];
        Self { log, tasks: Vec::new(), cancelled: [None; 3], at: 1_000, lease: 0 }
    }

    pub(super) fn run(steps: &[Step]) -> Vec<Stamped> {
        let mut writer = Self::new();
        steps.iter().for_each(|step| writer.step(*step));
        writer.log
    }

    fn push(&mut self, event: Event) {
        self.log.push(Stamped { at: WallMs(self.at), event });
    }

    pub(super) fn step(&mut self, (kind, pick, bits): Step) {
        self.at += u64::from(bits % 4) * 17;
        match kind {
            0..=5 => self.submit(usize::from(pick % 3), bits),
            6..=10 => self.allocate(pick, bits),
            11..=12 => self.start(pick),
            13..=15 => self.complete(pick, bits),
            16..=17 => self.fail(pick, bits),
            18 => self.release(pick, bits),
            19 => self.cancel_task(pick),
            20 => self.redrive(pick, bits),
            21 => self.prioritise(usize::from(pick % 3), bits),
            22 => self.cancel_job(usize::from(pick % 3), bits),
            23 => self.purge(pick),
            24 => self.purge_job(usize::from(pick % 3), bits),
            _ => self.at += u64::from(pick % 500),
        }
    }

    fn submit(&mut self, job: usize, bits: u8) {
        let first = self.tasks.len() as u64;
        let count = u64::from(bits % 7) + 1;
        let due = if bits > 200 { self.at + u64::from(bits) } else { 0 };
        let tag = ["a:1", "a:2,b", "c"][usize::from(bits % 3)];
        let task = spec(job_name(job), bits % 9 + 1, Some(tag), due);
        let stage = if self.cancelled[job].is_some() { Stage::Over } else { Stage::Queued };
        let sketch = Sketch { job, stage, attempt: 0, late: false };
        self.tasks.extend((0..count).map(|_| sketch.clone()));
        let tasks = (0..count).map(|_| task.clone()).collect();
        self.push(Event::Submitted { first: TaskSeq(first), tasks });
        if stage == Stage::Over {
            self.push(Event::Cancelled((first..first + count).map(TaskSeq).collect()));
        }
    }

    /// An array, its payload `x{i}`.
    pub(super) fn array(&mut self, job: usize, count: u64) {
        let first = self.tasks.len() as u64;
        let mut task = spec(job_name(job), 5, Some("a:1"), 0);
        task.payload.bytes = b"x{i}".to_vec();
        let sketch = Sketch { job, stage: Stage::Queued, attempt: 0, late: false };
        self.tasks.extend((0..count).map(|_| sketch.clone()));
        let span = Span { from: 7, step: 3, count };
        let array = Box::new(ArraySpec { task, span, id: None, content: Hash128::default() });
        self.push(Event::SubmittedArray { first: TaskSeq(first), array });
    }

    /// Up to `max` tasks in one of the stages, from a place on.
    fn some(&self, pick: u16, max: usize, stages: &[Stage]) -> Vec<usize> {
        let from = usize::from(pick) % self.tasks.len().max(1);
        let fits = |n: &usize| stages.contains(&self.tasks[*n].stage);
        (from..self.tasks.len()).chain(0..from).filter(fits).take(max).collect()
    }

    fn allocate(&mut self, pick: u16, bits: u8) {
        let chosen = self.some(pick, usize::from(bits % 5) + 1, &[Stage::Queued]);
        if chosen.is_empty() {
            return;
        }
        let first_lease = LeaseNo(self.lease);
        let mut tasks = Vec::new();
        for n in chosen {
            let task = &mut self.tasks[n];
            (task.stage, task.late) = (Stage::Allocated, false);
            task.attempt += 1;
            self.lease += 1;
            tasks.push(Allocation {
                seq: TaskSeq(n as u64),
                attempt: task.attempt,
                lease_ms: 1_000,
                fit: Fit::None,
                served: None,
            });
        }
        let worker = Name::from(format!("w{}", bits % 4));
        let endpoint = (bits.is_multiple_of(2)).then(|| Name::from("http://w"));
        self.push(Event::Allocated { worker, endpoint, first_lease, tasks });
    }

    fn start(&mut self, pick: u16) {
        let chosen = self.some(pick, 3, &[Stage::Allocated]);
        let starts = chosen.iter().map(|n| {
            self.tasks[*n].stage = Stage::Running;
            Start { seq: TaskSeq(*n as u64), attempt: self.tasks[*n].attempt }
        });
        let starts: Vec<Start> = starts.collect();
        if !starts.is_empty() {
            self.push(Event::Started(starts));
        }
    }

    fn complete(&mut self, pick: u16, bits: u8) {
        let from = usize::from(pick) % self.tasks.len().max(1);
        let leased = |t: &Sketch| matches!(t.stage, Stage::Allocated | Stage::Running);
        let late = |t: &Sketch| t.stage == Stage::Queued && t.late;
        let fits = |n: &usize| leased(&self.tasks[*n]) || late(&self.tasks[*n]);
        let chosen: Vec<usize> = (from..self.tasks.len()).filter(fits).take(3).collect();
        let mut done = Vec::new();
        for n in chosen {
            let task = &mut self.tasks[n];
            let result = Blob { encoding: Encoding::Text, bytes: vec![1; usize::from(bits)] };
            done.push(Completion {
                seq: TaskSeq(n as u64),
                attempt: task.attempt,
                lease: LeaseNo(0),
                late: task.stage == Stage::Queued,
                run_ms: 5,
                result: (bits > 128).then_some(result),
            });
            task.stage = Stage::Over;
        }
        if !done.is_empty() {
            self.push(Event::Completed(done));
        }
    }

    fn next(&mut self, n: usize, bits: u8) -> Next {
        let dropped = self.cancelled[self.tasks[n].job] == Some(CancelMode::DropQueued);
        let (next, stage) = match bits % 4 {
            0 | 1 if dropped => (Next::Cancelled, Stage::Over),
            2 | 3 if dropped => (Next::Error, Stage::Dead),
            0 => (Next::Pending, Stage::Queued),
            1 | 2 => (Next::Delayed(WallMs(self.at + u64::from(bits))), Stage::Queued),
            _ => (Next::Error, Stage::Dead),
        };
        self.tasks[n].stage = stage;
        next
    }

    fn fail(&mut self, pick: u16, bits: u8) {
        let causes = [FailCause::Error, FailCause::Timeout, FailCause::Crash];
        let cause = causes[usize::from(bits / 4 % 3)];
        let mut tasks = Vec::new();
        for n in self.some(pick, 2, &[Stage::Allocated, Stage::Running]) {
            let next = self.next(n, bits);
            self.tasks[n].late = cause != FailCause::Error;
            tasks.push(Failure {
                seq: TaskSeq(n as u64),
                attempt: self.tasks[n].attempt,
                lease: LeaseNo(0),
                class: Name::from(format!("c{}", bits % 3)),
                message: Name::from(format!("message {bits}")),
                errors: bits % 5,
                crashes: bits % 3,
                next,
                run_ms: 1,
            });
        }
        if !tasks.is_empty() {
            self.push(Event::Failed { cause, tasks });
        }
    }

    fn release(&mut self, pick: u16, bits: u8) {
        let causes = [ReleaseCause::Release, ReleaseCause::Worker, ReleaseCause::Undelivered];
        let mut tasks = Vec::new();
        for n in self.some(pick, 2, &[Stage::Allocated, Stage::Running]) {
            // A release never kills: of the four ways only the first two.
            let next = self.next(n, bits % 2);
            let attempt = self.tasks[n].attempt;
            tasks.push(Release { seq: TaskSeq(n as u64), attempt, lease: LeaseNo(0), next });
        }
        if !tasks.is_empty() {
            self.push(Event::Released { cause: causes[usize::from(bits % 3)], tasks });
        }
    }

    fn cancel_task(&mut self, pick: u16) {
        let chosen = self.some(pick, 2, &[Stage::Queued, Stage::Allocated, Stage::Running]);
        chosen.iter().for_each(|n| self.tasks[*n].stage = Stage::Over);
        if !chosen.is_empty() {
            self.push(Event::Cancelled(chosen.iter().map(|n| TaskSeq(*n as u64)).collect()));
        }
    }

    fn redrive(&mut self, pick: u16, bits: u8) {
        let mut chosen = self.some(pick, 3, &[Stage::Dead]);
        chosen.retain(|n| self.cancelled[self.tasks[*n].job].is_none());
        chosen.sort_unstable();
        for n in &chosen {
            (self.tasks[*n].stage, self.tasks[*n].late) = (Stage::Queued, false);
        }
        let priority = Priority::new(u64::from(bits % 12));
        if !chosen.is_empty() {
            let tasks = chosen.iter().map(|n| TaskSeq(*n as u64)).collect();
            self.push(Event::Redriven { tasks, priority });
        }
    }

    fn purge(&mut self, pick: u16) {
        let mut chosen = self.some(pick, 3, &[Stage::Dead]);
        chosen.sort_unstable();
        chosen.iter().for_each(|n| self.tasks[*n].stage = Stage::Over);
        if !chosen.is_empty() {
            self.push(Event::Purged(chosen.iter().map(|n| TaskSeq(*n as u64)).collect()));
        }
    }

    /// Cancelled first if it has to be; the next task of that name begins a new job.
    pub(super) fn purge_job(&mut self, job: usize, bits: u8) {
        if bits > 60 {
            return;
        }
        let name = Name::from(job_name(job));
        if self.cancelled[job] != Some(CancelMode::Stop) {
            let change = JobChange::Cancel(CancelMode::Stop, None);
            self.push(Event::JobChanged { job: name.clone(), change });
        }
        self.cancelled[job] = None;
        self.tasks.iter_mut().filter(|t| t.job == job).for_each(|t| t.stage = Stage::Over);
        self.push(Event::JobChanged { job: name, change: JobChange::Purge });
    }

    fn prioritise(&mut self, job: usize, bits: u8) {
        let priority = Priority::try_from(bits % 9 + 1).expect("1 to 9");
        let change = JobChange::Prioritise(priority);
        self.push(Event::JobChanged { job: job_name(job).into(), change });
    }

    fn cancel_job(&mut self, job: usize, bits: u8) {
        // Rare, or nothing would ever run to its end.
        if bits > 60 {
            return;
        }
        let mode = if bits.is_multiple_of(2) { CancelMode::Stop } else { CancelMode::DropQueued };
        let now = self.cancelled[job];
        if now == Some(CancelMode::Stop) || now == Some(mode) {
            return;
        }
        self.cancelled[job] = Some(mode);
        for task in self.tasks.iter_mut().filter(|t| t.job == job) {
            let leased = matches!(task.stage, Stage::Allocated | Stage::Running);
            if task.stage == Stage::Queued || (leased && mode == CancelMode::Stop) {
                task.stage = Stage::Over;
            }
        }
        let change = JobChange::Cancel(mode, None);
        self.push(Event::JobChanged { job: job_name(job).into(), change });
    }
}

fn job_name(job: usize) -> &'static str {
    ["alpha", "beta", "gamma"][job]
}

/// Records with positions that are not dense, as a shared log gives them.
pub(super) fn placed(log: &[Stamped]) -> Vec<(Position, &Stamped)> {
    log.iter().enumerate().map(|(n, record)| (Position(n as u64 * 37 + 5), record)).collect()
}
