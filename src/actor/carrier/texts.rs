//! The text of a task by its number: where the tracker says, or where the log shows it. A task that
//! was purged has no row any more, but its record is there as long as the log is.

use crate::log::{Error, EventLog, StoredTask};
use crate::model::id::{PartitionId, Position, TaskSeq};
use crate::model::view::TextAt;
use std::collections::BTreeMap;

/// Records remembered of those that were searched for.
const KEPT: usize = 64;

/// Finds texts; remembers where it found the last ones.
#[derive(Default)]
pub(super) struct Texts {
    /// Number of the first task → number of tasks, record.
    found: BTreeMap<(PartitionId, TaskSeq), (u64, Position)>,
}

impl Texts {
    /// What was found in a partition does not count any more.
    pub(super) fn forget(&mut self, id: PartitionId) {
        self.found.retain(|(of, _), _| *of != id);
    }

    /// The text of a task, and where it lies; `row` is where the tracker has it. `None` = no record
    /// before `below` admits it.
    ///
    /// # Errors
    /// `Damaged`, `Io`.
    pub(super) fn read(
        &mut self,
        log: &dyn EventLog,
        (id, seq): (PartitionId, TaskSeq),
        row: Option<TextAt>,
        below: Position,
    ) -> Result<Option<(TextAt, StoredTask)>, Error> {
        let found = match row.or_else(|| self.remembered(id, seq)) {
            Some(at) => Some(at),
            None => self.search(log, id, seq, below)?,
        };
        let Some(at) = found else { return Ok(None) };
        // One at a time: payloads may be large.
        Ok(log.read_tasks(&[at])?.pop().map(|stored| (at, stored)))
    }

    fn remembered(&self, id: PartitionId, seq: TaskSeq) -> Option<TextAt> {
        let before = self.found.range(..=(id, seq)).next_back();
        let ((of, first), (count, record)) = before?;
        let inside = *of == id && seq.0 - first.0 < *count;
        inside.then(|| text(id, *record, *first, seq))
    }

    /// Numbers rise with the log, so halves of it can be ruled out.
    fn search(
        &mut self,
        log: &dyn EventLog,
        id: PartitionId,
        seq: TaskSeq,
        below: Position,
    ) -> Result<Option<TextAt>, Error> {
        let (mut low, mut high) = (0, below.0);
        while low < high {
            let middle = low + (high - low) / 2;
            match admission(log, id, Position(middle), Position(high))? {
                Some((record, first, count)) if first <= seq => {
                    if seq.0 - first.0 < count {
                        if self.found.len() >= KEPT {
                            self.found.pop_first();
                        }
                        self.found.insert((id, first), (count, record));
                        return Ok(Some(text(id, record, first, seq)));
                    }
                    low = record.0 + 1;
                }
                Some(_) | None => high = middle,
            }
        }
        Ok(None)
    }
}

fn text(partition: PartitionId, record: Position, first: TaskSeq, seq: TaskSeq) -> TextAt {
    let entry = u32::try_from(seq.0 - first.0).unwrap_or(u32::MAX);
    TextAt { partition, record, entry }
}

/// The first record from a position on, below another, that admits tasks: where, first, how many.
fn admission(
    log: &dyn EventLog,
    id: PartitionId,
    from: Position,
    below: Position,
) -> Result<Option<(Position, TaskSeq, u64)>, Error> {
    let mut found = None;
    log.skim(&[(id, from)], &mut |skimmed| {
        let record = skimmed.record;
        if record.position < below
            && let Some((first, count)) = record.stamped.event.admits()
        {
            found = Some((record.position, first, count));
        }
        found.is_none() && record.position < below
    })?;
    Ok(found)
}
