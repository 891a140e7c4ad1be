//! Hand-out: level → fair job → the task of its lane that fits best; one answer is one event.

use crate::core::affinity::Warm;
use crate::core::ageing::Turn;
use crate::core::intern::Class;
use crate::core::partition::Partition;
use crate::model::command::Consume;
use crate::model::event::{Allocation, Event, Stamped};
use crate::model::id::TaskSeq;
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::reply::Grant;

/// Lease of a seed consume for a task without `timeoutSeconds`, ms.
const SEED_LEASE_MS: u32 = 60_000;

impl Partition {
    pub(crate) fn consume(&mut self, consume: &Consume, events: &mut Vec<Stamped>) -> Vec<Grant> {
        if self.drained.contains(&consume.worker) {
            return Vec::new();
        }
        let first_lease = self.leases.next();
        let mut warm = self.warm(consume);
        let (mut tasks, mut grants) = (Vec::new(), Vec::new());
        let mut answer = consume.spent;
        let max = self.batch_max(consume);
        while tasks.len() < max {
            let Some((seq, class, served)) = self.pick(consume, &mut warm) else { break };
            let expected_us = self.expected_us(consume, &class);
            let bytes = u64::from(self.rows.payload_bytes(seq));
            answer = answer.and(bytes, expected_us);
            if !consume.allows(answer) {
                break;
            }
            let attempt = self.touched.get(&seq).map_or(0, |t| t.attempt) + 1;
            let lease_ms = self.lease_ms(consume, &class);
            let fit = self.fit(&class, &warm);
            let task = Allocation { seq, attempt, lease_ms, fit, served };
            let grant = self.grant(consume, task, &class);
            grants.push(Grant { bytes, expected_us, ..grant });
            self.handed_out(seq, &mut warm);
            tasks.push(task);
        }
        self.spread_batch(&tasks, first_lease.0);
        if !tasks.is_empty() {
            let (worker, endpoint) = (consume.worker.clone(), consume.endpoint.clone());
            self.commit_applied(Event::Allocated { worker, endpoint, first_lease, tasks }, events);
        }
        grants
    }

    /// What a task adds to the run time of an answer that is bounded by time, µs. A job without an
    /// average fills it.
    fn expected_us(&self, consume: &Consume, class: &Class) -> u64 {
        let Some(target_ms) = consume.target_ms else { return 0 };
        match self.job(class.job).mean_us {
            0 => target_ms.saturating_mul(1_000),
            mean_us => mean_us,
        }
    }

    /// Tasks of this answer at most. Who asks by time gets no more than a share of what is ready,
    /// so that the last tasks are spread over the workers.
    fn batch_max(&self, consume: &Consume) -> usize {
        let max = consume.max.min(limits::CONSUME_MAX);
        if consume.target_ms.is_none() {
            return max;
        }
        let share = self.ready_tasks().div_ceil(u64::from(consume.peers.max(1)));
        max.min(usize::try_from(share).unwrap_or(usize::MAX)).max(1)
    }

    /// The task this consume would get next: the one that fits it best of the lane whose turn it
    /// is, and the level that is served if it is not the lane's own.
    fn pick(
        &mut self,
        consume: &Consume,
        warm: &mut Warm,
    ) -> Option<(TaskSeq, Class, Option<Priority>)> {
        let Turn { job, own, served } = self.turn(consume)?;
        let seq = self.choose((job, own), warm, consume.mode).expect("a listed lane has a head");
        let class = self.class(seq).expect("a pending task is live");
        Some((seq, class, (served != own).then_some(served)))
    }

    /// Allocates one task now; the event for the whole answer follows.
    fn grant(&mut self, consume: &Consume, task: Allocation, class: &Class) -> Grant {
        let priority = self.current_priority(task.seq, class);
        let available = self.available(task.seq);
        let now = self.now.wall;
        let number = self.apply_allocation(&consume.worker, task, 1, now);
        let touched = self.touched[&task.seq];
        Grant {
            seq: task.seq,
            token: self.leases.token(self.id, number),
            attempt: task.attempt,
            lease_ms: task.lease_ms,
            lease_until: now.plus(u64::from(task.lease_ms)),
            allocated: now,
            available,
            priority,
            errors: touched.errors,
            crashes: touched.crashes,
            redriven: touched.redriven,
            record: crate::model::id::Position::default(),
            index: 0,
            bytes: 0,
            expected_us: 0,
            failed: None,
        }
    }

    fn spread_batch(&mut self, tasks: &[Allocation], first_lease: u64) {
        let batch = u32::try_from(tasks.len()).expect("at most 1,000 tasks an answer");
        for number in first_lease..first_lease + u64::from(batch) {
            if let Some(lease) = self.leases.get_mut(crate::model::id::LeaseNo(number)) {
                lease.batch = batch;
            }
        }
    }

    fn lease_ms(&self, consume: &Consume, class: &Class) -> u32 {
        if consume.seed_lease {
            let limit = class.timeout_s.saturating_mul(1_000).min(limits::LEASE_MS_MAX);
            return if limit == 0 { SEED_LEASE_MS } else { limit };
        }
        let asked = (class.lease_ms > 0).then_some(class.lease_ms);
        consume.lease_ms.or(asked).unwrap_or(self.policy.lease_ms)
    }
}
