//! Submits that hold arrays: every partition gets its share of each array in one atomic command,
//! and the first one the tasks between them.

use crate::actor::envelope::{Class, Decided};
use crate::actor::handle::{Answer, KwqHandle};
use crate::actor::partition::mismatch;
use crate::actor::request::{ItemAdmitted, ItemOutcome};
use crate::actor::scoped::with_foreign;
use crate::model::array::ArrayInput;
use crate::model::command::{Command, Item};
use crate::model::reject::{Code, Reject};
use crate::model::reply::{AdmittedItem, Reply};

impl KwqHandle {
    /// Admits tasks and arrays; answered when they are durable in every partition. `bytes` = size
    /// of the body they came in, for admission.
    ///
    /// # Errors
    /// The whole call is refused. When some partitions have admitted their share and others have
    /// not the refusal does not promise that nothing was applied; a repeat under the same array ids
    /// finishes what is missing.
    pub async fn submit_items(&self, items: Vec<Item>, bytes: usize) -> Answer<Vec<ItemOutcome>> {
        let (own, foreign) = self.own_items(items, Item::task);
        Ok(with_foreign(foreign, self.admit_items(own, bytes).await?))
    }

    async fn admit_items(&self, items: Vec<Item>, bytes: usize) -> Answer<Vec<ItemOutcome>> {
        self.engine.admits_submits()?;
        let shares = shares(&items, self.engine.slots.len());
        let calls = self.engine.slots.iter().zip(shares).filter(|(_, share)| !share.is_empty());
        let calls = calls.map(|(slot, share)| {
            let command = Command::SubmitItems(share);
            self.engine.decide(slot, command, Class::Submit, bytes)
        });
        let mut parts = Vec::new();
        let mut refused = None;
        for decided in futures_util::future::join_all(calls).await {
            match decided.and_then(Decided::accepted) {
                Ok((Reply::Items(outcomes), _)) => parts.push(outcomes.into_iter()),
                Ok(_) => return Err(mismatch()),
                Err(reject) => refused = Some(reject),
            }
        }
        if let Some(reject) = refused {
            let whole = parts.is_empty();
            return Err(if whole { reject } else { reject.possibly_applied() });
        }
        Ok(items.iter().map(|item| outcome(item, &mut parts)).collect())
    }
}

/// What each partition gets: its share of every array, the first one every task.
fn shares(items: &[Item], partitions: usize) -> Vec<Vec<Item>> {
    let of = partitions as u64;
    let share = |number: u64| {
        let item = |item: &Item| match item {
            Item::Task(_) => (number == 0).then(|| item.clone()),
            Item::Array(array) => {
                let span = array.span.share(number, of.min(array.span.count));
                let used = number < of.min(array.span.count);
                used.then(|| Item::Array(Box::new(ArrayInput { span, ..(**array).clone() })))
            }
        };
        items.iter().filter_map(item).collect()
    };
    (0..of).map(share).collect()
}

/// The outcome of an item from those of its shares. Every partition that got a share answers in the
/// order of the items.
fn outcome(
    item: &Item,
    parts: &mut [std::vec::IntoIter<Result<AdmittedItem, Reject>>],
) -> ItemOutcome {
    let missing = || Reject::new(Code::Internal, "an item without outcome");
    let used = match item {
        Item::Task(_) => 1,
        Item::Array(array) => usize::try_from(array.span.count).unwrap_or(usize::MAX),
    };
    let (mut refs, mut count, mut duplicates) = (Vec::new(), 0, 0);
    let mut refused = None;
    for part in parts.iter_mut().take(used) {
        match part.next().ok_or_else(missing)? {
            Ok(AdmittedItem::Task(admitted)) => return Ok(ItemAdmitted::Task(admitted)),
            Ok(AdmittedItem::Array { reference, count: share, duplicate }) => {
                refs.push(reference);
                count += share;
                duplicates += usize::from(duplicate);
            }
            Err(reject) => refused = Some(reject),
        }
    }
    match refused {
        Some(reject) => Err(reject),
        None => Ok(ItemAdmitted::Array { count, duplicate: duplicates == refs.len(), refs }),
    }
}
