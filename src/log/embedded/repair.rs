//! `kwq log repair`: cuts a damaged log at a position the operator chose. What is removed is
//! written to a file first.

use crate::log::Error;
use crate::log::embedded::files::{first_nonzero, io_error, names, sync_dir, write_zeros};
use crate::log::embedded::group::Check;
use crate::log::embedded::inspect::log_dir;
use crate::log::embedded::lock::DirLock;
use crate::log::embedded::recovery::Known;
use crate::log::embedded::segment::{self, Header};
use crate::log::embedded::walk::Walk;
use crate::log::embedded::{image, start};
use crate::model::id::Position;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What was cut.
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

/// Cuts everything from `to` on. `aside` must not exist yet; it receives the removed bytes, per
/// segment a line
/// `<name> <offset> <bytes>` and the bytes.
///
/// # Errors
/// `Locked`, `UnknownFormat`; `Damaged` when the log cannot be read up to the segment of `to`;
/// `NoRecord` when `to` lies
/// behind the last segment; `Io`.
pub fn repair(dir: &Path, to: Position, aside: &Path) -> Result<RepairReport, Error> {
    let log_dir = log_dir(dir)?;
    let _lock = DirLock::take(dir)?;
    start::read_format(dir)?;
    let mut firsts: Vec<u64> =
        names(&log_dir)?.iter().filter_map(|name| segment::parse_name(name)).collect();
    firsts.sort_unstable();
    let later = firsts.split_off(firsts.partition_point(|first| *first < to.0));
    let kept = firsts.last().copied().ok_or(Error::NoRecord(to))?;
    let known = whole_groups(&log_dir, kept, to)?;

    let mut report = RepairReport {
        end: Position(known.end),
        removed_bytes: 0,
        segments_removed: 0,
        images_removed: 0,
    };
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(aside)
        .map_err(|e| io_error("creating", aside, &e))?;
    report.removed_bytes += save(&log_dir, kept, known.end - kept, &mut out)?;
    for first in &later {
        report.removed_bytes += save(&log_dir, *first, 0, &mut out)?;
    }
    out.sync_all().map_err(|e| io_error("syncing", aside, &e))?;

    let images = dir.join("images");
    for (partition, position) in image::all(&images)?.into_iter().filter(|i| i.1.0 > known.end) {
        image::remove(&images, partition, position)?;
        report.images_removed += 1;
    }
    // The last goes first: an interrupted repair leaves a log that can be repaired again.
    for first in later.iter().rev() {
        let path = segment::path(&log_dir, *first);
        fs::remove_file(&path).map_err(|e| io_error("removing", &path, &e))?;
        sync_dir(&log_dir)?;
        report.segments_removed += 1;
    }
    let file = segment::open(&log_dir, kept)?;
    let zeroed =
        write_zeros(&file, known.end - kept, known.header.capacity).and_then(|()| file.sync_all());
    zeroed.map_err(|e| io_error("cutting", &segment::path(&log_dir, kept), &e))?;
    Ok(report)
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
    // A file that was cut short gets its zeros back.
    file.set_len(header.capacity).map_err(|e| io_error("growing", &path, &e))?;
    let limit = to.0.min(header.next_first());
    let mut known = Known { end: first + header.bytes(), header };
    let mut walk = Walk::new(&file, first, known.start(), known.header.next_first());
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
fn save(log_dir: &Path, first: u64, offset: u64, out: &mut File) -> Result<u64, Error> {
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
