//! What was left for an owner that was away: any instance leaves reports on the commands topic, and
//! whoever serves the partition applies them, in order.
//!
//! ```text
//!   report ─ owner away ─► Way ─► Commands ─► … ─► pull ─► Report ─► partition
//!                                    ▲                        │
//!                                    └── trimmed below ◄──────┘ once it is durable
//! ```
//! Nobody keeps how far that has come: a new owner applies again what was not trimmed yet, and is
//! told `duplicate` or `lease_lost`, which changes nothing.
//!
//! Must not: pass a command on to another instance, or leave it again.

use crate::actor::away::{Leaving, Left, Place};
use crate::actor::engine::unavailable;
use crate::actor::handle::{Answer, KwqHandle};
use crate::actor::handle_work::counted;
use crate::actor::outcome::mismatch;
use crate::codec::left;
use crate::log::kafka::{Commands, Delivery, Letter};
use crate::model::command::{Class, Command};
use crate::model::id::PartitionId;
use crate::model::reply::{Decided, Reply};
use crate::model::report::Report;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Records and bytes that are applied as one command; a record may hold as many reports.
const BATCH: (usize, usize) = (1_000, 1 << 20);
/// Pause when nothing was left.
const IDLE: Duration = Duration::from_millis(20);
/// Pause after a partition could not take what was left.
const REFUSED: Duration = Duration::from_millis(100);
/// Whoever leaves something waits so long: the producer gives up before.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// Kafka is told to forget what was applied this often, ms, or after so many records.
const TRIM_EVERY_MS: u64 = 60_000;
const TRIM_RECORDS: u64 = 10_000;

/// The way of reports to an owner that is away.
struct Way(Arc<Commands>);

impl Place for Way {
    fn leave(&self, id: PartitionId, reports: &[Report]) -> Leaving {
        let (done, told) = oneshot::channel();
        let sent = left::encode(reports).map_err(|error| error.to_string()).and_then(|value| {
            // Whoever asked may have gone.
            let done = Box::new(move |sent| done.send(sent).unwrap_or(()));
            self.0.send(id, &value, done).map_err(|error| error.to_string())
        });
        Box::pin(async move {
            if let Err(error) = sent {
                tracing::warn!(partition = %id, error, "reports are not left for their owner");
                return Left::Refused;
            }
            match tokio::time::timeout(LEAVE_LIMIT, told).await {
                Ok(Ok(Delivery::Durable)) => Left::Durable,
                Ok(Ok(Delivery::Refused)) => Left::Refused,
                Ok(Ok(Delivery::Unknown) | Err(_)) | Err(_) => Left::Unknown,
            }
        })
    }
}

/// How far a partition has come.
#[derive(Clone, Copy)]
struct Reading {
    /// Epoch under which it is read.
    epoch: u64,
    /// Everything below is applied and durable.
    applied: u64,
    trimmed: u64,
    /// It is to be read from there again.
    again: bool,
}

/// Applies what was left until it is stopped.
pub struct Pump {
    handle: KwqHandle,
    commands: Arc<Commands>,
    stop: Arc<AtomicBool>,
    reading: BTreeMap<PartitionId, Reading>,
    last_trim_ms: u64,
}

impl Pump {
    /// A pump between the topic and an engine, whose reports are left there from now on.
    #[must_use]
    pub fn new(handle: KwqHandle, commands: Arc<Commands>, stop: Arc<AtomicBool>) -> Self {
        handle.engine.away.leave_at(Arc::new(Way(Arc::clone(&commands))));
        Self { handle, commands, stop, reading: BTreeMap::new(), last_trim_ms: 0 }
    }

    /// Runs until it is stopped.
    pub async fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            self.follow_owners();
            let waiting = |id: &PartitionId| {
                let letters = self.commands.pull(*id, BATCH);
                (!letters.is_empty()).then_some((*id, letters))
            };
            let found: Vec<_> = self.reading.keys().filter_map(waiting).collect();
            if found.is_empty() {
                tokio::time::sleep(IDLE).await;
            }
            let handle = &self.handle;
            let applies = found.into_iter().map(|(id, letters)| async move {
                let next = letters.last().map_or(0, |last| last.offset + 1);
                (id, handle.apply_left(id, &letters).await.map(|()| next))
            });
            let applied = join_all(applies).await;
            let mut refused = false;
            for (id, applied) in applied {
                let Some(reading) = self.reading.get_mut(&id) else { continue };
                match applied {
                    Ok(next) => reading.applied = reading.applied.max(next),
                    Err(reject) => {
                        tracing::debug!(partition = %id, detail = %reject.detail, "not applied");
                        (reading.again, refused) = (true, true);
                    }
                }
            }
            if refused {
                tokio::time::sleep(REFUSED).await;
            }
            self.trim().await;
        }
    }

    /// Begins to read for partitions that are served under a new epoch, ends for others.
    fn follow_owners(&mut self) {
        let serving = self.handle.engine.serving();
        let commands = &self.commands;
        self.reading.retain(|id, _| {
            let served = serving.contains_key(id);
            if !served {
                commands.release(*id);
            }
            served
        });
        for (id, epoch) in serving {
            // Under a new epoch from the first that is kept: another owner may have been between.
            let begin = Reading { epoch, applied: 0, trimmed: 0, again: true };
            let reading = self.reading.entry(id).or_insert(begin);
            if reading.epoch != epoch {
                *reading = begin;
            }
            if std::mem::take(&mut reading.again) {
                commands.own(id, reading.applied);
            }
        }
    }

    async fn trim(&mut self) {
        let now = self.handle.now().tick.0;
        let all = now >= self.last_trim_ms + TRIM_EVERY_MS;
        if all {
            self.last_trim_ms = now;
        }
        for (id, reading) in &mut self.reading {
            let due = reading.applied - reading.trimmed;
            if due == 0 || !(all || due > TRIM_RECORDS) {
                continue;
            }
            let (commands, id, below) = (Arc::clone(&self.commands), *id, reading.applied);
            match tokio::task::spawn_blocking(move || commands.trim(id, below)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "commands are trimmed later"),
                Err(error) => tracing::warn!(%error, "trimming the commands"),
            }
            // What could not be trimmed goes with what comes next: applied twice it does no harm.
            reading.trimmed = below;
        }
    }
}

impl KwqHandle {
    /// Applies what was left for a partition that is served here; durable when it returns.
    async fn apply_left(&self, id: PartitionId, letters: &[Letter]) -> Answer<()> {
        let slot = self.engine.slot(id).ok_or_else(unavailable)?;
        let reports: Vec<Report> = letters.iter().flat_map(|letter| reports(id, letter)).collect();
        if reports.is_empty() {
            return Ok(());
        }
        let counts: Vec<_> = reports.iter().map(|report| counted(&report.verb)).collect();
        let command = Command::Report(reports);
        let decided = self.engine.decide_here(slot, command, Class::Report, 0).await;
        let Reply::Reported(outcomes) = decided.and_then(Decided::accepted)?.0 else {
            return Err(mismatch());
        };
        self.count_reports(&outcomes, &counts);
        Ok(())
    }
}

/// The reports of a record; one that is none is passed over.
fn reports(id: PartitionId, letter: &Letter) -> Vec<Report> {
    left::decode(letter.value.as_deref().unwrap_or_default()).unwrap_or_else(|error| {
        tracing::error!(partition = %id, offset = letter.offset, %error, "passed over: no reports");
        Vec::new()
    })
}
