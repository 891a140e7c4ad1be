//! A record as `kwq log dump` shows it, with the references of its tasks.

#[cfg(feature = "server")]
pub mod json;

use crate::model::event::{Event, Stamped};
use crate::model::id::{Epoch, PartitionId, Position, TaskSeq};
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use std::collections::BTreeMap;

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub struct DumpRecord {
    /// Its position.
    pub position: Position,
    /// Its partition.
    pub partition: PartitionId,
    /// Its epoch.
    pub epoch: Epoch,
    /// What it is, with its stamp.
    pub body: DumpBody,
    /// References of the tasks of the event, in its order.
    pub refs: Vec<TaskRef>,
}

/// What a record is.
#[derive(Clone, Debug, PartialEq)]
pub enum DumpBody {
    /// The end of a group.
    Seal {
        /// Stamp of the group.
        at: crate::model::time::WallMs,
        /// Position up to which the log was synced before the group was written.
        synced_to: Position,
    },
    /// An event, payload and result bytes included.
    Event(Stamped),
}

impl DumpRecord {
    /// The `kind` of the dump.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.body {
            DumpBody::Seal { .. } => "Seal",
            DumpBody::Event(stamped) => stamped.event.kind(),
        }
    }
}

/// Priorities at admission, which are part of a reference and stand only in `Submitted`.
#[derive(Debug, Default)]
pub struct References {
    partitions: BTreeMap<PartitionId, Vec<Option<Priority>>>,
}

impl References {
    /// Numbers are dense from the start of a partition; one far beyond the rest is none of ours.
    const GAP_MAX: usize = 1 << 20;

    /// Remembers the tasks of a `Submitted`.
    pub fn learn(&mut self, partition: PartitionId, event: &Event) {
        let Event::Submitted { first, tasks } = event else { return };
        let known = self.partitions.entry(partition).or_default();
        let first = usize::try_from(first.0).unwrap_or(usize::MAX);
        if first > known.len().saturating_add(Self::GAP_MAX) {
            return;
        }
        known.resize(known.len().max(first + tasks.len()), None);
        for (place, task) in known.iter_mut().skip(first).zip(tasks) {
            *place = Some(task.priority);
        }
    }

    /// References of the tasks of an event.
    #[must_use]
    pub fn of(&self, partition: PartitionId, event: &Event) -> Vec<TaskRef> {
        let known = self.partitions.get(&partition);
        let reference = |seq: TaskSeq| {
            let index = usize::try_from(seq.0).unwrap_or(usize::MAX);
            let priority = known.and_then(|k| k.get(index).copied().flatten());
            TaskRef::of_seq(priority.unwrap_or(Priority::DEFAULT), partition, seq)
        };
        seqs(event).into_iter().map(reference).collect()
    }
}

/// Tasks of an event, in its order.
fn seqs(event: &Event) -> Vec<TaskSeq> {
    match event {
        Event::Owner { .. }
        | Event::JobDefined { .. }
        | Event::JobChanged { .. }
        | Event::LevelChanged { .. }
        | Event::WorkerDrained { .. }
        | Event::Key { .. }
        | Event::Duplicates(_) => Vec::new(),
        Event::Submitted { first, tasks } => {
            (first.0..).zip(tasks).map(|(seq, _)| TaskSeq(seq)).collect()
        }
        Event::Allocated { tasks, .. } => tasks.iter().map(|t| t.seq).collect(),
        Event::Started(tasks) => tasks.iter().map(|t| t.seq).collect(),
        Event::Completed(tasks) => tasks.iter().map(|t| t.seq).collect(),
        Event::Failed { tasks, .. } => tasks.iter().map(|t| t.seq).collect(),
        Event::Released { tasks, .. } => tasks.iter().map(|t| t.seq).collect(),
        Event::Cancelled(tasks) | Event::Redriven { tasks, .. } => tasks.clone(),
    }
}
