//! Hot columns per task, in chunks of 1,024 sequence numbers.
//!
//! A pending task costs 1 B of state, its share of the class and payload-size runs (8 B where it
//! changes) and of the record runs (16 B a *record*, so 0.16 B a task when tasks come in batches of
//! 100). A chunk whose tasks have all ended well keeps states and classes only. A chunk of which
//! all tasks are elements of one array that nobody has touched is not there: its answers come from
//! the array, and it costs 8 B.

mod purge;

use crate::core::bitmap::SeqSet;
use crate::core::intern::ClassKey;
use crate::core::rows::purge::PURGED;
use crate::model::array::{ArraySpec, Span, digits, places};
use crate::model::id::{Position, TaskSeq};
use crate::model::state::TaskState;
use crate::model::time::WallMs;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

const CHUNK: u64 = 1_024;

/// Columns of all tasks of a partition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// `None` = untouched elements of one array, or, where there is no array, purged tasks.
    chunks: VecDeque<Option<Box<Chunk>>>,
    /// In the order of their elements.
    arrays: Vec<ArrayRow>,
    next: TaskSeq,
}

/// An array, and what its untouched elements have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArrayRow {
    /// Its first element.
    pub first: TaskSeq,
    /// Its values.
    pub span: Span,
    /// Class of its elements.
    pub class: ClassKey,
    /// Stored state of an element that nobody has touched.
    pub state: TaskState,
    /// Bytes of its largest payload, which is that of its last element.
    pub payload_bytes: u32,
    /// How often the value stands in it.
    pub places: u32,
    /// When it was admitted.
    pub at: WallMs,
    /// When its elements became PENDING, or will.
    pub available: WallMs,
    /// Position of the record; `u64::MAX` until it is durable.
    position: u64,
}

/// Where the answers for a task are.
enum Spot<'a> {
    Chunk(&'a Chunk, u16),
    Array(&'a ArrayRow),
}

/// Consecutive tasks that are read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// First of them.
    pub first: TaskSeq,
    /// How many; more than one only for untouched elements.
    pub count: u64,
    /// State of each, as stored.
    pub state: TaskState,
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
        for (entry, task) in (0u32..).zip(tasks) {
            self.push(at, entry, task);
        }
    }

    /// Adds the elements of an array; whole chunks of them cost nothing.
    ///
    /// # Panics
    /// With more than 2^32 elements in one partition.
    pub fn push_array(&mut self, mut array: ArrayRow) {
        array.first = self.next;
        array.position = UNPLACED;
        let (at, task) = (array.at, (array.class, array.state, array.payload_bytes));
        let mut entry = 0u64;
        while entry < array.span.count {
            if split(self.next).1 == 0 && array.span.count - entry >= CHUNK {
                self.chunks.push_back(None);
                self.next = self.next.plus(CHUNK);
                entry += CHUNK;
            } else {
                self.push(at, u32::try_from(entry).expect("an array has at most 2^32 - 1"), task);
                entry += 1;
            }
        }
        self.arrays.push(array);
    }

    fn push(&mut self, at: WallMs, entry: u32, task: (ClassKey, TaskState, u32)) {
        let (class, state, bytes) = task;
        let (number, offset) = split(self.next);
        if number == self.chunks.len() {
            let chunk = Chunk { head_entry: entry, base_at: at.0, ..Chunk::default() };
            self.chunks.push_back(Some(Box::new(chunk)));
        }
        let chunk = self.chunks[number].as_deref_mut().expect("an open chunk is there");
        if entry == 0 || offset == 0 {
            let at = after(chunk.base_at, at);
            chunk.records.push(RecordRun { position: UNPLACED, at, start: offset });
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

    /// Tells where a record that began with `first` and holds `count` tasks was written.
    pub fn place(&mut self, first: TaskSeq, count: u64, position: Position) {
        if let Ok(array) = self.arrays.binary_search_by_key(&first, |array| array.first) {
            self.arrays[array].position = position.0;
        }
        let mut at = first.0;
        while at < first.0 + count {
            let (number, offset) = split(TaskSeq(at));
            if let Some(chunk) = self.chunks[number].as_deref_mut()
                && let Ok(run) = chunk.records.binary_search_by_key(&offset, |r| r.start)
            {
                chunk.records[run].position = position.0;
            }
            at = (at / CHUNK + 1) * CHUNK;
        }
    }

    /// State as stored; `None` for a number never given.
    #[must_use]
    pub fn state(&self, seq: TaskSeq) -> Option<TaskState> {
        match self.spot(seq)? {
            Spot::Chunk(chunk, offset) => {
                TaskState::from_index(usize::from(chunk.states[usize::from(offset)]))
            }
            Spot::Array(array) => Some(array.state),
        }
    }

    /// Class; `None` for a number never given.
    #[must_use]
    pub fn class(&self, seq: TaskSeq) -> Option<ClassKey> {
        match self.spot(seq)? {
            Spot::Chunk(chunk, offset) => {
                let at = chunk.classes.partition_point(|(start, _)| *start <= offset);
                chunk.classes.get(at.checked_sub(1)?).map(|(_, class)| *class)
            }
            Spot::Array(array) => Some(array.class),
        }
    }

    /// Bytes of its payload; 0 when they are not needed any more.
    #[must_use]
    pub fn payload_bytes(&self, seq: TaskSeq) -> u32 {
        let stored = match self.spot(seq) {
            None => 0,
            Some(Spot::Chunk(chunk, offset)) => {
                let at = chunk.sizes.partition_point(|(start, _)| *start <= offset);
                at.checked_sub(1).and_then(|at| chunk.sizes.get(at)).map_or(0, |(_, bytes)| *bytes)
            }
            Some(Spot::Array(array)) => array.payload_bytes,
        };
        // What is stored of an element is the size of the largest one.
        stored.saturating_sub(self.array_of(seq).map_or(0, |array| array.shorter_by(seq)))
    }

    /// Where the text of a live or dead task lies; `None` while its record is not durable.
    #[must_use]
    pub fn placed(&self, seq: TaskSeq) -> Option<Placed> {
        let (position, entry) = match self.spot(seq)? {
            Spot::Chunk(chunk, offset) => {
                let run = chunk.run(offset)?;
                let head = if run.start == 0 { chunk.head_entry } else { 0 };
                (run.position, head + u32::from(offset - run.start))
            }
            Spot::Array(array) => (array.position, array.entry(seq)),
        };
        (position != UNPLACED).then_some(Placed { record: Position(position), entry })
    }

    /// When it was admitted.
    #[must_use]
    pub fn submitted(&self, seq: TaskSeq) -> WallMs {
        match self.spot(seq) {
            Some(Spot::Chunk(chunk, offset)) => {
                let run = chunk.run(offset);
                run.map_or(WallMs(0), |run| WallMs(chunk.base_at + u64::from(run.at)))
            }
            Some(Spot::Array(array)) => array.at,
            None => WallMs(0),
        }
    }

    /// All arrays, in the order of their elements.
    #[must_use]
    pub fn arrays(&self) -> &[ArrayRow] {
        &self.arrays
    }

    /// The array of an element; `None` for other tasks.
    #[must_use]
    pub fn array_of(&self, seq: TaskSeq) -> Option<&ArrayRow> {
        let at = self.arrays.partition_point(|array| array.first <= seq).checked_sub(1)?;
        self.arrays.get(at).filter(|array| seq < array.end())
    }

    /// The elements of an array stop being what they were, all that nobody has touched: those in
    /// `members` that are stored as the array was.
    pub fn turn_array(&mut self, first: TaskSeq, to: TaskState, members: &SeqSet) {
        let Ok(at) = self.arrays.binary_search_by_key(&first, |array| array.first) else { return };
        let (from, end) = (self.arrays[at].state, self.arrays[at].end());
        self.arrays[at].state = to;
        let chunks = first.0 / CHUNK..=(end.0 - 1) / CHUNK;
        for number in chunks {
            let there = usize::try_from(number).ok().and_then(|n| self.chunks.get(n));
            if there.is_none_or(Option::is_none) {
                continue;
            }
            let ours = (number * CHUNK).max(first.0)..((number + 1) * CHUNK).min(end.0);
            for seq in ours.map(TaskSeq).filter(|seq| members.contains(*seq)) {
                if self.state(seq) == Some(from) {
                    self.set_state(seq, to);
                }
            }
        }
    }

    /// Changes the state.
    ///
    /// # Panics
    /// For a number never given: events only name admitted tasks.
    pub fn set_state(&mut self, seq: TaskSeq, state: TaskState) {
        let (number, offset) = split(seq);
        if self.chunks[number].is_none() {
            let array = self.array_of(seq).expect("only elements are left out");
            let chunk = array.chunk(TaskSeq(seq.0 - u64::from(offset)));
            self.chunks[number] = Some(Box::new(chunk));
        }
        let chunk = self.chunks[number].as_deref_mut().expect("made just now");
        let byte = &mut chunk.states[usize::from(offset)];
        let old = TaskState::from_index(usize::from(*byte)).expect("only states are stored");
        *byte = state as u8;
        chunk.needed += u16::from(needs_text(state));
        chunk.needed -= u16::from(needs_text(old));
        chunk.slim();
    }

    /// All tasks with their stored states, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TaskSeq, TaskState)> + '_ {
        let stretches = self.stretches();
        stretches.flat_map(|s| (s.first.0..s.first.0 + s.count).map(move |n| (TaskSeq(n), s.state)))
    }

    /// All tasks in order; untouched elements a chunk at a time.
    pub fn stretches(&self) -> impl Iterator<Item = Stretch> + '_ {
        (0u64..).zip(&self.chunks).flat_map(|(number, chunk)| {
            let first = TaskSeq(number * CHUNK);
            let whole = match chunk {
                Some(_) => None,
                None => {
                    self.array_of(first).map(|a| Stretch { first, count: CHUNK, state: a.state })
                }
            };
            let states = chunk.iter().flat_map(|chunk| &chunk.states);
            let single = (first.0..).zip(states).filter_map(|(seq, byte)| {
                let state = TaskState::from_index(usize::from(*byte))?;
                Some(Stretch { first: TaskSeq(seq), count: 1, state })
            });
            whole.into_iter().chain(single)
        })
    }

    fn spot(&self, seq: TaskSeq) -> Option<Spot<'_>> {
        let (number, offset) = split(seq);
        match self.chunks.get(number)? {
            Some(chunk) => {
                let known = chunk.states.get(usize::from(offset)).is_some_and(|s| *s != PURGED);
                known.then_some(Spot::Chunk(chunk, offset))
            }
            None => self.array_of(seq).map(Spot::Array),
        }
    }
}

impl Chunk {
    fn run(&self, offset: u16) -> Option<RecordRun> {
        let at = self.records.partition_point(|r| r.start <= offset).checked_sub(1)?;
        self.records.get(at).copied()
    }

    /// Once nothing of it may still be read its texts are not looked for.
    fn slim(&mut self) {
        if self.needed == 0 && self.states.len() as u64 == CHUNK {
            self.records = Vec::new();
            self.sizes = Vec::new();
        }
    }
}

impl ArrayRow {
    /// An array that is about to be added.
    #[must_use]
    pub fn new(array: &ArraySpec, class: ClassKey, at: WallMs) -> Self {
        Self {
            first: TaskSeq(0),
            span: array.span,
            class,
            state: array.task.first_state(),
            payload_bytes: short(array.payload_bytes_max()),
            places: short(places(&array.task.payload.bytes)),
            at,
            available: array.task.not_before.max(at),
            position: UNPLACED,
        }
    }

    /// By how many bytes the payload of an element is smaller than that of the last one.
    fn shorter_by(&self, seq: TaskSeq) -> u32 {
        let last = self.span.value(self.span.count.saturating_sub(1));
        let value = self.span.value(seq.0 - self.first.0);
        self.places * (digits(last) - digits(value))
    }

    /// Behind its last element.
    #[must_use]
    pub fn end(&self) -> TaskSeq {
        self.first.plus(self.span.count)
    }

    fn entry(&self, seq: TaskSeq) -> u32 {
        u32::try_from(seq.0 - self.first.0).expect("an array has at most 2^32 - 1 elements")
    }

    /// The chunk that begins with this element, as long as nobody has touched it.
    fn chunk(&self, first: TaskSeq) -> Chunk {
        let count = usize::try_from(CHUNK).expect("1,024");
        let needed = if needs_text(self.state) { CHUNK } else { 0 };
        Chunk {
            states: vec![self.state as u8; count],
            classes: vec![(0, self.class)],
            sizes: vec![(0, self.payload_bytes)],
            records: vec![RecordRun { position: self.position, at: 0, start: 0 }],
            head_entry: self.entry(first),
            base_at: self.at.0,
            needed: u16::try_from(needed).expect("1,024"),
        }
    }
}

fn needs_text(state: TaskState) -> bool {
    state.live() || state == TaskState::Error
}

fn split(seq: TaskSeq) -> (usize, u16) {
    let number = usize::try_from(seq.0 / CHUNK).expect("64-bit address space");
    (number, u16::try_from(seq.0 % CHUNK).expect("below 1,024"))
}

fn short(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn after(base: u64, at: WallMs) -> u32 {
    u32::try_from(at.0.saturating_sub(base)).unwrap_or(u32::MAX)
}
