//! The tracker against a naive model that shares no code with it: every task is a plain struct and
//! every job verb is applied to every task at once.

use super::test_rig::{Step, Writer, placed, steps};
use crate::model::breakdown::TagCaps;
use crate::model::event::{Completion, Event, FailCause, Failure, Next, ReleaseCause, Stamped};
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::job::{CancelMode, JobChange};
use crate::model::priority::Priority;
use crate::model::state::TaskState;
use crate::model::task::{TaskError, TaskSpec};
use crate::model::time::WallMs;
use crate::model::view::{
    Attempt, AttemptOutcome as Outcome, Order, ResultAt, TaskQuery, TextAt, TrackedTask,
};
use crate::store::memory::MemoryStore;
use crate::store::{StoredText, TaskTexts, Tracker, TrackerStore};
use proptest::prelude::*;

pub(super) const P0: PartitionId = PartitionId(0);

/// What people would write down.
#[derive(Clone)]
pub(super) struct Plain {
    row: TrackedTask,
    attempts: Vec<Attempt>,
    /// What a re-prioritise of its job makes of it whenever it is queued.
    pulled: Option<Priority>,
    /// When its delay ends.
    due: Option<WallMs>,
    pub(super) spec: TaskSpec,
    pub(super) purged: bool,
    /// How often its job had been purged before it came.
    pub(super) life: usize,
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) tasks: Vec<Plain>,
    /// Jobs that were purged, as often as they were.
    pub(super) lives: Vec<Name>,
}

impl Model {
    pub(super) fn of(records: &[(Position, &Stamped)]) -> Self {
        let mut model = Self::default();
        records.iter().for_each(|(position, record)| model.apply(*position, record));
        model
    }

    fn apply(&mut self, position: Position, record: &Stamped) {
        let at = record.at;
        match &record.event {
            Event::Owner { .. }
            | Event::JobDefined { .. }
            | Event::LevelChanged { .. }
            | Event::WorkerDrained { .. }
            | Event::Key { .. }
            | Event::Duplicates(_)
            | Event::Inbox { .. }
            | Event::Operation { .. } => {}
            Event::Purged(tasks) => {
                tasks.iter().for_each(|seq| self.task(*seq).purged = true);
            }
            Event::Submitted { tasks, .. } => self.submit(position, tasks, at),
            Event::SubmittedArray { first, array } => {
                let elements = (0..array.span.count).map(|k| array.element(*first, k));
                self.submit(position, &elements.collect::<Vec<_>>(), at);
            }
            Event::JobChanged { job, change } => self.job(job, change, at),
            Event::Allocated { worker, endpoint, tasks, .. } => {
                let seqs = tasks.iter().map(|grant| (grant.seq, grant.attempt));
                seqs.for_each(|task| self.allocate(task, (worker, endpoint), at));
            }
            Event::Started(starts) => {
                for start in starts {
                    let task = self.task(start.seq);
                    task.row.state = TaskState::Running;
                    task.row.running = at;
                    task.attempts.last_mut().expect("it was handed out").running = at;
                }
            }
            Event::Completed(done) => {
                (0u32..).zip(done).for_each(|(n, one)| self.complete(position, n, one, at));
            }
            Event::Failed { cause, tasks } => {
                tasks.iter().for_each(|one| self.fail(*cause, one, at));
            }
            Event::Released { cause, tasks } => {
                let undelivered = *cause == ReleaseCause::Undelivered;
                let outcome = if undelivered { Outcome::Undelivered } else { Outcome::Released };
                for one in tasks {
                    let task = self.task(one.seq);
                    task.end(outcome, at);
                    task.go(one.next, at);
                }
            }
            Event::Cancelled(tasks) => {
                tasks.iter().for_each(|seq| self.task(*seq).cancel(at));
            }
            Event::Redriven { tasks, priority } => {
                for seq in tasks {
                    let task = self.task(*seq);
                    (task.row.errors, task.row.crashes) = (0, 0);
                    task.row.redriven += 1;
                    if let Some(priority) = priority {
                        (task.row.priority, task.pulled) = (*priority, None);
                    }
                    task.go(Next::Pending, at);
                }
            }
        }
    }

    fn task(&mut self, seq: TaskSeq) -> &mut Plain {
        &mut self.tasks[place(seq)]
    }

    fn allocate(
        &mut self,
        (seq, attempt): (TaskSeq, u32),
        (worker, endpoint): (&Name, &Option<Name>),
        at: WallMs,
    ) {
        let task = self.task(seq);
        task.wait_no_more(at);
        (task.row.state, task.row.attempt) = (TaskState::Allocated, attempt);
        (task.row.worker, task.row.endpoint) = (Some(worker.clone()), endpoint.clone());
        (task.row.allocated, task.row.running) = (at, WallMs(0));
        task.attempts.push(Attempt {
            attempt,
            worker: worker.clone(),
            endpoint: endpoint.clone(),
            allocated: at,
            running: WallMs(0),
            ended: WallMs(0),
            outcome: Outcome::Leased,
            class: None,
            message: None,
        });
    }

    fn complete(&mut self, record: Position, index: u32, one: &Completion, at: WallMs) {
        let task = self.task(one.seq);
        task.end(if one.late { Outcome::Late } else { Outcome::Completed }, at);
        task.wait_no_more(at);
        (task.row.state, task.row.ended) = (TaskState::Completed, at);
        task.row.result = one.result.as_ref().map(|blob| {
            let bytes = u32::try_from(blob.bytes.len()).expect("small");
            ResultAt { record, index, bytes }
        });
    }

    fn fail(&mut self, cause: FailCause, one: &Failure, at: WallMs) {
        let outcome = match cause {
            FailCause::Error => Outcome::Failed,
            FailCause::Timeout => Outcome::Timeout,
            FailCause::Crash => Outcome::Crashed,
        };
        let task = self.task(one.seq);
        task.end(outcome, at);
        if let Some(last) = task.attempts.last_mut() {
            (last.class, last.message) = (Some(one.class.clone()), Some(one.message.clone()));
        }
        task.row.error = Some(TaskError {
            class: one.class.clone(),
            message: one.message.clone(),
            attempt: one.attempt,
            ts: at,
        });
        (task.row.errors, task.row.crashes) = (one.errors, one.crashes);
        task.go(one.next, at);
    }

    fn submit(&mut self, position: Position, tasks: &[TaskSpec], at: WallMs) {
        for (index, spec) in (0u32..).zip(tasks) {
            let delayed = spec.not_before > at;
            let row = TrackedTask {
                partition: P0,
                seq: TaskSeq(self.tasks.len() as u64),
                job: spec.job.clone(),
                submit_priority: spec.priority,
                priority: spec.priority,
                state: if delayed { TaskState::Delayed } else { TaskState::Pending },
                worker: None,
                endpoint: None,
                attempt: 0,
                errors: 0,
                crashes: 0,
                redriven: 0,
                submitted: at,
                available: if delayed { WallMs(0) } else { at },
                allocated: WallMs(0),
                running: WallMs(0),
                ended: WallMs(0),
                error: None,
                record: position,
                index,
                payload_bytes: u32::try_from(spec.payload.bytes.len()).expect("small"),
                result: None,
            };
            let (spec, due) = (spec.clone(), delayed.then_some(spec.not_before));
            let life = self.lives.iter().filter(|job| **job == spec.job).count();
            self.tasks.push(Plain {
                row,
                attempts: Vec::new(),
                pulled: None,
                due,
                spec,
                purged: false,
                life,
            });
        }
    }

    fn job(&mut self, job: &Name, change: &JobChange, at: WallMs) {
        match change {
            JobChange::Cancel(mode, _) => {
                for task in self.tasks.iter_mut().filter(|t| t.row.job == *job) {
                    let queued = task.row.state.queued();
                    if queued || (*mode == CancelMode::Stop && task.row.state.leased()) {
                        task.cancel(at);
                    }
                }
            }
            JobChange::Prioritise(priority) => {
                for task in self.tasks.iter_mut().filter(|t| t.row.job == *job) {
                    task.pulled = Some(*priority);
                    if task.row.state.queued() {
                        task.row.priority = *priority;
                    }
                }
            }
            JobChange::Purge => {
                for task in self.tasks.iter_mut().filter(|t| t.row.job == *job) {
                    task.purged = true;
                }
                self.lives.push(job.clone());
            }
            JobChange::Close
            | JobChange::Pause
            | JobChange::Resume
            | JobChange::Weight(_)
            | JobChange::Retention(_) => {}
        }
    }

    /// The row at a time: a delay that has passed is over.
    pub(super) fn row(&self, n: usize, now: WallMs) -> TrackedTask {
        let mut task = self.tasks[n].clone();
        if task.due.is_some_and(|due| due <= now) {
            task.wait_no_more(now);
            task.row.state = TaskState::Pending;
        }
        task.row
    }
}

fn place(seq: TaskSeq) -> usize {
    usize::try_from(seq.0).expect("few tasks")
}

impl Plain {
    fn end(&mut self, outcome: Outcome, at: WallMs) {
        if self.row.running == WallMs(0) {
            self.row.running = self.row.allocated;
        }
        let last = self.attempts.last_mut().expect("it was handed out");
        if last.running == WallMs(0) {
            last.running = last.allocated;
        }
        (last.outcome, last.ended) = (outcome, at);
    }

    fn cancel(&mut self, at: WallMs) {
        if self.row.state.leased() {
            self.end(Outcome::Cancelled, at);
        }
        self.wait_no_more(at);
        (self.row.state, self.row.ended) = (TaskState::Cancelled, at);
    }

    fn wait_no_more(&mut self, at: WallMs) {
        if let Some(due) = self.due.take().filter(|due| *due <= at) {
            self.row.available = due;
        }
    }

    fn go(&mut self, next: Next, at: WallMs) {
        match next {
            Next::Error => (self.row.state, self.row.ended) = (TaskState::Error, at),
            Next::Cancelled => (self.row.state, self.row.ended) = (TaskState::Cancelled, at),
            Next::Pending | Next::Delayed(_) => {
                (self.row.state, self.row.ended) = (TaskState::Pending, WallMs(0));
                if let Next::Delayed(due) = next {
                    (self.row.state, self.due) = (TaskState::Delayed, Some(due));
                } else {
                    self.row.available = at;
                }
                self.row.priority = self.pulled.unwrap_or(self.row.priority);
            }
        }
    }
}

/// Reads texts out of the model.
pub(super) struct Texts<'a>(pub(super) &'a Model);

impl TaskTexts for Texts<'_> {
    fn texts(&self, wanted: &[TextAt]) -> Result<Vec<StoredText>, String> {
        let find = |at: &TextAt| {
            let fits = |t: &&Plain| t.row.text() == *at;
            let found = self.0.tasks.iter().find(fits);
            let spec = found.map(|t| t.spec.clone()).ok_or("no such record");
            spec.map(|spec| StoredText { spec }).map_err(str::to_owned)
        };
        wanted.iter().map(find).collect()
    }
}

pub(super) fn compare(tracker: &mut Tracker, model: &Model, now: WallMs) {
    tracker.advance(now);
    for n in 0..model.tasks.len() {
        let seq = TaskSeq(n as u64);
        if model.tasks[n].purged {
            assert_eq!(tracker.task(P0, seq), None, "{n} was purged");
            assert_eq!(tracker.attempts(P0, seq), []);
            continue;
        }
        let row = tracker.task(P0, seq).expect("every task has a row");
        assert_eq!(row, model.row(n, now), "task {n}");
        assert_eq!(tracker.attempts(P0, seq), model.tasks[n].attempts, "attempts of {n}");
    }
    assert_eq!(tracker.task(P0, TaskSeq(model.tasks.len() as u64)), None, "and no more");
    assert!(tracker.damage().is_none());
}

fn query(bits: u16, order: Order, limit: usize) -> TaskQuery {
    let text = |on: u16, text: &str| (bits >> on & 1 == 1).then(|| Name::from(text));
    TaskQuery {
        job: text(0, "alpha"),
        worker: text(1, "w1"),
        class: text(2, "c1"),
        states: if bits >> 3 & 1 == 1 { bits >> 4 & 0x1ff } else { 0 },
        priority: crate::model::priority::Priority::new(u64::from(bits >> 12)),
        tags: text(13, "b").into_iter().collect(),
        tags_any: text(14, "a:1").into_iter().chain(text(14, "c")).collect(),
        since: WallMs(if bits >> 15 & 1 == 1 { 1_300 } else { 0 }),
        until: WallMs(if bits & 0x11 == 0x11 { 1_700 } else { 0 }),
        order,
        limit,
        ..TaskQuery::default()
    }
}

fn passes(row: &TrackedTask, spec: &TaskSpec, q: &TaskQuery) -> bool {
    let text = spec.tag.as_deref().unwrap_or_default();
    let has = |tag: &Name| text.split(',').any(|item| item == &**tag);
    q.job.as_ref().is_none_or(|job| row.job == *job)
        && q.worker.as_ref().is_none_or(|w| row.worker.as_ref() == Some(w))
        && q.class.as_ref().is_none_or(|c| row.error.as_ref().is_some_and(|e| e.class == *c))
        && (q.states == 0 || q.states >> row.state.index() & 1 == 1)
        && q.priority.is_none_or(|p| row.priority == p)
        && q.tags.iter().all(has)
        && (q.tags_any.is_empty() || q.tags_any.iter().any(has))
        && row.submitted >= q.since
        && (q.until == WallMs(0) || row.submitted < q.until)
}

/// All pages of a query, one after the other.
pub(super) fn all_pages(
    tracker: &mut Tracker,
    texts: &dyn TaskTexts,
    mut query: TaskQuery,
    budget: u64,
) -> Vec<TrackedTask> {
    let mut rows = Vec::new();
    for _ in 0..10_000 {
        let page = tracker.list(&query, texts, budget).expect("texts are there");
        // Each partition may look at one.
        let most = budget + tracker.cursors().len() as u64;
        assert!(page.rows.len() <= query.limit && page.scanned <= most);
        rows.extend(page.rows);
        query.cursor = page.next;
        if query.cursor.is_none() {
            return rows;
        }
    }
    panic!("the list never ends");
}

/// Everything bulk work would take, stretch by stretch.
fn selected(
    tracker: &mut Tracker,
    texts: &dyn TaskTexts,
    query: &TaskQuery,
    budget: u64,
) -> Vec<TaskSeq> {
    let (mut all, mut from) = (Vec::new(), 0);
    loop {
        let stretch = tracker.select(query, texts, (P0, from), budget).expect("readable");
        all.extend(stretch.tasks);
        match stretch.next {
            Some(next) => from = next,
            None => return all,
        }
    }
}

pub(super) fn fold(store: Box<dyn TrackerStore>, records: &[(Position, &Stamped)]) -> Tracker {
    let mut tracker = Tracker::open(store, 1, 50, WallMs(0)).expect("the store opens");
    tracker.fold(P0, records);
    tracker
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_history_reads_as_the_naive_model_says(
        history in steps(250),
        cuts in proptest::collection::vec(0usize..400, 0..4),
        later in 0u64..600,
    ) {
        let log = Writer::run(&history);
        let records = placed(&log);
        let model = Model::of(&records);
        let now = log.last().expect("never empty").at.plus(later);
        let store = MemoryStore::default();
        for cut in cuts {
            // Folded from the start each time: what is below the cursor is passed over.
            let mut tracker = fold(Box::new(store.clone()), &records[..cut.min(records.len())]);
            tracker.checkpoint().expect("memory takes everything");
        }
        let mut tracker = fold(Box::new(store), &records);
        compare(&mut tracker, &model, now);
    }

    #[test]
    fn lists_show_what_the_naive_model_filters_and_never_repeat_or_skip(
        history in steps(200),
        bits in any::<u16>(),
        limit in 1usize..40,
        budget in 1u64..400,
        saved in any::<bool>(),
        tagged in 0u16..4,
        caps in 0usize..4,
    ) {
        let log = Writer::run(&history);
        let records = placed(&log);
        let model = Model::of(&records);
        let now = log.last().expect("never empty").at;
        let store = MemoryStore::default();
        // With little room for counters the texts must tell what the rows cannot.
        let caps = TagCaps { keys: [64, 1, 64, 1][caps], values: [1_000, 1_000, 1, 1][caps] };
        let open = || Tracker::open_capped(Box::new(store.clone()), 1, 50, caps, now);
        let mut tracker = open().expect("the store opens");
        tracker.fold(P0, &records);
        if saved {
            tracker.checkpoint().expect("memory takes everything");
            tracker = open().expect("the store opens");
        }
        tracker.advance(now);
        // The same four bits choose priority and more; half of the queries leave it out.
        let bits = if bits & 2 == 0 { bits & 0x0fff } else { bits } | tagged << 13;
        for order in [Order::Old, Order::New] {
            let q = query(bits, order, limit);
            let mut wanted: Vec<TrackedTask> = (0..model.tasks.len())
                .filter(|n| !model.tasks[*n].purged)
                .map(|n| model.row(n, now))
                .filter(|row| passes(row, &model.tasks[place(row.seq)].spec, &q))
                .collect();
            if order == Order::New {
                wanted.reverse();
            }
            if order == Order::Old {
                let seqs: Vec<TaskSeq> = wanted.iter().map(|row| row.seq).collect();
                prop_assert_eq!(selected(&mut tracker, &Texts(&model), &q, budget), seqs);
            }
            prop_assert_eq!(all_pages(&mut tracker, &Texts(&model), q, budget), wanted);
        }
    }
}

#[test]
fn the_latest_changes_come_first_and_each_task_once() {
    let history: Vec<Step> = vec![(0, 0, 6), (6, 0, 2), (13, 1, 130), (0, 1, 1)];
    let log = Writer::run(&history);
    let records = placed(&log);
    let model = Model::of(&records);
    let mut tracker = fold(Box::new(MemoryStore::default()), &records);
    let q = |limit| TaskQuery { order: Order::Recent, limit, ..TaskQuery::default() };
    let seqs = |rows: &[TrackedTask]| rows.iter().map(|r| r.seq.0).collect::<Vec<_>>();
    // 0 to 6 submitted, 0 to 2 handed out, 1 and 2 completed, then 7 and 8 submitted.
    let all = all_pages(&mut tracker, &Texts(&model), q(100), 100);
    assert_eq!(seqs(&all), [8, 7, 2, 1, 0, 6, 5, 4, 3]);
    let paged = all_pages(&mut tracker, &Texts(&model), q(2), 100);
    assert_eq!(seqs(&paged), seqs(&all));
}
