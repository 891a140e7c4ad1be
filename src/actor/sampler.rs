//! Once a second: plain numbers of the core become a point of the time series.

use crate::metrics::{BUCKETS, Levels, PartitionNumbers};
use crate::model::state::TaskState;
use crate::model::time::{Now, WallMs};
use crate::store::series::{Measure, Sample, Series, Span, Window};

/// Counters of a partition as they were last seen.
#[derive(Clone, Default)]
struct Counted {
    changes: [u64; 4],
    waits: [u64; BUCKETS],
}

/// The series, and what they count from.
#[derive(Default)]
pub(crate) struct Sampler {
    series: Series,
    counted: Vec<Counted>,
}

impl Sampler {
    /// Takes the numbers of all partitions; `None` = one that could not be asked.
    pub(crate) fn take(&mut self, partitions: &[Option<PartitionNumbers>], now: Now) {
        self.counted.resize(partitions.len(), Counted::default());
        let mut sample = Sample { changes: [0; 4], gauges: Some([0; 3]), waits: [0; BUCKETS] };
        for (counted, numbers) in self.counted.iter_mut().zip(partitions) {
            let Some(numbers) = numbers else {
                sample.gauges = None;
                continue;
            };
            let counts = Counted::of(numbers);
            add_rise(&mut sample.changes, &counted.changes, &counts.changes);
            add_rise(&mut sample.waits, &counted.waits, &counts.waits);
            *counted = counts;
            if let Some([pending, running, oldest_ms]) = &mut sample.gauges {
                *pending += numbers.states[TaskState::Pending.index()];
                *running += numbers.states[TaskState::Running.index()];
                *oldest_ms = numbers.oldest_age_ms.iter().fold(*oldest_ms, |a, b| a.max(*b));
            }
        }
        self.series.add(now.tick.0 / 1_000, &sample);
    }

    /// Some series over a span, and when they begin.
    pub(crate) fn window(&self, span: Span, measures: &[Measure], now: Now) -> (WallMs, Window) {
        let none = || Window {
            from_s: now.tick.0 / 1_000,
            rows: measures.iter().map(|measure| (*measure, Vec::new())).collect(),
        };
        let window = self.series.window(span, measures).unwrap_or_else(none);
        // Seconds are counted on the clock that is never set back; people read the other one.
        let age_ms = now.tick.0.saturating_sub(window.from_s * 1_000);
        let from = now.wall.0.saturating_sub(age_ms);
        (WallMs((from + 500) / 1_000 * 1_000), window)
    }
}

impl Counted {
    fn of(numbers: &PartitionNumbers) -> Self {
        let sum = |levels: &Levels| levels.iter().sum();
        let mut waits = [0; BUCKETS];
        for level in &numbers.wait {
            waits.iter_mut().zip(level).for_each(|(sum, n)| *sum += n);
        }
        let (submitted, allocated) = (sum(&numbers.submitted), sum(&numbers.allocated));
        let dead = numbers.dead.iter().sum();
        Self { changes: [submitted, allocated, sum(&numbers.completed), dead], waits }
    }
}

/// Adds what was counted since the last time. A counter that fell belongs to a partition that was
/// rebuilt and counts from 0 again.
fn add_rise(sums: &mut [u64], before: &[u64], now: &[u64]) {
    for (sum, (before, now)) in sums.iter_mut().zip(before.iter().zip(now)) {
        *sum += now.checked_sub(*before).unwrap_or(*now);
    }
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
