//! A promise of durability: resolves when its batch is on disk (or replicated), or the log has
//! failed.
//!
//! Own code instead of a runtime's channel, because the engine is built without any runtime.

use crate::log::{Appended, Error};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Resolves when the batch is durable. Await it, or [`Ticket::wait`] on a plain thread.
#[derive(Debug)]
pub struct Ticket {
    shared: Arc<Shared>,
}

/// The other end; dropped without an answer it fails the ticket.
#[derive(Debug)]
pub struct Resolver {
    shared: Option<Arc<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    slot: Mutex<Slot>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    outcome: Option<Result<Appended, Error>>,
    waker: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        // Nothing between lock and unlock can panic half way; a poisoned slot is still whole.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// A ticket and the end that resolves it.
    #[must_use]
    pub fn pair() -> (Self, Resolver) {
        let shared = Arc::new(Shared::default());
        (Self { shared: Arc::clone(&shared) }, Resolver { shared: Some(shared) })
    }

    /// Blocks the calling thread until the batch is durable.
    ///
    /// # Errors
    /// What the log reports.
    pub fn wait(self) -> Result<Appended, Error> {
        let mut slot = self.shared.lock();
        loop {
            if let Some(outcome) = slot.outcome.take() {
                return outcome;
            }
            slot = self.shared.ready.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Future for Ticket {
    type Output = Result<Appended, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.shared.lock();
        if let Some(outcome) = slot.outcome.take() {
            return Poll::Ready(outcome);
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Resolver {
    /// Resolves the ticket.
    pub fn resolve(mut self, outcome: Result<Appended, Error>) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Result<Appended, Error>) {
        let Some(shared) = self.shared.take() else { return };
        let waker = {
            let mut slot = shared.lock();
            slot.outcome = Some(outcome);
            slot.waker.take()
        };
        shared.ready.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.settle(Err(Error::Failed("the log was dropped".to_owned())));
    }
}
