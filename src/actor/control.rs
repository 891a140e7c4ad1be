//! One control verb at a time, whichever instance it came to. Verbs on jobs, levels, drains and
//! operations go to every partition; two at once could reach them in different orders, which would
//! leave a job split for good.
//!
//! ```text
//!  verb ─► Engine::control ─┬─ first partition served here ─► ControlLock
//!                           └─ by a peer ─► Call::Lock ─► its ControlLock, under a lease
//! ```
//! Whoever serves the first partition keeps the lock (ADR 0023). If that partition moves while a
//! verb is under way, the next owner knows nothing of it, and verbs of that moment may meet.
//!
//! Must not: be held while somebody waits for work, or be asked for by who holds it.

use crate::actor::engine::{Engine, OWNERS, lock, unavailable};
use crate::actor::peers::Missed;
use crate::actor::slot::{Peer, Slot, SlotState};
use crate::clock::Clock;
use crate::codec::peer::{Call, Lock, Return};
use crate::model::reject::{Code, Reject};
use crate::model::time::Tick;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// An instance that has ended holds the lock for so long at most, ms.
const LEASE_MS: u64 = 10_000;
/// A verb waits so long for those before it.
const WAIT: Duration = Duration::from_secs(8);
/// For the answer of who keeps the lock.
const LIMIT: Duration = Duration::from_secs(10);
/// The end of a lease wakes nobody, so it is looked for this often.
const LOOK: Duration = Duration::from_millis(100);

/// Who may carry a verb to the partitions.
#[derive(Default)]
pub(crate) struct ControlLock {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Default)]
struct State {
    /// Number of the latest holder.
    last: u64,
    /// The present one, and when it ends by itself.
    held: Option<(u64, Option<Tick>)>,
}

impl ControlLock {
    /// Waits for it; `lease_ms` = it ends by itself after so long. The number frees it.
    async fn take(&self, clock: &dyn Clock, lease_ms: Option<u64>) -> Result<u64, Reject> {
        let deadline = Instant::now() + WAIT;
        loop {
            let freed = self.freed.notified();
            if let Some(number) = self.try_take(clock.now().tick, lease_ms) {
                return Ok(number);
            }
            if Instant::now() >= deadline {
                let detail = "other control verbs are under way";
                return Err(Reject::new(Code::Overloaded, detail).retry_unapplied(1_000));
            }
            // Freed, or looked at again.
            tokio::time::timeout(LOOK, freed).await.ok();
        }
    }

    fn try_take(&self, now: Tick, lease_ms: Option<u64>) -> Option<u64> {
        let state = &mut *lock(&self.state);
        let over = |until: Option<Tick>| until.is_some_and(|until| now >= until);
        if state.held.is_some_and(|(_, until)| !over(until)) {
            return None;
        }
        state.last += 1;
        state.held = Some((state.last, lease_ms.map(|ms| Tick(now.0 + ms))));
        Some(state.last)
    }

    /// Whose lease is over frees nobody else's.
    fn free(&self, number: u64) {
        let state = &mut *lock(&self.state);
        if state.held.is_some_and(|(held, _)| held == number) {
            state.held = None;
            self.freed.notify_one();
        }
    }
}

/// The lock is held as long as this lives.
pub(crate) struct Control<'a> {
    engine: &'a Engine,
    number: u64,
    /// Who keeps it; `None` = this instance.
    at: Option<Peer>,
}

impl Drop for Control<'_> {
    fn drop(&mut self) {
        match self.at.take() {
            None => self.engine.control.free(self.number),
            Some(peer) => {
                let free = Call::Lock(Lock::Free(self.number));
                // Else its lease frees it.
                self.engine.post_call(peer, &free).ok();
            }
        }
    }
}

impl Engine {
    /// Waits until no other control verb is under way anywhere.
    ///
    /// # Errors
    /// `overloaded` behind too many others; `partition_unavailable` while nobody serves the first
    /// partition. Nothing was applied.
    pub(crate) async fn control(&self) -> Result<Control<'_>, Reject> {
        let shared = self.config.log.backend.is_shared();
        let elsewhere = match self.slots.first().filter(|_| shared) {
            Some(first) => self.control_elsewhere(first).await?,
            None => None,
        };
        let (at, number) = match elsewhere {
            Some((peer, number)) => (Some(peer), number),
            None => (None, self.control.take(&*self.clock, None).await?),
        };
        Ok(Control { engine: self, number, at })
    }

    /// Takes the lock of who serves the first partition; `None` = this instance does.
    async fn control_elsewhere(&self, first: &Slot) -> Result<Option<(Peer, u64)>, Reject> {
        for _ in 0..OWNERS {
            self.await_owner(first).await;
            let Some(peer) = first.peer() else { break };
            match self.call(&peer, &Call::Lock(Lock::Take), LIMIT).await {
                Ok(Return::Locked(number)) => return Ok(Some((peer, number))),
                Ok(Return::Refused(reject)) if self.is_passed_on(first, &peer, &reject) => {}
                Ok(Return::Refused(reject)) | Err(Missed::Refused(reject)) => return Err(reject),
                Ok(Return::Decided(..) | Return::Answered(..) | Return::Workers(_)) => {
                    return Err(unavailable());
                }
                Err(Missed::Gone) => {}
            }
        }
        if first.state() == SlotState::Ready { Ok(None) } else { Err(unavailable()) }
    }

    /// A peer takes the lock that is kept here, or gives it back.
    pub(super) async fn lock_for_peer(&self, wanted: Lock) -> Result<Return, Reject> {
        match wanted {
            Lock::Take if self.slots.first().is_some_and(|s| s.state() == SlotState::Ready) => {
                self.control.take(&*self.clock, Some(LEASE_MS)).await.map(Return::Locked)
            }
            Lock::Take => Err(unavailable()),
            Lock::Free(number) => {
                self.control.free(number);
                Ok(Return::Locked(number))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_until_it_is_freed_or_its_lease_is_over() {
        let control = ControlLock::default();
        let first = control.try_take(Tick(0), None).expect("nobody holds it");
        assert_eq!(control.try_take(Tick(u64::MAX), None), None, "without a lease it never ends");
        control.free(first);
        let second = control.try_take(Tick(5), Some(10)).expect("it was freed");
        assert_eq!(control.try_take(Tick(14), None), None);
        let third = control.try_take(Tick(15), None).expect("its lease is over");
        control.free(second);
        assert_eq!(control.try_take(Tick(15), None), None, "who came late frees nobody else's");
        control.free(third);
        assert!(control.try_take(Tick(15), None).is_some());
    }
}
