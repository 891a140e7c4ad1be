//! Rates and windows over event stamps: the last 60 seconds by second, and the seed's 5-second
//! windows since the start.

use crate::model::id::Name;
use crate::model::priority::Priority;
use crate::model::row::Row;
use crate::model::state::TaskState;
use crate::model::time::WallMs;
use std::collections::{BTreeMap, VecDeque};

/// Seconds a rate looks back.
const SPAN_S: u64 = 60;
/// Length of a seed window, ms.
const WINDOW_MS: u64 = 5_000;
/// Windows kept.
const WINDOWS: usize = 2_000;

/// Rates per second over the last 60 s.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Submit, allocate, complete, fail.
    pub total: [f64; 4],
    /// Admissions by level.
    pub level_in: [f64; Priority::LEVELS],
    /// Hand-outs by level.
    pub level_out: [f64; Priority::LEVELS],
}

#[derive(Clone, Debug, Default)]
struct Second {
    at: u64,
    counts: [u64; 4],
    level_in: [u64; Priority::LEVELS],
    level_out: [u64; Priority::LEVELS],
    /// Hand-outs by partition.
    handed: BTreeMap<u16, u64>,
    ended: BTreeMap<u32, u64>,
}

/// Counts by second and by window.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    seconds: VecDeque<Second>,
    /// End of window → changes to SUBMITTED, ALLOCATED, RUNNING, ERROR, COMPLETED.
    windows: VecDeque<(u64, [u64; 5])>,
    started: WallMs,
    /// First hand-out of a job since the start, seconds.
    first_seen: BTreeMap<u32, u64>,
}

impl Counter {
    /// Windows and rates count from this moment on; what is folded from older records does not.
    #[must_use]
    pub fn new(started: WallMs) -> Self {
        Self { started, ..Self::default() }
    }

    /// Counts one change of state; `row` is the task after it.
    pub fn count(&mut self, to: TaskState, row: &Row, at: WallMs) {
        self.count_many(to, row, at, 1);
    }

    /// Counts the same change of many tasks.
    pub fn count_many(&mut self, to: TaskState, row: &Row, at: WallMs, count: u64) {
        if at < self.started {
            return;
        }
        let level = if row.set_priority == 0 { row.submit_priority } else { row.set_priority };
        let (level, job) = (usize::from(level.clamp(1, 9)) - 1, row.job);
        // A task that comes back is a change to SUBMITTED, but no admission.
        let admitted = row.attempt == 0 && row.redriven == 0;
        let second = self.second(at.0 / 1_000);
        let slot = match to {
            TaskState::Blocked | TaskState::Delayed | TaskState::Pending => {
                second.counts[0] += count * u64::from(admitted);
                second.level_in[level] += count * u64::from(admitted);
                0
            }
            TaskState::Allocated => {
                second.counts[1] += count;
                second.level_out[level] += count;
                self.first_seen.entry(job).or_insert(at.0 / 1_000);
                1
            }
            TaskState::Running => 2,
            TaskState::Completed => {
                second.counts[2] += count;
                *second.ended.entry(job).or_insert(0) += count;
                4
            }
            TaskState::Error | TaskState::Cancelled | TaskState::Expired => {
                second.counts[3] += count * u64::from(to == TaskState::Error);
                *second.ended.entry(job).or_insert(0) += count;
                3
            }
        };
        self.window(at)[slot] += count;
    }

    /// Counts a hand-out of a partition.
    pub fn handed_out(&mut self, partition: u16, at: WallMs) {
        if at >= self.started {
            *self.second(at.0 / 1_000).handed.entry(partition).or_insert(0) += 1;
        }
    }

    /// Hand-outs per second of a partition.
    #[must_use]
    pub fn hand_outs(&self, partition: u16, now: WallMs) -> f64 {
        let count = |second: &Second| second.handed.get(&partition).copied().unwrap_or(0);
        let count: u64 = self.recent(now).map(count).sum();
        count as f64 / self.span_s(now, self.started.0 / 1_000)
    }

    /// Rates at `now`.
    #[must_use]
    pub fn rates(&self, now: WallMs) -> Rates {
        let mut rates = Rates::default();
        let span = self.span_s(now, self.started.0 / 1_000);
        for second in self.recent(now) {
            let add = |to: &mut [f64], from: &[u64]| {
                to.iter_mut().zip(from).for_each(|(t, f)| *t += *f as f64 / span);
            };
            add(&mut rates.total, &second.counts);
            add(&mut rates.level_in, &second.level_in);
            add(&mut rates.level_out, &second.level_out);
        }
        rates
    }

    /// Tasks ended per second by job; over the last 60 s or since its first hand-out if that is
    /// shorter.
    #[must_use]
    pub fn by_job(&self, now: WallMs, name: impl Fn(u32) -> Name) -> BTreeMap<Name, f64> {
        let mut ended: BTreeMap<u32, u64> = BTreeMap::new();
        for second in self.recent(now) {
            for (job, count) in &second.ended {
                *ended.entry(*job).or_insert(0) += count;
            }
        }
        let rate = |(job, count): (u32, u64)| {
            let since = self.first_seen.get(&job).copied().unwrap_or(0);
            (name(job), count as f64 / self.span_s(now, since))
        };
        ended.into_iter().map(rate).collect()
    }

    /// Windows, newest first, empty ones as zeros.
    #[must_use]
    pub fn windows(&self, limit: usize, now: WallMs) -> Vec<(WallMs, [u64; 5])> {
        let last = now.0 / WINDOW_MS;
        let first = (self.started.0 / WINDOW_MS).max(last.saturating_sub(WINDOWS as u64 - 1));
        let by_end: BTreeMap<u64, [u64; 5]> = self.windows.iter().copied().collect();
        let ends = (first..=last).rev().map(|n| (n + 1) * WINDOW_MS);
        let window = |end| (WallMs(end), by_end.get(&end).copied().unwrap_or_default());
        ends.take(limit).map(window).collect()
    }

    fn recent(&self, now: WallMs) -> impl Iterator<Item = &Second> {
        let from = (now.0 / 1_000).saturating_sub(SPAN_S - 1);
        self.seconds.iter().filter(move |s| s.at >= from)
    }

    fn span_s(&self, now: WallMs, since_s: u64) -> f64 {
        (now.0 / 1_000).saturating_sub(since_s).clamp(1, SPAN_S) as f64
    }

    fn second(&mut self, at: u64) -> &mut Second {
        if self.seconds.back().is_none_or(|s| s.at < at) {
            self.seconds.push_back(Second { at, ..Second::default() });
            while self.seconds.len() as u64 > SPAN_S + 1 {
                self.seconds.pop_front();
            }
        }
        // Stamps of different partitions differ by a little; a late one counts in the newest
        // second.
        self.seconds.back_mut().expect("just made sure of one")
    }

    fn window(&mut self, at: WallMs) -> &mut [u64; 5] {
        let end = (at.0 / WINDOW_MS + 1) * WINDOW_MS;
        if self.windows.back().is_none_or(|(last, _)| *last < end) {
            self.windows.push_back((end, [0; 5]));
            if self.windows.len() > WINDOWS {
                self.windows.pop_front();
            }
        }
        &mut self.windows.back_mut().expect("just made sure of one").1
    }
}
