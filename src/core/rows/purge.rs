//! Purging rows: a purged task has no answer any more. A chunk of which nothing is left gives its
//! memory back; the 8 B of its place stay, so that a sequence number finds its chunk without
//! searching.

use super::{CHUNK, Chunk, Rows, Stretch, needs_text, split};
use crate::core::intern::ClassKey;
use crate::model::id::TaskSeq;
use crate::model::state::TaskState;

/// The byte of a purged task; no [`TaskState`] has it.
pub(super) const PURGED: u8 = 9;
const _: () = assert!(PURGED as usize == TaskState::COUNT);

impl Rows {
    /// Purges one task; the state it was stored in, `None` when it is gone already.
    pub fn purge(&mut self, seq: TaskSeq) -> Option<TaskState> {
        let state = self.state(seq)?;
        let (number, offset) = split(seq);
        // An untouched element must get a chunk of its own first.
        self.set_state(seq, state);
        let chunk = self.chunks[number].as_deref_mut().expect("it has just been written to");
        chunk.purge(offset);
        self.give_back(number);
        Some(state)
    }

    /// Purges every task between two numbers (the last one excluded) whose class is `ours`, and
    /// their arrays. Tells what goes, consecutive tasks of one stored state at a time, and answers
    /// the first elements of the arrays. The cost follows the chunks between the two numbers.
    pub fn purge_class(
        &mut self,
        (first, end): (TaskSeq, TaskSeq),
        ours: &dyn Fn(ClassKey) -> bool,
        gone: &mut dyn FnMut(Stretch),
    ) -> Vec<TaskSeq> {
        let last = end.0.div_ceil(CHUNK);
        for number in (first.0 / CHUNK..last).filter_map(|n| usize::try_from(n).ok()) {
            let start = number as u64 * CHUNK;
            match self.chunks.get_mut(number) {
                None => break,
                Some(Some(chunk)) => chunk.purge_class(start, ours, gone),
                Some(None) => {
                    let array = self.array_of(TaskSeq(start)).filter(|a| ours(a.class));
                    if let Some(array) = array {
                        gone(Stretch { first: TaskSeq(start), count: CHUNK, state: array.state });
                    }
                }
            }
        }
        let of_job = self.arrays.iter().filter(|array| ours(array.class));
        let arrays: Vec<TaskSeq> = of_job.map(|array| array.first).collect();
        self.arrays.retain(|array| !ours(array.class));
        for number in (first.0 / CHUNK..last).filter_map(|n| usize::try_from(n).ok()) {
            self.give_back(number);
        }
        arrays
    }

    /// Chunks that cost more than their place.
    #[cfg(test)]
    pub fn held_chunks(&self) -> usize {
        self.chunks.iter().flatten().count()
    }

    /// Frees a chunk that nothing is left of.
    fn give_back(&mut self, number: usize) {
        let Some(Some(chunk)) = self.chunks.get_mut(number) else { return };
        if chunk.states.len() as u64 == CHUNK && chunk.states.iter().all(|s| *s == PURGED) {
            **chunk = Chunk::default();
        }
        // Inside a living array an empty place would mean "untouched".
        let empty = chunk.states.is_empty();
        let start = TaskSeq(number as u64 * CHUNK);
        if empty && self.array_of(start).is_none() {
            self.chunks[number] = None;
        }
    }
}

impl Chunk {
    fn purge(&mut self, offset: u16) {
        let byte = &mut self.states[usize::from(offset)];
        if let Some(state) = TaskState::from_index(usize::from(*byte)) {
            *byte = PURGED;
            self.needed -= u16::from(needs_text(state));
        }
        self.slim();
    }

    fn purge_class(
        &mut self,
        start: u64,
        ours: &dyn Fn(ClassKey) -> bool,
        gone: &mut dyn FnMut(Stretch),
    ) {
        let tasks = self.states.len();
        let mut open: Option<Stretch> = None;
        for (at, (from, class)) in self.classes.iter().enumerate() {
            if !ours(*class) {
                continue;
            }
            let to = self.classes.get(at + 1).map_or(tasks, |(next, _)| usize::from(*next));
            for offset in usize::from(*from)..to.min(tasks) {
                let byte = &mut self.states[offset];
                let Some(state) = TaskState::from_index(usize::from(*byte)) else { continue };
                *byte = PURGED;
                self.needed -= u16::from(needs_text(state));
                let seq = start + offset as u64;
                match &mut open {
                    Some(run) if run.state == state && run.first.0 + run.count == seq => {
                        run.count += 1;
                    }
                    other => {
                        let next = Stretch { first: TaskSeq(seq), count: 1, state };
                        if let Some(run) = other.replace(next) {
                            gone(run);
                        }
                    }
                }
            }
        }
        if let Some(run) = open {
            gone(run);
        }
        self.slim();
    }
}
