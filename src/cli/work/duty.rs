//! Reports on their way: kept until their outcome was seen, sent again when it was not.

use super::child::too_large;
use crate::cli::Context;
use crate::client::Error;
use crate::client::worker::{Outcome, Report};
use std::time::Duration;
use tokio::time::Instant;

/// Reports of one call.
const CALL_REPORTS: usize = 1_000;
/// Bytes of the reports of one call; the server takes bodies of 1 MiB.
const CALL_BYTES: usize = 600 << 10;

/// Reports not settled and not in flight, oldest first.
#[derive(Default)]
pub(super) struct Reports {
    waiting: Vec<Report>,
    since: Option<Instant>,
    /// Must not ride on a consume: a call that carried them was refused.
    alone: bool,
    /// Must go one by one: a call with several was refused.
    single: bool,
}

impl Reports {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn push(&mut self, report: Report) {
        self.since = self.since.or_else(|| Some(Instant::now()));
        self.waiting.push(report);
    }

    /// How long the oldest has waited.
    pub(super) fn waiting_for(&self) -> Option<Duration> {
        let since = self.since.filter(|_| !self.waiting.is_empty())?;
        Some(if self.alone { Duration::MAX } else { since.elapsed() })
    }

    /// Reports for a consume to carry.
    pub(super) fn take_for_consume(&mut self) -> Vec<Report> {
        if self.alone { Vec::new() } else { self.take() }
    }

    /// Reports for a call of their own.
    pub(super) fn take_for_report(&mut self) -> Vec<Report> {
        self.take()
    }

    fn take(&mut self) -> Vec<Report> {
        let most = if self.single { 1 } else { CALL_REPORTS };
        let (mut count, mut bytes) = (0, 0);
        for report in self.waiting.iter().take(most) {
            bytes += report.weight();
            if count > 0 && bytes > CALL_BYTES {
                break;
            }
            count += 1;
        }
        let rest = self.waiting.split_off(count);
        let taken = std::mem::replace(&mut self.waiting, rest);
        if self.waiting.is_empty() {
            self.since = None;
        }
        taken
    }

    /// Takes back what was not settled.
    pub(super) fn put_back(&mut self, mut sent: Vec<Report>, alone: bool) {
        if sent.is_empty() {
            return;
        }
        sent.append(&mut self.waiting);
        self.waiting = sent;
        self.since = self.since.or_else(|| Some(Instant::now()));
        self.alone |= alone;
    }

    /// Settles reports with their outcomes, in order.
    pub(super) fn settle(&mut self, sent: Vec<Report>, outcomes: Vec<Outcome>, context: &Context) {
        let mut outcomes = outcomes.into_iter();
        for report in sent {
            match outcomes.next() {
                None => self.push(report),
                Some(outcome) => self.settle_one(report, &outcome, context),
            }
        }
        if self.waiting.is_empty() {
            (self.alone, self.single) = (false, false);
        }
    }

    fn settle_one(&mut self, report: Report, outcome: &Outcome, context: &Context) {
        match outcome.outcome.as_str() {
            "unavailable" => self.push(report),
            "invalid" if outcome.code.as_deref() == Some("result_too_large") => {
                self.push(too_large(&report.lease));
            }
            "invalid" => {
                let detail = outcome.detail.as_deref().unwrap_or("no reason given");
                self.invalid(report, detail, context);
            }
            "lease_lost" | "cancelled" => {
                context
                    .out
                    .detail(&format!("a {} came too late: {}", report.kind, outcome.outcome));
            }
            _ => {}
        }
    }

    /// A whole call was refused for good. True when the fault is not in the reports.
    pub(super) fn refused(&mut self, sent: Vec<Report>, error: &Error, context: &Context) -> bool {
        let status = error.problem().map_or(0, |problem| problem.status);
        if matches!(status, 0 | 401 | 403 | 404) {
            return true;
        }
        if sent.len() > 1 {
            self.put_back(sent, true);
            self.single = true;
            return false;
        }
        for report in sent {
            if status == 413 && report.kind == "complete" {
                self.push(too_large(&report.lease));
            } else {
                self.invalid(report, &error.to_string(), context);
            }
        }
        false
    }

    /// A result the server will never take is a failure of the task; a refused failure is left to
    /// the lease.
    fn invalid(&mut self, report: Report, detail: &str, context: &Context) {
        context.out.note(&format!("a {} was refused: {detail}", report.kind));
        if report.kind == "complete" {
            self.push(Report::fail(&report.lease, "invalid_result", detail, false));
        }
    }
}
