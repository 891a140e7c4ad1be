//! From log to partitions: newest usable image, then the records after it, then an `Owner` record
//! of our own.

use crate::actor::tracker::TrackerState;
use crate::core::image::PartitionImage;
use crate::core::partition::Partition;
use crate::log::{Batch, Error, EventLog, LogRecord, Ticket};
use crate::model::event::{Event, Stamped};
use crate::model::id::{Epoch, Name, PartitionId, Position};
use crate::model::policy::Policy;
use crate::model::time::WallMs;
use std::sync::Arc;

/// Tag of a partition image, so that no other kind of image is taken for one.
pub(crate) const IMAGE_KIND: u32 = 0x6b77_7137;

/// What a partition needs to come up.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) policy: Policy,
    pub(crate) node: Name,
    pub(crate) addr: Name,
}

/// A partition with what the log holds for it, up to a place.
pub(crate) struct Replayed {
    pub(crate) partition: Partition,
    /// First position that is not folded in.
    pub(crate) next: Position,
}

impl Replayed {
    /// A state that was served, as its image has it.
    pub(crate) fn of_image(
        (id, policy): (PartitionId, Policy),
        image: PartitionImage,
        next: Position,
    ) -> Self {
        Self { partition: Partition::restore(id, policy, 0, image), next }
    }

    pub(crate) fn fold(&mut self, record: &LogRecord) {
        self.partition.replay(record.position, &record.stamped);
        self.next = Position(record.position.0 + 1);
    }
}

/// A partition that owns its log again.
pub(crate) struct Recovered {
    pub(crate) partition: Partition,
    pub(crate) durable: Position,
}

/// Rebuilds partitions (and the tracker, if given) in one pass over the log.
pub(crate) fn replay(
    log: &dyn EventLog,
    ids: &[PartitionId],
    policy: Policy,
    mut tracker: Option<&mut TrackerState>,
    progress: &dyn Fn(PartitionId, Position),
) -> Result<Vec<Replayed>, Error> {
    let mut partitions = Vec::with_capacity(ids.len());
    let mut from = Vec::with_capacity(ids.len());
    for id in ids {
        let (partition, next) = newest_image(log, *id, policy);
        partitions.push(Replayed { partition, next });
        from.push((*id, next));
    }
    let mut scan_from = from.clone();
    for (id, position) in &mut scan_from {
        if let Some(tracker) = &tracker {
            *position = (*position).min(tracker.cursor(*id));
        }
    }
    let mut seen = 0u64;
    log.scan(&scan_from, &mut |record: LogRecord| {
        let at = from.iter().position(|(id, _)| *id == record.partition);
        if let Some(at) = at
            && record.position >= from[at].1
        {
            partitions[at].fold(&record);
        }
        if let Some(tracker) = &mut tracker {
            tracker.fold_one(record.partition, record.position, &record.stamped);
        }
        seen += 1;
        if seen.is_multiple_of(4_096) {
            progress(record.partition, record.position);
        }
        true
    })?;
    Ok(partitions)
}

/// Rebuilds partitions without a tracker; `from_zero` leaves images out.
pub(crate) fn rebuild(
    log: &dyn EventLog,
    ids: &[PartitionId],
    policy: Policy,
    from_zero: bool,
) -> Result<Vec<Partition>, Error> {
    if !from_zero {
        let replayed = replay(log, ids, policy, None, &|_, _| ())?;
        return Ok(replayed.into_iter().map(|replayed| replayed.partition).collect());
    }
    let mut partitions: Vec<Partition> =
        ids.iter().map(|id| Partition::new(*id, policy, 0)).collect();
    let from: Vec<_> = ids.iter().map(|id| (*id, Position(0))).collect();
    log.scan(&from, &mut |record: LogRecord| {
        if let Some(at) = ids.iter().position(|id| *id == record.partition) {
            partitions[at].replay(record.position, &record.stamped);
        }
        true
    })?;
    Ok(partitions)
}

fn newest_image(log: &dyn EventLog, id: PartitionId, policy: Policy) -> (Partition, Position) {
    for position in log.committed_marks(id) {
        if position > log.end(id) {
            continue;
        }
        let image = log.read_mark(id, position).map_err(|e| e.to_string()).and_then(|b| decode(&b));
        match image {
            Ok(image) => {
                let partition = Partition::restore(id, policy, 0, image);
                if of_this_log(&partition, log) {
                    return (partition, position);
                }
                tracing::warn!(partition = %id, %position, "image of another log passed over");
            }
            Err(reason) => {
                tracing::warn!(partition = %id, %position, %reason, "image passed over");
            }
        }
    }
    (Partition::new(id, policy, 0), Position(0))
}

/// An epoch is the position of its `Owner` record, whose key nobody can guess: an image that knows
/// it was folded from this log.
fn of_this_log(partition: &Partition, log: &dyn EventLog) -> bool {
    let Some((epoch, secret)) = partition.latest_key() else { return false };
    let owner = log.read_event(partition.id(), Position(epoch.0)).map(|record| record.event);
    matches!(owner, Ok(Event::Owner { token_key, .. }) if token_key == secret)
}

/// Who owned a partition when it was folded: node, address, position of its `Owner` record.
pub(crate) fn owner(
    log: &dyn EventLog,
    id: PartitionId,
    state: &Replayed,
) -> Option<(Name, Name, Position)> {
    let (epoch, _) = state.partition.latest_key()?;
    let at = Position(epoch.0);
    let Event::Owner { node, addr, .. } = log.read_event(id, at).ok()?.event else { return None };
    Some((node, addr, at))
}

/// Image → bytes.
pub(crate) fn encode(image: &PartitionImage) -> Result<Vec<u8>, String> {
    crate::codec::image::encode(IMAGE_KIND, image).map_err(|e| e.to_string())
}

fn decode(bytes: &[u8]) -> Result<PartitionImage, String> {
    crate::codec::image::decode(IMAGE_KIND, bytes).map_err(|e| e.to_string())
}

/// An `Owner` record on its way.
pub(crate) struct Claim {
    replayed: Replayed,
    owner: Stamped,
    ticket: Ticket,
}

/// Begins to take ownership: appends an `Owner` record.
pub(crate) fn claim(
    log: &dyn EventLog,
    replayed: Replayed,
    recipe: &Recipe,
    key: [u64; 2],
    at: WallMs,
) -> Result<Claim, Error> {
    let (node, addr) = (recipe.node.clone(), recipe.addr.clone());
    // Stamps never fall: a clock that is behind the former owner's repeats its last one.
    let at = at.max(replayed.partition.wall());
    let owner = Stamped { at, event: Event::Owner { node, addr, token_key: key } };
    let events: Arc<[Stamped]> = Arc::from(vec![owner.clone()]);
    let ticket = log.append(replayed.partition.id(), Batch { epoch: Epoch(0), events })?;
    Ok(Claim { replayed, owner, ticket })
}

/// Waits until the `Owner` record is durable; its position is the epoch. What others have appended
/// before it is folded in.
pub(crate) fn own(
    log: &dyn EventLog,
    claim: Claim,
    tracker: Option<&mut TrackerState>,
) -> Result<Recovered, Error> {
    let Claim { mut replayed, owner, ticket } = claim;
    let (id, appended) = (replayed.partition.id(), ticket.wait()?);
    let position = appended.positions.first().copied().ok_or_else(|| {
        Error::Failed("the log acknowledged an Owner record without a position".to_owned())
    })?;
    let mut seen = Vec::new();
    if log.others_append() {
        log.scan(&[(id, replayed.next)], &mut |record| {
            let before = record.position < position;
            if before {
                replayed.fold(&record);
                seen.push((record.position, record.stamped));
            }
            before
        })?;
    }
    replayed.partition.replay(position, &owner);
    seen.push((position, owner));
    if let Some(tracker) = tracker {
        seen.iter().for_each(|(position, stamped)| tracker.fold_one(id, *position, stamped));
    }
    Ok(Recovered { partition: replayed.partition, durable: position })
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
