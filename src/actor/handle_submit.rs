//! Submits through the door: which partition decides, what others decide in its place, and keys.
//!
//! ```text
//!   call ─► first partition (a function of the key, that of arrays, else any) ─► outcomes
//!              ├─ tasks with unique ids of other partitions ─► those, at once ─► outcomes
//!              └─ arrays it has admitted ─► their shares, to all others at once ─► outcomes
//! ```
//! Each partition gets what belongs to it in one command and in the listed order. All remember what
//! they answered or passed on, so a repeat under the key is split as the first call was.

use crate::actor::engine::{Engine, lock, unavailable};
use crate::actor::handle::{Answer, KwqHandle};
use crate::actor::handle_tasks::purged;
use crate::actor::outcome::mismatch;
use crate::actor::request::{ItemAdmitted, ItemOutcome, KeyOf, SubmitAnswer, SubmitRequest};
use crate::actor::slot::Slot;
use crate::log::StoredTask;
use crate::model::array::ArrayInput;
use crate::model::command::{ARRAYS, Class, Command, Item, Submit};
use crate::model::id::PartitionId;
use crate::model::key::{Digest, KeyPart, Keyed};
use crate::model::question::{Recall, Retold};
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::reply::{AdmittedItem, Reply, Submitted};
use crate::model::task::TaskInput;
use futures_util::future::try_join_all;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Items with their places in the call, by the partition that is asked next.
type Groups = BTreeMap<PartitionId, Vec<(usize, Item)>>;

/// Holds a key while its call runs.
pub struct RunningKey {
    engine: Arc<Engine>,
    key: Digest,
}

impl Drop for RunningKey {
    fn drop(&mut self) {
        lock(&self.engine.running_keys).remove(&self.key);
    }
}

impl KwqHandle {
    /// Admits the items of a call for this caller; those of jobs outside its scopes are refused one
    /// by one. Answered when all are durable in every partition.
    ///
    /// # Errors
    /// The whole call is refused: overload, drain, disk full, the key. When some partitions have
    /// done their part and others have not, the refusal does not promise that nothing was applied;
    /// a repeat under the same key, or of the same ids, finishes what is missing.
    pub async fn submit(&self, request: SubmitRequest) -> Answer<SubmitAnswer> {
        let Some(foreign) = self.foreign_items(&request) else {
            return self.admit(request).await;
        };
        let until_refused = request.until_refused;
        let own = foreign.take_out(request);
        let admitted = match own.items.is_empty() {
            true => SubmitAnswer { outcomes: Vec::new(), replayed: false },
            false => self.admit(own).await?,
        };
        Ok(foreign.put_back(admitted, until_refused))
    }

    async fn admit(&self, request: SubmitRequest) -> Answer<SubmitAnswer> {
        self.engine.admits_submits()?;
        let SubmitRequest { items, bytes, until_refused, key, begin_by } = request;
        self.engine.pace_submit(begin_by).await?;
        let slot = match &key {
            Some(key) => self.engine.home(&key.key, key.chunk)?,
            None if items.iter().any(undecided) => {
                self.engine.slot(ARRAYS).ok_or_else(unavailable)?
            }
            None => self.engine.any_slot()?,
        };
        let mut tour = Tour {
            engine: &self.engine,
            bytes,
            until_refused,
            key,
            step: 0,
            outcomes: items.iter().map(|_| None).collect(),
            replayed: true,
        };
        tour.run(slot.id, items).await?;
        let passed_on = tour.step > 1;
        let answer = tour.answer();
        if let Some(key) = key.filter(|key| passed_on && key.freed_by(&answer)) {
            let part = key.part(KeyPart::number(key.chunk, 0));
            let forgot = self.engine.decide(slot, Command::ForgetKey(part), Class::Report, 0);
            forgot.await?.accepted()?;
        }
        Ok(answer)
    }

    /// Takes a key for a call that begins.
    ///
    /// # Errors
    /// `idempotency_in_progress`.
    pub fn begin_key(&self, key: Digest) -> Answer<RunningKey> {
        if !lock(&self.engine.running_keys).insert(key) {
            let detail = "the first call with this Idempotency-Key is still running";
            let mut reject = Reject::new(Code::IdempotencyInProgress, detail);
            reject.retry_after_ms = Some(1_000);
            return Err(reject);
        }
        Ok(RunningKey { engine: Arc::clone(&self.engine), key })
    }

    /// What the call under this key was told of its task when the task was purged meanwhile: made
    /// anew of the same request, because its text is gone.
    ///
    /// # Errors
    /// `purged` when the key was forgotten in this moment; the partition is away.
    pub async fn retold(&self, task: TaskRef, key: KeyOf, input: TaskInput) -> Answer<StoredTask> {
        let slot = self.slot_of(task.partition)?;
        // Decided by the first partition that was asked, or by the one its id belongs to.
        let parts = [0, 1].map(|step| key.part(KeyPart::number(key.chunk, step)));
        let retold = Retold { parts, priority: task.priority, input: Box::new(input) };
        let (found, _) = self.engine.ask(slot, retold).await?;
        let (spec, submitted) = *found.ok_or_else(|| purged("task"))?;
        Ok(StoredTask { submitted, spec })
    }

    /// The note under a part of a keyed request.
    ///
    /// # Errors
    /// `idempotency_key_reused`; the partition is away.
    pub async fn recall(&self, part: KeyPart) -> Answer<Option<Vec<u8>>> {
        self.engine.ask(self.engine.home(&part.key, 0)?, Recall { part }).await?.0
    }

    /// Keeps a note under a part of a keyed request; the note in force.
    ///
    /// # Errors
    /// `idempotency_key_reused`; the partition is away.
    pub async fn remember(&self, part: KeyPart, note: Vec<u8>) -> Answer<Vec<u8>> {
        let slot = self.engine.home(&part.key, 0)?;
        let command = Command::Remember { part, note };
        match self.engine.decide(slot, command, Class::Report, 0).await?.accepted()? {
            (Reply::Noted(note, _), _) => Ok(note),
            _ => Err(mismatch()),
        }
    }

    /// Frees a key whose request was refused after all.
    ///
    /// # Errors
    /// The partition is away.
    pub async fn forget_key(&self, part: KeyPart) -> Answer<()> {
        let slot = self.engine.home(&part.key, 0)?;
        let decided = self.engine.decide(slot, Command::ForgetKey(part), Class::Report, 0).await?;
        decided.accepted().map(drop)
    }
}

impl Engine {
    /// The partition that decides a chunk under a key: equal after every start.
    fn home(&self, key: &Digest, chunk: u64) -> Result<&Slot, Reject> {
        let count = self.slots.len() as u64;
        let place = (key.half().0[0] % count + chunk % count) % count;
        usize::try_from(place).ok().and_then(|at| self.slots.get(at)).ok_or_else(unavailable)
    }
}

fn undecided(item: &Item) -> bool {
    matches!(item, Item::Array(_))
}

/// A submit on its way through the partitions.
struct Tour<'a> {
    engine: &'a Engine,
    bytes: usize,
    until_refused: bool,
    key: Option<KeyOf>,
    /// Waves asked so far.
    step: u64,
    /// By place; `None` = not decided yet.
    outcomes: Vec<Option<ItemOutcome>>,
    replayed: bool,
}

/// What a wave leaves for the next ones.
#[derive(Default)]
struct Rest {
    /// Shares of arrays.
    shares: Groups,
    /// Items that were passed on.
    elsewhere: Groups,
}

impl Tour<'_> {
    async fn run(&mut self, first: PartitionId, items: Vec<Item>) -> Answer<()> {
        let mut groups = Groups::from([(first, items.into_iter().enumerate().collect())]);
        // What waits until the array before it is everywhere.
        let mut behind = Groups::new();
        while !groups.is_empty() {
            let Rest { shares, elsewhere } = self.wave(groups).await?;
            if !self.until_refused {
                groups = merged(shares, elsewhere);
            } else if self.refused() {
                break;
            } else if !shares.is_empty() {
                (groups, behind) = (shares, elsewhere);
            } else if elsewhere.is_empty() {
                groups = std::mem::take(&mut behind);
            } else {
                groups = elsewhere;
            }
        }
        Ok(())
    }

    /// Asks several partitions at the same time.
    async fn wave(&mut self, groups: Groups) -> Answer<Rest> {
        let begun = self.key.is_some() && self.step > 0;
        let alone =
            groups.len() == 1 && !begun && !self.outcomes.iter().flatten().any(Result::is_ok);
        let calls = groups.into_iter().map(|(partition, group)| self.ask(partition, group));
        // Refused in one partition, the call may be in force in others.
        let told = |reject: Reject| if alone { reject } else { reject.possibly_applied() };
        let answers = try_join_all(calls).await.map_err(told)?;
        self.step += 1;
        let mut rest = Rest::default();
        for asked in answers {
            self.take(asked, &mut rest);
        }
        Ok(rest)
    }

    async fn ask(&self, partition: PartitionId, group: Vec<(usize, Item)>) -> Answer<Asked> {
        let slot = self.engine.slot(partition).ok_or_else(unavailable)?;
        let partitions = self.engine.slots.len() as u64;
        let array = |(place, item): &(usize, Item)| match item {
            Item::Array(array) if partition == ARRAYS && partitions > 1 => {
                Some((*place, array.clone()))
            }
            Item::Array(_) | Item::Share(_) | Item::Task(_) | Item::Dead(_) => None,
        };
        let arrays = group.iter().filter_map(array).collect();
        let (places, items) = group.into_iter().unzip();
        let keyed = |key: &KeyOf| Keyed {
            part: key.part(KeyPart::number(key.chunk, self.step)),
            frees: key.frees,
        };
        let (until_refused, key) = (self.until_refused, self.key.as_ref().map(keyed));
        let command = Command::Submit(Box::new(Submit { items, until_refused, key }));
        let decided = self.engine.decide(slot, command, Class::Submit, self.bytes).await?;
        match decided.accepted()? {
            (Reply::Submitted(answer), _) => Ok(Asked { places, arrays, answer }),
            _ => Err(mismatch()),
        }
    }

    fn take(&mut self, asked: Asked, rest: &mut Rest) {
        let Asked { places, mut arrays, answer } = asked;
        self.replayed &= answer.replayed;
        let mut elsewhere = answer.elsewhere.into_iter().peekable();
        for (number, (place, outcome)) in places.into_iter().zip(answer.outcomes).enumerate() {
            if let Some(other) = elsewhere.next_if(|other| other.place == number) {
                rest.elsewhere.entry(other.partition).or_default().push((place, other.item));
                continue;
            }
            if let (Ok(_), Some(array)) = (&outcome, arrays.remove(&place)) {
                for partition in self.sharers(&array) {
                    let share = Item::Share(array.clone());
                    rest.shares.entry(partition).or_default().push((place, share));
                }
            }
            self.settle(place, outcome);
        }
    }

    /// The other partitions that have elements of an array.
    fn sharers(&self, array: &ArrayInput) -> impl Iterator<Item = PartitionId> + use<> {
        let used = usize::try_from(array.span.count).unwrap_or(usize::MAX);
        let used = self.engine.slots.len().min(used);
        (1..u16::try_from(used).unwrap_or(u16::MAX)).map(PartitionId)
    }

    fn settle(&mut self, place: usize, outcome: Result<AdmittedItem, Reject>) {
        let Some(slot) = self.outcomes.get_mut(place) else { return };
        *slot = Some(match (slot.take(), outcome) {
            (Some(Err(reject)), _) | (_, Err(reject)) => Err(reject),
            (_, Ok(AdmittedItem::Task(task))) => Ok(ItemAdmitted::Task(task)),
            (known, Ok(AdmittedItem::Array { reference, count, duplicate })) => match known {
                // The first partition says whether it is new. Of two calls at a time the second may
                // be the first to bring another one its share.
                Some(Ok(ItemAdmitted::Array { count: before, mut refs, duplicate })) => {
                    refs.push(reference);
                    Ok(ItemAdmitted::Array { count: before + count, refs, duplicate })
                }
                _ => Ok(ItemAdmitted::Array { count, refs: vec![reference], duplicate }),
            },
        });
    }

    fn refused(&self) -> bool {
        self.outcomes.iter().flatten().any(Result::is_err)
    }

    fn answer(self) -> SubmitAnswer {
        let outcomes = self.outcomes.into_iter().map_while(|outcome| outcome).collect();
        SubmitAnswer { outcomes, replayed: self.replayed }
    }
}

/// A partition's answer, with what was asked of it.
struct Asked {
    places: Vec<usize>,
    /// Arrays whose shares the others get if they are admitted, by place.
    arrays: BTreeMap<usize, ArrayInput>,
    answer: Submitted,
}

/// Both, in the listed order in each partition.
fn merged(mut groups: Groups, more: Groups) -> Groups {
    for (partition, items) in more {
        groups.entry(partition).or_default().extend(items);
    }
    groups.values_mut().for_each(|items| items.sort_by_key(|(place, _)| *place));
    groups
}
