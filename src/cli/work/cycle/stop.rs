//! How a worker stops: one task, all of them, or itself; and what it does while the server is away.

use super::super::{Engine, denied};
use super::{Cycle, LAST_GRACE, PAUSE_MS_MAX};
use crate::cli::failure::{Failure, Verdict, exit};
use crate::client::Error;
use crate::client::worker::Report;
use std::time::Duration;
use tokio::time::{Instant, timeout};

impl Cycle<'_> {
    pub(super) fn stop_one(&mut self, lease: &str) {
        self.queue.retain(|task| task.lease != lease);
        if let Some(running) = self.running.get_mut(lease)
            && let Some(stop) = running.take()
        {
            // Not received: it has just ended, and its report will be refused.
            let _ended = stop.send(self.plan.grace);
        }
    }

    pub(super) fn drained(&mut self) {
        if !self.closing {
            self.context.out.note("drained by the server: finishing what is held");
            self.closing = true;
        }
    }

    /// First signal: finish within the grace time. Second: stop everything now.
    pub(super) fn on_signal(&mut self) {
        self.signals += 1;
        if self.signals == 1 {
            let held = self.running.len();
            self.context.out.note(&format!("stopping: {held} running tasks may finish"));
            self.close();
        } else {
            self.stop_running();
        }
    }

    /// Takes no more work and gives back what has not begun.
    pub(super) fn close(&mut self) {
        self.closing = true;
        if self.stop_at.is_none() {
            self.stop_at = Some(Instant::now() + self.plan.grace);
        }
        if let Some((handle, sent)) = self.consume.take() {
            handle.abort();
            self.reports.put_back(sent, true);
        }
        self.release_queue();
    }

    pub(super) fn release_queue(&mut self) {
        for task in std::mem::take(&mut self.queue) {
            self.reports.push(Report::release(&task.lease, 0));
        }
    }

    pub(super) fn stop_running(&mut self) {
        self.stop_at = Some(Instant::now());
        for running in self.running.values_mut() {
            if let Some(stop) = running.take() {
                let _ended = stop.send(LAST_GRACE);
            }
        }
    }

    pub(super) fn look_around(&mut self) {
        let now = Instant::now();
        let idle = self.running.is_empty() && self.queue.is_empty();
        self.idle_since = if idle { self.idle_since.or(Some(now)) } else { None };
        if self.stop_at.is_some_and(|at| now >= at) && !self.running.is_empty() {
            self.stop_running();
        }
        if self.taken >= self.plan.max_tasks && idle && self.consume.is_none() {
            self.closing = true;
        }
        let patience_over = self.plan.idle_exit.is_some_and(|d| self.busy_at.elapsed() >= d);
        if idle && patience_over && !self.closing && self.reports.is_empty() {
            self.fatal = self.away.take();
            self.close();
        }
        let orphan = self.plan.parent.is_some_and(|id| std::os::unix::process::parent_id() != id);
        if orphan && !self.orphaned {
            // The parent was the server as well: nobody is left to report to.
            self.orphaned = true;
            self.close();
            self.stop_running();
        }
    }

    /// Remembers why the server could not be used; the time at which to try again.
    pub(super) fn on_failure(&mut self, error: Error) -> Instant {
        let refused = error.problem().map(|problem| (problem.status, problem.retry_after_ms));
        let passing = error.passing();
        let failure = Failure::from(error);
        if !passing {
            let denied_now = matches!(refused, Some((401 | 403, _)));
            self.fatal = Some(if denied_now { denied(failure) } else { failure });
            self.close();
            return Instant::now();
        }
        if self.away.is_none() {
            self.context.out.note(&format!("{}; trying on", failure.what));
        }
        self.away = Some(failure);
        self.failures = (self.failures + 1).min(8);
        let asked = refused.and_then(|(_, retry_after_ms)| retry_after_ms);
        let ms = asked.unwrap_or(50 << self.failures).min(PAUSE_MS_MAX);
        Instant::now() + self.client.jittered(ms)
    }

    pub(super) fn back_again(&mut self) {
        self.failures = 0;
        if self.away.take().is_some() {
            self.context.out.note("the server answers again");
        }
    }

    pub(super) fn show_usage(&mut self) {
        if let Engine::Pricing(pricer) = &self.plan.engine {
            let usage = pricer.usage_line();
            if usage != self.usage_shown {
                self.context.out.data(&usage);
                self.usage_shown = usage;
            }
        }
    }

    pub(super) async fn sign_off(mut self) -> Verdict {
        self.show_usage();
        self.events.shutdown().await;
        if !self.reports.is_empty() {
            self.context
                .out
                .note("some reports could not be delivered; their tasks will run again");
        }
        let gone = self.client.sign_off(&self.plan.name);
        if let Ok(Err(error)) = timeout(Duration::from_secs(3), gone).await {
            self.context.out.detail(&format!("could not sign off: {error}"));
        }
        match self.fatal {
            Some(failure) => Err(failure),
            None if self.signals > 1 => Ok(exit::INTERRUPTED),
            None => Ok(exit::DONE),
        }
    }
}
