//! A look at a spool that nobody serves, for tools: what is whole, and where it stops being so.
//! Nothing on disk is changed; [`Spool::open`] would cut and drop here.

use super::index::Index;
use super::segment::{self, HEADER_BYTES, Header, Segment};
use super::walk::{self, Bad, READ_BYTES, SCAN_BYTES, Walk};
use super::{Spool, cache, marker, open, read, writer};
use crate::log::Error;
use crate::log::files::io_error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

/// Where a spool stops being whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// File name; empty = of the directory itself.
    pub(crate) file: String,
    /// Byte of the file.
    pub(crate) place: u64,
    /// What is wrong.
    pub(crate) reason: String,
    /// Bytes of a torn tail: nothing valid lies behind the place. `None` = damage.
    pub(crate) torn: Option<u64>,
}

impl Fault {
    /// Damage.
    pub(crate) fn damage(file: String, place: u64, reason: &str) -> Self {
        Self { file, place, reason: reason.to_owned(), torn: None }
    }

    fn missing(first: u64) -> Self {
        Self::damage(segment::name(first), 0, "the segment is missing")
    }
}

impl Spool {
    /// What is whole of the spool of a directory, only to be read, and what ends it; `None` for
    /// the spool = nothing is. Entries of finished segments are checked when they are read.
    ///
    /// # Errors
    /// `Io`. What is wrong with the spool is no error.
    pub(crate) fn look(dir: &Path) -> Result<(Option<Self>, Option<Fault>), Error> {
        let (mut headers, mut fault) = chain(dir)?;
        let Some((newest, bytes)) = headers.pop() else { return Ok((None, fault)) };
        let finished = fault.as_ref().is_some_and(|fault| fault.torn.is_none());
        let path = segment::path(dir, newest.first);
        let file = File::open(&path).map_err(|e| io_error("opening", &path, &e))?;
        let (index, end, bad) = entries(&file, &newest, bytes);
        if let Some(bad) = bad.filter(|_| !finished) {
            let begun = fault.is_some();
            let behind = begun || entry_behind(&file, newest.first, bad.place, bytes, &path)?;
            let torn = (!behind).then_some(bytes - bad.place);
            let Bad { place, reason } = bad;
            fault = Some(Fault { file: segment::name(newest.first), place, reason, torn });
        }
        if fault.as_ref().is_none_or(|fault| fault.torn.is_some())
            && let Some(noted) = marker::read(dir)?
        {
            let reason = format!("the server has found damage from {} on", segment::name(noted));
            fault = Some(Fault::damage(marker::NAME.to_owned(), 0, &reason));
        }
        let next = index.last().map_or(newest.first, |last| last.offset + 1);
        let finished = headers.into_iter().enumerate();
        let mut segments: Vec<_> = finished
            .map(|(id, (header, bytes))| Arc::new(Segment::new(id as u64, header, bytes, None)))
            .collect();
        let id = segments.len() as u64;
        segments.push(Arc::new(Segment::new(id, newest, end, Some(index))));
        let mut writer = writer::Writer::new(file, newest.before, id + 1);
        writer.failed = Some("a stopped directory is only read".to_owned());
        let spool = Self {
            dir: dir.to_owned(),
            segment_bytes: u64::MAX,
            segments: RwLock::new(segments),
            next: AtomicU64::new(next),
            writer: Mutex::new(writer),
            files: cache::Files::files(),
            records: cache::Records::records(),
            // As if all of it were noted already: nothing is noted then.
            damage: Mutex::new(Some(0)),
        };
        Ok((Some(spool), fault))
    }

    /// File name and byte of the record at an offset, to tell where something is wrong with it.
    pub(crate) fn whereabouts(&self, offset: u64) -> (String, u64) {
        let Some(segment) = read::from(&self.list(), offset).first().map(Arc::clone) else {
            return (String::new(), 0);
        };
        let mut place = HEADER_BYTES;
        if let Ok(Some(file)) = self.file(&segment) {
            let mut walk = Walk::new(&file, segment.header.first, segment.end(), READ_BYTES);
            while let Ok(Some(point)) = walk.skip()
                && point.offset <= offset
            {
                place = point.place;
            }
        }
        (segment::name(segment.header.first), place)
    }
}

/// Headers and sizes of segments, the oldest first, and what breaks their chain.
type Chain = (Vec<(Header, u64)>, Option<Fault>);

/// The segments as far as each fits the one before it.
fn chain(dir: &Path) -> Result<Chain, Error> {
    let firsts = open::firsts(dir)?;
    if firsts.is_empty() {
        let fault = Fault::damage(String::new(), 0, "there is no segment");
        return Ok((Vec::new(), Some(fault)));
    }
    let mut headers: Vec<(Header, u64)> = Vec::with_capacity(firsts.len());
    for first in &firsts {
        let path = segment::path(dir, *first);
        let file = File::open(&path).map_err(|e| io_error("opening", &path, &e))?;
        let bytes = file.metadata().map_err(|e| io_error("looking at", &path, &e))?.len();
        let Some(header) = Header::read(&file).filter(|header| header.first == *first) else {
            let newest = firsts.last() == Some(first);
            let torn = newest && !entry_behind(&file, *first, 0, bytes, &path)?;
            let (file, reason) = (segment::name(*first), "no header of a segment".to_owned());
            let torn = torn.then_some(bytes);
            return Ok((headers, Some(Fault { file, place: 0, reason, torn })));
        };
        if let Some(fault) = break_before(headers.last(), &header) {
            return Ok((headers, Some(fault)));
        }
        headers.push((header, bytes));
    }
    Ok((headers, None))
}

/// What is wrong between a segment and the one before it. Nothing trims a spool yet, so the oldest
/// one has none before it.
fn break_before(before: Option<&(Header, u64)>, header: &Header) -> Option<Fault> {
    match (before, header.previous) {
        (None, None) => None,
        (None, Some((first, _))) => Some(Fault::missing(first)),
        (Some((before, bytes)), Some((first, said))) if before.first == first => {
            let reason = format!("{bytes} bytes, and the next segment says {said}");
            let place = said.min(*bytes);
            (said != *bytes).then(|| Fault::damage(segment::name(first), place, &reason))
        }
        (Some(_), Some((first, _))) => Some(Fault::missing(first)),
        (Some(_), None) => {
            let reason = "it does not follow the segment before it";
            Some(Fault::damage(segment::name(header.first), 0, reason))
        }
    }
}

/// The whole entries at the beginning of a segment, where they end, and what ends them.
fn entries(file: &File, header: &Header, bytes: u64) -> (Index, u64, Option<Bad>) {
    let mut index = Index::default();
    let mut walk = Walk::new(file, header.first, bytes, SCAN_BYTES);
    let bad = loop {
        match walk.next() {
            Ok(Some(entry)) => index.add(entry.at),
            Ok(None) => break None,
            Err(bad) => break Some(bad),
        }
    };
    (index, walk.place(), bad)
}

/// Does an entry lie behind a place where none begins?
fn entry_behind(
    file: &File,
    first: u64,
    place: u64,
    bytes: u64,
    path: &Path,
) -> Result<bool, Error> {
    let size = usize::try_from(bytes - place).unwrap_or(usize::MAX);
    let mut rest = vec![0; size];
    file.read_exact_at(&mut rest, place).map_err(|e| io_error("reading", path, &e))?;
    let mut places = (place..).zip(0..size).skip(1);
    Ok(places.any(|(place, at)| walk::is_entry(rest.get(at..).unwrap_or_default(), first, place)))
}
