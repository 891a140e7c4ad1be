//! What a partition is asked without being changed: questions and answers as plain data, so that a
//! question may go to a peer that serves the partition.
//!
//! Each question is a type of its own with its type of answer ([`Asked`]); [`Question`] and
//! [`Answered`] unite them where one type has to stand for all. What answers them is
//! `core::question`.

use crate::model::access::Scopes;
use crate::model::explain::Standing;
use crate::model::id::{Name, TaskSeq};
use crate::model::job::JobSpec;
use crate::model::key::KeyPart;
use crate::model::lease::LeaseToken;
use crate::model::limits;
use crate::model::operation::{OpNo, Operation};
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reject::Reject;
use crate::model::state::StateCounts;
use crate::model::task::{TaskInput, TaskSpec};
use crate::model::time::WallMs;
use crate::model::view::JobNumbers;
use crate::model::worker::HeldTask;
use serde::{Deserialize, Serialize};

/// A question of one kind.
pub trait Asked: Clone + Into<Question> + Send + 'static {
    /// What answers it.
    type Answer: Send + 'static;

    /// The answer out of what somebody says it is; `None` when it answers another question.
    fn answer_of(told: Answered) -> Option<Self::Answer>;
}

macro_rules! questions {
    ($($(#[$meta:meta])* $name:ident => $answer:ty,)*) => {
        /// Any question. The order is the format between peers: new ones come last.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Question { $($(#[$meta])* $name($name),)* }

        /// The answer to any question; its variant is the question's.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Answered { $($(#[$meta])* $name($answer),)* }

        $(
            impl From<$name> for Question {
                fn from(question: $name) -> Self { Self::$name(question) }
            }

            impl Asked for $name {
                type Answer = $answer;

                fn answer_of(told: Answered) -> Option<$answer> {
                    if let Answered::$name(answer) = told { Some(answer) } else { None }
                }
            }
        )*
    };
}

questions! {
    /// Token key of its first epoch.
    FirstKey => [u64; 2],
    /// Pending tasks.
    Pending => u64,
    /// Levels, waits, leases by worker.
    Numbers => Box<PartNumbers>,
    /// Who holds live leases of tasks inside the scopes; a worker may come more than once.
    Holders => Vec<Holder>,
    /// Tasks a worker holds, at most a page, and keys it has learned.
    WorkerHere => (Vec<HeldTask>, Vec<Name>),
    /// Hash of the whole state.
    StateHash => String,
    /// Where a task stands; `None` for a number never given.
    StandingOf => Option<Box<Standing>>,
    /// Is the job paused, is the level paused?
    Pauses => (bool, bool),
    /// Shortest lease a worker holds, ms: of all, and of tasks inside the scopes.
    ShortestLeases => (Option<u32>, Option<u32>),
    /// Its parts of all operations it remembers.
    Operations => Vec<Operation>,
    /// Lowest number that no operation has had here, and operations at work.
    OperationNumbers => (OpNo, usize),
    /// How many are dead, and how many of those a redrive would leave as they are.
    DeadAmong => (u64, u64),
    /// Jobs of which nothing has been live for that long.
    JobsOver => Vec<Name>,
    /// Was the job purged lately?
    PurgedJob => bool,
    /// Parts of all jobs, and tasks of those that were purged whole, at one moment.
    JobParts => (Vec<JobPart>, u64),
    /// Its part of one job.
    PartOfJob => Option<Box<JobPart>>,
    /// Leases a heartbeat of all of a worker's would tell of, with their jobs.
    ToldLeases => Vec<(LeaseToken, Name)>,
    /// The tasks of tokens in their order, with their jobs unless they are over.
    LeasedJobs => Vec<Option<(TaskSeq, Option<Name>)>>,
    /// Tasks that may be meant, newest first; whoever asks compares their texts.
    Candidates => Vec<TaskSeq>,
    /// Token of the live lease of a task, if this worker (when given) holds it.
    LiveToken => Option<LeaseToken>,
    /// The task a token was granted for, as long as it is remembered.
    LeasedTask => Option<TaskSeq>,
    /// The task of a reference, and whether it was purged lately.
    Referred => (Option<TaskSeq>, bool),
    /// Was a task of this client id purged lately?
    PurgedId => bool,
    /// What was admitted under a key and has no text any more, with the stamp of its admission.
    Retold => Option<Box<(TaskSpec, WallMs)>>,
    /// The note under a part of a key; empty when tasks are remembered there.
    Recall => Result<Option<Vec<u8>>, Reject>,
}

/// See [`Question::FirstKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstKey;

/// See [`Question::Pending`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending;

/// See [`Question::Numbers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers;

/// See [`Question::Holders`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holders {
    /// Jobs that count.
    pub scopes: Scopes,
}

/// See [`Question::WorkerHere`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerHere {
    /// Its name.
    pub worker: Name,
}

/// See [`Question::StateHash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHash;

/// See [`Question::StandingOf`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingOf {
    /// The task.
    pub seq: TaskSeq,
    /// When: lanes age also while nobody commands anything.
    pub now: WallMs,
}

/// See [`Question::Pauses`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pauses {
    /// The job.
    pub job: Name,
    /// The level.
    pub level: Priority,
}

/// See [`Question::ShortestLeases`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortestLeases {
    /// The worker.
    pub worker: Name,
    /// Jobs of the second number.
    pub scopes: Scopes,
}

/// See [`Question::Operations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations;

/// See [`Question::OperationNumbers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationNumbers;

/// See [`Question::DeadAmong`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadAmong {
    /// Tasks to look at.
    pub tasks: Vec<TaskSeq>,
}

/// See [`Question::JobsOver`]. A part that is over says nothing of the job as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobsOver {
    /// The time.
    pub now: WallMs,
    /// Which jobs, and how long.
    pub rule: OverRule,
    /// Jobs at most.
    pub max: usize,
}

/// Which jobs are looked for, and how long nothing of them must have been live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OverRule {
    /// Closed ones, for as long as their retention.
    Retention,
    /// Open implicit ones, for this many ms.
    Idle(u64),
}

/// See [`Question::PurgedJob`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgedJob {
    /// Its id.
    pub job: Name,
}

/// See [`Question::JobParts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobParts;

/// See [`Question::PartOfJob`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartOfJob {
    /// Its id.
    pub job: Name,
}

/// See [`Question::ToldLeases`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldLeases {
    /// The worker.
    pub worker: Name,
}

/// See [`Question::LeasedJobs`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedJobs {
    /// Tokens of this partition.
    pub tokens: Vec<LeaseToken>,
}

/// See [`Question::Candidates`]: what tasks are looked up by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Candidates {
    /// Client id; its index knows hashes only.
    Id(Name),
    /// Job and value of an array element.
    Element(Name, u64),
}

/// See [`Question::LiveToken`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveToken {
    /// The task.
    pub seq: TaskSeq,
    /// Who must hold it.
    pub worker: Option<Name>,
}

/// See [`Question::LeasedTask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedTask {
    /// The token.
    pub token: LeaseToken,
}

/// See [`Question::Referred`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Referred {
    /// The reference.
    pub reference: TaskRef,
}

/// See [`Question::PurgedId`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgedId {
    /// Client id.
    pub id: Name,
}

/// See [`Question::Retold`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retold {
    /// Parts of the key it may have been admitted under.
    pub parts: [KeyPart; 2],
    /// Its priority as admitted.
    pub priority: Priority,
    /// The same request again.
    pub input: Box<TaskInput>,
}

/// See [`Question::Recall`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recall {
    /// Which part of which request.
    pub part: KeyPart,
}

/// One level of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelPart {
    /// Paused.
    pub paused: bool,
    /// Live tasks by state, at their current priority.
    pub counts: StateCounts,
    /// Admission of the oldest pending task.
    pub oldest: WallMs,
    /// Lanes with pending tasks.
    pub lanes: u64,
}

/// Leases of one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its name.
    pub worker: Name,
    /// How many.
    pub leases: u64,
    /// The shortest of them, ms.
    pub shortest_ms: u32,
}

/// What the snapshot of everything takes from one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartNumbers {
    /// Levels, 1 first.
    pub levels: [LevelPart; Priority::LEVELS],
    /// Waits in PENDING of all levels, by the bits of their milliseconds.
    pub waits: [u64; limits::WAIT_BUCKETS],
    /// Leases by worker; one may come more than once.
    pub holders: Vec<Holder>,
}

/// One partition's part of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobPart {
    /// Its id.
    pub name: Name,
    /// Specification in force here.
    pub spec: JobSpec,
    /// Created by its first task.
    pub implicit: bool,
    /// Takes no more tasks.
    pub closed: bool,
    /// Hand-outs are off.
    pub paused: bool,
    /// Cancelled, and the reason if one was given.
    pub cancelled: Option<Option<Name>>,
    /// Counters and stamps.
    pub numbers: JobNumbers,
}
