//! A load that the server makes for itself: what it is made of, and what became of it.

use crate::model::id::Name;
use crate::model::priority::Priority;

/// How the run times of a simulation spread around their mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// All the mean.
    #[default]
    Fixed,
    /// Even between 0 and twice the mean.
    Uniform,
    /// Exponential: many short runs, few long ones.
    Exponential,
}

impl Spread {
    /// Every spread.
    pub const ALL: [Self; 3] = [Self::Fixed, Self::Uniform, Self::Exponential];

    /// The word in a plan.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Uniform => "uniform",
            Self::Exponential => "exp",
        }
    }
}

/// What a simulation is made of. The same plan draws the same tasks and runs each time.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulationPlan {
    /// Tasks, 1…10,000,000.
    pub tasks: u64,
    /// Jobs they are dealt to in turn, 1…1,000.
    pub jobs: u32,
    /// Workers, 1…10,000.
    pub workers: u32,
    /// Spread of the run times.
    pub spread: Spread,
    /// Mean run time, ms; 0…3,600,000.
    pub mean_ms: u32,
    /// Share of the attempts that fail, 0…1.
    pub fail_rate: f64,
    /// Share of the attempts whose worker dies, 0…1; both together at most 1.
    pub crash_rate: f64,
    /// Distinct affinity keys, one of them on each task; 0 = none.
    pub affinity_keys: u32,
    /// Priorities in turn, at least one.
    pub priorities: Vec<Priority>,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for SimulationPlan {
    fn default() -> Self {
        Self {
            tasks: 10_000,
            jobs: 1,
            workers: 10,
            spread: Spread::Fixed,
            mean_ms: 100,
            fail_rate: 0.0,
            crash_rate: 0.0,
            affinity_keys: 0,
            priorities: vec![Priority::DEFAULT],
            seed: 1,
        }
    }
}

/// Where a simulation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimulationState {
    /// Its workers work.
    Running,
    /// Every task has ended.
    Done,
    /// Told to stop; what was left is cancelled.
    Stopped,
    /// The engine refused it; what was left is cancelled.
    Failed,
}

impl SimulationState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Running, Self::Done, Self::Stopped, Self::Failed];

    /// Wire name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Done => "DONE",
            Self::Stopped => "STOPPED",
            Self::Failed => "FAILED",
        }
    }
}

/// A simulation as shown.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulationView {
    /// Id; its jobs are `<id>-1`, `<id>-2` …
    pub id: Name,
    /// Where it stands.
    pub state: SimulationState,
    /// Tasks admitted.
    pub submitted: u64,
    /// Tasks completed.
    pub completed: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Attempts whose worker died.
    pub crashed: u64,
    /// From its start to now or to its end, ms.
    pub elapsed_ms: u64,
    /// Wait in the queue, ms: p50, p95, p99.
    pub wait_ms: [u64; 3],
    /// Affinity hits, misses.
    pub affinity: (u64, u64),
    /// Why it failed.
    pub detail: Option<String>,
}

impl SimulationView {
    /// Tasks completed per second.
    #[must_use]
    pub fn rate_per_sec(&self) -> f64 {
        self.completed as f64 * 1_000.0 / self.elapsed_ms.max(1) as f64
    }
}
