//! What a consume must undo however it ends: grants that nobody was told of, and the presence of
//! its worker.

use crate::actor::engine::{Engine, lock};
use crate::core::workers::Sign;
use crate::model::command::Command;
use crate::model::id::{LeaseNo, Name, PartitionId};
use crate::model::lease::LeaseToken;
use crate::model::reply::Grant;

/// Gives grants back when the call is dropped between the decision and the answer.
pub(super) struct GrantGuard<'a> {
    pub(super) engine: &'a Engine,
    pub(super) grants: Vec<Grant>,
}

impl GrantGuard<'_> {
    /// They are given on.
    pub(super) fn keep(mut self) -> Vec<Grant> {
        std::mem::take(&mut self.grants)
    }
}

impl Drop for GrantGuard<'_> {
    fn drop(&mut self) {
        let tokens = self.grants.iter().map(|g| g.token);
        give_back(self.engine, tokens);
    }
}

/// Returns leases whose answer nobody will read. What cannot be sent heals by expiry.
pub(super) fn give_back(engine: &Engine, tokens: impl Iterator<Item = LeaseToken>) {
    let mut by_partition: Vec<(PartitionId, Vec<LeaseNo>)> = Vec::new();
    for token in tokens {
        match by_partition.iter_mut().find(|(id, _)| *id == token.partition) {
            Some((_, numbers)) => numbers.push(token.number),
            None => by_partition.push((token.partition, vec![token.number])),
        }
    }
    for (id, numbers) in by_partition {
        if let Some(slot) = engine.slot(id)
            && let Err(reject) = engine.post(slot, Command::Undeliver(numbers))
        {
            tracing::debug!(partition = %id, detail = %reject.detail, "leases left to expire");
        }
    }
}

/// An open consume; its worker is there as long as it lives.
pub(super) struct Present<'a> {
    engine: &'a Engine,
    worker: &'a str,
}

impl<'a> Present<'a> {
    /// Whether the worker drains.
    pub(super) fn enter(engine: &'a Engine, worker: &'a Name, sign: Sign) -> (bool, Self) {
        let mut workers = lock(&engine.workers);
        let draining = workers.seen(worker, engine.clock.now(), sign);
        workers.opened(worker);
        (draining, Self { engine, worker })
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        lock(&self.engine.workers).closed(self.worker, self.engine.clock.now());
    }
}
