//! The worker side of the door: consume with long poll, reports, heartbeats.

use crate::actor::engine::{lock, unavailable};
use crate::actor::guards::{GrantGuard, Present, give_back};
use crate::actor::handle::{Answer, KwqHandle, log_refusal};
use crate::actor::hub::{Wake, Wish};
use crate::actor::outcome::mismatch;
use crate::actor::request::{ConsumeAnswer, ConsumeRequest, HeartbeatRequest};
use crate::actor::slot::{Slot, Turn};
use crate::core::workers::Sign;
use crate::metrics::{ConsumeOutcome, ShedClass, ShedReason};
use crate::model::affinity::AffinityMode;
use crate::model::command::{Class, Command, Consume, Spent};
use crate::model::event::Event;
use crate::model::id::{LeaseNo, Name};
use crate::model::reject::Reject;
use crate::model::reply::{Decided, Grant, Reply};
use crate::model::report::{Outcome, Report, ReportOutcome, Verb};
use crate::model::task::TaskError;
use crate::model::view::HandOut;
use crate::model::worker::WorkerTally;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl KwqHandle {
    /// Reports, heartbeat, hand-outs, long poll: in this order. Dropping the future leaves the
    /// poll.
    ///
    /// # Errors
    /// Refusals of the log or of overload; with reports or leases only when those were refused.
    pub async fn consume(&self, request: ConsumeRequest) -> Answer<ConsumeAnswer> {
        let engine = &self.engine;
        let sign = Sign {
            endpoint: request.endpoint.clone(),
            warm: (!request.warm.is_empty()).then(|| request.warm.clone()),
            by: Some(self.scopes.clone()),
            ..Sign::default()
        };
        let (draining, _present) = Present::enter(engine, &request.worker, sign);
        engine.worker_asked();
        let mut answer = ConsumeAnswer { drain: draining, ..ConsumeAnswer::default() };
        let carried = !request.done.is_empty() || request.leases.is_some();
        if !request.done.is_empty() {
            answer.done = self.report(request.reports()).await;
            if let Some(reject) = unknown(&answer.done) {
                return Err(reject);
            }
        }
        if let Some(leases) = request.leases.clone() {
            let beat = HeartbeatRequest {
                worker: request.worker.clone(),
                leases: Some(leases),
                warm: None,
            };
            answer.heartbeat = Some(self.heartbeat(beat).await?);
        }
        if draining || engine.refusing.load(Ordering::Acquire) {
            answer.heartbeat_ms = self.interval(&request.worker, answer.renewed_ms()).await;
            return Ok(answer);
        }
        match self.wait_for_tasks(&request).await {
            Ok(handed_out) => (answer.tasks, answer.heartbeat_ms) = handed_out,
            // Its reports are applied: the worker must learn their verdicts even when it gets no
            // work.
            Err(reject) if carried => tracing::debug!(detail = %reject.detail, "consume shed"),
            Err(reject) => return Err(reject),
        }
        if answer.tasks.is_empty() {
            answer.heartbeat_ms = self.interval(&request.worker, answer.renewed_ms()).await;
        }
        // A long poll that ends is news of its worker as well.
        engine.worker_asked();
        answer.drain = lock(&engine.workers).drains(&request.worker);
        let empty = answer.tasks.is_empty();
        let outcome = if empty { ConsumeOutcome::Empty } else { ConsumeOutcome::Tasks };
        engine.metrics.consumed(outcome, answer.tasks.len());
        Ok(answer)
    }

    async fn wait_for_tasks(&self, request: &ConsumeRequest) -> Answer<(Vec<HandOut>, u64)> {
        let grants = self.wait_for_grants(request).await?;
        // Leases were granted and are on their way back.
        self.hand_out(&request.worker, grants).await.map_err(Reject::possibly_applied)
    }

    async fn wait_for_grants(&self, request: &ConsumeRequest) -> Answer<Vec<Grant>> {
        let engine = &*self.engine;
        let deadline = tokio::time::Instant::now() + Duration::from_millis(request.wait_ms);
        let mut old_place = None;
        let affinity_on = engine.config.policy.affinity_on();
        let warm = affinity_on && request.mode == AffinityMode::Prefer;
        loop {
            let published = engine.hub.published();
            let grants = self.try_all(request).await?;
            if !grants.is_empty() || request.wait_ms == 0 {
                return Ok(grants);
            }
            let wish = Wish {
                key: (request.worker.clone(), request.endpoint.clone()),
                levels: request.levels,
                max: request.max,
                jobs: request.jobs.clone(),
                scopes: self.scopes.clone(),
                warm: warm.then(|| request.warm.clone()),
            };
            let Some(mut place) = engine.hub.park(wish, old_place) else {
                if engine.hub.is_full() {
                    engine.metrics.shed(ShedClass::Consume, ShedReason::Parked);
                }
                return Ok(Vec::new());
            };
            old_place = Some(place.number);
            // A drain sends the parked away, so who parks looks whether one came before.
            if lock(&engine.workers).drains(&request.worker) {
                return Ok(Vec::new());
            }
            if engine.hub.published() != published {
                // Work may have come between the last look and the parking, when nobody could wake
                // us. Those who wait longer still go first.
                engine.hub.wake_all();
            }
            match tokio::time::timeout_at(deadline, &mut place.woken).await {
                Ok(Ok(Wake::Work(promise))) => {
                    let slot = engine.slot(promise.partition).ok_or_else(unavailable)?;
                    let tried = self.try_slot(slot, request, Spent::default()).await;
                    drop(promise);
                    match tried {
                        Ok(grants) if grants.is_empty() => {}
                        Ok(grants) => return Ok(grants),
                        // It has changed hands: who waits hears of its next owner.
                        Err(reject) if engine.config.log.backend.is_shared() => {
                            tracing::debug!(detail = %reject.detail, "partition passed over");
                        }
                        Err(reject) => return Err(reject),
                    }
                }
                Ok(Ok(Wake::Leave) | Err(_)) | Err(_) => return Ok(Vec::new()),
            }
        }
    }

    /// Asks the partition with the highest ready level first, of equal ones the one that had the
    /// fewest turns, until the batch is full.
    async fn try_all(&self, request: &ConsumeRequest) -> Answer<Vec<Grant>> {
        let engine = &*self.engine;
        let mut guard = GrantGuard { engine, grants: Vec::new() };
        let mut spent = Spent::default();
        let mut untried = engine.turn_order(Turn::Consume);
        let levels = |i: usize| engine.hub.levels(engine.slots[i].id) & request.levels;
        let choosy = !request.jobs.is_empty() || !self.scopes.everything();
        while guard.grants.len() < request.max {
            let ready = untried.iter().map(|i| levels(*i)).enumerate().filter(|(_, l)| *l != 0);
            // `max_by_key` keeps the last of equals; reversed, the first in order wins.
            let best = ready.rev().max_by_key(|(_, levels)| 15 - levels.leading_zeros());
            let Some((place, _)) = best else { break };
            let number = untried.remove(place);
            engine.begin_turn(&engine.slots[number], Turn::Consume);
            match self.try_slot(&engine.slots[number], request, spent).await {
                // It has more, so it was the size or the time of the answer that kept it back.
                Ok(none)
                    if none.is_empty() && spent.tasks > 0 && !choosy && levels(number) != 0 =>
                {
                    break;
                }
                Ok(grants) => {
                    spent = grants.iter().fold(spent, |s, g| s.and(g.bytes, g.expected_us));
                    guard.grants.extend(grants);
                }
                Err(reject) if guard.grants.is_empty() && engine.slots.len() == 1 => {
                    return Err(reject);
                }
                Err(reject) => tracing::debug!(detail = %reject.detail, "partition passed over"),
            }
        }
        Ok(guard.keep())
    }

    /// Asks one partition for what an answer still has room for.
    async fn try_slot(
        &self,
        slot: &Slot,
        request: &ConsumeRequest,
        spent: Spent,
    ) -> Answer<Vec<Grant>> {
        let held = usize::try_from(spent.tasks).unwrap_or(usize::MAX);
        let consume = Consume {
            worker: request.worker.clone(),
            endpoint: request.endpoint.clone(),
            max: request.max.saturating_sub(held),
            spent,
            target_ms: request.target_ms,
            peers: request.target_ms.map_or(1, |_| self.active_workers()),
            max_bytes: request.max_bytes,
            lease_ms: request.lease_ms,
            seed_lease: request.seed_lease,
            levels: request.levels,
            jobs: request.jobs.clone(),
            scopes: self.scopes.clone(),
            warm: request.warm.clone(),
            mode: request.mode,
        };
        let decided =
            self.engine.decide(slot, Command::Consume(consume), Class::Consume, 0).await?;
        match decided.accepted()? {
            (Reply::Granted(grants), _) => Ok(grants),
            _ => Err(mismatch()),
        }
    }

    fn active_workers(&self) -> u32 {
        lock(&self.engine.workers).active(self.engine.clock.now().tick)
    }

    /// Reads the tasks' text and payload and pairs them with their leases; beside them how often
    /// their holder shall beat, ms.
    async fn hand_out(&self, worker: &Name, grants: Vec<Grant>) -> Answer<(Vec<HandOut>, u64)> {
        let Some(shortest_ms) = grants.iter().map(|grant| grant.lease_ms).min() else {
            return Ok((Vec::new(), 0));
        };
        let guard = GrantGuard { engine: &self.engine, grants };
        let wanted: Vec<_> = guard.grants.iter().map(Grant::text).collect();
        let texts = self.read_texts(wanted).await?;
        let errors = self.latest_failures(&guard.grants).await?;
        lock(&self.engine.workers).handed_out(worker, shortest_ms);
        let interval = self.interval(worker, Some(shortest_ms)).await;
        let grants = guard.keep();
        let mut ids = lock(&self.engine.ids);
        let tasks = grants.into_iter().zip(texts).zip(errors).map(|((grant, stored), error)| {
            ids.note(grant.token.partition, grant.token.number, stored.spec.id.clone());
            HandOut { grant, spec: stored.spec, submitted: stored.submitted, error }
        });
        Ok((tasks.collect(), interval))
    }

    /// What a task that has failed before is told of it. First attempts, nearly all, read nothing.
    async fn latest_failures(&self, grants: &[Grant]) -> Answer<Vec<Option<TaskError>>> {
        if grants.iter().all(|grant| grant.failed.is_none()) {
            return Ok(vec![None; grants.len()]);
        }
        let log = self.engine.log()?;
        let failed = |grant: &Grant| Some((grant.token.partition, grant.failed?));
        self.copied(&*log, grants.iter().filter_map(failed)).await?;
        let read = |grant: &Grant| {
            let Some((partition, position)) = failed(grant) else { return Ok(None) };
            let stamped = log.read_event(partition, position).map_err(|e| log_refusal(&e))?;
            let Event::Failed { tasks, .. } = stamped.event else { return Ok(None) };
            let failure = tasks.into_iter().find(|failure| failure.seq == grant.seq);
            Ok(failure.map(|failure| failure.error(stamped.at)))
        };
        grants.iter().map(read).collect()
    }

    /// Gives hand-outs back whose answer could not be written to the client.
    pub fn undeliver(&self, answer: &ConsumeAnswer) {
        give_back(&self.engine, answer.tasks.iter().map(|t| t.grant.token));
    }

    /// One outcome per report, in order.
    pub async fn report(&self, reports: Vec<Report>) -> Vec<ReportOutcome> {
        let engine = &*self.engine;
        let mut outcomes: Vec<Option<ReportOutcome>> = vec![None; reports.len()];
        let mut parts: Vec<Vec<(usize, Report)>> = vec![Vec::new(); engine.slots.len()];
        let own = match self.scopes.everything() {
            true => reports.into_iter().enumerate().collect(),
            false => {
                let (own, foreign) = self.own_reports(reports).await;
                foreign.into_iter().for_each(|(at, outcome)| outcomes[at] = Some(outcome));
                own
            }
        };
        for (at, report) in own {
            let partition = report.token.map(|t| t.partition.index());
            match partition.and_then(|p| parts.get_mut(p)) {
                Some(part) => part.push((at, report)),
                None => outcomes[at] = Some(ReportOutcome::bare(Outcome::LeaseLost)),
            }
        }
        let asked = parts.into_iter().zip(&engine.slots).filter(|(part, _)| !part.is_empty());
        let calls = asked.map(|(part, slot)| self.report_part(slot, part));
        for part in futures_util::future::join_all(calls).await {
            for (at, outcome) in part {
                outcomes[at] = Some(outcome);
            }
        }
        let lost = || ReportOutcome::bare(Outcome::LeaseLost);
        outcomes.into_iter().map(|o| o.unwrap_or_else(lost)).collect()
    }

    async fn report_part(
        &self,
        slot: &Slot,
        part: Vec<(usize, Report)>,
    ) -> Vec<(usize, ReportOutcome)> {
        let leases: Vec<_> = part.iter().map(|(_, r)| r.token.map(|t| t.number)).collect();
        let counts: Vec<WorkerTally> = part.iter().map(|(_, r)| counted(&r.verb)).collect();
        let (places, reports): (Vec<usize>, Vec<Report>) = part.into_iter().unzip();
        let spare = self.engine.away.spare(&reports);
        let decided = self.engine.decide(slot, Command::Report(reports), Class::Report, 0).await;
        let mut outcomes = match decided.and_then(Decided::accepted) {
            Ok((Reply::Reported(outcomes), _)) => outcomes,
            Ok(_) => vec![ReportOutcome::bare(Outcome::Unavailable(mismatch())); places.len()],
            Err(reject) => {
                let left = self.engine.leave_for_owner(slot.id, spare, reject).await;
                let outcome = left.map_or_else(Outcome::Unavailable, |()| Outcome::Accepted);
                vec![ReportOutcome::bare(outcome); places.len()]
            }
        };
        self.name_tasks(slot, &leases, &mut outcomes).await;
        self.count_reports(&outcomes, &counts);
        places.into_iter().zip(outcomes).collect()
    }

    /// Counts what was decided for the workers.
    pub(super) fn count_reports(&self, outcomes: &[ReportOutcome], counts: &[WorkerTally]) {
        let now = self.engine.clock.now();
        let mut registry = lock(&self.engine.workers);
        for (outcome, counts) in outcomes.iter().zip(counts) {
            // Only what a live token did has a worker.
            if let Some(worker) = &outcome.worker {
                registry.reported(worker, now, *counts);
            }
        }
    }

    /// Fills in client ids: from memory, else from the log.
    async fn name_tasks(
        &self,
        slot: &Slot,
        leases: &[Option<LeaseNo>],
        outcomes: &mut [ReportOutcome],
    ) {
        let mut missing = Vec::new();
        {
            let ids = lock(&self.engine.ids);
            for (outcome, lease) in outcomes.iter_mut().zip(leases) {
                let (Some(task), Some(lease)) = (&mut outcome.task, lease) else { continue };
                match ids.get(slot.id, *lease) {
                    Some(id) => task.id = id,
                    None => missing.push(task.seq),
                }
            }
        }
        let ids = self.client_ids(slot.id, missing).await;
        for task in outcomes.iter_mut().filter_map(|outcome| outcome.task.as_mut()) {
            if let Some(id) = ids.get(&task.seq) {
                task.id.clone_from(id);
            }
        }
    }
}

/// What an accepted report counts as for its worker.
pub(super) fn counted(verb: &Verb) -> WorkerTally {
    let none = WorkerTally::default();
    match verb {
        Verb::Complete { .. } => WorkerTally { completed: 1, ..none },
        Verb::Fail { .. } => WorkerTally { failed: 1, ..none },
        Verb::Start | Verb::Release { .. } => none,
    }
}

/// The refusal of a report that may or may not have been logged. `unavailable` would promise that
/// nothing was done, so
/// the whole call is answered as unknown; tokens make its repeat safe.
#[must_use]
pub fn unknown(outcomes: &[ReportOutcome]) -> Option<Reject> {
    outcomes.iter().find_map(|outcome| match &outcome.outcome {
        Outcome::Unavailable(reject) if !reject.not_applied => Some(reject.clone()),
        Outcome::Unavailable(_)
        | Outcome::Invalid(_)
        | Outcome::Ok
        | Outcome::Retry
        | Outcome::Dead
        | Outcome::Duplicate
        | Outcome::LeaseLost
        | Outcome::Cancelled
        | Outcome::Accepted => None,
    })
}
