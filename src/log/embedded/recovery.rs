//! Finds the end of the log: reads the chain of segments, tells a torn tail from damage. Writes
//! nothing.
//!
//! *Torn* is what a power cut may leave: bytes of the one group that was not synced yet. *Damage*
//! is a bad byte for which there is proof that it was on disk: a later record says it was written
//! after that sync, or a later segment exists.

use crate::codec::event::OWNER;
use crate::codec::frame::{self, KIND_END, Place};
use crate::log::Error;
use crate::log::embedded::group::Check;
use crate::log::embedded::segment::{self, BadHeader, Header, Owners, damaged};
use crate::log::embedded::walk::{Stop, Walk};
use crate::log::files::{first_nonzero, io_error, names};
use crate::model::id::{Epoch, Position};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A segment in use.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) header: Header,
    /// First position behind its last record.
    pub(crate) end: u64,
}

impl Known {
    /// Position of its first record.
    pub(crate) fn start(&self) -> u64 {
        self.header.first + self.header.bytes()
    }

    /// Damage at a position of it.
    pub(crate) fn damage(&self, position: u64, reason: impl Into<String>) -> Error {
        damaged(self.header.first, position - self.header.first, reason)
    }

    /// A read that stopped at a position of it.
    pub(crate) fn stopped(&self, position: u64, stop: Stop) -> Error {
        match stop {
            Stop::Bad(bad) => self.damage(position, bad.to_string()),
            Stop::Io(e) => self.damage(position, format!("reading failed: {e}")),
        }
    }
}

/// What lies in the directory.
#[derive(Debug)]
pub(crate) struct Survey {
    /// Segments in use, in order.
    pub(crate) segments: Vec<Known>,
    /// A file behind them that was created and never begun.
    pub(crate) unfinished: Option<Unfinished>,
    /// The last but one segment still lacks its end mark.
    pub(crate) end_mark_missing: bool,
    /// End of the last segment.
    pub(crate) tail: Tail,
    /// Records that were checked.
    pub(crate) counted: Counted,
}

/// Records that were checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// All of them, seals too.
    pub(crate) records: u64,
    /// Those that an owner has decided: neither `Owner` nor seal.
    pub(crate) decided: u64,
}

impl Counted {
    fn count(&mut self, kind: u8) {
        self.records += 1;
        self.decided += u64::from(kind > OWNER);
    }
}

/// A segment file without a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfinished {
    pub(crate) first: u64,
    /// It holds some of a header; otherwise nothing at all.
    pub(crate) torn: bool,
}

/// End of the last segment.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Epochs in force at the end.
    pub(crate) owners: Owners,
    /// The groups up to the end.
    pub(crate) check: Check,
    /// Torn bytes: from, to.
    pub(crate) torn: Option<(u64, u64)>,
}

/// Reads everything that start-up needs, and checks the records of the newest `check_bytes`.
pub(crate) fn survey(log_dir: &Path, check_bytes: u64) -> Result<Survey, Error> {
    let (mut segments, unfinished) = headers(log_dir)?;
    check_chain(&segments, unfinished)?;
    let mut counted = Counted::default();
    let tail = match segments.last_mut() {
        None => Tail { owners: Owners::new(), check: Check::new(0), torn: None },
        Some(last) => find_tail(log_dir, last, &mut counted)?,
    };
    let mut survey = Survey { segments, unfinished, end_mark_missing: false, tail, counted };
    check_closed(log_dir, &mut survey, check_bytes)?;
    check_unfinished(log_dir, &survey)?;
    Ok(survey)
}

/// Segments with a header, their ends not known yet, and the file that has none.
pub(crate) fn headers(log_dir: &Path) -> Result<(Vec<Known>, Option<Unfinished>), Error> {
    let mut segments = Vec::new();
    let mut unfinished: Option<Unfinished> = None;
    for name in names(log_dir)?.iter().filter(|n| !n.ends_with(".tmp")) {
        let Some(first) = segment::parse_name(name) else {
            let reason = "no segment of this log: a copy or a foreign file".to_owned();
            return Err(Error::Damaged { segment: name.clone(), offset: 0, reason });
        };
        if let Some(before) = unfinished {
            return Err(damaged(before.first, 0, "the header is bad"));
        }
        let (file, bytes) = (segment::open(log_dir, first)?, head_bytes(log_dir, first)?);
        match Header::decode(&bytes) {
            Ok(header) => {
                check_file(first, &header, &file)?;
                segments.push(Known { end: first + header.bytes(), header });
            }
            Err(BadHeader::Blank) => unfinished = Some(Unfinished { first, torn: false }),
            Err(BadHeader::Broken) => unfinished = Some(Unfinished { first, torn: true }),
            Err(BadHeader::Newer(version)) => {
                let known = segment::VERSION;
                let text = format!("{name} has format version {version}, this kwq knows {known}");
                return Err(Error::UnknownFormat(text));
            }
        }
    }
    Ok((segments, unfinished))
}

fn head_bytes(log_dir: &Path, first: u64) -> Result<Vec<u8>, Error> {
    let (file, path) = (segment::open(log_dir, first)?, segment::path(log_dir, first));
    let read = || -> io::Result<Vec<u8>> {
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(Header::BYTES_MAX)];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    read().map_err(|e| io_error("reading", &path, &e))
}

fn check_file(first: u64, header: &Header, file: &File) -> Result<(), Error> {
    let len = file.metadata().map_or(0, |m| m.len());
    if header.first != first {
        let whose = segment::name(header.first);
        return Err(damaged(first, 16, format!("renamed or doubled: the header is of {whose}")));
    }
    if len != header.capacity {
        let reason = format!("{len} bytes long instead of {}", header.capacity);
        return Err(damaged(first, len.min(header.capacity), reason));
    }
    Ok(())
}

/// Every segment must be the successor of the one before it.
pub(crate) fn check_chain(segments: &[Known], unfinished: Option<Unfinished>) -> Result<(), Error> {
    let missing = |first: u64| Err(damaged(first, 0, "the segment is missing"));
    let mut expected = 0;
    let mut before: Option<&Header> = None;
    for Known { header, .. } in segments {
        if header.first != expected {
            return missing(expected);
        }
        let fits = match (before, header.previous) {
            (None, None) => true,
            (Some(b), Some(p)) => {
                let within = (b.first + b.bytes()..=b.next_first()).contains(&p.end);
                let same = (b.first, b.hash(), b.log_id) == (p.first, p.hash, header.log_id);
                same && within
            }
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !fits {
            return Err(damaged(header.first, 0, "not the successor of the segment before it"));
        }
        expected = header.next_first();
        before = Some(header);
    }
    if unfinished.is_some_and(|u| u.first != expected) {
        return missing(expected);
    }
    Ok(())
}

/// Follows the groups of the last segment to their end and sets it.
pub(crate) fn find_tail(
    log_dir: &Path,
    last: &mut Known,
    counted: &mut Counted,
) -> Result<Tail, Error> {
    let file = segment::open(log_dir, last.header.first)?;
    let limit = last.header.next_first();
    let mut walk = Walk::new(&file, last.header.first, last.start(), limit);
    let mut check = Check::new(last.start());
    let mut owners = last.header.owners.clone();
    let mut at_hand = Owners::new();
    let bad = loop {
        match walk.next() {
            Ok(None) => break limit,
            Err(Stop::Bad(_)) => break walk.position,
            Err(stop @ Stop::Io(_)) => return Err(last.stopped(walk.position, stop)),
            Ok(Some((position, frame))) => {
                if frame.head.kind == KIND_END && check.between_groups() {
                    return Err(damaged(limit, 0, "the segment is missing"));
                }
                match check.feed(&frame, position) {
                    Err(_) => break position,
                    Ok(whole) => {
                        counted.count(frame.head.kind);
                        if frame.head.kind == OWNER {
                            at_hand.insert(frame.head.partition, Epoch(position));
                        }
                        if whole {
                            owners.append(&mut at_hand);
                        }
                    }
                }
            }
        }
    };
    last.end = check.group_start;
    let torn = torn_or_damaged(&file, last, bad)?;
    Ok(Tail { owners, check, torn })
}

/// Decides about the bytes behind the last whole group. `bad` is where reading stopped.
fn torn_or_damaged(file: &File, last: &Known, bad: u64) -> Result<Option<(u64, u64)>, Error> {
    let (first, limit) = (last.header.first, last.header.next_first());
    let read = |e: io::Error| last.damage(bad.min(limit - 1), format!("reading failed: {e}"));
    if first_nonzero(file, last.end - first, limit - first).map_err(read)?.is_none() {
        return Ok(None);
    }
    let size = usize::try_from(limit - bad).expect("a segment fits the address space");
    let mut rest = vec![0; size];
    file.read_exact_at(&mut rest, bad - first).map_err(read)?;
    let content = rest.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    if let Some(proof) = proof_of_sync(&rest, first, bad, last.end) {
        let reason = format!("a record at position {proof} proves that this had been synced");
        return Err(last.damage(bad, reason));
    }
    Ok(Some((last.end, (bad + content as u64).max(last.end))))
}

/// Position of a record in `rest` that was written after everything before `group` and more had
/// been synced.
fn proof_of_sync(rest: &[u8], segment: u64, from: u64, group: u64) -> Option<u64> {
    // Zeros cannot begin a record; a record may well end in some, so `rest` is not cut short.
    let content = rest.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    let mut at = 0;
    while at < content {
        let (_, bytes) = rest.split_at(at);
        let position = from + at as u64;
        let place = Place { segment, position: Position(position) };
        match frame::read(bytes, place) {
            Ok(frame) if frame.head.synced_to.0 > group => return Some(position),
            Ok(frame) => at += frame.bytes(),
            Err(_) => at += 1,
        }
    }
    None
}

/// Sets the ends of the closed segments from their successors and checks the newest of them.
fn check_closed(log_dir: &Path, survey: &mut Survey, check_bytes: u64) -> Result<(), Error> {
    let mut left = check_bytes;
    let started = survey.segments.last().is_some_and(|last| last.end > last.start());
    for at in (1..survey.segments.len()).rev() {
        let Some(previous) = survey.segments[at].header.previous else { continue };
        let newest = at + 1 == survey.segments.len();
        let known = &mut survey.segments[at - 1];
        known.end = previous.end;
        let file = segment::open(log_dir, known.header.first)?;
        let marked = check_end_mark(&file, known)?;
        if !marked && !previous.fault {
            if !newest || started || survey.tail.torn.is_some() {
                return Err(known.damage(known.end, "the end mark is bad"));
            }
            survey.end_mark_missing = true;
        }
        if left > 0 {
            left = left.saturating_sub(known.header.capacity);
            check_records(&file, known, &mut survey.counted)?;
            if marked {
                check_slack(&file, known)?;
            }
        }
    }
    Ok(())
}

fn check_end_mark(file: &File, known: &Known) -> Result<bool, Error> {
    let mut walk = Walk::new(file, known.header.first, known.end, known.header.next_first());
    match walk.next() {
        Ok(Some((_, frame))) => Ok(frame.head.kind == KIND_END),
        Ok(None) | Err(Stop::Bad(_)) => Ok(false),
        Err(stop @ Stop::Io(_)) => Err(known.stopped(known.end, stop)),
    }
}

/// Checks every group of a closed segment.
pub(crate) fn check_records(
    file: &File,
    known: &Known,
    counted: &mut Counted,
) -> Result<(), Error> {
    let mut walk = Walk::new(file, known.header.first, known.start(), known.end);
    let mut check = Check::new(known.start());
    loop {
        let at = walk.position;
        match walk.next() {
            Ok(None) if check.between_groups() => return Ok(()),
            Ok(None) => return Err(known.damage(at, "the last group is not whole")),
            Ok(Some((position, frame))) => {
                let fed = check.feed(&frame, position);
                fed.map_err(|bad| known.damage(position, bad.to_string()))?;
                counted.count(frame.head.kind);
            }
            Err(stop) => return Err(known.stopped(at, stop)),
        }
    }
}

fn check_slack(file: &File, known: &Known) -> Result<(), Error> {
    let from = known.end + crate::log::embedded::group::END_BYTES as u64;
    let (first, limit) = (known.header.first, known.header.next_first());
    let found = first_nonzero(file, from - first, limit - first);
    match found {
        Ok(None) => Ok(()),
        Ok(Some(offset)) => Err(damaged(first, offset, "bytes behind the end of the segment")),
        Err(e) => Err(known.damage(known.end, format!("reading failed: {e}"))),
    }
}

/// The file after the last segment must be empty, or hold no more than a header that a crash tore.
fn check_unfinished(log_dir: &Path, survey: &Survey) -> Result<(), Error> {
    let Some(Unfinished { first, torn }) = survey.unfinished else { return Ok(()) };
    let file = segment::open(log_dir, first)?;
    let owners = survey.tail.owners.clone();
    let head = Header { first, capacity: 0, log_id: 0, previous: None, owners };
    let from = if torn { head.bytes() } else { 0 };
    let path = segment::path(log_dir, first);
    let found = file
        .metadata()
        .and_then(|m| first_nonzero(&file, from, m.len()))
        .map_err(|e| io_error("reading", &path, &e))?;
    match found {
        None => Ok(()),
        Some(offset) => Err(damaged(first, offset, "records without a header")),
    }
}
