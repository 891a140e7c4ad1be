//! Second half of the checker: the final reads, the fold of the log dump and the sampled counters
//! against the history and each other.

use crate::checker::{Finals, Found, Index, Kind, sha256_hex};
use crate::fold::{Fold, State};
use crate::history::{Entry, HandOut, JobView, Verb};
use crate::http::Verdict;
use std::collections::BTreeMap;

fn terminal(state: &str) -> bool {
    matches!(state, "COMPLETED" | "ERROR" | "CANCELLED" | "EXPIRED")
}

fn known_state(state: &str) -> bool {
    terminal(state) || matches!(state, "DELAYED" | "PENDING" | "ALLOCATED" | "RUNNING")
}

/// What was acknowledged is there, has ended, and ended as it was said.
pub(crate) fn final_reads(index: &Index<'_>, finals: &Finals, found: &mut Found) {
    for (task, payload) in &index.acked {
        match finals.tasks.get(*task) {
            None | Some(None) => {
                found.add(Kind::Lost, format!("{task}: acknowledged and gone: {payload:.60}"));
            }
            Some(Some(seen)) => {
                if !known_state(&seen.state) {
                    found.add(Kind::Lost, format!("{task}: no legal state: {seen:?}"));
                } else if finals.drained && !terminal(&seen.state) {
                    found.add(Kind::Stuck, format!("{task}: still {}", seen.state));
                }
                if seen.sha256.as_ref().is_some_and(|s| *s != sha256_hex(payload)) {
                    found.add(Kind::Unexpected, format!("{task}: another payload by id"));
                }
            }
        }
    }
    for (task, seen) in &finals.tasks {
        let Some(seen) = seen else { continue };
        for h in index.handed.get(task.as_str()).into_iter().flatten() {
            if h.attempt > seen.attempt {
                let what = format!("{task}: attempt {} was out, read {seen:?}", h.attempt);
                found.add(Kind::Lost, what);
            }
            end_state(index, h, &seen.state, found);
        }
        if seen.state == "COMPLETED" && !index.maybe(task, &[Verb::Complete]) {
            found.add(Kind::Contradiction, format!("{task}: COMPLETED by nobody"));
        }
        if seen.state == "CANCELLED" && !index.cancelling.contains_key(seen.job.as_str()) {
            found.add(Kind::Contradiction, format!("{task}: CANCELLED by nobody"));
        }
    }
}

/// What was acknowledged for one hand-out against the state of its task in the end.
fn end_state(index: &Index<'_>, h: &HandOut, state: &str, found: &mut Found) {
    for r in index.reports.get(h.token.as_str()).into_iter().flatten() {
        let want = match (r.verb, r.outcome.as_deref()) {
            (Verb::Complete, Some("ok" | "duplicate")) => "COMPLETED",
            (Verb::Fail, Some("dead")) => "ERROR",
            (Verb::Complete | Verb::Fail | Verb::Release, _) => continue,
        };
        if state != want {
            let what = format!("{}: {:?} was acknowledged, read {state}", h.task, r.verb);
            found.add(Kind::Contradiction, what);
        }
    }
}

/// The log holds what was acknowledged and handed out, and nothing else.
pub(crate) fn against_fold(index: &Index<'_>, finals: &Finals, fold: &Fold, found: &mut Found) {
    let by_sha: BTreeMap<String, &str> =
        index.submits.keys().map(|p| (sha256_hex(p), *p)).collect();
    let mut born: BTreeMap<&str, &str> = BTreeMap::new();
    for (task, t) in &fold.tasks {
        let Some(payload) = by_sha.get(&t.sha256) else {
            found.add(Kind::Unexpected, format!("{task} of the log was submitted by nobody"));
            continue;
        };
        if let Some(other) = born.insert(payload, task) {
            found.add(Kind::Doubled, format!("one submit became {other} and {task}"));
        }
        let sent = index.submits.get(payload).into_iter().flatten();
        if sent.clone().all(|s| s.verdict == Verdict::Refused) {
            found.add(Kind::Unexpected, format!("{task} of the log had been refused"));
        }
        if sent.clone().any(|s| (&s.job, i64::from(s.priority)) != (&t.job, t.priority)) {
            found.add(Kind::Unexpected, format!("{task} of the log changed job or priority"));
        }
    }
    for task in index.acked.keys().filter(|t| !fold.tasks.contains_key(**t)) {
        found.add(Kind::Lost, format!("{task}: acknowledged, not in the log"));
    }
    for task in finals.listed.iter().filter(|t| !fold.tasks.contains_key(*t)) {
        found.add(Kind::Unexpected, format!("{task} is listed, not in the log"));
    }
    for (task, t) in fold.tasks.iter().filter(|(_, t)| t.state != State::Purged) {
        if finals.drained && !finals.listed.contains(task) {
            found.add(Kind::Counter, format!("{task} ({:?}) is in no list", t.state));
        }
    }
    for h in index.tokens.values().flatten() {
        match fold.handed.get(&(h.task.clone(), i64::from(h.attempt))) {
            None => {
                let what = format!("{}: attempt {} is not in the log", h.task, h.attempt);
                found.add(Kind::Lost, what);
            }
            Some(ms) if u64::try_from(*ms) != Ok(h.lease_ms) => {
                let what = format!("{}: lease {} ms, log {ms} ms", h.task, h.lease_ms);
                found.add(Kind::Contradiction, what);
            }
            Some(_) => {}
        }
    }
    states(finals, fold, found);
}

fn states(finals: &Finals, fold: &Fold, found: &mut Found) {
    for (task, seen) in &finals.tasks {
        let (Some(seen), Some(t)) = (seen, fold.tasks.get(task)) else { continue };
        let fits = match t.state {
            State::Queued => matches!(seen.state.as_str(), "PENDING" | "DELAYED"),
            State::Leased => matches!(seen.state.as_str(), "ALLOCATED" | "RUNNING"),
            State::Completed => seen.state == "COMPLETED",
            State::Error => seen.state == "ERROR",
            State::Cancelled => seen.state == "CANCELLED",
            State::Purged => false,
        };
        if finals.drained && !fits {
            found.add(Kind::Counter, format!("{task}: read {}, log {:?}", seen.state, t.state));
        }
        if finals.drained && i64::from(seen.attempt) != t.attempt {
            found.add(Kind::Attempt, format!("{task}: read {seen:?}, log {}", t.attempt));
        }
    }
}

/// Sums add up in every look, monotone counters never fall.
pub(crate) fn samples(history: &[Entry], found: &mut Found) {
    let mut last: BTreeMap<&str, (u64, &JobView)> = BTreeMap::new();
    for entry in history {
        let Entry::Sample { t0, t1, job, view } = entry else { continue };
        if view.submitted != view.sum() {
            found.add(Kind::Conservation, format!("{job}: submitted is not the sum: {view:?}"));
        }
        if let Some((before_t1, before)) = last.get(job.as_str())
            && before_t1 <= t0
        {
            for ((name, old), (_, new)) in before.monotone().into_iter().zip(view.monotone()) {
                if new < old {
                    let what = format!("{job}: {name} fell from {old} to {new}");
                    found.add(Kind::Conservation, what);
                }
            }
        }
        last.insert(job, (*t1, view));
    }
}

/// The numbers of the jobs equal the fold.
pub(crate) fn counters(finals: &Finals, fold: &Fold, found: &mut Found) {
    let views = fold.job_views();
    for (job, view) in &finals.jobs {
        if view.submitted != view.sum() {
            found.add(Kind::Conservation, format!("{job}: submitted is not the sum: {view:?}"));
        }
        let right = views.get(job).cloned().unwrap_or_default();
        if finals.drained && *view != right {
            found.add(Kind::Counter, format!("{job}: read {view:?}, log {right:?}"));
        }
    }
}
