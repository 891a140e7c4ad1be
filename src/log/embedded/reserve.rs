//! Two files of the size of a segment that hold disk space and nothing else. When the disk is full
//! the writer gives one back and creates the next segment in its place. They end in `.tmp`, so each
//! start makes them anew.

use crate::log::Error;
use crate::log::files::{self, create_reserved, io_error, sync_dir};
use std::fs;
use std::path::{Path, PathBuf};

const FILES: usize = 2;

/// The files there are.
#[derive(Debug)]
pub(crate) struct Reserve {
    log_dir: PathBuf,
    /// Which of them exist, and their size.
    held: [Option<u64>; FILES],
}

impl Reserve {
    /// None yet.
    pub(crate) fn new(log_dir: &Path) -> Self {
        Self { log_dir: log_dir.to_owned(), held: [None; FILES] }
    }

    fn path(&self, number: usize) -> PathBuf {
        self.log_dir.join(format!("reserve-{number}.tmp"))
    }

    /// Nothing is missing.
    pub(crate) fn whole(&self) -> bool {
        self.held.iter().all(Option::is_some)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.held.iter().flatten().sum()
    }

    /// Creates missing files as far as the disk has room for them.
    pub(crate) fn fill(&mut self, bytes: u64) {
        for number in 0..FILES {
            let room = files::space(&self.log_dir).is_none_or(|(free, _)| free > bytes);
            if self.held[number].is_some() || !room {
                continue;
            }
            match create_reserved(&self.path(number), bytes) {
                Ok(_) => self.held[number] = Some(bytes),
                Err(error) => return tracing::debug!(%error, "no room for the reserve"),
            }
        }
    }

    /// Gives one file back to the disk; false when there is none.
    pub(crate) fn release(&mut self) -> Result<bool, Error> {
        let Some(number) = self.held.iter().position(Option::is_some) else { return Ok(false) };
        let path = self.path(number);
        fs::remove_file(&path).map_err(|e| io_error("removing", &path, &e))?;
        self.held[number] = None;
        sync_dir(&self.log_dir)?;
        Ok(true)
    }
}
