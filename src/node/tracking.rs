//! Opens the tracker's store for a configuration.

use crate::actor::running::OpenTracker;
use crate::config::Config;
use crate::store::Tracker;
use crate::store::sled::SledStore;

/// Opens `<data-dir>/tracker/sled`; a doubtful store is begun anew.
pub(super) fn opener(config: &Config) -> OpenTracker {
    let dir = config.log.data_dir.join("tracker").join("sled");
    let (partitions, recent) = (config.log.partitions, config.tracker.recent);
    Box::new(move |now| {
        let store = SledStore::open(&dir).map_err(|e| e.to_string())?;
        Tracker::open(Box::new(store), partitions, recent, now).map_err(|e| e.to_string())
    })
}
