//! Remembered `Idempotency-Key`s: (key, part) → what its first call was answered.
//!
//! A part costs about 160 B (72 B of the map, 32 B of the order, what it answers) and 24 B for each
//! change of outcome inside it. Parts go `idempotency.retention` after their stamp, by the log's
//! time: only an event makes them go, so replay has the same ones. At the cap new keys are refused;
//! none is forgotten early.

use crate::core::map::{self, Map};
use crate::model::command::Item;
use crate::model::id::TaskSeq;
use crate::model::key::{Hash128, KeyAnswer, KeyPart, Told};
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::reject::Reject;
use crate::model::reply::{Admitted, AdmittedItem, Elsewhere, Submitted};
use crate::model::time::WallMs;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What a part costs beside what it answers, B.
const PART_BYTES: usize = 128;

/// One remembered part, as an image keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Half the SHA-256 of the key.
    pub key: Hash128,
    /// Part of the request.
    pub part: u64,
    /// Half the SHA-256 of what was asked.
    pub content: Hash128,
    /// When.
    pub at: WallMs,
    /// What it answers.
    pub answer: KeyAnswer,
}

/// Remembered parts.
#[derive(Clone, Debug)]
pub struct RememberedKeys {
    parts: Map<(Hash128, u64), Remembered>,
    /// By age; a place whose part has another stamp by now is void.
    order: VecDeque<(WallMs, Hash128, u64)>,
    bytes: usize,
}

impl Default for RememberedKeys {
    fn default() -> Self {
        Self { parts: map::new(), order: VecDeque::new(), bytes: 0 }
    }
}

impl RememberedKeys {
    /// A part that is still remembered at `now`.
    #[must_use]
    pub fn get(&self, part: &KeyPart, now: WallMs, retention_ms: u64) -> Option<&Remembered> {
        let found = self.parts.get(&(part.key.half(), part.part))?;
        (found.at.plus(retention_ms) > now).then_some(found)
    }

    /// How long until there is room again, ms; `None` = there is.
    #[must_use]
    pub fn full(&self, now: WallMs, retention_ms: u64) -> Option<u64> {
        if self.bytes < limits::KEYS_BYTES_MAX {
            return None;
        }
        let oldest = self.order.front().map(|(at, _, _)| at.plus(retention_ms))?;
        (oldest > now).then(|| oldest.since(now))
    }

    /// Applies a `Key` event: what is too old goes first.
    pub fn apply(&mut self, part: &KeyPart, answer: &KeyAnswer, at: WallMs, retention_ms: u64) {
        while let Some((stamp, key, number)) = self.order.front().copied() {
            if stamp.plus(retention_ms) > at {
                break;
            }
            self.order.pop_front();
            if self.parts.get(&(key, number)).is_some_and(|r| r.at == stamp) {
                self.remove(key, number);
            }
        }
        let (key, number, content) = (part.key.half(), part.part, part.content.half());
        match answer {
            KeyAnswer::Free => self.remove(key, number),
            KeyAnswer::Tasks(_) | KeyAnswer::Note(_) => {
                let answer = answer.clone();
                self.insert(Remembered { key, part: number, content, at, answer });
            }
        }
    }

    /// Every part, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Remembered> {
        self.order.iter().filter_map(|(at, key, part)| {
            self.parts.get(&(*key, *part)).filter(|found| found.at == *at)
        })
    }

    /// Rebuilds from [`Self::iter`].
    #[must_use]
    pub fn restore(parts: Vec<Remembered>) -> Self {
        let mut keys = Self::default();
        parts.into_iter().for_each(|part| keys.insert(part));
        keys
    }

    fn insert(&mut self, part: Remembered) {
        self.remove(part.key, part.part);
        self.bytes += cost(&part);
        self.order.push_back((part.at, part.key, part.part));
        self.parts.insert((part.key, part.part), part);
    }

    fn remove(&mut self, key: Hash128, part: u64) {
        if let Some(gone) = self.parts.remove(&(key, part)) {
            self.bytes -= cost(&gone);
        }
    }
}

fn cost(part: &Remembered) -> usize {
    let text = |told: &Told| match told {
        Told::Refused(refusal) => {
            let hint = refusal.hint.as_ref().map_or(0, |h| h.len());
            160 + refusal.detail.len() + hint
        }
        Told::Admitted { .. }
        | Told::Duplicate { .. }
        | Told::Array { .. }
        | Told::Elsewhere { .. } => 0,
    };
    PART_BYTES
        + match &part.answer {
            KeyAnswer::Tasks(told) => {
                told.len() * size_of::<Told>() + told.iter().map(text).sum::<usize>()
            }
            KeyAnswer::Note(note) => note.len(),
            KeyAnswer::Free => 0,
        }
}

/// What is to be remembered of an answer.
#[must_use]
pub fn told(answer: &Submitted) -> Vec<Told> {
    let mut all: Vec<Told> = Vec::new();
    let mut elsewhere = answer.elsewhere.iter().peekable();
    for (place, outcome) in answer.outcomes.iter().enumerate() {
        if let Some(other) = elsewhere.next_if(|other| other.place == place) {
            match all.last_mut() {
                Some(Told::Elsewhere { partition, count }) if *partition == other.partition => {
                    *count += 1;
                }
                _ => all.push(Told::Elsewhere { partition: other.partition, count: 1 }),
            }
            continue;
        }
        match outcome {
            Ok(AdmittedItem::Task(one)) => add_known(&mut all, one),
            Ok(AdmittedItem::Array { reference, count, duplicate }) => all.push(Told::Array {
                priority: reference.priority,
                first: TaskSeq(reference.offset),
                count: *count,
                duplicate: *duplicate,
            }),
            Err(reject) => all.push(Told::Refused(Box::new(reject.into()))),
        }
    }
    all
}

fn add_known(all: &mut Vec<Told>, one: &Admitted) {
    let (was, at, seq) = (one.duplicate, one.reference.priority, one.seq);
    let follows = |priority: &Priority, first: &TaskSeq, count: &u32| {
        *priority == at && first.plus(u64::from(*count)) == seq
    };
    match all.last_mut() {
        Some(Told::Admitted { priority, first, count })
            if !was && follows(priority, first, count) =>
        {
            *count += 1;
        }
        Some(Told::Duplicate { priority, first, count })
            if was && follows(priority, first, count) =>
        {
            *count += 1;
        }
        _ if was => all.push(Told::Duplicate { priority: at, first: seq, count: 1 }),
        _ => all.push(Told::Admitted { priority: at, first: seq, count: 1 }),
    }
}

/// The answer again, to the same items. `known` makes the entry of a task of this partition.
pub fn retold(
    told: &[Told],
    items: Vec<Item>,
    known: impl Fn(Priority, TaskSeq, bool) -> Admitted,
) -> Submitted {
    let mut answer = Submitted { replayed: true, ..Submitted::default() };
    let mut items = items.into_iter().enumerate();
    for one in told {
        match one {
            Told::Admitted { priority, first, count }
            | Told::Duplicate { priority, first, count } => {
                let was = matches!(one, Told::Duplicate { .. });
                for n in 0..u64::from(*count) {
                    let task = known(*priority, first.plus(n), was);
                    answer.outcomes.push(Ok(AdmittedItem::Task(task)));
                    items.next();
                }
            }
            Told::Array { priority, first, count, duplicate } => {
                let reference = known(*priority, *first, *duplicate).reference;
                let (count, duplicate) = (*count, *duplicate);
                answer.outcomes.push(Ok(AdmittedItem::Array { reference, count, duplicate }));
                items.next();
            }
            Told::Refused(refusal) => {
                answer.outcomes.push(Err(Reject::from(&**refusal)));
                items.next();
            }
            Told::Elsewhere { partition, count } => {
                let partition = *partition;
                for (place, item) in items.by_ref().take(*count as usize) {
                    answer.outcomes.push(Err(Elsewhere::placeholder()));
                    answer.elsewhere.push(Elsewhere { place, partition, item });
                }
            }
        }
    }
    answer
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
