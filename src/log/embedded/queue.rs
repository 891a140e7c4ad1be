//! What appenders, readers and the writer thread share: the queue of batches, the end, the room.

use crate::log::embedded::group::Encoded;
use crate::log::embedded::recovery::Known;
use crate::log::embedded::segment;
use crate::log::files::io_error;
use crate::log::syncs::Syncs;
use crate::log::ticket::Resolver;
use crate::log::{Error, Room, Ticket};
use crate::model::id::Position;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// Appenders wait while this much is not durable yet.
const PENDING_BYTES_MAX: usize = 64 << 20;

const PLENTY: u8 = 0;
const WORK_ONLY: u8 = 1;
const NONE: u8 = 2;

/// Shared state of an open log.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) log_dir: PathBuf,
    queue: Mutex<Queue>,
    /// The writer waits here for batches.
    work: Condvar,
    /// Appenders wait here for room in the queue, the writer for room on the disk.
    space: Condvar,
    end: AtomicU64,
    room: AtomicU8,
    /// Bytes that can be written into blocks already reserved.
    reserved: AtomicU64,
    segments: RwLock<Vec<Known>>,
    pub(crate) syncs: Syncs,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Bytes appended and not durable yet, those being written included.
    pending: usize,
    closing: bool,
    /// Set once; from then on nothing is accepted.
    failed: Option<String>,
}

/// A batch with its caller's ticket.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) batch: Encoded,
    pub(crate) resolver: Resolver,
}

/// What the writer does next.
#[derive(Debug)]
pub(crate) enum Work {
    /// Write these as one group.
    Group(Vec<Job>),
    /// Nothing came for a while.
    Idle,
    /// Everything is written; stop.
    Close,
}

impl Shared {
    pub(crate) fn new(log_dir: PathBuf, segments: Vec<Known>, end: u64) -> Self {
        Self {
            log_dir,
            queue: Mutex::default(),
            work: Condvar::new(),
            space: Condvar::new(),
            end: AtomicU64::new(end),
            room: AtomicU8::new(PLENTY),
            reserved: AtomicU64::new(0),
            segments: RwLock::new(segments),
            syncs: Syncs::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Each change below is whole before anything can panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fixes the place of a batch in the order.
    pub(crate) fn append(&self, batch: Encoded, submit: bool) -> Result<Ticket, Error> {
        let bytes = batch.bytes();
        let mut queue = self.lock();
        while queue.failed.is_none() && queue.pending > PENDING_BYTES_MAX {
            self.admit(&queue, bytes, submit)?;
            queue = self.space.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(reason) = &queue.failed {
            return Err(Error::Failed(reason.clone()));
        }
        if queue.closing {
            return Err(Error::Failed("the log is closed".to_owned()));
        }
        self.admit(&queue, bytes, submit)?;
        let (ticket, resolver) = Ticket::pair();
        queue.pending += bytes;
        queue.jobs.push_back(Job { batch, resolver });
        drop(queue);
        self.work.notify_one();
        Ok(ticket)
    }

    /// Refuses what might not find room. Accepted batches are only ever delayed by a full disk,
    /// never dropped.
    fn admit(&self, queue: &Queue, bytes: usize, submit: bool) -> Result<(), Error> {
        let fits = || {
            let needed = queue.pending.saturating_add(bytes) as u64;
            needed <= self.reserved.load(Ordering::Acquire)
        };
        match self.room() {
            Room::Plenty => Ok(()),
            Room::WorkOnly if !submit && fits() => Ok(()),
            Room::WorkOnly | Room::None => {
                Err(Error::Full(format!("{} has too little free space", self.log_dir.display())))
            }
        }
    }

    /// Waits for work; at most `bytes_max` in one group, but at least one batch.
    pub(crate) fn next_work(&self, bytes_max: usize, patience: Duration) -> Work {
        let queue = self.lock();
        let idle = |queue: &mut Queue| queue.jobs.is_empty() && !queue.closing;
        let (mut queue, _) = self
            .work
            .wait_timeout_while(queue, patience, idle)
            .unwrap_or_else(PoisonError::into_inner);
        if queue.jobs.is_empty() {
            return if queue.closing { Work::Close } else { Work::Idle };
        }
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        while let Some(job) = queue.jobs.front() {
            bytes += job.batch.bytes();
            if bytes > bytes_max && !jobs.is_empty() {
                break;
            }
            jobs.extend(queue.jobs.pop_front());
        }
        Work::Group(jobs)
    }

    /// Waits a moment for the disk; false when the log is being closed.
    pub(crate) fn wait_for_disk(&self, patience: Duration) -> bool {
        let queue = self.lock();
        let (queue, _) = self
            .space
            .wait_timeout_while(queue, patience, |q| !q.closing)
            .unwrap_or_else(PoisonError::into_inner);
        !queue.closing
    }

    /// Bytes are durable, or failed.
    pub(crate) fn settled(&self, bytes: usize) {
        let mut queue = self.lock();
        queue.pending = queue.pending.saturating_sub(bytes);
        drop(queue);
        self.space.notify_all();
    }

    /// No more batches are taken; the writer ends after those it has.
    pub(crate) fn begin_close(&self) {
        self.lock().closing = true;
        self.work.notify_all();
        self.space.notify_all();
    }

    /// Nothing is accepted from now on.
    pub(crate) fn refuse(&self, reason: &str) {
        self.lock().failed.get_or_insert_with(|| reason.to_owned());
    }

    /// Nothing is accepted from now on; every waiting ticket fails, in order.
    pub(crate) fn fail(&self, reason: &str) {
        let jobs = {
            let mut queue = self.lock();
            queue.failed.get_or_insert_with(|| reason.to_owned());
            queue.pending = 0;
            std::mem::take(&mut queue.jobs)
        };
        self.space.notify_all();
        for job in jobs {
            job.resolver.resolve(Err(Error::Failed(reason.to_owned())));
        }
    }

    pub(crate) fn end(&self) -> Position {
        Position(self.end.load(Ordering::Acquire))
    }

    pub(crate) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    pub(crate) fn room(&self) -> Room {
        match self.room.load(Ordering::Acquire) {
            PLENTY => Room::Plenty,
            WORK_ONLY => Room::WorkOnly,
            NONE.. => Room::None,
        }
    }

    pub(crate) fn set_room(&self, room: Room, reserved: u64) {
        let value = match room {
            Room::Plenty => PLENTY,
            Room::WorkOnly => WORK_ONLY,
            Room::None => NONE,
        };
        self.reserved.store(reserved, Ordering::Release);
        self.room.store(value, Ordering::Release);
        if room != Room::Plenty {
            self.space.notify_all();
        }
    }

    /// Segments as of now with their ends; the last ends at [`Self::end`].
    pub(crate) fn segments(&self) -> Vec<Known> {
        let end = self.end().0;
        let mut segments = self.segments.read().unwrap_or_else(PoisonError::into_inner).clone();
        // A segment begun since is empty as far as `end` knows.
        segments.retain(|s| s.start() <= end);
        if let Some(last) = segments.last_mut() {
            last.end = end;
        }
        segments
    }

    /// First offset and end of the segment that holds a durable position.
    pub(crate) fn locate(&self, position: Position) -> Option<(u64, u64)> {
        let end = self.end().0;
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = segments.partition_point(|s| s.start() <= position.0);
        let found = segments.get(after.checked_sub(1)?)?;
        let limit = if after == segments.len() { end } else { found.end.min(end) };
        (position.0 < limit).then_some((found.header.first, limit))
    }

    /// Syncs every segment written by this instance's writer since it started a new one: the active
    /// one. Those before it were synced when it was started.
    pub(crate) fn sync_files(&self) -> Result<(), Error> {
        let first = {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            segments.last().map_or(0, |s| s.header.first)
        };
        let file = segment::open(&self.log_dir, first)?;
        file.sync_data().map_err(|e| {
            let error = io_error("syncing", &segment::path(&self.log_dir, first), &e);
            self.fail(&error.to_string());
            error
        })
    }

    /// The active segment ended at `end`; a new one follows.
    pub(crate) fn roll(&self, end: u64, next: Known) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = segments.last_mut() {
            last.end = end;
        }
        segments.push(next);
    }
}
