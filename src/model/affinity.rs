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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AffinityMode {
    /// A matching task first, any task otherwise.
    #[default]
    Prefer,
    /// Head of the lane, affinity ignored.
    Any,
}

/// True for a well-formed key.
#[must_use]
pub fn valid_key(key: &str) -> bool {
    (1..=limits::AFFINITY_KEY_BYTES_MAX).contains(&key.len())
        && !key.contains(',')
        && !key.chars().any(char::is_control)
}
