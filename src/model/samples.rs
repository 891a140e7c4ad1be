//! Values of everything that travels between instances, for tests: at least one of every variant.
//!
//! Which variants there are is listed by `match`es without a wildcard ([`Listed`]), so a new one
//! does not compile before it is listed, and once it is listed a sample of it is missed.

use crate::model::access::Scopes;
use crate::model::affinity::{AffinityKey, AffinityMode};
use crate::model::array::{ArrayInput, Element, Span};
use crate::model::command::{
    ALL_LEVELS, Command, Consume, Heartbeat, InboxBatch, InboxItem, Item, Spent, Submit,
};
use crate::model::dead::{DeadClass, DeadInput, Source};
use crate::model::event::FailCause;
use crate::model::explain::{Held, Standing};
use crate::model::id::{Epoch, LeaseNo, Name, PartitionId, Position, TaskSeq};
use crate::model::job::{CancelMode, Dedup, JobChange, JobDefaults, JobSpec};
use crate::model::key::{Digest, Frees, KeyPart, Keyed};
use crate::model::lease::LeaseToken;
use crate::model::operation::{OpKind, OpNo, OpSpec, OpState, Operation};
use crate::model::policy::Jitter;
use crate::model::priority::Priority;
use crate::model::question::*;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::reply::{
    Admitted, AdmittedItem, CancelNotice, Elsewhere, Grant, JobOutcome, Renewal, Reply, Submitted,
};
use crate::model::report::{Budget, Outcome, Report, ReportOutcome, ReportedTask, Verb};
use crate::model::state::{StateCounts, TaskState};
use crate::model::task::{BackoffInput, Blob, Delay, Encoding, TaskInput, TaskSpec};
use crate::model::time::WallMs;
use crate::model::view::JobNumbers;
use crate::model::worker::HeldTask;

/// A type whose variants are listed.
pub(crate) trait Listed {
    /// All of them.
    const ALL: &'static [&'static str];
    /// The one of this value.
    fn variant(&self) -> &'static str;
}

/// Panics unless the samples have every variant.
pub(crate) fn assert_covered<'a, T: Listed + 'a>(samples: impl IntoIterator<Item = &'a T>) {
    let seen: Vec<&str> = samples.into_iter().map(Listed::variant).collect();
    let missed: Vec<_> = T::ALL.iter().filter(|variant| !seen.contains(variant)).collect();
    assert!(missed.is_empty(), "no sample of {missed:?}");
}

macro_rules! listed {
    ($type:ident: $($variant:ident),* $(,)?) => {
        impl Listed for $type {
            const ALL: &'static [&'static str] = &[$(stringify!($variant)),*];
            fn variant(&self) -> &'static str {
                match self { $(Self::$variant { .. } => stringify!($variant)),* }
            }
        }
    };
}

listed!(Command: Submit, TakeInbox, Remember, ForgetKey, Consume, Report, Heartbeat, Undeliver,
    DropWorker, DefineJob, ChangeJob, DrainWorker, SetLevel, CancelTask, RetryTask,
    StartOperation, StopOperation, Tick);
listed!(Item: Task, Array, Share, Dead);
listed!(Verb: Start, Complete, Fail, Release);
listed!(JobChange: Close, Pause, Resume, Cancel, Prioritise, Weight, Retention, Purge);
listed!(Reply: Submitted, InboxTaken, Noted, Granted, Reported, Renewed, Released, Job, Task,
    Ticked, Done, Refused);
listed!(Outcome: Ok, Retry, Dead, Duplicate, LeaseLost, Cancelled, Unavailable, Invalid, Accepted);
listed!(AdmittedItem: Task, Array);
listed!(JobOutcome: Unchanged, Changed, Created, Conflict);
listed!(Question: FirstKey, Pending, Numbers, Holders, WorkerHere, StateHash, StandingOf, Pauses,
    ShortestLeases, Operations, OperationNumbers, DeadAmong, JobsOver, PurgedJob, JobParts,
    PartOfJob, ToldLeases, LeasedJobs, Candidates, LiveToken, LeasedTask, Referred, PurgedId,
    Retold, Recall);
listed!(Answered: FirstKey, Pending, Numbers, Holders, WorkerHere, StateHash, StandingOf, Pauses,
    ShortestLeases, Operations, OperationNumbers, DeadAmong, JobsOver, PurgedJob, JobParts,
    PartOfJob, ToldLeases, LeasedJobs, Candidates, LiveToken, LeasedTask, Referred, PurgedId,
    Retold, Recall);

const REFERENCE: TaskRef = TaskRef {
    priority: Priority::DEFAULT,
    partition: PartitionId(3),
    offset: 1 << 33,
    index: None,
};
const SEQ: TaskSeq = TaskSeq(u64::MAX);

fn token() -> LeaseToken {
    let (epoch, number) = (Epoch(1 << 40), LeaseNo(300));
    LeaseToken { partition: PartitionId(1_023), epoch, number, secret: u64::MAX }
}

fn part() -> KeyPart {
    KeyPart { key: Digest([7; 32]), content: Digest([255; 32]), part: KeyPart::DONE }
}

fn affinity() -> Vec<AffinityKey> {
    vec![AffinityKey { key: "curve:EUR".into(), weight: 100 }]
}

fn scopes() -> Scopes {
    Scopes::new(vec!["eod-".into(), "é".into()])
}

/// A task with every field set.
pub(crate) fn task() -> TaskInput {
    TaskInput {
        id: Some("t-1".into()),
        job: Some("eod".into()),
        priority: Priority::new(9),
        tag: Some("desk:fx,hot".into()),
        payload: Blob { encoding: Encoding::Base64, bytes: vec![0, 255, 10, 0] },
        affinity: Some(affinity()),
        source: Some("s".into()),
        meta: Some("{\"a\":1}".into()),
        timeout_s: Some(60),
        lease_ms: Some(30_000),
        max_attempts: Some(3),
        max_crashes: Some(4),
        backoff: BackoffInput { base_ms: Some(1), cap_ms: None, jitter: Some(Jitter::None) },
        delay: Delay::Until(WallMs(1 << 41)),
        traceparent: Some("00-ab".into()),
    }
}

fn spec() -> JobSpec {
    JobSpec {
        name: Some("End of day".into()),
        priority: Priority::DEFAULT,
        weight: 1_000,
        tag: None,
        dedup: Dedup::Task,
        retention_ms: u64::MAX,
        paused: true,
        defaults: JobDefaults { affinity: Some(affinity()), ..JobDefaults::default() },
    }
}

fn operation() -> OpSpec {
    OpSpec {
        kind: OpKind::PurgeDlq,
        filter: "{}".into(),
        job: Some("eod".into()),
        scopes: vec!["eod".into()],
        by: "ops".into(),
        priority: Priority::new(1),
    }
}

/// A refusal with every field set.
pub(crate) fn reject() -> Reject {
    let mut reject = Reject::field("tags", "too many").hint("use fewer").retry_unapplied(1_500);
    reject.existing = Some(Box::new(TaskRef { index: Some(0), ..REFERENCE }));
    reject
}

fn inbox() -> InboxBatch {
    let (level, line, headers) = (Priority::DEFAULT, Some(7), Some("kwq-fmt=batch".into()));
    let source = Source { line, lines: true, headers, ..Source::new(level, 17, vec![0, 255]) };
    let items = vec![InboxItem { item: Item::Task(task()), source }];
    InboxBatch { level, from: 1, next: 1 << 40, items, goes_on: true }
}

fn items() -> Vec<Item> {
    let span = Span { from: 1, step: 2, count: 3 };
    let array = ArrayInput { task: task(), span, id: Some("a".into()) };
    let dead = DeadInput {
        class: DeadClass::NotSupported,
        message: "KWQ-5/0/1".into(),
        task: TaskInput::default(),
    };
    vec![
        TaskInput::default().into(),
        task().into(),
        Item::Array(array.clone()),
        Item::Share(array),
        Item::Dead(Box::new(dead)),
    ]
}

fn reports() -> Vec<Report> {
    let result = Some(Blob { encoding: Encoding::Json, bytes: b"{}".to_vec() });
    let fail = Verb::Fail {
        class: "timeout".into(),
        message: "".into(),
        retryable: true,
        retry_after_ms: Some(u32::MAX),
        run_ms: None,
    };
    let complete = Verb::Complete { result, run_ms: Some(7) };
    let verbs = [Verb::Start, complete, fail, Verb::Release { delay_ms: 5 }];
    let report = |verb| Report { token: Some(token()), worker: Some("w".into()), verb };
    let unknown = Report { token: None, worker: None, verb: Verb::Start };
    verbs.map(report).into_iter().chain([unknown]).collect()
}

fn changes() -> Vec<JobChange> {
    vec![
        JobChange::Close,
        JobChange::Pause,
        JobChange::Resume,
        JobChange::Cancel(CancelMode::DropQueued, Some("wrong data".into())),
        JobChange::Prioritise(Priority::DEFAULT),
        JobChange::Weight(2),
        JobChange::Retention(u64::MAX),
        JobChange::Purge,
    ]
}

fn consume() -> Consume {
    Consume {
        worker: "w".into(),
        endpoint: Some("http://w:1".into()),
        max: usize::MAX,
        target_ms: Some(1),
        peers: 2,
        max_bytes: u64::MAX,
        spent: Spent { tasks: 1, bytes: 2, expected_us: 3 },
        lease_ms: Some(4),
        seed_lease: true,
        levels: ALL_LEVELS,
        jobs: vec!["eod".into()],
        scopes: scopes(),
        warm: vec!["k".into()],
        mode: AffinityMode::Any,
    }
}

/// Commands of every variant.
pub(crate) fn commands() -> Vec<Command> {
    let key = Some(Keyed { part: part(), frees: Frees::Closed });
    let job: Name = "eod".into();
    let change = |change| {
        let (job, spec) = (job.clone(), Box::new(spec()));
        Command::ChangeJob { job, change, spec, implicit: true }
    };
    let (items, tasks) = (items(), vec![TaskSeq(0), SEQ]);
    assert_covered(&items);
    let reports = reports();
    assert_covered(reports.iter().map(|report| &report.verb));
    assert_covered(&changes());
    let mut commands = vec![
        Command::Submit(Box::new(Submit { items, until_refused: true, key })),
        Command::Submit(Box::default()),
        Command::TakeInbox(Box::new(inbox())),
        Command::Remember { part: part(), note: vec![0, 1, 255] },
        Command::ForgetKey(part()),
        Command::Consume(consume()),
        Command::Report(reports),
        Command::Heartbeat(Heartbeat { worker: "w".into(), leases: Some(vec![token()]) }),
        Command::Heartbeat(Heartbeat { worker: "w".into(), leases: None }),
        Command::Undeliver(vec![LeaseNo(1), LeaseNo(u64::MAX)]),
        Command::DropWorker("w".into()),
        Command::DefineJob { job: job.clone(), spec: Box::new(spec()), replace: true },
        Command::DrainWorker { worker: "w".into(), drains: true },
        Command::SetLevel { level: None, paused: true },
        Command::SetLevel { level: Priority::new(1), paused: false },
        Command::CancelTask(SEQ),
        Command::RetryTask { seq: SEQ, priority: Priority::new(9) },
        Command::StartOperation { op: OpNo(7), spec: Box::new(operation()), tasks },
        Command::StopOperation(OpNo(7)),
        Command::Tick,
    ];
    commands.extend(changes().into_iter().map(change));
    assert_covered(&commands);
    commands
}

fn admitted() -> Vec<AdmittedItem> {
    let (seq, record) = (SEQ, Position(1 << 50));
    let task = Admitted { reference: REFERENCE, seq, record, index: 9, duplicate: true };
    let array = AdmittedItem::Array { reference: REFERENCE, count: 5, duplicate: false };
    vec![AdmittedItem::Task(task), array]
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Ok,
        Outcome::Retry,
        Outcome::Dead,
        Outcome::Duplicate,
        Outcome::LeaseLost,
        Outcome::Cancelled,
        Outcome::Unavailable(reject()),
        Outcome::Invalid(Reject::new(Code::ResultTooLarge, "9 B")),
        Outcome::Accepted,
    ]
}

fn reported(outcome: Outcome) -> ReportOutcome {
    let budget = Some(Budget { at_ts: WallMs(5), errors: 1, crashes: 2, max_attempts: 3 });
    let task = ReportedTask {
        seq: SEQ,
        reference: REFERENCE,
        id: Some("t".into()),
        state: TaskState::Expired,
        attempt: 2,
        budget,
    };
    ReportOutcome { outcome, task: Some(task), worker: Some("w".into()) }
}

fn grant() -> Grant {
    Grant {
        seq: SEQ,
        token: token(),
        attempt: 1,
        lease_ms: 2,
        lease_until: WallMs(3),
        allocated: WallMs(4),
        available: WallMs(5),
        priority: Priority::DEFAULT,
        errors: 6,
        crashes: 7,
        redriven: 8,
        record: Position(9),
        index: 10,
        bytes: 11,
        expected_us: 12,
        failed: Some(Position(13)),
    }
}

/// Replies of every variant.
pub(crate) fn replies() -> Vec<Reply> {
    let (admitted, outcomes) = (admitted(), outcomes());
    assert_covered(&admitted);
    assert_covered(&outcomes);
    let elsewhere = Elsewhere { place: 2, partition: PartitionId(4), item: task().into() };
    let jobs =
        [JobOutcome::Unchanged, JobOutcome::Changed, JobOutcome::Created, JobOutcome::Conflict];
    assert_covered(&jobs);
    let submitted = Submitted {
        outcomes: admitted.into_iter().map(Ok).chain([Err(reject())]).collect(),
        elsewhere: vec![elsewhere],
        replayed: true,
    };
    let notice = CancelNotice { token: token(), reference: REFERENCE, reason: "stop".into() };
    let (lost, cancel) = (vec![token()], vec![notice]);
    let mut replies = vec![
        Reply::Submitted(submitted),
        Reply::InboxTaken { next: 1 << 40, admitted: 1, dead: 2, duplicates: 3 },
        Reply::Noted(vec![1, 2], true),
        Reply::Granted(vec![grant(), Grant { failed: None, ..grant() }]),
        Reply::Reported(outcomes.into_iter().map(reported).collect()),
        Reply::Reported(vec![ReportOutcome::bare(Outcome::Ok)]),
        Reply::Renewed(Renewal { renewed: 1, shortest_ms: 2, lost, cancel }),
        Reply::Released(3),
        Reply::Task(TaskState::Pending),
        Reply::Ticked(vec![("w".into(), FailCause::Crash), ("v".into(), FailCause::Timeout)]),
        Reply::Done,
        Reply::Refused(reject()),
    ];
    replies.extend(jobs.map(Reply::Job));
    assert_covered(&replies);
    replies
}

/// Questions of every variant.
pub(crate) fn questions() -> Vec<Question> {
    let (worker, job): (Name, Name) = ("w".into(), "eod".into());
    let over = |rule| JobsOver { now: WallMs(1), rule, max: 1_000 };
    let (level, now) = (Priority::DEFAULT, WallMs(1 << 41));
    let retold = Retold { parts: [part(); 2], priority: level, input: Box::new(task()) };
    let questions = vec![
        FirstKey.into(),
        Pending.into(),
        Numbers.into(),
        Holders { scopes: scopes() }.into(),
        Holders { scopes: Scopes::default() }.into(),
        WorkerHere { worker: worker.clone() }.into(),
        StateHash.into(),
        StandingOf { seq: SEQ, now }.into(),
        Pauses { job: job.clone(), level }.into(),
        ShortestLeases { worker: worker.clone(), scopes: scopes() }.into(),
        Operations.into(),
        OperationNumbers.into(),
        DeadAmong { tasks: vec![TaskSeq(0), SEQ] }.into(),
        over(OverRule::Retention).into(),
        over(OverRule::Idle(5)).into(),
        PurgedJob { job: job.clone() }.into(),
        JobParts.into(),
        PartOfJob { job: job.clone() }.into(),
        ToldLeases { worker: worker.clone() }.into(),
        LeasedJobs { tokens: vec![token()] }.into(),
        Candidates::Id("t-1".into()).into(),
        Candidates::Element(job, u64::MAX).into(),
        LiveToken { seq: SEQ, worker: Some(worker) }.into(),
        LeasedTask { token: token() }.into(),
        Referred { reference: REFERENCE }.into(),
        PurgedId { id: "t-1".into() }.into(),
        retold.into(),
        Recall { part: part() }.into(),
    ];
    assert_covered(&questions);
    questions
}

fn numbers() -> PartNumbers {
    let counts = StateCounts([1, 2, 3, 4, 5, 6, 7, 8, u64::MAX]);
    let level = LevelPart { paused: true, counts, oldest: WallMs(3), lanes: 4 };
    let holders = vec![Holder { worker: "w".into(), leases: 1, shortest_ms: 2 }];
    PartNumbers {
        levels: [level; Priority::LEVELS],
        waits: std::array::from_fn(|n| n as u64),
        holders,
    }
}

fn job_part() -> JobPart {
    let error = crate::model::task::TaskError {
        class: "c".into(),
        message: "m".into(),
        attempt: 1,
        ts: WallMs(2),
    };
    let first_error = Some((REFERENCE, error));
    JobPart {
        name: "eod".into(),
        spec: spec(),
        implicit: true,
        closed: false,
        paused: true,
        cancelled: Some(None),
        numbers: JobNumbers { first_error, runs: u64::MAX, ..JobNumbers::default() },
    }
}

fn standing() -> Standing {
    Standing {
        job: "eod".into(),
        state: TaskState::Running,
        priority: Priority::DEFAULT,
        effective: Priority::DEFAULT,
        job_paused: true,
        level_paused: false,
        available: WallMs(1),
        due: WallMs(2),
        held: Some(Held { worker: "w".into(), attempt: 1, allocated: WallMs(3) }),
        ahead: 4,
        ahead_peers: 5,
        peers: 6,
        ahead_higher: 7,
    }
}

fn shown() -> Operation {
    Operation {
        op: OpNo(1),
        spec: operation(),
        state: OpState::Stopped,
        matched: 1,
        done: 2,
        skipped: 3,
        created: WallMs(4),
        ended: WallMs(5),
    }
}

/// Answers of every variant.
pub(crate) fn answers() -> Vec<Answered> {
    let job: Name = "eod".into();
    let (reference, attempt, allocated) = (REFERENCE, 1, WallMs(2));
    let held = HeldTask { reference, job: job.clone(), attempt, allocated };
    let element = Some(Element { first: SEQ, value: 8 });
    let text = TaskSpec { element, ..TaskSpec::plain(task().payload) };
    let answers = vec![
        Answered::FirstKey([1, u64::MAX]),
        Answered::Pending(u64::MAX),
        Answered::Numbers(Box::new(numbers())),
        Answered::Holders(numbers().holders),
        Answered::WorkerHere((vec![held], vec!["k".into()])),
        Answered::StateHash("00ff".into()),
        Answered::StandingOf(Some(Box::new(standing()))),
        Answered::StandingOf(None),
        Answered::Pauses((true, false)),
        Answered::ShortestLeases((Some(1), None)),
        Answered::Operations(vec![shown()]),
        Answered::OperationNumbers((OpNo(2), 64)),
        Answered::DeadAmong((3, 2)),
        Answered::JobsOver(vec![job.clone()]),
        Answered::PurgedJob(true),
        Answered::JobParts((vec![job_part()], 9)),
        Answered::PartOfJob(Some(Box::new(job_part()))),
        Answered::ToldLeases(vec![(token(), job.clone())]),
        Answered::LeasedJobs(vec![None, Some((SEQ, None)), Some((SEQ, Some(job)))]),
        Answered::Candidates(vec![SEQ, TaskSeq(0)]),
        Answered::LiveToken(Some(token())),
        Answered::LeasedTask(Some(SEQ)),
        Answered::Referred((Some(SEQ), true)),
        Answered::PurgedId(false),
        Answered::Retold(Some(Box::new((text, WallMs(6))))),
        Answered::Recall(Ok(Some(vec![1]))),
        Answered::Recall(Err(reject())),
    ];
    assert_covered(&answers);
    answers
}
