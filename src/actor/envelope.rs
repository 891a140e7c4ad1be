//! What travels through a partition's bounded channel, and the replies that wait for durability.

use crate::core::partition::Partition;
use crate::model::command::{Class, Command};
use crate::model::id::Position;
use crate::model::reply::{Decided, Reply};
use crate::model::time::Tick;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::oneshot;

/// Delivers an answer once everything it has seen is durable.
pub(crate) type Deliver = Box<dyn FnOnce(Position) + Send>;

/// Reads the partition and returns the delivery of what it read.
pub(crate) type Inspect = Box<dyn FnOnce(&Partition) -> Deliver + Send>;

pub(crate) enum Work {
    Decide(Command, oneshot::Sender<Decided>),
    Inspect(Inspect),
}

pub(crate) struct Envelope {
    pub(crate) work: Work,
    pub(crate) class: Class,
    /// Its share of the backlog, for as long as nobody looks at it.
    pub(crate) held: Held,
    /// When it was sent, for the age limit.
    pub(crate) sent: Tick,
}

/// Bytes of the commands sent to a partition that nobody has looked at yet.
#[derive(Clone, Default)]
pub(crate) struct Backlog(Arc<AtomicUsize>);

impl Backlog {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds to it until what is returned is dropped, whoever does that and when: an actor may have
    /// fallen with commands that it still holds, and the next one be open already.
    pub(crate) fn hold(&self, bytes: usize) -> Held {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Held { backlog: self.clone(), bytes }
    }
}

/// A share of a [`Backlog`].
pub(crate) struct Held {
    backlog: Backlog,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.backlog.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A reply that waits for its position to be durable.
pub(crate) enum Waiting {
    Reply(Reply, oneshot::Sender<Decided>),
    Read(Deliver),
}
