//! The appender's side: one entry a write, a new segment where one is full.

use super::index::{Index, Point};
use super::segment::{self, HEADER_BYTES, Header, Segment};
use super::walk::encode;
use crate::log::Error;
use crate::log::files::io_error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Kept of the buffer that lays out entries.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// What only the appender needs.
#[derive(Debug)]
pub(super) struct Writer {
    /// The newest segment.
    pub(super) file: File,
    /// Records in all segments since `begin`.
    pub(super) records: u64,
    /// Id of the next segment.
    pub(super) id: u64,
    /// A write has failed and may have left bytes behind the end.
    pub(super) torn: bool,
    /// Why nothing more is accepted.
    pub(super) failed: Option<String>,
    pub(super) buffer: Vec<u8>,
}

impl Writer {
    pub(super) fn new(file: File, records: u64, id: u64) -> Self {
        Self { file, records, id, torn: false, failed: None, buffer: Vec::new() }
    }

    /// Writes an entry to the newest segment; readers see it on return.
    pub(super) fn write(
        &mut self,
        dir: &Path,
        newest: &Segment,
        offset: u64,
        value: &[u8],
    ) -> Result<(), Error> {
        let (first, place) = (newest.header.first, newest.end());
        let error = |e| io_error("appending to", &segment::path(dir, first), &e);
        // What a failed write has left must not come to lie behind a shorter entry.
        if self.torn {
            self.file.set_len(place).map_err(error)?;
            self.torn = false;
        }
        let at = Point { offset, place };
        self.buffer.clear();
        encode(first, at, value, &mut self.buffer);
        let end = place + self.buffer.len() as u64;
        let written = self.file.write_all_at(&self.buffer, place);
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        if let Err(e) = written {
            self.torn = self.file.set_len(place).is_err();
            return Err(error(e));
        }
        newest.grow(at, end);
        self.records += 1;
        Ok(())
    }

    /// Finishes the newest segment and begins the next one. A finished segment is synced, because
    /// nobody checks it as a whole again.
    pub(super) fn roll(
        &mut self,
        dir: &Path,
        newest: &Segment,
        offset: u64,
    ) -> Result<Arc<Segment>, Error> {
        let first = newest.header.first;
        let path = segment::path(dir, first);
        if self.torn {
            let cut = self.file.set_len(newest.end());
            cut.map_err(|e| io_error("cutting", &path, &e))?;
            self.torn = false;
        }
        if let Err(e) = self.file.sync_data() {
            let error = io_error("syncing", &path, &e);
            self.failed = Some(error.to_string());
            return Err(error);
        }
        newest.finish();
        let previous = Some((first, newest.end()));
        let header = Header { first: offset, previous, before: self.records };
        self.file = segment::create(dir, &header)?;
        self.id += 1;
        let index = Some(Index::default());
        Ok(Arc::new(Segment::new(self.id - 1, header, HEADER_BYTES, index)))
    }
}
