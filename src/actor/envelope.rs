//! What travels through a partition's bounded channel, and the replies that wait for durability.

use crate::core::partition::Partition;
use crate::model::command::{Class, Command};
use crate::model::id::Position;
use crate::model::reply::{Decided, Reply};
use crate::model::time::Tick;
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
    pub(crate) bytes: usize,
    /// When it was sent, for the age limit.
    pub(crate) sent: Tick,
}

/// A reply that waits for its position to be durable.
pub(crate) enum Waiting {
    Reply(Reply, oneshot::Sender<Decided>),
    Read(Deliver),
}
