//! Partitions that other instances serve: commands and questions go to them as bytes, and theirs
//! come here (`codec::peer`, ADR 0023).
//!
//! ```text
//!  handle ─► engine.decide / ask ─┬─ served here ─► channel ─► PartitionActor
//!                                 └─ by a peer ─► Call ─► its listener ─► answer_peer ─┘
//! ```
//! A call is passed on once: who does not serve the partition refuses, and does not ask further.
//! Whether a call was carried out is known only where its answer came; otherwise its refusal does
//! not promise that nothing was applied, as with a partition that falls.
//!
//! Must not: try a command again, or believe a position before the copy of the log has it.

use crate::actor::engine::{Engine, lock, unavailable, unknown_outcome};
use crate::actor::handle::KwqHandle;
use crate::actor::slot::{Peer, Slot};
use crate::client::peer::{PeerClient, PeerError};
use crate::codec::peer::{self, Call, Return};
use crate::core::question::{self, Ask};
use crate::core::workers::Sign;
use crate::model::command::{Class, Command};
use crate::model::id::{Epoch, PartitionId, Position};
use crate::model::instance::InstanceState;
use crate::model::reject::{Code, Reject};
use crate::model::reply::{Decided, Offer, Reply};
use crate::model::time::Tick;
use crate::model::worker::{Whose, WorkerView};
use std::sync::OnceLock;
use std::time::Duration;

/// A peer that does not answer for so long may have stopped; its partitions are passed over until
/// it is heard of again.
const LIMIT: Duration = Duration::from_secs(5);
/// Whoever waits for work asks elsewhere meanwhile.
const CONSUME_LIMIT: Duration = Duration::from_secs(2);

/// The way to other instances; none in a process that is alone.
#[derive(Default)]
pub(crate) struct Peers(OnceLock<PeerClient>);

impl Peers {
    /// From now on other instances can be called.
    pub(crate) fn reach_by(&self, client: PeerClient) {
        // A node is set up once.
        self.0.set(client).ok();
    }
}

/// What came of a call.
pub(super) enum Missed {
    /// Nobody listens there any more: whoever takes the partition next may be called.
    Gone,
    Refused(Reject),
}

impl From<Missed> for Reject {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::Gone => unavailable(),
            Missed::Refused(reject) => reject,
        }
    }
}

impl Engine {
    /// Has a peer decide a command; one that is gone, or serves the partition no more, gives it
    /// back.
    pub(super) async fn decide_there(
        &self,
        slot: &Slot,
        to: Peer,
        (command, class, bytes): (Command, Class, usize),
    ) -> Result<Result<Decided, Reject>, Command> {
        let call = Call::Decide { partition: slot.id, class, bytes, command };
        let limit = if class == Class::Consume { CONSUME_LIMIT } else { LIMIT };
        let told = match self.call(&to, &call, limit).await {
            Ok(told) => Some(told),
            Err(Missed::Refused(reject)) => return Ok(Err(reject)),
            Err(Missed::Gone) => None,
        };
        let passed_on = |told: &Return| {
            refusal(told).is_some_and(|reject| self.is_passed_on(slot, &to, reject))
        };
        match told.filter(|told| !passed_on(told)) {
            Some(told) => Ok(self.decided_there(slot, told)),
            None => match command_of(call) {
                Some(command) => Err(command),
                None => Ok(Err(unavailable())),
            },
        }
    }

    /// Has the peer refused because it does not serve the partition any more? Then nothing was
    /// applied, and whoever serves it next may be called.
    pub(super) fn is_passed_on(&self, slot: &Slot, peer: &Peer, reject: &Reject) -> bool {
        let passed_on = reject.code == Code::PartitionUnavailable && reject.not_applied;
        if passed_on && slot.peer().as_ref() == Some(peer) {
            self.lose(slot, peer);
        }
        passed_on
    }

    fn decided_there(&self, slot: &Slot, told: Return) -> Result<Decided, Reject> {
        match told {
            Return::Decided(decided, offer) => {
                self.heard(slot, decided.position);
                if slot.offers(decided.position).is_some() {
                    self.hub.publish(slot.id, offer.levels, offer.tasks, false, Vec::new());
                }
                Ok(decided)
            }
            Return::Refused(reject) => Err(reject),
            Return::Answered(..) | Return::Workers(_) | Return::Locked(_) => Err(unknown_outcome()),
        }
    }

    /// Asks a peer; one that is gone, or serves the partition no more, answers `None`.
    pub(super) async fn ask_there<Q: Ask>(
        &self,
        slot: &Slot,
        to: Peer,
        question: Q,
    ) -> Option<Result<(Q::Answer, Position), Reject>> {
        let call = Call::Ask { partition: slot.id, question: question.into() };
        Some(match self.call(&to, &call, LIMIT).await {
            Ok(Return::Answered(answered, position)) => {
                self.heard(slot, position);
                Q::answer_of(answered).map(|answer| (answer, position)).ok_or_else(unavailable)
            }
            Ok(Return::Refused(reject)) if self.is_passed_on(slot, &to, &reject) => return None,
            Ok(Return::Refused(reject)) => Err(reject),
            Err(Missed::Gone) => return None,
            // A question changes nothing, so there is no outcome to be unknown.
            Ok(Return::Decided(..) | Return::Workers(_) | Return::Locked(_))
            | Err(Missed::Refused(_)) => Err(unavailable()),
        })
    }

    /// What all other instances know of workers, and whether all have answered; one that has ended
    /// knows nothing.
    pub(super) async fn workers_there(&self, whose: Whose) -> (Vec<WorkerView>, bool) {
        let to = |(state, _): &(InstanceState, Tick)| {
            let epoch = state.partitions.first().map_or(Epoch(0), |served| served.epoch);
            Peer { node: state.node.clone(), addr: state.addr.clone(), epoch }
        };
        let peers: Vec<Peer> = lock(&self.others).values().map(to).collect();
        let call = Call::Workers(whose);
        // Who looks may look again; who is to be forgotten must be forgotten everywhere.
        let limit =
            if matches!(call, Call::Workers(Whose::Gone(_))) { LIMIT } else { CONSUME_LIMIT };
        let calls = peers.iter().map(|peer| self.call(peer, &call, limit));
        let (mut views, mut all) = (Vec::new(), true);
        for told in futures_util::future::join_all(calls).await {
            match told {
                Ok(Return::Workers(told)) => views.extend(told),
                Err(Missed::Gone) => {}
                Ok(
                    Return::Decided(..)
                    | Return::Answered(..)
                    | Return::Refused(_)
                    | Return::Locked(_),
                )
                | Err(Missed::Refused(_)) => all = false,
            }
        }
        (views, all)
    }

    /// Sends a peer a command whose outcome nobody waits for.
    pub(super) fn post_there(&self, slot: &Slot, to: Peer, command: Command) -> Result<(), Reject> {
        let call = Call::Decide { partition: slot.id, class: Class::Report, bytes: 0, command };
        self.post_call(to, &call)
    }

    /// Calls a peer without waiting for what comes of it.
    pub(super) fn post_call(&self, to: Peer, call: &Call) -> Result<(), Reject> {
        let bytes = encoded(call)?;
        let client = self.peers.0.get().ok_or_else(unavailable)?.clone();
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| unavailable())?;
        runtime.spawn(async move {
            if let Err(error) = client.call(&to.addr, bytes, LIMIT).await {
                tracing::debug!(%error, peer = %to.node, "what was posted may not have come");
            }
        });
        Ok(())
    }

    pub(super) async fn call(
        &self,
        to: &Peer,
        call: &Call,
        limit: Duration,
    ) -> Result<Return, Missed> {
        let client = self.peers.0.get().ok_or_else(unavailable).map_err(Missed::Refused)?;
        let bytes = encoded(call).map_err(Missed::Refused)?;
        let told = client.call(&to.addr, bytes, limit).await;
        let reject = match told {
            Ok(bytes) => match peer::decode(&bytes) {
                Ok(told) => return Ok(told),
                Err(error) => {
                    tracing::error!(%error, peer = %to.node, "no answer of an instance");
                    unknown_outcome()
                }
            },
            Err(PeerError::Gone(reason)) => {
                tracing::debug!(reason, peer = %to.node, "gone");
                self.let_go_of(to);
                return Err(Missed::Gone);
            }
            Err(PeerError::Unreached(reason)) => {
                tracing::debug!(reason, peer = %to.node, "not reached");
                unavailable()
            }
            Err(PeerError::Unknown(reason)) => {
                tracing::warn!(reason, peer = %to.node, "a call to an instance was not answered");
                unknown_outcome()
            }
        };
        self.pass_over(to);
        Err(Missed::Refused(reject))
    }

    /// The instance has ended: what it served has nobody until somebody says so.
    fn let_go_of(&self, peer: &Peer) {
        self.slots_of(peer).for_each(|slot| self.lose(slot, peer));
    }

    /// Nobody is sent to this peer for work until it is heard of again: not to its other partitions
    /// either, each of which would have to be waited for.
    fn pass_over(&self, peer: &Peer) {
        for slot in self.slots_of(peer) {
            self.hub.publish(slot.id, 0, 0, false, Vec::new());
        }
    }

    fn lose(&self, slot: &Slot, peer: &Peer) {
        slot.lose(&peer.node);
        self.hub.publish(slot.id, 0, 0, false, Vec::new());
    }

    fn slots_of<'a>(&'a self, peer: &'a Peer) -> impl Iterator<Item = &'a Slot> {
        let of_it = |slot: &&Slot| slot.peer().is_some_and(|other| other.addr == peer.addr);
        self.slots.iter().filter(of_it)
    }

    /// Everything of a partition up to here is durable: whoever wants an answer that knows it waits
    /// until the tracker does.
    pub(crate) fn heard(&self, slot: &Slot, position: Position) {
        slot.reached(position);
        self.tracker.reached(slot.id, position);
    }
}

/// The command of a call that nobody has decided.
fn command_of(call: Call) -> Option<Command> {
    match call {
        Call::Decide { command, .. } => Some(command),
        Call::Ask { .. } | Call::Workers(_) | Call::Lock(_) => None,
    }
}

/// What a peer has refused, in front of the partition or in it.
fn refusal(told: &Return) -> Option<&Reject> {
    match told {
        Return::Refused(reject) => Some(reject),
        Return::Decided(Decided { reply: Reply::Refused(reject), .. }, _) => Some(reject),
        Return::Decided(..) | Return::Answered(..) | Return::Workers(_) | Return::Locked(_) => None,
    }
}

fn encoded(call: &Call) -> Result<Vec<u8>, Reject> {
    peer::encode(call).map_err(|error| {
        Reject::new(Code::BodyTooLarge, format!("not sent to the instance in charge: {error}"))
    })
}

impl KwqHandle {
    /// Answers the call of another instance, for a partition served here. Dropping the future is
    /// what a caller that has gone comes to: its hand-outs are given back.
    pub async fn answer_peer(&self, bytes: &[u8]) -> Vec<u8> {
        let told = match peer::decode(bytes) {
            Ok(Call::Decide { partition, class, bytes, command }) => {
                self.decide_for(partition, (command, class, bytes)).await
            }
            Ok(Call::Ask { partition, question }) => {
                let read =
                    move |p: &crate::core::partition::Partition| question::answer(p, question);
                match self.engine.slot(partition) {
                    Some(slot) => self.engine.inspect_local(slot, read).await,
                    None => Err(unavailable()),
                }
                .map(|(answered, position)| Return::Answered(answered, position))
            }
            Ok(Call::Workers(whose)) => Ok(Return::Workers(self.engine.workers_here(&whose))),
            Ok(Call::Lock(wanted)) => self.engine.lock_for_peer(wanted).await,
            Err(error) => {
                tracing::error!(%error, "no call of an instance");
                let mut reject = Reject::new(Code::Internal, error.to_string());
                reject.not_applied = true;
                Err(reject)
            }
        };
        let told = told.unwrap_or_else(Return::Refused);
        peer::encode(&told).unwrap_or_else(|error| {
            tracing::error!(%error, "an answer to an instance is too large");
            let reject = Reject::new(Code::Internal, error.to_string());
            peer::encode(&Return::Refused(reject)).unwrap_or_default()
        })
    }

    /// What a command of another instance tells of a worker.
    fn note_worker(&self, command: &Command) {
        let engine = &self.engine;
        if let Command::Consume(consume) = command {
            let now = engine.clock.now();
            lock(&engine.workers).seen(&consume.worker, now, Sign::default());
        } else if let Command::DrainWorker { worker, drains } = command {
            engine.drained(worker, *drains);
        }
    }

    async fn decide_for(
        &self,
        partition: PartitionId,
        (command, class, bytes): (Command, Class, usize),
    ) -> Result<Return, Reject> {
        let slot = self.engine.slot(partition).ok_or_else(unavailable)?;
        self.note_worker(&command);
        let decided = self.engine.decide_here(slot, command, class, bytes).await?;
        let (levels, tasks) = self.engine.hub.offer(partition);
        Ok(Return::Decided(decided, Offer { levels, tasks }))
    }
}
