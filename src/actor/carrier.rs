//! From the log onto a derived topic: dead letters, or changes of tasks, of the partitions that are
//! served here. It follows what is durable and folded, on a thread of its own; nobody waits for it.
//!
//! ```text
//!   local copy of the log ─ gather ─► changes ─ letters ─► key, JSON ─► Outlet ─► topic
//!                              ▲          │ texts and rows: log, tracker             │
//!                              └── from the place behind the last record there ◄─────┘
//! ```
//! It keeps nothing: a new owner, or the same one after a restart, reads on the topic how far it
//! has come. So a record may be there twice, in the order of the log each time, and none is left
//! out.
//!
//! Must not: hold up a partition, or tell what is not durable.

mod gather;
mod letters;
mod texts;

use crate::actor::handle::KwqHandle;
use crate::actor::slot::SlotState;
use crate::log::kafka::{Last, Outlet, records_between};
use crate::log::{Error, EventLog};
use crate::model::ending::EndPlace;
use crate::model::feed::Feed;
use crate::model::id::{Name, PartitionId, Position};
use crate::model::reject::Reject;
use crate::model::time::WallMs;
use crate::store::CancelRecord;
use gather::{Found, Slice, gather, swept};
use letters::Letter;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use texts::Texts;

/// Pause when nothing is to be carried. Each look opens a file of every partition.
const IDLE: Duration = Duration::from_millis(200);
/// Pause after something failed; doubled each time, up to `AGAIN_MAX`.
const AGAIN: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// Between two looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// Reports are waited for so long when too much is on its way.
const ROOM: Duration = Duration::from_millis(5);
/// Looks for what is on its way at the end: 2 s.
const FAREWELL_LOOKS: u32 = 100;
/// The lag is shown this often, ms.
const SHOW_MS: u64 = 1_000;
/// What was carried is marked this often, ms.
const MARK_MS: u64 = 5_000;
/// And this often where nothing was: Kafka forgets marks after a week.
const MARK_AGAIN_MS: u64 = 3_600_000;
/// Rows the tracker looks at for one slice of a cancelled job.
const ROWS: u64 = 100_000;

/// Opens the topic; `None` = it is missing.
pub type Open = Box<dyn Fn() -> Result<Option<Outlet>, Error> + Send>;

/// Why a carrier does not get on for now.
struct Trouble(String);

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

impl From<Reject> for Trouble {
    fn from(reject: Reject) -> Self {
        Self(reject.detail.into())
    }
}

/// How far a partition has come.
struct Reading {
    /// Epoch under which it is carried; 0 = it has to be begun.
    epoch: u64,
    /// Everything before was sent.
    next: EndPlace,
    /// What is older was told before, and Kafka has let it go.
    since: WallMs,
    /// The mark there is, and when it was set.
    marked: Option<(EndPlace, u64)>,
}

/// A partition that failed is left alone for a while.
struct Held {
    until_ms: u64,
    pause: Duration,
}

/// Carries one feed until it is stopped.
pub struct Carrier {
    handle: KwqHandle,
    feed: Feed,
    open: Open,
    outlet: Option<Outlet>,
    stop: Arc<AtomicBool>,
    reading: BTreeMap<PartitionId, Reading>,
    held: BTreeMap<PartitionId, Held>,
    texts: Texts,
    shown_ms: u64,
}

impl Carrier {
    /// A carrier between an engine and a topic that was opened.
    #[must_use]
    pub fn new(
        handle: KwqHandle,
        feed: Feed,
        (outlet, open): (Outlet, Open),
        stop: Arc<AtomicBool>,
    ) -> Self {
        let (reading, held, texts) = (BTreeMap::new(), BTreeMap::new(), Texts::default());
        Self { handle, feed, open, outlet: Some(outlet), stop, reading, held, texts, shown_ms: 0 }
    }

    /// Runs until it is stopped.
    pub async fn run(mut self) {
        let mut again = AGAIN;
        while !self.stopped() {
            let pause = match self.round().await {
                Ok(true) => {
                    again = AGAIN;
                    Duration::ZERO
                }
                Ok(false) => {
                    again = AGAIN;
                    IDLE
                }
                Err(trouble) => {
                    self.fail(&trouble);
                    let pause = again;
                    again = (again * 2).min(AGAIN_MAX);
                    pause
                }
            };
            self.show();
            self.sleep(pause).await;
        }
        self.end();
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    async fn sleep(&self, pause: Duration) {
        let mut left = pause;
        while !left.is_zero() && !self.stopped() {
            let part = left.min(LOOK);
            tokio::time::sleep(part).await;
            left -= part;
        }
    }

    /// What failed is said; a topic that took something no more is opened again.
    fn fail(&mut self, trouble: &Trouble) {
        let Trouble(reason) = trouble;
        tracing::warn!(reason, topic = self.feed.name(), "carrying is tried again");
        if let Some(outlet) = self.outlet.take_if(|outlet| outlet.check().is_err()) {
            for (id, reading) in &mut self.reading {
                (reading.epoch, reading.next) = (0, outlet.carried(*id, reading.next));
            }
        }
    }

    /// One partition does not get on; the others do, unless the topic takes nothing any more.
    fn hold(&mut self, id: PartitionId, trouble: Trouble) -> Result<(), Trouble> {
        if self.outlet.as_ref().is_none_or(|outlet| outlet.check().is_err()) {
            return Err(trouble);
        }
        let (reason, topic) = (trouble.0, self.feed.name());
        tracing::warn!(partition = %id, reason, topic, "carrying is tried again");
        let pause = self.held.get(&id).map_or(AGAIN, |held| (held.pause * 2).min(AGAIN_MAX));
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let until_ms = self.handle.now().tick.0.saturating_add(pause_ms);
        self.held.insert(id, Held { until_ms, pause });
        Ok(())
    }

    fn is_held(&self, id: PartitionId) -> bool {
        let now = self.handle.now().tick.0;
        self.held.get(&id).is_some_and(|held| now < held.until_ms)
    }

    /// A slice of each partition; false = that was all for now.
    async fn round(&mut self) -> Result<bool, Trouble> {
        let outlet = match self.outlet.take() {
            Some(outlet) => outlet,
            None => (self.open)()?.ok_or_else(|| Trouble("the topic is missing".to_owned()))?,
        };
        let outlet = self.outlet.insert(outlet);
        outlet.serve(Duration::ZERO);
        outlet.check()?;
        let Ok(log) = self.handle.engine.log() else { return Ok(false) };
        self.follow_owners(&log)?;
        let mut more = false;
        for id in self.reading.keys().copied().collect::<Vec<_>>() {
            if self.stopped() || self.is_held(id) {
                continue;
            }
            match self.carry(&log, id).await {
                Ok(left) => {
                    more |= left;
                    self.held.remove(&id);
                }
                Err(trouble) => self.hold(id, trouble)?,
            }
        }
        self.mark();
        Ok(more)
    }

    /// Begins to carry partitions that are served under a new epoch, ends for others.
    fn follow_owners(&mut self, log: &Arc<dyn EventLog>) -> Result<(), Trouble> {
        let serving = self.handle.engine.serving();
        self.reading.retain(|id, _| serving.contains_key(id));
        self.held.retain(|id, _| serving.contains_key(id));
        for (id, epoch) in serving {
            let same = self.reading.get(&id).is_some_and(|reading| reading.epoch == epoch);
            let Some(outlet) = self.outlet.as_ref().filter(|_| !same) else { continue };
            if self.stopped() || self.is_held(id) {
                continue;
            }
            let last = outlet.last(id).map_err(Trouble::from);
            let last = match last.and_then(within(log.end(id))) {
                Ok(last) => last,
                Err(trouble) => {
                    self.hold(id, trouble)?;
                    continue;
                }
            };
            if last == Last::Ahead {
                let (topic, what) = (self.feed.name(), "it begins as a topic that is new");
                tracing::error!(partition = %id, topic, what, "it is ahead of the changelog");
            }
            let now = self.handle.now().wall;
            let (next, since) = begin(self.feed, last, Position(epoch), now);
            tracing::info!(partition = %id, topic = self.feed.name(), ?last, "carrying");
            outlet.begin(id, next);
            self.texts.forget(id);
            self.reading.insert(id, Reading { epoch, next, since, marked: None });
        }
        Ok(())
    }

    /// Is the partition still served under the epoch it is carried under?
    fn owns(&self, id: PartitionId) -> bool {
        let epoch = self.reading.get(&id).map(|reading| reading.epoch);
        self.handle.engine.slot(id).is_some_and(|slot| {
            slot.state() == SlotState::Ready && Some(slot.epoch.load(Ordering::Acquire)) == epoch
        })
    }

    /// Carries a slice of a partition; false = it was the last one for now.
    async fn carry(&mut self, log: &Arc<dyn EventLog>, id: PartitionId) -> Result<bool, Trouble> {
        let Some(reading) = self.reading.get(&id) else { return Ok(false) };
        let (from, since) = (reading.next, reading.since);
        if from.record >= log.end(id) {
            return Ok(false);
        }
        // What the tracker has folded it can be asked for.
        let tracker = self.handle.engine.tracker.clone();
        let folded = tracker.at_once(move |state, _| state.cursor(id)).await?;
        let until = log.end(id).min(folded);
        if from.record >= until {
            return Ok(false);
        }
        let mut slice = gather(&**log, (self.feed, since), id, from, until)?;
        if let Some((job, cancel)) = slice.cancel.take() {
            slice = self.sweep(slice.next, (&job, cancel)).await?;
        }
        let Slice { found, next, .. } = slice;
        let rows = letters::rows(&self.handle, self.feed, id, &found).await?;
        for (found, row) in found.into_iter().zip(rows) {
            let at = found.at;
            let letter = match self.feed {
                Feed::Dead => self.dead(&**log, id, found).await?,
                Feed::Status => letters::status(&mut self.texts, &**log, id, found, row)?,
            };
            if !self.send(id, at, letter)? {
                return Ok(false);
            }
        }
        self.reached(id, next);
        Ok(next.record < until)
    }

    /// Tasks that the cancel of a job ended, from a place in its record on.
    async fn sweep(
        &self,
        at: EndPlace,
        (job, cancel): (&Name, CancelRecord),
    ) -> Result<Slice, Trouble> {
        let (job, most) = (job.clone(), (gather::FOUND, ROWS));
        let tracker = &self.handle.engine.tracker;
        let asked = tracker
            .at_once(move |state, _| state.tracker.cancelled_by(cancel, &job, at.read, most));
        let ended = asked.await?.map_err(Error::Failed)?;
        Ok(swept(at, cancel.at, ended))
    }

    async fn dead(
        &mut self,
        log: &dyn EventLog,
        id: PartitionId,
        found: Found,
    ) -> Result<Option<Letter>, Trouble> {
        let seq = found.change.seq;
        let tracker = &self.handle.engine.tracker;
        let known = tracker.at_once(move |state, _| {
            let row = state.tracker.task(id, seq)?;
            Some((row, state.tracker.attempts(id, seq)))
        });
        let known = known.await?;
        Ok(letters::dead(&mut self.texts, log, id, found, known)?)
    }

    /// Puts a letter on its way as soon as there is room; false = it is not ours any more.
    fn send(
        &mut self,
        id: PartitionId,
        at: EndPlace,
        letter: Option<Letter>,
    ) -> Result<bool, Error> {
        if let (Some(letter), Some(outlet)) = (letter, &self.outlet) {
            while !outlet.send(id, at, (&letter.key, &letter.value))? {
                if self.stopped() || !self.owns(id) {
                    return Ok(false);
                }
                outlet.serve(ROOM);
            }
        }
        self.reached(id, EndPlace { read: at.read + 1, ..at });
        Ok(true)
    }

    fn reached(&mut self, id: PartitionId, next: EndPlace) {
        if let Some(reading) = self.reading.get_mut(&id) {
            reading.next = next;
        }
    }

    /// Notes on Kafka how far partitions were carried.
    fn mark(&mut self) {
        let Some(outlet) = &self.outlet else { return };
        let now = self.handle.now().tick.0;
        let mut places = Vec::new();
        for (id, reading) in &mut self.reading {
            let carried = outlet.carried(*id, reading.next);
            let due = reading.marked.is_none_or(|(place, at)| {
                let every = if place == carried { MARK_AGAIN_MS } else { MARK_MS };
                now >= at + every
            });
            if due {
                reading.marked = Some((carried, now));
                places.push((*id, carried));
            }
        }
        outlet.mark(&places);
    }

    /// Shows how far it is behind.
    fn show(&mut self) {
        let now = self.handle.now().tick.0;
        if now < self.shown_ms + SHOW_MS {
            return;
        }
        self.shown_ms = now;
        // What could not be begun yet is behind by all there is.
        let behind = self.handle.engine.serving().into_keys().map(|id| {
            let next = self.reading.get(&id).map(|reading| reading.next).unwrap_or_default();
            let outlet = self.outlet.as_ref();
            let carried = outlet.map_or(next, |outlet| outlet.carried(id, next));
            let slot = self.handle.engine.slot(id);
            let last = slot.map_or(0, |slot| slot.position.load(Ordering::Acquire));
            records_between(carried.record, Position(last))
        });
        self.handle.engine.metrics.set_feed_lag(self.feed, behind.sum());
    }

    /// Waits for what is on its way, and marks it.
    fn end(mut self) {
        let Some(outlet) = &self.outlet else { return };
        for _ in 0..FAREWELL_LOOKS {
            if !outlet.flying() || outlet.check().is_err() {
                break;
            }
            outlet.serve(LOOK);
        }
        self.reading.values_mut().for_each(|reading| reading.marked = None);
        self.mark();
        if let Some(outlet) = &self.outlet {
            outlet.serve(LOOK);
        }
    }
}

/// Whoever carried further than the log goes here has owned the partition after this instance,
/// which learns of it in a moment.
fn within(end: Position) -> impl Fn(Last) -> Result<Last, Trouble> {
    move |last| match last {
        Last::Behind(place) if place.record > end => {
            Err(Trouble(format!("another instance has come to {}, the log to {end}", place.record)))
        }
        Last::Behind(_) | Last::Ahead | Last::Expired | Last::Never => Ok(last),
    }
}

/// Where a partition begins whose topic has come so far, and from which stamp on something is told.
/// `owner`: its record under which the partition is served.
fn begin(feed: Feed, last: Last, owner: Position, now: WallMs) -> (EndPlace, WallMs) {
    match (last, feed) {
        (Last::Behind(place), Feed::Dead | Feed::Status) => (place, WallMs(0)),
        (Last::Expired, Feed::Dead | Feed::Status) => {
            (EndPlace::default(), WallMs(now.0.saturating_sub(feed.retention_ms())))
        }
        (Last::Never | Last::Ahead, Feed::Dead) => (EndPlace::default(), WallMs(0)),
        (Last::Never | Last::Ahead, Feed::Status) => {
            (EndPlace { record: owner, read: 0 }, WallMs(0))
        }
    }
}

#[cfg(test)]
mod tests;
