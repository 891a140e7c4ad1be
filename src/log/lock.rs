//! One process a data directory: an advisory lock on `lock`, which dies with its process.

use crate::log::Error;
use crate::log::files::io_error;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

/// A predecessor that is just dying gets this many chances of [`RETRY`]; together well below 1 s.
const TRIES: u32 = 10;
const RETRY: Duration = Duration::from_millis(50);

/// Held as long as this lives.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    /// Takes the lock and leaves the process id in the file.
    pub(crate) fn take(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| io_error("opening", &path, &e))?;
        for attempt in 1.. {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempt < TRIES => std::thread::sleep(RETRY),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Locked(dir.display().to_string(), holder(&mut file)));
                }
                Err(TryLockError::Error(e)) => return Err(io_error("locking", &path, &e)),
            }
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(|e| io_error("writing", &path, &e))?;
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}
