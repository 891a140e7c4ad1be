//! Reading durable records: in order, or one by its position.

use crate::codec::event::{self, Detail, OWNER, SUBMITTED, SUBMITTED_ARRAY};
use crate::codec::frame::{self, HEAD_BYTES, Head, KIND_EVENT_MIN, Place};
use crate::log::Error;
use crate::log::embedded::queue::Shared;
use crate::log::embedded::recovery::Known;
use crate::log::embedded::segment;
use crate::log::embedded::walk::Walk;
use crate::log::files::io_error;
use crate::log::{LogRecord, Resume, Skimmed};
use crate::model::id::{Epoch, PartitionId, Position};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Open files kept for reading single records.
const FILES_KEPT: usize = 32;
/// Records kept, because hand-outs in order read one record many times; and their bytes.
const RECORDS_KEPT: usize = 64;
const RECORD_BYTES_KEPT: usize = 16 << 20;

/// A record read by its position.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// Reads single records.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    files: Mutex<VecDeque<(u64, Arc<File>)>>,
    records: Mutex<VecDeque<(Position, Arc<Record>)>>,
}

impl Reader {
    /// The record at a position.
    pub(crate) fn record(&self, shared: &Shared, at: Position) -> Result<Arc<Record>, Error> {
        if let Some(kept) = kept(&self.records, at) {
            return Ok(kept);
        }
        let (first, limit) = shared.locate(at).ok_or(Error::NoRecord(at))?;
        let file = self.file(&shared.log_dir, first)?;
        let offset = at.0 - first;
        let bad = |reason: String| segment::damaged(first, offset, reason);
        let read = |bytes: &mut [u8]| {
            file.read_exact_at(bytes, offset).map_err(|e| bad(format!("reading failed: {e}")))
        };
        let mut head = [0; HEAD_BYTES];
        read(&mut head)?;
        let whole = frame::frame_bytes(&head).ok_or_else(|| bad("no record".to_owned()))?;
        if at.0 + whole as u64 > limit {
            return Err(bad("no record".to_owned()));
        }
        let mut bytes = vec![0; whole];
        read(&mut bytes)?;
        let frame = frame::read(&bytes, Place { segment: first, position: at });
        let head = frame.map_err(|e| bad(e.to_string()))?.head;
        bytes.drain(..HEAD_BYTES);
        let record = Arc::new(Record { head, body: bytes });
        if matches!(head.kind, SUBMITTED | SUBMITTED_ARRAY) {
            self.keep(at, &record);
        }
        Ok(record)
    }

    fn keep(&self, at: Position, record: &Arc<Record>) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.push_back((at, Arc::clone(record)));
        let bytes = |r: &VecDeque<(Position, Arc<Record>)>| -> usize {
            r.iter().map(|(_, record)| record.body.len()).sum()
        };
        while records.len() > RECORDS_KEPT || bytes(&records) > RECORD_BYTES_KEPT {
            records.pop_front();
        }
    }

    fn file(&self, log_dir: &Path, first: u64) -> Result<Arc<File>, Error> {
        if let Some(file) = kept(&self.files, first) {
            return Ok(file);
        }
        let path = segment::path(log_dir, first);
        let file = File::open(&path).map_err(|e| io_error("opening", &path, &e))?;
        let file = Arc::new(file);
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.push_back((first, Arc::clone(&file)));
        while files.len() > FILES_KEPT {
            files.pop_front();
        }
        Ok(file)
    }
}

/// The entry of a key, moved to the end of the line.
fn kept<K: PartialEq, V>(line: &Mutex<VecDeque<(K, Arc<V>)>>, key: K) -> Option<Arc<V>> {
    let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
    let at = line.iter().rposition(|(k, _)| *k == key)?;
    let entry = line.remove(at)?;
    let value = Arc::clone(&entry.1);
    line.push_back(entry);
    Some(value)
}

/// Visits the records of the listed partitions in order.
pub(crate) fn scan(
    log_dir: &Path,
    segments: &[Known],
    from: &[(PartitionId, Position)],
    detail: Detail,
    resume: &mut Resume,
    visit: &mut dyn FnMut(Skimmed) -> bool,
) -> Result<(), Error> {
    let from: BTreeMap<PartitionId, Position> = from.iter().copied().collect();
    let Some(first) = from.values().min() else { return Ok(()) };
    let wanted = |head: &Head, position: u64| {
        head.kind >= KIND_EVENT_MIN && from.get(&head.partition).is_some_and(|f| f.0 <= position)
    };
    for known in segments.iter().filter(|s| s.end > first.0) {
        let path = segment::path(log_dir, known.header.first);
        let file = File::open(&path).map_err(|e| io_error("opening", &path, &e))?;
        let segment = Position(known.header.first);
        let fits = resume.segment == segment && (Position(1)..=*first).contains(&resume.position);
        let (start, mut owners) = if fits {
            (resume.position.0, std::mem::take(&mut resume.owners))
        } else {
            (known.start(), known.header.owners.clone())
        };
        let mut walk = Walk::new(&file, segment.0, start, known.end);
        loop {
            let at = walk.position;
            let next = walk.next().map_err(|stop| known.stopped(at, stop))?;
            let Some((position, frame)) = next else { break };
            let head = frame.head;
            if head.kind == OWNER {
                owners.insert(head.partition, Epoch(position));
            }
            if !wanted(&head, position) || owners.get(&head.partition) != Some(&head.epoch) {
                continue;
            }
            let decoded = event::decode(head.kind, head.at, frame.body, detail)
                .map_err(|bad| known.damage(position, bad.to_string()))?;
            let (partition, epoch) = (head.partition, head.epoch);
            let position = Position(position);
            let record = LogRecord { position, partition, epoch, stamped: decoded.stamped };
            if !visit(Skimmed { record, blob_bytes: decoded.blob_bytes }) {
                *resume = Resume { segment, position, owners };
                return Ok(());
            }
        }
        *resume = Resume { segment, position: Position(walk.position), owners };
    }
    Ok(())
}
