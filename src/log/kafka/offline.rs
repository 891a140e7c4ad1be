//! The copy of the changelog in a stopped data directory, for tools: nothing is asked of Kafka.

use crate::codec::dump::{DumpBody, DumpRecord, References};
use crate::log::embedded::inspect::Verdict;
use crate::log::kafka::copy::{Copy, directories};
use crate::log::kafka::place;
use crate::log::lock::DirLock;
use crate::log::spool::Spool;
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
    _lock: DirLock,
}

/// Does this data directory hold a copy of a changelog?
#[must_use]
pub fn is_copy(dir: &Path) -> bool {
    directories(dir)[0].is_dir()
}

impl Offline {
    /// Opens the copy.
    ///
    /// # Errors
    /// `Locked`, `Io`.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let lock = DirLock::take(dir)?;
        let [spool_dir, images_dir] = directories(dir);
        let mut spools = Vec::new();
        loop {
            let dir = spool_dir.join(spools.len().to_string());
            if !dir.is_dir() {
                break;
            }
            // A segment has the size it has; this one is never written to.
            spools.push(Arc::new(Spool::open(&dir, u64::MAX)?.0));
        }
        Ok(Self { copy: Copy { spools, images_dir }, _lock: lock })
    }

    /// Partitions, 0 to one below this.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        u16::try_from(self.copy.spools.len()).unwrap_or(u16::MAX)
    }
}

/// Checks every record of the copy. Damage costs nothing but reading again: the next start does.
///
/// # Errors
/// `Locked`, `Io`.
pub fn verify(dir: &Path) -> Result<Verdict, Error> {
    let log = Offline::open(dir)?;
    let all: Vec<_> = (0..log.partitions()).map(|n| (PartitionId(n), Position(0))).collect();
    let (mut records, mut end) = (0, Position(0));
    let read = log.skim_on(&all, &mut Resume::default(), &mut |skimmed| {
        records += 1;
        end = end.max(Position(skimmed.record.position.0 + 1));
        true
    });
    match read {
        Ok(()) => Ok(Verdict::Intact { records, end }),
        Err(Error::Damaged { segment, offset, reason }) => {
            Ok(Verdict::Damage { segment, offset, reason })
        }
        Err(error) => Err(error),
    }
}

/// Visits every event of a stopped directory from a position on, a partition after the other, until
/// `visit` answers false.
///
/// # Errors
/// `Locked`, `Damaged`, `Io`.
pub fn dump(
    dir: &Path,
    partition: Option<PartitionId>,
    from: Position,
    visit: &mut dyn FnMut(DumpRecord) -> bool,
) -> Result<(), Error> {
    let log = Offline::open(dir)?;
    let all = (0..log.partitions()).map(PartitionId);
    let all: Vec<_> = all.filter(|id| partition.is_none_or(|one| one == *id)).collect();
    let mut references = References::default();
    log.scan(&all.iter().map(|id| (*id, Position(0))).collect::<Vec<_>>(), &mut |record| {
        let LogRecord { position, partition, epoch, stamped } = record;
        references.learn(partition, &stamped.event);
        if position < from {
            return true;
        }
        let refs = references.of(partition, &stamped.event);
        visit(DumpRecord { position, partition, epoch, body: DumpBody::Event(stamped), refs })
    })
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
