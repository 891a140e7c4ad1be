//! Signs of life: heartbeats, registrations, and how often a worker shall beat.

use crate::actor::engine::lock;
use crate::actor::handle::{Answer, KwqHandle};
use crate::actor::request::{HeartbeatAnswer, HeartbeatRequest, WorkerRegistration};
use crate::core::workers::{Shortest, Sign, heartbeat_ms};
use crate::model::command::{Class, Command, Heartbeat};
use crate::model::id::Name;
use crate::model::lease::LeaseToken;
use crate::model::question::ShortestLeases;
use crate::model::reply::{Decided, Renewal, Reply};
use std::time::Duration;

/// A partition that does not tell a worker's leases within so long is taken for away: the worker
/// waits for its answer.
const MEASURE: Duration = Duration::from_millis(200);

impl KwqHandle {
    /// Renews leases.
    ///
    /// # Errors
    /// None today; partitions that are away neither renew nor lose.
    pub async fn heartbeat(&self, request: HeartbeatRequest) -> Answer<HeartbeatAnswer> {
        if self.scopes.everything() {
            return self.beat(request).await;
        }
        let all = request.leases.is_none();
        let (own, lost) = self.own_beat(request).await;
        let mut answer = self.beat(own).await?;
        if all {
            // It named none; what ended since it was looked up is no news.
            answer.lost.clear();
        }
        answer.lost.extend(lost);
        Ok(answer)
    }

    async fn beat(&self, request: HeartbeatRequest) -> Answer<HeartbeatAnswer> {
        let engine = &*self.engine;
        let sign =
            Sign { warm: request.warm.clone(), by: Some(self.scopes.clone()), ..Sign::default() };
        let drain = lock(&engine.workers).seen(&request.worker, engine.clock.now(), sign);
        engine.worker_asked();
        let mut answer = HeartbeatAnswer { drain, ..HeartbeatAnswer::default() };
        let mut parts: Vec<Option<Vec<LeaseToken>>> =
            vec![request.leases.is_none().then(Vec::new); engine.slots.len()];
        for lease in request.leases.iter().flatten() {
            match lease {
                Ok(token) if token.partition.index() < parts.len() => {
                    parts[token.partition.index()].get_or_insert_with(Vec::new).push(*token);
                }
                Ok(token) => answer.lost.push(token.encode()),
                Err(text) => answer.lost.push(text.clone()),
            }
        }
        let all = request.leases.is_none();
        let asked = parts.into_iter().zip(&engine.slots);
        let calls = asked.filter_map(|(part, slot)| {
            let tokens = part?;
            let leases = if all { None } else { Some(tokens) };
            let beat = Heartbeat { worker: request.worker.clone(), leases };
            Some(engine.decide(slot, Command::Heartbeat(beat), Class::Report, 0))
        });
        let mut shortest = u32::MAX;
        for decided in futures_util::future::join_all(calls).await {
            // A partition that is away neither renews nor loses: its leases are frozen.
            if let Ok((Reply::Renewed(renewal), _)) = decided.and_then(Decided::accepted) {
                add_renewal(&mut answer, renewal, &mut shortest);
            }
        }
        let renewed = (answer.renewed > 0).then_some(shortest);
        answer.lease_ms = renewed.unwrap_or(engine.config.policy.lease_ms);
        answer.heartbeat_ms = self.interval(&request.worker, renewed).await;
        Ok(answer)
    }

    /// How often a worker shall beat, ms: a third of the shortest lease it holds, in whichever
    /// partition; of the default lease when it holds none. Its silence is measured by it from here
    /// on. `told` = the shortest lease the answer tells of, ms.
    ///
    /// Partitions are asked only when a shorter lease than that one may be held.
    pub async fn interval(&self, worker: &Name, told: Option<u32>) -> u64 {
        let default = self.engine.config.policy.lease_ms;
        let known = lock(&self.engine.workers).shortest(worker);
        let at_least = known.at_least_ms;
        // Of a caller with scopes what is known may be about others' leases; one of its own that is
        // as short settles it all the same.
        let none_shorter = match told {
            Some(told) => told == at_least,
            None => at_least == u32::MAX || (at_least == default && self.scopes.everything()),
        };
        let shortest = if none_shorter {
            told
        } else {
            let measured = self.shortest_lease(worker, known).await;
            measured.into_iter().chain(told).min()
        };
        let interval = heartbeat_ms(shortest.unwrap_or(default));
        lock(&self.engine.workers).told(worker, interval);
        interval
    }

    /// Asks every partition. Of one that is away what was known before counts.
    async fn shortest_lease(&self, worker: &Name, known: Shortest) -> Option<u32> {
        let engine = &*self.engine;
        let calls = engine.slots.iter().map(|slot| {
            let (worker, scopes) = (worker.clone(), self.scopes.clone());
            tokio::time::timeout(MEASURE, engine.ask(slot, ShortestLeases { worker, scopes }))
        });
        let (mut all, mut own, mut away) = (None, None, false);
        for part in futures_util::future::join_all(calls).await {
            let Ok(Ok(((here, own_here), _))) = part else {
                away = true;
                continue;
            };
            all = all.into_iter().chain(here).min();
            own = own.into_iter().chain(own_here).min();
        }
        if away {
            let before = Some(known.at_least_ms).filter(|ms| !matches!(ms, 0 | &u32::MAX));
            return own.into_iter().chain(before).min();
        }
        lock(&engine.workers).measured(worker, known, all);
        own
    }

    /// Registers a worker: (heartbeat ms, lease ms).
    pub async fn register_worker(&self, registration: WorkerRegistration) -> (u64, u32) {
        let sign = Sign {
            endpoint: registration.endpoint,
            slots: registration.slots,
            version: registration.version,
            warm: registration.warm,
            by: Some(self.scopes.clone()),
        };
        let now = self.engine.clock.now();
        lock(&self.engine.workers).seen(&registration.worker, now, sign);
        let interval = self.interval(&registration.worker, None).await;
        (interval, self.engine.config.policy.lease_ms)
    }
}

fn add_renewal(answer: &mut HeartbeatAnswer, renewal: Renewal, shortest: &mut u32) {
    answer.renewed += renewal.renewed;
    if renewal.renewed > 0 {
        *shortest = (*shortest).min(renewal.shortest_ms);
    }
    answer.lost.extend(renewal.lost.iter().map(LeaseToken::encode));
    answer.cancel.extend(renewal.cancel);
}
