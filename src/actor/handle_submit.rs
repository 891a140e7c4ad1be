//! Submits through the door: which partition decides, what others decide in its place, and keys.
//!
//! ```text
//!   call ─► first partition (a function of the key, else any) ─► outcomes
//!                      └─ tasks with unique ids of other partitions ─► those, at once ─► outcomes
//! ```
//! The first partition remembers what it passed on, so a repeat is split as the first call was.

use crate::actor::engine::{Engine, Slot, lock, unavailable};
use crate::actor::envelope::Class;
use crate::actor::handle::{Answer, KwqHandle};
use crate::actor::partition::mismatch;
use crate::actor::request::{KeyOf, SubmitAnswer, SubmitRequest};
use crate::model::command::Command;
use crate::model::id::PartitionId;
use crate::model::key::{Digest, KeyAnswer, KeyPart, KeyedSubmit};
use crate::model::reject::{Code, Reject};
use crate::model::reply::{Elsewhere, Reply, Submitted};
use crate::model::task::TaskInput;
use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// Admits tasks. Without a key all go to one partition, but tasks with unique ids, which go
    /// where their ids belong.
    ///
    /// # Errors
    /// The whole call is refused: overload, drain, disk full, the key. Refusals of single items are
    /// in the outcomes.
    pub async fn submit(&self, request: SubmitRequest) -> Answer<SubmitAnswer> {
        self.engine.admits_submits()?;
        let SubmitRequest { tasks, bytes, until_refused, key } = request;
        let call = Submit { engine: &self.engine, bytes, until_refused, key };
        let slot = match &key {
            Some(key) => self.engine.home(&key.key, key.chunk)?,
            None => self.engine.any_slot()?,
        };
        let first = call.ask(slot, tasks, 0).await?;
        if first.elsewhere.is_empty() {
            return Ok(SubmitAnswer { outcomes: first.outcomes, replayed: first.replayed });
        }
        let answer = match until_refused {
            true => call.in_order(first).await,
            false => call.at_once(first).await,
        }?;
        if let Some(key) = key.filter(|key| key.freed_by(&answer)) {
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

    /// The note under a part of a keyed request.
    ///
    /// # Errors
    /// `idempotency_key_reused`; the partition is away.
    pub async fn recall(&self, part: KeyPart) -> Answer<Option<Vec<u8>>> {
        let note = move |partition: &crate::core::partition::Partition| {
            partition.recall(&part).map(|answer| match answer {
                Some(KeyAnswer::Note(note)) => Some(note.clone()),
                // Tasks: it is known, and that is all a caller can want to hear here.
                Some(KeyAnswer::Tasks(_)) => Some(Vec::new()),
                Some(KeyAnswer::Free) | None => None,
            })
        };
        self.engine.inspect(self.engine.home(&part.key, 0)?, note).await?.0
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

/// A submit on its way through the partitions.
struct Submit<'a> {
    engine: &'a Engine,
    bytes: usize,
    until_refused: bool,
    key: Option<KeyOf>,
}

impl Submit<'_> {
    async fn ask(&self, slot: &Slot, tasks: Vec<TaskInput>, step: u64) -> Answer<Submitted> {
        let until_refused = self.until_refused;
        let command = match &self.key {
            Some(key) => Command::SubmitKeyed(Box::new(KeyedSubmit {
                tasks,
                until_refused,
                part: key.part(KeyPart::number(key.chunk, step)),
                frees: key.frees,
            })),
            None if until_refused => Command::SubmitUntil(tasks),
            None => Command::Submit(tasks),
        };
        let decided = self.engine.decide(slot, command, Class::Submit, self.bytes).await?;
        match decided.accepted()? {
            (Reply::Submitted(answer), _) => Ok(answer),
            _ => Err(mismatch()),
        }
    }

    fn slot(&self, partition: PartitionId) -> Answer<&Slot> {
        self.engine.slot(partition).ok_or_else(unavailable)
    }

    /// Asks all others at the same time.
    async fn at_once(&self, first: Submitted) -> Answer<SubmitAnswer> {
        let Submitted { mut outcomes, elsewhere, mut replayed } = first;
        let decided_some = outcomes.len() > elsewhere.len() || self.key.is_some();
        let mut groups: BTreeMap<PartitionId, Vec<(usize, TaskInput)>> = BTreeMap::new();
        for Elsewhere { item, partition, task } in elsewhere {
            groups.entry(partition).or_default().push((item, task));
        }
        let alone = groups.len() == 1 && !decided_some;
        let calls = groups.into_iter().map(|(partition, group)| async move {
            let (items, tasks): (Vec<usize>, Vec<TaskInput>) = group.into_iter().unzip();
            Ok((items, self.ask(self.slot(partition)?, tasks, 1).await?))
        });
        // Refused in one partition, the call may be in force in others.
        let told = |reject: Reject| if alone { reject } else { reject.possibly_applied() };
        for (items, answer) in futures_util::future::try_join_all(calls).await.map_err(told)? {
            replayed &= answer.replayed;
            for (item, outcome) in items.into_iter().zip(answer.outcomes) {
                if let Some(place) = outcomes.get_mut(item) {
                    *place = outcome;
                }
            }
        }
        Ok(SubmitAnswer { outcomes, replayed })
    }

    /// Goes from partition to partition, so that nothing behind the first refusal is admitted.
    async fn in_order(&self, first: Submitted) -> Answer<SubmitAnswer> {
        let Submitted { mut outcomes, mut elsewhere, mut replayed } = first;
        let mut step = 0;
        while let Some(next) = elsewhere.first() {
            // The last outcome stands for the one to come.
            outcomes.pop();
            step += 1;
            let slot = self.slot(next.partition)?;
            let tasks: Vec<TaskInput> = elsewhere.into_iter().map(|other| other.task).collect();
            let answer = self.ask(slot, tasks, step).await.map_err(Reject::possibly_applied)?;
            replayed &= answer.replayed;
            outcomes.extend(answer.outcomes);
            elsewhere = answer.elsewhere;
        }
        Ok(SubmitAnswer { outcomes, replayed })
    }
}
