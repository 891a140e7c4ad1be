//! The log on Kafka for a node, and its copy for tools.

use crate::actor::handle::KwqHandle;
use crate::actor::inbox::Pump;
use crate::actor::node::OpenLog;
use crate::config::{Backend, Config};
use crate::log::kafka::{Cluster, Inboxes, KafkaLog, Offline, Options, Topics};
pub(super) use crate::log::kafka::{dump, is_copy, verify};
use crate::log::{Error, EventLog};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

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
    }
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

/// The copy in a stopped data directory.
pub(super) fn offline(dir: &Path) -> Result<Box<dyn EventLog>, Error> {
    Ok(Box::new(Offline::open(dir)?))
}

/// Carries what comes onto the inbox topics, on a thread of its own, until it is stopped.
pub(super) struct InboxPump {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl InboxPump {
    /// Begins, if the log is on Kafka and inboxes are read.
    ///
    /// # Errors
    /// The client or the thread cannot be had.
    pub(super) fn start(config: &Config, node: &str, handle: KwqHandle) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        if config.log.backend != Backend::Kafka || !config.kafka.inboxes {
            return Ok(Self { stop, thread: None });
        }
        let inboxes = Arc::new(Inboxes::start(&cluster(config, node), &topics(config))?);
        let failed = |e: std::io::Error| Error::Io {
            what: "starting to read the inboxes".to_owned(),
            cause: e.to_string(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let pump = Pump::new(handle, inboxes, Arc::clone(&stop));
        let thread =
            crate::telemetry::spawn_thread("kwq-inbox", move || runtime.block_on(pump.run()));
        Ok(Self { stop, thread: Some(thread.map_err(failed)?) })
    }

    /// Ends; what was pulled and not taken is pulled again after the next start.
    pub(super) fn stop(mut self) {
        self.stop.store(true, Ordering::Release);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the carrier of the inboxes panicked");
        }
    }
}
