//! A wrapper that fails, refuses and delays on demand, in front of any back end.
//!
//! ```text
//! append ─► [ n-th: refuse | fail ] ─► inner log ─► [ held? n-th: fail ] ─► caller's ticket
//! ```
//! After a failed append or ticket the wrapper is fail-stop like the real thing (rule 4): every
//! later one fails, in order. The batch of a failed ticket is in the inner log: "unknown" to its
//! caller, as after a power cut between sync and answer. Must not: change what a reader sees.

use crate::log::{
    Appended, Batch, Error, EventLog, LogNumbers, LogRecord, Resume, Room, Skimmed, StoredTask,
    Ticket, ticket::Resolver,
};
use crate::model::event::Stamped;
use crate::model::id::{PartitionId, Position};
use crate::model::task::Blob;
use crate::model::view::{ResultAt, TextAt};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `append` answers `Full` once; nothing is written.
    Refuse,
    /// `append` answers `Failed`, as does everything after it; nothing is written.
    FailAppend,
    /// The batch is written, its ticket and all later ones fail.
    FailTicket,
}

/// The wrapper.
#[derive(Debug)]
pub struct FaultyLog<L> {
    inner: L,
    shared: Arc<Shared>,
    forwarder: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Appends asked for so far.
    appends: u64,
    /// Number of an append, 1-based, and what happens there.
    script: Vec<(u64, Fault)>,
    failed: bool,
    room: Option<Room>,
    /// Tickets are held back; `Some(n)` = the next n may still pass.
    held: Option<u64>,
    waiting: VecDeque<Passing>,
    closing: bool,
}

#[derive(Debug)]
struct Passing {
    inner: Ticket,
    outer: Resolver,
    fail: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands tickets on in order until the wrapper is dropped.
    fn forward(&self) {
        loop {
            let mut state = self.lock();
            let stuck = |s: &mut State| !s.closing && (s.waiting.is_empty() || s.held == Some(0));
            state = self.changed.wait_while(state, stuck).unwrap_or_else(PoisonError::into_inner);
            let Some(passing) = state.waiting.pop_front() else {
                return;
            };
            state.held = state.held.map(|n| n.saturating_sub(1));
            drop(state);
            let durable = passing.inner.wait();
            let mut state = self.lock();
            state.failed |= passing.fail || durable.is_err();
            let failed = state.failed;
            drop(state);
            passing.outer.resolve(outcome(durable, failed));
        }
    }
}

fn outcome(durable: Result<Appended, Error>, failed: bool) -> Result<Appended, Error> {
    match durable {
        Ok(_) if failed => Err(Error::Failed("injected".to_owned())),
        other => other,
    }
}

impl<L: EventLog> FaultyLog<L> {
    /// Wraps a log; nothing goes wrong yet.
    ///
    /// # Panics
    /// The system grants no thread.
    #[must_use]
    pub fn new(inner: L) -> Self {
        let shared = Arc::new(Shared::default());
        let forwarding = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("kwq-faulty".to_owned());
        let forwarder = thread.spawn(move || forwarding.forward());
        let forwarder = Some(forwarder.expect("a test machine grants one more thread"));
        Self { inner, shared, forwarder }
    }

    /// The wrapped log.
    pub fn inner(&self) -> &L {
        &self.inner
    }

    /// Lets something go wrong at the `n`-th append counted from now, 1 = the next.
    pub fn inject(&self, n: u64, fault: Fault) {
        let mut state = self.shared.lock();
        let at = state.appends + n;
        state.script.push((at, fault));
    }

    /// Holds tickets back from now on.
    pub fn hold(&self) {
        self.shared.lock().held = Some(0);
    }

    /// Lets `n` more tickets pass.
    pub fn pass(&self, n: u64) {
        let mut state = self.shared.lock();
        state.held = state.held.map(|held| held + n);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Holds nothing back any more.
    pub fn release(&self) {
        self.shared.lock().held = None;
        self.shared.changed.notify_all();
    }

    /// Shows this room instead of the inner log's; `None` = the inner one's again.
    pub fn set_room(&self, room: Option<Room>) {
        self.shared.lock().room = room;
    }
}

impl<L: EventLog> EventLog for FaultyLog<L> {
    fn append(&self, partition: PartitionId, batch: Batch) -> Result<Ticket, Error> {
        // Held over the inner append, so that the order outside is the order inside.
        let mut state = self.shared.lock();
        state.appends += 1;
        let now = state.appends;
        let fault = state.script.iter().find(|(at, _)| *at == now).map(|(_, fault)| *fault);
        match fault {
            Some(Fault::Refuse) => return Err(Error::Full("injected".to_owned())),
            Some(Fault::FailAppend) => state.failed = true,
            Some(Fault::FailTicket) | None => {}
        }
        if state.failed || state.closing {
            return Err(Error::Failed("injected".to_owned()));
        }
        let inner = self.inner.append(partition, batch)?;
        let (ticket, outer) = Ticket::pair();
        let fail = fault == Some(Fault::FailTicket);
        state.waiting.push_back(Passing { inner, outer, fail });
        drop(state);
        self.shared.changed.notify_all();
        Ok(ticket)
    }

    fn scan(
        &self,
        from: &[(PartitionId, Position)],
        visit: &mut dyn FnMut(LogRecord) -> bool,
    ) -> Result<(), Error> {
        self.inner.scan(from, visit)
    }

    fn skim_on(
        &self,
        from: &[(PartitionId, Position)],
        resume: &mut Resume,
        visit: &mut dyn FnMut(Skimmed) -> bool,
    ) -> Result<(), Error> {
        self.inner.skim_on(from, resume, visit)
    }

    fn read_tasks(&self, wanted: &[TextAt]) -> Result<Vec<StoredTask>, Error> {
        self.inner.read_tasks(wanted)
    }

    fn read_event(&self, partition: PartitionId, at: Position) -> Result<Stamped, Error> {
        self.inner.read_event(partition, at)
    }

    fn read_result(&self, partition: PartitionId, at: ResultAt) -> Result<Blob, Error> {
        self.inner.read_result(partition, at)
    }

    fn end(&self, partition: PartitionId) -> Position {
        self.inner.end(partition)
    }

    fn room(&self) -> Room {
        let shown = self.shared.lock().room;
        shown.unwrap_or_else(|| self.inner.room())
    }

    fn numbers(&self) -> LogNumbers {
        self.inner.numbers()
    }

    fn commit_mark(
        &self,
        partition: PartitionId,
        position: Position,
        image: &[u8],
    ) -> Result<(), Error> {
        self.inner.commit_mark(partition, position, image)
    }

    fn committed_marks(&self, partition: PartitionId) -> Vec<Position> {
        self.inner.committed_marks(partition)
    }

    fn read_mark(&self, partition: PartitionId, position: Position) -> Result<Vec<u8>, Error> {
        self.inner.read_mark(partition, position)
    }

    fn close(&self) {
        self.inner.close();
    }
}

impl<L> Drop for FaultyLog<L> {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
        if let Some(forwarder) = self.forwarder.take()
            && forwarder.join().is_err()
        {
            tracing::error!("the forwarder of a faulty log panicked");
        }
    }
}
