//! What this machine has of the changelog, and how it is read.

use crate::codec::changelog::{Raw, Value};
use crate::codec::event::{self, Detail};
use crate::log::kafka::place;
use crate::log::spool::Spool;
use crate::log::{Error, LogRecord, Skimmed, StoredTask, images};
use crate::model::event::Stamped;
use crate::model::id::{Epoch, PartitionId, Position};
use crate::model::task::Blob;
use crate::model::view::{ResultAt, TextAt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Spools of all partitions, and images.
pub(super) struct Copy {
    pub(super) spools: Vec<Arc<Spool>>,
    pub(super) images_dir: PathBuf,
}

/// Directories of spools and images below a data directory.
pub(super) fn directories(dir: &Path) -> [PathBuf; 2] {
    let dir = dir.join("kafka");
    [dir.join("spool"), dir.join("images")]
}

impl Copy {
    fn spool(&self, id: PartitionId) -> Result<&Spool, Error> {
        let none = || Error::Settings(format!("there is no partition {id}"));
        self.spools.get(id.index()).map(|spool| &**spool).ok_or_else(none)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.spools.iter().map(|spool| spool.bytes()).sum()
    }

    /// Visits the events of a partition from a position on.
    fn visit(
        &self,
        (id, from): (PartitionId, Position),
        detail: Detail,
        visit: &mut dyn FnMut(Skimmed) -> bool,
    ) -> Result<bool, Error> {
        let (first, _) = place::offset(from);
        let (mut goes_on, mut bad) = (true, None);
        let Ok(spool) = self.spool(id) else { return Ok(true) };
        spool.scan(first, &mut |offset, bytes| {
            let told = events(id, offset, bytes, from, detail, visit);
            match told {
                Ok(more) => goes_on = more,
                Err(error) => bad = Some(error),
            }
            goes_on && bad.is_none()
        })?;
        bad.map_or(Ok(goes_on), Err)
    }

    /// One event, not decoded yet.
    fn raw<T>(
        &self,
        id: PartitionId,
        at: Position,
        read: impl FnOnce(Raw<'_>) -> Option<T>,
    ) -> Result<T, Error> {
        let (offset, number) = place::offset(at);
        let bytes = self.spool(id)?.read(offset)?.ok_or(Error::NoRecord(at))?;
        let value = Value::read(&bytes).map_err(|_| Error::NoRecord(at))?;
        let raw = value.raws().nth(usize::from(number));
        raw.filter(|_| at > Position(0)).and_then(read).ok_or(Error::NoRecord(at))
    }

    pub(super) fn scan(
        &self,
        from: &[(PartitionId, Position)],
        visit: &mut dyn FnMut(LogRecord) -> bool,
    ) -> Result<(), Error> {
        for place in from {
            if !self.visit(*place, Detail::Full, &mut |skimmed| visit(skimmed.record))? {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn skim(
        &self,
        from: &[(PartitionId, Position)],
        visit: &mut dyn FnMut(Skimmed) -> bool,
    ) -> Result<(), Error> {
        for place in from {
            if !self.visit(*place, Detail::Skim, visit)? {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn read_tasks(&self, wanted: &[TextAt]) -> Result<Vec<StoredTask>, Error> {
        let read = |at: &TextAt| {
            self.raw(at.partition, at.record, |raw| {
                let spec = match raw.kind {
                    event::SUBMITTED => event::submitted::decode_task(raw.body, at.entry),
                    event::SUBMITTED_ARRAY => event::arrays::decode_element(raw.body, at.entry),
                    _ => return None,
                };
                Some(StoredTask { submitted: raw.at, spec: spec.ok()? })
            })
        };
        wanted.iter().map(read).collect()
    }

    pub(super) fn read_event(&self, id: PartitionId, at: Position) -> Result<Stamped, Error> {
        self.raw(id, at, |raw| Some(raw.decode(Detail::Full).ok()?.stamped))
    }

    pub(super) fn read_result(&self, id: PartitionId, at: ResultAt) -> Result<Blob, Error> {
        self.raw(id, at.record, |raw| {
            let completed = raw.kind == event::COMPLETED;
            completed.then(|| event::batches::decode_result(raw.body, at.index).ok()?)?
        })
    }

    pub(super) fn marks(&self, partition: PartitionId) -> Vec<Position> {
        images::usable(&self.images_dir, partition)
    }
}

/// Visits the events of one batch; false = the visitor has enough.
fn events(
    partition: PartitionId,
    offset: u64,
    bytes: &[u8],
    from: Position,
    detail: Detail,
    visit: &mut dyn FnMut(Skimmed) -> bool,
) -> Result<bool, Error> {
    let damaged = |reason: String| Error::Damaged {
        segment: format!("the spool of partition {partition}"),
        offset,
        reason,
    };
    let value = Value::read(bytes).map_err(|bad| damaged(bad.to_string()))?;
    let owner = Epoch(place::position(offset, 0).0);
    let epoch = if value.is_owner() { owner } else { value.epoch() };
    for (number, raw) in (0..=u16::MAX).zip(value.raws()) {
        let position = place::position(offset, number);
        if position < from {
            continue;
        }
        let decoded = raw.decode(detail).map_err(|bad| damaged(bad.to_string()))?;
        let record = LogRecord { position, partition, epoch, stamped: decoded.stamped };
        if !visit(Skimmed { record, blob_bytes: decoded.blob_bytes }) {
            return Ok(false);
        }
    }
    Ok(true)
}
