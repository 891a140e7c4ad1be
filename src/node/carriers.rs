//! The threads that serve partitions beside their actors, with a log on Kafka: what comes onto the
//! inboxes and onto the topic of commands is carried in, derived topics are carried out. Each of
//! them follows by itself which partitions this instance serves.

use crate::actor::carrier::{Carrier, Open};
use crate::actor::commands;
use crate::actor::handle::KwqHandle;
use crate::actor::inbox;
use crate::config::{Backend, Config};
use crate::log::Error;
use crate::log::kafka::{Cluster, Commands, Inboxes, Outlet, Topics};
use crate::model::feed::Feed;
use crate::node::kafka;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A pump on a thread of its own, until it is stopped.
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

    /// Asks it to end.
    fn ask(&self) {
        self.stop.store(true, Ordering::Release);
    }

    fn stop(&mut self) {
        self.ask();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a pump panicked");
        }
    }
}

/// All of them; none with a log of its own.
#[derive(Default)]
pub(super) struct Carriers {
    inboxes: Option<Pumping>,
    commands: Option<(Pumping, Arc<Commands>)>,
    feeds: Vec<Pumping>,
}

impl Carriers {
    /// Begins what the configuration and the topics that are there ask for.
    ///
    /// # Errors
    /// The cluster is not reached, a client or a thread cannot be had.
    pub(super) fn start(config: &Config, node: &str, handle: &KwqHandle) -> Result<Self, Error> {
        if config.log.backend != Backend::Kafka {
            return Ok(Self::default());
        }
        let (cluster, topics) = (kafka::cluster(config, node), kafka::topics(config));
        let mut carriers = Self::default();
        if topics.inboxes {
            let inboxes = Arc::new(Inboxes::start(&cluster, &topics)?);
            let door = handle.clone();
            let pump = |stop| inbox::Pump::new(door, inboxes, stop).run();
            carriers.inboxes = Some(Pumping::begin("kwq-inbox", pump)?);
        }
        if let Some(commands) = Commands::start(&cluster, &topics)? {
            let commands = Arc::new(commands);
            let (door, both) = (handle.clone(), Arc::clone(&commands));
            let pump = |stop| commands::Pump::new(door, both, stop).run();
            carriers.commands = Some((Pumping::begin("kwq-commands", pump)?, commands));
        }
        for feed in topics.feeds.clone() {
            let carrier = carry(feed, (&cluster, &topics), handle)?;
            carriers.feeds.extend(carrier);
        }
        Ok(carriers)
    }

    /// No more tasks come in; what was pulled and not taken is pulled again after the next start.
    pub(super) fn refuse_tasks(&mut self) {
        if let Some(mut inboxes) = self.inboxes.take() {
            inboxes.stop();
        }
    }

    /// Ends, when nobody reports any more. What was not carried out is by whoever serves next.
    pub(super) fn stop(mut self) {
        self.refuse_tasks();
        self.feeds.iter().for_each(Pumping::ask);
        if let Some((mut pumping, commands)) = self.commands {
            pumping.stop();
            commands.close();
        }
        self.feeds.iter_mut().for_each(Pumping::stop);
    }
}

/// Begins to write a derived topic; `None` = it is missing, and that was said.
fn carry(
    feed: Feed,
    (cluster, topics): (&Cluster, &Topics),
    handle: &KwqHandle,
) -> Result<Option<Pumping>, Error> {
    let (cluster, topics, handle) = (cluster.clone(), topics.clone(), handle.clone());
    let open: Open = Box::new(move || Outlet::start(&cluster, &topics, feed));
    let Some(outlet) = open()? else { return Ok(None) };
    let name = match feed {
        Feed::Dead => "kwq-feed-dead",
        Feed::Status => "kwq-feed-status",
    };
    let carrier = move |stop| Carrier::new(handle, feed, (outlet, open), stop).run();
    Pumping::begin(name, carrier).map(Some)
}
