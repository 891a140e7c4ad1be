//! State hashes of a stopped data directory, from image and tail or from zero.

use crate::actor::running::replay_offline;
use crate::log::embedded::{Cut, EmbeddedLog, Options};
use crate::log::{Error, EventLog};
use crate::model::id::{PartitionId, Position};
use crate::model::policy::Policy;
use std::path::Path;

/// State hashes of a directory, and what opening it did.
pub struct Hashes {
    /// Partition, position, hash.
    pub rows: Vec<(PartitionId, Position, String)>,
    /// A torn tail that was cut, as every start does.
    pub cut: Option<Cut>,
}

/// Hash of every partition found in the directory; `from_zero` leaves images out.
///
/// # Errors
/// The directory is in use, damaged or of another format.
pub fn state_hash(dir: &Path, from_zero: bool) -> Result<Hashes, Error> {
    let (log, report) = EmbeddedLog::open(Options::new(dir))?;
    let rows = replay_offline(&log, Policy::default(), from_zero)?;
    log.close();
    Ok(Hashes { rows, cut: report.cut })
}
