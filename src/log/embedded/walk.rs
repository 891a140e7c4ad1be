//! Reads the frames of one segment in order through a buffer of 1 MiB.

use crate::codec::Malformed;
use crate::codec::frame::{self, Frame, HEAD_BYTES, Place};
use crate::model::id::Position;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const BUFFER_BYTES: usize = 1 << 20;

/// Position in one segment.
pub(crate) struct Walk<'f> {
    file: &'f File,
    segment: u64,
    /// Position of the next frame.
    pub(crate) position: u64,
    /// First position not to read.
    limit: u64,
    buffer: Vec<u8>,
    /// Position of the first byte of `buffer`, and how much of it is filled.
    buffer_at: u64,
    filled: usize,
}

/// Why there is no next frame.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Bytes that are no frame.
    Bad(Malformed),
    /// The system refused to read.
    Io(io::Error),
}

impl<'f> Walk<'f> {
    /// Starts at `position` and ends before `limit`.
    pub(crate) fn new(file: &'f File, segment: u64, position: u64, limit: u64) -> Self {
        let room = usize::try_from(limit.saturating_sub(position)).unwrap_or(BUFFER_BYTES);
        let buffer = vec![0; room.min(BUFFER_BYTES)];
        Self { file, segment, position, limit, buffer, buffer_at: position, filled: 0 }
    }

    /// The next frame with its position; `None` at the limit.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Frame<'_>)>, Stop> {
        if self.position >= self.limit {
            return Ok(None);
        }
        self.fill(HEAD_BYTES)?;
        let whole = frame::frame_bytes(self.window());
        let whole = whole.ok_or(Stop::Bad(Malformed("record: length")))?;
        self.fill(whole)?;
        let position = self.position;
        let place = Place { segment: self.segment, position: Position(position) };
        self.position += whole as u64;
        let start = offset(position - self.buffer_at);
        let window = self.buffer.get(start..self.filled).unwrap_or_default();
        match frame::read(window, place) {
            Ok(frame) => Ok(Some((position, frame))),
            Err(bad) => {
                self.position = position;
                Err(Stop::Bad(bad))
            }
        }
    }

    fn window(&self) -> &[u8] {
        let start = offset(self.position - self.buffer_at);
        self.buffer.get(start..self.filled).unwrap_or_default()
    }

    /// Sees to it that `bytes` from the position are in the buffer.
    fn fill(&mut self, bytes: usize) -> Result<(), Stop> {
        if self.window().len() >= bytes {
            return Ok(());
        }
        if self.position + bytes as u64 > self.limit {
            return Err(Stop::Bad(Malformed("record: reaches past the end")));
        }
        let start = offset(self.position - self.buffer_at);
        self.buffer.copy_within(start..self.filled, 0);
        self.filled -= start;
        self.buffer_at = self.position;
        if self.buffer.len() < bytes {
            self.buffer.resize(bytes, 0);
        }
        let left = usize::try_from(self.limit - self.position).unwrap_or(usize::MAX);
        let wanted = self.buffer.len().min(left);
        let target = self.buffer.get_mut(self.filled..wanted).unwrap_or_default();
        let at = self.buffer_at - self.segment + self.filled as u64;
        self.file.read_exact_at(target, at).map_err(Stop::Io)?;
        self.filled = wanted;
        Ok(())
    }
}

/// A distance inside the buffer.
fn offset(distance: u64) -> usize {
    usize::try_from(distance).expect("a buffer fits the address space")
}
