//! Workers through the door: who they are, what they hold, drains and good-byes.
//!
//! ```text
//!  worker ─► any instance: its registry ◄── Whose ── the instance that is asked ─► one list
//!  lease holders, drains ◄── questions, commands ──┘      (partitions, wherever they are)
//! ```
//! An instance knows the workers that call it, and those that got tasks of its partitions by way of
//! another. Nothing of that is logged but drains: it is for people, and leases have clocks of their
//! own. An instance that does not answer is left out.
//!
//! Must not: make a hand-out wait for another instance's registry.

use crate::actor::engine::{Engine, lock};
use crate::actor::handle::{Answer, KwqHandle};
use crate::actor::request::WorkerPage;
use crate::core::workers::joined;
use crate::model::command::{Class, Command};
use crate::model::id::Name;
use crate::model::question::{Holder, Holders, PartNumbers, ToldLeases, WorkerHere};
use crate::model::reject::{Code, Reject};
use crate::model::reply::{Decided, Reply};
use crate::model::time::Tick;
use crate::model::worker::{Whose, WorkerState, WorkerView};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// What other instances told of their workers serves for so long: whoever looks looks often.
const TOLD_MS: u64 = 1_000;

/// Workers of all other instances by name, and when they were asked.
pub(crate) type Elsewhere = Option<(Tick, Arc<BTreeMap<Name, WorkerView>>)>;

impl KwqHandle {
    /// Workers by name, filtered by state, after a name.
    pub async fn workers(
        &self,
        state: Option<WorkerState>,
        limit: usize,
        after: Option<Name>,
    ) -> WorkerPage {
        let held = self.held().await.unwrap_or_default();
        let elsewhere = self.workers_elsewhere().await;
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let others = elsewhere.range::<Name, _>((from, Bound::Unbounded)).map(|(_, view)| view);
        let mut rows: Vec<WorkerView> = {
            let registry = lock(&self.engine.workers);
            let views = joined(registry.views(after.as_deref(), self.now()), others);
            let wanted = views.filter(|v| state.is_none_or(|s| v.state == s));
            wanted.take(limit + 1).collect()
        };
        let more = rows.len() > limit;
        rows.truncate(limit);
        for row in &mut rows {
            row.leases = held.get(&row.worker).copied().unwrap_or(0);
            self.veil(row);
        }
        let next = rows.last().filter(|_| more).map(|row| row.worker.clone());
        (rows, next)
    }

    /// Idle, busy, draining, lost.
    pub(super) async fn worker_counts(&self, parts: &[Box<PartNumbers>]) -> [u64; 4] {
        let held = held_by(parts.iter().flat_map(|part| &part.holders));
        let elsewhere = self.workers_elsewhere().await;
        let registry = lock(&self.engine.workers);
        let mut counts = [0; 4];
        for view in joined(registry.views(None, self.now()), elsewhere.values()) {
            let busy = held.contains_key(&view.worker);
            let at = match view.state {
                WorkerState::Active => usize::from(busy),
                WorkerState::Draining => 2,
                WorkerState::Lost => 3,
            };
            counts[at] += 1;
        }
        counts
    }

    /// What other instances know, not older than a second.
    async fn workers_elsewhere(&self) -> Arc<BTreeMap<Name, WorkerView>> {
        let now = self.now().tick;
        if let Some((at, told)) = &*lock(&self.engine.elsewhere)
            && now.since(*at) < TOLD_MS
        {
            return Arc::clone(told);
        }
        let mut all: BTreeMap<Name, WorkerView> = BTreeMap::new();
        for view in self.engine.workers_there(Whose::All).await.0 {
            let name = view.worker.clone();
            let view = match all.remove(&name) {
                Some(other) => view.with(other),
                None => view,
            };
            all.insert(name, view);
        }
        let told = Arc::new(all);
        *lock(&self.engine.elsewhere) = Some((now, Arc::clone(&told)));
        told
    }

    /// What each instance knows of one worker, this one first; and whether all have answered.
    async fn known(&self, whose: Whose) -> (Vec<WorkerView>, bool) {
        let here = self.engine.workers_here(&whose);
        let (there, all) = self.engine.workers_there(whose).await;
        (here.into_iter().chain(there).collect(), all)
    }

    /// Leases of tasks this caller may touch, by worker.
    async fn held(&self) -> Answer<BTreeMap<Name, u64>> {
        let calls = self.engine.slots.iter().map(|slot| {
            let scopes = self.scopes.clone();
            self.engine.ask(slot, Holders { scopes })
        });
        let parts = futures_util::future::try_join_all(calls).await?;
        Ok(held_by(parts.iter().flat_map(|(holders, _)| holders)))
    }

    /// Takes out what tells of other jobs than the caller's: nobody knows of which job a key was
    /// learned, or a task was completed.
    fn veil(&self, view: &mut WorkerView) {
        if !self.scopes.everything() {
            (view.tally, view.affinity) = (None, Vec::new());
        }
    }

    /// One worker with the tasks it holds and all it is warm for: what it named, then what it has
    /// learned.
    ///
    /// # Errors
    /// `worker_not_found`.
    pub async fn worker(&self, worker: Name) -> Answer<WorkerView> {
        let (known, _) = self.known(Whose::One(worker.clone())).await;
        let view = known.into_iter().reduce(WorkerView::with);
        let mut view = view.ok_or_else(|| unknown_worker(&worker))?;
        let calls = self.engine.slots.iter().map(|slot| {
            let worker = worker.clone();
            self.engine.ask(slot, WorkerHere { worker })
        });
        for ((held, learned), _) in futures_util::future::try_join_all(calls).await? {
            view.held.extend(held);
            for key in learned {
                if !view.affinity.contains(&key) {
                    view.affinity.push(key);
                }
            }
        }
        view.held.retain(|task| self.scopes.cover(&task.job));
        view.leases = view.held.len() as u64;
        self.veil(&mut view);
        Ok(view)
    }

    /// Drains a worker or takes that back.
    ///
    /// # Errors
    /// `worker_not_found`.
    pub async fn drain_worker(&self, worker: Name, drain: bool) -> Answer<WorkerView> {
        if self.known(Whose::One(worker.clone())).await.0.is_empty() {
            return Err(unknown_worker(&worker));
        }
        self.engine.drained(&worker, drain);
        self.log_drain(worker.clone(), drain).await?;
        *lock(&self.engine.elsewhere) = None;
        self.worker(worker).await
    }

    /// Puts a drain, or its end, in force in every partition; it outlives a restart.
    async fn log_drain(&self, worker: Name, drains: bool) -> Answer<()> {
        let _control = self.engine.control().await?;
        let calls = self.engine.slots.iter().map(|slot| {
            let command = Command::DrainWorker { worker: worker.clone(), drains };
            self.engine.decide(slot, command, Class::Report, 0)
        });
        for decided in futures_util::future::join_all(calls).await {
            decided?.accepted()?;
        }
        Ok(())
    }

    /// Forgets a worker; its leases are given back. Number of them. Who may not drain does not
    /// take a drain back either: a worker that drains stays known then.
    ///
    /// # Errors
    /// `worker_not_found`, also of one that is not only the caller's; `partition_unavailable` when
    /// an instance did not answer.
    pub async fn delete_worker(&self, worker: Name, may_drain: bool) -> Answer<usize> {
        let engine = &*self.engine;
        if !self.scopes.everything() {
            self.is_own_only(&worker).await?;
        }
        let calls = engine
            .slots
            .iter()
            .map(|slot| engine.decide(slot, Command::DropWorker(worker.clone()), Class::Report, 0));
        let mut released = 0;
        for decided in futures_util::future::join_all(calls).await {
            let accepted = decided.and_then(Decided::accepted);
            // Other partitions may have given leases back already.
            if let (Reply::Released(count), _) = accepted.map_err(Reject::possibly_applied)? {
                released += count;
            }
        }
        if !may_drain && lock(&engine.workers).drains(&worker) {
            return Ok(released);
        }
        self.log_drain(worker.clone(), false).await.map_err(Reject::possibly_applied)?;
        let (known, all) = self.known(Whose::Gone(worker.clone())).await;
        *lock(&engine.elsewhere) = None;
        if !all {
            let detail = "an instance did not answer and may still list the worker";
            let reject = Reject::new(Code::PartitionUnavailable, detail).hint("send it again");
            return Err(reject.possibly_applied());
        }
        if known.is_empty() && released == 0 {
            return Err(unknown_worker(&worker));
        }
        Ok(released)
    }

    /// A worker of somebody else, or one that holds a task of a job outside the scopes, does not
    /// exist for who would take it away.
    async fn is_own_only(&self, worker: &Name) -> Answer<()> {
        let (known, _) = self.known(Whose::One(worker.clone())).await;
        if known.iter().any(|view| view.is_foreign(&self.scopes)) {
            return Err(unknown_worker(worker));
        }
        let calls = self.engine.slots.iter().map(|slot| {
            let worker = worker.clone();
            self.engine.ask(slot, ToldLeases { worker })
        });
        for (held, _) in futures_util::future::try_join_all(calls).await? {
            if held.iter().any(|(_, job)| !self.scopes.cover(job)) {
                return Err(unknown_worker(worker));
            }
        }
        Ok(())
    }

    /// Forgets the workers that are silent for long and hold no lease; none as long as a partition
    /// cannot be asked. A drain of one that was heard of elsewhere is left to the instance that
    /// forgets it last.
    pub(crate) async fn forget_workers(&self) {
        let Ok(held) = self.held().await else { return };
        let engine = &self.engine;
        // Who has got a lease since the look has called since, and is not silent.
        let gone = lock(&engine.workers).sweep(self.now(), |worker| held.contains_key(worker));
        for worker in gone {
            let (known, all) = self.known(Whose::One(worker.clone())).await;
            if !all || !known.is_empty() {
                continue;
            }
            for slot in &engine.slots {
                let command = Command::DrainWorker { worker: worker.clone(), drains: false };
                if let Err(reject) = engine.post(slot, command) {
                    tracing::warn!(%worker, detail = %reject.detail, "its drain is kept");
                }
            }
        }
    }
}

impl Engine {
    /// What this instance knows of workers.
    pub(super) fn workers_here(&self, whose: &Whose) -> Vec<WorkerView> {
        let now = self.clock.now();
        let mut registry = lock(&self.workers);
        match whose {
            Whose::All => registry.views(None, now).collect(),
            Whose::One(worker) => registry.view(worker, now).into_iter().collect(),
            Whose::Gone(worker) => {
                let known = registry.view(worker, now);
                registry.remove(worker);
                drop(registry);
                self.hub.dismiss(worker);
                known.into_iter().collect()
            }
        }
    }

    /// A drain, or its end, is or will be in force: those that are parked are sent away.
    pub(super) fn drained(&self, worker: &Name, drains: bool) {
        lock(&self.workers).drained(worker, self.clock.now(), drains);
        if drains {
            self.hub.dismiss(worker);
        }
    }
}

fn held_by<'a>(holders: impl Iterator<Item = &'a Holder>) -> BTreeMap<Name, u64> {
    let mut held = BTreeMap::new();
    for holder in holders {
        *held.entry(holder.worker.clone()).or_insert(0) += holder.leases;
    }
    held
}

fn unknown_worker(worker: &str) -> Reject {
    Reject::new(Code::WorkerNotFound, format!("no worker {worker} was heard of lately"))
}
