//! The nine states of a task and the table of legal transitions (`docs/semantics.md`, T1–T23).

use serde::{Deserialize, Serialize};

/// State of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum TaskState {
    /// Its job waits for another job (reserved; not reached in this release).
    Blocked = 0,
    /// Waits for its time: delayed submit, back-off, delayed release.
    Delayed = 1,
    /// May be handed out.
    Pending = 2,
    /// Leased to a worker that has not said it started.
    Allocated = 3,
    /// Leased and started.
    Running = 4,
    /// Done, result stored. Never left.
    Completed = 5,
    /// Final failure; the dead letter. Left only by redrive.
    Error = 6,
    /// Cancelled by task or job. Never left.
    Cancelled = 7,
    /// Deadline passed while queued (reserved; not reached in this release).
    Expired = 8,
}

impl TaskState {
    /// Number of states; length of every per-state array.
    pub const COUNT: usize = 9;
    /// In the order of the wire (`counts` of a job).
    pub const ALL: [Self; Self::COUNT] = [
        Self::Blocked,
        Self::Delayed,
        Self::Pending,
        Self::Allocated,
        Self::Running,
        Self::Completed,
        Self::Error,
        Self::Cancelled,
        Self::Expired,
    ];

    /// Index into per-state arrays.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
    /// Inverse of [`Self::index`].
    #[must_use]
    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }
    /// COMPLETED, ERROR, CANCELLED, EXPIRED.
    #[must_use]
    pub fn terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Error | Self::Cancelled | Self::Expired)
    }
    /// Not terminal.
    #[must_use]
    pub fn live(self) -> bool {
        !self.terminal()
    }
    /// BLOCKED, DELAYED, PENDING: known to the queue, held by nobody.
    #[must_use]
    pub fn queued(self) -> bool {
        matches!(self, Self::Blocked | Self::Delayed | Self::Pending)
    }
    /// ALLOCATED, RUNNING.
    #[must_use]
    pub fn leased(self) -> bool {
        matches!(self, Self::Allocated | Self::Running)
    }
    /// The wire name, upper case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocked => "BLOCKED",
            Self::Delayed => "DELAYED",
            Self::Pending => "PENDING",
            Self::Allocated => "ALLOCATED",
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Error => "ERROR",
            Self::Cancelled => "CANCELLED",
            Self::Expired => "EXPIRED",
        }
    }
    /// The seed's five words.
    #[must_use]
    pub fn seed_status(self) -> &'static str {
        match self {
            Self::Blocked | Self::Delayed | Self::Pending => "SUBMITTED",
            Self::Allocated => "ALLOCATED",
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Error | Self::Cancelled | Self::Expired => "ERROR",
        }
    }
    /// Reads a wire name; `SUBMITTED` is accepted for PENDING.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == "SUBMITTED" {
            return Some(Self::Pending);
        }
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
    /// True when the transition table has a row from `self` to `to`.
    #[must_use]
    pub fn may_become(self, to: Self) -> bool {
        match self {
            Self::Blocked => {
                matches!(to, Self::Pending | Self::Delayed | Self::Cancelled | Self::Expired)
            }
            Self::Delayed | Self::Pending => {
                matches!(
                    to,
                    Self::Pending
                        | Self::Allocated
                        | Self::Completed
                        | Self::Cancelled
                        | Self::Expired
                )
            }
            Self::Allocated | Self::Running => {
                !matches!(to, Self::Blocked | Self::Allocated | Self::Expired)
            }
            Self::Error | Self::Expired => matches!(to, Self::Pending | Self::Delayed),
            Self::Completed | Self::Cancelled => false,
        }
    }
}

/// One number per state; the counters of a job, a level, a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateCounts(pub [u64; TaskState::COUNT]);

impl StateCounts {
    /// Count of one state.
    #[must_use]
    pub fn of(&self, state: TaskState) -> u64 {
        self.0[state.index()]
    }
    /// Adds `n` to a state.
    pub fn add(&mut self, state: TaskState, n: u64) {
        self.0[state.index()] += n;
    }
    /// Takes `n` from a state.
    ///
    /// # Panics
    /// If the counter would become negative (promise P14: a broken invariant, never an input
    /// error).
    pub fn sub(&mut self, state: TaskState, n: u64) {
        let slot = &mut self.0[state.index()];
        *slot = slot.checked_sub(n).expect("P14: a state counter never becomes negative");
    }
    /// Moves one task between states.
    pub fn shift(&mut self, from: TaskState, to: TaskState) {
        self.sub(from, 1);
        self.add(to, 1);
    }
    /// Sum of the five live states.
    #[must_use]
    pub fn live(&self) -> u64 {
        TaskState::ALL.iter().filter(|s| s.live()).map(|s| self.of(*s)).sum()
    }
    /// Sum of all states.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
    /// Adds another set of counters.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}
