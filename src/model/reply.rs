//! What a partition answers. Released to the caller only when everything decided so far is durable.

use crate::model::command::Item;
use crate::model::event::FailCause;
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::lease::LeaseToken;
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::report::ReportOutcome;
use crate::model::state::TaskState;
use crate::model::time::WallMs;
use crate::model::view::TextAt;
use serde::{Deserialize, Serialize};

/// A decided reply and the position it is valid for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// The reply.
    pub reply: Reply,
    /// Everything up to here is durable and in the reply.
    pub position: Position,
}

/// What a partition had left to hand out after a reply: tells another instance whether to come
/// again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Bit *i*: something of level *i* + 1.
    pub levels: u16,
    /// Ready tasks.
    pub tasks: u64,
}

/// One reply; its variant follows the command's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// To `Submit`.
    Submitted(Submitted),
    /// To `TakeInbox`.
    InboxTaken {
        /// Offset the reader goes on at.
        next: u64,
        /// Items that are tasks or arrays now.
        admitted: u32,
        /// Items that are dead letters.
        dead: u32,
        /// Items that were there already: same id, same content.
        duplicates: u32,
    },
    /// To `Remember`: the note in force, and whether it was there before.
    Noted(Vec<u8>, bool),
    /// To `Consume`.
    Granted(Vec<Grant>),
    /// To `Report`: one outcome per report, in order.
    Reported(Vec<ReportOutcome>),
    /// To `Heartbeat`.
    Renewed(Renewal),
    /// To `DropWorker`, `Undeliver`: leases given back.
    Released(usize),
    /// To `DefineJob`, `ChangeJob`.
    Job(JobOutcome),
    /// To `CancelTask`, `RetryTask`: state afterwards.
    Task(TaskState),
    /// To `Tick`: the workers whose leases or runs were over, once a lease, and why.
    Ticked(Vec<(Name, FailCause)>),
    /// To `SetLevel`, `DrainWorker`, `ForgetKey`.
    Done,
    /// Refused; nothing was decided.
    Refused(Reject),
}

/// What became of submitted items.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    /// One per item, in order, after `until_refused` up to the refusal. Those of `elsewhere` have a
    /// refusal that stands for the one to come.
    pub outcomes: Vec<Result<AdmittedItem, Reject>>,
    /// Items that are not decided here and now. After `until_refused` all from the first of them on
    /// are here.
    pub elsewhere: Vec<Elsewhere>,
    /// All of it is the answer of an earlier call.
    pub replayed: bool,
}

/// An item that another partition decides, or this one once others are done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// Its place among the items of the command.
    pub place: usize,
    /// Who decides.
    pub partition: PartitionId,
    /// The item, handed back.
    pub item: Item,
}

impl Elsewhere {
    /// Stands for the outcome that the other partition gives.
    #[must_use]
    pub fn placeholder() -> Reject {
        Reject::new(Code::Internal, "another partition decides this item and was not asked")
    }
}

/// One admitted task, or the one that was there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// Its reference.
    pub reference: TaskRef,
    /// Its sequence number.
    pub seq: TaskSeq,
    /// Record that holds it; filled in by the shell once it is placed.
    pub record: Position,
    /// Entry in that record.
    pub index: u32,
    /// It was there already: same id, same content.
    pub duplicate: bool,
}

impl Admitted {
    /// Where its text is.
    #[must_use]
    pub fn text(&self) -> TextAt {
        TextAt { partition: self.reference.partition, record: self.record, entry: self.index }
    }

    /// Does the log still have its text?
    #[must_use]
    pub fn placed(&self) -> bool {
        // The first record of a log is its owner's.
        self.record != Position::default()
    }
}

/// One admitted item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdmittedItem {
    /// A task.
    Task(Admitted),
    /// An array's share in this partition.
    Array {
        /// Its reference here; that of an element adds the value.
        reference: TaskRef,
        /// Elements here.
        count: u64,
        /// It was admitted before, with the same content.
        duplicate: bool,
    },
}

/// What a job command did here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum JobOutcome {
    /// Nothing to do: already so.
    Unchanged,
    /// Changed, or an implicit job made explicit.
    Changed,
    /// Created.
    Created,
    /// Exists with another specification.
    Conflict,
}

/// One hand-out. The task's text and payload are read from the log at `record`, entry `index`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// Task.
    pub seq: TaskSeq,
    /// Token.
    pub token: LeaseToken,
    /// Attempt number.
    pub attempt: u32,
    /// Lease as granted, ms.
    pub lease_ms: u32,
    /// End of the lease, for people.
    pub lease_until: WallMs,
    /// When it was handed out.
    pub allocated: WallMs,
    /// Latest entry into PENDING.
    pub available: WallMs,
    /// Current priority.
    pub priority: Priority,
    /// Errors so far.
    pub errors: u8,
    /// Crashes so far.
    pub crashes: u8,
    /// Redrives so far.
    pub redriven: u16,
    /// Record that holds the task; filled in by the shell once it is placed.
    pub record: Position,
    /// Entry in that record.
    pub index: u32,
    /// Payload, B.
    pub bytes: u64,
    /// Expected run time, µs; 0 = not asked for.
    pub expected_us: u64,
    /// Record of its latest failure; filled in by the shell.
    pub failed: Option<Position>,
}

impl Grant {
    /// Where its text is.
    #[must_use]
    pub fn text(&self) -> TextAt {
        TextAt { partition: self.token.partition, record: self.record, entry: self.index }
    }
}

/// Answer to a heartbeat from one partition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Renewal {
    /// Leases renewed.
    pub renewed: usize,
    /// Shortest of them, ms; 0 = none.
    pub shortest_ms: u32,
    /// Listed tokens that act no more.
    pub lost: Vec<LeaseToken>,
    /// Stop these.
    pub cancel: Vec<CancelNotice>,
}

/// Tells a worker to stop a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CancelNotice {
    /// Token it holds.
    pub token: LeaseToken,
    /// Task.
    pub reference: TaskRef,
    /// Why.
    pub reason: Name,
}
