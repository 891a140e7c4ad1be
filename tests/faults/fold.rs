//! Fold of `kwq log dump --json`, written from the documents alone: states, attempts, budgets and
//! counters of every task and job. What the log itself does wrong is collected as problems.

use crate::checker::Kind;
use crate::history::JobView;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// State of a task in the fold; PENDING and DELAYED are one, becoming due is not logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Queued,
    Leased,
    Completed,
    Error,
    Cancelled,
    Purged,
}

impl State {
    /// True when nothing but a redrive or a purge may follow.
    pub(crate) fn terminal(self) -> bool {
        match self {
            Self::Queued | Self::Leased => false,
            Self::Completed | Self::Error | Self::Cancelled | Self::Purged => true,
        }
    }
}

/// One task of the fold.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) job: String,
    pub(crate) partition: i64,
    pub(crate) sha256: String,
    pub(crate) priority: i64,
    pub(crate) state: State,
    /// Number of the latest hand-out.
    pub(crate) attempt: i64,
    /// The latest lease lapsed, so a late completion is still allowed.
    pub(crate) lapsed: bool,
    pub(crate) errors: i64,
    pub(crate) crashes: i64,
}

/// The whole fold.
#[derive(Default, Debug)]
pub(crate) struct Fold {
    /// Tasks by reference.
    pub(crate) tasks: BTreeMap<String, Task>,
    /// Lease in ms by (reference, attempt).
    pub(crate) handed: BTreeMap<(String, i64), i64>,
    /// Accepted completions by reference.
    pub(crate) completed: BTreeMap<String, i64>,
    /// Monotone counters by job: submitted, handedOut, failedAttempts, crashes, redriven, purged.
    jobs: BTreeMap<String, [i64; 6]>,
    /// Violations found on the way.
    pub(crate) problems: Vec<(Kind, String)>,
    /// Records that counted.
    pub(crate) records: usize,
    epochs: BTreeMap<i64, String>,
    leases: BTreeSet<(i64, String, String)>,
    last_position: BTreeMap<i64, u64>,
    /// Offset up to which an inbox was taken, by partition and level.
    inboxes: BTreeMap<(i64, i64), i64>,
}

fn text(v: &Value, key: &str) -> String {
    match v.get(key) {
        Some(Value::String(s)) => s.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

fn int(v: &Value, key: &str) -> i64 {
    v.get(key).and_then(Value::as_i64).unwrap_or(0)
}

fn items(v: &Value) -> Vec<Value> {
    v.get("tasks").and_then(Value::as_array).cloned().unwrap_or_default()
}

impl Fold {
    /// Folds the lines of a dump.
    pub(crate) fn of(dump: &str) -> Self {
        let mut fold = Self::default();
        for line in dump.lines().filter(|l| !l.trim().is_empty()) {
            match serde_json::from_str::<Value>(line) {
                Ok(record) => fold.record(&record),
                Err(e) => fold.problem(Kind::Dump, format!("not JSON ({e}): {line}")),
            }
        }
        fold
    }

    fn problem(&mut self, kind: Kind, what: String) {
        self.problems.push((kind, what));
    }

    fn record(&mut self, r: &Value) {
        let (partition, kind) = (int(r, "partition"), text(r, "kind"));
        let (position, epoch) = (text(r, "position"), text(r, "epoch"));
        self.order(partition, &position, &kind);
        if kind == "Owner" {
            self.epochs.insert(partition, position);
            return;
        }
        if kind == "Seal" {
            return;
        }
        if self.epochs.get(&partition) != Some(&epoch) {
            return; // void: not written by the owner
        }
        self.records += 1;
        match kind.as_str() {
            "Submitted" | "Admitted" => self.submitted(partition, r),
            "Allocated" => self.each(r, |fold, t| fold.allocated(partition, &epoch, t)),
            "Started" => self.each(r, |fold, t| fold.leased(t, "Started").map_or((), |_| ())),
            "Completed" => self.each(r, Self::complete),
            "Failed" | "TimedOut" => self.each(r, |fold, t| fold.failed(t, false)),
            "Crashed" => self.each(r, |fold, t| fold.failed(t, true)),
            "Released" => self.each(r, Self::released),
            "Cancelled" => self.each(r, Self::cancelled),
            "Redriven" => self.each(r, Self::redriven),
            "Purged" => self.each(r, Self::purged),
            "JobChanged" => self.job_changed(partition, r),
            "Inbox" => self.inbox(partition, r),
            "JobDefined" | "LevelChanged" | "Operation" | "Key" | "Rejected" => {}
            other => self.problem(Kind::Dump, format!("unknown kind {other} at {position}")),
        }
    }

    /// Positions of a partition never fall; several records may share the place of one group.
    fn order(&mut self, partition: i64, position: &str, kind: &str) {
        let Ok(at) = position.parse::<u64>() else {
            return self.problem(Kind::Dump, format!("{kind} without a numeric position"));
        };
        let last = self.last_position.insert(partition, at);
        if last.is_some_and(|l| l >= at) {
            self.problem(Kind::Dump, format!("partition {partition}: {at} does not rise"));
        }
    }

    fn each(&mut self, r: &Value, mut f: impl FnMut(&mut Self, &Value)) {
        for t in items(r) {
            f(self, &t);
        }
    }

    fn count(&mut self, job: &str, which: usize) {
        let row = self.jobs.entry(job.to_owned()).or_default();
        if let Some(n) = row.get_mut(which) {
            *n += 1;
        }
    }

    fn submitted(&mut self, partition: i64, r: &Value) {
        if r.get("array").is_some() {
            self.problem(Kind::Dump, "an array record, which no test submits".into());
        }
        for t in items(r) {
            let (task, job) = (text(&t, "ref"), text(&t, "job"));
            let state = match text(&t, "state").as_str() {
                "CANCELLED" => State::Cancelled,
                "ERROR" => State::Error,
                _ => State::Queued,
            };
            self.count(&job, 0);
            let new = Task {
                job,
                partition,
                sha256: text(&t, "payloadSha256"),
                priority: int(&t, "priority"),
                state,
                attempt: 0,
                lapsed: false,
                errors: 0,
                crashes: 0,
            };
            if self.tasks.insert(task.clone(), new).is_some() {
                self.problem(Kind::Unexpected, format!("reference {task} was admitted twice"));
            }
        }
    }

    /// Records of an inbox are taken one after the other, and none that were taken again.
    fn inbox(&mut self, partition: i64, r: &Value) {
        let (level, from, next) = (int(r, "level"), int(r, "from"), int(r, "next"));
        let taken = self.inboxes.insert((partition, level), next).unwrap_or(0);
        let place = format!("inbox {level} of partition {partition}");
        if from < taken || next < from {
            let what = format!("{place}: {from} to {next} taken behind {taken}");
            self.problem(Kind::Doubled, what);
        } else if from - taken != int(r, "lost") {
            let what = format!("{place}: {from} follows {taken}, and {} are lost", int(r, "lost"));
            self.problem(Kind::Lost, what);
        }
    }

    fn allocated(&mut self, partition: i64, epoch: &str, t: &Value) {
        let (task, attempt) = (text(t, "ref"), int(t, "attempt"));
        let lease = (partition, epoch.to_owned(), text(t, "lease"));
        if !self.leases.insert(lease) {
            self.problem(Kind::Token, format!("lease {} used twice", text(t, "lease")));
        }
        let Some(known) = self.tasks.get_mut(&task) else {
            return self.problem(Kind::Unexpected, format!("log hands out unknown task {task}"));
        };
        let (state, last, job) = (known.state, known.attempt, known.job.clone());
        known.state = State::Leased;
        known.attempt = attempt;
        known.lapsed = false;
        self.handed.insert((task.clone(), attempt), int(t, "leaseMs"));
        self.count(&job, 1);
        if attempt != last + 1 {
            self.problem(Kind::Attempt, format!("{task}: attempt {attempt} follows {last}"));
        }
        match state {
            State::Queued => {}
            State::Leased => {
                self.problem(Kind::Overlap, format!("{task}: handed out while leased"));
            }
            State::Completed | State::Error | State::Cancelled | State::Purged => {
                self.problem(Kind::Resurrected, format!("{task}: handed out from {state:?}"));
            }
        }
    }

    /// The task of an item that must be leased under the attempt it names.
    fn leased(&mut self, t: &Value, what: &str) -> Option<&mut Task> {
        let (task, attempt) = (text(t, "ref"), int(t, "attempt"));
        let fits = self.tasks.get(&task).map(|k| (k.state, k.attempt, k.lapsed));
        match fits {
            None => self.problem(Kind::Unexpected, format!("{what} of unknown task {task}")),
            Some((State::Leased, a, _)) if a == attempt => {}
            Some((state, a, _)) if a != attempt => {
                let more = format!("attempt {attempt}, newest is {a} ({state:?})");
                self.problem(Kind::Stale, format!("{task}: {what} of {more}"));
            }
            Some((state, _, _)) => {
                self.problem(Kind::Resurrected, format!("{task}: {what} in state {state:?}"));
            }
        }
        self.tasks.get_mut(&task)
    }

    fn complete(&mut self, t: &Value) {
        let (task, late) = (text(t, "ref"), t.get("late").and_then(Value::as_bool) == Some(true));
        let lapsed = self.tasks.get(&task).is_some_and(|k| {
            k.state == State::Queued && k.lapsed && k.attempt == int(t, "attempt")
        });
        if !(late && lapsed) {
            self.leased(t, "Completed");
        }
        if let Some(known) = self.tasks.get_mut(&task) {
            known.state = State::Completed;
        }
        let times = self.completed.entry(task.clone()).or_default();
        *times += 1;
        if *times > 1 {
            self.problem(Kind::Doubled, format!("{task}: completed twice in the log"));
        }
    }

    fn failed(&mut self, t: &Value, crash: bool) {
        if int(t, "attempt") == 0 {
            // It came in dead.
            if let Some(known) = self.tasks.get_mut(&text(t, "ref")) {
                known.state = State::Error;
            }
            return;
        }
        let what = if crash { "Crashed" } else { "Failed" };
        let (errors, crashes) = (int(t, "errors"), int(t, "crashes"));
        let (to, class) = (text(t, "to"), text(t, "class"));
        let Some(known) = self.leased(t, what) else { return };
        let job = known.job.clone();
        let before = (known.errors, known.crashes);
        known.errors = errors;
        known.crashes = crashes;
        known.lapsed = crash || class == "timeout";
        known.state = match to.as_str() {
            "ERROR" => State::Error,
            "CANCELLED" => State::Cancelled,
            _ => State::Queued,
        };
        self.count(&job, if crash { 3 } else { 2 });
        let right = if crash { (before.0, before.1 + 1) } else { (before.0 + 1, before.1) };
        if (errors, crashes) != right {
            let task = text(t, "ref");
            let what = format!("{task}: budgets {before:?} became {:?}", (errors, crashes));
            self.problem(Kind::Attempt, what);
        }
    }

    fn released(&mut self, t: &Value) {
        if let Some(known) = self.leased(t, "Released")
            && known.state == State::Leased
        {
            known.state = State::Queued;
            known.lapsed = false;
        }
    }

    fn cancelled(&mut self, t: &Value) {
        let task = text(t, "ref");
        match self.tasks.get_mut(&task) {
            Some(k) if !k.state.terminal() => k.state = State::Cancelled,
            Some(k) => {
                let what = format!("{task}: cancelled in state {:?}", k.state);
                self.problem(Kind::Resurrected, what);
            }
            None => self.problem(Kind::Unexpected, format!("cancel of unknown task {task}")),
        }
    }

    fn redriven(&mut self, t: &Value) {
        let task = text(t, "ref");
        let Some(known) = self.tasks.get_mut(&task) else { return };
        known.state = State::Queued;
        known.lapsed = false;
        (known.errors, known.crashes) = (0, 0);
        let job = known.job.clone();
        self.count(&job, 4);
    }

    fn purged(&mut self, t: &Value) {
        let task = text(t, "ref");
        let Some(known) = self.tasks.get_mut(&task) else { return };
        known.state = State::Purged;
        let job = known.job.clone();
        self.count(&job, 5);
    }

    fn job_changed(&mut self, partition: i64, r: &Value) {
        let (job, change, mode) = (text(r, "job"), text(r, "change"), text(r, "mode"));
        let drop_queued = mode == "drop-queued";
        let of_job = self.tasks.values_mut().filter(|t| t.job == job && t.partition == partition);
        let mut purged = 0;
        for task in of_job {
            match change.as_str() {
                "cancel" if task.state == State::Queued => task.state = State::Cancelled,
                "cancel" if task.state == State::Leased && !drop_queued => {
                    task.state = State::Cancelled;
                }
                "purge" if task.state != State::Purged => {
                    task.state = State::Purged;
                    purged += 1;
                }
                _ => {}
            }
        }
        (0..purged).for_each(|_| self.count(&job, 5));
    }

    /// The numbers of all jobs as the fold sees them.
    pub(crate) fn job_views(&self) -> BTreeMap<String, JobView> {
        let mut views: BTreeMap<String, JobView> = BTreeMap::new();
        for (job, row) in &self.jobs {
            let [submitted, handed_out, failed_attempts, crashes, redriven, purged] = *row;
            let view = JobView {
                submitted,
                handed_out,
                failed_attempts,
                crashes,
                redriven,
                purged,
                ..JobView::default()
            };
            views.insert(job.clone(), view);
        }
        for task in self.tasks.values() {
            let view = views.entry(task.job.clone()).or_default();
            match task.state {
                State::Queued => view.queued += 1,
                State::Leased => view.leased += 1,
                State::Completed => view.completed += 1,
                State::Error => view.error += 1,
                State::Cancelled => view.cancelled += 1,
                State::Purged => {}
            }
        }
        views
    }
}
