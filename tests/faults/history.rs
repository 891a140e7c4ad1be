//! What the clients saw: one entry a task and call, with the time it was sent and the time its
//! answer was known. The checker reads nothing else but final reads and the fold of the log dump.

use crate::http::Verdict;
use serde::Serialize;
use std::sync::{Mutex, PoisonError};

/// A task somebody tried to submit.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Submit {
    /// Sent, answered: microseconds.
    pub(crate) t0: u64,
    pub(crate) t1: u64,
    /// Payload, unique: it is the name of the task for the checker.
    pub(crate) payload: String,
    pub(crate) job: String,
    pub(crate) priority: u8,
    pub(crate) id: Option<String>,
    pub(crate) verdict: Verdict,
    /// Reference, with `Verdict::Ok`.
    pub(crate) task: Option<String>,
}

/// One task of the answer of a consume.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HandOut {
    pub(crate) t0: u64,
    pub(crate) t1: u64,
    pub(crate) worker: String,
    pub(crate) task: String,
    pub(crate) id: String,
    pub(crate) job: String,
    pub(crate) priority: u8,
    pub(crate) payload: String,
    pub(crate) attempt: u32,
    pub(crate) token: String,
    pub(crate) lease_ms: u64,
    /// The server's stamp of the hand-out in microseconds.
    pub(crate) allocated: u64,
}

/// Verb of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Verb {
    Complete,
    Fail,
    Release,
}

/// One report of a worker.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) t0: u64,
    pub(crate) t1: u64,
    pub(crate) verb: Verb,
    pub(crate) token: String,
    /// Word of the answer; `None` = unknown; `unavailable` also stands for a refused call.
    pub(crate) outcome: Option<String>,
}

/// One renewal of one lease.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Beat {
    pub(crate) t0: u64,
    pub(crate) t1: u64,
    pub(crate) token: String,
    /// `Some(true)` renewed, `Some(false)` in `lost` or `cancel`, `None` unknown.
    pub(crate) renewed: Option<bool>,
}

/// Numbers of one job as one GET showed them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct JobView {
    /// Queued = BLOCKED + DELAYED + PENDING.
    pub(crate) queued: i64,
    /// Leased = ALLOCATED + RUNNING.
    pub(crate) leased: i64,
    pub(crate) completed: i64,
    pub(crate) error: i64,
    pub(crate) cancelled: i64,
    pub(crate) expired: i64,
    pub(crate) submitted: i64,
    pub(crate) purged: i64,
    pub(crate) handed_out: i64,
    pub(crate) failed_attempts: i64,
    pub(crate) crashes: i64,
    pub(crate) redriven: i64,
}

impl JobView {
    /// The sum over all states and the purged.
    pub(crate) fn sum(&self) -> i64 {
        let ended = self.completed + self.error + self.cancelled + self.expired;
        self.queued + self.leased + ended + self.purged
    }

    /// The counters that may never fall, with their names.
    pub(crate) fn monotone(&self) -> [(&'static str, i64); 6] {
        [
            ("submitted", self.submitted),
            ("purged", self.purged),
            ("handedOut", self.handed_out),
            ("failedAttempts", self.failed_attempts),
            ("crashes", self.crashes),
            ("redriven", self.redriven),
        ]
    }
}

/// One entry.
#[derive(Clone, Debug, Serialize)]
pub(crate) enum Entry {
    Submit(Submit),
    HandOut(HandOut),
    Report(Report),
    Beat(Beat),
    /// Cancel of a whole job (`mode: stop`).
    CancelJob {
        t0: u64,
        t1: u64,
        job: String,
        verdict: Verdict,
    },
    /// A look at a job; the looks at one job follow each other.
    Sample {
        t0: u64,
        t1: u64,
        job: String,
        view: JobView,
    },
    /// A fault.
    Nemesis {
        t: u64,
        what: String,
    },
}

/// The entries of one run, appended by all clients.
#[derive(Default)]
pub(crate) struct History(Mutex<Vec<Entry>>);

impl History {
    /// Appends.
    pub(crate) fn push(&self, entry: Entry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// Appends many under one lock.
    pub(crate) fn extend(&self, entries: Vec<Entry>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(entries);
    }

    /// A copy of all entries.
    pub(crate) fn all(&self) -> Vec<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
