//! Client ids of recent hand-outs, so that a verdict can name its task without a look into the log.

use crate::core::map::{self, Map};
use crate::model::id::{LeaseNo, Name, PartitionId};
use std::collections::VecDeque;

/// Entries kept; the oldest go first.
const KEPT: usize = 100_000;

/// Bounded memory: lease → client id (`None` = the task has none).
pub(crate) struct HandedIds {
    by_lease: Map<(PartitionId, LeaseNo), Option<Name>>,
    order: VecDeque<(PartitionId, LeaseNo)>,
}

impl Default for HandedIds {
    fn default() -> Self {
        Self { by_lease: map::new(), order: VecDeque::new() }
    }
}

impl HandedIds {
    pub(crate) fn note(&mut self, partition: PartitionId, lease: LeaseNo, id: Option<Name>) {
        if self.order.len() == KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_lease.remove(&oldest);
        }
        if self.by_lease.insert((partition, lease), id).is_none() {
            self.order.push_back((partition, lease));
        }
    }

    /// `None` = not remembered.
    pub(crate) fn get(&self, partition: PartitionId, lease: LeaseNo) -> Option<Option<Name>> {
        self.by_lease.get(&(partition, lease)).cloned()
    }
}
