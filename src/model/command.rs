//! What is asked of a partition.

use crate::model::access::Scopes;
use crate::model::affinity::AffinityMode;
use crate::model::array::ArrayInput;
use crate::model::dead::{DeadInput, Source};
use crate::model::id::{LeaseNo, Name, PartitionId, TaskSeq};
use crate::model::job::{JobChange, JobSpec};
use crate::model::key::{KeyPart, Keyed};
use crate::model::lease::LeaseToken;
use crate::model::limits;
use crate::model::operation::{OpNo, OpSpec};
use crate::model::priority::Priority;
use crate::model::report::Report;
use crate::model::task::TaskInput;
use serde::{Deserialize, Serialize};

/// One command; `decide` holds the one match on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Admit tasks and arrays, in one atomic batch.
    Submit(Box<Submit>),
    /// Take records of an inbox, in one atomic batch with how far it was taken.
    TakeInbox(Box<InboxBatch>),
    /// Keep a note under a key, or give back the one that is there.
    Remember {
        /// Which part of which request.
        part: KeyPart,
        /// Bytes of the caller's own.
        note: Vec<u8>,
    },
    /// Forget a part: the request was refused after all.
    ForgetKey(KeyPart),
    /// Hand out tasks.
    Consume(Consume),
    /// Reports of workers, all on leases of this partition.
    Report(Vec<Report>),
    /// Renew leases of a worker.
    Heartbeat(Heartbeat),
    /// Give back leases whose answer could not be delivered.
    Undeliver(Vec<LeaseNo>),
    /// Give back all leases of a worker.
    DropWorker(Name),
    /// Create a job or make it explicit.
    DefineJob {
        /// Job id.
        job: Name,
        /// Specification.
        spec: Box<JobSpec>,
        /// Replace the spec of an explicit job (a PATCH of text fields).
        replace: bool,
    },
    /// Control verb on a job; `spec` defines it here first if this partition never saw it.
    ChangeJob {
        /// Job id.
        job: Name,
        /// The verb.
        change: JobChange,
        /// Used when the job is unknown in this partition.
        spec: Box<JobSpec>,
        /// Whether that definition is implicit.
        implicit: bool,
    },
    /// Drain a worker, or take that back.
    DrainWorker {
        /// Its name.
        worker: Name,
        /// Gets no work.
        drains: bool,
    },
    /// Pause or resume a level, `None` = all.
    SetLevel {
        /// The level.
        level: Option<Priority>,
        /// Pause or resume.
        paused: bool,
    },
    /// Cancel one task.
    CancelTask(TaskSeq),
    /// Redrive one dead task.
    RetryTask {
        /// The task.
        seq: TaskSeq,
        /// New priority.
        priority: Option<Priority>,
    },
    /// Begin this partition's part of an operation.
    StartOperation {
        /// Number.
        op: OpNo,
        /// What was asked for.
        spec: Box<OpSpec>,
        /// Tasks that matched here, in submit order.
        tasks: Vec<TaskSeq>,
    },
    /// Stop an operation.
    StopOperation(OpNo),
    /// Time has passed: expire, time out, wake, go on with operations.
    Tick,
}

/// Admission class of a command; lower ones are shed first (`docs/operations.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// New tasks.
    Submit,
    /// Questions.
    Query,
    /// Workers that ask for work.
    Consume,
    /// What workers and people have done.
    Report,
}

/// A submit as one partition sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Submit {
    /// What is submitted.
    pub items: Vec<Item>,
    /// Ends at the first item that is refused; what follows it is not looked at.
    pub until_refused: bool,
    /// Its `Idempotency-Key`: decided once, then answered as the first time.
    pub key: Option<Keyed>,
}

/// Records of the inbox of a level that follow each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InboxBatch {
    /// Which inbox.
    pub level: Priority,
    /// Offset of the first record that was looked for.
    pub from: u64,
    /// Offset behind the last one. `from` if there is none: all up to there are gone.
    pub next: u64,
    /// What they hold, in their order; may be nothing, where offsets hold no record.
    pub items: Vec<InboxItem>,
    /// The last record is too large for one batch: this is a part of it, and it is not taken yet.
    /// Only of what came in dead, as it comes again if the next part never does.
    pub goes_on: bool,
}

/// What a record of an inbox, or a line of it, was read as.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InboxItem {
    /// What is submitted.
    pub item: Item,
    /// As it came, in case it is refused.
    pub source: Source,
}

impl InboxBatch {
    /// Is there a record for every item?
    #[must_use]
    pub fn sound(&self) -> bool {
        self.from < self.next || self.from == self.next && self.items.is_empty()
    }
}

impl InboxItem {
    /// Bytes it has in the log, about and at most: its own, and what is said of it.
    #[must_use]
    pub fn cost(&self) -> usize {
        let length = |name: &Option<Name>| name.as_ref().map_or(0, |text| text.len());
        let task = self.item.task();
        let said = match &self.item {
            Item::Dead(dead) => dead.message.len(),
            Item::Task(_) | Item::Array(_) | Item::Share(_) => 0,
        };
        let bytes = self.source.text.len().max(task.payload.bytes.len());
        bytes + said + length(&task.tag) + length(&task.meta) + limits::INBOX_ITEM_BYTES
    }
}

impl Command {
    /// Admits items, without a key.
    #[must_use]
    pub fn submit<T: Into<Item>>(items: Vec<T>) -> Self {
        let items = items.into_iter().map(Into::into).collect();
        Self::Submit(Box::new(Submit { items, ..Submit::default() }))
    }
}

/// One item of a submit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Item {
    /// A task.
    Task(TaskInput),
    /// An array that nobody has decided yet. Its first partition does, and takes its own share.
    Array(ArrayInput),
    /// An array that its first partition has admitted: the share of another one.
    Share(ArrayInput),
    /// What came in dead: it is admitted straight to ERROR, whatever state its job is in.
    Dead(Box<DeadInput>),
}

impl From<TaskInput> for Item {
    fn from(task: TaskInput) -> Self {
        Self::Task(task)
    }
}

impl From<ArrayInput> for Item {
    fn from(array: ArrayInput) -> Self {
        Self::Array(array)
    }
}

/// Decides arrays, and holds the first share of each: so one of an id comes before all others of
/// that id everywhere.
pub const ARRAYS: PartitionId = PartitionId(0);

impl Item {
    /// The task, or what the elements of the array have in common.
    #[must_use]
    pub fn task(&self) -> &TaskInput {
        match self {
            Self::Task(task) => task,
            Self::Array(array) | Self::Share(array) => &array.task,
            Self::Dead(dead) => &dead.task,
        }
    }

    /// As [`Self::task`].
    #[must_use]
    pub fn into_task(self) -> TaskInput {
        match self {
            Self::Task(task) => task,
            Self::Array(array) | Self::Share(array) => array.task,
            Self::Dead(dead) => dead.task,
        }
    }
}

/// What an answer to a consume holds so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Tasks.
    pub tasks: u64,
    /// Their payloads, B.
    pub bytes: u64,
    /// Their expected run time, µs, where the consume asks by time.
    pub expected_us: u64,
}

impl Spent {
    /// With one more task.
    #[must_use]
    pub fn and(self, bytes: u64, expected_us: u64) -> Self {
        Self {
            tasks: self.tasks + 1,
            bytes: self.bytes + bytes,
            expected_us: self.expected_us.saturating_add(expected_us),
        }
    }
}

/// A consume as one partition sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Consume {
    /// Worker name.
    pub worker: Name,
    /// Its endpoint, for people.
    pub endpoint: Option<Name>,
    /// Tasks at most, ≥ 1.
    pub max: usize,
    /// Stop before this much expected run time, ms.
    pub target_ms: Option<u64>,
    /// Workers active lately, for the share of one that asks by time; ≥ 1.
    pub peers: u32,
    /// Payload bytes at most; the first task is always given.
    pub max_bytes: u64,
    /// What other partitions have put into the same answer; it counts for both bounds of
    /// size and time.
    pub spent: Spent,
    /// Lease instead of the task's, ms.
    pub lease_ms: Option<u32>,
    /// The seed's lease rule: `timeoutSeconds` × 1,000 if set, else 60,000 ms.
    pub seed_lease: bool,
    /// Levels allowed; bit `Priority::index`.
    pub levels: u16,
    /// Jobs allowed; empty = all.
    pub jobs: Vec<Name>,
    /// Jobs its caller may touch.
    pub scopes: Scopes,
    /// Keys the worker says it holds.
    pub warm: Vec<Name>,
    /// Use of affinity.
    pub mode: AffinityMode,
}

impl Consume {
    /// Does an answer with this in it keep the bounds?
    #[must_use]
    pub fn allows(&self, answer: Spent) -> bool {
        let target_us = self.target_ms.map_or(u64::MAX, |ms| ms.saturating_mul(1_000));
        answer.tasks <= 1 || answer.bytes <= self.max_bytes && answer.expected_us <= target_us
    }

    /// May it be given tasks of this job?
    #[must_use]
    pub fn takes(&self, job: &Name) -> bool {
        (self.jobs.is_empty() || self.jobs.contains(job)) && self.scopes.cover(job)
    }
}

/// All nine levels.
pub const ALL_LEVELS: u16 = 0x1ff;

/// A heartbeat as one partition sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Worker name.
    pub worker: Name,
    /// Exactly these leases; `None` = all of the worker's here.
    pub leases: Option<Vec<LeaseToken>>,
}
