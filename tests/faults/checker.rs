//! The checker: a pure function of the history, the final reads and the fold of the log dump. It
//! reports everything that breaks a promise; an empty list is the only pass. Unknown outcomes never
//! count as violations, definite ones always do.

use crate::final_state::{against_fold, counters, final_reads, samples};
use crate::fold::Fold;
use crate::history::{Beat, Entry, HandOut, JobView, Report, Submit, Verb};
use crate::http::Verdict;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What kind of promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Acknowledged work is gone (P1).
    Lost,
    /// Two accepted completions, or one submit became two tasks (P5, P8).
    Doubled,
    /// A task nobody submitted, or one that changed (P3).
    Unexpected,
    /// Left a terminal state (P2).
    Resurrected,
    /// A report with another than the newest token was accepted (P8).
    Stale,
    /// Two live leases (P6, P9).
    Overlap,
    /// A token was issued twice (P6).
    Token,
    /// Attempts are not 1, 2, 3 … or a budget is off (P10).
    Attempt,
    /// The final state contradicts what was acknowledged (P2).
    Contradiction,
    /// A sum does not add up or a monotone counter fell (P14).
    Conservation,
    /// A counter differs from the fold (P13).
    Counter,
    /// Not finished although everything healed (P20).
    Stuck,
    /// The dump itself cannot be read.
    Dump,
}

/// One broken promise.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    pub(crate) what: String,
}

/// A task as a read by reference showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) state: String,
    pub(crate) job: String,
    pub(crate) attempt: u32,
    pub(crate) sha256: Option<String>,
}

/// What was read after the run.
#[derive(Default)]
pub(crate) struct Finals {
    /// By reference; `None` = the server does not know it.
    pub(crate) tasks: BTreeMap<String, Option<Seen>>,
    /// All references of the lists.
    pub(crate) listed: BTreeSet<String>,
    /// Numbers of the jobs.
    pub(crate) jobs: BTreeMap<String, JobView>,
    /// The run was drained: every task must have ended.
    pub(crate) drained: bool,
}

/// SHA-256 in lower-case hex.
pub(crate) fn sha256_hex(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

/// A lease lapses at most this much early in the eyes of a client: clocks tick in ms.
const SLACK_US: u64 = 50_000;

/// Checks a run.
pub(crate) fn check(history: &[Entry], finals: &Finals, fold: &Fold) -> Vec<Violation> {
    let index = Index::of(history);
    let mut found = Found::default();
    for (kind, what) in &fold.problems {
        found.add(*kind, format!("log: {what}"));
    }
    submits(&index, &mut found);
    hand_outs(&index, &mut found);
    overlaps(&index, &mut found);
    reports(&index, &mut found);
    after_the_end(&index, &mut found);
    cancels(history, &index, &mut found);
    final_reads(&index, finals, &mut found);
    against_fold(&index, finals, fold, &mut found);
    samples(history, &mut found);
    counters(finals, fold, &mut found);
    found.list
}

/// The violations found so far.
#[derive(Default)]
pub(crate) struct Found {
    list: Vec<Violation>,
}

impl Found {
    pub(crate) fn add(&mut self, kind: Kind, what: String) {
        self.list.push(Violation { kind, what });
    }
}

/// The history by task, token and payload.
#[derive(Default)]
pub(crate) struct Index<'a> {
    /// All submits of a payload.
    pub(crate) submits: BTreeMap<&'a str, Vec<&'a Submit>>,
    /// Acknowledged references with their payload.
    pub(crate) acked: BTreeMap<&'a str, &'a str>,
    /// Hand-outs of a task by attempt.
    pub(crate) handed: BTreeMap<&'a str, Vec<&'a HandOut>>,
    /// Hand-outs of a token; more than one is a violation.
    pub(crate) tokens: BTreeMap<&'a str, Vec<&'a HandOut>>,
    /// Reports of a token in order of sending.
    pub(crate) reports: BTreeMap<&'a str, Vec<&'a Report>>,
    /// Renewals of a token.
    pub(crate) beats: BTreeMap<&'a str, Vec<&'a Beat>>,
    /// Jobs somebody tried to cancel, with the time of the first call.
    pub(crate) cancelling: BTreeMap<&'a str, u64>,
}

impl<'a> Index<'a> {
    fn of(history: &'a [Entry]) -> Self {
        let mut index = Self::default();
        for entry in history {
            match entry {
                Entry::Submit(s) => {
                    index.submits.entry(&s.payload).or_default().push(s);
                    if let (Verdict::Ok, Some(task)) = (s.verdict, &s.task) {
                        index.acked.insert(task, &s.payload);
                    }
                }
                Entry::HandOut(h) => {
                    index.handed.entry(&h.task).or_default().push(h);
                    index.tokens.entry(&h.token).or_default().push(h);
                }
                Entry::Report(r) => index.reports.entry(&r.token).or_default().push(r),
                Entry::Beat(b) => index.beats.entry(&b.token).or_default().push(b),
                Entry::CancelJob { t0, job, .. } => {
                    let first = index.cancelling.entry(job).or_insert(*t0);
                    *first = (*first).min(*t0);
                }
                Entry::Sample { .. } | Entry::Nemesis { .. } => {}
            }
        }
        index.handed.values_mut().for_each(|v| v.sort_by_key(|h| (h.attempt, h.t1)));
        index.reports.values_mut().for_each(|v| v.sort_by_key(|r| r.t0));
        index
    }

    fn task_of(&self, token: &str) -> Option<&'a HandOut> {
        self.tokens.get(token).and_then(|v| v.first().copied())
    }

    /// Was any report of this verb possibly accepted for this task?
    pub(crate) fn maybe(&self, task: &str, verbs: &[Verb]) -> bool {
        let tokens = self.handed.get(task).into_iter().flatten().map(|h| h.token.as_str());
        tokens
            .filter_map(|t| self.reports.get(t))
            .flatten()
            .any(|r| verbs.contains(&r.verb) && !matches!(r.outcome.as_deref(), Some("lease_lost")))
    }
}

/// Accepted = the call changed the task.
fn accepted(r: &Report) -> bool {
    matches!(r.outcome.as_deref(), Some("ok" | "retry" | "dead"))
}

/// One payload is one task, whatever was repeated with its key.
fn submits(index: &Index<'_>, found: &mut Found) {
    for (payload, all) in &index.submits {
        let refs: BTreeSet<&str> = all
            .iter()
            .filter(|s| s.verdict == Verdict::Ok)
            .filter_map(|s| s.task.as_deref())
            .collect();
        if refs.len() > 1 {
            found.add(Kind::Doubled, format!("one submit became {refs:?}: {payload}"));
        }
        if all.iter().any(|s| s.verdict == Verdict::Ok && s.task.is_none()) {
            found.add(Kind::Lost, format!("accepted without a reference: {payload}"));
        }
    }
    let mut owner: BTreeMap<&str, &str> = BTreeMap::new();
    for s in index.submits.values().flatten().filter(|s| s.verdict == Verdict::Ok) {
        let Some(task) = s.task.as_deref() else { continue };
        let first = *owner.entry(task).or_insert(&s.payload);
        if first != s.payload {
            found.add(Kind::Lost, format!("{task} was answered to two different submits"));
        }
    }
}

fn hand_outs(index: &Index<'_>, found: &mut Found) {
    for (token, all) in &index.tokens {
        if all.len() > 1 {
            let to: Vec<_> = all.iter().map(|h| (&h.task, h.attempt, &h.worker)).collect();
            found.add(Kind::Token, format!("token {token} was issued {} times: {to:?}", all.len()));
        }
    }
    for (task, all) in &index.handed {
        for pair in all.windows(2) {
            if let [a, b] = pair
                && a.attempt == b.attempt
            {
                found.add(Kind::Attempt, format!("{task}: attempt {} twice", a.attempt));
            }
        }
        for h in all {
            if let Some(what) = unexpected(index, h) {
                found.add(Kind::Unexpected, what);
            }
        }
    }
}

/// What is wrong with a hand-out against what was submitted.
fn unexpected(index: &Index<'_>, h: &HandOut) -> Option<String> {
    let task = &h.task;
    if h.attempt == 0 {
        return Some(format!("{task}: hand-out without an attempt"));
    }
    let Some(sent) = index.submits.get(h.payload.as_str()) else {
        return Some(format!("{task}: payload nobody submitted: {:.60}", h.payload));
    };
    if sent.iter().all(|s| s.verdict == Verdict::Refused) {
        return Some(format!("{task}: every submit of it was refused: {:.60}", h.payload));
    }
    if index.acked.get(task.as_str()).is_some_and(|p| *p != h.payload) {
        return Some(format!("{task}: the payload belongs to another task"));
    }
    let first = sent.first()?;
    if h.t1 < first.t0 {
        return Some(format!("{task}: handed out before it was submitted"));
    }
    let id = first.id.as_deref().unwrap_or(task);
    if (h.job.as_str(), h.priority, h.id.as_str()) != (&first.job, first.priority, id) {
        return Some(format!("{task}: job, priority or id changed: {h:?} from {first:?}"));
    }
    None
}

/// Was the lease of `h` possibly given up before `until`?
fn given_up(index: &Index<'_>, h: &HandOut, until: u64) -> bool {
    let reported = index.reports.get(h.token.as_str()).into_iter().flatten().any(|r| {
        r.t0 < until && !matches!(r.outcome.as_deref(), Some("lease_lost" | "unavailable"))
    });
    reported || index.cancelling.get(h.job.as_str()).is_some_and(|t| *t < until)
}

fn overlaps(index: &Index<'_>, found: &mut Found) {
    for (task, all) in &index.handed {
        for (i, first) in all.iter().enumerate() {
            let Some(second) = all.iter().skip(i + 1).find(|h| h.attempt > first.attempt) else {
                continue;
            };
            let beats = index.beats.get(first.token.as_str()).into_iter().flatten();
            let renewed = beats.filter(|b| b.renewed == Some(true)).map(|b| b.t0);
            // The server's stamp narrows the start, but it is believed only inside the call.
            let start = first.allocated.clamp(first.t0, first.t1);
            let start = renewed.chain([start]).max().unwrap_or(start);
            let end = start + first.lease_ms * 1_000;
            if second.t1 + SLACK_US < end && !given_up(index, first, second.t1) {
                let early = (end - second.t1) / 1_000;
                let what = format!(
                    "{task}: attempt {} came {early} ms before the lease of attempt {} ended",
                    second.attempt, first.attempt
                );
                found.add(Kind::Overlap, what);
            }
        }
    }
}

fn reports(index: &Index<'_>, found: &mut Found) {
    let mut done: BTreeMap<&str, usize> = BTreeMap::new();
    for (token, all) in &index.reports {
        for (i, r) in all.iter().enumerate() {
            let outcome = r.outcome.as_deref();
            if outcome == Some("duplicate") {
                let cause = all.iter().enumerate().any(|(j, o)| {
                    j != i
                        && o.verb == r.verb
                        && o.t0 <= r.t1
                        && (o.outcome.is_none() || accepted(o))
                });
                if !cause {
                    found.add(Kind::Stale, format!("{token}: duplicate of nothing: {r:?}"));
                }
            }
            if !accepted(r) {
                continue;
            }
            let Some(h) = index.task_of(token) else {
                found.add(Kind::Stale, format!("a token nobody was given was accepted: {r:?}"));
                continue;
            };
            if r.verb == Verb::Complete {
                *done.entry(&h.task).or_default() += 1;
            }
            let newer = index.handed.get(h.task.as_str()).into_iter().flatten();
            if let Some(n) = newer.clone().find(|n| n.attempt > h.attempt && n.t1 < r.t0) {
                let what = format!("{}: {:?} of attempt {} accepted", h.task, r.verb, h.attempt);
                found.add(Kind::Stale, format!("{what} after attempt {} was out", n.attempt));
            }
        }
        let once = all.iter().filter(|r| accepted(r)).count();
        if once > 1 {
            found.add(Kind::Doubled, format!("{token}: {once} reports were accepted: {all:?}"));
        }
    }
    for (task, times) in done {
        if times > 1 {
            found.add(Kind::Doubled, format!("{task}: {times} completions were accepted"));
        }
    }
}

/// After an accepted completion or final failure there is no later attempt. The attempt number
/// decides, so a consume that was waiting meanwhile is judged too.
fn after_the_end(index: &Index<'_>, found: &mut Found) {
    for (token, all) in &index.reports {
        let Some(h) = index.task_of(token) else { continue };
        let ends = |r: &&&Report| match r.verb {
            Verb::Complete => matches!(r.outcome.as_deref(), Some("ok" | "duplicate")),
            Verb::Fail => r.outcome.as_deref() == Some("dead"),
            Verb::Release => false,
        };
        let Some(end) = all.iter().find(ends) else { continue };
        let later = index.handed.get(h.task.as_str()).into_iter().flatten();
        for n in later.filter(|n| n.attempt > h.attempt && n.t1 >= end.t0) {
            let what = format!("{}: attempt {} was handed out", h.task, n.attempt);
            let by = format!("after {:?} of attempt {} was accepted", end.verb, h.attempt);
            found.add(Kind::Resurrected, format!("{what} {by}"));
        }
    }
}

/// After the acknowledgement of a cancel nothing of the job is handed out or completed.
fn cancels(history: &[Entry], index: &Index<'_>, found: &mut Found) {
    for entry in history {
        let Entry::CancelJob { t1, job, verdict: Verdict::Ok, .. } = entry else { continue };
        for h in index.tokens.values().flatten().filter(|h| h.job == *job) {
            if h.t0 > *t1 {
                found.add(Kind::Resurrected, format!("{}: handed out after cancel", h.task));
            }
            let late = index.reports.get(h.token.as_str()).into_iter().flatten();
            for r in late.filter(|r| r.t0 > *t1 && accepted(r) && r.verb != Verb::Release) {
                found.add(Kind::Resurrected, format!("{}: {:?} after cancel", h.task, r.verb));
            }
        }
    }
}
