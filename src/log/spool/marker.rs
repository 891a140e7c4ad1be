//! A note on disk: from which segment on nothing is to be kept. It outlives the process that saw
//! the damage; the next one that opens the spool acts on it.

use crate::log::Error;
use crate::log::files::{io_error, sync_dir};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Of the file that holds it.
pub(super) const NAME: &str = "damaged";

fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Notes the first offset of a segment; durable on return.
pub(super) fn write(dir: &Path, first: u64) -> Result<(), Error> {
    let path = path(dir);
    let aside = path.with_extension("tmp");
    let written = File::create(&aside).and_then(|mut file| {
        writeln!(file, "{first:016x}")?;
        file.sync_all()
    });
    written.map_err(|e| io_error("writing", &aside, &e))?;
    fs::rename(&aside, &path).map_err(|e| io_error("renaming", &aside, &e))?;
    sync_dir(dir)
}

/// What was noted; a note that does not read means everything.
pub(super) fn read(dir: &Path) -> Result<Option<u64>, Error> {
    let path = path(dir);
    match fs::read(&path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            Ok(Some(u64::from_str_radix(text.trim(), 16).unwrap_or(0)))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error("reading", &path, &e)),
    }
}

/// Takes the note away, once what it names is gone for good.
pub(super) fn clear(dir: &Path) -> Result<(), Error> {
    let path = path(dir);
    match fs::remove_file(&path) {
        Ok(()) => sync_dir(dir),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(io_error("removing", &path, &e)),
    }
}
