//! The one thread that writes: group commit, seals, segment roll, reserve, fail-stop.
//!
//! ```text
//! appenders ─► queue ─► [ take what gathered ─► lay out ─► pwrite ─► fdatasync ─► resolve ] ─► …
//! ```
//! While a group is synced the next gathers, so there is never more than one un-synced group on
//! disk. A full disk delays a group, any other failed write or sync ends this instance: the page
//! cache can no longer be believed.

use crate::log::embedded::group::{Builder, END_BYTES, SEAL_BYTES, Touched, end_mark};
use crate::log::embedded::queue::{Job, Shared, Work};
use crate::log::embedded::recovery::Known;
use crate::log::embedded::reserve::Reserve;
use crate::log::embedded::segment::{self, Header, Owners, Previous};
use crate::log::embedded::{Durability, Options};
use crate::log::files::{self, full, io_error, write_zeros};
use crate::log::{Appended, Error, Room};
use crate::model::id::Position;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

/// Without traffic for this long the last group is sealed: proof that it was synced.
const SEAL_AFTER: Duration = Duration::from_millis(50);
/// The disk is looked at this often when nothing else happens.
const LOOK_AFTER: Duration = Duration::from_millis(250);
/// Largest group, unless one batch alone is larger.
const GROUP_BYTES_MAX: u64 = 8 << 20;
/// Zeros are written this far ahead: a sync into written blocks costs half of one into reserved
/// ones.
const FILL_STEP: u64 = 1 << 20;
const FILL_LEFT: u64 = 256 << 10;

/// The thread's state.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: Options,
    pub(crate) log_id: u64,
    pub(crate) owners: Owners,
    pub(crate) active: Active,
    pub(crate) reserve: Reserve,
    /// Everything before is on disk.
    pub(crate) synced_to: u64,
    /// Records written since the last sync.
    pub(crate) unsynced: u64,
    /// The last group holds records and no seal after it proves their sync.
    pub(crate) unproven: Option<Touched>,
}

/// The segment that is written.
pub(crate) struct Active {
    pub(crate) file: File,
    pub(crate) header: Header,
    pub(crate) end: u64,
    /// Zeros or records were written up to here.
    pub(crate) filled: u64,
}

/// Why this instance of the log ends.
struct Fault {
    reason: String,
    /// What may be believed of the active segment.
    good_end: u64,
}

impl Active {
    fn limit(&self) -> u64 {
        self.header.next_first()
    }

    fn left(&self) -> u64 {
        (self.limit() - self.end).saturating_sub(END_BYTES as u64)
    }
}

impl Writer {
    /// Sees to the reserve, so that the room is known before the first append.
    pub(crate) fn prepare(&mut self) {
        if !self.reserve.whole() {
            self.reserve.fill(self.options.segment_bytes);
        }
        self.look_at_disk();
    }

    /// Runs until the log is closed or has failed.
    pub(crate) fn run(mut self) {
        loop {
            let patience = if self.unproven.is_some() { SEAL_AFTER } else { LOOK_AFTER };
            let done = match self.shared.next_work(self.group_bytes_max(), patience) {
                Work::Group(jobs) => self.commit(jobs),
                Work::Idle => self.prove(),
                Work::Close => {
                    let proven = self.prove();
                    match proven {
                        Ok(()) => self.shared.fail("the log is closed"),
                        Err(fault) => self.stop(&fault),
                    }
                    return;
                }
            };
            if let Err(fault) = done {
                return self.stop(&fault);
            }
            self.prepare();
        }
    }

    fn group_bytes_max(&self) -> usize {
        let bytes = (self.options.segment_bytes / 4).min(GROUP_BYTES_MAX);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Writes a group and answers its callers, in order.
    fn commit(&mut self, jobs: Vec<Job>) -> Result<(), Fault> {
        let bytes: usize = jobs.iter().map(|j| j.batch.bytes()).sum();
        let placed = self.write_jobs(&jobs, bytes as u64);
        let outcome = match placed {
            Ok(positions) => {
                for (job, positions) in jobs.into_iter().zip(positions) {
                    job.resolver.resolve(Ok(Appended { positions }));
                }
                Ok(())
            }
            Err(fault) => {
                self.shared.refuse(&fault.reason);
                for job in jobs {
                    job.resolver.resolve(Err(Error::Failed(fault.reason.clone())));
                }
                Err(fault)
            }
        };
        self.shared.settled(bytes);
        outcome
    }

    fn write_jobs(&mut self, jobs: &[Job], bytes: u64) -> Result<Vec<Vec<Position>>, Fault> {
        if bytes > self.active.left() {
            self.roll(bytes)?;
        }
        let mut group = Builder::new(self.active.header.first, self.active.end, self.synced_to);
        let mut owners = self.owners.clone();
        let positions = jobs.iter().map(|job| group.add(&job.batch, &mut owners)).collect();
        let touched = std::mem::take(&mut group.touched);
        group.seal(&touched);
        self.unsynced += jobs.iter().map(|job| job.batch.records.len() as u64).sum::<u64>();
        self.write(&group.bytes, self.options.durability == Durability::Fsync)?;
        (self.owners, self.unproven) = (owners, Some(touched));
        Ok(positions)
    }

    /// Seals the last group by a group of its own: it can only be there if the last one had been
    /// synced.
    fn prove(&mut self) -> Result<(), Fault> {
        let Some(touched) = self.unproven.take() else { return Ok(()) };
        self.sync()?;
        let bytes = (touched.len() * SEAL_BYTES) as u64;
        if bytes > self.active.left() {
            // The end mark and the next header are proof as well.
            return self.roll(0);
        }
        let mut group = Builder::new(self.active.header.first, self.active.end, self.synced_to);
        group.seal(&touched);
        self.write(&group.bytes, true)
    }

    /// Puts bytes at the end of the active segment and makes them visible.
    fn write(&mut self, bytes: &[u8], sync: bool) -> Result<(), Fault> {
        let (first, start) = (self.active.header.first, self.active.end);
        let end = start + bytes.len() as u64;
        self.until_room(|active| active.file.write_all_at(bytes, start - first), "writing")?;
        self.active.filled = self.active.filled.max(end);
        if sync {
            self.fill_ahead(end);
            let synced = self.sync_active();
            synced.map_err(|e| self.fault("syncing", &e, self.synced_to))?;
            self.synced_to = end;
        }
        self.active.end = end;
        self.shared.set_end(end);
        Ok(())
    }

    /// Writes zeros ahead of the end; only a matter of speed, so errors are left to the next
    /// record.
    fn fill_ahead(&mut self, end: u64) {
        let (from, first) = (self.active.filled, self.active.header.first);
        let to = (from + FILL_STEP).min(self.active.limit());
        if from < end + FILL_LEFT && from < to {
            match write_zeros(&self.active.file, from - first, to - first) {
                Ok(()) => self.active.filled = to,
                Err(error) => tracing::debug!(%error, "zeros were not written ahead"),
            }
        }
    }

    /// Makes everything written durable (under `os` it may not be yet).
    fn sync(&mut self) -> Result<(), Fault> {
        if self.synced_to < self.active.end {
            let synced = self.sync_active();
            synced.map_err(|e| self.fault("syncing", &e, self.synced_to))?;
            self.synced_to = self.active.end;
        }
        Ok(())
    }

    /// The one sync of the active segment; counted when it has worked.
    fn sync_active(&mut self) -> io::Result<()> {
        let begun = self.options.stopwatch.map(|now| now());
        self.active.file.sync_data()?;
        let micros =
            self.options.stopwatch.zip(begun).map(|(now, begun)| now().saturating_sub(begun));
        self.shared.syncs.count(micros, std::mem::take(&mut self.unsynced));
        Ok(())
    }

    /// Repeats a write while the disk is full. That is safe: nothing of it was synced, and it goes
    /// to the same place.
    fn until_room(
        &mut self,
        write: impl Fn(&Active) -> io::Result<()>,
        verb: &str,
    ) -> Result<(), Fault> {
        loop {
            match write(&self.active) {
                Ok(()) => return Ok(()),
                Err(e) if full(&e) => {
                    self.shared.set_room(Room::None, 0);
                    if !self.shared.wait_for_disk(LOOK_AFTER) {
                        return Err(self.fault(verb, &e, self.active.end));
                    }
                }
                Err(e) => return Err(self.fault(verb, &e, self.active.end)),
            }
        }
    }

    fn fault(&self, verb: &str, error: &io::Error, good_end: u64) -> Fault {
        let name = segment::name(self.active.header.first);
        Fault { reason: format!("{verb} {name}: {error}"), good_end }
    }

    fn wrap(&self, error: &Error) -> Fault {
        Fault { reason: error.to_string(), good_end: self.synced_to }
    }

    /// Ends the active segment and starts the next, with room for a group of `bytes`.
    fn roll(&mut self, bytes: u64) -> Result<(), Fault> {
        self.sync()?;
        let (file, header) = loop {
            match self.next_segment(bytes, self.active.end, false) {
                Ok(next) => break next,
                Err(Error::Full(text)) => {
                    if self.reserve.release().map_err(|e| self.wrap(&e))? {
                        continue;
                    }
                    self.shared.set_room(Room::None, 0);
                    if !self.shared.wait_for_disk(LOOK_AFTER) {
                        return Err(Fault { reason: text, good_end: self.synced_to });
                    }
                }
                Err(error) => return Err(self.wrap(&error)),
            }
        };
        let (first, end) = (self.active.header.first, self.active.end);
        let mark = end_mark(first, end);
        self.until_room(|active| active.file.write_all_at(&mark, end - first), "ending")?;
        let synced = self.sync_active();
        synced.map_err(|e| self.fault("ending", &e, self.active.end))?;
        self.shared.roll(end, Known { header: header.clone(), end: header.first + header.bytes() });
        self.active = begin_active(file, header);
        self.synced_to = self.active.end;
        self.shared.set_end(self.active.end);
        Ok(())
    }

    /// Creates the segment after the active one; durable on return.
    fn next_segment(&self, bytes: u64, end: u64, fault: bool) -> Result<(File, Header), Error> {
        let before = &self.active.header;
        let mut header = Header {
            first: before.next_first(),
            capacity: self.options.segment_bytes,
            log_id: self.log_id,
            previous: Some(Previous { first: before.first, end, hash: before.hash(), fault }),
            owners: self.owners.clone(),
        };
        header.capacity = header.capacity.max(header.bytes() + bytes + END_BYTES as u64);
        let log_dir = &self.shared.log_dir;
        let file = segment::create(log_dir, header.first, header.capacity)?;
        if let Err(error) = segment::begin(&file, log_dir, &header) {
            // Not begun, so it holds nothing; the next attempt creates it anew.
            let path = segment::path(log_dir, header.first);
            fs::remove_file(&path).map_err(|e| io_error("removing", &path, &e))?;
            return Err(error);
        }
        Ok((file, header))
    }

    /// Publishes how much may still be written.
    fn look_at_disk(&self) {
        let bytes = self.options.segment_bytes;
        let reserved = self.active.left() + self.reserve.bytes();
        // What is lost at the end of each segment, because a group is never split.
        let margin = (self.group_bytes_max() as u64) * (1 + self.reserve.bytes() / bytes);
        let usable = reserved.saturating_sub(margin);
        let (free, total) = files::space(&self.shared.log_dir).unwrap_or((u64::MAX, 0));
        let wanted = self.options.disk_reserve.unwrap_or_else(|| files::auto_reserve(bytes, total));
        let room = if free >= wanted && self.reserve.whole() {
            Room::Plenty
        } else if usable > 0 || free > bytes {
            Room::WorkOnly
        } else {
            Room::None
        };
        let usable = if free > bytes { usable.saturating_add(free - bytes) } else { usable };
        self.shared.set_room(room, usable);
    }

    /// Fail-stop. What lies behind the last good byte is void even if it reads well, so the next
    /// segment says where the active one ends; if that cannot be written either, the next start
    /// decides by what it can read.
    fn stop(self, fault: &Fault) {
        tracing::error!(reason = %fault.reason, "the log has failed and accepts nothing more");
        if let Err(error) = self.next_segment(0, fault.good_end, true) {
            tracing::error!(%error, "the failed segment could not be closed");
        }
        self.shared.fail(&fault.reason);
    }
}

/// A segment just begun.
pub(crate) fn begin_active(file: File, header: Header) -> Active {
    let end = header.first + header.bytes();
    Active { file, header, end, filled: end }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
