//! Affinity keys: what a task would like its worker to hold already, and what a worker holds.

use crate::model::id::Name;
use crate::model::limits;
use serde::{Deserialize, Serialize};

/// One key with its weight 1…100.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AffinityKey {
    /// 1…128 B, no comma, no control character.
    pub key: Name,
    /// 1…100; higher attracts more.
    pub weight: u8,
}

/// How a consume uses affinity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AffinityMode {
    /// A matching task first, any task otherwise.
    #[default]
    Prefer,
    /// Head of the lane, affinity ignored.
    Any,
}

/// How a hand-out fitted what its worker holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// The task or the worker has no keys.
    #[default]
    None = 0,
    /// They share a key.
    Hit = 1,
    /// Both have keys, none in common.
    Miss = 2,
}

impl Fit {
    /// All in order of their numbers.
    pub const ALL: [Self; 3] = [Self::None, Self::Hit, Self::Miss];

    /// The word of the log dump.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hit => "hit",
            Self::Miss => "miss",
        }
    }
}

/// True for a well-formed key.
#[must_use]
pub fn valid_key(key: &str) -> bool {
    (1..=limits::AFFINITY_KEY_BYTES_MAX).contains(&key.len())
        && !key.contains(',')
        && !key.chars().any(char::is_control)
}

/// Hits of all hand-outs where both sides had keys, 0…1; 0 without one.
#[must_use]
pub fn hit_ratio(hits: u64, misses: u64) -> f64 {
    hits as f64 / (hits + misses).max(1) as f64
}
