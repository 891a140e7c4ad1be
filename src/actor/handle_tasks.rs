//! Tasks through the door: by id, lists, cancel, retry, and the lease the seed's `updateTask`
//! means.

use crate::actor::engine::{Slot, unavailable};
use crate::actor::envelope::Class;
use crate::actor::handle::{Answer, KwqHandle, log_refusal};
use crate::actor::partition::mismatch;
use crate::actor::request::{At, TaskAnswer, TaskKey, TaskListAnswer};
use crate::metrics::QueryKind;
use crate::model::command::Command;
use crate::model::id::{Name, PartitionId, TaskSeq};
use crate::model::lease::LeaseToken;
use crate::model::priority::Priority;
use crate::model::reject::{Code, Reject};
use crate::model::reply::Reply;
use crate::model::view::{Order, TaskCursor, TaskQuery, TaskView, TrackedTask};

/// Tasks of one client id that are looked at in a partition.
const ID_CANDIDATES_MAX: usize = 10_000;

impl KwqHandle {
    /// One task, exact for everything acknowledged before. `payload`, `result`: include their
    /// bytes.
    ///
    /// # Errors
    /// `task_not_found`.
    pub async fn task(&self, key: TaskKey, payload: bool, result: bool) -> Answer<TaskAnswer> {
        let (partition, seq) = self.find(&key).await?;
        let value = self.task_view(partition, seq, payload, result).await?;
        Ok(At { value, positions: self.positions() })
    }

    /// A page of tasks. The question stands behind everything acknowledged before it, so the page
    /// is always fresh.
    ///
    /// # Errors
    /// `tracker_behind`.
    pub async fn tasks(&self, mut query: TaskQuery) -> Answer<TaskListAnswer> {
        // A client id (or reference) names few tasks: they are looked up, not searched.
        if let Some(id) = query.id.take() {
            return self.tasks_by_id(query, &id).await;
        }
        query.scopes = self.scopes.clone();
        let log = self.engine.log()?;
        let started = self.now().tick;
        let mut page = self.engine.tracker.list(query, log).await?;
        let took_ms = self.now().tick.since(started);
        self.engine.metrics.queried(QueryKind::List, took_ms as f64 / 1_000.0);
        page.positions = self.positions();
        Ok(page)
    }

    async fn tasks_by_id(&self, query: TaskQuery, id: &Name) -> Answer<TaskListAnswer> {
        let mut page = TaskListAnswer { positions: self.positions(), ..TaskListAnswer::default() };
        let rows = match crate::model::reference::TaskRef::parse(id) {
            Some(reference) => match self.find(&TaskKey::Ref(reference)).await {
                Ok((partition, seq)) => self.tracked(partition, seq).await?.into_iter().collect(),
                Err(reject) if reject.code == Code::TaskNotFound => Vec::new(),
                Err(reject) => return Err(reject),
            },
            None => {
                let mut rows = self.of_id(id, query.job.as_ref(), ID_CANDIDATES_MAX).await?;
                if query.order != Order::Old {
                    rows.reverse();
                }
                rows
            }
        };
        // A page goes on behind the last row of the one before.
        let behind = |row: &TrackedTask| match &query.cursor {
            None => true,
            Some(after) if query.order == Order::Old => place(row) > after.next,
            Some(after) => place(row) < after.next,
        };
        let mut rows = rows.into_iter().filter(behind).peekable();
        let mut last = None;
        while page.rows.len() < query.limit
            && let Some(row) = rows.next()
        {
            last = Some(place(&row));
            page.scanned += 1;
            let mut view = self.task_view(row.partition, row.seq, false, false).await?;
            (view.attempts, view.payload_sha256) = (Vec::new(), None);
            if crate::actor::tracker::matches(&view, &query) {
                page.rows.push(view);
            }
        }
        page.next = rows.peek().and(last).map(|next| TaskCursor { next });
        Ok(page)
    }

    /// Cancels one task.
    ///
    /// # Errors
    /// `task_not_found`, `illegal_transition`.
    pub async fn cancel_task(&self, key: TaskKey) -> Answer<TaskView> {
        self.task_verb(key, Command::CancelTask).await
    }

    /// Redrives one dead task.
    ///
    /// # Errors
    /// `task_not_found`, `illegal_transition`, `job_ended`.
    pub async fn retry_task(&self, key: TaskKey, priority: Option<Priority>) -> Answer<TaskView> {
        self.task_verb(key, |seq| Command::RetryTask { seq, priority }).await
    }

    async fn task_verb(
        &self,
        key: TaskKey,
        command: impl FnOnce(TaskSeq) -> Command,
    ) -> Answer<TaskView> {
        let (partition, seq) = self.find(&key).await?;
        let slot = self.slot_of(partition)?;
        let decided = self.engine.decide(slot, command(seq), Class::Report, 0).await?;
        match decided.accepted()? {
            (Reply::Task(_), _) => {
                let view = self.task_view(partition, seq, false, false).await;
                view.map_err(Reject::possibly_applied)
            }
            _ => Err(mismatch()),
        }
    }

    /// The live lease of a task, if held by this worker (when given).
    ///
    /// # Errors
    /// `task_not_found`, `lease_lost`.
    pub async fn lease_of(&self, key: TaskKey, worker: Option<Name>) -> Answer<LeaseToken> {
        let (partition, seq) = self.find(&key).await?;
        let slot = self.slot_of(partition)?;
        let read = move |p: &crate::core::partition::Partition| p.live_token(seq, worker.as_ref());
        let (token, _) = self.engine.inspect(slot, read).await?;
        let detail = "the task is not leased to this worker";
        token.ok_or_else(|| Reject::new(Code::LeaseLost, detail))
    }

    /// Whether a token was ever granted for this task and is still remembered.
    ///
    /// # Errors
    /// `task_not_found`.
    pub async fn was_leased(&self, key: TaskKey, token: Option<LeaseToken>) -> Answer<bool> {
        let (partition, seq) = self.find(&key).await?;
        let Some(token) = token.filter(|token| token.partition == partition) else {
            return Ok(false);
        };
        let slot = self.slot_of(partition)?;
        let read = move |p: &crate::core::partition::Partition| p.leased_task(&token) == Some(seq);
        Ok(self.engine.inspect(slot, read).await?.0)
    }

    fn slot_of(&self, partition: PartitionId) -> Answer<&Slot> {
        self.engine.slot(partition).ok_or_else(unavailable)
    }

    async fn find(&self, key: &TaskKey) -> Answer<(PartitionId, TaskSeq)> {
        match key {
            TaskKey::Ref(reference) => {
                let reference = *reference;
                let slot = self.engine.slot(reference.partition).ok_or_else(not_found)?;
                let (seq, _) = self.engine.inspect(slot, move |p| p.seq_of(reference)).await?;
                let seq = seq.ok_or_else(not_found)?;
                if !self.scopes.everything() {
                    let row = self.tracked(reference.partition, seq).await?;
                    row.filter(|row| self.scopes.cover(&row.job)).ok_or_else(not_found)?;
                }
                Ok((reference.partition, seq))
            }
            TaskKey::Id { id, job } => self.find_id(id, job.as_ref()).await,
        }
    }

    /// The newest task of a client id.
    async fn find_id(&self, id: &Name, job: Option<&Name>) -> Answer<(PartitionId, TaskSeq)> {
        let newest = self.of_id(id, job, 1).await?.pop();
        newest.map(|row| (row.partition, row.seq)).ok_or_else(not_found)
    }

    /// Tasks of a client id, oldest first: of each partition at most the newest `most`. The index
    /// knows hashes; the text in the log decides.
    async fn of_id(&self, id: &Name, job: Option<&Name>, most: usize) -> Answer<Vec<TrackedTask>> {
        let mut found: Vec<TrackedTask> = Vec::new();
        for slot in &self.engine.slots {
            let wanted = id.clone();
            let read = move |p: &crate::core::partition::Partition| {
                p.id_candidates(&wanted).take(ID_CANDIDATES_MAX).collect::<Vec<_>>()
            };
            let (candidates, _) = self.engine.inspect(slot, read).await?;
            let before = found.len();
            for seq in candidates {
                let Some(row) = self.tracked(slot.id, seq).await? else { continue };
                if job.is_some_and(|job| *job != row.job) || !self.scopes.cover(&row.job) {
                    continue;
                }
                let texts = self.read_texts(vec![(row.record, row.index)]).await?;
                if texts.first().and_then(|t| t.spec.id.as_ref()) == Some(id) {
                    found.push(row);
                }
                if found.len() - before == most {
                    break;
                }
            }
        }
        // Within one millisecond the log's order decides; partitions of it share positions.
        found.sort_by_key(|row| (row.submitted, row.record, row.index));
        Ok(found)
    }

    /// Row of the tracker, with everything in it that was durable before this call.
    pub(crate) async fn tracked(
        &self,
        partition: PartitionId,
        seq: TaskSeq,
    ) -> Answer<Option<TrackedTask>> {
        self.engine.tracker.task(partition, seq).await
    }

    pub(crate) async fn task_view(
        &self,
        partition: PartitionId,
        seq: TaskSeq,
        payload: bool,
        result: bool,
    ) -> Answer<TaskView> {
        let known = self.engine.tracker.task_with_attempts(partition, seq).await?;
        let (row, attempts) = known.ok_or_else(not_found)?;
        let texts = self.read_texts(vec![(row.record, row.index)]).await?;
        let mut spec = texts.into_iter().next().ok_or_else(not_found)?.spec;
        let sha256 = crate::codec::digest::sha256_hex(&spec.payload.bytes);
        if !payload {
            spec.payload.bytes = Vec::new();
        }
        let result = match (result, row.result) {
            (true, Some(at)) => {
                Some(self.engine.log()?.read_result(at).map_err(|e| log_refusal(&e))?)
            }
            _ => None,
        };
        let payload_sha256 = Some(sha256);
        Ok(TaskView { row, spec, attempts, result, payload_sha256, with_payload: payload })
    }
}

/// Where a task stands in the order of admission.
fn place(row: &TrackedTask) -> Vec<u64> {
    vec![row.record.0, u64::from(row.index)]
}

fn not_found() -> Reject {
    Reject::new(Code::TaskNotFound, "no such task")
}
