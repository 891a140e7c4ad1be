//! Simulations: real tasks in real jobs, worked on by simulated workers inside this process, each
//! simulation on a thread of its own so that it takes no turn of a shard.
//!
//! They are objects of this process: a restart forgets them and cancels what is left of them. Of
//! several instances each has its own; the names of their jobs say whose they are.

mod left;
mod worker;

use crate::actor::engine::{draining, lock};
use crate::actor::handle::{Answer, KwqHandle};
use crate::actor::request::SubmitRequest;
use crate::codec::digest::sha256_hex;
use crate::model::access::Scopes;
use crate::model::affinity::AffinityKey;
use crate::model::command::Item;
use crate::model::id::Name;
use crate::model::job::{CancelMode, JobChange, JobDefaults, JobSpec};
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::reject::{Code, Reject};
use crate::model::simulation::{SimulationPlan, SimulationState, SimulationView};
use crate::model::task::{BackoffInput, Blob, Encoding, TaskInput};
use crate::model::time::Tick;
use crate::model::view::JobView;
use crate::sim::draws;
use crate::sim::report::Latency;
use crate::telemetry::spawn_thread;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use worker::SimulatedWorker;

/// Tasks of one submit.
const BATCH: u64 = 1_000;
/// Between two looks at the jobs, and before a refused call is repeated.
const STEP: Duration = Duration::from_millis(100);
/// Back-off of its tasks: short, so that a simulated failure does not stretch the run.
const BACKOFF: BackoffInput =
    BackoffInput { base_ms: Some(100), cap_ms: Some(1_000), jitter: None };

/// The simulations of this process.
pub struct Simulations {
    handle: KwqHandle,
    all: Mutex<VecDeque<Arc<Simulation>>>,
}

impl Simulations {
    /// None yet.
    #[must_use]
    pub fn new(handle: KwqHandle) -> Self {
        Self { handle, all: Mutex::default() }
    }

    /// Starts one; its jobs are `<id>-1`, `<id>-2` …
    ///
    /// # Errors
    /// `quota` when too many run already; `internal` when no thread can be had.
    pub fn start(&self, plan: SimulationPlan) -> Answer<Arc<Simulation>> {
        let id = format!("sim-{:016x}", self.handle.random());
        let jobs = (1..=plan.jobs).map(|n| Name::from(format!("{id}-{n}"))).collect();
        self.launch(Simulation::new(&self.handle, id.into(), jobs, plan, false))
    }

    /// Starts one over a single job of this name, whose tasks have the client ids `<n>-<job>`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_named(&self, job: &Name, plan: SimulationPlan) -> Answer<Arc<Simulation>> {
        let jobs = vec![job.clone()];
        self.launch(Simulation::new(&self.handle, job.clone(), jobs, plan, true))
    }

    fn launch(&self, simulation: Simulation) -> Answer<Arc<Simulation>> {
        self.handle.engine.admits_submits()?;
        let simulation = Arc::new(simulation);
        let mut all = lock(&self.all);
        // Under the lock, so that [`Self::stop_all`] meets every one that begins.
        if self.handle.engine.draining.load(Ordering::Acquire) {
            return Err(draining());
        }
        if all.iter().filter(|s| s.running()).count() >= limits::SIMULATIONS_RUNNING_MAX {
            let most = limits::SIMULATIONS_RUNNING_MAX;
            let detail = format!("{most} simulations run already; stop one or wait");
            return Err(Reject::new(Code::Quota, detail).retry_unapplied(1_000));
        }
        let body = Arc::clone(&simulation);
        let thread = spawn_thread("kwq-simulation", move || body.run_on_this_thread());
        thread.map_err(|error| Reject::new(Code::Internal, format!("no thread: {error}")))?;
        while all.len() >= limits::SIMULATIONS_KEPT {
            let Some(oldest) = all.iter().position(|s| !s.running()) else { break };
            all.remove(oldest);
        }
        all.push_back(Arc::clone(&simulation));
        Ok(simulation)
    }

    /// One by its id.
    ///
    /// # Errors
    /// `simulation_not_found`.
    pub fn get(&self, id: &str) -> Answer<Arc<Simulation>> {
        let found = lock(&self.all).iter().find(|s| *s.id == *id).cloned();
        found.ok_or_else(|| {
            let engine = &self.handle.engine;
            let whose = match engine.config.log.backend.is_shared() {
                true => {
                    format!(" at {}; the instance it was started at knows it", engine.node_name())
                }
                false => String::new(),
            };
            Reject::new(Code::SimulationNotFound, format!("no simulation {id}{whose}"))
        })
    }

    /// Tells all of them to stop, and blocks until they have cancelled what was left of them, but
    /// not for longer than `most_ms`. For a node that drains already: no other begins then.
    pub fn stop_all(&self, most_ms: u64) {
        let running = || lock(&self.all).iter().any(|simulation| simulation.running());
        lock(&self.all).iter().for_each(|simulation| simulation.stop());
        let until = self.handle.now().tick.0.saturating_add(most_ms);
        while running() && self.handle.now().tick.0 < until {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

/// One simulation.
pub struct Simulation {
    id: Name,
    plan: SimulationPlan,
    jobs: Vec<Name>,
    /// Tasks have client ids.
    named: bool,
    /// Reaches the simulation's own jobs only, so its workers are never given other work.
    handle: KwqHandle,
    begun: Tick,
    told_to_stop: watch::Sender<bool>,
    progress: Mutex<Progress>,
}

struct Progress {
    state: SimulationState,
    waits: Latency,
    detail: Option<String>,
    /// Set once it has ended.
    last: Option<(Sums, Tick)>,
    ended: watch::Sender<bool>,
}

/// Numbers of its jobs.
#[derive(Clone, Copy, Default)]
struct Sums {
    submitted: u64,
    completed: u64,
    failed: u64,
    crashed: u64,
    hits: u64,
    misses: u64,
}

impl Sums {
    fn add(mut self, job: &JobView) -> Self {
        let numbers = &job.numbers;
        self.submitted += numbers.submitted;
        self.completed += numbers.counts.of(crate::model::state::TaskState::Completed);
        self.failed += numbers.failed_attempts;
        self.crashed += numbers.crashes;
        self.hits += numbers.hits;
        self.misses += numbers.misses;
        self
    }
}

impl Simulation {
    fn new(
        handle: &KwqHandle,
        id: Name,
        jobs: Vec<Name>,
        plan: SimulationPlan,
        named: bool,
    ) -> Self {
        // With one job the id is all of its name; with several it is their common beginning.
        let scope = if named { id.clone() } else { Name::from(format!("{id}-")) };
        Self {
            plan,
            jobs,
            named,
            handle: handle.within(Scopes::new(vec![scope])),
            begun: handle.now().tick,
            told_to_stop: watch::Sender::new(false),
            progress: Mutex::new(Progress {
                state: SimulationState::Running,
                waits: Latency::default(),
                detail: None,
                last: None,
                ended: watch::Sender::new(false),
            }),
            id,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &Name {
        &self.id
    }

    fn running(&self) -> bool {
        lock(&self.progress).state == SimulationState::Running
    }

    /// Tells it to stop: what is left of it is cancelled.
    pub fn stop(&self) {
        self.told_to_stop.send_replace(true);
    }

    /// Returns once it has ended.
    pub async fn ended(&self) {
        let mut ended = lock(&self.progress).ended.subscribe();
        // The sender lives as long as the simulation.
        drop(ended.wait_for(|over| *over).await);
    }

    /// How it stands.
    ///
    /// # Errors
    /// A partition is away.
    pub async fn view(&self) -> Answer<SimulationView> {
        let last = lock(&self.progress).last;
        let (sums, now) = match last {
            Some(last) => last,
            None => (self.sums().await?, self.handle.now().tick),
        };
        let progress = lock(&self.progress);
        Ok(SimulationView {
            id: self.id.clone(),
            state: progress.state,
            submitted: sums.submitted,
            completed: sums.completed,
            failed: sums.failed,
            crashed: sums.crashed,
            elapsed_ms: now.0.saturating_sub(self.begun.0),
            wait_ms: [0.5, 0.95, 0.99].map(|share| progress.waits.at(share) / 1_000),
            affinity: (sums.hits, sums.misses),
            detail: progress.detail.clone(),
        })
    }

    async fn sums(&self) -> Answer<Sums> {
        let jobs = self.handle.all_jobs().await?;
        Ok(self.own(&jobs).fold(Sums::default(), Sums::add))
    }

    /// The scope may cover more than its jobs: a prefix of a name is one of others too.
    fn own<'a>(&'a self, jobs: &'a [JobView]) -> impl Iterator<Item = &'a JobView> {
        jobs.iter().filter(|job| self.jobs.contains(&job.id))
    }

    fn run_on_this_thread(self: Arc<Self>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(Arc::clone(&self).run()),
            Err(error) => self.end(SimulationState::Failed, Some(error.to_string()), None),
        }
    }

    /// Runs it to its end, whatever that is.
    async fn run(self: Arc<Self>) {
        let mut told = self.told_to_stop.subscribe();
        let mut workers = JoinSet::new();
        let outcome = tokio::select! {
            outcome = self.drive(&mut workers) => outcome.map(|()| SimulationState::Done),
            _ = told.wait_for(|stop| *stop) => Ok(SimulationState::Stopped),
        };
        workers.shutdown().await;
        let (state, detail) = match outcome {
            Ok(state) => (state, None),
            Err(reject) => (SimulationState::Failed, Some(reject.detail.into_owned())),
        };
        if state != SimulationState::Done {
            self.cancel().await;
        }
        self.forget_workers().await;
        let sums = self.sums().await.ok();
        self.end(state, detail, sums);
    }

    fn end(&self, state: SimulationState, detail: Option<String>, sums: Option<Sums>) {
        let mut progress = lock(&self.progress);
        progress.state = state;
        progress.detail = detail;
        progress.last = Some((sums.unwrap_or_default(), self.handle.now().tick));
        progress.ended.send_replace(true);
        tracing::info!(id = %self.id, state = state.name(), "a simulation ended");
    }

    async fn drive(self: &Arc<Self>, workers: &mut JoinSet<()>) -> Answer<()> {
        for job in &self.jobs {
            self.handle.define_job(job.clone(), self.job_spec()).await?;
        }
        for n in 1..=self.plan.workers {
            let worker = SimulatedWorker::new(Arc::clone(self), n);
            workers.spawn(worker.work());
        }
        let mut next = 0;
        while next < self.plan.tasks {
            let end = self.plan.tasks.min(next + BATCH);
            self.submit((next..end).map(|n| self.task(n)).collect()).await?;
            next = end;
        }
        for job in &self.jobs {
            self.handle.change_job(job.clone(), JobChange::Close).await?;
        }
        loop {
            match self.handle.all_jobs().await {
                Ok(jobs) if self.own(&jobs).all(|job| job.state.ended()) => return Ok(()),
                Ok(_) => {}
                // A partition has nobody for a while.
                Err(reject) if reject.code.status() == 503 && !self.is_draining() => {}
                Err(reject) => return Err(reject),
            }
            tokio::time::sleep(STEP).await;
        }
    }

    fn is_draining(&self) -> bool {
        self.handle.readiness().draining
    }

    fn job_spec(&self) -> JobSpec {
        JobSpec {
            name: Some(job_name(&self.id, &self.handle.node_name())),
            priority: Priority::DEFAULT,
            weight: 1,
            tag: None,
            dedup: crate::model::job::Dedup::Batch,
            retention_ms: self.handle.engine.config.policy.retention_ms,
            paused: false,
            defaults: job_defaults(),
        }
    }

    fn task(&self, n: u64) -> TaskInput {
        let drawn = draws::task(&self.plan, n);
        let at = usize::try_from(drawn.job).unwrap_or(0);
        let job = self.jobs.get(at).unwrap_or(&self.id);
        let key = |n: u32| AffinityKey { key: Name::from(format!("sim={n}")), weight: 1 };
        TaskInput {
            id: self.named.then(|| Name::from(format!("{n}-{job}"))),
            job: Some(job.clone()),
            priority: Some(drawn.priority),
            payload: Blob { encoding: Encoding::Text, bytes: n.to_string().into_bytes() },
            affinity: drawn.key.map(|n| vec![key(n)]),
            ..TaskInput::default()
        }
    }

    /// Submits a batch; waits while the engine is busy.
    async fn submit(&self, tasks: Vec<TaskInput>) -> Answer<()> {
        loop {
            let (bytes, items) =
                (64 * tasks.len(), tasks.iter().cloned().map(Item::Task).collect());
            let request =
                SubmitRequest { items, bytes, until_refused: false, key: None, begin_by: None };
            match self.handle.submit(request).await {
                Ok(answer) => {
                    let refused = answer.outcomes.into_iter().find_map(Result::err);
                    return refused.map_or(Ok(()), Err);
                }
                Err(reject) if reject.not_applied && !self.is_draining() => {
                    tokio::time::sleep(STEP).await;
                }
                Err(reject) => return Err(reject),
            }
        }
    }

    async fn cancel(&self) {
        for job in &self.jobs {
            let reason = Some(Name::from("simulation stopped"));
            let cancel = JobChange::Cancel(CancelMode::Stop, reason);
            // A job that has ended or was never made needs no cancel.
            if let Err(reject) = self.handle.change_job(job.clone(), cancel).await {
                tracing::debug!(%job, detail = %reject.detail, "not cancelled");
            }
        }
    }

    /// They are gone, not lost: nobody should look for them.
    async fn forget_workers(&self) {
        for n in 1..=self.plan.workers {
            // One that never asked is not known.
            drop(self.handle.delete_worker(self.worker_name(n), true).await);
        }
    }

    fn worker_name(&self, n: u32) -> Name {
        Name::from(format!("{}-worker-{n}", self.id))
    }
}

/// Name of the jobs of a simulation: says whose it is. Of a node's name that is too long for it
/// the beginning and a hash of all of it.
fn job_name(id: &str, node: &str) -> Name {
    let begin = at_node(id);
    let room = limits::NAME_BYTES_MAX.saturating_sub(begin.len());
    if node.len() <= room {
        return Name::from(format!("{begin}{node}"));
    }
    let hash = sha256_hex(node.as_bytes());
    let mark = format!("~{}", hash.get(..16).unwrap_or(&hash));
    let kept = node.floor_char_boundary(room.saturating_sub(mark.len()));
    Name::from(format!("{begin}{}{mark}", node.get(..kept).unwrap_or_default()))
}

/// What such a name begins with, whosever it is.
fn at_node(id: &str) -> String {
    format!("simulation {id} at ")
}

fn job_defaults() -> JobDefaults {
    JobDefaults { backoff: BACKOFF, ..JobDefaults::default() }
}
