//! Jobs through the door: a job is the sum of its parts in all partitions; control verbs go to
//! every one of them.

use crate::actor::handle::{Answer, KwqHandle, no_job};
use crate::actor::handle_tasks::purged;
use crate::actor::outcome::mismatch;
use crate::actor::request::{JobCreated, JobPage, JobPatch, JobQuery, JobSort};
use crate::actor::slot::Slot;
use crate::model::command::{Class, Command};
use crate::model::id::Name;
use crate::model::job::{JobChange, JobSpec, JobState};
use crate::model::question::{JobPart, JobParts, PartOfJob, PurgedJob};
use crate::model::reject::{Code, Reject};
use crate::model::reply::{Decided, JobOutcome, Reply};
use crate::model::state::TaskState;
use crate::model::tags;
use crate::model::time::WallMs;
use crate::model::view::JobView;
use std::collections::BTreeMap;
use std::time::Duration;

/// A waiting call looks again this often, ms.
const WAIT_STEP_MS: u64 = 100;

/// A job being summed.
pub(super) struct Sum {
    parts: usize,
    pub(super) first: JobPart,
}

impl Sum {
    fn add(&mut self, part: JobPart) {
        self.parts += 1;
        let sum = &mut self.first;
        sum.numbers.merge(&part.numbers);
        // A control verb that reached only some partitions is in force for the job as a whole.
        sum.closed |= part.closed;
        sum.paused |= part.paused;
        if sum.cancelled.is_none() {
            sum.cancelled = part.cancelled;
        }
        if sum.implicit && !part.implicit {
            sum.implicit = false;
            sum.spec = part.spec;
        }
    }
}

impl KwqHandle {
    /// Creates a job or makes it explicit.
    ///
    /// # Errors
    /// `job_conflict` when it exists with another specification.
    pub async fn define_job(&self, job: Name, mut spec: JobSpec) -> Answer<JobCreated> {
        // The id is what an unnamed job is called anyway.
        spec.name = spec.name.filter(|name| *name != job);
        let _control = self.engine.control().await?;
        let known = self.check_job(&job, &spec).await?;
        let command = Command::DefineJob { job: job.clone(), spec: Box::new(spec), replace: false };
        let outcomes = self.everywhere(&command).await?;
        if outcomes.contains(&JobOutcome::Conflict) {
            let detail =
                format!("job {job} was created at the same time with another specification");
            return Err(Reject::new(Code::JobConflict, detail));
        }
        // Of several who create it at once one is the first in the first partition.
        let created = !known && outcomes.first() == Some(&JobOutcome::Created);
        Ok(JobCreated { created, job: self.after(job).await? })
    }

    /// Whether a job exists that a creation with this specification would find.
    ///
    /// # Errors
    /// `job_conflict` when its specification is another; `job_not_found` outside the scopes; no
    /// room for new work.
    pub async fn check_job(&self, job: &Name, spec: &JobSpec) -> Answer<bool> {
        if !self.scopes.cover(job) {
            return Err(no_job(job));
        }
        self.engine.admits_submits()?;
        let Some(sum) = self.sum_job(job).await? else { return Ok(false) };
        let named = |name: &Name| name != job;
        let spec = JobSpec { name: spec.name.clone().filter(named), ..spec.clone() };
        if !sum.first.implicit && !sum.first.spec.same(&spec, &self.engine.config.policy) {
            let detail = format!("job {job} exists with another specification");
            return Err(Reject::new(Code::JobConflict, detail).hint("use PATCH to change it"));
        }
        Ok(true)
    }

    /// One job, exact.
    ///
    /// # Errors
    /// `job_not_found`.
    pub async fn job(&self, job: Name) -> Answer<JobView> {
        match self.sum_job(&job).await? {
            Some(sum) => Ok(self.view(sum).await),
            None => Err(self.missing_job(&job).await),
        }
    }

    /// The refusal of a job that is not there: it may have been purged lately.
    async fn missing_job(&self, job: &Name) -> Reject {
        let mut gone = false;
        for slot in self.engine.slots.iter().filter(|_| self.scopes.cover(job)) {
            let known = self.engine.ask(slot, PurgedJob { job: job.clone() }).await;
            gone |= known.is_ok_and(|(known, _)| known);
        }
        if gone { purged("job") } else { no_job(job) }
    }

    /// A job after a verb: when it cannot be read the verb has been applied all the same.
    async fn after(&self, job: Name) -> Answer<JobView> {
        self.job(job).await.map_err(Reject::possibly_applied)
    }

    /// A page of jobs.
    ///
    /// # Errors
    /// A partition that is away.
    pub async fn jobs(&self, query: JobQuery) -> Answer<JobPage> {
        let mut rows = self.all_jobs().await?;
        rows.retain(|job| matches(job, &query));
        rows.sort_by_key(|job| sort_key(job, query.sort));
        let from = match &query.after {
            Some(after) => rows.iter().position(|j| j.id == *after).map_or(rows.len(), |at| at + 1),
            None => 0,
        };
        let more = rows.len() > from + query.limit;
        let rows: Vec<JobView> = rows.into_iter().skip(from).take(query.limit).collect();
        let next = rows.last().filter(|_| more).map(|job| job.id.clone());
        Ok(JobPage { rows, next })
    }

    /// A control verb on a job in all partitions.
    ///
    /// # Errors
    /// `job_not_found`, `job_ended` by the verb table of `docs/semantics.md` 11.1.
    pub async fn change_job(&self, job: Name, change: JobChange) -> Answer<JobView> {
        let _control = self.engine.control().await?;
        let Some(sum) = self.sum_job(&job).await? else {
            return Err(self.missing_job(&job).await);
        };
        let state = state_of(&sum.first);
        let refused = match (&change, state) {
            (JobChange::Close | JobChange::Retention(_) | JobChange::Purge, _) => false,
            (JobChange::Cancel(..), JobState::Cancelled) => false,
            (_, state) => state.ended(),
        };
        if refused {
            let detail = format!("job {job} has ended ({})", state.name());
            return Err(Reject::new(Code::JobEnded, detail));
        }
        // A cancel of a cancelled job changes nothing, not even its reason.
        if !(matches!(change, JobChange::Cancel(..)) && state == JobState::Cancelled) {
            self.apply_change(&job, change, &sum).await?;
        }
        self.in_force(job).await
    }

    /// A job after a control verb that all partitions have taken.
    async fn in_force(&self, job: Name) -> Answer<JobView> {
        let mut view = self.after(job).await?;
        let total = self.engine.slots.len();
        view.partitions = Some((total, total));
        Ok(view)
    }

    pub(super) async fn apply_change(
        &self,
        job: &Name,
        change: JobChange,
        sum: &Sum,
    ) -> Answer<()> {
        let command = Command::ChangeJob {
            job: job.clone(),
            change,
            spec: Box::new(sum.first.spec.clone()),
            implicit: sum.first.implicit,
        };
        self.everywhere(&command).await.map(drop)
    }

    /// Changes fields of a job.
    ///
    /// # Errors
    /// As [`Self::change_job`].
    pub async fn patch_job(&self, job: Name, patch: JobPatch) -> Answer<JobView> {
        let _control = self.engine.control().await?;
        let Some(sum) = self.sum_job(&job).await? else {
            return Err(self.missing_job(&job).await);
        };
        let state = state_of(&sum.first);
        if state.ended() && (patch.priority.is_some() || patch.weight.is_some()) {
            let detail = format!("job {job} has ended ({})", state.name());
            return Err(Reject::new(Code::JobEnded, detail));
        }
        let changes = [
            patch.priority.map(JobChange::Prioritise),
            patch.weight.map(JobChange::Weight),
            patch.retention_ms.map(JobChange::Retention),
        ];
        for change in changes.into_iter().flatten() {
            self.apply_change(&job, change, &sum).await?;
        }
        if patch.name.is_some() || patch.tag.is_some() {
            let Some(now) = self.sum_job(&job).await? else {
                return Err(self.missing_job(&job).await);
            };
            let mut spec = now.first.spec;
            spec.name = patch.name.or(spec.name);
            spec.tag = patch.tag.or(spec.tag);
            let spec = Box::new(spec);
            self.everywhere(&Command::DefineJob { job: job.clone(), spec, replace: true }).await?;
        }
        self.in_force(job).await
    }

    /// Answers when the job has ended or, with `first_error`, has an error; `None` after the wait.
    ///
    /// # Errors
    /// `job_not_found`.
    pub async fn wait_job(
        &self,
        job: Name,
        first_error: bool,
        wait_ms: u64,
    ) -> Answer<Option<JobView>> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(wait_ms);
        loop {
            let view = self.job(job.clone()).await?;
            let failed = view.numbers.counts.of(TaskState::Error) > 0;
            // Nothing more can come of a job that has ended, whatever is waited for.
            if view.state.ended() || (first_error && failed) {
                return Ok(Some(view));
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(None);
            }
            let step = tokio::time::Instant::now() + Duration::from_millis(WAIT_STEP_MS);
            tokio::time::sleep_until(step.min(deadline)).await;
        }
    }

    /// Every job, summed.
    pub(crate) async fn all_jobs(&self) -> Answer<Vec<JobView>> {
        Ok(self.jobs_and_departed().await?.0)
    }

    /// Every job, summed, and the tasks of the purged ones, each partition at one moment: so no sum
    /// of both ever falls. With scopes nothing is known of the purged ones.
    pub(crate) async fn jobs_and_departed(&self) -> Answer<(Vec<JobView>, u64)> {
        let mut sums: BTreeMap<Name, Sum> = BTreeMap::new();
        let calls = self.engine.slots.iter().map(|slot| self.engine.ask(slot, JobParts));
        let mut departed = 0;
        for ((parts, gone), _) in futures_util::future::try_join_all(calls).await? {
            departed += if self.scopes.everything() { gone } else { 0 };
            for part in parts {
                if !self.scopes.cover(&part.name) {
                    continue;
                }
                match sums.get_mut(&part.name) {
                    Some(sum) => sum.add(part),
                    None => {
                        sums.insert(part.name.clone(), Sum { parts: 1, first: part });
                    }
                }
            }
        }
        let rates = self.job_rates().await;
        let now = self.now().wall;
        Ok((sums.into_values().map(|sum| view_of(sum, &rates, now)).collect(), departed))
    }

    pub(super) async fn sum_job(&self, job: &Name) -> Answer<Option<Sum>> {
        if !self.scopes.cover(job) {
            return Ok(None);
        }
        let calls = self
            .engine
            .slots
            .iter()
            .map(|slot| self.engine.ask(slot, PartOfJob { job: job.clone() }));
        let mut sum: Option<Sum> = None;
        for (part, _) in futures_util::future::try_join_all(calls).await? {
            match (&mut sum, part) {
                (Some(sum), Some(part)) => sum.add(*part),
                (None, Some(part)) => sum = Some(Sum { parts: 1, first: *part }),
                (_, None) => {}
            }
        }
        Ok(sum)
    }

    async fn view(&self, sum: Sum) -> JobView {
        let rates = self.job_rates().await;
        view_of(sum, &rates, self.now().wall)
    }

    /// Sends a job command to every partition; the outcome of each.
    async fn everywhere(&self, command: &Command) -> Answer<Vec<JobOutcome>> {
        let engine = &*self.engine;
        let ask = |slot: &'_ Slot| {
            let command = command.clone();
            let slot: &Slot = &engine.slots[slot.id.index()];
            async move {
                let decided = engine.decide(slot, command, Class::Report, 0).await;
                match decided.and_then(Decided::accepted)? {
                    (Reply::Job(outcome), _) => Ok(outcome),
                    _ => Err(mismatch()),
                }
            }
        };
        // Refused in one partition, it may be in force in others.
        let asked = futures_util::future::try_join_all(engine.slots.iter().map(ask)).await;
        asked.map_err(Reject::possibly_applied)
    }
}

pub(super) fn state_of(part: &JobPart) -> JobState {
    let flags = (part.closed, part.cancelled.is_some());
    JobState::derive(flags, &part.numbers.counts, part.numbers.died_before())
}

fn view_of(sum: Sum, rates: &BTreeMap<Name, f64>, now: WallMs) -> JobView {
    let part = sum.first;
    let state = state_of(&part);
    let rate = rates.get(&part.name).copied().unwrap_or(0.0);
    let live = part.numbers.counts.live();
    // A rate says nothing of tasks that all wait for their time.
    let waits = live > 0 && live == part.numbers.counts.of(TaskState::Delayed);
    let expected = rate > 0.0 && !part.paused && live > 0 && !waits;
    let left_ms = || (live as f64 / rate * 1_000.0).min(1e15);
    let eta = expected.then(|| now.plus(f64_to_u64(left_ms())));
    JobView {
        id: part.name,
        spec: part.spec,
        state,
        implicit: part.implicit,
        paused: part.paused,
        cancel_reason: part.cancelled.flatten(),
        rate_per_sec: rate,
        eta,
        ended: if state.ended() { part.numbers.drained } else { WallMs(0) },
        numbers: part.numbers,
        partitions: None,
    }
}

/// Whole part of a finite, non-negative number below 2^53.
fn f64_to_u64(value: f64) -> u64 {
    format!("{value:.0}").parse().unwrap_or(0)
}

fn matches(job: &JobView, query: &JobQuery) -> bool {
    (query.states.is_empty() || query.states.contains(&job.state))
        && query.paused.is_none_or(|paused| job.paused == paused)
        && tags::fits(job.spec.tag.as_deref(), query.tag.as_slice(), &[])
        && query.priority.is_none_or(|p| job.spec.priority == p)
        && query.prefix.as_ref().is_none_or(|p| job.id.starts_with(&**p))
}

/// Ascending key; ties go by id, so that pages neither repeat nor skip.
fn sort_key(job: &JobView, sort: JobSort) -> (u64, Name) {
    let numbers = &job.numbers;
    let key = match sort {
        JobSort::Created => u64::MAX - numbers.created.0,
        JobSort::Eta => job.eta.map_or(u64::MAX, |eta| eta.0),
        JobSort::Errors => u64::MAX - numbers.counts.of(TaskState::Error),
        JobSort::Age => numbers.oldest_pending.known().map_or(u64::MAX, |at| at.0),
    };
    (key, job.id.clone())
}
