//! [`KwqHandle`]: the only door to the engine.

use crate::actor::request::{
    ConsumeAnswer, ConsumeRequest, HeartbeatAnswer, HeartbeatRequest, JobCreated, JobPage,
    JobPatch, JobQuery, PartitionView, Readiness, SeedWindow, StatsNow, SubmitOutcome, TaskAnswer,
    TaskKey, TaskListAnswer, WorkerPage, WorkerRegistration,
};
use crate::model::id::{Name, PartitionId, Position};
use crate::model::job::{JobChange, JobSpec};
use crate::model::priority::Priority;
use crate::model::reject::{Code, Reject};
use crate::model::report::{Report, ReportOutcome};
use crate::model::task::TaskInput;
use crate::model::time::Now;
use crate::model::view::{JobView, QueueView, TaskQuery, TaskView, WorkerState, WorkerView};

/// Cheap to clone; every method may be called from any task of any runtime thread.
#[derive(Clone)]
pub struct KwqHandle {}

type Answer<T> = Result<T, Reject>;

fn not_ready<T>() -> Answer<T> {
    Err(Reject::new(Code::NotReady, "the engine is not wired up yet"))
}

#[expect(clippy::unused_async, reason = "signatures first; bodies follow with the shells")]
impl KwqHandle {
    /// The two clocks.
    pub fn now(&self) -> Now {
        Now::default()
    }
    /// Unguessable bits (job ids, cursors' key).
    pub fn random(&self) -> u64 {
        0
    }
    /// Admits tasks; all of one call go to one partition. `bytes` = size of the body they came in, for admission.
    pub async fn submit(
        &self,
        _tasks: Vec<TaskInput>,
        _bytes: usize,
    ) -> Answer<Vec<SubmitOutcome>> {
        not_ready()
    }
    /// Reports, heartbeat, hand-outs, long poll: in this order. Dropping the future leaves the poll.
    pub async fn consume(&self, _request: ConsumeRequest) -> Answer<ConsumeAnswer> {
        not_ready()
    }
    /// Gives hand-outs back whose answer could not be written to the client.
    pub fn undeliver(&self, _answer: &ConsumeAnswer) {}
    /// One outcome per report, in order.
    pub async fn report(&self, _reports: Vec<Report>) -> Vec<ReportOutcome> {
        Vec::new()
    }
    /// Renews leases.
    pub async fn heartbeat(&self, _request: HeartbeatRequest) -> Answer<HeartbeatAnswer> {
        not_ready()
    }
    /// The seed's `updateTask` without a token: the live lease of the task, if held by this worker.
    pub async fn lease_of(
        &self,
        _key: TaskKey,
        _worker: Option<Name>,
    ) -> Answer<crate::model::lease::LeaseToken> {
        not_ready()
    }
    /// Creates a job or makes it explicit.
    pub async fn define_job(&self, _job: Name, _spec: JobSpec) -> Answer<JobCreated> {
        not_ready()
    }
    /// One job, exact.
    pub async fn job(&self, _job: Name) -> Answer<JobView> {
        not_ready()
    }
    /// A page of jobs.
    pub async fn jobs(&self, _query: JobQuery) -> Answer<JobPage> {
        not_ready()
    }
    /// A control verb on a job in all partitions.
    pub async fn change_job(&self, _job: Name, _change: JobChange) -> Answer<JobView> {
        not_ready()
    }
    /// Changes fields of a job.
    pub async fn patch_job(&self, _job: Name, _patch: JobPatch) -> Answer<JobView> {
        not_ready()
    }
    /// Answers when the job ended (`done`) or has an error (`first_error`); `None` after the wait.
    pub async fn wait_job(
        &self,
        _job: Name,
        _done: bool,
        _first_error: bool,
        _wait_ms: u64,
    ) -> Answer<Option<JobView>> {
        not_ready()
    }
    /// One task, exact for everything acknowledged before. `payload`, `result`: include their bytes.
    pub async fn task(&self, _key: TaskKey, _payload: bool, _result: bool) -> Answer<TaskAnswer> {
        not_ready()
    }
    /// A page of tasks. `fresh` waits until everything acknowledged before is in.
    pub async fn tasks(&self, _query: TaskQuery, _fresh: bool) -> Answer<TaskListAnswer> {
        not_ready()
    }
    /// Cancels one task.
    pub async fn cancel_task(&self, _key: TaskKey) -> Answer<TaskView> {
        not_ready()
    }
    /// Redrives one dead task.
    pub async fn retry_task(&self, _key: TaskKey, _priority: Option<Priority>) -> Answer<TaskView> {
        not_ready()
    }
    /// Registers a worker: (heartbeat ms, lease ms).
    pub fn register_worker(&self, _registration: WorkerRegistration) -> (u64, u32) {
        (0, 0)
    }
    /// Workers by name, filtered by state, after a name.
    pub async fn workers(
        &self,
        _state: Option<WorkerState>,
        _limit: usize,
        _after: Option<Name>,
    ) -> WorkerPage {
        (Vec::new(), None)
    }
    /// One worker with the tasks it holds.
    pub async fn worker(&self, _worker: Name) -> Answer<WorkerView> {
        not_ready()
    }
    /// Drains a worker or takes that back.
    pub async fn drain_worker(&self, _worker: Name, _drain: bool) -> Answer<WorkerView> {
        not_ready()
    }
    /// Forgets a worker; its leases are given back. Number of them.
    pub async fn delete_worker(&self, _worker: Name) -> Answer<usize> {
        not_ready()
    }
    /// Nine levels, 9 first.
    pub async fn queues(&self) -> Answer<Vec<QueueView>> {
        not_ready()
    }
    /// Pauses or resumes a level, `None` = all.
    pub async fn set_level(
        &self,
        _level: Option<Priority>,
        _paused: bool,
    ) -> Answer<Vec<QueueView>> {
        not_ready()
    }
    /// Snapshot of everything the UI shows.
    pub async fn stats_now(&self, _fresh: bool) -> Answer<StatsNow> {
        not_ready()
    }
    /// The seed's windows, newest first.
    pub async fn seed_stats(&self, _limit: usize) -> Answer<Vec<SeedWindow>> {
        not_ready()
    }
    /// Partitions of this node.
    pub async fn partitions(&self) -> Vec<PartitionView> {
        Vec::new()
    }
    /// State hash of each partition owned here.
    pub async fn state_hash(&self) -> Answer<Vec<(PartitionId, Position, String)>> {
        not_ready()
    }
    /// Writes images now.
    pub async fn write_images(&self) -> Answer<Vec<(PartitionId, Position)>> {
        not_ready()
    }
    /// Every actor ticked within 10 s.
    pub fn live(&self) -> bool {
        true
    }
    /// Body of the ready answer; answers during replay too.
    pub fn readiness(&self) -> Readiness {
        Readiness::default()
    }
    /// Back end, e.g. `embedded`.
    pub fn backend(&self) -> &'static str {
        "embedded"
    }
    /// Number of partitions.
    pub fn partition_count(&self) -> usize {
        0
    }
}
