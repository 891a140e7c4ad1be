//! Budgets, back-off, dead-letter rule.

use crate::core::intern::Class;
use crate::core::lease::Live;
use crate::core::partition::Partition;
use crate::model::event::{FailCause, Failure, Next};
use crate::model::id::{LeaseNo, Name};
use crate::model::policy::{Backoff, Jitter};

/// What the worker said about a failure, or what the owner says for it.
pub(crate) struct FailureReport {
    pub(crate) cause: FailCause,
    pub(crate) class: Name,
    pub(crate) message: Name,
    pub(crate) retryable: bool,
    pub(crate) retry_after_ms: Option<u32>,
    pub(crate) run_ms: Option<u64>,
}

impl Partition {
    /// Works out the failure of a live lease; nothing is changed yet.
    pub(crate) fn failure(&mut self, number: LeaseNo, report: FailureReport) -> Failure {
        let lease = self.leases.get(number).expect("the caller checked that it is live").clone();
        let class = self.class(lease.seq).expect("a leased task is live");
        let used = self.touched.get(&lease.seq).copied().unwrap_or_default();
        let crash = report.cause == FailCause::Crash;
        let errors = used.errors.saturating_add(u8::from(!crash));
        let crashes = used.crashes.saturating_add(u8::from(crash));
        let spent = if crash { crashes >= class.max_crashes } else { errors >= class.max_attempts };
        let n = if crash { crashes } else { errors };
        let next = if spent || !report.retryable || !self.policy.retry_enabled {
            Next::Error
        } else {
            self.requeue_rule(&class, n, report.retry_after_ms)
        };
        Failure {
            seq: lease.seq,
            attempt: lease.attempt,
            lease: number,
            class: report.class,
            message: report.message,
            errors,
            crashes,
            next,
            run_ms: report.run_ms.unwrap_or_else(|| self.run_ms(&lease)),
        }
    }

    /// Where a task that may run again goes after `delay_ms`.
    pub(crate) fn back_to_queue(&self, class: &Class, delay_ms: u64) -> Next {
        if self.job(class.job).cancel.is_some() {
            Next::Cancelled
        } else if delay_ms == 0 {
            Next::Pending
        } else {
            Next::Delayed(self.clock().plus(delay_ms))
        }
    }

    /// Run time as the owner sees it: since the start, split over the tasks of the same answer.
    pub(crate) fn run_ms(&self, lease: &Live) -> u64 {
        self.now.wall.since(lease.running) / u64::from(lease.batch.max(1))
    }

    fn requeue_rule(&mut self, class: &Class, n: u8, asked: Option<u32>) -> Next {
        let delay = asked.map_or_else(|| self.back_off_ms(class.backoff, n), u64::from);
        self.back_to_queue(class, delay)
    }

    /// `jitter(min(cap, base × 2^(n−1)))`.
    fn back_off_ms(&mut self, backoff: Backoff, n: u8) -> u64 {
        let doublings = u32::from(n.saturating_sub(1)).min(40);
        let value = (u64::from(backoff.base_ms) << doublings).min(u64::from(backoff.cap_ms));
        match backoff.jitter {
            Jitter::None => value,
            Jitter::Full => self.roll() % (value + 1),
        }
    }
}
