//! Images: one file a partition and position, written aside, synced, renamed, synced again. The
//! newest two are kept.

use crate::log::Error;
use crate::log::files::{io_error, names, sync_dir};
use crate::model::id::{PartitionId, Position};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

const KEPT: usize = 2;

fn path(dir: &Path, partition: PartitionId, position: Position) -> PathBuf {
    dir.join(format!("{partition}-{position}.img"))
}

fn parse(name: &str) -> Option<(PartitionId, Position)> {
    let (partition, position) = name.strip_suffix(".img")?.split_once('-')?;
    let parsed = (PartitionId(partition.parse().ok()?), Position(position.parse().ok()?));
    (format!("{}-{}.img", parsed.0, parsed.1) == name).then_some(parsed)
}

/// All images of a directory.
pub(crate) fn all(dir: &Path) -> Result<Vec<(PartitionId, Position)>, Error> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    Ok(names(dir)?.iter().filter_map(|name| parse(name)).collect())
}

/// Images of a partition, the newest first.
pub(crate) fn of(dir: &Path, partition: PartitionId) -> Result<Vec<Position>, Error> {
    let all = all(dir)?.into_iter();
    let mut marks: Vec<_> = all.filter(|(p, _)| *p == partition).map(|(_, at)| at).collect();
    marks.sort_unstable_by(|a, b| b.cmp(a));
    Ok(marks)
}

/// As [`of`], for who can do without: a directory that cannot be listed has none.
pub(crate) fn usable(dir: &Path, partition: PartitionId) -> Vec<Position> {
    of(dir, partition).unwrap_or_else(|error| {
        tracing::warn!(%partition, %error, "images cannot be listed; the log is read instead");
        Vec::new()
    })
}

/// Size of all images; what cannot be looked at counts 0.
pub(crate) fn bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

/// Writes an image; durable on return.
pub(crate) fn write(
    dir: &Path,
    partition: PartitionId,
    position: Position,
    image: &[u8],
) -> Result<(), Error> {
    let path = path(dir, partition, position);
    let aside = path.with_extension("img.tmp");
    let written = File::create(&aside).and_then(|mut file| {
        file.write_all(image)?;
        file.sync_all()
    });
    if let Err(e) = written {
        if let Err(error) = fs::remove_file(&aside) {
            tracing::debug!(%error, "an unfinished image is left until the next start");
        }
        return Err(io_error("writing", &aside, &e));
    }
    fs::rename(&aside, &path).map_err(|e| io_error("renaming", &aside, &e))?;
    sync_dir(dir)?;
    for old in of(dir, partition)?.into_iter().skip(KEPT) {
        remove(dir, partition, old)?;
    }
    Ok(())
}

/// Removes an image.
pub(crate) fn remove(dir: &Path, partition: PartitionId, position: Position) -> Result<(), Error> {
    let path = path(dir, partition, position);
    fs::remove_file(&path).map_err(|e| io_error("removing", &path, &e))
}

/// Bytes of an image.
pub(crate) fn read(
    dir: &Path,
    partition: PartitionId,
    position: Position,
) -> Result<Vec<u8>, Error> {
    let path = path(dir, partition, position);
    fs::read(&path).map_err(|e| io_error("reading", &path, &e))
}
