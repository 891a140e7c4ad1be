//! What this machine has of the changelog, and how it is read.

use crate::codec::Malformed;
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
        let Ok(spool) = self.spool(id) else { return Ok(true) };
        read(spool, (id, from), detail, visit)
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
        let task = |at: &TextAt| {
            self.raw(at.partition, at.record, |raw| {
                let spec = match raw.kind {
                    event::SUBMITTED => event::submitted::decode_task(raw.body, at.entry),
                    event::SUBMITTED_ARRAY => event::arrays::decode_element(raw.body, at.entry),
                    _ => return None,
                };
                Some(StoredTask { submitted: raw.at, spec: spec.ok()? })
            })
        };
        wanted.iter().map(task).collect()
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

/// Visits the events of the spool of a partition from a position on; false = the visitor has
/// enough.
///
/// # Errors
/// `Damaged` names the file below the data directory and the byte; `Io`.
pub(super) fn read(
    spool: &Spool,
    (id, from): (PartitionId, Position),
    detail: Detail,
    visit: &mut dyn FnMut(Skimmed) -> bool,
) -> Result<bool, Error> {
    let (first, _) = place::offset(from);
    let (mut goes_on, mut bad) = (true, None);
    let scanned = spool.scan(first, &mut |offset, bytes| {
        match events(id, offset, bytes, from, detail, visit) {
            Ok(more) => goes_on = more,
            Err(malformed) => bad = Some((offset, malformed)),
        }
        goes_on && bad.is_none()
    });
    if let Err(Error::Damaged { segment, offset, reason }) = scanned {
        return Err(Error::Damaged { segment: file(id, &segment), offset, reason });
    }
    scanned?;
    let Some((offset, malformed)) = bad else { return Ok(goes_on) };
    let (segment, place) = spool.whereabouts(offset);
    let reason = format!("record {offset}: {malformed}");
    Err(Error::Damaged { segment: file(id, &segment), offset: place, reason })
}

/// A file of the spool of a partition, as its path below the data directory.
pub(super) fn file(id: PartitionId, name: &str) -> String {
    format!("kafka/spool/{id}/{name}").trim_end_matches('/').to_owned()
}

/// Visits the events of one batch; false = the visitor has enough.
fn events(
    partition: PartitionId,
    offset: u64,
    bytes: &[u8],
    from: Position,
    detail: Detail,
    visit: &mut dyn FnMut(Skimmed) -> bool,
) -> Result<bool, Malformed> {
    let value = Value::read(bytes)?;
    let owner = Epoch(place::position(offset, 0).0);
    let epoch = if value.is_owner() { owner } else { value.epoch() };
    for (number, raw) in (0..=u16::MAX).zip(value.raws()) {
        let position = place::position(offset, number);
        if position < from {
            continue;
        }
        let decoded = raw.decode(detail)?;
        let record = LogRecord { position, partition, epoch, stamped: decoded.stamped };
        if !visit(Skimmed { record, blob_bytes: decoded.blob_bytes }) {
            return Ok(false);
        }
    }
    Ok(true)
}
