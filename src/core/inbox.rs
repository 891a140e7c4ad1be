//! What other Kafka clients wrote into the inbox topics, taken exactly once: how far an inbox was
//! taken stands in the same batch as what came of its records, so a reader that starts anywhere is
//! told where to go on.
//!
//! Must not: refuse an item. Nobody is there to be told, so a refusal is kept as a dead letter.

use crate::core::admit::{Admission, Round};
use crate::core::partition::Partition;
use crate::core::stats::Levels;
use crate::model::array::Span;
use crate::model::command::{InboxBatch, Item};
use crate::model::dead::DeadInput;
use crate::model::event::{Event, Stamped};
use crate::model::id::PartitionId;
use crate::model::reject::{Code, Reject};
use crate::model::reply::{Admitted, AdmittedItem, Reply};

/// Cure of what one partition alone cannot decide.
const OVER_REST: &str = "submit it over REST, which asks the partition that decides";

/// What became of an item.
enum Taken {
    Admitted,
    Duplicate,
    Dead,
}

impl Partition {
    /// Offset of the first record of each inbox that was not taken, index `Priority::index`.
    #[must_use]
    pub fn inbox(&self) -> &Levels {
        &self.inbox
    }

    /// Takes records. Of a batch that begins below what was taken nothing is: which of its items
    /// are new cannot be told.
    pub(crate) fn take_inbox(&mut self, batch: InboxBatch, events: &mut Vec<Stamped>) -> Reply {
        let taken = self.inbox[batch.level.index()];
        let (mut admitted, mut dead, mut duplicates) = (0, 0, 0);
        if !batch.sound() || batch.from < taken || batch.next == taken {
            return Reply::InboxTaken { next: taken, admitted, dead, duplicates };
        }
        let place = place(&batch);
        let InboxBatch { level, from, next, items } = batch;
        let mut round = Round::default();
        for (number, item) in (1u64..).zip(items) {
            match self.take_item(item, (number, &place), &mut round, events) {
                Taken::Admitted => admitted += 1,
                Taken::Duplicate => duplicates += 1,
                Taken::Dead => dead += 1,
            }
        }
        self.end_round(round, events);
        self.commit(Event::Inbox { level, from, next, lost: from - taken }, events);
        Reply::InboxTaken { next, admitted, dead, duplicates }
    }

    fn take_item(
        &mut self,
        mut item: Item,
        (number, place): (u64, &str),
        round: &mut Round,
        events: &mut Vec<Stamped>,
    ) -> Taken {
        let came_in_dead = matches!(item, Item::Dead(_));
        let reject = match self.admit_whole(&mut item, round, events) {
            Ok(Admission::Here(_)) if came_in_dead => return Taken::Dead,
            Ok(Admission::Here(
                AdmittedItem::Task(Admitted { duplicate, .. })
                | AdmittedItem::Array { duplicate, .. },
            )) => return if duplicate { Taken::Duplicate } else { Taken::Admitted },
            Ok(Admission::Elsewhere(home)) => decided_by(home),
            Err(reject) => reject,
        };
        let place = format!("item {number} of {place}{}", values(&item));
        self.admit_dead(&mut DeadInput::new(&place, &reject, item.into_task()), round, events);
        Taken::Dead
    }

    /// As a submit does, but for arrays: their shares in other partitions would be missing.
    fn admit_whole(
        &mut self,
        item: &mut Item,
        round: &mut Round,
        events: &mut Vec<Stamped>,
    ) -> Result<Admission, Reject> {
        let array = matches!(item, Item::Array(_) | Item::Share(_));
        if array && self.policy.partitions > 1 {
            let detail = "an array is spread over all partitions, and a record belongs to one";
            return Err(Reject::new(Code::NotSupported, detail).hint(OVER_REST));
        }
        self.admit_item(item, round, events)
    }
}

fn decided_by(home: PartitionId) -> Reject {
    let detail = format!("ids are unique in its job, and partition {home} decides this one");
    Reject::new(Code::NotSupported, detail).on("id").hint(OVER_REST)
}

/// Where a batch lies, for the message of a dead letter.
fn place(batch: &InboxBatch) -> String {
    let InboxBatch { level, from, next, .. } = batch;
    match next - from {
        0 | 1 => format!("record {from} of level {level}"),
        2.. => format!("records {from} to {} of level {level}", next - 1),
    }
}

/// What a dead letter of an array has no field for.
fn values(item: &Item) -> String {
    match item {
        Item::Task(_) | Item::Dead(_) => String::new(),
        Item::Array(array) | Item::Share(array) => {
            let Span { from, step, count } = array.span;
            let id = array.id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
            format!(", array{id} of {count} from {from} in steps of {step}")
        }
    }
}

#[cfg(test)]
mod tests;
