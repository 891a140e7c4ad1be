//! [`KwqHandle`]: the only door to the engine. Small questions here; submits, workers, jobs, tasks
//! and numbers in the files beside it.

use crate::actor::engine::{Engine, disk_full, lock};
use crate::actor::request::{ClusterView, PartitionView, Readiness};
use crate::actor::slot::{Slot, SlotState};
use crate::actor::tracker::Behind;
use crate::log::{Error, EventLog, StoredTask};
use crate::model::access::Scopes;
use crate::model::id::{Name, PartitionId, Position, TaskSeq};
use crate::model::question::{FirstKey, Pending};
use crate::model::reject::{Code, Reject};
use crate::model::reply::Admitted;
use crate::model::time::{Now, WallMs};
use crate::model::view::TextAt;
use crate::store::series::{Measure, Span, Window};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Result of every call that can be refused.
pub type Answer<T> = Result<T, Reject>;

/// Reads of at most this many tasks are done in place: they are in the page cache as a rule.
const READ_IN_PLACE: usize = 256;
/// A record that another instance told of is waited for so long, and looked for so often, ms.
const COPY_MS: u64 = 5_000;
const COPY_LOOK_MS: u64 = 2;
/// Actors that have not ticked for this long are dead, ms.
const LIVE_MS: u64 = 10_000;
/// A partition has so long to say how much it has, for the view of the cluster.
const PENDING: Duration = Duration::from_secs(1);

/// Cheap to clone; every method may be called from any task of any runtime thread.
#[derive(Clone)]
pub struct KwqHandle {
    pub(crate) engine: Arc<Engine>,
    /// Everything that names a job, a task or a lease acts only inside these.
    pub(crate) scopes: Scopes,
}

impl KwqHandle {
    /// A door to every job.
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, scopes: Scopes::default() }
    }

    /// A door to the jobs of these scopes only: others, their tasks and leases are as if they did
    /// not exist.
    #[must_use]
    pub fn within(&self, scopes: Scopes) -> Self {
        Self { engine: Arc::clone(&self.engine), scopes }
    }

    /// `node.id`, or the host's name.
    #[must_use]
    pub fn node_name(&self) -> Name {
        self.engine.node_name()
    }

    /// The two clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        self.engine.clock.now()
    }

    /// Unguessable bits (job ids, the cursors' key).
    #[must_use]
    pub fn random(&self) -> u64 {
        self.engine.entropy.next_u64()
    }

    /// A secret that is as old as the log: the token key of the first owner.
    ///
    /// # Errors
    /// The first partition is away.
    pub async fn log_key(&self) -> Answer<[u64; 2]> {
        let slot = self.engine.slots.first().ok_or_else(crate::actor::engine::unavailable)?;
        Ok(self.engine.ask(slot, FirstKey).await?.0)
    }

    /// What was admitted, with every default filled in.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn admitted_text(&self, admitted: &Admitted) -> Answer<StoredTask> {
        let texts = self.read_texts(vec![admitted.text()]).await;
        let texts = texts.map_err(Reject::possibly_applied)?;
        let none = || Reject::new(Code::Internal, "the log has no text for an admitted task");
        texts.into_iter().next().ok_or_else(none)
    }

    /// Reads tasks back from the log.
    pub(crate) async fn read_texts(&self, wanted: Vec<TextAt>) -> Answer<Vec<StoredTask>> {
        let log = self.engine.log()?;
        self.copied(&*log, wanted.iter().map(|at| (at.partition, at.record))).await?;
        if wanted.len() <= READ_IN_PLACE {
            return log.read_tasks(&wanted).map_err(|e| log_refusal(&e));
        }
        let read = tokio::task::spawn_blocking(move || log.read_tasks(&wanted));
        let joined =
            read.await.map_err(|_| Reject::new(Code::Internal, "reading the log failed"))?;
        joined.map_err(|e| log_refusal(&e))
    }

    /// Waits until the copy of the log on this machine has these records: another instance may have
    /// told of them before they came.
    ///
    /// # Errors
    /// `log_unavailable` after [`COPY_MS`].
    pub(super) async fn copied(
        &self,
        log: &dyn EventLog,
        records: impl Iterator<Item = (PartitionId, Position)>,
    ) -> Answer<()> {
        if !log.others_append() {
            return Ok(());
        }
        let mut missing: Vec<_> = records.filter(|(id, at)| log.end(*id) <= *at).collect();
        let mut waited_ms = 0;
        while !missing.is_empty() {
            if waited_ms >= COPY_MS {
                let detail = "the copy of the log on this machine is behind";
                return Err(Reject::new(Code::LogUnavailable, detail).retry_unapplied(1_000));
            }
            tokio::time::sleep(Duration::from_millis(COPY_LOOK_MS)).await;
            waited_ms += COPY_LOOK_MS;
            missing.retain(|(id, at)| log.end(*id) <= *at);
        }
        Ok(())
    }

    /// Hears from every other instance how far its partitions are. One that does not answer has
    /// nobody told of more, as far as can be known.
    pub(super) async fn hear_others(&self) {
        let there = self.engine.slots.iter().filter(|s| s.state() == SlotState::Elsewhere);
        let calls = there.map(|slot| self.engine.ask(slot, Pending));
        futures_util::future::join_all(calls).await;
    }

    /// Client ids of tasks, read from the log: all at once where the tracker knows their texts.
    pub(crate) async fn client_ids(
        &self,
        partition: PartitionId,
        seqs: Vec<TaskSeq>,
    ) -> BTreeMap<TaskSeq, Option<Name>> {
        if seqs.is_empty() {
            return BTreeMap::new();
        }
        let known = self.engine.tracker.texts(partition, seqs.clone()).await.unwrap_or_default();
        let wanted: Vec<TextAt> = known.iter().copied().flatten().collect();
        let mut texts = self.read_texts(wanted).await.unwrap_or_default().into_iter();
        let mut ids = BTreeMap::new();
        for (number, seq) in seqs.into_iter().enumerate() {
            let id = match known.get(number).copied().flatten().and_then(|_| texts.next()) {
                Some(text) => text.spec.id,
                None => self.client_id(partition, seq).await,
            };
            ids.insert(seq, id);
        }
        ids
    }

    /// Client id of a task, read from the log.
    pub(crate) async fn client_id(&self, partition: PartitionId, seq: TaskSeq) -> Option<Name> {
        let row = self.tracked(partition, seq).await.ok()??;
        let texts = self.read_texts(vec![row.text()]).await.ok()?;
        texts.into_iter().next()?.spec.id
    }

    /// Every actor ticked within 10 s.
    #[must_use]
    pub fn live(&self) -> bool {
        let last = self.engine.heartbeat_tick.load(Ordering::Acquire);
        self.now().tick.0.saturating_sub(last) <= LIVE_MS
    }

    /// Body of the ready answer; answers during replay too.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let engine = &self.engine;
        let count = |state| engine.slots.iter().filter(|s| s.state() == state).count();
        let (ready, failed) = (count(SlotState::Ready), count(SlotState::Failed));
        let owned = engine.slots.len() - count(SlotState::Elsewhere);
        let draining = engine.draining.load(Ordering::Acquire);
        let mut reasons = Vec::new();
        // Where others serve, too, a partition changes hands while the rest goes on.
        let shared = engine.config.log.backend.is_shared();
        let moving = shared && engine.complete.load(Ordering::Acquire);
        if ready + failed < owned && !moving {
            reasons.push("replaying");
        }
        if failed > 0 {
            reasons.push("partition_failed");
        }
        if draining {
            reasons.push("draining");
        }
        let (double, cut_off) = {
            let echo = lock(&engine.echo);
            (echo.double(), echo.is_cut_off(self.now().tick))
        };
        if engine.log().is_err() || cut_off {
            reasons.push("log_unavailable");
        }
        if double {
            // All else follows from it.
            reasons = vec!["duplicate_node_id"];
        }
        let aside = *lock(&engine.aside);
        reasons.extend(aside.filter(|word| !reasons.contains(word)));
        let permille = engine.replay_permille.load(Ordering::Acquire);
        Readiness {
            ready: reasons.is_empty(),
            reasons,
            draining,
            submits_refused: engine.refuses_submits().map(|(_, reject)| reject.code),
            durability_reasons: engine.durability_reasons(),
            partitions: (owned, ready, failed),
            replay_percent: f64::from(permille) / 10.0,
            replay_eta_ms: 0,
        }
    }

    /// Back end, e.g. `embedded`.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.engine.config.log.backend.word()
    }

    /// Number of partitions.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.engine.slots.len()
    }

    /// All partitions, whoever serves them. All are asked at a time: who is not reached is waited
    /// for once.
    pub async fn partitions(&self) -> Vec<PartitionView> {
        let views = self.engine.slots.iter().map(|slot| self.partition(slot));
        futures_util::future::join_all(views).await
    }

    async fn partition(&self, slot: &Slot) -> PartitionView {
        let state = slot.state();
        let pending = match slot.served() {
            // What nothing can be recorded for answers late or not at all.
            true => {
                let asked = tokio::time::timeout(PENDING, self.engine.ask(slot, Pending)).await;
                asked.ok().and_then(Result::ok).map_or(0, |(pending, _)| pending)
            }
            false => 0,
        };
        PartitionView {
            partition: slot.id,
            owner: slot.peer().map_or_else(|| self.engine.node_name(), |peer| peer.node),
            epoch: slot.epoch.load(Ordering::Acquire),
            state: match state {
                SlotState::Replaying => "REPLAYING",
                SlotState::Ready | SlotState::Elsewhere => "READY",
                SlotState::Failed => "FAILED",
            },
            position: Position(slot.position.load(Ordering::Acquire)),
            replay: match state {
                SlotState::Ready | SlotState::Elsewhere => 1.0,
                SlotState::Replaying | SlotState::Failed => {
                    f64::from(self.engine.replay_permille.load(Ordering::Acquire)) / 1_000.0
                }
            },
            pending,
        }
    }

    /// Nodes and partitions.
    pub async fn cluster(&self) -> ClusterView {
        let partitions = self.partitions().await;
        // During replay the levels are not known yet; nothing is handed out then either.
        let levels = self.queues().await.unwrap_or_default();
        ClusterView {
            version: Name::from(env!("CARGO_PKG_VERSION")),
            backend: self.backend(),
            durability_reasons: self.engine.durability_reasons(),
            instances: self.engine.instances(),
            partitions,
            paused: !levels.is_empty() && levels.iter().all(|level| level.paused),
        }
    }

    /// Time series of this process over a span, and when they begin. They are sums over every job,
    /// also for a door to some jobs.
    #[must_use]
    pub fn series(&self, span: Span, measures: &[Measure]) -> (WallMs, Window) {
        lock(&self.engine.sampler).window(span, measures, self.now())
    }

    /// Positions an answer is valid for.
    #[must_use]
    pub fn positions(&self) -> Vec<(PartitionId, Position)> {
        let at = |s: &Slot| (s.id, Position(s.position.load(Ordering::Acquire)));
        self.engine.slots.iter().map(at).collect()
    }

    /// What an answer of the tracker is valid for, and its age, ms.
    pub(crate) fn valid(&self, behind: Option<Behind>) -> (Vec<(PartitionId, Position)>, u64) {
        let Some(Behind { lag_ms, cursors }) = behind else { return (self.positions(), 0) };
        let folded =
            |(slot, cursor): (&Slot, Position)| (slot.id, Position(cursor.0.saturating_sub(1)));
        (self.engine.slots.iter().zip(cursors).map(folded).collect(), lag_ms)
    }
}

/// The refusal of a job that does not exist, or not for this caller.
pub(crate) fn no_job(job: &str) -> Reject {
    Reject::new(Code::JobNotFound, format!("no job {job}"))
}

/// What a caller is told about a fault of the log.
pub(crate) fn log_refusal(error: &Error) -> Reject {
    tracing::error!(%error, "the log refused");
    match error {
        Error::Full(_) => disk_full(),
        Error::Failed(_)
        | Error::Fenced(_)
        | Error::Damaged { .. }
        | Error::Locked(..)
        | Error::UnknownFormat(_)
        | Error::Settings(_)
        | Error::NoRecord(_)
        | Error::Io { .. } => {
            let mut reject = Reject::new(Code::LogUnavailable, error.to_string());
            reject.retry_after_ms = Some(1_000);
            reject
        }
    }
}

/// An engine whose partitions never come up: for calls that are refused before it.
#[cfg(test)]
pub(crate) fn idle_engine() -> KwqHandle {
    let engine = Engine::new(crate::actor::engine::Parts {
        config: crate::config::Config::default(),
        clock: crate::clock::SystemClock::shared(),
        entropy: Arc::new(crate::clock::SystemEntropy),
        metrics: crate::metrics::install("0", "test"),
        shards: 1,
        node_name: Name::from("test"),
        addr: Name::from("test:0"),
    });
    KwqHandle::new(Arc::new(engine))
}
