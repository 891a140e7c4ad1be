//! A worker of the mixed scenario: does to each task what its number says, and keeps the books.

use super::Scenario;
use super::books::{self, CANCELLED, First, is_paused};
use crate::cli::failure::Failure;
use crate::client::worker::{Consume, HandOut, Outcome, Report};
use crate::model::limits::CONSUME_JOBS_MAX;

/// Lease asked for: a lost worker shows after it, and no other task may expire.
const LEASE_MS: u64 = 15_000;
/// Longest wait of a consume, so that a worker sees the end.
const WAIT_MS: u64 = 500;

/// What a report is about.
#[derive(Clone, Copy)]
struct Held {
    n: u64,
    first: First,
    attempt: u32,
}

impl Scenario {
    /// Works until everything is over.
    pub(super) async fn work(&self, number: u32) -> Result<(), Failure> {
        let worker = format!("{}-worker-{number}", self.id);
        let mut turn = usize::try_from(number).expect("thousands");
        let (mut held, mut done): (Vec<Held>, Vec<Report>) = (Vec::new(), Vec::new());
        while !self.over.get() || !done.is_empty() {
            let (paused, cancelled) = (self.paused.get(), self.cancelled.get());
            let max = if self.over.get() { 1 } else { self.batch };
            let request = Consume {
                worker: worker.clone(),
                max,
                wait_ms: if self.over.get() { 0 } else { WAIT_MS },
                lease_ms: Some(LEASE_MS),
                jobs: self.some_of_its_jobs(&mut turn),
                done: std::mem::take(&mut done),
                ..Consume::default()
            };
            let answer = self.client.consume(&request).await?;
            for (held, outcome) in held.drain(..).zip(&answer.done) {
                self.reported(held, outcome);
            }
            for task in &answer.tasks {
                // Paused or cancelled before it was asked for, and still after it was answered.
                self.check(task, paused && self.paused.get(), cancelled);
                if let Some((what, report)) = self.run(task) {
                    held.push(what);
                    done.push(report);
                }
            }
        }
        Ok(())
    }

    /// As many jobs as a consume may name, others each time: nobody else's tasks are taken.
    fn some_of_its_jobs(&self, turn: &mut usize) -> Vec<String> {
        *turn += 1;
        let from = *turn * CONSUME_JOBS_MAX;
        let job = |n: usize| self.jobs[(from + n) % self.jobs.len()].clone();
        (0..CONSUME_JOBS_MAX).map(job).collect()
    }

    fn check(&self, task: &HandOut, paused: bool, cancelled: bool) {
        let Some(n) = number(task) else { return };
        let job = books::job(n);
        if paused && is_paused(job) || cancelled && job == CANCELLED {
            let finding = format!("task {n} of a paused or cancelled job was handed out");
            self.books.borrow_mut().found(finding);
        }
    }

    /// What is to be said of a task; nothing when its worker is lost.
    fn run(&self, task: &HandOut) -> Option<(Held, Report)> {
        let mut books = self.books.borrow_mut();
        let Some(n) = number(task) else {
            books.found(format!("{} is no task of this run", task.reference));
            return None;
        };
        books.handed(n, task.attempt);
        let first = if task.attempt == 1 { books::first(n) } else { First::Completes };
        let held = Held { n, first, attempt: task.attempt };
        let lease = &task.lease;
        let report = match first {
            First::Completes => Report::complete(lease, 1, Vec::new()),
            First::Fails => Report::fail(lease, "mixed", "once", true),
            First::Dies => Report::fail(lease, "mixed", "for good", false),
            First::Lost => {
                books.of(n).lost += 1;
                return None;
            }
        };
        Some((held, report))
    }

    fn reported(&self, held: Held, outcome: &Outcome) {
        let mut books = self.books.borrow_mut();
        match (held.first, outcome.outcome.as_str()) {
            (First::Completes, "ok") => books.completed(held.n),
            (First::Fails, "retry") => books.of(held.n).failed += 1,
            (First::Dies, "dead") => {
                books.of(held.n).failed += 1;
                books.of(held.n).dead += 1;
            }
            (_, "cancelled") if books::job(held.n) == CANCELLED => {}
            (_, word) => {
                let (n, attempt) = (held.n, held.attempt);
                books.found(format!("task {n}, attempt {attempt}: answered {word}"));
            }
        }
    }
}

/// The number in the payload.
fn number(task: &HandOut) -> Option<u64> {
    String::from_utf8(task.payload_bytes().ok()?).ok()?.parse().ok()
}
