//! Partitions that other instances serve, folded here as they grow: to take one over is then to
//! fold what came in the last moments.
//!
//! ```text
//!   NodeActor ── follow(i, state or none) ─► [ thread: fold, images, who owns it ] ── take(i) ─►
//! ```
//! A follower without a state begins with the newest image. Whoever takes one away waits for the
//! chunk in hand, not more.
//!
//! Must not: append, or decide anything.

use crate::actor::engine::{Engine, lock};
use crate::actor::recovery::{self, Recipe, Replayed};
use crate::actor::slot::Peer;
use crate::log::{Error, EventLog, LogRecord};
use crate::model::event::Event;
use crate::model::id::{Epoch, PartitionId, Position};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Records folded before others are looked at, and before whoever takes the state gets it.
const CHUNK: usize = 4_096;
/// Between two looks at logs that have not grown.
const IDLE: Duration = Duration::from_millis(10);
/// After a fold that failed.
const FAILED: Duration = Duration::from_secs(1);

/// A partition as far as it was folded.
#[derive(Default)]
struct Follower {
    /// None = not begun yet.
    state: Option<Replayed>,
    /// End of the log when it was last looked at.
    seen: Position,
    imaged: Position,
    /// The log was told that others append, and this process who owns it.
    begun: bool,
    /// Somebody has taken it away.
    taken: bool,
}

type Followers = BTreeMap<PartitionId, Arc<Mutex<Follower>>>;

/// All of them.
#[derive(Clone, Default)]
pub(crate) struct Standby {
    followers: Arc<Mutex<Followers>>,
    stopped: Arc<AtomicBool>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Standby {
    /// Folds from now on; without a state from the newest image on.
    pub(crate) fn follow(&self, id: PartitionId, state: Option<Replayed>) {
        let follower = Follower { state, ..Follower::default() };
        lock(&self.followers).insert(id, Arc::new(Mutex::new(follower)));
    }

    /// Takes one away, with the state if there is one yet.
    pub(crate) fn take(&self, id: PartitionId) -> Option<Replayed> {
        let follower = lock(&self.followers).remove(&id)?;
        // The chunk in hand comes to its end first.
        let mut follower = lock(&follower);
        follower.taken = true;
        follower.state.take()
    }

    /// Writes images of what is followed, so that the next start reads little, and ends.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let thread = lock(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that follows partitions panicked");
        }
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(&self, engine: Arc<Engine>, recipe: Recipe) -> std::io::Result<()> {
        let last_image_ms = engine.clock.now().tick.0;
        let mut thread = Thread { standby: self.clone(), engine, recipe, last_image_ms };
        let started = crate::telemetry::spawn_thread("kwq-standby", move || thread.run())?;
        *lock(&self.thread) = Some(started);
        Ok(())
    }
}

struct Thread {
    standby: Standby,
    engine: Arc<Engine>,
    recipe: Recipe,
    last_image_ms: u64,
}

impl Thread {
    fn run(&mut self) {
        while !self.standby.stopped.load(Ordering::Acquire) {
            let pause = match self.engine.log() {
                Ok(log) => {
                    let images = self.images_due();
                    self.round(&*log, images)
                }
                // It is being opened again.
                Err(_) => IDLE,
            };
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
        if let Ok(log) = self.engine.log() {
            self.round(&*log, true);
        }
    }

    fn images_due(&mut self) -> bool {
        let now = self.engine.clock.now().tick.0;
        let due = now >= self.last_image_ms + self.engine.config.log.image_interval_ms;
        if due {
            self.last_image_ms = now;
        }
        due
    }

    /// A chunk of each, and images if they are due.
    fn round(&self, log: &dyn EventLog, images: bool) -> Duration {
        let mut pause = IDLE;
        let followers: Vec<_> =
            lock(&self.standby.followers).iter().map(|(id, f)| (*id, Arc::clone(f))).collect();
        for (id, follower) in followers {
            let step = || self.step(log, id, &mut lock(&follower), images);
            match catch_unwind(AssertUnwindSafe(step)) {
                Ok(Ok(true)) => pause = Duration::ZERO,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    tracing::error!(partition = %id, %error, "a partition cannot be followed");
                    pause = FAILED;
                }
                Err(_) => {
                    // It is folded anew by whoever takes it over.
                    tracing::error!(partition = %id, "the fold panicked; not followed any more");
                    lock(&self.standby.followers).remove(&id);
                }
            }
        }
        pause
    }

    /// True = there may be more.
    fn step(
        &self,
        log: &dyn EventLog,
        id: PartitionId,
        follower: &mut Follower,
        images: bool,
    ) -> Result<bool, Error> {
        if follower.taken {
            return Ok(false);
        }
        let begins = !std::mem::replace(&mut follower.begun, true);
        if begins {
            log.release(id);
        }
        let end = log.end(id);
        if follower.state.is_none() {
            let (policy, ids) = (self.recipe.policy, [id]);
            let replayed = recovery::replay(log, &ids, policy, None, &|_, _| ())?;
            follower.state = replayed.into_iter().next();
        } else if end <= follower.seen && !images {
            return Ok(false);
        }
        let Some(state) = &mut follower.state else { return Ok(false) };
        if begins {
            self.tell_owner(log, id, state);
        }
        let mut chunk = 0;
        log.scan(&[(id, state.next)], &mut |record| {
            state.fold(&record);
            self.notice(&record);
            chunk += 1;
            chunk < CHUNK
        })?;
        let more = chunk == CHUNK;
        if !more {
            follower.seen = end;
        }
        if let Some(slot) = self.engine.slot(id)
            && state.next > Position(0)
        {
            self.engine.heard(slot, Position(state.next.0 - 1));
        }
        if images && !more && follower.imaged < state.next {
            let bytes = recovery::encode(&state.partition.image()).map_err(Error::Failed)?;
            log.commit_mark(id, state.next, &bytes)?;
            follower.imaged = state.next;
        }
        Ok(more)
    }

    /// What this process has to know of what others decided.
    fn notice(&self, record: &LogRecord) {
        if let Event::Owner { node, addr, .. } = &record.stamped.event {
            self.point(record.partition, node, addr, record.position);
        } else if let Event::WorkerDrained { worker, drains } = &record.stamped.event {
            self.engine.drained(worker, *drains);
        }
    }

    /// Of a state that did not come from its records one by one.
    fn tell_owner(&self, log: &dyn EventLog, id: PartitionId, state: &Replayed) {
        if let Some((node, addr, at)) = recovery::owner(log, id, state) {
            self.point(id, &node, &addr, at);
        }
    }

    fn point(&self, id: PartitionId, node: &str, addr: &str, at: Position) {
        let peer = Peer { node: node.into(), addr: addr.into(), epoch: Epoch(at.0) };
        // An owner of this name is a former life of this process.
        if *node != *self.recipe.node
            && let Some(slot) = self.engine.slot(id)
            && slot.point(peer)
        {
            tracing::info!(partition = %id, node, addr, "served by another instance");
        }
    }
}
