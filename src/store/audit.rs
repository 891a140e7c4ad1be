//! The audit trail: files of chained lines, written by a thread of its own.
//!
//! ```text
//!   calls ── try_send ──► bounded queue ── one thread ──► audit/<first seq>.jsonl
//! ```
//! A call never waits for its line: when the queue is full the line is dropped and counted.
//! Questions go through the same queue, so an answer holds every line that was queued before. Lines
//! reach the system at once and the disk within about a second. Must not: block a caller, or change
//! a line that is written.

mod files;

pub use files::{Checked, Damage, check};

use crate::codec::audit::Deed;
use files::Trail;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two syncs while lines come.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Lines between two syncs at most.
const SYNC_LINES: usize = 10_000;

/// Called once for each line that could not be written.
pub type Lost = Box<dyn Fn() + Send + Sync>;

/// Takes the lines that were asked for.
pub type Reply = Box<dyn FnOnce(io::Result<Vec<String>>) + Send>;

enum Message {
    Deed(Deed),
    Read { after: u64, limit: usize, reply: Reply },
    Stop,
}

/// The door of the trail.
pub struct Audit {
    queue: SyncSender<Message>,
    lost: Arc<Lost>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// The queue is full, or the writer has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl Audit {
    /// Opens the trail in a directory and starts its writer.
    ///
    /// # Errors
    /// The directory or its last file cannot be used, or the thread cannot be had.
    pub fn open(dir: &Path, queue_max: usize, lost: Lost) -> io::Result<Self> {
        let trail = Trail::open(dir)?;
        let (queue, messages) = sync_channel(queue_max);
        let lost = Arc::new(lost);
        let told = Arc::clone(&lost);
        let writer = crate::telemetry::spawn_thread("kwq-audit", move || {
            write(trail, &messages, &told);
        })?;
        Ok(Self { queue, lost, writer: Mutex::new(Some(writer)) })
    }

    /// Queues a line; drops and counts it when the queue is full.
    pub fn note(&self, deed: Deed) {
        if self.queue.try_send(Message::Deed(deed)).is_err() {
            (self.lost)();
        }
    }

    /// Asks for at most `limit` lines behind number `after`, oldest first.
    ///
    /// # Errors
    /// `Busy`; then there is no reply.
    pub fn read(&self, after: u64, limit: usize, reply: Reply) -> Result<(), Busy> {
        self.queue.try_send(Message::Read { after, limit, reply }).map_err(|_| Busy)
    }

    /// Writes what is queued and ends the writer.
    pub fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A writer that has panicked has nothing left to end.
            if self.queue.send(Message::Stop).is_err() || writer.join().is_err() {
                tracing::error!("the writer of the audit trail did not end well");
            }
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.close();
    }
}

fn write(mut trail: Trail, messages: &Receiver<Message>, lost: &Lost) {
    let (mut unsynced, mut healthy) = (0, true);
    loop {
        match messages.recv_timeout(SYNC_EVERY) {
            Ok(Message::Deed(deed)) => {
                match trail.append(&deed) {
                    Ok(()) => healthy = true,
                    Err(error) => {
                        lost();
                        // Once a fault, not once a line.
                        if std::mem::take(&mut healthy) {
                            tracing::error!(%error, "lines of the audit trail are lost");
                        }
                    }
                }
                unsynced += 1;
            }
            Ok(Message::Read { after, limit, reply }) => {
                reply(trail.read(after, limit));
            }
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => {
                sync(&trail);
                return;
            }
            Err(RecvTimeoutError::Timeout) if unsynced > 0 => unsynced = SYNC_LINES,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if unsynced >= SYNC_LINES {
            sync(&trail);
            unsynced = 0;
        }
    }
}

fn sync(trail: &Trail) {
    if let Err(error) = trail.sync() {
        tracing::error!(%error, "the audit trail could not be synced");
    }
}

#[cfg(test)]
mod tests;
