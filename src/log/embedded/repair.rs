//! `kwq log repair`: cuts a damaged log at a position the operator chose. What is removed is
//! written to a file first.

use crate::log::Error;
use crate::log::embedded::group::Check;
use crate::log::embedded::inspect::log_dir;
use crate::log::embedded::recovery::Known;
use crate::log::embedded::segment::{self, Header};
use crate::log::embedded::start;
use crate::log::embedded::walk::Walk;
use crate::log::files::{first_nonzero, io_error, names, sync_dir, write_zeros};
use crate::log::images;
use crate::log::lock::DirLock;
use crate::model::id::{PartitionId, Position};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What is cut, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairReport {
    /// New end of the log: the end of the last whole group before the position asked for.
    pub end: Position,
    /// Bytes removed, zeros at the end of a file not counted.
    pub removed_bytes: u64,
    /// Segments removed as a whole.
    pub segments_removed: usize,
    /// Images removed because they were newer than the new end.
    pub images_removed: usize,
}

/// What [`repair`] would do; nothing is touched.
///
/// # Errors
/// As [`repair`].
pub fn repair_preview(dir: &Path, to: Position) -> Result<RepairReport, Error> {
    let cut = Cut::plan(dir, to)?;
    cut.save_to(&mut io::sink())
}

/// Cuts everything from `to` on. `aside` must not exist yet; it receives the removed bytes, per
/// segment a line `<name> <offset> <bytes>` and the bytes.
///
/// # Errors
/// `Locked`, `UnknownFormat`; `Damaged` when the log cannot be read up to the segment of `to`;
/// `NoRecord` when `to` lies behind the last segment; `Io`.
pub fn repair(dir: &Path, to: Position, aside: &Path) -> Result<RepairReport, Error> {
    let cut = Cut::plan(dir, to)?;
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(aside)
        .map_err(|e| io_error("creating", aside, &e))?;
    let report = cut.save_to(&mut out)?;
    out.sync_all().map_err(|e| io_error("syncing", aside, &e))?;
    cut.carry_out()?;
    Ok(report)
}

/// A cut under the lock of the directory.
struct Cut {
    _lock: DirLock,
    log_dir: PathBuf,
    images: PathBuf,
    /// First offset of the segment that holds the new end.
    kept: u64,
    /// That segment with its new end.
    known: Known,
    /// First offsets of the segments behind it.
    later: Vec<u64>,
    /// Images newer than the new end.
    newer: Vec<(PartitionId, Position)>,
}

impl Cut {
    fn plan(dir: &Path, to: Position) -> Result<Self, Error> {
        let log_dir = log_dir(dir)?;
        let lock = DirLock::take(dir)?;
        start::read_format(dir)?;
        let mut firsts: Vec<u64> =
            names(&log_dir)?.iter().filter_map(|name| segment::parse_name(name)).collect();
        firsts.sort_unstable();
        let later = firsts.split_off(firsts.partition_point(|first| *first < to.0));
        let kept = firsts.last().copied().ok_or(Error::NoRecord(to))?;
        let known = whole_groups(&log_dir, kept, to)?;
        let images = dir.join("images");
        let newer = images::all(&images)?.into_iter().filter(|i| i.1.0 > known.end).collect();
        Ok(Self { _lock: lock, log_dir, images, kept, known, later, newer })
    }

    fn save_to(&self, out: &mut dyn Write) -> Result<RepairReport, Error> {
        let mut removed_bytes = save(&self.log_dir, self.kept, self.known.end - self.kept, out)?;
        for first in &self.later {
            removed_bytes += save(&self.log_dir, *first, 0, out)?;
        }
        Ok(RepairReport {
            end: Position(self.known.end),
            removed_bytes,
            segments_removed: self.later.len(),
            images_removed: self.newer.len(),
        })
    }

    fn carry_out(self) -> Result<(), Error> {
        for (partition, position) in self.newer {
            images::remove(&self.images, partition, position)?;
        }
        // The last goes first: an interrupted repair leaves a log that can be repaired again.
        for first in self.later.iter().rev() {
            let path = segment::path(&self.log_dir, *first);
            fs::remove_file(&path).map_err(|e| io_error("removing", &path, &e))?;
            sync_dir(&self.log_dir)?;
        }
        let file = segment::open(&self.log_dir, self.kept)?;
        let (from, capacity) = (self.known.end - self.kept, self.known.header.capacity);
        // A file that was cut short gets its zeros back.
        let zeroed = write_zeros(&file, from, capacity).and_then(|()| file.sync_all());
        zeroed.map_err(|e| io_error("cutting", &segment::path(&self.log_dir, self.kept), &e))
    }
}

/// The segment with its end set behind the last whole group before `to`.
fn whole_groups(log_dir: &Path, first: u64, to: Position) -> Result<Known, Error> {
    let file = segment::open(log_dir, first)?;
    let path = segment::path(log_dir, first);
    let bytes = file.metadata().map(|m| m.len()).map_err(|e| io_error("reading", &path, &e))?;
    let mut head = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX).min(Header::BYTES_MAX)];
    file.read_exact_at(&mut head, 0).map_err(|e| io_error("reading", &path, &e))?;
    let header = Header::decode(&head).ok().filter(|h| h.first == first);
    let header = header.ok_or_else(|| {
        segment::damaged(first, 0, "the header is bad; cut at the start of this segment or before")
    })?;
    let there = header.next_first().min(first + bytes);
    let limit = to.0.min(there);
    let mut known = Known { end: first + header.bytes(), header };
    let mut walk = Walk::new(&file, first, known.start(), there);
    let mut check = Check::new(known.start());
    while let Ok(Some((position, frame))) = walk.next() {
        let end = position + frame.bytes() as u64;
        if end > limit {
            break;
        }
        match check.feed(&frame, position) {
            Ok(true) => known.end = end,
            Ok(false) => {}
            Err(_) => break,
        }
    }
    Ok(known)
}

/// Appends what a segment holds from `offset` on, without the zeros at its end.
fn save(log_dir: &Path, first: u64, offset: u64, out: &mut dyn Write) -> Result<u64, Error> {
    let path = segment::path(log_dir, first);
    let file = segment::open(log_dir, first)?;
    let mut copy = || -> io::Result<u64> {
        let len = file.metadata()?.len();
        let size = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX);
        if first_nonzero(&file, offset, len)?.is_none() {
            return Ok(0);
        }
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, offset)?;
        bytes.truncate(bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1));
        writeln!(out, "{} {offset} {}", segment::name(first), bytes.len())?;
        out.write_all(&bytes)?;
        Ok(bytes.len() as u64)
    };
    copy().map_err(|e| io_error("saving", &path, &e))
}
