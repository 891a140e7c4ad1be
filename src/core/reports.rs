//! Reports of workers: the token-verdict table of `docs/semantics.md` 3, heartbeats, leases given
//! back.

use crate::core::apply::CLASS_CRASH;
use crate::core::lease::{Fate, Remembered};
use crate::core::partition::Partition;
use crate::core::retry::FailureReport;
use crate::model::command::Heartbeat;
use crate::model::event::{
    Completion, Event, FailCause, Failure, Release, ReleaseCause, Stamped, Start,
};
use crate::model::id::{LeaseNo, Name, TaskSeq};
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reply::{CancelNotice, Renewal};
use crate::model::report::{Budget, Outcome, Report, ReportOutcome, ReportedTask, Verb};
use crate::model::state::TaskState;
use crate::model::task::Blob;

/// Events of one call, gathered so that a batch of reports is a handful of records.
#[derive(Default)]
struct Gathered {
    starts: Vec<Start>,
    completions: Vec<Completion>,
    failures: Vec<Failure>,
    releases: Vec<Release>,
    /// Records that come before these.
    closed: Vec<Event>,
}

impl Gathered {
    fn completed(&mut self, done: Completion) {
        if !self.failures.is_empty() {
            self.close();
        }
        self.completions.push(done);
    }

    fn failed(&mut self, failure: Failure) {
        if !self.completions.is_empty() {
            self.close();
        }
        self.failures.push(failure);
    }

    /// Makes records of what has gathered. Ends of both kinds stay in the order of the call: that
    /// is the order of a job's results.
    fn close(&mut self) {
        let Self { starts, completions, failures, releases, closed } = self;
        if !starts.is_empty() {
            closed.push(Event::Started(std::mem::take(starts)));
        }
        if !completions.is_empty() {
            closed.push(Event::Completed(std::mem::take(completions)));
        }
        if !failures.is_empty() {
            let tasks = std::mem::take(failures);
            closed.push(Event::Failed { cause: FailCause::Error, tasks });
        }
        if !releases.is_empty() {
            let tasks = std::mem::take(releases);
            closed.push(Event::Released { cause: ReleaseCause::Release, tasks });
        }
    }
}

impl Partition {
    pub(crate) fn report(
        &mut self,
        reports: Vec<Report>,
        events: &mut Vec<Stamped>,
    ) -> Vec<ReportOutcome> {
        let mut gathered = Gathered::default();
        let outcomes = reports.into_iter().map(|r| self.verdict(r, &mut gathered)).collect();
        gathered.close();
        gathered.closed.into_iter().for_each(|event| self.commit_applied(event, events));
        outcomes
    }

    fn verdict(&mut self, report: Report, gathered: &mut Gathered) -> ReportOutcome {
        let lost = ReportOutcome::bare(Outcome::LeaseLost);
        let genuine = report.token.filter(|t| self.leases.genuine(t));
        let newest = self.rows.next();
        let known = genuine.and_then(|t| self.leases.remembered(t.number, newest));
        let (Some(token), Some(known)) = (genuine, known) else {
            self.stats.lease_rejected[1] += 1;
            return lost;
        };
        let number = token.number;
        if let (Some(worker), Some(holder)) = (&report.worker, self.holder(known.seq, number))
            && holder != worker
        {
            return lost;
        }
        match (known.fate, report.verb) {
            (Fate::Live, verb) => {
                let lease = self.leases.get(number).expect("fate Live means a live lease");
                let worker = Some(self.workers.value(lease.worker.0).clone());
                ReportOutcome { worker, ..self.act(number, known, verb, gathered) }
            }
            (Fate::Lapsed, Verb::Complete { result, run_ms }) => {
                self.complete_late(number, known, result, run_ms, gathered).unwrap_or(lost)
            }
            (Fate::Completed, Verb::Complete { .. }) => {
                self.told(Outcome::Duplicate, known, TaskState::Completed, None)
            }
            (Fate::Failed, Verb::Fail { .. }) | (Fate::Released, Verb::Release { .. }) => {
                let Some(answer) = self.leases.answer(number) else {
                    self.stats.lease_rejected[0] += 1;
                    return lost;
                };
                let budget = (known.fate == Fate::Failed).then(|| answer.budget());
                self.told(Outcome::Duplicate, known, answer.state, budget)
            }
            (Fate::Cancelled, Verb::Release { .. }) => {
                self.told(Outcome::Ok, known, TaskState::Cancelled, None)
            }
            (Fate::Cancelled, Verb::Start | Verb::Complete { .. } | Verb::Fail { .. }) => {
                self.told(Outcome::Cancelled, known, TaskState::Cancelled, None)
            }
            (Fate::Lapsed | Fate::Completed | Fate::Failed | Fate::Released, _) => {
                self.stats.lease_rejected[0] += 1;
                lost
            }
        }
    }

    /// Who was given a token; known as long as it is the newest of a task that is not over.
    fn holder(&self, seq: TaskSeq, number: LeaseNo) -> Option<&Name> {
        let newest = self.touched.get(&seq).filter(|touched| touched.lease == number)?;
        Some(self.workers.value(newest.worker.0))
    }

    /// A verb with a live token.
    fn act(
        &mut self,
        number: LeaseNo,
        known: Remembered,
        verb: Verb,
        gathered: &mut Gathered,
    ) -> ReportOutcome {
        let lease = self.leases.get(number).expect("fate Live means a live lease").clone();
        match verb {
            Verb::Start => {
                self.start_lease(number, &mut gathered.starts);
                self.told(Outcome::Ok, known, TaskState::Running, None)
            }
            Verb::Complete { result, run_ms } => {
                let run_ms = run_ms.unwrap_or_else(|| self.run_ms(&lease));
                let (seq, attempt) = (lease.seq, lease.attempt);
                let done = Completion { seq, attempt, lease: number, late: false, run_ms, result };
                let told = self.told(Outcome::Ok, known, TaskState::Completed, None);
                self.apply_completion(&done, self.now.wall);
                gathered.completed(done);
                told
            }
            Verb::Fail { class, message, retryable, retry_after_ms, run_ms } => {
                let cause = FailCause::Error;
                let report =
                    FailureReport { cause, class, message, retryable, retry_after_ms, run_ms };
                let failure = self.failure(number, report);
                self.apply_failure(cause, &failure, self.now.wall);
                gathered.failed(failure);
                let answer = self.leases.answer(number).expect("a failure leaves an answer");
                let outcome = match answer.state {
                    TaskState::Error => Outcome::Dead,
                    TaskState::Cancelled => Outcome::Cancelled,
                    TaskState::Blocked
                    | TaskState::Delayed
                    | TaskState::Pending
                    | TaskState::Allocated
                    | TaskState::Running
                    | TaskState::Completed
                    | TaskState::Expired => Outcome::Retry,
                };
                self.told(outcome, known, answer.state, Some(answer.budget()))
            }
            Verb::Release { delay_ms } => {
                let release = self.release_of(number, u64::from(delay_ms));
                self.apply_release(ReleaseCause::Release, release, self.now.wall);
                gathered.releases.push(release);
                let answer = self.leases.answer(number).expect("a release leaves an answer");
                self.told(Outcome::Ok, known, answer.state, None)
            }
        }
    }

    /// Accepts a completion after the lease lapsed, if its token is the newest and the task is
    /// still queued.
    fn complete_late(
        &mut self,
        number: LeaseNo,
        known: Remembered,
        result: Option<Blob>,
        run_ms: Option<u64>,
        gathered: &mut Gathered,
    ) -> Option<ReportOutcome> {
        let touched = self.touched.get(&known.seq).copied()?;
        let queued = self.state(known.seq).is_some_and(TaskState::queued);
        if touched.lease != number || !queued {
            return None;
        }
        let (seq, attempt) = (known.seq, touched.attempt);
        let run_ms = run_ms.unwrap_or(0);
        let done = Completion { seq, attempt, lease: number, late: true, run_ms, result };
        let told = self.told(Outcome::Ok, known, TaskState::Completed, None);
        let worker = Some(self.workers.value(touched.worker.0).clone());
        self.apply_completion(&done, self.now.wall);
        gathered.completed(done);
        Some(ReportOutcome { worker, ..told })
    }

    fn told(
        &self,
        outcome: Outcome,
        known: Remembered,
        state: TaskState,
        budget: Option<Budget>,
    ) -> ReportOutcome {
        let reference = self.reference(known.seq);
        let task = reference.map(|reference| ReportedTask {
            seq: known.seq,
            reference,
            id: None,
            state,
            attempt: known.attempt,
            budget,
        });
        ReportOutcome { outcome, task, worker: None }
    }

    /// Reference of a task that still has its class.
    #[must_use]
    pub fn reference(&self, seq: TaskSeq) -> Option<TaskRef> {
        let class = self.class(seq)?;
        Some(self.reference_of(class.priority, seq))
    }

    /// Reference of a task; `admitted` = priority it was admitted with.
    pub(crate) fn reference_of(&self, admitted: Priority, seq: TaskSeq) -> TaskRef {
        let Some(array) = self.rows.array_of(seq) else {
            return TaskRef::of_seq(admitted, self.id, seq);
        };
        let value = array.span.value(seq.0 - array.first.0);
        TaskRef { index: Some(value), ..TaskRef::of_seq(admitted, self.id, array.first) }
    }

    fn start_lease(&mut self, number: LeaseNo, starts: &mut Vec<Start>) {
        let Some(lease) = self.leases.get(number).filter(|l| !l.started) else { return };
        let start = Start { seq: lease.seq, attempt: lease.attempt };
        self.apply_start(start, self.now.wall);
        starts.push(start);
    }

    pub(crate) fn heartbeat(&mut self, beat: &Heartbeat, events: &mut Vec<Stamped>) -> Renewal {
        let mut renewal = Renewal::default();
        let worker = self.worker_key(&beat.worker);
        self.alive(worker);
        let mut numbers = Vec::new();
        match &beat.leases {
            None => {
                numbers.extend(self.leases.of_worker(worker));
                let ended = self.leases.cancelled_of(worker, self.now.wall);
                let tokens = ended.map(|number| self.leases.token(self.id, number));
                renewal.cancel.extend(tokens.filter_map(|token| self.cancel_notice(&token)));
            }
            Some(tokens) => {
                for token in tokens {
                    let live = self.leases.get(token.number).filter(|l| l.worker == worker);
                    if self.leases.genuine(token) && live.is_some() {
                        numbers.push(token.number);
                    } else if let Some(notice) = self.cancel_notice(token) {
                        renewal.cancel.push(notice);
                    } else {
                        renewal.lost.push(*token);
                    }
                }
            }
        }
        numbers.sort_unstable();
        numbers.dedup();
        let mut starts = Vec::new();
        for number in numbers {
            self.start_lease(number, &mut starts);
            let tick = self.now.tick;
            let lease = self.leases.get_mut(number).expect("listed as live just now");
            lease.ends = tick.plus(u64::from(lease.lease_ms));
            renewal.renewed += 1;
            let shortest = renewal.shortest_ms;
            renewal.shortest_ms =
                if shortest == 0 { lease.lease_ms } else { shortest.min(lease.lease_ms) };
        }
        if !starts.is_empty() {
            self.commit_applied(Event::Started(starts), events);
        }
        renewal
    }

    fn cancel_notice(&self, token: &crate::model::lease::LeaseToken) -> Option<CancelNotice> {
        let known = self.leases.remembered(token.number, self.rows.next())?;
        if known.fate != Fate::Cancelled || !self.leases.genuine(token) {
            return None;
        }
        let reference = self.reference(known.seq)?;
        let job = self.class(known.seq).map(|c| self.job(c.job));
        let by_job = job.is_some_and(|j| j.cancel.is_some());
        let reason = Name::from(if by_job { "job cancelled" } else { "task cancelled" });
        Some(CancelNotice { token: *token, reference, reason })
    }

    fn release_of(&self, number: LeaseNo, delay_ms: u64) -> Release {
        let lease = self.leases.get(number).expect("the caller checked that it is live");
        let class = self.class(lease.seq).expect("a leased task is live");
        let next = self.back_to_queue(&class, delay_ms);
        Release { seq: lease.seq, attempt: lease.attempt, lease: number, next }
    }

    pub(crate) fn undeliver(&mut self, numbers: Vec<LeaseNo>, events: &mut Vec<Stamped>) -> usize {
        let live = numbers.into_iter().filter(|n| self.leases.get(*n).is_some()).collect();
        self.give_back(live, ReleaseCause::Undelivered, events)
    }

    pub(crate) fn drop_worker(&mut self, worker: &Name, events: &mut Vec<Stamped>) -> usize {
        let key = self.worker_key(worker);
        let numbers = self.leases.of_worker(key);
        self.learned.forget(key);
        self.give_back(numbers, ReleaseCause::Worker, events)
    }

    fn give_back(
        &mut self,
        numbers: Vec<LeaseNo>,
        cause: ReleaseCause,
        events: &mut Vec<Stamped>,
    ) -> usize {
        let mut tasks = Vec::with_capacity(numbers.len());
        for number in numbers {
            let release = self.release_of(number, 0);
            self.apply_release(cause, release, self.now.wall);
            tasks.push(release);
        }
        let count = tasks.len();
        if count > 0 {
            self.commit_applied(Event::Released { cause, tasks }, events);
        }
        count
    }

    /// The failure the owner writes for a worker it lost.
    pub(crate) fn lost_worker(&mut self, number: LeaseNo, cause: FailCause) -> Failure {
        let (class, message) = match cause {
            FailCause::Timeout => (crate::core::apply::CLASS_TIMEOUT, "timeoutSeconds passed"),
            FailCause::Crash | FailCause::Error => (CLASS_CRASH, "the lease expired"),
        };
        let report = FailureReport {
            cause,
            class: Name::from(class),
            message: Name::from(message),
            retryable: true,
            retry_after_ms: None,
            run_ms: None,
        };
        self.failure(number, report)
    }
}

#[cfg(test)]
#[path = "reports_tests.rs"]
mod tests;
