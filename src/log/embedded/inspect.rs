//! The tools of a stopped data directory: dump, verify, repair. Each takes the lock, so none runs
//! beside a server.

use crate::codec::dump::References;
pub use crate::codec::dump::{DumpBody, DumpRecord};
use crate::codec::event::{self, Detail, OWNER};
use crate::codec::frame::{Frame, KIND_END, KIND_SEAL, Seal};
use crate::log::Error;
use crate::log::embedded::recovery::{self, Counted, Known, survey};
use crate::log::embedded::walk::Walk;
use crate::log::embedded::{segment, start};
use crate::log::files;
use crate::log::files::auto_reserve;
use crate::log::lock::DirLock;
use crate::model::id::{Epoch, PartitionId, Position};
use std::path::{Path, PathBuf};

pub use crate::log::embedded::repair::{RepairReport, repair, repair_preview};

/// What a check of a data directory found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every byte is as it was written.
    Intact {
        /// Records, seals included.
        records: u64,
        /// First position that holds nothing.
        end: Position,
    },
    /// Behind the last whole group lie bytes that start-up would cut.
    TornTail {
        /// File name.
        segment: String,
        /// Position of the first of them.
        from: Position,
        /// How many.
        bytes: u64,
        /// Records before them, seals included.
        records: u64,
    },
    /// Start-up would refuse.
    Damage {
        /// File name.
        segment: String,
        /// Offset in it.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// Another product or a newer version.
    UnknownFormat(String),
}

/// Room on the disk of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Free for this user, bytes.
    pub free: u64,
    /// Below this many free bytes no submit is taken.
    pub reserve: u64,
}

/// Room for a log in an existing directory, by the rule that the writer goes by; `reserve` is
/// `log.disk-reserve`, `None` = `auto`. `None` where the disk cannot be asked.
#[must_use]
pub fn space(dir: &Path, segment_bytes: u64, reserve: Option<u64>) -> Option<Space> {
    let (free, total) = files::space(dir)?;
    let reserve = reserve.unwrap_or_else(|| auto_reserve(segment_bytes, total));
    Some(Space { free, reserve })
}

/// Directory of the segments; refuses what is no data directory, so that nothing is created in it.
pub(crate) fn log_dir(dir: &Path) -> Result<PathBuf, Error> {
    let log_dir = dir.join("log");
    if log_dir.is_dir() {
        return Ok(log_dir);
    }
    Err(Error::UnknownFormat(format!("{} is no data directory of kwq", dir.display())))
}

/// Checks every record, as start-up checks the newest.
///
/// # Errors
/// `Locked`, `Io`. What is wrong with the log is in the verdict.
pub fn verify(dir: &Path) -> Result<Verdict, Error> {
    match check(dir) {
        Ok(verdict) => Ok(verdict),
        Err(Error::UnknownFormat(text)) => Ok(Verdict::UnknownFormat(text)),
        Err(Error::Damaged { segment, offset, reason }) => {
            Ok(Verdict::Damage { segment, offset, reason })
        }
        Err(
            error @ (Error::Failed(_)
            | Error::Fenced(_)
            | Error::Full(_)
            | Error::Locked(..)
            | Error::NoRecord(_)
            | Error::Settings(_)
            | Error::Io { .. }),
        ) => Err(error),
    }
}

fn check(dir: &Path) -> Result<Verdict, Error> {
    let log_dir = log_dir(dir)?;
    let _lock = DirLock::take(dir)?;
    let known = start::read_format(dir)?;
    let survey = survey(&log_dir, u64::MAX)?;
    start::check_beginning(dir, known, &survey)?;
    start::check_images(&dir.join("images"), &survey)?;
    for known in &survey.segments {
        walk_segment(&log_dir, known, &mut |position, frame| {
            if matches!(frame.head.kind, KIND_SEAL | KIND_END) {
                return Ok(true);
            }
            let decoded = event::decode(frame.head.kind, frame.head.at, frame.body, Detail::Skim);
            decoded.map(|_| true).map_err(|bad| known.damage(position, bad.to_string()))
        })?;
    }
    let records = survey.counted.records;
    let (first, end) = survey.segments.last().map_or((0, 0), |s| (s.header.first, s.end));
    Ok(match survey.tail.torn {
        None => Verdict::Intact { records, end: Position(end) },
        Some((from, to)) => Verdict::TornTail {
            segment: segment::name(first),
            from: Position(from),
            bytes: to - from,
            records,
        },
    })
}

/// Visits every record from a position on, seals included, until `visit` answers false; batches
/// that are void by rule 5 are left out. Before damage everything readable is visited.
///
/// # Errors
/// `Locked`, `UnknownFormat`, `Damaged`, `Io`.
pub fn dump(
    dir: &Path,
    partition: Option<PartitionId>,
    from: Position,
    visit: &mut dyn FnMut(DumpRecord) -> bool,
) -> Result<(), Error> {
    let log_dir = log_dir(dir)?;
    let _lock = DirLock::take(dir)?;
    start::read_format(dir)?;
    let (mut segments, unfinished) = recovery::headers(&log_dir)?;
    recovery::check_chain(&segments, unfinished)?;
    for at in 1..segments.len() {
        if let Some(previous) = segments[at].header.previous {
            segments[at - 1].end = previous.end;
        }
    }
    // The end of the last segment is set also when what follows it is damaged.
    let tail = match segments.last_mut() {
        None => Ok(()),
        Some(last) => recovery::find_tail(&log_dir, last, &mut Counted::default()).map(|_| ()),
    };
    let mut references = References::default();
    let mut go_on = true;
    for known in &segments {
        let mut owners = known.header.owners.clone();
        walk_segment(&log_dir, known, &mut |position, frame| {
            let head = frame.head;
            if head.kind == OWNER {
                owners.insert(head.partition, Epoch(position));
            }
            if partition.is_some_and(|p| p != head.partition) {
                return Ok(true);
            }
            let void = owners.get(&head.partition) != Some(&head.epoch);
            if void && head.kind != KIND_SEAL {
                return Ok(true);
            }
            let shown = position >= from.0;
            let record = record(known, position, frame, shown, &mut references)?;
            go_on = record.is_none_or(&mut *visit);
            Ok(go_on)
        })?;
        if !go_on {
            return Ok(());
        }
    }
    tail
}

/// What is shown of a frame; one that is not shown is only learned from.
fn record(
    known: &Known,
    position: u64,
    frame: &Frame<'_>,
    shown: bool,
    references: &mut References,
) -> Result<Option<DumpRecord>, Error> {
    let head = frame.head;
    let damage = |bad: crate::codec::Malformed| known.damage(position, bad.to_string());
    let (body, refs) = if head.kind == KIND_SEAL {
        let seal = Seal::decode(frame.body).map_err(damage)?;
        (DumpBody::Seal { at: head.at, synced_to: seal.synced_to }, Vec::new())
    } else {
        let detail = if shown { Detail::Full } else { Detail::Skim };
        let decoded = event::decode(head.kind, head.at, frame.body, detail).map_err(damage)?;
        references.learn(head.partition, &decoded.stamped.event);
        let refs = references.of(head.partition, &decoded.stamped.event);
        (DumpBody::Event(decoded.stamped), refs)
    };
    let (position, partition, epoch) = (Position(position), head.partition, head.epoch);
    Ok(shown.then_some(DumpRecord { position, partition, epoch, body, refs }))
}

/// Visits the frames of a segment up to its end.
fn walk_segment(
    log_dir: &Path,
    known: &Known,
    visit: &mut dyn FnMut(u64, &Frame<'_>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let file = segment::open(log_dir, known.header.first)?;
    let mut walk = Walk::new(&file, known.header.first, known.start(), known.end);
    loop {
        let at = walk.position;
        match walk.next() {
            Ok(None) => return Ok(()),
            Ok(Some((position, frame))) => {
                if !visit(position, &frame)? {
                    return Ok(());
                }
            }
            Err(stop) => return Err(known.stopped(at, stop)),
        }
    }
}
