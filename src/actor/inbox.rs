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
use crate::actor::slot::SlotState;
use crate::codec::inbox::{Bounds, InboxRecord, decode};
use crate::codec::wire::field::Rules;
use crate::log::kafka::{Chunk, Inboxes, Letter};
use crate::model::command::{Class, Command, InboxBatch, Item};
use crate::model::id::PartitionId;
use crate::model::priority::Priority;
use crate::model::reply::Reply;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Records and bytes of one batch.
const BATCH: (usize, usize) = (1_000, 1 << 20);
/// Pause when no inbox has anything.
const IDLE: Duration = Duration::from_millis(10);
/// Pause after a partition could not take a batch.
const REFUSED: Duration = Duration::from_millis(100);
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
    trimmed: BTreeMap<PartitionId, Cursors>,
    last_trim_ms: u64,
}

impl Pump {
    /// A pump between a reader and an engine.
    #[must_use]
    pub fn new(handle: KwqHandle, inboxes: Arc<Inboxes>, stop: Arc<AtomicBool>) -> Self {
        let (reading, trimmed) = (BTreeMap::new(), BTreeMap::new());
        Self { handle, inboxes, stop, reading, trimmed, last_trim_ms: 0 }
    }

    /// Runs until it is stopped.
    pub async fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            self.follow_owners().await;
            if self.handle.engine.admits_submits().is_err() {
                tokio::time::sleep(REFUSED).await;
                continue;
            }
            let chunk = |id: &PartitionId| Some((*id, self.inboxes.pull(*id, BATCH)?));
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
            }
        }
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
        let Chunk { level, from, next, letters } = chunk;
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
        let bytes = letters.iter().map(|l| l.value.as_ref().map_or(0, Vec::len)).sum();
        let items = letters.iter().flat_map(|letter| items(level, letter, &bounds)).collect();
        let batch = InboxBatch { level, from, next, items };
        let command = Command::TakeInbox(Box::new(batch));
        let reply = self.engine.decide(slot, command, Class::Submit, bytes).await?.reply;
        if let Reply::Refused(reject) = reply {
            return Err(reject);
        }
        let Reply::InboxTaken { next, dead, .. } = reply else { return Err(mismatch()) };
        if dead > 0 {
            tracing::info!(partition = %id, %level, dead, "records that are no tasks");
        }
        Ok(next)
    }
}

/// What a record comes to.
fn items(level: Priority, letter: &Letter, bounds: &Bounds) -> Vec<Item> {
    let headers: Vec<(&str, Option<&[u8]>)> =
        letter.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    let record = InboxRecord {
        level,
        offset: letter.offset,
        at: letter.at,
        value: letter.value.as_deref(),
        headers: &headers,
    };
    let outcomes = decode(&record, bounds).outcomes;
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(Item::Dead)).collect()
}
