//! Tools of a stopped data directory, whatever log it holds: state hashes, dump.

use crate::actor::running::replay_offline;
use crate::codec::dump::DumpRecord;
use crate::log::embedded::{Cut, EmbeddedLog, Options, inspect};
use crate::log::{Error, EventLog};
use crate::model::id::{PartitionId, Position};
use crate::model::policy::Policy;
use crate::node::kafka;
use std::path::Path;

/// State hashes of a directory, and what opening it did.
pub struct Hashes {
    /// Partition, position, hash.
    pub rows: Vec<(PartitionId, Position, String)>,
    /// A torn tail that was cut, as every start does.
    pub cut: Option<Cut>,
    /// Torn tails of a copy of what Kafka holds: left out, and left on disk.
    pub left_out: Vec<Cut>,
}

/// Hash of every partition found in the directory; `from_zero` leaves images out.
///
/// # Errors
/// The directory is in use, damaged or of another format.
pub fn state_hash(dir: &Path, from_zero: bool) -> Result<Hashes, Error> {
    if kafka::is_copy(dir) {
        let (log, left_out) = kafka::offline(dir)?;
        let rows = replay_offline(&*log, Policy::default(), from_zero)?;
        return Ok(Hashes { rows, cut: None, left_out });
    }
    let (log, report) = EmbeddedLog::open(Options::new(dir))?;
    let rows = replay_offline(&log, Policy::default(), from_zero)?;
    log.close();
    Ok(Hashes { rows, cut: report.cut, left_out: Vec::new() })
}

/// Is there a log of kwq in this directory?
#[must_use]
pub fn holds_log(dir: &Path) -> bool {
    dir.join("format").is_file() || kafka::is_copy(dir)
}

/// Is that log only a copy of what Kafka holds? A damaged one is moved away and read anew.
#[must_use]
pub fn is_copy(dir: &Path) -> bool {
    kafka::is_copy(dir)
}

/// Checks every record, and changes nothing.
///
/// # Errors
/// As [`inspect::verify`].
pub fn verify(dir: &Path) -> Result<inspect::Verdict, Error> {
    if kafka::is_copy(dir) { kafka::verify(dir) } else { inspect::verify(dir) }
}

/// Visits every record from a position on until `visit` answers false. Answers the torn tails of a
/// copy of what Kafka holds.
///
/// # Errors
/// As [`inspect::dump`].
pub fn dump(
    dir: &Path,
    partition: Option<PartitionId>,
    from: Position,
    visit: &mut dyn FnMut(DumpRecord) -> bool,
) -> Result<Vec<Cut>, Error> {
    if kafka::is_copy(dir) {
        return kafka::dump(dir, partition, from, visit);
    }
    inspect::dump(dir, partition, from, visit).map(|()| Vec::new())
}
