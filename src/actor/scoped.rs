//! Leases and scopes: a lease of a job outside the caller's scopes is as if it had never been.
//!
//! A caller that may touch every job, as nearly all may, asks nothing of this file.

use crate::actor::handle::{Answer, KwqHandle, no_job};
use crate::actor::request::{HeartbeatRequest, KeyOf, SubmitAnswer, SubmitRequest};
use crate::actor::slot::Slot;
use crate::codec::digest::Pieces;
use crate::model::command::Item;
use crate::model::id::{Name, TaskSeq};
use crate::model::job::DEFAULT_JOB;
use crate::model::lease::LeaseToken;
use crate::model::question::{LeasedJobs, ToldLeases};
use crate::model::reject::Reject;
use crate::model::report::{Outcome, Report, ReportOutcome};
use crate::model::task::TaskInput;

/// Is a lease inside the scopes? The refusal stands for a partition that cannot be asked.
type Inside = Answer<bool>;

/// The task of a token, and its job unless the task is over.
type Leased = Option<(TaskSeq, Option<Name>)>;

/// For each item of a submit, or of one that ends at the first refusal for each up to the first
/// that is not for this caller: the job it must not name, if it does.
pub(crate) struct ForeignItems(Vec<Option<Name>>);

impl ForeignItems {
    /// The submit without them. Under a key it is another request than that of a caller who may do
    /// more: the two are not answered alike.
    pub(crate) fn take_out(&self, request: SubmitRequest) -> SubmitRequest {
        let own = request.items.into_iter().zip(&self.0).filter(|(_, foreign)| foreign.is_none());
        let items = own.map(|(item, _)| item).collect();
        let key = request.key.map(|key| {
            let mut content = Pieces::default();
            content.add(&key.content.0);
            self.0.iter().for_each(|foreign| content.add(&[u8::from(foreign.is_some())]));
            KeyOf { content: content.take(), ..key }
        });
        SubmitRequest { items, key, ..request }
    }

    /// Outcomes of all items in their order: of the foreign ones a refusal, of the others what was
    /// admitted.
    pub(crate) fn put_back(self, admitted: SubmitAnswer, until_refused: bool) -> SubmitAnswer {
        let SubmitAnswer { outcomes: admitted, replayed } = admitted;
        let mut admitted = admitted.into_iter();
        let mut outcomes = Vec::with_capacity(self.0.len());
        for foreign in self.0 {
            let outcome = match foreign {
                Some(job) => Some(Err(no_job(&job))),
                None => admitted.next(),
            };
            let Some(outcome) = outcome else { break };
            let stops = until_refused && outcome.is_err();
            outcomes.push(outcome);
            if stops {
                break;
            }
        }
        SubmitAnswer { outcomes, replayed }
    }
}

impl KwqHandle {
    /// The items of a submit that are not for this caller; `None` = all are for it.
    pub(crate) fn foreign_items(&self, request: &SubmitRequest) -> Option<ForeignItems> {
        if self.scopes.everything() {
            return None;
        }
        let foreign = request.items.iter().map(|item| self.foreign(item.task()));
        let mut foreign: Vec<Option<Name>> = foreign.collect();
        let first = foreign.iter().position(Option::is_some)?;
        if request.until_refused {
            foreign.truncate(first + 1);
        }
        Some(ForeignItems(foreign))
    }

    /// Is there an item that is for this caller? Of none at all: yes.
    #[must_use]
    pub fn owns_some(&self, items: &[Item]) -> bool {
        items.is_empty() || items.iter().any(|item| self.foreign(item.task()).is_none())
    }

    /// The job of a task that lies outside the scopes.
    fn foreign(&self, task: &TaskInput) -> Option<Name> {
        let job = task.job.clone().unwrap_or_else(|| Name::from(DEFAULT_JOB));
        (!self.scopes.cover(&job)).then_some(job)
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
    ) -> (HeartbeatRequest, Vec<String>) {
        let Some(leases) = &request.leases else {
            let leases = self.own_leases(&request.worker).await;
            let leases = Some(leases.into_iter().map(Ok).collect());
            return (HeartbeatRequest { leases, ..request }, Vec::new());
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
        (HeartbeatRequest { leases: Some(own), ..request }, lost)
    }

    async fn own_leases(&self, worker: &Name) -> Vec<LeaseToken> {
        let calls = self.engine.slots.iter().map(|slot| {
            let worker = worker.clone();
            self.engine.ask(slot, ToldLeases { worker })
        });
        let told = futures_util::future::join_all(calls).await;
        // A partition that is away neither renews nor loses.
        let leases = told.into_iter().flatten().flat_map(|(leases, _)| leases);
        leases.filter(|(_, job)| self.scopes.cover(job)).map(|(token, _)| token).collect()
    }

    async fn inside(&self, tokens: &[Option<LeaseToken>]) -> Vec<Inside> {
        let calls = self.engine.slots.iter().map(|slot| self.inside_one(slot, tokens));
        let mut inside: Vec<Inside> = vec![Ok(false); tokens.len()];
        for (at, verdict) in futures_util::future::join_all(calls).await.into_iter().flatten() {
            inside[at] = verdict;
        }
        inside
    }

    /// Those of one partition, with their places.
    async fn inside_one(&self, slot: &Slot, tokens: &[Option<LeaseToken>]) -> Vec<(usize, Inside)> {
        let here = |token: &&LeaseToken| token.partition == slot.id;
        let places = tokens.iter().enumerate();
        let (places, tokens): (Vec<usize>, Vec<LeaseToken>) =
            places.filter_map(|(at, token)| Some((at, *token.as_ref().filter(here)?))).unzip();
        if tokens.is_empty() {
            return Vec::new();
        }
        match self.engine.ask(slot, LeasedJobs { tokens }).await {
            Ok((found, _)) => {
                let mut inside = Vec::with_capacity(places.len());
                for (at, task) in places.into_iter().zip(found) {
                    inside.push((at, self.task_inside(slot.id, task).await));
                }
                inside
            }
            Err(reject) => places.into_iter().map(|at| (at, Err(reject.clone()))).collect(),
        }
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
