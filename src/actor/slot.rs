//! The door of one partition: into the actor of this process that serves it, or to the instance
//! that does.

use crate::actor::envelope::{Backlog, Envelope};
use crate::model::id::{Epoch, Name, PartitionId, Position};
use crate::model::limits;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::mpsc;

/// State of a partition as this instance sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum SlotState {
    /// Nobody is known to serve it.
    Replaying = 0,
    /// Served here.
    Ready = 1,
    Failed = 2,
    /// Another instance serves it.
    Elsewhere = 3,
}

/// Whose turns are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    Consume = 0,
    Submit = 1,
}

/// Another instance that serves a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) node: Name,
    /// Where its listener for instances is.
    pub(crate) addr: Name,
    pub(crate) epoch: Epoch,
}

enum Served {
    Nowhere,
    Here(mpsc::Sender<Envelope>),
    By(Peer),
}

/// The door of one partition.
pub(crate) struct Slot {
    pub(crate) id: PartitionId,
    pub(crate) shard: usize,
    served: RwLock<Served>,
    pub(crate) backlog: Backlog,
    pub(crate) epoch: AtomicU64,
    /// The last durable record, as far as it is known here.
    pub(crate) position: AtomicU64,
    /// How far the partition was when its offer was last heard of from a peer.
    offered: AtomicU64,
    /// Consumes that tried it, submits that went to it.
    turns: [AtomicU64; 2],
    state: AtomicU8,
}

impl Slot {
    pub(crate) fn new(id: PartitionId, shard: usize) -> Self {
        Self {
            id,
            shard,
            served: RwLock::new(Served::Nowhere),
            backlog: Backlog::default(),
            epoch: AtomicU64::new(0),
            position: AtomicU64::new(0),
            offered: AtomicU64::new(0),
            turns: [const { AtomicU64::new(0) }; 2],
            state: AtomicU8::new(SlotState::Replaying as u8),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Served> {
        self.served.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Served> {
        self.served.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: SlotState) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Opens it to an actor of this process.
    pub(crate) fn open(&self, sender: mpsc::Sender<Envelope>, epoch: Epoch) {
        let mut served = self.write();
        self.epoch.store(epoch.0, Ordering::Release);
        *served = Served::Here(sender);
        self.set(SlotState::Ready);
    }

    /// Shuts it: nothing goes in any more.
    pub(crate) fn close(&self, state: SlotState) {
        let mut served = self.write();
        *served = Served::Nowhere;
        self.set(state);
    }

    /// Points it at the instance that serves the partition under this epoch, unless it is served
    /// here, or by somebody under a newer one. Answers whether that changed anything.
    pub(crate) fn point(&self, peer: Peer) -> bool {
        let mut served = self.write();
        let newer = match &*served {
            Served::Here(_) => false,
            Served::Nowhere => true,
            Served::By(known) => peer.epoch >= known.epoch && *known != peer,
        };
        // Who has failed here for good may still be served elsewhere.
        if newer && peer.epoch.0 >= self.epoch.load(Ordering::Acquire) {
            self.epoch.store(peer.epoch.0, Ordering::Release);
            *served = Served::By(peer);
            self.set(SlotState::Elsewhere);
            return true;
        }
        false
    }

    /// The instance that was pointed at is gone.
    pub(crate) fn lose(&self, node: &str) -> bool {
        let mut served = self.write();
        let gone = matches!(&*served, Served::By(peer) if &*peer.node == node);
        if gone {
            *served = Served::Nowhere;
            self.set(SlotState::Replaying);
        }
        gone
    }

    pub(crate) fn state(&self) -> SlotState {
        match self.state.load(Ordering::Acquire) {
            1 => SlotState::Ready,
            2 => SlotState::Failed,
            3 => SlotState::Elsewhere,
            _ => SlotState::Replaying,
        }
    }

    /// Does anybody serve it?
    pub(crate) fn served(&self) -> bool {
        matches!(self.state(), SlotState::Ready | SlotState::Elsewhere)
    }

    /// Who serves it, if that is another instance.
    pub(crate) fn peer(&self) -> Option<Peer> {
        if self.state() != SlotState::Elsewhere {
            return None;
        }
        match &*self.read() {
            Served::By(peer) => Some(peer.clone()),
            Served::Nowhere | Served::Here(_) => None,
        }
    }

    /// Commands in front of the partition.
    pub(crate) fn queued(&self) -> usize {
        self.sender().map_or(0, |s| limits::CHANNEL_COMMANDS - s.capacity())
    }

    pub(crate) fn sender(&self) -> Option<mpsc::Sender<Envelope>> {
        match &*self.read() {
            Served::Here(sender) => Some(sender.clone()),
            Served::Nowhere | Served::By(_) => None,
        }
    }

    /// Everything up to here is durable. Heard from several threads, in any order.
    pub(crate) fn reached(&self, position: Position) {
        self.position.fetch_max(position.0, Ordering::AcqRel);
    }

    /// A peer tells what it has to hand out as of this position: `None` = something newer was heard
    /// before, else whether this is newer than what was heard.
    pub(crate) fn offers(&self, position: Position) -> Option<bool> {
        let before = self.offered.fetch_max(position.0, Ordering::AcqRel);
        (before <= position.0).then_some(before < position.0)
    }

    /// Turns it had.
    pub(crate) fn turns(&self, of: Turn) -> u64 {
        self.turns[of as usize].load(Ordering::Relaxed)
    }

    /// Counts a turn; `floor` = turns it has had at least.
    pub(crate) fn take_turn(&self, of: Turn, floor: u64) {
        self.turns[of as usize].fetch_max(floor, Ordering::Relaxed);
        self.turns[of as usize].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(node: &str, epoch: u64) -> Peer {
        Peer { node: node.into(), addr: format!("{node}:1").into(), epoch: Epoch(epoch) }
    }

    #[test]
    fn the_newest_epoch_is_pointed_at_and_who_serves_here_is_not_pointed_away() {
        let slot = Slot::new(PartitionId(0), 0);
        assert!(slot.point(peer("a", 5)) && !slot.point(peer("a", 5)));
        assert!(!slot.point(peer("b", 4)), "an older owner heard of late");
        assert!(slot.point(peer("b", 6)));
        assert_eq!(slot.peer(), Some(peer("b", 6)));
        let (sender, _receiver) = mpsc::channel(1);
        slot.open(sender, Epoch(7));
        assert!(!slot.point(peer("c", 8)), "its actor finds out by itself");
        slot.close(SlotState::Replaying);
        assert!(!slot.point(peer("b", 6)), "deposed by the epoch served here");
        assert!(slot.point(peer("c", 8)));
    }

    #[test]
    fn who_is_gone_is_pointed_at_no_more() {
        let slot = Slot::new(PartitionId(0), 0);
        slot.point(peer("a", 5));
        assert!(!slot.lose("b") && slot.lose("a") && !slot.lose("a"));
        assert_eq!((slot.state(), slot.peer()), (SlotState::Replaying, None));
    }

    /// An actor falls with commands in its hands; they end after the door was shut.
    #[test]
    fn what_a_fallen_actor_held_is_taken_off_once() {
        let slot = Slot::new(PartitionId(0), 0);
        let (first, second) = (slot.backlog.hold(100), slot.backlog.hold(20));
        slot.close(SlotState::Replaying);
        drop(first);
        assert_eq!(slot.backlog.bytes(), 20);
        drop(second);
        assert_eq!(slot.backlog.bytes(), 0);
    }
}
