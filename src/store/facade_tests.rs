//! The tracker against the partition: both fold the same events and must tell the same story.

use crate::core::partition::Partition;
use crate::core::partition::tests::dead;
use crate::model::affinity::AffinityMode;
use crate::model::command::{ALL_LEVELS, Command, Consume, InboxBatch, InboxItem, Item};
use crate::model::dead::Source;
use crate::model::event::{Event, Stamped};
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::job::{CancelMode, JobChange};
use crate::model::lease::LeaseToken;
use crate::model::policy::Policy;
use crate::model::priority::Priority;
use crate::model::reply::Reply;
use crate::model::report::{Report, Verb};
use crate::model::state::{StateCounts, TaskState};
use crate::model::task::{Blob, Delay, TaskInput};
use crate::model::time::{Now, Tick, WallMs};
use crate::model::view::TrackedTask;
use crate::store::Tracker;
use crate::store::sled::SledStore;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kwq-store-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn open(dir: &Path) -> Tracker {
    let store = SledStore::open(dir).expect("the store opens");
    Tracker::open(Box::new(store), 1, 100, WallMs(0)).expect("the tracker opens")
}

#[derive(Clone, Debug)]
enum Op {
    Submit(u8, u8, u8, bool),
    Dead(u8),
    Inbox(u8, u8),
    Consume(usize),
    Report(usize, u8),
    Pass(u16),
    Job(u8, u8),
    CancelTask(u64),
    Retry(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..3, 1u8..10, 1u8..40, any::<bool>())
            .prop_map(|(j, p, n, d)| Op::Submit(j, p, n, d)),
        1 => (0u8..3).prop_map(Op::Dead),
        1 => (0u8..3, 0u8..3).prop_map(|(j, n)| Op::Inbox(j, n)),
        5 => (1usize..12).prop_map(Op::Consume),
        6 => (0usize..300, 0u8..5).prop_map(|(t, v)| Op::Report(t, v)),
        3 => (1u16..2_500).prop_map(Op::Pass),
        2 => (0u8..3, 0u8..6).prop_map(|(j, c)| Op::Job(j, c)),
        1 => (0u64..300).prop_map(Op::CancelTask),
        1 => (0u64..300).prop_map(Op::Retry),
    ]
}

fn inbox(job: u8, count: u8, from: u64) -> Command {
    let job = Some(Name::from(format!("job{job}")));
    let (level, next) = (Priority::DEFAULT, from + u64::from(count) + 1);
    let item = Item::Task(TaskInput { job, ..TaskInput::default() });
    let items = vec![InboxItem { item, source: Source::new(level, from, vec![]) }; count.into()];
    Command::TakeInbox(Box::new(InboxBatch { level, from, next, items, goes_on: false }))
}

fn command(op: Op, tokens: &[LeaseToken], partition: &Partition) -> Command {
    match op {
        Op::Submit(job, priority, count, delayed) => {
            let task = TaskInput {
                job: Some(Name::from(format!("job{job}"))),
                priority: Priority::new(u64::from(priority)),
                max_attempts: Some(2),
                delay: if delayed { Delay::For(500) } else { Delay::None },
                ..TaskInput::default()
            };
            Command::submit(vec![task; usize::from(count)])
        }
        Op::Dead(job) => {
            let job = Some(Name::from(format!("job{job}")));
            Command::submit(vec![dead(TaskInput { job, ..TaskInput::default() })])
        }
        Op::Inbox(job, count) => inbox(job, count, partition.inbox()[4]),
        Op::Consume(max) => Command::Consume(Consume {
            worker: "w".into(),
            endpoint: Some("e".into()),
            max,
            target_ms: None,
            peers: 1,
            max_bytes: u64::MAX,
            spent: Default::default(),
            lease_ms: Some(1_000),
            seed_lease: false,
            levels: ALL_LEVELS,
            jobs: Vec::new(),
            scopes: Default::default(),
            warm: Vec::new(),
            mode: AffinityMode::Any,
        }),
        Op::Report(token, kind) => {
            let verb = match kind {
                0 => Verb::Start,
                1 | 2 => Verb::Complete { result: Some(Blob::default()), run_ms: None },
                3 => Verb::Fail {
                    class: "e".into(),
                    message: "m".into(),
                    retryable: true,
                    retry_after_ms: None,
                    run_ms: None,
                },
                _ => Verb::Release { delay_ms: 50 },
            };
            Command::Report(vec![Report { token: tokens.get(token).copied(), worker: None, verb }])
        }
        Op::Pass(_) => Command::Tick,
        Op::Job(job, kind) => Command::ChangeJob {
            job: Name::from(format!("job{job}")),
            change: match kind {
                0..3 => JobChange::Prioritise(Priority::new(8).expect("in range")),
                3 => JobChange::Cancel(CancelMode::DropQueued, None),
                4 => JobChange::Cancel(CancelMode::Stop, None),
                _ => JobChange::Pause,
            },
            spec: Box::new(crate::core::admit::implicit_spec(&Policy::default())),
            implicit: true,
        },
        Op::CancelTask(seq) => Command::CancelTask(TaskSeq(seq)),
        Op::Retry(seq) => Command::RetryTask { seq: TaskSeq(seq), priority: None },
    }
}

/// Runs a history; the partition and its log.
fn history(ops: Vec<Op>) -> (Partition, Vec<Stamped>, Now) {
    let mut partition = Partition::new(PartitionId(0), Policy::default(), 7);
    let owner = Event::Owner { node: "n".into(), addr: "".into(), token_key: [1, 2] };
    let mut log = vec![Stamped { at: WallMs(1_000), event: owner }];
    partition.replay(Position(0), &log[0]);
    let mut now = Now { wall: WallMs(1_000), tick: Tick(0) };
    partition.arm(now);
    let mut tokens: Vec<LeaseToken> = Vec::new();
    for op in ops {
        if let Op::Pass(ms) = op {
            let ms = u64::from(ms);
            now = Now { wall: now.wall.plus(ms), tick: now.tick.plus(ms) };
        }
        let reply = partition.decide(command(op, &tokens, &partition), now, &mut log);
        if let Reply::Granted(grants) = reply {
            tokens.extend(grants.iter().map(|g| g.token));
        }
    }
    // Everything that is due by now has become so.
    let now = Now { wall: now.wall.plus(20), tick: now.tick.plus(20) };
    partition.decide(Command::Tick, now, &mut log);
    (partition, log, now)
}

/// The partition's counters are what a count over all rows says (P13, P14).
fn recount(rows: &[TrackedTask], partition: &Partition) {
    let one = |counts: &StateCounts| {
        let mut all = counts.0;
        let delayed = TaskState::Delayed.index();
        all[TaskState::Pending.index()] += std::mem::take(&mut all[delayed]);
        all
    };
    let (mut jobs, mut levels) = (BTreeMap::new(), [StateCounts::default(); Priority::LEVELS]);
    for row in rows {
        jobs.entry(row.job.clone()).or_insert_with(StateCounts::default).add(row.state, 1);
        if row.state.live() {
            levels[row.priority.index()].add(row.state, 1);
        }
    }
    for job in partition.job_rows() {
        let counted = jobs.remove(&job.name).unwrap_or_default();
        assert_eq!(one(&counted), one(&job.numbers.counts), "counters of {}", job.name);
    }
    assert!(jobs.is_empty(), "tasks of jobs that the partition does not know");
    for (level, part) in levels.iter().zip(partition.level_parts()) {
        assert_eq!(one(level), one(&part.counts), "counters of a level");
    }
}

fn compare(tracker: &mut Tracker, partition: &Partition, now: Now) {
    tracker.advance(now.wall);
    let rows = (0..partition.admitted().0).filter_map(|n| tracker.task(PartitionId(0), TaskSeq(n)));
    recount(&rows.collect::<Vec<_>>(), partition);
    let folded = |state: TaskState| {
        // Within one wheel slot of its time a task may be due for one and not yet for the other.
        if state == TaskState::Delayed { TaskState::Pending } else { state }
    };
    for n in 0..partition.admitted().0 {
        let row = tracker.task(PartitionId(0), TaskSeq(n)).expect("every task has a row");
        let state = partition.state(TaskSeq(n)).expect("every task has a state");
        assert_eq!(folded(row.state), folded(state), "task {n}");
        let attempts = tracker.attempts(PartitionId(0), TaskSeq(n));
        let numbers: Vec<u32> = attempts.iter().map(|a| a.attempt).collect();
        assert_eq!(numbers, (1..=row.attempt).collect::<Vec<_>>(), "P10: no gap, no repeat");
        if state.terminal() {
            assert!(attempts.iter().all(|a| a.ended.known().is_some()), "task {n} has ended");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_tracker_equals_the_log_also_after_a_restart_and_from_zero(
        ops in proptest::collection::vec(op(), 1..120),
        cut in 0usize..200,
    ) {
        let (partition, log, now) = history(ops);
        let records: Vec<(Position, &Stamped)> = (0u64..).map(Position).zip(&log).collect();
        let folder = Folder::new();
        let mut tracker = open(&folder.0);
        let cut = cut.min(records.len());
        tracker.fold(PartitionId(0), &records[..cut]);
        tracker.checkpoint().expect("the store takes a checkpoint");
        drop(tracker);
        let mut tracker = open(&folder.0);
        prop_assert_eq!(tracker.cursors()[0].0, cut as u64);
        // Records below the cursor are passed over, so a repeat does no harm.
        tracker.fold(PartitionId(0), &records);
        compare(&mut tracker, &partition, now);
        drop(tracker);
        std::fs::remove_dir_all(&folder.0).expect("the store can be deleted");
        let mut tracker = open(&folder.0);
        tracker.fold(PartitionId(0), &records);
        compare(&mut tracker, &partition, now);
    }
}

#[test]
fn what_came_in_dead_has_an_error_and_no_attempt() {
    let folder = Folder::new();
    let (partition, log, now) = history(vec![Op::Submit(0, 5, 1, false), Op::Dead(0)]);
    let records: Vec<(Position, &Stamped)> = (0u64..).map(Position).zip(&log).collect();
    let mut tracker = open(&folder.0);
    tracker.fold(PartitionId(0), &records);
    compare(&mut tracker, &partition, now);
    let row = tracker.task(PartitionId(0), TaskSeq(1)).expect("it is there");
    let error = row.error.expect("it says why");
    assert_eq!((row.state, row.attempt, row.ended), (TaskState::Error, 0, row.submitted));
    assert_eq!((&*error.class, error.attempt), ("malformed", 0));
    assert_eq!(&*error.message, "record 1: bad_json: no JSON");
    assert!(tracker.attempts(PartitionId(0), TaskSeq(1)).is_empty());
}

#[test]
fn a_damaged_store_is_dropped_and_folded_again() {
    let folder = Folder::new();
    let submit = |n: usize| (0..n).map(|_| Op::Submit(0, 5, 40, false)).collect::<Vec<_>>();
    let (partition, log, now) = history(submit(60));
    let records: Vec<(Position, &Stamped)> = (0u64..).map(Position).zip(&log).collect();
    let mut tracker = open(&folder.0);
    tracker.fold(PartitionId(0), &records);
    tracker.checkpoint().expect("the store takes a checkpoint");
    drop(tracker);
    let db = folder.0.join("db");
    let mut bytes = std::fs::read(&db).expect("sled keeps its data in `db`");
    let stride = (bytes.len() / 200).max(1);
    bytes.iter_mut().step_by(stride).for_each(|b| *b ^= 0x55);
    std::fs::write(&db, bytes).expect("the file can be written");
    let mut tracker = open(&folder.0);
    tracker.fold(PartitionId(0), &records);
    compare(&mut tracker, &partition, now);
}
