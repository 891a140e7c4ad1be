//! Hot columns per task, in chunks of 1,024 sequence numbers.
//!
//! A pending task costs 1 B of state, its share of the class and payload-size runs (8 B where it
//! changes) and of the record runs (16 B a *record*, so 0.16 B a task when tasks come in batches of
//! 100). A chunk whose tasks have all ended well keeps states and classes only.

use crate::core::intern::ClassKey;
use crate::model::id::{Position, TaskSeq};
use crate::model::state::TaskState;
use crate::model::time::WallMs;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

const CHUNK: u64 = 1_024;

/// Columns of all tasks of a partition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    chunks: VecDeque<Chunk>,
    next: TaskSeq,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Chunk {
    /// One per task, `TaskState` as a byte.
    states: Vec<u8>,
    /// Where the class changes, ascending.
    classes: Vec<(u16, ClassKey)>,
    /// Where the size of the payload changes, ascending.
    sizes: Vec<(u16, u32)>,
    /// Where the record changes, ascending.
    records: Vec<RecordRun>,
    /// Entry of this chunk's first task in the first record run.
    head_entry: u32,
    /// Stamp of the first record, ms.
    base_at: u64,
    /// Tasks that may still need their record: live ones and dead letters.
    needed: u16,
}

/// Consecutive tasks of one `Submitted` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RecordRun {
    /// Position of the record; `u64::MAX` until it is durable.
    position: u64,
    /// When it was admitted, ms after the chunk's `base_at`, saturating after 49 days.
    at: u32,
    /// First task of the run, relative to the chunk.
    start: u16,
}

const _: () = assert!(size_of::<RecordRun>() == 16);
const UNPLACED: u64 = u64::MAX;

/// Where a task's text lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// `Submitted` record.
    pub record: Position,
    /// Entry in it.
    pub entry: u32,
}

impl Rows {
    /// The sequence number the next task gets.
    #[must_use]
    pub fn next(&self) -> TaskSeq {
        self.next
    }

    /// Adds the tasks of one record, all in `state`'s answer.
    pub fn push_record(
        &mut self,
        at: WallMs,
        tasks: impl Iterator<Item = (ClassKey, TaskState, u32)>,
    ) {
        for (entry, (class, state, bytes)) in (0u32..).zip(tasks) {
            let (number, offset) = split(self.next);
            if number == self.chunks.len() {
                self.chunks.push_back(Chunk {
                    head_entry: entry,
                    base_at: at.0,
                    ..Chunk::default()
                });
            }
            let chunk = &mut self.chunks[number];
            if entry == 0 || offset == 0 {
                chunk.records.push(RecordRun {
                    position: UNPLACED,
                    at: after(chunk.base_at, at),
                    start: offset,
                });
            }
            if chunk.classes.last().is_none_or(|(_, last)| *last != class) {
                chunk.classes.push((offset, class));
            }
            if chunk.sizes.last().is_none_or(|(_, last)| *last != bytes) {
                chunk.sizes.push((offset, bytes));
            }
            chunk.states.push(state as u8);
            chunk.needed += u16::from(needs_text(state));
            self.next = self.next.plus(1);
        }
    }

    /// Tells where a record that began with `first` and holds `count` tasks was written.
    pub fn place(&mut self, first: TaskSeq, count: u64, position: Position) {
        let mut at = first.0;
        while at < first.0 + count {
            let (number, offset) = split(TaskSeq(at));
            let chunk = &mut self.chunks[number];
            if let Ok(run) = chunk.records.binary_search_by_key(&offset, |r| r.start) {
                chunk.records[run].position = position.0;
            }
            at = (at / CHUNK + 1) * CHUNK;
        }
    }

    /// State as stored; `None` for a number never given.
    #[must_use]
    pub fn state(&self, seq: TaskSeq) -> Option<TaskState> {
        let (number, offset) = split(seq);
        let byte = self.chunks.get(number)?.states.get(usize::from(offset))?;
        TaskState::from_index(usize::from(*byte))
    }

    /// Class; `None` for a number never given.
    #[must_use]
    pub fn class(&self, seq: TaskSeq) -> Option<ClassKey> {
        let (number, offset) = split(seq);
        let classes = &self.chunks.get(number)?.classes;
        let at = classes.partition_point(|(start, _)| *start <= offset);
        classes.get(at.checked_sub(1)?).map(|(_, class)| *class)
    }

    /// Bytes of its payload; 0 when they are not needed any more.
    #[must_use]
    pub fn payload_bytes(&self, seq: TaskSeq) -> u32 {
        let (number, offset) = split(seq);
        let Some(chunk) = self.chunks.get(number) else { return 0 };
        let at = chunk.sizes.partition_point(|(start, _)| *start <= offset);
        at.checked_sub(1).and_then(|at| chunk.sizes.get(at)).map_or(0, |(_, bytes)| *bytes)
    }

    /// Where the text of a live or dead task lies; `None` while its record is not durable.
    #[must_use]
    pub fn placed(&self, seq: TaskSeq) -> Option<Placed> {
        let (run, chunk, offset) = self.run(seq)?;
        if run.position == UNPLACED {
            return None;
        }
        let head = if run.start == 0 { chunk.head_entry } else { 0 };
        let entry = head + u32::from(offset - run.start);
        Some(Placed { record: Position(run.position), entry })
    }

    /// When it was admitted.
    #[must_use]
    pub fn submitted(&self, seq: TaskSeq) -> WallMs {
        self.run(seq).map_or(WallMs(0), |(run, chunk, _)| WallMs(chunk.base_at + u64::from(run.at)))
    }

    /// Changes the state.
    ///
    /// # Panics
    /// For a number never given: events only name admitted tasks.
    pub fn set_state(&mut self, seq: TaskSeq, state: TaskState) {
        let (number, offset) = split(seq);
        let chunk = &mut self.chunks[number];
        let byte = &mut chunk.states[usize::from(offset)];
        let old = TaskState::from_index(usize::from(*byte)).expect("only states are stored");
        *byte = state as u8;
        chunk.needed += u16::from(needs_text(state));
        chunk.needed -= u16::from(needs_text(old));
        if chunk.needed == 0 && chunk.states.len() as u64 == CHUNK {
            chunk.records = Vec::new();
            chunk.sizes = Vec::new();
        }
    }

    /// All tasks with their stored states, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TaskSeq, TaskState)> + '_ {
        let bytes = self.chunks.iter().flat_map(|c| c.states.iter());
        (0u64..).zip(bytes).filter_map(|(n, byte)| {
            TaskState::from_index(usize::from(*byte)).map(|state| (TaskSeq(n), state))
        })
    }

    fn run(&self, seq: TaskSeq) -> Option<(RecordRun, &Chunk, u16)> {
        let (number, offset) = split(seq);
        let chunk = self.chunks.get(number)?;
        let at = chunk.records.partition_point(|r| r.start <= offset).checked_sub(1)?;
        Some((chunk.records[at], chunk, offset))
    }
}

fn needs_text(state: TaskState) -> bool {
    state.live() || state == TaskState::Error
}

fn split(seq: TaskSeq) -> (usize, u16) {
    let number = usize::try_from(seq.0 / CHUNK).expect("64-bit address space");
    (number, u16::try_from(seq.0 % CHUNK).expect("below 1,024"))
}

fn after(base: u64, at: WallMs) -> u32 {
    u32::try_from(at.0.saturating_sub(base)).unwrap_or(u32::MAX)
}
