//! Opening: directories, lock, format, what recovery found put right, writer thread started.

use crate::log::Error;
use crate::log::embedded::group::end_mark;
use crate::log::embedded::queue::Shared;
use crate::log::embedded::reader::Reader;
use crate::log::embedded::recovery::{Known, Survey, Unfinished, survey};
use crate::log::embedded::reserve::Reserve;
use crate::log::embedded::segment::{self, Header, Owners, damaged};
use crate::log::embedded::writer::{Active, Writer, begin_active};
use crate::log::embedded::{Cut, Disk, OpenReport, Options};
use crate::log::files::{io_error, make_dir, remove_temporary, sync_dir, write_zeros};
use crate::log::images;
use crate::log::lock::DirLock;
use crate::model::id::Position;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Name in the `format` file.
const PRODUCT: &str = "kwq";
/// Version of the data directory.
const VERSION: u32 = 1;

/// Opens or creates the log of a directory.
pub(crate) fn open(options: Options) -> Result<(Disk, OpenReport), Error> {
    let mut report = OpenReport::default();
    let (durability, images_dir) = (options.durability, options.dir.join("images"));
    let (writer, lock) = prepared(options, &mut report)?;
    let shared = Arc::clone(&writer.shared);
    report.segments = shared.segments().len();
    report.end = shared.end();
    let thread = std::thread::Builder::new().name("kwq-log".to_owned()).spawn(move || {
        let _end = FailAtEnd(Arc::clone(&writer.shared));
        writer.run();
    });
    let thread = thread.map_err(|e| io_error("starting the writer of", &shared.log_dir, &e))?;
    let disk = Disk {
        shared,
        reader: Reader::default(),
        damage: Mutex::default(),
        images_dir,
        durability,
        writer: Mutex::new(Some(thread)),
        lock: Mutex::new(Some(lock)),
    };
    Ok((disk, report))
}

/// The writer of a directory without its thread.
#[cfg(test)]
pub(crate) fn writer(options: Options) -> Result<(Writer, DirLock), Error> {
    prepared(options, &mut OpenReport::default())
}

/// Everything but the thread.
fn prepared(mut options: Options, report: &mut OpenReport) -> Result<(Writer, DirLock), Error> {
    options.segment_bytes = options.segment_bytes.max(Options::SEGMENT_BYTES_MIN);
    let dir = options.dir.clone();
    let (log_dir, images_dir) = (dir.join("log"), dir.join("images"));
    make_dir(&dir)?;
    let lock = DirLock::take(&dir)?;
    // First of all: what a newer version wrote is not touched.
    let known = read_format(&dir)?;
    for dir in [&log_dir, &images_dir] {
        make_dir(dir)?;
    }
    for dir in [&dir, &log_dir, &images_dir] {
        remove_temporary(dir)?;
    }
    let survey = survey(&log_dir, options.check_bytes)?;
    check_beginning(&dir, known, &survey)?;
    check_images(&images_dir, &survey)?;
    report.created = survey.segments.is_empty();
    report.records = survey.counted.records;
    report.decided = survey.counted.decided;
    let mut writer = settle(&log_dir, options, survey, report)?;
    writer.prepare();
    if !known {
        write_format(&dir)?;
    }
    Ok((writer, lock))
}

/// However the writer ends, nobody waits for it any more.
struct FailAtEnd(Arc<Shared>);

impl Drop for FailAtEnd {
    fn drop(&mut self) {
        self.0.fail("the writer of the log has ended");
    }
}

/// Checks the `format` file; false when there is none.
pub(crate) fn read_format(dir: &Path) -> Result<bool, Error> {
    let path = dir.join("format");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(io_error("reading", &path, &e)),
    };
    known_format(&text).map_err(|reason| {
        Error::UnknownFormat(format!("{} is of another format: {reason}", dir.display()))
    })?;
    Ok(true)
}

/// The `format` file is written after the first segment was begun, so each tells whether the other
/// is gone.
pub(crate) fn check_beginning(dir: &Path, known: bool, survey: &Survey) -> Result<(), Error> {
    match (known, survey.segments.as_slice()) {
        (true, []) => Err(damaged(0, 0, "the segment is missing")),
        (false, []) | (true, _) => Ok(()),
        (false, [only]) if only.end == only.start() => Ok(()),
        (false, _) => {
            let text = format!("{} holds a log but no `format` file", dir.display());
            Err(Error::UnknownFormat(text))
        }
    }
}

/// Checks the line of a `format` file.
pub(crate) fn known_format(text: &str) -> Result<(), String> {
    let line = text.trim_end();
    let version = line.strip_prefix(PRODUCT).and_then(|rest| rest.trim().parse::<u32>().ok());
    match version {
        Some(VERSION) => Ok(()),
        Some(other) => Err(format!("version {other}; this kwq knows version {VERSION}")),
        None => Err(format!("`{line}` is not `{PRODUCT} <version>`")),
    }
}

fn write_format(dir: &Path) -> Result<(), Error> {
    let (path, aside) = (dir.join("format"), dir.join("format.tmp"));
    let written = File::create(&aside).and_then(|mut file| {
        writeln!(file, "{PRODUCT} {VERSION}")?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&aside, &path)).map_err(|e| io_error("writing", &path, &e))?;
    sync_dir(dir)
}

/// An image is never newer than the log it was made from; if one is, the end of the log is gone.
pub(crate) fn check_images(images_dir: &Path, survey: &Survey) -> Result<(), Error> {
    let (first, end) = survey.segments.last().map_or((0, 0), |s| (s.header.first, s.end));
    let ahead = images::all(images_dir)?.into_iter().find(|(_, position)| position.0 > end);
    match ahead {
        None => Ok(()),
        Some((partition, position)) => {
            let reason = format!("image {partition}-{position} is newer than the end of the log");
            Err(damaged(first, end - first, reason))
        }
    }
}

/// Puts right what a crash may leave, and builds the writer.
fn settle(
    log_dir: &Path,
    options: Options,
    mut survey: Survey,
    report: &mut OpenReport,
) -> Result<Writer, Error> {
    if let Some(Unfinished { first, torn }) = survey.unfinished {
        tracing::warn!(segment = segment::name(first), torn, "segment never begun; removed");
        let path = segment::path(log_dir, first);
        fs::remove_file(&path).map_err(|e| io_error("removing", &path, &e))?;
        sync_dir(log_dir)?;
    }
    if survey.end_mark_missing {
        finish_end(log_dir, &survey)?;
    }
    let (active, log_id) = match survey.segments.last() {
        Some(last) => (settle_tail(log_dir, last, &survey, report)?, last.header.log_id),
        None => create_first(log_dir, &mut survey, options.segment_bytes)?,
    };
    let unproven = (survey.tail.check.last_records > 0).then(|| survey.tail.check.touched.clone());
    let end = active.end;
    let shared = Arc::new(Shared::new(log_dir.to_owned(), survey.segments, end));
    Ok(Writer {
        shared,
        options,
        log_id,
        owners: {
            let last = survey.tail.owners.keys().last();
            report.partitions = last.map_or(0, |id| id.index() + 1);
            survey.tail.owners
        },
        active,
        reserve: Reserve::new(log_dir),
        synced_to: end,
        unsynced: 0,
        unproven,
    })
}

/// Writes the end mark that a crash between two segments left out.
fn finish_end(log_dir: &Path, survey: &Survey) -> Result<(), Error> {
    let Some(closed) = survey.segments.iter().rev().nth(1) else { return Ok(()) };
    let first = closed.header.first;
    let file = segment::open(log_dir, first)?;
    let written = write_zeros(&file, closed.end - first, closed.header.capacity)
        .and_then(|()| file.write_all_at(&end_mark(first, closed.end), closed.end - first))
        .and_then(|()| file.sync_data());
    written.map_err(|e| io_error("ending", &segment::path(log_dir, first), &e))
}

/// Cuts a torn tail; makes the last group durable if nothing proves that it is.
fn settle_tail(
    log_dir: &Path,
    last: &Known,
    survey: &Survey,
    report: &mut OpenReport,
) -> Result<Active, Error> {
    let first = last.header.first;
    let file = segment::open(log_dir, first)?;
    if let Some((from, to)) = survey.tail.torn {
        let cut = Cut { segment: segment::name(first), from: Position(from), bytes: to - from };
        tracing::warn!(
            segment = %cut.segment, position = cut.from.0, bytes = cut.bytes,
            "torn tail cut: a group that was never acknowledged"
        );
        report.cut = Some(cut);
    }
    let work = || -> io::Result<()> {
        if let Some((from, to)) = survey.tail.torn {
            write_zeros(&file, from - first, to - first)?;
        }
        let check = &survey.tail.check;
        if check.last_records > 0 {
            // Read from the page cache, perhaps; written again it is dirty again, so this sync is a
            // real one.
            let size = usize::try_from(last.end - check.last_start).unwrap_or_default();
            let mut bytes = vec![0; size];
            file.read_exact_at(&mut bytes, check.last_start - first)?;
            file.write_all_at(&bytes, check.last_start - first)?;
        }
        file.sync_data()
    };
    work().map_err(|e| io_error("recovering", &segment::path(log_dir, first), &e))?;
    Ok(Active { file, header: last.header.clone(), end: last.end, filled: last.end })
}

/// The first segment of a new log.
fn create_first(log_dir: &Path, survey: &mut Survey, bytes: u64) -> Result<(Active, u64), Error> {
    let log_id = RandomState::new().hash_one(std::process::id());
    let owners = Owners::new();
    let header = Header { first: 0, capacity: bytes, log_id, previous: None, owners };
    let file = segment::create(log_dir, 0, bytes)?;
    segment::begin(&file, log_dir, &header)?;
    let active = begin_active(file, header.clone());
    survey.segments.push(Known { header, end: active.end });
    Ok((active, log_id))
}
