//! From the inbox topics into the partitions: reads what foreign producers have written, hands it
//! to its partition, and goes on where the partition says.
//!
//! ```text
//!   Inboxes ── pull ─► codec::inbox ─► TakeInbox ─► partition: tasks, dead letters, how far
//!      ▲                                                  │ in one batch
//!      └───────────── begin again there ◄─────────────────┘ after a new owner, a refusal, a repeat
//! ```
//! Must not: keep offsets of its own beyond the epoch of a partition, or judge a record.

use crate::actor::engine::{Engine, unavailable};
use crate::actor::handle::{Answer, KwqHandle};
use crate::actor::outcome::mismatch;
use crate::actor::slot::{Slot, SlotState};
use crate::codec::inbox::{Bounds, InboxRecord, decode};
use crate::codec::wire::field::Rules;
use crate::log::kafka::{Chunk, Head, Inboxes, Letter};
use crate::model::command::{Class, Command, InboxBatch, InboxItem};
use crate::model::id::PartitionId;
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::reply::Reply;
use futures_util::future::join_all;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Records and bytes of one batch.
const BATCH: (usize, usize) = (1_000, 1 << 20);
/// Pause when no inbox has anything.
const IDLE: Duration = Duration::from_millis(10);
/// Pause after a partition could not take a batch.
const REFUSED: Duration = Duration::from_millis(100);
/// For so long after a partition was taken, lower levels of the others wait for the higher ones of
/// it that are known to be there, ms.
const OPENING_MS: u64 = 1_000;
/// And all of the others for what it has at all, or for partitions that nobody serves yet, ms.
const UNKNOWN_MS: u64 = 300;
/// Kafka is told to forget what was taken this often, ms.
const TRIM_EVERY_MS: u64 = 60_000;

type Cursors = [u64; Priority::LEVELS];

/// Carries records until it is stopped.
pub struct Pump {
    handle: KwqHandle,
    inboxes: Arc<Inboxes>,
    stop: Arc<AtomicBool>,
    /// Epoch under which the inboxes of a partition are read.
    reading: BTreeMap<PartitionId, u64>,
    /// Epoch under which a partition was begun first, and when, ms.
    taken: BTreeMap<PartitionId, (u64, u64)>,
    trimmed: BTreeMap<PartitionId, Cursors>,
    last_trim_ms: u64,
}

impl Pump {
    /// A pump between a reader and an engine.
    #[must_use]
    pub fn new(handle: KwqHandle, inboxes: Arc<Inboxes>, stop: Arc<AtomicBool>) -> Self {
        let (reading, taken, trimmed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { handle, inboxes, stop, reading, taken, trimmed, last_trim_ms: 0 }
    }

    /// Runs until it is stopped.
    pub async fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            self.follow_owners().await;
            if self.handle.engine.admits_submits().is_err() {
                tokio::time::sleep(REFUSED).await;
                continue;
            }
            let floor = self.floor();
            let chunk = |id: &PartitionId| Some((*id, self.inboxes.pull(*id, floor, BATCH)?));
            let chunks: Vec<_> = self.reading.keys().filter_map(chunk).collect();
            if chunks.is_empty() {
                tokio::time::sleep(IDLE).await;
            }
            let handle = &self.handle;
            let takes = chunks.into_iter().map(|(id, chunk)| async move {
                let next = chunk.next;
                let took = handle.take_inbox(id, chunk).await;
                (id, took.is_ok_and(|took| took == next))
            });
            let refused = join_all(takes).await.into_iter().filter(|(_, fine)| !fine);
            let refused: Vec<_> = refused.map(|(id, _)| id).collect();
            if !refused.is_empty() {
                // They begin again where their partition is.
                self.reading.retain(|id, _| !refused.contains(id));
                tokio::time::sleep(REFUSED).await;
            }
            self.trim().await;
        }
    }

    /// Begins to read for partitions that are served under a new epoch, ends for others.
    async fn follow_owners(&mut self) {
        let serving = self.handle.engine.serving();
        for id in self.reading.keys().copied().collect::<Vec<_>>() {
            if !serving.contains_key(&id) {
                self.reading.remove(&id);
                self.inboxes.release(id);
            }
        }
        for (id, epoch) in serving {
            if self.reading.get(&id) != Some(&epoch)
                && let Ok(cursors) = self.handle.inbox_cursors(id).await
            {
                self.inboxes.own(id, cursors);
                self.reading.insert(id, epoch);
                // What it refused and is read again keeps nobody waiting.
                if self.taken.get(&id).is_none_or(|(before, _)| *before != epoch) {
                    self.taken.insert(id, (epoch, self.handle.now().tick.0));
                }
            }
        }
    }

    /// Nothing less urgent is taken now, so that partitions that were taken together are begun from
    /// their highest level on as if they were one.
    fn floor(&self) -> Head {
        let now = self.handle.now().tick.0;
        // Partitions are taken within milliseconds of each other, not at once.
        let unserved = |slot: &Slot| slot.state() == SlotState::Replaying;
        let more_come = self.handle.engine.slots.iter().any(unserved);
        let reading = self.taken.iter().filter(|(id, _)| self.reading.contains_key(id));
        let heads = reading.filter_map(|(id, (_, taken_ms))| {
            let age_ms = now.saturating_sub(*taken_ms);
            if more_come && age_ms < UNKNOWN_MS {
                return Some(Head::Unknown);
            }
            let head = (age_ms < OPENING_MS).then(|| self.inboxes.head(*id))?;
            (age_ms < UNKNOWN_MS || head != Head::Unknown).then_some(head)
        });
        heads.max().unwrap_or(Head::Nothing)
    }

    async fn trim(&mut self) {
        let now = self.handle.now().tick.0;
        if now < self.last_trim_ms + TRIM_EVERY_MS {
            return;
        }
        self.last_trim_ms = now;
        for id in self.reading.keys().copied().collect::<Vec<_>>() {
            let Ok(cursors) = self.handle.inbox_cursors(id).await else { continue };
            if self.trimmed.get(&id) == Some(&cursors) {
                continue;
            }
            let inboxes = Arc::clone(&self.inboxes);
            let asked = tokio::task::spawn_blocking(move || inboxes.trim(id, cursors)).await;
            match asked {
                Ok(Ok(())) => drop(self.trimmed.insert(id, cursors)),
                Ok(Err(error)) => tracing::warn!(%error, "inboxes are trimmed in the next round"),
                Err(error) => tracing::warn!(%error, "trimming the inboxes"),
            }
        }
    }
}

impl Engine {
    /// Partitions that are served, with their epochs.
    pub(super) fn serving(&self) -> BTreeMap<PartitionId, u64> {
        let ready = self.slots.iter().filter(|slot| slot.state() == SlotState::Ready);
        ready.map(|slot| (slot.id, slot.epoch.load(Ordering::Acquire))).collect()
    }
}

impl KwqHandle {
    /// How far the inboxes of a partition were taken, one offset a level from 1 to 9.
    async fn inbox_cursors(&self, id: PartitionId) -> Answer<Cursors> {
        let slot = self.engine.slot(id).ok_or_else(unavailable)?;
        Ok(self.engine.inspect_local(slot, |partition| *partition.inbox()).await?.0)
    }

    /// Takes records into their partition; answers where its reader goes on.
    async fn take_inbox(&self, id: PartitionId, chunk: Chunk) -> Answer<u64> {
        let slot = self.engine.slot(id).ok_or_else(unavailable)?;
        let limits = &self.engine.config.limits;
        let bounds = Bounds {
            rules: Rules {
                payload_bytes_max: limits.payload,
                result_bytes_max: limits.result,
                array_max: limits.array,
                now: self.now().wall,
                ..Rules::default()
            },
            task_bytes_max: limits.body,
            batch_bytes_max: limits.batch_body,
        };
        let mut at = chunk.from;
        for (batch, bytes) in Turns::of(chunk, bounds) {
            let (level, next) = (batch.level, batch.next);
            let command = Command::TakeInbox(Box::new(batch));
            let reply = self.engine.decide(slot, command, Class::Submit, bytes).await?.reply;
            if let Reply::Refused(reject) = reply {
                return Err(reject);
            }
            let Reply::InboxTaken { next: took, dead, .. } = reply else { return Err(mismatch()) };
            if dead > 0 {
                tracing::info!(partition = %id, %level, dead, "dead letters of an inbox");
            }
            at = took;
            if took != next {
                break;
            }
        }
        Ok(at)
    }
}

/// The batches of a chunk, each for one turn; few small records may come to many items.
///
/// A record that needs far more than a turn allows has turns of its own, and how far was taken
/// moves with the last one. Its items are pieces of one dead letter: if the last turn never comes
/// they are there twice, which their messages say; a task never is.
struct Turns {
    level: Priority,
    /// Where what is gathered begins, and where the chunk ends.
    from: u64,
    next: u64,
    letters: std::vec::IntoIter<Letter>,
    bounds: Bounds,
    gathered: Vec<InboxItem>,
    cost: usize,
    /// What a large record comes to, but for its end.
    parts: VecDeque<(InboxBatch, usize)>,
    ended: bool,
}

impl Turns {
    fn of(chunk: Chunk, bounds: Bounds) -> Self {
        let Chunk { level, from, next, letters } = chunk;
        let (gathered, parts, letters) = (Vec::new(), VecDeque::new(), letters.into_iter());
        Self { level, from, next, letters, bounds, gathered, cost: 0, parts, ended: false }
    }

    /// What is gathered, up to an offset.
    fn batch(&mut self, next: u64, goes_on: bool) -> (InboxBatch, usize) {
        let (level, from) = (self.level, self.from);
        let items = std::mem::take(&mut self.gathered);
        self.from = if goes_on { from } else { next };
        (InboxBatch { level, from, next, items, goes_on }, std::mem::take(&mut self.cost))
    }

    fn gather(&mut self, item: InboxItem) {
        self.cost += item.cost();
        self.gathered.push(item);
    }
}

impl Iterator for Turns {
    type Item = (InboxBatch, usize);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(part) = self.parts.pop_front() {
            return Some(part);
        }
        while let Some(letter) = self.letters.next() {
            let (offset, items) = (letter.offset, items(self.level, &letter, &self.bounds));
            drop(letter);
            let cost: usize = items.iter().map(InboxItem::cost).sum();
            let full = self.cost > 0 && self.cost + cost > limits::INBOX_TURN_BYTES;
            let before = full.then(|| self.batch(offset, false));
            let large = cost > 2 * limits::INBOX_TURN_BYTES;
            for item in items {
                if large && self.cost > limits::INBOX_TURN_BYTES {
                    let part = self.batch(offset + 1, true);
                    self.parts.push_back(part);
                }
                self.gather(item);
            }
            if let Some(turn) = before.or_else(|| self.parts.pop_front()) {
                return Some(turn);
            }
        }
        let ended = std::mem::replace(&mut self.ended, true);
        (!ended).then(|| self.batch(self.next, false))
    }
}

/// What a record comes to.
fn items(level: Priority, letter: &Letter, bounds: &Bounds) -> Vec<InboxItem> {
    let headers: Vec<(&str, Option<&[u8]>)> =
        letter.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    let record = InboxRecord {
        level,
        offset: letter.offset,
        at: letter.at,
        value: letter.value.as_deref(),
        headers: &headers,
    };
    decode(&record, bounds).items
}

#[cfg(test)]
#[path = "inbox_tests.rs"]
mod tests;
