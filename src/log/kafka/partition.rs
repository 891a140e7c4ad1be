//! One partition of the changelog as this instance sees it: who feeds its spool, and which of its
//! tickets may resolve. No client of Kafka is named here; the threads around it bring reports and
//! records and carry out [`Order`]s.
//!
//! ```text
//!   Following ── Owner appended ─► Taking ── spool reaches it ─► Owning ─┐ reports in order:
//!      ▲ records feed the spool      │ failed, or another Owner          │ own batches feed it
//!      └─────────────────────────────┴──────────── stand down ◄──────────┘
//! ```
//! An owner reads nothing back: a batch that was reported right behind the last one is put into the
//! spool from memory. What lies in a gap is read from Kafka, and decides ([`crate::log::fence`]).
//!
//! Must not: wait for anybody, or resolve a ticket whose batch is not in the spool.

use crate::codec::changelog::{self, Value};
use crate::log::fence::{Between, Fence, Latest, Settled};
use crate::log::kafka::place;
use crate::log::spool::Spool;
use crate::log::syncs::Syncs;
use crate::log::ticket::Resolver;
use crate::log::{Appended, Error};
use crate::model::id::{Epoch, PartitionId, Position};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the thread that reads shall do for a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Read on from this offset.
    Read(PartitionId, u64),
    /// Read no more.
    Stop(PartitionId),
}

impl Order {
    /// Whom it is about.
    pub(super) fn partition(self) -> PartitionId {
        let (Self::Read(id, _) | Self::Stop(id)) = self;
        id
    }
}

/// A batch on its way.
pub(super) struct Sent {
    /// When it was sent, µs of the stopwatch.
    pub(super) at: Option<u64>,
    /// Of its caller; a batch that is let go of fails as fenced.
    resolver: Option<Resolver>,
    pub(super) value: Vec<u8>,
    events: u16,
}

impl Sent {
    pub(super) fn new(resolver: Resolver, value: Vec<u8>, events: u16, at: Option<u64>) -> Self {
        Self { at, resolver: Some(resolver), value, events }
    }

    fn settle(mut self, outcome: Result<u64, Error>) {
        let positions = |offset| (0..self.events).map(|n| place::position(offset, n)).collect();
        let outcome = outcome.map(|offset| Appended { positions: positions(offset) });
        if let Some(resolver) = self.resolver.take() {
            resolver.resolve(outcome);
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(resolver) = self.resolver.take() {
            resolver.resolve(Err(Error::Fenced("another owner may have the partition".to_owned())));
        }
    }
}

/// Acknowledgements by their time, shared by all partitions.
#[derive(Default)]
pub(super) struct Acks {
    pub(super) stopwatch: Option<fn() -> u64>,
    pub(super) counts: Syncs,
}

impl Acks {
    pub(super) fn now(&self) -> Option<u64> {
        self.stopwatch.map(|stopwatch| stopwatch())
    }

    fn count(&self, sent: &Sent) {
        let took = self.now().zip(sent.at).map(|(now, at)| now.saturating_sub(at));
        self.counts.count(took, u64::from(sent.events));
    }
}

/// One partition.
pub(super) struct Partition {
    pub(super) id: PartitionId,
    pub(super) spool: Arc<Spool>,
    pub(super) acks: Arc<Acks>,
    state: Mutex<State>,
}

struct State {
    /// Whose batches count, as far as the spool goes.
    latest: Latest,
    /// First offset that was not looked at yet; the spool may end before it, with void batches in
    /// between.
    read_to: u64,
    role: Role,
    /// Why the log is over. Who has passed its last check before that must not begin anything.
    over: Option<String>,
    /// Raised whenever the role begins anew: reports of batches before that are nobody's.
    life: u64,
}

enum Role {
    Following,
    Taking { owner: Option<u64>, sent: Sent },
    Owning(Owning),
}

struct Owning {
    fence: Fence<Sent>,
    gap: Option<Gap>,
    /// Reports that came while a gap was read.
    held: VecDeque<Option<u64>>,
}

/// What is read between two of an owner's own batches.
struct Gap {
    /// First offset that was not looked at yet.
    next: u64,
    /// That of the own batch behind it.
    to: u64,
    between: Vec<Between>,
}

impl Partition {
    /// A partition whose spool holds what it holds.
    ///
    /// # Errors
    /// The newest record of the spool cannot be read.
    pub(super) fn new(id: PartitionId, spool: Spool, acks: Arc<Acks>) -> Result<Self, Error> {
        let mut latest = Latest::default();
        if let Some((offset, bytes)) = spool.last()? {
            let value = Value::read(&bytes).map_err(|bad| Error::Failed(bad.to_string()))?;
            // Only what counts is kept, so its epoch is the one in force.
            let owner = if value.is_owner() { Some(offset) } else { owner_of(value.epoch()) };
            let behind = |owner| Latest::behind(owner, value.number());
            latest = owner.map(behind).unwrap_or_default();
        }
        let read_to = spool.next();
        let (role, over) = (Role::Following, None);
        let state = Mutex::new(State { latest, read_to, role, over, life: 0 });
        Ok(Self { id, spool: Arc::new(spool), acks, state })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic between two changes leaves a role that answers nobody, which is always right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// First offset that was not looked at yet.
    pub(super) fn read_to(&self) -> u64 {
        self.lock().read_to
    }

    /// The order in force. Several threads send orders, so the newest need not come last: who
    /// carries one out asks for this, and takes what came as a sign that something has changed.
    pub(super) fn order(&self) -> Order {
        let state = self.lock();
        match &state.role {
            Role::Following | Role::Taking { .. } => Order::Read(self.id, state.read_to),
            Role::Owning(Owning { gap: Some(gap), .. }) => Order::Read(self.id, gap.next),
            Role::Owning(Owning { gap: None, .. }) => Order::Stop(self.id),
        }
    }

    /// Batches whose end is not known.
    pub(super) fn in_flight(&self) -> usize {
        match &self.lock().role {
            Role::Following => 0,
            Role::Taking { .. } => 1,
            Role::Owning(owning) => owning.fence.in_flight(),
        }
    }

    /// Takes the partition: `send` puts the `Owner` batch on its way. Whatever this instance had in
    /// flight before fails as fenced. The order is to be carried out in any case.
    pub(super) fn take(
        &self,
        sent: Sent,
        send: impl FnOnce(&[u8], u64) -> Result<(), Error>,
    ) -> (Option<Order>, Result<(), Error>) {
        let mut state = self.lock();
        if let Some(reason) = &state.over {
            return (None, Err(Error::Failed(reason.clone())));
        }
        let order = state.stand_down(self.id);
        let begun = send(&sent.value, state.life);
        if begun.is_ok() {
            state.role = Role::Taking { owner: None, sent };
        }
        (order, begun)
    }

    /// Back to following; batches on their way fail as fenced.
    pub(super) fn release(&self) -> Option<Order> {
        let mut state = self.lock();
        if state.over.is_some() { None } else { state.stand_down(self.id) }
    }

    /// Appends under an epoch.
    ///
    /// # Errors
    /// `Fenced` without ownership under that epoch; `Failed` when the log is over; those of `send`.
    pub(super) fn append(
        &self,
        epoch: Epoch,
        mut sent: Sent,
        send: impl FnOnce(&[u8], u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        if let Some(reason) = &state.over {
            return Err(Error::Failed(reason.clone()));
        }
        let life = state.life;
        match &mut state.role {
            Role::Owning(owning) if owner_of(epoch) == Some(owning.fence.epoch()) => {
                changelog::set_number(&mut sent.value, owning.fence.number());
                send(&sent.value, life)?;
                owning.fence.begin(sent);
                Ok(())
            }
            Role::Following | Role::Taking { .. } | Role::Owning(_) => {
                let what = format!("partition {} is not owned under epoch {epoch}", self.id);
                Err(Error::Fenced(what))
            }
        }
    }

    /// A batch of this life was reported: its offset, or `None` where nobody knows.
    ///
    /// # Errors
    /// The spool cannot be written: the whole log is over.
    pub(super) fn report(&self, life: u64, offset: Option<u64>) -> Result<Option<Order>, Error> {
        let mut state = self.lock();
        if state.life != life {
            return Ok(None);
        }
        match (&mut state.role, offset) {
            (Role::Following, _) => Ok(None),
            (Role::Taking { .. }, None) => Ok(state.stand_down(self.id)),
            (Role::Taking { owner, .. }, Some(_)) => {
                *owner = offset;
                state.own(self.id)
            }
            (Role::Owning(owning), _) => {
                owning.held.push_back(offset);
                state.settle(self)
            }
        }
    }

    /// A record was read, and nothing lies between `from` and it. What the reader brings before
    /// it has carried out an order to go back is passed over: something may be missing before.
    ///
    /// # Errors
    /// The spool cannot be written: the whole log is over.
    pub(super) fn record(
        &self,
        from: u64,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Option<Order>, Error> {
        let mut state = self.lock();
        if state.over.is_some() {
            return Ok(None);
        }
        let value = Value::read(bytes);
        if let Err(bad) = &value {
            tracing::warn!(partition = %self.id, offset, %bad, "no batch of kwq; passed over");
        }
        if let Role::Owning(owning) = &mut state.role {
            let due = |gap: &&mut Gap| from <= gap.next && offset >= gap.next;
            let Some(gap) = owning.gap.as_mut().filter(due) else { return Ok(None) };
            gap.next = offset + 1;
            if offset < gap.to {
                let owner = value.is_ok_and(|value| value.is_owner());
                gap.between.push(if owner { Between::Owner } else { Between::Void });
                return Ok(None);
            }
            return state.bridged(self);
        }
        if offset < state.read_to {
            return Ok(None);
        }
        if from > state.read_to {
            return Ok(None);
        }
        if let Ok(value) = value
            && state.counts(&value, offset)
        {
            self.spool.append(offset, bytes)?;
        }
        state.read_to = offset + 1;
        state.own(self.id)
    }

    /// The log is over: every ticket fails with this reason.
    pub(super) fn fail(&self, reason: &str) {
        let mut state = self.lock();
        state.life += 1;
        state.over = Some(reason.to_owned());
        let failed = |sent: Sent| sent.settle(Err(Error::Failed(reason.to_owned())));
        match std::mem::replace(&mut state.role, Role::Following) {
            Role::Following => {}
            Role::Taking { sent, .. } => failed(sent),
            Role::Owning(owning) => owning.fence.abandon().for_each(failed),
        }
    }
}

impl State {
    /// Does a batch that was read count? It is the next one if so.
    fn counts(&mut self, value: &Value<'_>, offset: u64) -> bool {
        if value.is_owner() {
            self.latest.owner(offset);
            return true;
        }
        let Some(owner) = owner_of(value.epoch()) else { return false };
        let counts = self.latest.counts(owner, value.number());
        if !counts && self.latest.is(owner) {
            tracing::warn!(offset, "passed over: it rests on a batch that was lost");
        }
        counts
    }

    /// Back to following; tickets fail as fenced.
    fn stand_down(&mut self, id: PartitionId) -> Option<Order> {
        self.life += 1;
        let was = std::mem::replace(&mut self.role, Role::Following);
        match was {
            // Read all the time.
            Role::Following | Role::Taking { .. } => None,
            Role::Owning(_) => Some(Order::Read(id, self.read_to)),
        }
    }

    /// Ownership begins once the `Owner` record and everything before it is in the spool.
    fn own(&mut self, id: PartitionId) -> Result<Option<Order>, Error> {
        let Role::Taking { owner: Some(owner), .. } = self.role else { return Ok(None) };
        if self.read_to <= owner {
            return Ok(None);
        }
        if !self.latest.is(owner) {
            // Somebody else has taken it since.
            return Ok(self.stand_down(id));
        }
        let owning = Owning { fence: Fence::new(owner), gap: None, held: VecDeque::new() };
        if let Role::Taking { sent, .. } = std::mem::replace(&mut self.role, Role::Owning(owning)) {
            sent.settle(Ok(owner));
        }
        Ok(Some(Order::Stop(id)))
    }

    /// Settles reports up to the next gap.
    fn settle(&mut self, of: &Partition) -> Result<Option<Order>, Error> {
        loop {
            let Role::Owning(owning) = &mut self.role else { return Ok(None) };
            if owning.gap.is_some() {
                return Ok(None);
            }
            let Some(offset) = owning.held.pop_front() else { return Ok(None) };
            match owning.fence.report(offset) {
                Settled::Counts(sent) => self.keep(offset.unwrap_or_default(), sent, of)?,
                Settled::Gap { from, to } => {
                    owning.gap = Some(Gap { next: from, to, between: Vec::new() });
                    return Ok(Some(Order::Read(of.id, from)));
                }
                Settled::Down => return Ok(self.stand_down(of.id)),
            }
        }
    }

    /// All of a gap was read.
    fn bridged(&mut self, of: &Partition) -> Result<Option<Order>, Error> {
        let Role::Owning(owning) = &mut self.role else { return Ok(None) };
        let Some(gap) = owning.gap.take() else { return Ok(None) };
        match owning.fence.bridge(gap.between) {
            Settled::Counts(sent) => {
                self.keep(gap.to, sent, of)?;
                Ok(self.settle(of)?.or(Some(Order::Stop(of.id))))
            }
            Settled::Gap { .. } | Settled::Down => Ok(self.stand_down(of.id)),
        }
    }

    /// A batch counts: readers first, then who waits for it.
    fn keep(&mut self, offset: u64, sent: Sent, of: &Partition) -> Result<(), Error> {
        of.acks.count(&sent);
        if let Err(error) = of.spool.append(offset, &sent.value) {
            sent.settle(Err(Error::Failed(error.to_string())));
            return Err(error);
        }
        self.read_to = offset + 1;
        self.latest.reported();
        sent.settle(Ok(offset));
        Ok(())
    }
}

/// Offset of the `Owner` record an epoch is the position of; `None` = it is none.
fn owner_of(epoch: Epoch) -> Option<u64> {
    let (offset, _) = place::offset(Position(epoch.0));
    (place::position(offset, 0).0 == epoch.0).then_some(offset)
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
