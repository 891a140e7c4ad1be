//! The tracker with what its shell needs to read what was left out, and to begin anew.

use super::STRETCH;
use super::door::{Behind, Handed, TrackerDoor, size_of};
use crate::log::{Error, EventLog, Resume};
use crate::model::event::Stamped;
use crate::model::id::{PartitionId, Position};
use crate::model::time::WallMs;
use crate::store::Tracker;

/// Shortest time between two folds from the beginning; the disk may be bad for good.
const HEAL_EVERY_MS: u64 = 60_000;

/// The tracker with what its shell needs to read what was left out.
pub(crate) struct TrackerState {
    pub(crate) tracker: Tracker,
    /// Something was left out: everything is read from the log until its end is reached.
    pub(super) gap: bool,
    /// Folded again from the beginning. Until that is over every question is refused, so nothing
    /// wrong is ever shown.
    pub(super) healing: bool,
    /// Where the last stretch ended.
    resume: Resume,
    /// Not folded from the beginning again before.
    heal_after: WallMs,
}

impl TrackerState {
    pub(crate) fn new(tracker: Tracker) -> Self {
        let (resume, heal_after) = (Resume::default(), WallMs(0));
        Self { tracker, gap: false, healing: false, resume, heal_after }
    }

    /// Empties the store when it was folded from another log: one cut since then, an older copy,
    /// or another directory's. The log is the truth; the tracker follows it from 0 again.
    pub(crate) fn prove(&mut self, log: &dyn EventLog) -> Result<(), Error> {
        let foreign = |(id, witness): (u16, Option<(Position, WallMs)>)| {
            let (id, (position, at)) = (PartitionId(id), witness?);
            let known = log.read_event(id, position).is_ok_and(|record| record.at == at);
            (position >= log.end(id) || !known).then_some(position)
        };
        let Some(position) = (0u16..).zip(self.tracker.witnesses()).find_map(foreign) else {
            return Ok(());
        };
        tracing::warn!(%position, "the tracker was folded from another log and is folded again");
        self.tracker.reset().map_err(|e| Error::Failed(format!("the tracker's store: {e}")))
    }

    /// First position not folded yet.
    pub(crate) fn cursor(&self, id: PartitionId) -> Position {
        self.tracker.cursor(id)
    }

    pub(crate) fn fold_one(&mut self, id: PartitionId, position: Position, stamped: &Stamped) {
        self.tracker.fold_one(id, position, stamped, &[]);
    }

    /// Folds a batch of the channel. One before it may have been left out: then this one is read
    /// from the log as well.
    pub(super) fn take(&mut self, batch: &Handed, door: &TrackerDoor) {
        self.gap |= self.cursor(batch.id) < batch.after;
        if self.gap {
            return;
        }
        for (position, stamped) in batch.positions.iter().zip(&*batch.events) {
            self.fold_one(batch.id, *position, stamped);
        }
        door.folded(batch.id, batch.changes);
    }

    /// Reads a stretch of what was left out.
    pub(super) fn catch_up(&mut self, log: &dyn EventLog, door: &TrackerDoor) -> Result<(), Error> {
        let visited = self.resume.visited();
        let begin = |(id, cursor): (u16, Position)| (PartitionId(id), cursor.max(visited));
        let from: Vec<_> = (0u16..).zip(self.tracker.cursors()).map(begin).collect();
        let (tracker, mut room) = (&mut self.tracker, STRETCH);
        log.skim_on(&from, &mut self.resume, &mut |skimmed| {
            let (record, sizes) = (&skimmed.record, &skimmed.blob_bytes);
            let (changes, _) = size_of(&record.stamped.event);
            tracker.fold_one(record.partition, record.position, &record.stamped, sizes);
            door.read(record.partition, changes);
            room = room.saturating_sub(changes);
            room > 0
        })?;
        if room > 0 {
            // The present end. What was appended since then is in the channel, or noticed as a gap.
            (self.gap, self.healing) = (false, false);
        }
        Ok(())
    }

    /// After damage: empties the store; the whole log is read again.
    pub(super) fn heal(&mut self, now: WallMs) {
        let Some(damage) = self.tracker.damage().filter(|_| now >= self.heal_after) else { return };
        self.heal_after = now.plus(HEAL_EVERY_MS);
        tracing::error!(%damage, "the tracker is folded again from the beginning");
        match self.tracker.reset() {
            Ok(()) => {
                (self.gap, self.healing) = (true, true);
                self.resume = Resume::default();
            }
            Err(error) => tracing::error!(%error, "the tracker's store cannot be emptied"),
        }
    }

    /// As [`Self::heal`], to its end.
    pub(crate) fn heal_whole(
        &mut self,
        log: &dyn EventLog,
        door: &TrackerDoor,
        now: WallMs,
    ) -> Result<(), Error> {
        self.heal(now);
        while self.gap {
            self.catch_up(log, door)?;
        }
        Ok(())
    }

    /// How far the fold has come, and how old that is.
    pub(super) fn behind(&self, now: WallMs) -> Behind {
        let last = self.tracker.witnesses().into_iter().flatten().map(|(_, at)| at).min();
        let lag_ms = last.map_or(0, |at| now.since(at)).max(1);
        Behind { lag_ms, cursors: self.tracker.cursors() }
    }
}
