//! Why a task is not running: where it stands, the reasons, the estimate. Values only.

use crate::model::id::Name;
use crate::model::priority::Priority;
use crate::model::state::TaskState;
use crate::model::time::WallMs;
use serde::{Deserialize, Serialize};

/// Where a task stands, as the partition that owns it knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Its job.
    pub job: Name,
    /// State.
    pub state: TaskState,
    /// Current priority.
    pub priority: Priority,
    /// Priority it is served at.
    pub effective: Priority,
    /// Hand-outs of the job are off.
    pub job_paused: bool,
    /// Hand-outs of the level are off.
    pub level_paused: bool,
    /// Latest entry into PENDING.
    pub available: WallMs,
    /// When a delay ends; unset = not delayed.
    pub due: WallMs,
    /// Latest hand-out and who has it; of a leased task only.
    pub held: Option<Held>,
    /// Pending tasks of its lane that go first.
    pub ahead: u64,
    /// Pending tasks of the other lanes of its level.
    pub ahead_peers: u64,
    /// Other lanes of its level that may be served.
    pub peers: u64,
    /// Pending tasks of higher levels that may be served.
    pub ahead_higher: u64,
}

/// The lease of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// By.
    pub worker: Name,
    /// Number of the hand-out.
    pub attempt: u32,
    /// Since.
    pub allocated: WallMs,
}

/// A reason, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Hand-outs of the job are off.
    JobPaused,
    /// Hand-outs of the level are off.
    LevelPaused,
    /// It waits for its time.
    Delayed,
    /// Nobody serves its partition right now.
    PartitionUnavailable,
    /// Nobody has asked for work lately.
    NoWorkers,
    /// Higher levels have work.
    HigherPriorityAhead,
    /// Other jobs share the level.
    FairShare,
    /// Older tasks of its job.
    LaneAhead,
    /// Handed out, not started.
    Allocated,
    /// Handed out and started.
    Running,
    /// Over.
    Ended,
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 11] = [
        Self::JobPaused,
        Self::LevelPaused,
        Self::Delayed,
        Self::PartitionUnavailable,
        Self::NoWorkers,
        Self::HigherPriorityAhead,
        Self::FairShare,
        Self::LaneAhead,
        Self::Allocated,
        Self::Running,
        Self::Ended,
    ];

    /// Wire name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::JobPaused => "job_paused",
            Self::LevelPaused => "level_paused",
            Self::Delayed => "delayed",
            Self::PartitionUnavailable => "partition_unavailable",
            Self::NoWorkers => "no_workers",
            Self::HigherPriorityAhead => "higher_priority_ahead",
            Self::FairShare => "fair_share",
            Self::LaneAhead => "lane_ahead",
            Self::Allocated => "allocated",
            Self::Running => "running",
            Self::Ended => "ended",
        }
    }
}

/// A reason in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What.
    pub cause: Cause,
    /// How many tasks or jobs, where that means something.
    pub count: Option<u64>,
    /// One sentence.
    pub detail: String,
}

/// The answer to *why is it not running?*
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// State.
    pub state: TaskState,
    /// Current priority.
    pub priority: Priority,
    /// Priority it is served at; absent for an ended task and while its partition is away.
    pub effective: Option<Priority>,
    /// Time in PENDING since it last came there, until it was handed out, ms.
    pub waited_ms: u64,
    /// Strongest first.
    pub reasons: Vec<Reason>,
    /// Tasks that go first: of its lane, of other lanes of its level, of higher levels. Absent for
    /// an ended task and while its partition is away.
    pub ahead: Option<[u64; 3]>,
    /// Hand-outs per second of its partition, last 60 s.
    pub rate: f64,
    /// Expected hand-out.
    pub start: Option<WallMs>,
}
