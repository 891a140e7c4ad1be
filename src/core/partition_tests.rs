//! Random command sequences against invariants that hold for every history, and against replay.

use super::Partition;
use crate::core::image::PartitionImage;
use crate::model::affinity::AffinityMode;
use crate::model::array::{ArrayInput, Span};
use crate::model::command::{ALL_LEVELS, Command, Consume, Heartbeat, Item};
use crate::model::dead::DeadInput;
use crate::model::event::{Event, Stamped};
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::job::{CancelMode, JobChange};
use crate::model::lease::LeaseToken;
use crate::model::operation::{OpKind, OpNo, OpSpec, OpState};
use crate::model::policy::Policy;
use crate::model::priority::Priority;
use crate::model::reject::{Code, Reject};
use crate::model::reply::Reply;
use crate::model::report::{Report, Verb};
use crate::model::state::TaskState;
use crate::model::task::{Delay, TaskInput};
use crate::model::time::{Now, Tick, WallMs};
use proptest::prelude::*;

pub(crate) fn consume(worker: &str, max: usize) -> Consume {
    Consume {
        worker: worker.into(),
        endpoint: None,
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
        mode: AffinityMode::Prefer,
    }
}

/// A task of a job, as submitted.
pub(crate) fn task(job: &str) -> TaskInput {
    TaskInput { job: Some(job.into()), ..TaskInput::default() }
}

/// A partition that was just taken over, its log, and the time.
pub(crate) fn owned(policy: Policy) -> (Partition, Vec<Stamped>, Now) {
    let mut partition = Partition::new(PartitionId(0), policy, 7);
    let owner = Event::Owner { node: "n".into(), addr: "".into(), token_key: [1, 2] };
    let log = vec![Stamped { at: WallMs(1_000), event: owner }];
    partition.replay(Position(0), &log[0]);
    let now = Now { wall: WallMs(1_000), tick: Tick(0) };
    partition.arm(now);
    (partition, log, now)
}

/// A partition with the log it wrote.
pub(crate) struct Rig {
    pub(crate) partition: Partition,
    pub(crate) log: Vec<Stamped>,
    pub(crate) now: Now,
    tokens: Vec<LeaseToken>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Policy::default())
    }

    pub(crate) fn with(policy: Policy) -> Self {
        let (partition, log, now) = owned(policy);
        Self { partition, log, now, tokens: Vec::new() }
    }

    pub(crate) fn run(&mut self, command: Command) -> Reply {
        let from = self.log.len();
        let reply = self.partition.decide(command, self.now, &mut self.log);
        for at in from..self.log.len() {
            let event = self.log[at].event.clone();
            self.partition.placed(&event, Position(at as u64));
        }
        if let Reply::Granted(grants) = &reply {
            self.tokens.extend(grants.iter().map(|g| g.token));
        }
        reply
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now = Now { wall: self.now.wall.plus(ms), tick: self.now.tick.plus(ms) };
        self.run(Command::Tick);
    }

    /// Hands out the next `count` tasks; those `dies` says die, the others go back.
    pub(crate) fn kill(&mut self, count: usize, dies: impl Fn(TaskSeq) -> bool) -> Vec<TaskSeq> {
        let mut grants = Vec::new();
        while grants.len() < count {
            let wanted = (count - grants.len()).min(crate::model::limits::CONSUME_MAX);
            let Reply::Granted(more) = self.run(Command::Consume(consume("w", wanted))) else {
                panic!("a consume answers with grants");
            };
            if more.is_empty() {
                break;
            }
            grants.extend(more);
        }
        let (mut reports, mut dead) = (Vec::new(), Vec::new());
        for grant in grants {
            let fail = Verb::Fail {
                class: "e".into(),
                message: "m".into(),
                retryable: false,
                retry_after_ms: None,
                run_ms: None,
            };
            let verb = if dies(grant.seq) { fail } else { Verb::Release { delay_ms: 0 } };
            if dies(grant.seq) {
                dead.push(grant.seq);
            }
            reports.push(Report { token: Some(grant.token), worker: None, verb });
        }
        self.run(Command::Report(reports));
        dead.sort_unstable();
        dead
    }

    /// Starts an operation on these tasks.
    pub(crate) fn operate(&mut self, kind: OpKind, job: Option<&str>, tasks: &[TaskSeq]) -> OpNo {
        let op = self.partition.next_operation();
        let (filter, by) = ("{}".into(), "ops".into());
        let job = job.map(Name::from);
        let spec = OpSpec { kind, filter, job, scopes: Vec::new(), by, priority: None };
        let (spec, tasks) = (Box::new(spec), tasks.to_vec());
        self.run(Command::StartOperation { op, spec, tasks });
        op
    }

    pub(crate) fn check(&self) {
        let counted = |p: &Priority| {
            let level = &self.partition.levels[p.index()];
            let lanes = level.lanes().filter(|_| level.ready());
            lanes.map(|(_, _, job)| self.partition.job(job).lanes[p.index()].len()).sum::<u64>()
        };
        let ready: u64 = Priority::DESCENDING.iter().map(counted).sum();
        assert_eq!(self.partition.ready_tasks(), ready);
        for job in self.partition.job_rows() {
            let n = &job.numbers;
            assert_eq!(n.submitted, n.counts.total() + n.purged, "P14");
            let live: u64 = job.by_level.iter().map(crate::model::state::StateCounts::total).sum();
            assert_eq!(live, n.counts.live(), "levels add up to the job");
        }
        for part in self.partition.operations() {
            let looked = part.done + part.skipped;
            assert!(looked <= part.matched, "{part:?}");
            assert!(part.state != OpState::Done || looked == part.matched, "{part:?}");
            assert_eq!(part.ended == WallMs(0), part.state == OpState::Running);
        }
        let from_zero = replayed(&self.log);
        assert_eq!(from_zero.state_hash(), self.partition.state_hash(), "P16 from zero");
    }
}

pub(crate) fn replayed(log: &[Stamped]) -> Partition {
    let mut partition = Partition::new(PartitionId(0), Policy::default(), 9);
    for (at, record) in log.iter().enumerate() {
        partition.replay(Position(at as u64), record);
    }
    partition
}

#[derive(Clone, Debug)]
enum Op {
    Submit(u8, u8, u8, u16),
    Array(u8, u8, u16, u16),
    Dead(u8, u8),
    Consume(usize),
    Report(usize, u8),
    Beat,
    Pass(u16),
    Job(u8, u8),
    CancelTask(u64),
    Retry(u64),
    Level(u8, bool),
    DropWorker,
    Operate(u8, u64, u64),
    StopOperation(u64),
    PurgeJob(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0u8..3, 1u8..10, 1u8..30, 0u16..3_000)
            .prop_map(|(j, p, n, d)| Op::Submit(j, p, n, d)),
        1 => (0u8..3, 1u8..10, 1u16..2_600, 0u16..3_000)
            .prop_map(|(j, p, n, d)| Op::Array(j, p, n, d)),
        1 => (0u8..3, 1u8..10).prop_map(|(j, p)| Op::Dead(j, p)),
        5 => (1usize..12).prop_map(Op::Consume),
        6 => (0usize..400, 0u8..5).prop_map(|(t, v)| Op::Report(t, v)),
        1 => Just(Op::Beat),
        3 => (1u16..2_500).prop_map(Op::Pass),
        2 => (0u8..3, 0u8..8).prop_map(|(j, c)| Op::Job(j, c)),
        1 => (0u64..300).prop_map(Op::CancelTask),
        1 => (0u64..300).prop_map(Op::Retry),
        1 => (1u8..10, any::<bool>()).prop_map(|(l, p)| Op::Level(l, p)),
        1 => Just(Op::DropWorker),
        2 => (0u8..2, 0u64..300, 1u64..1_200).prop_map(|(k, s, n)| Op::Operate(k, s, n)),
        1 => (1u64..6).prop_map(Op::StopOperation),
        2 => (0u8..3).prop_map(Op::PurgeJob),
    ]
}

fn verb(kind: u8) -> Verb {
    match kind {
        0 => Verb::Start,
        1 | 2 => Verb::Complete { result: None, run_ms: Some(5) },
        3 => Verb::Fail {
            class: "e".into(),
            message: "m".into(),
            retryable: true,
            retry_after_ms: None,
            run_ms: None,
        },
        _ => Verb::Release { delay_ms: 100 },
    }
}

fn change(kind: u8) -> JobChange {
    match kind {
        0 | 1 => JobChange::Pause,
        2 | 3 => JobChange::Resume,
        4 => JobChange::Prioritise(Priority::new(8).expect("in range")),
        5 => JobChange::Cancel(CancelMode::DropQueued, None),
        6 => JobChange::Cancel(CancelMode::Stop, None),
        _ => JobChange::Weight(3),
    }
}

fn input(job: u8, priority: u8, delay: u16) -> TaskInput {
    TaskInput {
        job: Some(Name::from(format!("job{job}"))),
        priority: Priority::new(u64::from(priority)),
        max_attempts: Some(2),
        delay: if delay.is_multiple_of(3) { Delay::For(u64::from(delay)) } else { Delay::None },
        ..TaskInput::default()
    }
}

/// What came in dead.
pub(crate) fn dead(task: TaskInput) -> Item {
    let reject = Reject::new(Code::BadJson, "no JSON");
    Item::Dead(Box::new(DeadInput::new("record 1", &reject, task)))
}

fn step(rig: &mut Rig, op: Op) {
    match op {
        Op::Submit(job, priority, count, delay) => {
            let task = input(job, priority, delay);
            rig.run(Command::submit(vec![task; usize::from(count)]));
        }
        Op::Array(job, priority, count, delay) => {
            let task = input(job, priority, delay);
            let span = Span { from: 3, step: 2, count: u64::from(count) };
            // Some come twice.
            let id = (delay % 2 == 0).then(|| Name::from(format!("array{}", count % 4)));
            let array = ArrayInput { task, span, id };
            rig.run(Command::submit(vec![array]));
        }
        Op::Dead(job, priority) => {
            let task = input(job, priority, 1);
            rig.run(Command::submit(vec![Item::Task(task.clone()), dead(task)]));
        }
        Op::Consume(max) => {
            rig.run(Command::Consume(consume("w", max)));
        }
        Op::Report(token, kind) => {
            let token = rig.tokens.get(token).copied();
            rig.run(Command::Report(vec![Report { token, worker: None, verb: verb(kind) }]));
        }
        Op::Beat => {
            rig.run(Command::Heartbeat(Heartbeat { worker: "w".into(), leases: None }));
        }
        Op::Pass(ms) => rig.pass(u64::from(ms)),
        Op::Job(job, kind) => {
            let spec = Box::new(crate::core::admit::implicit_spec(&Policy::default()));
            let job = Name::from(format!("job{job}"));
            rig.run(Command::ChangeJob { job, change: change(kind), spec, implicit: true });
        }
        Op::CancelTask(seq) => {
            rig.run(Command::CancelTask(TaskSeq(seq)));
        }
        Op::Retry(seq) => {
            let priority = Priority::new(seq % 12);
            rig.run(Command::RetryTask { seq: TaskSeq(seq), priority });
        }
        Op::Level(level, paused) => {
            rig.run(Command::SetLevel { level: Priority::new(u64::from(level)), paused });
        }
        Op::DropWorker => {
            rig.run(Command::DropWorker("w".into()));
        }
        Op::Operate(kind, from, count) => {
            let kind = if kind == 0 { OpKind::Redrive } else { OpKind::PurgeDlq };
            let tasks: Vec<TaskSeq> = (from..from + count).map(TaskSeq).collect();
            rig.operate(kind, None, &tasks);
        }
        Op::StopOperation(op) => {
            rig.run(Command::StopOperation(OpNo(op)));
        }
        Op::PurgeJob(job) => {
            let job = format!("job{job}");
            // Half of them are over first.
            if rig.log.len().is_multiple_of(2) {
                let spec = Box::new(crate::core::admit::implicit_spec(&Policy::default()));
                let change = JobChange::Cancel(CancelMode::Stop, None);
                let job = Name::from(&*job);
                rig.run(Command::ChangeJob { job, change, spec, implicit: true });
            }
            rig.operate(OpKind::PurgeJob, Some(&job), &[]);
        }
    }
}

proptest! {
    #[test]
    fn any_history_conserves_tasks_and_replays_to_the_same_state(
        ops in proptest::collection::vec(op(), 1..150),
        cut in 0usize..150,
        ages in any::<bool>(),
    ) {
        let aged = Policy { age_step_ms: 400, low_every: 5, ..Policy::default() };
        let mut rig = Rig::with(if ages { aged } else { Policy::default() });
        let mut image: Option<(PartitionImage, usize)> = None;
        for (n, op) in ops.into_iter().enumerate() {
            step(&mut rig, op);
            if n == cut {
                image = Some((rig.partition.image(), rig.log.len()));
            }
        }
        rig.check();
        if let Some((image, from)) = image {
            let mut restored = Partition::restore(PartitionId(0), Policy::default(), 3, image);
            for (at, record) in rig.log.iter().enumerate().skip(from) {
                restored.replay(Position(at as u64), record);
            }
            prop_assert_eq!(restored.state_hash(), rig.partition.state_hash());
            restored.arm(rig.now);
        }
    }

    #[test]
    fn hand_outs_follow_priority_then_submit_order(
        tasks in proptest::collection::vec(1u8..10, 1..80),
    ) {
        let mut rig = Rig::new();
        let priority = |p: &u8| Priority::new(u64::from(*p));
        let input = |p| TaskInput { priority: priority(p), ..TaskInput::default() };
        let inputs = tasks.iter().map(input);
        rig.run(Command::submit(inputs.collect()));
        let Reply::Granted(grants) = rig.run(Command::Consume(consume("w", 1_000))) else {
            panic!("a consume answers with grants");
        };
        let mut wanted: Vec<(u8, u64)> = tasks.iter().zip(0u64..).map(|(p, n)| (*p, n)).collect();
        wanted.sort_by_key(|(p, n)| (std::cmp::Reverse(*p), *n));
        let got: Vec<(u8, u64)> = grants.iter().map(|g| (g.priority.get(), g.seq.0)).collect();
        prop_assert_eq!(got, wanted);
    }
}

#[test]
fn a_lapsed_lease_still_completes_late_and_only_once() {
    let mut rig = Rig::new();
    rig.run(Command::submit(vec![TaskInput::default()]));
    rig.run(Command::Consume(consume("w", 1)));
    rig.pass(1_100);
    assert!(rig.log.iter().any(|r| r.event.kind() == "Crashed"));
    let token = Some(rig.tokens[0]);
    let complete = Report { token, worker: None, verb: verb(1) };
    let Reply::Reported(first) = rig.run(Command::Report(vec![complete.clone()])) else { panic!() };
    assert_eq!(first[0].outcome, crate::model::report::Outcome::Ok);
    let Reply::Reported(again) = rig.run(Command::Report(vec![complete])) else { panic!() };
    assert_eq!(again[0].outcome, crate::model::report::Outcome::Duplicate);
    rig.check();
}

#[test]
fn cancelling_a_task_that_was_never_handed_out_takes_nobody_elses_lease() {
    let mut rig = Rig::new();
    rig.run(Command::submit(vec![TaskInput::default()]));
    rig.run(Command::Consume(consume("w", 1)));
    let delay = Delay::For(100);
    rig.run(Command::submit(vec![TaskInput { delay, ..TaskInput::default() }]));
    rig.pass(200);
    rig.run(Command::CancelTask(TaskSeq(1)));
    assert_eq!(rig.partition.lease_count(), 1, "the first task is still leased");
    assert_eq!(rig.partition.state(TaskSeq(0)), Some(TaskState::Allocated));
    rig.check();
}

// P24, where an earlier owner's clock was ahead: stamps repeat its last one until they are reached.
#[test]
fn a_time_to_wait_for_is_far_off_by_the_clock_not_by_stamps_that_are_ahead() {
    let mut rig = Rig::new();
    let right = rig.now.wall;
    rig.now.wall = right.plus(6 * 3_600_000);
    rig.run(Command::submit(vec![TaskInput::default()]));
    rig.now.wall = right;
    let until = |ms| TaskInput { delay: Delay::Until(right.plus(ms)), ..TaskInput::default() };
    rig.run(Command::submit(vec![until(3_600_000), until(0)]));
    let asked = |stamped: &Stamped| {
        matches!(&stamped.event, Event::Submitted { tasks, .. }
        if tasks.first().is_some_and(|t| t.not_before == right.plus(3_600_000)))
    };
    assert!(rig.log.iter().any(asked), "recorded as it was asked for");
    let states = |rig: &Rig| [1, 2].map(|seq| rig.partition.state(TaskSeq(seq)));
    assert_eq!(states(&rig), [Some(TaskState::Delayed), Some(TaskState::Pending)]);
    rig.pass(1_800_000);
    // The next owner has the rest of the time before it, by a clock of its own.
    rig.partition.arm(rig.now);
    rig.pass(1_799_000);
    assert_eq!(states(&rig)[0], Some(TaskState::Delayed), "not before its time");
    rig.pass(2_000);
    assert_eq!(states(&rig)[0], Some(TaskState::Pending), "and not long after it");
    rig.check();
}

#[test]
fn a_redrive_with_a_priority_outlives_earlier_re_prioritises_and_yields_to_later_ones() {
    let mut rig = Rig::new();
    let level = |p| Priority::new(p).expect("in range");
    rig.run(Command::submit(vec![TaskInput::default()]));
    let moved = |rig: &mut Rig, p| {
        let spec = Box::new(crate::core::admit::implicit_spec(&Policy::default()));
        let change = JobChange::Prioritise(level(p));
        let job = Name::from(crate::model::job::DEFAULT_JOB);
        rig.run(Command::ChangeJob { job, change, spec, implicit: true });
    };
    let handed_out = |rig: &mut Rig| {
        let Reply::Granted(grants) = rig.run(Command::Consume(consume("w", 1))) else { panic!() };
        (grants[0].token, grants[0].priority.get())
    };
    let dies = |rig: &mut Rig, token| {
        let (class, message) = ("e".into(), "m".into());
        let verb =
            Verb::Fail { class, message, retryable: false, retry_after_ms: None, run_ms: None };
        rig.run(Command::Report(vec![Report { token: Some(token), worker: None, verb }]));
    };
    moved(&mut rig, 3);
    let (token, priority) = handed_out(&mut rig);
    assert_eq!(priority, 3);
    dies(&mut rig, token);
    rig.run(Command::RetryTask { seq: TaskSeq(0), priority: Some(level(9)) });
    let (token, priority) = handed_out(&mut rig);
    assert_eq!(priority, 9, "what the redrive said");
    dies(&mut rig, token);
    rig.run(Command::RetryTask { seq: TaskSeq(0), priority: None });
    moved(&mut rig, 4);
    assert_eq!(handed_out(&mut rig).1, 4, "a later word counts");
    rig.check();
}
