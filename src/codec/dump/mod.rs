//! A record as `kwq log dump` shows it, with the references of its tasks.

#[cfg(feature = "server")]
pub mod json;

use crate::model::array::Span;
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

/// What a reference is made of beside the number of its task; it stands in the records of
/// admission only.
#[derive(Debug, Default)]
pub struct References {
    /// Where it changes, ascending.
    partitions: BTreeMap<PartitionId, Vec<Admission>>,
}

#[derive(Clone, Copy, Debug)]
struct Admission {
    first: TaskSeq,
    priority: Priority,
    /// Values of the elements; `None` = single tasks.
    array: Option<Span>,
}

impl References {
    /// Remembers what an event admits.
    pub fn learn(&mut self, partition: PartitionId, event: &Event) {
        let known = self.partitions.entry(partition).or_default();
        let mut add = |first: TaskSeq, priority: Priority, array: Option<Span>| {
            let same = |last: &Admission| last.array.is_none() && last.priority == priority;
            if array.is_some() || !known.last().is_some_and(same) {
                known.push(Admission { first, priority, array });
            }
        };
        if let Event::Submitted { first, tasks } = event {
            for (seq, task) in (first.0..).zip(tasks) {
                add(TaskSeq(seq), task.priority, None);
            }
        } else if let Event::SubmittedArray { first, array } = event {
            add(*first, array.task.priority, Some(array.span));
        }
    }

    /// References of the tasks of an event; of an array its own.
    #[must_use]
    pub fn of(&self, partition: PartitionId, event: &Event) -> Vec<TaskRef> {
        let known = self.partitions.get(&partition).map_or(&[][..], Vec::as_slice);
        let reference = |seq: TaskSeq| {
            let at = known.partition_point(|a| a.first <= seq).checked_sub(1);
            let Some(admission) = at.and_then(|at| known.get(at)) else {
                return TaskRef::of_seq(Priority::DEFAULT, partition, seq);
            };
            let value = admission.array.map(|span| span.value(seq.0 - admission.first.0));
            let offset = if value.is_some() { admission.first } else { seq };
            TaskRef { index: value, ..TaskRef::of_seq(admission.priority, partition, offset) }
        };
        let array = matches!(event, Event::SubmittedArray { .. });
        let own = |r: TaskRef| if array { TaskRef { index: None, ..r } } else { r };
        seqs(event).into_iter().map(|seq| own(reference(seq))).collect()
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
        | Event::Duplicates(_)
        | Event::Inbox { .. }
        | Event::Operation { .. } => Vec::new(),
        Event::Submitted { first, tasks } => {
            (first.0..).zip(tasks).map(|(seq, _)| TaskSeq(seq)).collect()
        }
        Event::SubmittedArray { first, .. } => vec![*first],
        Event::Allocated { tasks, .. } => tasks.iter().map(|t| t.seq).collect(),
        Event::Started(tasks) => tasks.iter().map(|t| t.seq).collect(),
        Event::Completed(tasks) => tasks.iter().map(|t| t.seq).collect(),
        Event::Failed { tasks, .. } => tasks.iter().map(|t| t.seq).collect(),
        Event::Released { tasks, .. } => tasks.iter().map(|t| t.seq).collect(),
        Event::Cancelled(tasks) | Event::Redriven { tasks, .. } | Event::Purged(tasks) => {
            tasks.clone()
        }
    }
}
