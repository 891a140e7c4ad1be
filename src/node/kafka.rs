//! The log on Kafka for a node, and its copy for tools.

use crate::actor::node::OpenLog;
use crate::config::Config;
use crate::log::kafka::{Cluster, KafkaLog, Offline, Options, Topics};
pub(super) use crate::log::kafka::{dump, is_copy, verify};
use crate::log::{Error, EventLog};
use std::path::Path;
use std::sync::Arc;

/// Opens it.
pub(super) fn opener(config: &Config, node: &str) -> OpenLog {
    let kafka = &config.kafka;
    let options = Options {
        cluster: Cluster {
            brokers: kafka.brokers.clone(),
            client_id: format!("kwq/{node}"),
            properties: kafka.properties.clone(),
        },
        topics: Topics {
            prefix: kafka.prefix.clone(),
            partitions: config.log.partitions,
            replication: kafka.replication,
            manage: kafka.manage,
            inboxes: kafka.inboxes,
        },
        dir: config.log.data_dir.clone(),
        segment_bytes: config.log.segment_bytes,
        disk_reserve: config.log.disk_reserve,
        stopwatch: Some(crate::clock::stopwatch_micros),
    };
    Arc::new(move || -> Result<Arc<dyn EventLog>, Error> {
        let (log, report) = KafkaLog::open(&options)?;
        tracing::info!(?report, "log opened");
        Ok(Arc::new(log))
    })
}

/// The copy in a stopped data directory.
pub(super) fn offline(dir: &Path) -> Result<Box<dyn EventLog>, Error> {
    Ok(Box::new(Offline::open(dir)?))
}
