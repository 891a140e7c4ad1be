//! Workers as instances know and show them, and what one instance asks another about them.

use crate::model::access::Scopes;
use crate::model::id::Name;
use crate::model::reference::TaskRef;
use crate::model::time::WallMs;
use serde::{Deserialize, Serialize};

/// State of a worker, for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerState {
    /// Heard of lately.
    Active,
    /// Finishes what it holds.
    Draining,
    /// Silent for 3 heartbeats.
    Lost,
}

impl WorkerState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Active, Self::Draining, Self::Lost];

    /// Wire name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Lost => "LOST",
        }
    }
}

/// A worker as shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Name.
    pub worker: Name,
    /// Endpoint.
    pub endpoint: Option<Name>,
    /// State.
    pub state: WorkerState,
    /// Slots it registered.
    pub slots: Option<u32>,
    /// Version it registered.
    pub version: Option<Name>,
    /// Leases held.
    pub leases: u64,
    /// What became of its hand-outs; `None` = not for this caller.
    pub tally: Option<WorkerTally>,
    /// First call.
    pub first_seen: WallMs,
    /// Latest call.
    pub last_seen: WallMs,
    /// Keys it said it holds.
    pub affinity: Vec<Name>,
    /// Tasks held, by name only.
    pub held: Vec<HeldTask>,
    /// What the tokens that have a say over it may touch; `None` = any. Not shown.
    pub by: Option<Scopes>,
}

impl WorkerView {
    /// Is it one that tokens of these scopes have no say over?
    #[must_use]
    pub fn is_foreign(&self, scopes: &Scopes) -> bool {
        !scopes.everything() && self.by.as_ref().is_some_and(|by| by != scopes)
    }

    /// Adds what another instance knows of the same worker: who heard of it later is right about
    /// what it is, what it did is the sum. It is lost if nobody hears of it.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let (new, old) =
            if self.last_seen >= other.last_seen { (self, other) } else { (other, self) };
        let state = match (new.state, old.state) {
            (WorkerState::Lost, state) | (state, WorkerState::Lost) => state,
            (WorkerState::Draining, _) | (_, WorkerState::Draining) => WorkerState::Draining,
            (WorkerState::Active, WorkerState::Active) => WorkerState::Active,
        };
        Self {
            worker: new.worker,
            endpoint: new.endpoint.or(old.endpoint),
            state,
            slots: new.slots.or(old.slots),
            version: new.version.or(old.version),
            leases: new.leases.max(old.leases),
            tally: new.tally.zip(old.tally).map(|(one, other)| one.and(other)),
            first_seen: new.first_seen.min(old.first_seen),
            last_seen: new.last_seen,
            affinity: if new.affinity.is_empty() { old.affinity } else { new.affinity },
            held: new.held,
            by: new.by.or(old.by),
        }
    }
}

/// What became of the hand-outs of a worker, over all jobs, since it was first heard of by
/// instances that still run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerTally {
    /// Completions accepted.
    pub completed: u64,
    /// Failures reported, and runs that took longer than `timeoutSeconds`.
    pub failed: u64,
    /// Leases expired.
    pub crashed: u64,
}

impl WorkerTally {
    /// The sum.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            completed: self.completed + other.completed,
            failed: self.failed + other.failed,
            crashed: self.crashed + other.crashed,
        }
    }
}

/// A task a worker holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldTask {
    /// Reference.
    pub reference: TaskRef,
    /// Job.
    pub job: Name,
    /// Attempt.
    pub attempt: u32,
    /// Since.
    pub allocated: WallMs,
}

/// Which workers another instance is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whose {
    /// All it has heard of.
    All,
    /// One.
    One(Name),
    /// One that it is to forget: somebody has said good-bye for it.
    Gone(Name),
}
