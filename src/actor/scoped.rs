//! Leases and scopes: a lease of a job outside the caller's scopes is as if it had never been.
//!
//! A caller that may touch every job, as nearly all may, asks nothing of this file.

use crate::actor::handle::{Answer, KwqHandle, no_job};
use crate::actor::request::HeartbeatRequest;
use crate::core::partition::Partition;
use crate::model::id::{Name, TaskSeq};
use crate::model::lease::LeaseToken;
use crate::model::reject::{Code, Reject};
use crate::model::report::{Outcome, Report, ReportOutcome};
use crate::model::task::TaskInput;

/// Is a lease inside the scopes? The refusal stands for a partition that cannot be asked.
type Inside = Answer<bool>;

/// The task of a token, and its job unless the task is over.
type Leased = Option<(TaskSeq, Option<Name>)>;

/// Outcomes of all items in their order: of the foreign ones a refusal, of the others what was
/// admitted.
pub(crate) fn with_foreign<T>(
    foreign: Vec<Option<Name>>,
    admitted: Vec<Result<T, Reject>>,
) -> Vec<Result<T, Reject>> {
    let mut admitted = admitted.into_iter();
    let missing = || Err(Reject::new(Code::Internal, "an item without an outcome"));
    let outcome = |foreign: Option<Name>| match foreign {
        Some(job) => Err(no_job(&job)),
        None => admitted.next().unwrap_or_else(missing),
    };
    foreign.into_iter().map(outcome).collect()
}

impl KwqHandle {
    /// Takes the items out of a submit that are not for this caller: what is left, and for each
    /// item the job it must not name, if it does.
    pub(crate) fn own_items<T>(
        &self,
        items: Vec<T>,
        task: impl Fn(&T) -> &TaskInput,
    ) -> (Vec<T>, Vec<Option<Name>>) {
        let foreign: Vec<_> = items.iter().map(|item| self.foreign(task(item))).collect();
        let own = items.into_iter().zip(&foreign).filter(|(_, foreign)| foreign.is_none());
        (own.map(|(item, _)| item).collect(), foreign)
    }

    /// Takes the reports out that are not for this caller: what is left, with its places, and the
    /// outcomes of the others.
    pub(crate) async fn own_reports(
        &self,
        reports: Vec<Report>,
    ) -> (Vec<(usize, Report)>, Vec<(usize, ReportOutcome)>) {
        let tokens: Vec<_> = reports.iter().map(|report| report.token).collect();
        let inside = self.inside(&tokens).await;
        let (mut own, mut foreign) = (Vec::new(), Vec::new());
        for (at, (report, inside)) in reports.into_iter().zip(inside).enumerate() {
            match inside {
                Ok(true) => own.push((at, report)),
                Ok(false) => foreign.push((at, ReportOutcome::bare(Outcome::LeaseLost))),
                Err(reject) => {
                    foreign.push((at, ReportOutcome::bare(Outcome::Unavailable(reject))));
                }
            }
        }
        (own, foreign)
    }

    /// The same heartbeat for the caller's own leases, and the tokens that are lost to it. A
    /// heartbeat for all leases becomes one for those that are its own.
    pub(crate) async fn own_beat(
        &self,
        request: HeartbeatRequest,
    ) -> Answer<(HeartbeatRequest, Vec<String>)> {
        let Some(leases) = &request.leases else {
            let leases = self.own_leases(&request.worker).await?;
            let leases = Some(leases.into_iter().map(Ok).collect());
            return Ok((HeartbeatRequest { leases, ..request }, Vec::new()));
        };
        let tokens: Vec<_> = leases.iter().map(|lease| lease.as_ref().ok().copied()).collect();
        let inside = self.inside(&tokens).await;
        let (mut own, mut lost) = (Vec::new(), Vec::new());
        for (lease, inside) in leases.iter().zip(inside) {
            match (lease, inside) {
                (Ok(token), Ok(false)) => lost.push(token.encode()),
                // A partition that is away neither renews nor loses.
                (Ok(_), Err(_)) => {}
                (lease, _) => own.push(lease.clone()),
            }
        }
        Ok((HeartbeatRequest { leases: Some(own), ..request }, lost))
    }

    /// Refuses to touch a worker that holds a task of a job outside the scopes.
    pub(crate) async fn holds_own_only(&self, worker: &Name) -> Answer<()> {
        for slot in &self.engine.slots {
            let name = worker.clone();
            let (held, _) = self.engine.inspect(slot, move |p| p.told_leases(&name)).await?;
            if held.iter().any(|(_, job)| !self.scopes.cover(job)) {
                let detail = "the worker holds tasks of jobs outside the scopes of this token";
                return Err(Reject::new(Code::Forbidden, detail));
            }
        }
        Ok(())
    }

    async fn own_leases(&self, worker: &Name) -> Answer<Vec<LeaseToken>> {
        let mut own = Vec::new();
        for slot in &self.engine.slots {
            let name = worker.clone();
            let read = move |p: &Partition| p.told_leases(&name);
            // A partition that is away neither renews nor loses.
            let Ok((leases, _)) = self.engine.inspect(slot, read).await else { continue };
            let mine = leases.into_iter().filter(|(_, job)| self.scopes.cover(job));
            own.extend(mine.map(|(token, _)| token));
        }
        Ok(own)
    }

    async fn inside(&self, tokens: &[Option<LeaseToken>]) -> Vec<Inside> {
        let mut inside: Vec<Inside> = vec![Ok(false); tokens.len()];
        for slot in &self.engine.slots {
            let here = |token: &&LeaseToken| token.partition == slot.id;
            let places = tokens.iter().enumerate();
            let (places, asked): (Vec<usize>, Vec<LeaseToken>) =
                places.filter_map(|(at, token)| Some((at, *token.as_ref().filter(here)?))).unzip();
            if asked.is_empty() {
                continue;
            }
            let read = move |p: &Partition| asked.iter().map(|t| p.leased_job(t)).collect();
            let found: Answer<(Vec<Leased>, _)> = self.engine.inspect(slot, read).await;
            match found {
                Ok((found, _)) => {
                    for (at, task) in places.into_iter().zip(found) {
                        inside[at] = self.task_inside(slot.id, task).await;
                    }
                }
                Err(reject) => places.into_iter().for_each(|at| inside[at] = Err(reject.clone())),
            }
        }
        inside
    }

    async fn task_inside(&self, partition: crate::model::id::PartitionId, task: Leased) -> Inside {
        match task {
            None => Ok(false),
            Some((_, Some(job))) => Ok(self.scopes.cover(&job)),
            // Over: only the tracker still knows its job.
            Some((seq, None)) => {
                let row = self.tracked(partition, seq).await.map_err(not_begun)?;
                Ok(row.is_some_and(|row| self.scopes.cover(&row.job)))
            }
        }
    }
}

/// The question came before anything was decided.
fn not_begun(reject: Reject) -> Reject {
    reject.retry_unapplied(1_000)
}
