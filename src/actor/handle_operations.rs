//! Operations through the door: what a filter matches is looked up once, in the tracker, and given
//! to the partitions as sets of tasks; how far they are is the sum of their parts.

use crate::actor::handle::{Answer, KwqHandle};
use crate::actor::request::{BulkAnswer, BulkRequest, TaskKey};
use crate::actor::slot::Slot;
use crate::core::operations::unfinished;
use crate::model::access::Scopes;
use crate::model::command::{Class, Command};
use crate::model::id::{Name, PartitionId, TaskSeq};
use crate::model::job::JobState;
use crate::model::limits;
use crate::model::operation::{OpKind, OpNo, OpSpec, OpState, Operation};
use crate::model::priority::Priority;
use crate::model::question::{DeadAmong, OperationNumbers, Operations};
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::reply::Decided;
use crate::model::view::{Order, TaskQuery};
use std::collections::BTreeMap;

/// Dead tasks by partition, each in submit order.
type Sets = Vec<Vec<TaskSeq>>;

impl KwqHandle {
    /// Redrives or purges the dead tasks a filter matches, or only counts them.
    ///
    /// # Errors
    /// `overloaded` while too many operations run, `tracker_behind`.
    pub async fn operate(&self, request: BulkRequest) -> Answer<BulkAnswer> {
        let sets = self.select(&request).await?;
        if request.dry_run {
            let (matched, skipped) = self.count(&sets).await?;
            let skips = request.spec.kind == OpKind::Redrive;
            return Ok(BulkAnswer::Counted { matched, skipped: if skips { skipped } else { 0 } });
        }
        self.start(request.spec, sets).await.map(BulkAnswer::Started)
    }

    /// Redrives every dead task of a job.
    ///
    /// # Errors
    /// `job_not_found`, `job_ended` for a cancelled job; as [`Self::operate`].
    pub async fn retry_job(
        &self,
        job: Name,
        priority: Option<Priority>,
        by: Name,
    ) -> Answer<Operation> {
        if self.job(job.clone()).await?.state == JobState::Cancelled {
            let detail = format!("job {job} was cancelled; its tasks cannot run again");
            return Err(Reject::new(Code::JobEnded, detail));
        }
        let spec = OpSpec { priority, ..self.about_job(OpKind::Redrive, &job, by) };
        let query = TaskQuery { job: Some(job), ..TaskQuery::default() };
        let request = BulkRequest { spec, query, refs: Vec::new(), dry_run: false };
        let sets = self.select(&request).await?;
        self.start(request.spec, sets).await
    }

    /// Purges an ended job with all its tasks.
    ///
    /// # Errors
    /// `job_not_found`, `not_finished`.
    pub async fn purge_job(&self, job: Name, by: Name) -> Answer<Operation> {
        let _control = self.engine.control().await?;
        if !self.job(job.clone()).await?.state.ended() {
            return Err(unfinished());
        }
        let spec = self.about_job(OpKind::PurgeJob, &job, by);
        self.start_all(spec, Vec::new()).await
    }

    /// All operations this caller may know of, newest first.
    ///
    /// # Errors
    /// A partition that is away.
    pub async fn operations(&self) -> Answer<Vec<Operation>> {
        let calls = self.engine.slots.iter().map(|slot| self.engine.ask(slot, Operations));
        let mut sums: BTreeMap<OpNo, Operation> = BTreeMap::new();
        for (parts, _) in futures_util::future::try_join_all(calls).await? {
            for part in parts {
                match sums.get_mut(&part.op) {
                    Some(sum) => sum.merge(&part),
                    None => {
                        sums.insert(part.op, part);
                    }
                }
            }
        }
        let now = self.now().wall;
        let shown = |op: &Operation| {
            let over =
                op.ended.known().is_some_and(|at| now.since(at) >= limits::OPERATION_SHOWN_MS);
            !over && reaches(&self.scopes, &op.spec)
        };
        Ok(sums.into_values().rev().filter(shown).collect())
    }

    /// One operation.
    ///
    /// # Errors
    /// `operation_not_found`.
    pub async fn operation(&self, op: OpNo) -> Answer<Operation> {
        let found = self.operations().await?.into_iter().find(|known| known.op == op);
        found.ok_or_else(|| no_operation(op))
    }

    /// Stops an operation; what it has done stays.
    ///
    /// # Errors
    /// `operation_not_found`, `operation_ended`.
    pub async fn stop_operation(&self, op: OpNo) -> Answer<Operation> {
        let _control = self.engine.control().await?;
        if self.operation(op).await?.state != OpState::Running {
            return Err(ended(op));
        }
        let mut stopped = false;
        for slot in &self.engine.slots {
            let decided = self.engine.decide(slot, Command::StopOperation(op), Class::Report, 0);
            match decided.await.and_then(Decided::accepted) {
                Ok(_) => stopped = true,
                // This partition had done its part.
                Err(reject)
                    if matches!(reject.code, Code::OperationEnded | Code::OperationNotFound) => {}
                Err(reject) => return Err(reject.possibly_applied()),
            }
        }
        // It may have come to its end meanwhile.
        if stopped { self.operation(op).await } else { Err(ended(op)) }
    }

    fn about_job(&self, kind: OpKind, job: &Name, by: Name) -> OpSpec {
        let mut filter = crate::codec::wire::out::Out::with_capacity(32 + job.len());
        filter.open();
        filter.str("job", job);
        filter.close();
        let filter = String::from_utf8_lossy(&filter.into_bytes()).as_ref().into();
        let scopes = self.scopes.iter().cloned().collect();
        OpSpec { kind, filter, job: Some(job.clone()), scopes, by, priority: None }
    }

    async fn start(&self, spec: OpSpec, sets: Sets) -> Answer<Operation> {
        let _control = self.engine.control().await?;
        self.start_all(spec, sets).await
    }

    /// Under the lock of the control verbs, so a number is given once.
    async fn start_all(&self, mut spec: OpSpec, mut sets: Sets) -> Answer<Operation> {
        spec.scopes = self.scopes.iter().cloned().collect();
        let calls = self.engine.slots.iter().map(|slot| self.engine.ask(slot, OperationNumbers));
        let known = futures_util::future::try_join_all(calls).await?;
        if known.iter().any(|((_, running), _)| *running >= limits::OPERATIONS_RUNNING_MAX) {
            let detail = "too many operations run at once; wait for one of them";
            return Err(Reject::new(Code::Overloaded, detail).retry_unapplied(5_000));
        }
        let op = known.into_iter().map(|((next, _), _)| next).max().unwrap_or(OpNo(1));
        sets.resize(self.engine.slots.len(), Vec::new());
        for (slot, tasks) in self.engine.slots.iter().zip(sets) {
            let spec = Box::new(spec.clone());
            let command = Command::StartOperation { op, spec, tasks };
            let decided = self.engine.decide(slot, command, Class::Report, 0).await;
            // Refused in one partition, it may have begun in others.
            decided.and_then(Decided::accepted).map_err(Reject::possibly_applied)?;
        }
        self.operation(op).await.map_err(Reject::possibly_applied)
    }

    async fn count(&self, sets: &Sets) -> Answer<(u64, u64)> {
        let (mut matched, mut skipped) = (0, 0);
        for (slot, tasks) in self.engine.slots.iter().zip(sets) {
            let among = DeadAmong { tasks: tasks.clone() };
            let ((dead, left), _) = self.engine.ask(slot, among).await?;
            (matched, skipped) = (matched + dead, skipped + left);
        }
        Ok((matched, skipped))
    }

    /// The dead tasks a filter matches, by partition.
    async fn select(&self, request: &BulkRequest) -> Answer<Sets> {
        let dead = 1 << crate::model::state::TaskState::Error.index();
        let (scopes, order) = (self.scopes.clone(), Order::Old);
        let query = TaskQuery { scopes, order, states: dead, ..request.query.clone() };
        let mut sets = vec![Vec::new(); self.engine.slots.len()];
        let mut add = |(partition, seq): (PartitionId, TaskSeq)| {
            if let Some(set) = sets.get_mut(partition.index()) {
                set.push(seq);
            }
        };
        if !request.refs.is_empty() {
            for reference in &request.refs {
                self.named(*reference, &query).await?.into_iter().for_each(&mut add);
            }
        } else if query.id.is_some() {
            let mut query = TaskQuery { limit: limits::PAGE_MAX, ..query };
            loop {
                let page = self.tasks(query.clone()).await?;
                page.rows.iter().for_each(|view| add((view.row.partition, view.row.seq)));
                let Some(next) = page.next else { break };
                query.cursor = Some(next);
            }
        } else {
            for slot in &self.engine.slots {
                self.select_in(slot, &query).await?.into_iter().for_each(|s| add((slot.id, s)));
            }
        }
        Ok(sets)
    }

    async fn select_in(&self, slot: &Slot, query: &TaskQuery) -> Answer<Vec<TaskSeq>> {
        let (mut tasks, mut from) = (Vec::new(), 0);
        loop {
            let log = self.engine.log()?;
            let stretch = self.engine.tracker.select(query.clone(), log, (slot.id, from)).await?;
            tasks.extend(stretch.tasks);
            if tasks.len() > limits::OPERATION_TASKS_MAX {
                let detail = format!(
                    "more than {} dead tasks of one partition match",
                    limits::OPERATION_TASKS_MAX
                );
                let reject = Reject::new(Code::TooManyItems, detail).on("filter");
                return Err(reject.hint("narrow the filter, e.g. by job or by since and until"));
            }
            match stretch.next {
                Some(next) => from = next,
                None => return Ok(tasks),
            }
        }
    }

    /// The task of a reference, if there is one and it passes.
    async fn named(
        &self,
        reference: TaskRef,
        query: &TaskQuery,
    ) -> Answer<Option<(PartitionId, TaskSeq)>> {
        let missing = |reject: &Reject| matches!(reject.code, Code::TaskNotFound | Code::Purged);
        let (partition, seq) = match self.find(&TaskKey::Ref(reference)).await {
            Ok(found) => found,
            Err(reject) if missing(&reject) => return Ok(None),
            Err(reject) => return Err(reject),
        };
        let view = self.task_view(partition, seq, false, false).await?;
        let same =
            |id: &Name| view.spec.id.as_ref() == Some(id) || TaskRef::parse(id) == Some(reference);
        let passes = crate::actor::tracker::matches(&view, query);
        Ok((passes && query.id.as_ref().is_none_or(same)).then_some((partition, seq)))
    }
}

/// May a caller know of an operation? Only if it cannot have touched a job outside the scopes.
pub(super) fn reaches(scopes: &Scopes, spec: &OpSpec) -> bool {
    let inside = |job: &Name| scopes.cover(job);
    scopes.everything()
        || spec.job.as_ref().is_some_and(inside)
        || (!spec.scopes.is_empty() && spec.scopes.iter().all(inside))
}

fn no_operation(op: OpNo) -> Reject {
    Reject::new(Code::OperationNotFound, format!("no operation {op}"))
}

fn ended(op: OpNo) -> Reject {
    Reject::new(Code::OperationEnded, format!("operation {op} has ended"))
}
