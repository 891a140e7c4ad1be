//! What instances of a cluster tell each other of themselves.

use crate::model::id::{Epoch, Name, PartitionId, Position};
use crate::model::time::WallMs;
use serde::{Deserialize, Serialize};

/// What one instance tells the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceState {
    /// Its name, which no other instance has.
    pub node: Name,
    /// Where the others reach it: `host:port` of its internal listener.
    pub addr: Name,
    /// Its release.
    pub version: Name,
    /// When this was so, by its clock.
    pub ts: WallMs,
    /// It takes nothing new and will leave.
    pub draining: bool,
    /// Consumes that wait for work.
    pub waiting: u64,
    /// What it serves; each partition once, at most `limits::PARTITIONS_MAX`.
    pub partitions: Vec<ServedPartition>,
}

/// A partition an instance serves. Of two instances the one with the higher epoch is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedPartition {
    /// Which one.
    pub partition: PartitionId,
    /// Under which it is served.
    pub epoch: Epoch,
    /// How far its log was applied.
    pub position: Position,
    /// Bit *i*: level *i* + 1 has something to hand out.
    pub levels: u16,
    /// Tasks that are ready.
    pub tasks: u64,
}
