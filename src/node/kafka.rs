//! The log on Kafka for a node, and its copy for tools.

use crate::actor::node::OpenLog;
use crate::config::Config;
use crate::log::embedded::Cut;
use crate::log::kafka::{Cluster, KafkaLog, Offline, Options, Topics};
pub(super) use crate::log::kafka::{dump, is_copy, verify};
use crate::log::{Error, EventLog, Examined};
use std::path::Path;
use std::sync::Arc;

pub(super) fn cluster(config: &Config, node: &str) -> Cluster {
    Cluster {
        brokers: config.kafka.brokers.clone(),
        client_id: format!("kwq/{node}"),
        properties: config.kafka.properties.clone(),
    }
}

pub(super) fn topics(config: &Config) -> Topics {
    Topics {
        prefix: config.kafka.prefix.clone(),
        partitions: config.log.partitions,
        replication: config.kafka.replication,
        manage: config.kafka.manage,
        inboxes: config.kafka.inboxes,
        feeds: config.kafka.feeds.clone(),
    }
}

/// Why its durability would be reduced, as far as it is known before topics are made.
pub(super) fn shortcomings(config: &Config, node: &str) -> Result<Vec<String>, Error> {
    crate::log::kafka::shortcomings(&cluster(config, node), &topics(config))
}

/// Looks at the cluster as a start would, and makes nothing.
pub(super) fn examine(config: &Config) -> Result<Examined, Error> {
    crate::log::kafka::examine(&cluster(config, "doctor"), &topics(config))
}

/// Opens it.
pub(super) fn opener(config: &Config, node: &str) -> OpenLog {
    let options = Options {
        cluster: cluster(config, node),
        topics: topics(config),
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

/// The copy in a stopped data directory, and its torn tails, which are left out.
pub(super) fn offline(dir: &Path) -> Result<(Box<dyn EventLog>, Vec<Cut>), Error> {
    let log = Offline::open(dir)?;
    let torn = log.torn().to_vec();
    Ok((Box::new(log), torn))
}
