//! What callers ask of the engine through [`crate::actor::handle::KwqHandle`], and its composite
//! answers.

use crate::model::affinity::AffinityMode;
use crate::model::command::Item;
use crate::model::explain::Explanation;
use crate::model::id::{Name, PartitionId, Position};
use crate::model::job::JobState;
use crate::model::key::{Digest, Frees, KeyPart};
use crate::model::lease::LeaseToken;
use crate::model::operation::{OpSpec, Operation};
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::reply::{Admitted, CancelNotice};
use crate::model::report::{Report, ReportOutcome};
use crate::model::state::StateCounts;
use crate::model::time::WallMs;
use crate::model::view::{HandOut, JobView, QueueView, TaskPage, TaskQuery, TaskView};
use tokio::time::Instant;

/// How `{task}` in a path names a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskKey {
    /// A reference.
    Ref(TaskRef),
    /// A client id; the newest admitted task of that id, narrowed by `job`.
    Id {
        /// Client id.
        id: Name,
        /// Only in this job.
        job: Option<Name>,
    },
}

/// A submit.
#[derive(Clone, Debug, PartialEq)]
pub struct SubmitRequest {
    /// Tasks and arrays.
    pub items: Vec<Item>,
    /// Size of the body they came in, for admission.
    pub bytes: usize,
    /// The first item that is refused is the last one looked at; its refusal is the last outcome.
    pub until_refused: bool,
    /// Its `Idempotency-Key`.
    pub key: Option<KeyOf>,
    /// Not begun later than this; unset = whenever its turn comes.
    pub begin_by: Option<Instant>,
}

/// The `Idempotency-Key` of a submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyOf {
    /// SHA-256 of the key.
    pub key: Digest,
    /// SHA-256 of what is asked.
    pub content: Digest,
    /// Number of the NDJSON chunk, 0 otherwise.
    pub chunk: u64,
    /// Which refusals leave the key free.
    pub frees: Frees,
}

impl KeyOf {
    /// A part of the request.
    #[must_use]
    pub fn part(&self, part: u64) -> KeyPart {
        KeyPart { key: self.key, content: self.content, part }
    }

    /// Did the call come to nothing, so that its key stays free?
    #[must_use]
    pub fn freed_by(&self, answer: &SubmitAnswer) -> bool {
        let refused = |outcome: &ItemOutcome| match (self.frees, outcome) {
            (Frees::Never, _) | (_, Ok(_)) => false,
            (Frees::Closed, Err(reject)) => reject.code == Code::JobClosed,
            (Frees::Refused, Err(_)) => true,
        };
        answer.outcomes.iter().all(Result::is_err) && answer.outcomes.iter().any(refused)
    }
}

/// Answer to a submit.
#[derive(Clone, Debug, PartialEq)]
pub struct SubmitAnswer {
    /// One per item, in order; with `until_refused` up to the refusal.
    pub outcomes: Vec<ItemOutcome>,
    /// All of it is the answer of an earlier call with the key.
    pub replayed: bool,
}

/// An item that is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemAdmitted {
    /// A task.
    Task(Admitted),
    /// An array.
    Array {
        /// Its elements.
        count: u64,
        /// Reference of its share in each partition: the *k*-th element belongs to the
        /// (*k* mod length)-th.
        refs: Vec<TaskRef>,
        /// It was admitted before, with the same content.
        duplicate: bool,
    },
}

/// What became of one item of a submit.
pub type ItemOutcome = Result<ItemAdmitted, Reject>;

/// `POST /kwq/consume`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumeRequest {
    /// Worker name.
    pub worker: Name,
    /// Endpoint.
    pub endpoint: Option<Name>,
    /// Tasks at most.
    pub max: usize,
    /// Longest wait, ms.
    pub wait_ms: u64,
    /// Stop before this much expected run time.
    pub target_ms: Option<u64>,
    /// Payload bytes at most.
    pub max_bytes: u64,
    /// Lease asked for, ms.
    pub lease_ms: Option<u32>,
    /// The seed's lease rule instead.
    pub seed_lease: bool,
    /// Levels allowed, bit `Priority::index`.
    pub levels: u16,
    /// Jobs allowed, empty = all.
    pub jobs: Vec<Name>,
    /// Keys the worker holds.
    pub warm: Vec<Name>,
    /// Use of affinity.
    pub mode: AffinityMode,
    /// Reports to apply first; always decided, also when the consume is shed.
    pub done: Vec<Report>,
    /// A heartbeat for these, before the wait. `Err` = text that is no token of ours.
    pub leases: Option<Vec<Result<LeaseToken, String>>>,
}

impl ConsumeRequest {
    /// Its reports, bound to its worker: the token of another one does not act here.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        let bound = |report: &Report| {
            let agrees = report.worker.as_ref().is_none_or(|named| *named == self.worker);
            let (token, worker) = (report.token.filter(|_| agrees), Some(self.worker.clone()));
            Report { token, worker, verb: report.verb.clone() }
        };
        self.done.iter().map(bound).collect()
    }
}

/// Answer to a consume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConsumeAnswer {
    /// Hand-outs, in order.
    pub tasks: Vec<HandOut>,
    /// Verdicts on `done`, in order.
    pub done: Vec<ReportOutcome>,
    /// Present when `leases` was sent.
    pub heartbeat: Option<HeartbeatAnswer>,
    /// Beat this often, ms.
    pub heartbeat_ms: u64,
    /// Stop asking.
    pub drain: bool,
    /// Wait this long before the next consume, ms.
    pub poll_after_ms: u64,
}

impl ConsumeAnswer {
    /// Shortest lease its heartbeat has renewed, ms.
    #[must_use]
    pub fn renewed_ms(&self) -> Option<u32> {
        let renewed = self.heartbeat.as_ref().filter(|beat| beat.renewed > 0);
        renewed.map(|beat| beat.lease_ms)
    }
}

/// `POST /kwq/heartbeat`.
#[derive(Clone, Debug, PartialEq)]
pub struct HeartbeatRequest {
    /// Worker name.
    pub worker: Name,
    /// Exactly these; `None` = all of the worker's. `Err` = text that is no token of ours.
    pub leases: Option<Vec<Result<LeaseToken, String>>>,
    /// Keys the worker holds, if it says so.
    pub warm: Option<Vec<Name>>,
}

/// Answer to a heartbeat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeartbeatAnswer {
    /// Leases renewed.
    pub renewed: usize,
    /// Beat this often, ms.
    pub heartbeat_ms: u64,
    /// Shortest lease renewed, the default when none, ms.
    pub lease_ms: u32,
    /// Tokens (as sent) that act no more.
    pub lost: Vec<String>,
    /// Stop these.
    pub cancel: Vec<CancelNotice>,
    /// Stop asking.
    pub drain: bool,
}

/// `POST /kwq/workers`.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerRegistration {
    /// Worker name.
    pub worker: Name,
    /// Endpoint.
    pub endpoint: Option<Name>,
    /// Slots.
    pub slots: Option<u32>,
    /// Version.
    pub version: Option<Name>,
    /// Keys it holds.
    pub warm: Option<Vec<Name>>,
}

/// How a job came out of `POST /kwq/jobs`.
#[derive(Clone, Debug, PartialEq)]
pub struct JobCreated {
    /// The job.
    pub job: JobView,
    /// 201 instead of 200.
    pub created: bool,
}

/// `PATCH /kwq/jobs/{job}`: only what is set changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobPatch {
    /// New priority of all queued and later tasks.
    pub priority: Option<Priority>,
    /// New weight.
    pub weight: Option<u16>,
    /// New name.
    pub name: Option<Name>,
    /// New label text.
    pub tag: Option<Name>,
    /// New retention, ms.
    pub retention_ms: Option<u64>,
}

/// `GET /kwq/jobs`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobQuery {
    /// Allowed states; empty = all.
    pub states: Vec<JobState>,
    /// Only (not) paused.
    pub paused: Option<bool>,
    /// Has this label tag.
    pub tag: Option<Name>,
    /// Of this priority.
    pub priority: Option<Priority>,
    /// Id begins with.
    pub prefix: Option<Name>,
    /// Order.
    pub sort: JobSort,
    /// Rows at most.
    pub limit: usize,
    /// Id after which the page starts, in the given order.
    pub after: Option<Name>,
}

/// Order of a job list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobSort {
    /// Newest first.
    #[default]
    Created,
    /// Soonest end first, unknown last.
    Eta,
    /// Most errors first.
    Errors,
    /// Oldest pending task first.
    Age,
}

/// A page of jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobPage {
    /// Rows.
    pub rows: Vec<JobView>,
    /// More follow after this id.
    pub next: Option<Name>,
}

/// Redrive or purge of the dead tasks that a filter matches.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkRequest {
    /// What is asked for.
    pub spec: OpSpec,
    /// The filter but for `refs`; states, order and scopes are filled in.
    pub query: TaskQuery,
    /// Only these; empty = no condition.
    pub refs: Vec<TaskRef>,
    /// Count only.
    pub dry_run: bool,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BulkAnswer {
    /// Nothing was done.
    Counted {
        /// Tasks that match.
        matched: u64,
        /// Those of them that would be left as they are.
        skipped: u64,
    },
    /// It runs, or has ended already.
    Started(Operation),
}

/// A page of workers.
pub type WorkerPage = (Vec<crate::model::worker::WorkerView>, Option<Name>);

/// The snapshot of `GET /kwq/stats/now`.
#[derive(Clone, Debug, PartialEq)]
pub struct StatsNow {
    /// Taken at.
    pub ts: WallMs,
    /// `ok`, `warn`, `bad`.
    pub verdict: &'static str,
    /// One sentence for people.
    pub verdict_text: String,
    /// Tasks by state.
    pub counts: StateCounts,
    /// Admitted ever.
    pub submitted: u64,
    /// Purged ever.
    pub purged: u64,
    /// Levels, 9 first.
    pub queues: Vec<QueueView>,
    /// Per second over the last 60 s: submit, allocate, complete, fail.
    pub rates: [f64; 4],
    /// Wait in the queue, ms: p50, p95, p99 since start.
    pub wait_ms: [u64; 3],
    /// Workers idle, busy, draining, lost.
    pub workers: [u64; 4],
    /// Parked consumes.
    pub consumers_waiting: u64,
    /// Live leases.
    pub leases: u64,
    /// Affinity hits, misses.
    pub affinity: (u64, u64),
    /// Top 10 jobs by pending.
    pub jobs: Vec<JobView>,
    /// Partitions.
    pub partitions: Vec<PartitionView>,
}

/// The cluster of `GET /kwq/cluster`.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterView {
    /// Version of the product.
    pub version: Name,
    /// Kind of log.
    pub backend: &'static str,
    /// Reasons of reduced durability; empty = full.
    pub durability_reasons: Vec<String>,
    /// Instances that are heard of, the one that answers first.
    pub instances: Vec<InstanceView>,
    /// Partitions.
    pub partitions: Vec<PartitionView>,
    /// Every level is paused.
    pub paused: bool,
}

/// An instance as shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceView {
    /// Its name.
    pub node: Name,
    /// Where it is reached: by others, if it has others.
    pub addr: Name,
    /// Its release.
    pub version: Name,
    /// Heard of.
    pub seen: WallMs,
    /// What it serves.
    pub partitions: Vec<PartitionId>,
}

/// A partition as shown.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionView {
    /// Number.
    pub partition: PartitionId,
    /// Owning node.
    pub owner: Name,
    /// Epoch.
    pub epoch: u64,
    /// `READY`, `REPLAYING`, `FAILED`.
    pub state: &'static str,
    /// Durable position.
    pub position: Position,
    /// 0…1.
    pub replay: f64,
    /// PENDING tasks.
    pub pending: u64,
}

/// Body of the ready answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readiness {
    /// 200 or 503.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<&'static str>,
    /// SIGTERM was received.
    pub draining: bool,
    /// Code that submits are refused with, as long as they are.
    pub submits_refused: Option<Code>,
    /// Reasons of reduced durability; empty = full.
    pub durability_reasons: Vec<String>,
    /// Partitions owned, ready, failed.
    pub partitions: (usize, usize, usize),
    /// Replay, percent.
    pub replay_percent: f64,
    /// Expected end of it, ms.
    pub replay_eta_ms: u64,
}

/// One 5 s window of the seed's statistics: state changes in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeedWindow {
    /// To SUBMITTED, ALLOCATED, RUNNING, ERROR, COMPLETED.
    pub changes: [u64; 5],
    /// End of the window.
    pub time: WallMs,
}

/// A read answer with what it is valid for.
#[derive(Clone, Debug, PartialEq)]
pub struct At<T> {
    /// The answer.
    pub value: T,
    /// Positions, for `Kwq-Position`.
    pub positions: Vec<(PartitionId, Position)>,
    /// Its age, ms; 0 = everything acknowledged before is in it.
    pub lag_ms: u64,
}

/// A task with the reasons why it is not running.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// Client id.
    pub id: Option<Name>,
    /// Reference.
    pub reference: TaskRef,
    /// Its partition.
    pub partition: PartitionId,
    /// The reasons.
    pub why: Explanation,
}

/// A task by id.
pub type TaskAnswer = At<TaskView>;
/// A page of tasks (positions are inside).
pub type TaskListAnswer = TaskPage;
