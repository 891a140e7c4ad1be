//! The reference back end: everything in memory, durable as long as the process lives. Tickets
//! resolve at once.
//!
//! Positions count up from 1, one an event. Must not: be faster than it is plain; the other back
//! ends are measured by it.

use crate::log::{Appended, Batch, Error, EventLog, LogRecord, Room, StoredTask, Ticket};
use crate::model::event::{Event, Stamped};
use crate::model::id::{Epoch, PartitionId, Position};
use crate::model::task::Blob;
use crate::model::view::{ResultAt, TextAt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A log in memory.
#[derive(Debug, Default)]
pub struct MemoryLog {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    records: Vec<Entry>,
    owners: BTreeMap<PartitionId, Position>,
    images: BTreeMap<(PartitionId, Position), Vec<u8>>,
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    partition: PartitionId,
    epoch: Epoch,
    /// Of an older epoch than the partition's owner at that place (rule 5).
    void: bool,
    events: Arc<[Stamped]>,
    index: usize,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change below is one insertion; a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_event<T>(
        &self,
        partition: PartitionId,
        position: Position,
        read: impl Fn(&Stamped) -> Option<T>,
    ) -> Result<T, Error> {
        let state = self.lock();
        let entry = position.0.checked_sub(1).and_then(|i| state.records.get(index(i)));
        let entry = entry.filter(|entry| entry.partition == partition);
        let event = entry.and_then(|e| e.events.get(e.index));
        event.and_then(read).ok_or(Error::NoRecord(position))
    }
}

fn index(place: u64) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

impl State {
    fn end(&self) -> Position {
        Position(u64::try_from(self.records.len()).unwrap_or(u64::MAX).saturating_add(1))
    }
}

impl EventLog for MemoryLog {
    fn append(&self, partition: PartitionId, batch: Batch) -> Result<Ticket, Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Failed("the log is closed".to_owned()));
        }
        let mut epoch = batch.epoch;
        let mut positions = Vec::with_capacity(batch.events.len());
        for (index, stamped) in batch.events.iter().enumerate() {
            let position = state.end();
            if matches!(stamped.event, Event::Owner { .. }) {
                epoch = Epoch(position.0);
                state.owners.insert(partition, position);
            }
            let void = state.owners.get(&partition).is_none_or(|owner| owner.0 != epoch.0);
            let events = Arc::clone(&batch.events);
            state.records.push(Entry { partition, epoch, void, events, index });
            positions.push(position);
        }
        drop(state);
        let (ticket, resolver) = Ticket::pair();
        resolver.resolve(Ok(Appended { positions }));
        Ok(ticket)
    }

    fn scan(
        &self,
        from: &[(PartitionId, Position)],
        visit: &mut dyn FnMut(LogRecord) -> bool,
    ) -> Result<(), Error> {
        let from: BTreeMap<_, _> = from.iter().copied().collect();
        let Some(first) = from.values().min() else { return Ok(()) };
        let end = self.lock().end();
        for place in first.0.max(1)..end.0 {
            let position = Position(place);
            // The lock is not held while the visitor works: it may append.
            let record = self.lock().records.get(index(place - 1)).and_then(|entry| {
                let wanted = from.get(&entry.partition).is_some_and(|from| *from <= position);
                (wanted && !entry.void).then(|| LogRecord {
                    position,
                    partition: entry.partition,
                    epoch: entry.epoch,
                    stamped: entry.events[entry.index].clone(),
                })
            });
            if let Some(record) = record
                && !visit(record)
            {
                break;
            }
        }
        Ok(())
    }

    fn read_tasks(&self, wanted: &[TextAt]) -> Result<Vec<StoredTask>, Error> {
        let read = |at: &TextAt| {
            self.with_event(at.partition, at.record, |stamped| {
                let entry = u64::from(at.entry);
                let spec = if let Event::SubmittedArray { first, array } = &stamped.event {
                    (entry < array.span.count).then(|| array.element(*first, entry))?
                } else {
                    let Event::Submitted { tasks, .. } = &stamped.event else { return None };
                    tasks.get(index(entry))?.clone()
                };
                Some(StoredTask { submitted: stamped.at, spec })
            })
        };
        wanted.iter().map(read).collect()
    }

    fn read_event(&self, partition: PartitionId, at: Position) -> Result<Stamped, Error> {
        self.with_event(partition, at, |stamped| Some(stamped.clone()))
    }

    fn read_result(&self, partition: PartitionId, at: ResultAt) -> Result<Blob, Error> {
        self.with_event(partition, at.record, |stamped| {
            let Event::Completed(tasks) = &stamped.event else { return None };
            tasks.get(index(u64::from(at.index)))?.result.clone()
        })
    }

    fn end(&self, _: PartitionId) -> Position {
        self.lock().end()
    }

    fn room(&self) -> Room {
        Room::Plenty
    }

    fn commit_mark(
        &self,
        partition: PartitionId,
        position: Position,
        image: &[u8],
    ) -> Result<(), Error> {
        let mut state = self.lock();
        state.images.insert((partition, position), image.to_vec());
        let marks: Vec<_> = of_partition(&state, partition).collect();
        for old in marks.into_iter().skip(2) {
            state.images.remove(&(partition, old));
        }
        Ok(())
    }

    fn committed_marks(&self, partition: PartitionId) -> Vec<Position> {
        of_partition(&self.lock(), partition).collect()
    }

    fn read_mark(&self, partition: PartitionId, position: Position) -> Result<Vec<u8>, Error> {
        let state = self.lock();
        state.images.get(&(partition, position)).cloned().ok_or(Error::NoRecord(position))
    }

    fn close(&self) {
        self.lock().closed = true;
    }
}

/// Positions of a partition's images, the newest first.
fn of_partition(state: &State, partition: PartitionId) -> impl Iterator<Item = Position> {
    let all = (partition, Position(0))..=(partition, Position(u64::MAX));
    state.images.range(all).rev().map(|((_, position), _)| *position)
}
