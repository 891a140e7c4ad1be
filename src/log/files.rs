//! The few file operations of the log, each with an error that says what was tried on what.

use crate::log::Error;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Written at a time where a file system cannot reserve blocks.
const ZERO_STEP: usize = 1 << 20;

/// An error of the operating system as the contract shows it.
pub(crate) fn io_error(verb: &str, path: &Path, error: &io::Error) -> Error {
    let what = format!("{verb} {}", path.display());
    if full(error) {
        return Error::Full(format!("{what}: {error}"));
    }
    Error::Io { what, cause: error.to_string() }
}

/// No space, or no space for this user.
pub(crate) fn full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes created, renamed and removed names of a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    let synced = File::open(dir).and_then(|d| d.sync_all());
    synced.map_err(|e| io_error("syncing", dir, &e))
}

/// Creates a directory with its parents; durable.
pub(crate) fn make_dir(dir: &Path) -> Result<(), Error> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(|e| io_error("creating", dir, &e))?;
    dir.parent().filter(|p| !p.as_os_str().is_empty()).map_or(Ok(()), sync_dir)
}

/// Names in a directory, sorted.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| io_error("listing", dir, &e))? {
        let entry = entry.map_err(|e| io_error("listing", dir, &e))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Removes files that were never finished.
pub(crate) fn remove_temporary(dir: &Path) -> Result<(), Error> {
    for name in names(dir)?.iter().filter(|n| n.ends_with(".tmp")) {
        let path = dir.join(name);
        if path.is_file() {
            fs::remove_file(&path).map_err(|e| io_error("removing", &path, &e))?;
        }
    }
    Ok(())
}

/// A new file of zeros whose blocks are reserved, size and name durable. Nothing is left behind on
/// failure.
pub(crate) fn create_reserved(path: &Path, bytes: u64) -> Result<File, Error> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|e| io_error("creating", path, &e))?;
    let reserved = reserve(&file, bytes).and_then(|()| file.sync_all());
    if let Err(e) = reserved {
        let removed = fs::remove_file(path);
        if let Err(error) = removed {
            tracing::warn!(path = %path.display(), %error, "an unfinished segment is left");
        }
        return Err(io_error("reserving", path, &e));
    }
    path.parent().map_or(Ok(()), sync_dir)?;
    Ok(file)
}

fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => write_zeros(file, 0, bytes),
        Err(errno) => Err(errno.into()),
    }
}

/// Overwrites a range with zeros.
pub(crate) fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0u8; ZERO_STEP];
    let mut at = from;
    while at < to {
        let step = usize::try_from(to - at).unwrap_or(ZERO_STEP).min(ZERO_STEP);
        let (part, _) = zeros.split_at(step);
        file.write_all_at(part, at)?;
        at += step as u64;
    }
    Ok(())
}

/// First byte of a range that is not zero.
pub(crate) fn first_nonzero(file: &File, from: u64, to: u64) -> io::Result<Option<u64>> {
    let mut buffer = vec![0u8; ZERO_STEP];
    let mut at = from;
    while at < to {
        let step = usize::try_from(to - at).unwrap_or(ZERO_STEP).min(ZERO_STEP);
        let (part, _) = buffer.split_at_mut(step);
        file.read_exact_at(part, at)?;
        if let Some(place) = part.iter().position(|b| *b != 0) {
            return Ok(Some(at + place as u64));
        }
        at += step as u64;
    }
    Ok(None)
}

/// Bytes free for this user, and bytes in all.
pub(crate) fn space(dir: &Path) -> Option<(u64, u64)> {
    let stat = statvfs(dir).ok()?;
    Some((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}

/// Free space to be kept unless told otherwise, B: `max(2 segments, 1 GiB, 5 %)`.
pub(crate) fn auto_reserve(segment_bytes: u64, total: u64) -> u64 {
    (2 * segment_bytes).max(1 << 30).max(total / 20)
}
