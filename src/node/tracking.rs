//! Opens the tracker's store for a configuration.

use crate::actor::running::OpenTracker;
use crate::config::Config;
use crate::store::Tracker;
use crate::store::sled::SledStore;

/// Opens `<data-dir>/tracker/sled`; a doubtful store is begun anew.
pub(super) fn opener(config: &Config) -> OpenTracker {
    let dir = config.log.data_dir.join("tracker").join("sled");
    let (partitions, tracker) = (config.log.partitions, config.tracker);
    Box::new(move |now| {
        let store = SledStore::open(&dir).map_err(|e| e.to_string())?;
        let (recent, tags) = (tracker.recent, tracker.tags);
        let opened = Tracker::open_capped(Box::new(store), partitions, recent, tags, now);
        opened.map_err(|e| e.to_string())
    })
}
