//! Submits: what becomes of the items of one call, and calls under a key.
//!
//! Which partition decides what: a task the one that is asked, or the one its unique id belongs to;
//! an array the first one, and then the others have to take their shares.

use crate::core::admit::{Admission, Round};
use crate::core::keys;
use crate::core::partition::Partition;
use crate::model::command::{ARRAYS, Item, Submit};
use crate::model::event::{Event, Stamped};
use crate::model::id::{PartitionId, Position, TaskSeq};
use crate::model::key::{Frees, KeyAnswer, KeyPart, Keyed};
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::reply::{Admitted, AdmittedItem, Elsewhere, Reply, Submitted};

/// Longest wait that is told when there is no room for keys, ms.
const KEYS_WAIT_MS_MAX: u64 = 60_000;

impl Partition {
    pub(crate) fn submit(&mut self, call: Submit, events: &mut Vec<Stamped>) -> Reply {
        let Submit { items, until_refused, key } = call;
        match key {
            Some(key) => self.submit_keyed(items, until_refused, key, events),
            None => Reply::Submitted(self.admit_items(items, until_refused, events)),
        }
    }

    fn admit_items(
        &mut self,
        items: Vec<Item>,
        until_refused: bool,
        events: &mut Vec<Stamped>,
    ) -> Submitted {
        let mut round = Round::default();
        let mut answer = Submitted { outcomes: Vec::with_capacity(items.len()), ..<_>::default() };
        let undecided = |item: &Item| matches!(item, Item::Array(_));
        // With an array all are decided where arrays are: the listed order holds in each partition.
        let whole = !until_refused && !self.decides(ARRAYS) && items.iter().any(undecided);
        let mut behind = whole.then_some(ARRAYS);
        for (place, mut item) in items.into_iter().enumerate() {
            let admission = match behind {
                Some(partition) => Ok(Admission::Elsewhere(partition)),
                None => self.admit_item(&mut item, &mut round, events),
            };
            match admission {
                Ok(Admission::Here(admitted)) => {
                    // The other shares of an array come before what stands behind it.
                    let array = matches!(admitted, AdmittedItem::Array { .. });
                    behind = (until_refused && array).then_some(self.id);
                    answer.outcomes.push(Ok(admitted));
                }
                Ok(Admission::Elsewhere(partition)) => {
                    behind = behind.or_else(|| until_refused.then_some(partition));
                    answer.outcomes.push(Err(Elsewhere::placeholder()));
                    answer.elsewhere.push(Elsewhere { place, partition, item });
                }
                Err(reject) => {
                    answer.outcomes.push(Err(reject));
                    if until_refused {
                        break;
                    }
                }
            }
        }
        self.end_round(round, events);
        answer
    }

    /// An item that is refused or decided elsewhere is left as it was.
    pub(crate) fn admit_item(
        &mut self,
        item: &mut Item,
        round: &mut Round,
        events: &mut Vec<Stamped>,
    ) -> Result<Admission, Reject> {
        match item {
            Item::Task(task) => self.admit_task(task, round, events),
            Item::Array(_) if !self.decides(ARRAYS) => Ok(Admission::Elsewhere(ARRAYS)),
            Item::Array(array) => {
                // A repeat is counted once for all partitions: some may not have their share yet.
                let repeated = array.span.count;
                self.admit_array(array, repeated, round, events).map(Admission::Here)
            }
            Item::Share(array) => self.admit_array(array, 0, round, events).map(Admission::Here),
            Item::Dead(dead) => Ok(Admission::Here(self.admit_dead(dead, round, events))),
        }
    }

    /// Is this the partition, or the only one?
    pub(crate) fn decides(&self, partition: PartitionId) -> bool {
        self.policy.partitions <= 1 || self.id == partition
    }

    /// Submits under a key, or answers as the first time. The key lies in the same batch as the
    /// work, so that either both are durable or none.
    fn submit_keyed(
        &mut self,
        items: Vec<Item>,
        until_refused: bool,
        key: Keyed,
        events: &mut Vec<Stamped>,
    ) -> Reply {
        let Keyed { part, frees } = key;
        match self.recall(&part) {
            Err(reject) => return Reply::Refused(reject),
            Ok(Some(KeyAnswer::Tasks(told))) => {
                let known = |priority, seq, was| self.entry(priority, seq, was);
                return Reply::Submitted(keys::retold(told, items, known));
            }
            Ok(Some(KeyAnswer::Note(_) | KeyAnswer::Free)) => return Reply::Refused(reused()),
            Ok(None) => {}
        }
        if let Some(reject) = self.no_room_for_keys() {
            return Reply::Refused(reject);
        }
        let answer = self.admit_items(items, until_refused, events);
        let refused = |reject: &Reject| match frees {
            Frees::Never => false,
            Frees::Closed => reject.code == Code::JobClosed,
            Frees::Refused => true,
        };
        let free = answer.elsewhere.is_empty()
            && answer.outcomes.iter().all(Result::is_err)
            && answer.outcomes.iter().flat_map(|outcome| outcome.as_ref().err()).any(refused);
        if !free {
            let told = KeyAnswer::Tasks(keys::told(&answer));
            self.commit(Event::Key { part, answer: told }, events);
        }
        Reply::Submitted(answer)
    }

    /// Keeps a note under a key, or gives back the one that is there.
    pub(crate) fn remember(
        &mut self,
        part: KeyPart,
        note: Vec<u8>,
        events: &mut Vec<Stamped>,
    ) -> Reply {
        match self.recall(&part) {
            Err(reject) => return Reply::Refused(reject),
            Ok(Some(KeyAnswer::Note(note))) => return Reply::Noted(note.clone(), true),
            Ok(Some(KeyAnswer::Tasks(_) | KeyAnswer::Free)) => return Reply::Refused(reused()),
            Ok(None) => {}
        }
        if let Some(reject) = self.no_room_for_keys() {
            return Reply::Refused(reject);
        }
        self.commit(Event::Key { part, answer: KeyAnswer::Note(note.clone()) }, events);
        Reply::Noted(note, false)
    }

    /// Frees a key whose request was refused after all.
    pub(crate) fn forget_key(&mut self, part: KeyPart, events: &mut Vec<Stamped>) -> Reply {
        if matches!(self.recall(&part), Ok(Some(_))) {
            self.commit(Event::Key { part, answer: KeyAnswer::Free }, events);
        }
        Reply::Done
    }

    /// What a part of a keyed request was answered.
    ///
    /// # Errors
    /// `idempotency_key_reused` when it asked for something else.
    pub fn recall(&self, part: &KeyPart) -> Result<Option<&KeyAnswer>, Reject> {
        match self.remembered.get(part, self.now.wall, self.policy.key_retention_ms) {
            Some(known) if known.content != part.content.half() => Err(reused()),
            known => Ok(known.map(|known| &known.answer)),
        }
    }

    fn no_room_for_keys(&self) -> Option<Reject> {
        let wait_ms = self.remembered.full(self.now.wall, self.policy.key_retention_ms)?;
        let detail = "no memory for another Idempotency-Key; none is forgotten before its time";
        let hint = "lower idempotency.retention, or send larger batches under a key";
        let reject = Reject::new(Code::Overloaded, detail).hint(hint);
        Some(reject.retry_unapplied(wait_ms.min(KEYS_WAIT_MS_MAX)))
    }

    pub(crate) fn entry(&self, priority: Priority, seq: TaskSeq, duplicate: bool) -> Admitted {
        let reference = TaskRef::of_seq(priority, self.id, seq);
        Admitted { reference, seq, record: Position::default(), index: 0, duplicate }
    }
}

fn reused() -> Reject {
    let detail = "the key was used for a request with another method, path, query or body";
    Reject::new(Code::IdempotencyKeyReused, detail).hint("use a fresh key for another request")
}
