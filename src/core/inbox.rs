//! What other Kafka clients wrote into the inbox topics, taken exactly once: how far an inbox was
//! taken stands in the same batch as what came of its records, so a reader that starts anywhere is
//! told where to go on.
//!
//! Must not: refuse an item. Nobody is there to be told, so a refusal is kept as a dead letter.

use crate::core::admit::{Admission, Round};
use crate::core::partition::Partition;
use crate::core::stats::Levels;
use crate::model::command::{InboxBatch, InboxItem, Item};
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
    /// So many dead letters.
    Dead(u32),
}

impl Partition {
    /// Offset of the first record of each inbox that was not taken, index `Priority::index`.
    #[must_use]
    pub fn inbox(&self) -> &Levels {
        &self.inbox
    }

    /// Takes records. Of a batch that begins below what was taken nothing is: which of its items
    /// are new cannot be told. How far was taken stays while a record goes on.
    pub(crate) fn take_inbox(&mut self, batch: InboxBatch, events: &mut Vec<Stamped>) -> Reply {
        let taken = self.inbox[batch.level.index()];
        let (mut admitted, mut dead, mut duplicates) = (0, 0, 0);
        if !batch.sound() || batch.from < taken || batch.next == taken {
            return Reply::InboxTaken { next: taken, admitted, dead, duplicates };
        }
        let InboxBatch { level, from, next, items, goes_on } = batch;
        let mut round = Round::default();
        for item in items {
            match self.take_item(item, &mut round, events) {
                Taken::Admitted => admitted += 1,
                Taken::Duplicate => duplicates += 1,
                Taken::Dead(letters) => dead += letters,
            }
        }
        self.end_round(round, events);
        if !goes_on {
            self.commit(Event::Inbox { level, from, next, lost: from - taken }, events);
        }
        Reply::InboxTaken { next, admitted, dead, duplicates }
    }

    fn take_item(
        &mut self,
        taken: InboxItem,
        round: &mut Round,
        events: &mut Vec<Stamped>,
    ) -> Taken {
        let InboxItem { mut item, source } = taken;
        let came_in_dead = matches!(item, Item::Dead(_));
        let reject = match self.admit_whole(&mut item, round, events) {
            Ok(Admission::Here(_)) if came_in_dead => return Taken::Dead(1),
            Ok(Admission::Here(
                AdmittedItem::Task(Admitted { duplicate, .. })
                | AdmittedItem::Array { duplicate, .. },
            )) => return if duplicate { Taken::Duplicate } else { Taken::Admitted },
            Ok(Admission::Elsewhere(home)) => decided_by(home, item.task().id.as_deref()),
            Err(reject) => reject,
        };
        let mut letters = 0;
        for mut dead in source.bury("", &reject, item.into_task()) {
            self.admit_dead(&mut dead, round, events);
            letters += 1;
        }
        Taken::Dead(letters)
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

fn decided_by(home: PartitionId, id: Option<&str>) -> Reject {
    let id = id.unwrap_or_default();
    let detail = format!("ids are unique in its job, and partition {home} decides `{id}`");
    Reject::new(Code::NotSupported, detail).on("id").hint(OVER_REST)
}

#[cfg(test)]
mod tests;
