//! The copy of the changelog in a stopped data directory, for tools: nothing is asked of Kafka, and
//! nothing is changed. What is damaged is only a cache; the server would read it anew.

use crate::codec::dump::{DumpBody, DumpRecord, References};
use crate::codec::event::Detail;
use crate::log::embedded::Cut;
use crate::log::embedded::inspect::Verdict;
use crate::log::files::names;
use crate::log::kafka::copy::{self, Copy, directories};
use crate::log::kafka::place;
use crate::log::lock::DirLock;
use crate::log::spool::Spool;
use crate::log::spool::look::Fault;
use crate::log::{
    Batch, Error, EventLog, LogRecord, Resume, Room, Skimmed, StoredTask, Ticket, images,
};
use crate::model::event::Stamped;
use crate::model::id::{PartitionId, Position};
use crate::model::task::Blob;
use crate::model::view::{ResultAt, TextAt};
use std::path::Path;
use std::sync::Arc;

/// A log that can only be read.
pub struct Offline {
    copy: Copy,
    torn: Vec<Cut>,
    _lock: DirLock,
}

/// Does this data directory hold a copy of a changelog?
#[must_use]
pub fn is_copy(dir: &Path) -> bool {
    directories(dir)[0].is_dir()
}

/// A partition as it lies on disk.
struct Part {
    id: PartitionId,
    /// What is whole of it, if anything.
    spool: Option<Spool>,
    /// What ends that.
    fault: Option<Fault>,
}

impl Part {
    /// # Errors
    /// `Damaged`, `Io`.
    fn read(&self, detail: Detail, visit: &mut dyn FnMut(Skimmed) -> bool) -> Result<bool, Error> {
        let Some(spool) = &self.spool else { return Ok(true) };
        copy::read(spool, (self.id, Position(0)), detail, visit)
    }

    /// # Errors
    /// `Damaged` behind what is whole.
    fn check(&self) -> Result<(), Error> {
        let Some(Fault { file, place, reason, torn: None }) = &self.fault else { return Ok(()) };
        let segment = copy::file(self.id, file);
        Err(Error::Damaged { segment, offset: *place, reason: reason.clone() })
    }

    /// A torn tail; `from` is a byte of the file.
    fn torn(&self) -> Option<Cut> {
        let Fault { file, place, torn, .. } = self.fault.as_ref()?;
        let (segment, from) = (copy::file(self.id, file), Position(*place));
        torn.map(|bytes| Cut { segment, from, bytes })
    }
}

/// All partitions up to the highest one that has left anything.
fn look(dir: &Path) -> Result<Vec<Part>, Error> {
    let [spool_dir, images_dir] = directories(dir);
    let names = names(&spool_dir)?.into_iter();
    let kept = names.filter_map(|name| name.parse().ok().map(PartitionId));
    let shown = images::all(&images_dir)?.into_iter().map(|(id, _)| id);
    let highest = kept.chain(shown).max();
    let all = (0..=highest.map_or(0, |id| id.0)).map(PartitionId);
    let part = |id: PartitionId| {
        let dir = spool_dir.join(id.to_string());
        let missing = || Fault::damage(String::new(), 0, "the directory is missing");
        let (spool, fault) =
            if dir.is_dir() { Spool::look(&dir)? } else { (None, Some(missing())) };
        Ok(Part { id, spool, fault })
    };
    all.map(part).collect()
}

impl Offline {
    /// Opens the copy, if it is whole but for torn tails.
    ///
    /// # Errors
    /// `Locked`, `Damaged`, `Io`.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let lock = DirLock::take(dir)?;
        let parts = look(dir)?;
        parts.iter().try_for_each(Part::check)?;
        let torn = parts.iter().filter_map(Part::torn).collect();
        // One without a spool has nothing but a tail, and more of them may lie behind it.
        let none = |part: &Part| part.spool.is_none();
        if let Some(Part { id, .. }) = parts.iter().find(|part| none(part)) {
            let (segment, reason) = (copy::file(*id, ""), "nothing of it is whole".to_owned());
            return Err(Error::Damaged { segment, offset: 0, reason });
        }
        let spools = parts.into_iter().filter_map(|part| part.spool.map(Arc::new)).collect();
        let [_, images_dir] = directories(dir);
        Ok(Self { copy: Copy { spools, images_dir }, torn, _lock: lock })
    }

    /// Torn tails that are left out; `from` is a byte of the file.
    #[must_use]
    pub fn torn(&self) -> &[Cut] {
        &self.torn
    }
}

/// Checks every record of the copy: of the damages the first is told, else the first torn tail,
/// whose `from` is a byte of the file.
///
/// # Errors
/// `Locked`, `Io`.
pub fn verify(dir: &Path) -> Result<Verdict, Error> {
    let _lock = DirLock::take(dir)?;
    let parts = look(dir)?;
    let (mut records, mut end) = (0, Position(0));
    let mut read = |part: &Part| {
        part.read(Detail::Skim, &mut |skimmed| {
            records += 1;
            end = end.max(Position(skimmed.record.position.0 + 1));
            true
        })?;
        part.check()
    };
    match parts.iter().try_for_each(&mut read) {
        Ok(()) => {}
        Err(Error::Damaged { segment, offset, reason }) => {
            return Ok(Verdict::Damage { segment, offset, reason });
        }
        Err(error) => return Err(error),
    }
    let torn = parts.iter().find_map(Part::torn);
    Ok(torn.map_or(Verdict::Intact { records, end }, |Cut { segment, from, bytes }| {
        Verdict::TornTail { segment, from, bytes, records }
    }))
}

/// Visits every event of a stopped directory from a position on, a partition after the other, until
/// `visit` answers false. Where one is damaged the next ones are still visited. Answers the torn
/// tails that are left out.
///
/// # Errors
/// `Locked`, `Damaged`, `Io`, once all that is whole was visited.
pub fn dump(
    dir: &Path,
    partition: Option<PartitionId>,
    from: Position,
    visit: &mut dyn FnMut(DumpRecord) -> bool,
) -> Result<Vec<Cut>, Error> {
    let _lock = DirLock::take(dir)?;
    let mut parts = look(dir)?;
    parts.retain(|part| partition.is_none_or(|one| one == part.id));
    let mut references = References::default();
    let mut show = |skimmed: Skimmed| {
        let LogRecord { position, partition, epoch, stamped } = skimmed.record;
        references.learn(partition, &stamped.event);
        if position < from {
            return true;
        }
        let refs = references.of(partition, &stamped.event);
        visit(DumpRecord { position, partition, epoch, body: DumpBody::Event(stamped), refs })
    };
    let mut whole = Ok(());
    for part in &parts {
        let read = match part.read(Detail::Full, &mut show) {
            Ok(false) => return whole.map(|()| Vec::new()),
            Ok(true) => part.check(),
            Err(error) => Err(error),
        };
        whole = whole.and(read);
    }
    whole.map(|()| parts.iter().filter_map(Part::torn).collect())
}

impl EventLog for Offline {
    fn append(&self, _: PartitionId, _: Batch) -> Result<Ticket, Error> {
        Err(Error::Failed("a stopped directory is only read".to_owned()))
    }

    fn scan(
        &self,
        from: &[(PartitionId, Position)],
        visit: &mut dyn FnMut(LogRecord) -> bool,
    ) -> Result<(), Error> {
        self.copy.scan(from, visit)
    }

    fn skim_on(
        &self,
        from: &[(PartitionId, Position)],
        _: &mut Resume,
        visit: &mut dyn FnMut(Skimmed) -> bool,
    ) -> Result<(), Error> {
        self.copy.skim(from, visit)
    }

    fn read_tasks(&self, wanted: &[TextAt]) -> Result<Vec<StoredTask>, Error> {
        self.copy.read_tasks(wanted)
    }

    fn read_event(&self, id: PartitionId, at: Position) -> Result<Stamped, Error> {
        self.copy.read_event(id, at)
    }

    fn read_result(&self, id: PartitionId, at: ResultAt) -> Result<Blob, Error> {
        self.copy.read_result(id, at)
    }

    fn end(&self, id: PartitionId) -> Position {
        let next = self.copy.spools.get(id.index()).map_or(0, |spool| spool.next());
        place::position(next, 0)
    }

    fn one_series(&self) -> bool {
        false
    }

    fn room(&self) -> Room {
        Room::None
    }

    fn commit_mark(&self, _: PartitionId, _: Position, _: &[u8]) -> Result<(), Error> {
        Err(Error::Failed("a stopped directory is only read".to_owned()))
    }

    fn committed_marks(&self, partition: PartitionId) -> Vec<Position> {
        self.copy.marks(partition)
    }

    fn read_mark(&self, partition: PartitionId, position: Position) -> Result<Vec<u8>, Error> {
        images::read(&self.copy.images_dir, partition, position)
    }

    fn close(&self) {}
}

#[cfg(test)]
#[path = "offline_tests.rs"]
mod tests;
