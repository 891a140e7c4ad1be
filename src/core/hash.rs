//! `state_hash`: equal live, after restart, from image + tail and from zero.
//!
//! Covers task rows, leases (number, task, worker), jobs, counters, unique ids, remembered keys,
//! how far inboxes were taken. Leaves out positions, epochs, deadlines, virtual times, and the
//! difference between DELAYED and PENDING, because becoming due is not logged.

use crate::core::partition::Partition;
use crate::model::state::{StateCounts, TaskState};

/// Two FNV-1a lanes over the canonical content.
pub(crate) struct Hasher(pub(crate) [u64; 2]);

impl Default for Hasher {
    fn default() -> Self {
        Self([0xcbf2_9ce4_8422_2325, 0x8422_2325_cbf2_9ce4])
    }
}

impl Hasher {
    pub(crate) fn word(&mut self, word: u64) {
        for byte in word.to_le_bytes() {
            self.byte(byte);
        }
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.0[0] = (self.0[0] ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        self.0[1] =
            (self.0[1] ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(9);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        bytes.iter().for_each(|b| self.byte(*b));
    }

    fn counts(&mut self, counts: &StateCounts) {
        self.word(counts.of(TaskState::Delayed) + counts.of(TaskState::Pending));
        for state in TaskState::ALL {
            if !matches!(state, TaskState::Delayed | TaskState::Pending) {
                self.word(counts.of(state));
            }
        }
    }
}

impl Partition {
    /// 32 hexadecimal digits.
    #[must_use]
    pub fn state_hash(&self) -> String {
        let mut hasher = Hasher::default();
        for (seq, stored) in self.rows.iter() {
            let state = if stored.live() { self.state(seq).unwrap_or(stored) } else { stored };
            let folded = if state == TaskState::Delayed { TaskState::Pending } else { state };
            hasher.byte(folded as u8);
            if state.live() || state == TaskState::Error {
                let touched = self.touched.get(&seq).copied().unwrap_or_default();
                hasher.word(u64::from(touched.attempt));
                hasher.word(u64::from(touched.errors) << 8 | u64::from(touched.crashes));
                hasher.word(u64::from(touched.redriven));
            }
        }
        for ((job, id), (first, content)) in &self.array_ids {
            hasher.word(u64::from(job.0));
            hasher.text(id);
            [first.0, content.0[0], content.0[1]].into_iter().for_each(|word| hasher.word(word));
        }
        self.drained.iter().for_each(|worker| hasher.text(worker));
        for (number, lease) in self.leases.iter() {
            hasher.word(number.0);
            hasher.word(lease.seq.0);
            hasher.byte(u8::from(lease.started));
            hasher.text(self.workers.value(lease.worker.0));
        }
        for job in self.job_rows() {
            hasher.text(&job.name);
            let flags = [job.implicit, job.closed, job.paused, job.cancel.is_some()];
            flags.iter().for_each(|f| hasher.byte(u8::from(*f)));
            hasher.word(u64::from(job.spec.weight) << 8 | u64::from(job.spec.priority.get()));
            hasher.counts(&job.numbers.counts);
            let n = &job.numbers;
            for word in
                [n.submitted, n.handed_out, n.failed_attempts, n.crashes, n.redriven, n.purged]
            {
                hasher.word(word);
            }
        }
        hasher.word(self.departed);
        for part in self.operations() {
            let words = [part.op.0, part.matched, part.done, part.skipped];
            words.into_iter().for_each(|word| hasher.word(word));
            hasher.text(part.state.name());
        }
        self.levels.iter().for_each(|level| hasher.byte(u8::from(level.paused)));
        self.hash_identity(&mut hasher);
        format!("{:016x}{:016x}", hasher.0[0], hasher.0[1])
    }

    /// What makes a repeated submit one. Without any, the hash is what it was before there were
    /// keys; the same for inboxes.
    fn hash_identity(&self, hasher: &mut Hasher) {
        for job in self.jobs.iter().filter(|job| job.numbers.duplicates > 0) {
            hasher.text(&job.name);
            hasher.word(job.numbers.duplicates);
        }
        for task in self.unique.tasks() {
            for word in task.id.0.into_iter().chain(task.content.0).chain([task.seq.0]) {
                hasher.word(word);
            }
        }
        for part in self.remembered.iter() {
            for word in part.key.0.into_iter().chain(part.content.0).chain([part.part, part.at.0]) {
                hasher.word(word);
            }
        }
        for (level, next) in (0u64..).zip(self.inbox).filter(|(_, next)| *next > 0) {
            [level, next].into_iter().for_each(|word| hasher.word(word));
        }
    }
}
