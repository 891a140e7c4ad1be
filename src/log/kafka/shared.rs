//! What the threads of the log share.

use crate::log::kafka::partition::{Order, Partition};
use crate::log::{Error, Room};
use crate::model::id::PartitionId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Partitions, orders to the reader, and how the log ends.
pub(super) struct Shared {
    pub(super) partitions: Vec<Partition>,
    /// Ends of the changelog when the log was opened.
    pub(super) ends: Vec<u64>,
    /// Signs that something has changed, one a partition.
    orders: Mutex<BTreeMap<PartitionId, Order>>,
    failure: OnceLock<Error>,
    /// No batch is taken any more.
    closing: AtomicBool,
    /// Threads end.
    stopped: AtomicBool,
    room: AtomicU8,
    /// See [`crate::log::EventLog::refusals`].
    pub(super) refusals: AtomicU64,
}

impl Shared {
    pub(super) fn new(partitions: Vec<Partition>, ends: Vec<u64>) -> Self {
        let begin = |p: &Partition| (p.id, p.order());
        let orders = partitions.iter().map(begin).collect();
        Self {
            partitions,
            ends,
            orders: Mutex::new(orders),
            failure: OnceLock::new(),
            closing: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            room: AtomicU8::new(0),
            refusals: AtomicU64::new(0),
        }
    }

    pub(super) fn partition(&self, id: PartitionId) -> Result<&Partition, Error> {
        let none = || Error::Settings(format!("there is no partition {id}"));
        self.partitions.get(id.index()).ok_or_else(none)
    }

    /// Carries out what a partition asks for; an error ends the log.
    pub(super) fn carry_out(&self, asked: Result<Option<Order>, Error>) {
        match asked {
            Ok(None) => {}
            Ok(Some(order)) => self.order(order),
            Err(error) => self.fail(error),
        }
    }

    pub(super) fn order(&self, order: Order) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.insert(order.partition(), order);
    }

    /// What the reader shall do now.
    pub(super) fn take_orders(&self) -> Vec<Order> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *orders).into_values().collect()
    }

    /// Fail-stop: every ticket fails, nothing is taken any more.
    pub(super) fn fail(&self, error: Error) {
        let reason = error.to_string();
        if self.failure.set(error).is_ok() {
            tracing::error!(reason, "the log has failed and accepts nothing more");
            self.partitions.iter().for_each(|partition| partition.fail(&reason));
        }
    }

    pub(super) fn failure(&self) -> Option<Error> {
        self.failure.get().cloned()
    }

    /// The end that was asked for.
    pub(super) fn close(&self) {
        let closed = Error::Failed("the log is closed".to_owned());
        if self.failure.set(closed).is_ok() {
            self.partitions.iter().for_each(|partition| partition.fail("the log is closed"));
        }
    }

    /// # Errors
    /// Why nothing is taken any more.
    pub(super) fn check(&self) -> Result<(), Error> {
        if let Some(error) = self.failure.get() {
            return Err(error.clone());
        }
        if self.closing.load(Ordering::Acquire) {
            return Err(Error::Failed("the log is closed".to_owned()));
        }
        Ok(())
    }

    pub(super) fn begin_close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(super) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn set_room(&self, room: Room) {
        let code = match room {
            Room::Plenty => 0,
            Room::WorkOnly => 1,
            Room::None => 2,
        };
        self.room.store(code, Ordering::Release);
    }

    pub(super) fn room(&self) -> Room {
        match self.room.load(Ordering::Acquire) {
            0 => Room::Plenty,
            1 => Room::WorkOnly,
            _ => Room::None,
        }
    }
}
