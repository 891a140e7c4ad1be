//! Threads of the node: one arbiter per core for partitions and connections, one for the tracker,
//! one for the node actor.

use crate::actor::engine::enter_shard;
use actix::{Arbiter, ArbiterHandle, System};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

/// Runs a future on one shard's thread.
pub type Spawner = Arc<dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync>;

/// The running arbiters. They stop with the process or by [`Shards::stop`].
pub struct Shards {
    pub(crate) shards: Vec<ArbiterHandle>,
    pub(crate) tracker: ArbiterHandle,
    pub(crate) node: ArbiterHandle,
    system: System,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Shards {
    /// Starts `count` shards. Arbiters are made on one system thread, because they panic on a plain
    /// runtime worker.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(count: usize) -> std::io::Result<Self> {
        let (tell, told) = sync_channel(1);
        let thread = crate::telemetry::spawn_thread("kwq-system", move || {
            let runner = System::new();
            runner.block_on(async {
                let shards: Vec<ArbiterHandle> =
                    (0..count).map(|_| Arbiter::new().handle()).collect();
                for (number, shard) in shards.iter().enumerate() {
                    shard.spawn_fn(move || enter_shard(number));
                }
                let (tracker, node) = (Arbiter::new().handle(), Arbiter::new().handle());
                // The starter waits for exactly this message.
                drop(tell.send((shards, tracker, node, System::current())));
            });
            if let Err(error) = runner.run() {
                tracing::error!(%error, "the actor system ended with an error");
            }
        })?;
        let (shards, tracker, node, system) =
            told.recv().map_err(|_| std::io::Error::other("the actor system did not start"))?;
        Ok(Self { shards, tracker, node, system, thread: Some(thread) })
    }

    /// One spawner per shard, for the accept loop.
    #[must_use]
    pub fn spawners(&self) -> Vec<Spawner> {
        let spawner = |shard: &ArbiterHandle| -> Spawner {
            let shard = shard.clone();
            Arc::new(move |future| {
                if !shard.spawn(future) {
                    tracing::warn!("a connection came after its shard had stopped");
                }
            })
        };
        self.shards.iter().map(spawner).collect()
    }

    /// Stops all arbiters and waits for the system thread.
    pub fn stop(mut self) {
        self.system.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the actor system thread panicked");
        }
    }
}
