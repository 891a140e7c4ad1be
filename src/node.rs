//! Floor 5: the composition root. Configuration in, running node out, graceful stop.

mod access;
#[cfg_attr(not(feature = "kafka"), path = "node/no_carriers.rs")]
mod carriers;
#[cfg(feature = "kafka")]
mod fitness;
#[cfg_attr(not(feature = "kafka"), path = "node/no_instances.rs")]
mod instances;
#[cfg_attr(not(feature = "kafka"), path = "node/no_kafka.rs")]
mod kafka;
pub mod offline;
mod stop;
mod tracking;

pub use stop::StopSignal;

use crate::actor::handle::KwqHandle;
use crate::actor::node::OpenLog;
use crate::actor::running::{NodeParts, Running, host_name};
use crate::actor::shard::Shards;
use crate::actor::simulation::Simulations;
use crate::api::ApiContext;
use crate::api::serve::ServerHandle;
use crate::clock::{Entropy as _, SystemClock, SystemEntropy};
use crate::config::{Backend, Config, Durability};
use crate::log::embedded::{self, EmbeddedLog, Options};
use crate::log::{Error as LogError, EventLog, Examined};
use crate::node::carriers::Carriers;
use crate::node::instances::Instances;
use crate::store::audit::Audit;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// The end of `drain.timeout`: no more reports are awaited, connections have this long for the
/// answer in hand.
const ANSWERS_MIN: Duration = Duration::from_millis(500);

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The data directory cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store of the tracker cannot be used.
    #[error("tracker: {0}")]
    Tracker(String),
    /// The tokens file is missing, unreadable or bad.
    #[error("tokens file {0}")]
    Tokens(String),
    /// The audit trail cannot be used.
    #[error("audit trail {0}")]
    Audit(String),
    /// A thread could not be started.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
    /// `log.strict` is on and durability is reduced.
    #[error("durability is reduced ({0}) and log.strict is on")]
    Strict(String),
}

/// What a start found.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Partitions served.
    pub partitions: usize,
    /// `fsync`, `os`, `memory`, `kafka`.
    pub durability: &'static str,
    /// Live tasks found in the data directory.
    pub restored_tasks: u64,
    /// From start to ready, ms.
    pub elapsed_ms: u64,
}

/// A running node.
pub struct Node {
    handle: KwqHandle,
    running: Running,
    server: ServerHandle,
    simulations: Arc<Simulations>,
    audit: Arc<Audit>,
    carriers: Carriers,
    instances: Instances,
    shards: Shards,
    config: Config,
    started_ms: u64,
}

impl Node {
    /// Opens the log, listens, and recovers in the background; health answers meanwhile. A signal
    /// that `stop` hears before the node is ready ends the process; later ones drain it.
    ///
    /// # Errors
    /// The address, the data directory or a thread cannot be had.
    pub fn start(config: &Config, stop: Option<&StopSignal>) -> Result<Self, Error> {
        let guard = access::guard(config).map_err(Error::Tokens)?;
        access::reload_on_hangup(config, &guard)?;
        let clock = SystemClock::shared();
        let started_ms = clock.now().tick.0;
        let listen = config.http.listen;
        let listener = TcpListener::bind(listen).map_err(|e| Error::Listen(listen, e))?;
        // Port 0 asks for any; from here on the one that was given counts.
        let addr = listener.local_addr()?;
        strictly(config, &config.durability_reasons())?;
        let listening = instances::Listening::bind(config)?;
        let node = instances::name(config, host_name(), SystemEntropy.next_u64())?;
        let opener = log_opener(config, &node);
        strictly(config, &beforehand(config, &node)?)?;
        let log = opener()?;
        let reasons = [config.durability_reasons(), log.reduced()].concat();
        strictly(config, &reasons)?;
        reasons.iter().for_each(|reason| tracing::warn!(reason, "durability is reduced"));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let shards = Shards::start(cores.min(usize::from(config.log.partitions)))?;
        let metrics = crate::metrics::install(env!("CARGO_PKG_VERSION"), config.log.backend.word());
        metrics.durability_reduced.set(f64::from(u8::from(!reasons.is_empty())));
        metrics.insecure.set(f64::from(u8::from(config.insecure())));
        if config.insecure() {
            tracing::warn!("no authentication: whoever reaches the port may do everything");
        }
        let audit = access::audit(config, &metrics).map_err(Error::Audit)?;
        let parts = NodeParts {
            config: config.clone(),
            clock,
            entropy: Arc::new(SystemEntropy),
            metrics: metrics.clone(),
            open_log: opener,
            open_tracker: tracking::opener(config),
            name: node.clone(),
            addr: listening.addr().map_or_else(|| addr.to_string(), str::to_owned),
        };
        let running = crate::actor::running::start(&shards, parts, log)?;
        let handle = running.handle();
        let carriers = Carriers::start(config, &node, &handle)?;
        let instances = Instances::start(config, &node, &handle, listening, shards.spawners())?;
        let simulations = Arc::new(Simulations::new(handle.clone()));
        let left = Arc::clone(&simulations);
        shards.node.spawn(async move { left.cancel_left().await });
        let context = ApiContext {
            guard,
            audit: Some(Arc::clone(&audit)),
            simulations: config.simulator.then(|| Arc::clone(&simulations)),
            ..ApiContext::new(handle.clone(), config, metrics)
        };
        if let Some(stop) = stop {
            let (engine, trail) = (handle.clone(), Arc::clone(&audit));
            stop.ask_first(move || may_leave(&engine, &trail));
        }
        let server = crate::api::serve::start(listener, shards.spawners(), context)?;
        let config = config.clone();
        Ok(Self {
            handle,
            running,
            server,
            simulations,
            audit,
            carriers,
            instances,
            shards,
            config,
            started_ms,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The engine's door, for tests and tools in the same process.
    #[must_use]
    pub fn handle(&self) -> &KwqHandle {
        &self.handle
    }

    /// Blocks until all partitions serve; says what was found.
    ///
    /// # Errors
    /// Recovery has failed for good (damage, unknown format).
    pub fn wait_ready(&self) -> Result<Summary, Error> {
        let restored_tasks = self.running.wait_recovered()?;
        while !self.handle.readiness().ready {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(Summary {
            partitions: self.handle.partition_count(),
            durability: match self.config.log.backend {
                Backend::Embedded => self.config.log.durability.word(),
                Backend::Kafka => "kafka",
            },
            restored_tasks,
            elapsed_ms: self.handle.now().tick.0.saturating_sub(self.started_ms),
        })
    }

    /// Blocks until SIGINT or SIGTERM, then drains; a second signal ends at once.
    pub fn run_until_signal(self, stop: &StopSignal) {
        stop.serving();
        stop.wait();
        self.stop();
    }

    /// Graceful stop: readiness false, serve on for `drain.delay`, no new work, reports while a
    /// lease is held and for `drain.timeout` at most, images, release of the log.
    pub fn stop(mut self) {
        tracing::info!("draining");
        self.running.begin_drain();
        self.carriers.refuse_tasks();
        // While the engine still takes the cancel of their jobs.
        self.simulations.stop_all(self.config.drain.timeout_ms);
        std::thread::sleep(Duration::from_millis(self.config.drain.delay_ms));
        self.running.tell_changes();
        // In this order: the parked leave because of the first, and hear of a drain.
        self.server.begin_drain();
        self.running.refuse_work();
        let timeout = Duration::from_millis(self.config.drain.timeout_ms);
        let limit = timeout.saturating_sub(ANSWERS_MIN);
        let waited = if self.instances.has_others() {
            // They take what is served here at once, and the reports that come for it.
            self.instances.leave();
            Duration::ZERO
        } else {
            self.running.await_reports(limit)
        };
        self.server.shutdown(timeout.saturating_sub(waited));
        self.carriers.stop();
        self.running.close();
        self.instances.close();
        self.audit.close();
        self.shards.stop();
        tracing::info!("stopped");
    }
}

/// Before the node is ready there is nothing to drain; the trail may hold lines all the same,
/// because partitions answer one by one.
fn may_leave(engine: &KwqHandle, trail: &Audit) -> bool {
    let leave = !engine.readiness().ready;
    if leave {
        trail.close();
    }
    leave
}

/// Looks at the Kafka of a configuration as a start would. Makes nothing.
///
/// # Errors
/// Why a start would be refused; a second line says what to do.
pub fn examine_kafka(config: &Config) -> Result<Examined, LogError> {
    kafka::examine(config)
}

/// What is known against a strict start before it makes topics, which would be refused ever after.
fn beforehand(config: &Config, node: &str) -> Result<Vec<String>, LogError> {
    if !config.log.strict || config.log.backend != Backend::Kafka {
        return Ok(Vec::new());
    }
    kafka::shortcomings(config, node)
}

/// # Errors
/// `Strict`.
fn strictly(config: &Config, reasons: &[String]) -> Result<(), Error> {
    if config.log.strict && !reasons.is_empty() {
        return Err(Error::Strict(reasons.join(", ")));
    }
    Ok(())
}

fn log_opener(config: &Config, node: &str) -> OpenLog {
    if config.log.backend == Backend::Kafka {
        return kafka::opener(config, node);
    }
    let elsewhere = kafka::is_copy(&config.log.data_dir).then(|| {
        LogError::Settings(format!(
            "{} holds a copy of a changelog on Kafka, whose tasks log.backend=embedded would hide: \
             set log.backend=kafka, or use another log.data-dir",
            config.log.data_dir.display()
        ))
    });
    let options = Options {
        segment_bytes: config.log.segment_bytes,
        durability: match config.log.durability {
            Durability::Fsync => embedded::Durability::Fsync,
            Durability::Os => embedded::Durability::Os,
            Durability::Memory => embedded::Durability::Memory,
        },
        disk_reserve: config.log.disk_reserve,
        stopwatch: Some(crate::clock::stopwatch_micros),
        ..Options::new(&config.log.data_dir)
    };
    let partitions = usize::from(config.log.partitions);
    Arc::new(move || -> Result<Arc<dyn EventLog>, LogError> {
        if let Some(refusal) = &elsewhere {
            return Err(refusal.clone());
        }
        let (log, report) = EmbeddedLog::open(options.clone())?;
        // Nothing is decided before every partition has its first owner, so owners alone are a
        // first start that did not come to its end.
        let unfinished = report.decided == 0;
        let fewer = (1..partitions).contains(&report.partitions) && !unfinished;
        if fewer || report.partitions > partitions {
            log.close();
            let what = format!(
                "{} was created with {} partitions, log.partitions says {partitions}",
                options.dir.display(),
                report.partitions
            );
            return Err(LogError::Settings(what));
        }
        tracing::info!(?report, "log opened");
        Ok(Arc::new(log))
    })
}
