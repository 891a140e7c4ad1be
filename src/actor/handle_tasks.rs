//! Tasks through the door: by id, lists, cancel, retry, and the lease the seed's `updateTask`
//! means.

use crate::actor::engine::unavailable;
use crate::actor::handle::{Answer, KwqHandle, log_refusal};
use crate::actor::outcome::mismatch;
use crate::actor::request::{At, TaskAnswer, TaskKey, TaskListAnswer};
use crate::actor::slot::Slot;
use crate::actor::tracker::Seen;
use crate::metrics::QueryKind;
use crate::model::command::{Class, Command};
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::lease::LeaseToken;
use crate::model::priority::Priority;
use crate::model::question::{Candidates, LeasedTask, LiveToken, PurgedId, Referred};
use crate::model::reject::{Code, Reject};
use crate::model::reply::Reply;
use crate::model::view::{Order, TaskCursor, TaskQuery, TaskView, TrackedTask};
use std::collections::VecDeque;

/// Tasks of one client id that a page looks at.
const LOOKED_MAX: u64 = 1_000;

impl KwqHandle {
    /// One task, exact for everything acknowledged before. `payload`, `result`: include their
    /// bytes.
    ///
    /// # Errors
    /// `task_not_found`.
    pub async fn task(&self, key: TaskKey, payload: bool, result: bool) -> Answer<TaskAnswer> {
        let (partition, seq) = self.find(&key).await?;
        let value = self.task_view(partition, seq, payload, result).await?;
        Ok(At { value, positions: self.positions(), lag_ms: 0 })
    }

    /// A page of tasks: with everything acknowledged before it, or as old as it says.
    ///
    /// # Errors
    /// `tracker_behind`.
    pub async fn tasks(&self, mut query: TaskQuery) -> Answer<TaskListAnswer> {
        // A client id, a reference or the value of an element name few tasks: they are looked up,
        // not searched.
        if let Some(id) = query.id.take() {
            return self.tasks_by_name(query, Candidates::Id(id)).await;
        }
        if let (Some(value), Some(job)) = (query.index.take(), query.job.clone()) {
            return self.tasks_by_name(query, Candidates::Element(job, value)).await;
        }
        query.scopes = self.scopes.clone();
        let log = self.engine.log()?;
        let started = self.now().tick;
        if query.fresh {
            self.hear_others().await;
        }
        let Seen { value: mut page, behind } = self.engine.tracker.list(query, log).await?;
        let took_ms = self.now().tick.since(started);
        self.engine.metrics.queried(QueryKind::List, took_ms as f64 / 1_000.0);
        (page.positions, page.lag_ms) = self.valid(behind);
        Ok(page)
    }

    async fn tasks_by_name(&self, query: TaskQuery, named: Candidates) -> Answer<TaskListAnswer> {
        let mut page = TaskListAnswer { positions: self.positions(), ..TaskListAnswer::default() };
        if let Candidates::Id(id) = &named
            && let Some(reference) = crate::model::reference::TaskRef::parse(id)
        {
            match self.find(&TaskKey::Ref(reference)).await {
                Ok((partition, seq)) => self.add_row(&mut page, partition, seq, &query).await?,
                Err(reject) if matches!(reject.code, Code::TaskNotFound | Code::Purged) => {}
                Err(reject) => return Err(reject),
            }
            return Ok(page);
        }
        let mut lines = self.lines(&named, &query).await?;
        while page.rows.len() < query.limit && page.scanned < LOOKED_MAX {
            let mut best: Option<(usize, (Position, u32))> = None;
            for (number, line) in lines.iter_mut().enumerate() {
                let Some(row) = line.head(self, &named, query.job.as_ref()).await? else {
                    continue;
                };
                // All partitions share the positions of one log, so they tell which came first.
                let place = (row.record, row.index);
                if best.is_none_or(|(_, other)| (place < other) == line.oldest_first) {
                    best = Some((number, place));
                }
            }
            let Some((number, _)) = best else { break };
            if let Some(row) = lines[number].take() {
                self.add_row(&mut page, row.partition, row.seq, &query).await?;
            }
        }
        let more = lines.iter().any(|line| !line.over());
        page.next = more.then(|| TaskCursor { next: lines.iter().map(Line::cursor).collect() });
        Ok(page)
    }

    async fn add_row(
        &self,
        page: &mut TaskListAnswer,
        partition: PartitionId,
        seq: TaskSeq,
        query: &TaskQuery,
    ) -> Answer<()> {
        let mut view = self.task_view(partition, seq, false, false).await?;
        (view.attempts, view.payload_sha256) = (Vec::new(), None);
        page.scanned += 1;
        if crate::actor::tracker::matches(&view, query) {
            page.rows.push(view);
        }
        Ok(())
    }

    /// Candidates of each partition in the order of the query, from its cursor on.
    async fn lines(&self, named: &Candidates, query: &TaskQuery) -> Answer<Vec<Line>> {
        let oldest_first = query.order == Order::Old;
        let mut lines = Vec::with_capacity(self.engine.slots.len());
        for (number, slot) in self.engine.slots.iter().enumerate() {
            let (mut seqs, _) = self.engine.ask(slot, named.clone()).await?;
            if oldest_first {
                seqs.reverse();
            }
            let from = query.cursor.as_ref().and_then(|c| c.next.get(number)).copied();
            let behind = |seq: &TaskSeq| match from {
                None => true,
                Some(from) if oldest_first => seq.0 >= from,
                Some(from) => seq.0 < from,
            };
            let seqs = seqs.into_iter().filter(behind).collect();
            let seen = from.unwrap_or(0);
            lines.push(Line { partition: slot.id, oldest_first, seqs, head: None, seen });
        }
        Ok(lines)
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
        // Its job may be about to go.
        let _control = self.engine.control().await?;
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
        let (token, _) = self.engine.ask(slot, LiveToken { seq, worker }).await?;
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
        Ok(self.engine.ask(slot, LeasedTask { token }).await?.0 == Some(seq))
    }

    pub(crate) fn slot_of(&self, partition: PartitionId) -> Answer<&Slot> {
        self.engine.slot(partition).ok_or_else(unavailable)
    }

    /// The refusal of a task that is not there. Of a purged one nobody knows the job any more, so
    /// only who may see all jobs hears that it was there.
    fn missing(&self, gone: bool) -> Reject {
        if gone && self.scopes.everything() { purged("task") } else { not_found() }
    }

    pub(crate) async fn find(&self, key: &TaskKey) -> Answer<(PartitionId, TaskSeq)> {
        match key {
            TaskKey::Ref(reference) => {
                let reference = *reference;
                let slot = self.engine.slot(reference.partition).ok_or_else(not_found)?;
                let ((seq, gone), _) = self.engine.ask(slot, Referred { reference }).await?;
                let seq = seq.ok_or_else(|| self.missing(gone))?;
                if !self.scopes.everything() {
                    let row = self.tracked(reference.partition, seq).await?;
                    row.filter(|row| self.scopes.cover(&row.job)).ok_or_else(not_found)?;
                }
                Ok((reference.partition, seq))
            }
            TaskKey::Id { id, job } => self.find_id(id, job.as_ref()).await,
        }
    }

    /// The newest task of a client id. The index knows hashes; the text in the log decides.
    async fn find_id(&self, id: &Name, job: Option<&Name>) -> Answer<(PartitionId, TaskSeq)> {
        let query = TaskQuery { order: Order::New, ..TaskQuery::default() };
        let mut newest: Option<TrackedTask> = None;
        let named = Candidates::Id(id.clone());
        for mut line in self.lines(&named, &query).await? {
            let Some(row) = line.head(self, &named, job).await? else { continue };
            if newest.as_ref().is_none_or(|n| (n.record, n.index) < (row.record, row.index)) {
                newest = line.take();
            }
        }
        if let Some(row) = newest {
            return Ok((row.partition, row.seq));
        }
        let mut gone = false;
        for slot in &self.engine.slots {
            gone |= self.engine.ask(slot, PurgedId { id: id.clone() }).await?.0;
        }
        Err(self.missing(gone))
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
        let texts = self.read_texts(vec![row.text()]).await?;
        let mut spec = texts.into_iter().next().ok_or_else(not_found)?.spec;
        let sha256 = crate::codec::digest::sha256_hex(&spec.payload.bytes);
        if !payload {
            spec.payload.bytes = Vec::new();
        }
        let result = match (result, row.result) {
            (true, Some(at)) => {
                Some(self.engine.log()?.read_result(partition, at).map_err(|e| log_refusal(&e))?)
            }
            _ => None,
        };
        let payload_sha256 = Some(sha256);
        Ok(TaskView { row, spec, attempts, result, payload_sha256, with_payload: payload })
    }
}

/// Tasks of one partition that may be meant, in the order of a list.
struct Line {
    partition: PartitionId,
    oldest_first: bool,
    seqs: VecDeque<TaskSeq>,
    /// The first of them, looked up and proven.
    head: Option<TrackedTask>,
    /// Behind the last one that was looked at, oldest first.
    seen: u64,
}

impl Line {
    /// The next task that is meant, of the job if one is named.
    async fn head(
        &mut self,
        handle: &KwqHandle,
        named: &Candidates,
        job: Option<&Name>,
    ) -> Answer<Option<&TrackedTask>> {
        while self.head.is_none()
            && let Some(seq) = self.seqs.front().copied()
        {
            let row = handle.tracked(self.partition, seq).await?;
            let meant = |row: &TrackedTask| {
                job.is_none_or(|job| *job == row.job) && handle.scopes.cover(&row.job)
            };
            let row = row.filter(meant);
            if let Some(row) = row {
                let texts = handle.read_texts(vec![row.text()]).await?;
                let proven = match named {
                    Candidates::Id(id) => {
                        texts.first().and_then(|t| t.spec.id.as_ref()) == Some(id)
                    }
                    Candidates::Element(..) => true,
                };
                if proven {
                    self.head = Some(row);
                    break;
                }
            }
            self.pass();
        }
        Ok(self.head.as_ref())
    }

    fn take(&mut self) -> Option<TrackedTask> {
        self.pass();
        self.head.take()
    }

    fn pass(&mut self) {
        if let Some(seq) = self.seqs.pop_front() {
            self.seen = seq.0 + 1;
        }
    }

    fn over(&self) -> bool {
        self.seqs.is_empty()
    }

    /// Where another list would have to go on: for newest-first an exclusive upper bound.
    fn cursor(&self) -> u64 {
        match self.seqs.front() {
            Some(seq) => seq.0 + u64::from(!self.oldest_first),
            None if self.oldest_first => self.seen,
            None => 0,
        }
    }
}

/// The refusal of what was there until lately.
pub(crate) fn purged(what: &str) -> Reject {
    Reject::new(Code::Purged, format!("the {what} was purged"))
}

pub(crate) fn not_found() -> Reject {
    Reject::new(Code::TaskNotFound, "no such task")
}
