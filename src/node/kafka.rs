//! The log on Kafka for a node, and its copy for tools.

use crate::actor::commands;
use crate::actor::handle::KwqHandle;
use crate::actor::inbox::Pump;
use crate::actor::node::OpenLog;
use crate::config::{Backend, Config};
use crate::log::kafka::{Cluster, Commands, Inboxes, KafkaLog, Offline, Options, Topics};
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

/// A pump on a thread of its own, until it is stopped.
#[derive(Default)]
struct Pumping {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pumping {
    fn begin<F: Future<Output = ()>>(
        name: &'static str,
        pump: impl FnOnce(Arc<AtomicBool>) -> F + Send + 'static,
    ) -> Result<Self, Error> {
        let failed = |e: std::io::Error| Error::Io {
            what: format!("starting {name}"),
            cause: e.to_string(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = crate::telemetry::spawn_thread(name, move || runtime.block_on(pump(until)));
        Ok(Self { stop, thread: Some(thread.map_err(failed)?) })
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a pump panicked");
        }
    }
}

/// Carries what comes onto the inbox topics.
pub(super) struct InboxPump(Pumping);

impl InboxPump {
    /// Begins, if the log is on Kafka and inboxes are read.
    ///
    /// # Errors
    /// The client or the thread cannot be had.
    pub(super) fn start(config: &Config, node: &str, handle: KwqHandle) -> Result<Self, Error> {
        if config.log.backend != Backend::Kafka || !config.kafka.inboxes {
            return Ok(Self(Pumping::default()));
        }
        let inboxes = Arc::new(Inboxes::start(&cluster(config, node), &topics(config))?);
        let pump = |stop| Pump::new(handle, inboxes, stop).run();
        Pumping::begin("kwq-inbox", pump).map(Self)
    }

    /// Ends; what was pulled and not taken is pulled again after the next start.
    pub(super) fn stop(mut self) {
        self.0.stop();
    }
}

/// Leaves reports for owners that are away, and applies what was left for this one.
pub(super) struct CommandPump {
    pumping: Pumping,
    commands: Option<Arc<Commands>>,
}

impl CommandPump {
    /// Begins, if the log is on Kafka and the topic is there.
    ///
    /// # Errors
    /// The cluster is not reached, a client or the thread cannot be had.
    pub(super) fn start(config: &Config, node: &str, handle: KwqHandle) -> Result<Self, Error> {
        let none = Self { pumping: Pumping::default(), commands: None };
        if config.log.backend != Backend::Kafka {
            return Ok(none);
        }
        let Some(commands) = Commands::start(&cluster(config, node), &topics(config))? else {
            return Ok(none);
        };
        let commands = Arc::new(commands);
        let pump = {
            let commands = Arc::clone(&commands);
            move |stop| commands::Pump::new(handle, commands, stop).run()
        };
        let pumping = Pumping::begin("kwq-commands", pump)?;
        Ok(Self { pumping, commands: Some(commands) })
    }

    /// Ends, when nobody reports any more.
    pub(super) fn stop(mut self) {
        self.pumping.stop();
        if let Some(commands) = self.commands {
            commands.close();
        }
    }
}
