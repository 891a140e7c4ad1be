//! Stands where the log on Kafka would be, in a build without it. The configuration refuses the
//! back end before anybody comes here.

use crate::actor::node::OpenLog;
use crate::codec::dump::DumpRecord;
use crate::config::Config;
use crate::log::embedded::Cut;
use crate::log::embedded::inspect::Verdict;
use crate::log::{Error, EventLog, Examined};
use crate::model::id::{PartitionId, Position};
use std::path::Path;
use std::sync::Arc;

/// Refuses.
pub(super) fn opener(_: &Config, _: &str) -> OpenLog {
    Arc::new(|| Err(absent()))
}

/// Refuses.
pub(super) fn shortcomings(_: &Config, _: &str) -> Result<Vec<String>, Error> {
    Err(absent())
}

/// Refuses.
pub(super) fn examine(_: &Config) -> Result<Examined, Error> {
    Err(absent())
}

fn absent() -> Error {
    Error::Settings("this build has no Kafka: build with --features kafka".to_owned())
}

/// Is this a directory that such a build would write?
pub(super) fn is_copy(dir: &Path) -> bool {
    dir.join("kafka").is_dir()
}

/// Refuses.
pub(super) fn offline(_: &Path) -> Result<(Box<dyn EventLog>, Vec<Cut>), Error> {
    Err(absent())
}

/// Refuses.
pub(super) fn verify(_: &Path) -> Result<Verdict, Error> {
    Err(absent())
}

/// Refuses.
pub(super) fn dump(
    _: &Path,
    _: Option<PartitionId>,
    _: Position,
    _: &mut dyn FnMut(DumpRecord) -> bool,
) -> Result<Vec<Cut>, Error> {
    Err(absent())
}
