//! Time series for people: what was counted second by second since the process started, in three
//! rings of growing steps.
//!
//! Bounds: 4,776 points of 96 B, 0.5 MB in all, whatever happens. Nothing is written down:
//! after a restart the history begins anew.

use crate::core::stats::{Stats, WAIT_BUCKETS};
use std::collections::VecDeque;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Tasks admitted per second.
    Submit,
    /// Hand-outs per second.
    Allocate,
    /// Completions per second.
    Complete,
    /// Dead letters per second.
    Fail,
    /// PENDING tasks.
    Pending,
    /// RUNNING tasks.
    Running,
    /// Age of the oldest PENDING task, ms.
    OldestAgeMs,
    /// Wait that 99 % of the hand-outs stayed below, ms; none without a hand-out.
    WaitP99Ms,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Submit,
        Self::Allocate,
        Self::Complete,
        Self::Fail,
        Self::Pending,
        Self::Running,
        Self::OldestAgeMs,
        Self::WaitP99Ms,
    ];

    /// Wire name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Allocate => "allocate",
            Self::Complete => "complete",
            Self::Fail => "fail",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::OldestAgeMs => "oldestAgeMs",
            Self::WaitP99Ms => "waitP99Ms",
        }
    }

    /// The measure of a wire name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|measure| measure.name() == name)
    }
}

/// How far a series looks back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Ten minutes, by second.
    Minutes,
    /// Six hours, by ten seconds.
    Hours,
    /// Seven days, by five minutes.
    Days,
}

impl Span {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Minutes, Self::Hours, Self::Days];

    /// Wire name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Minutes => "10m",
            Self::Hours => "6h",
            Self::Days => "7d",
        }
    }

    /// The span of a wire name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|span| span.name() == name)
    }

    /// Length of a step, s.
    #[must_use]
    pub fn step_s(self) -> u64 {
        match self {
            Self::Minutes => 1,
            Self::Hours => 10,
            Self::Days => 300,
        }
    }

    /// Steps it has.
    #[must_use]
    pub fn steps(self) -> usize {
        match self {
            Self::Minutes => 600,
            Self::Hours => 2_160,
            Self::Days => 2_016,
        }
    }
}

/// What was counted once a second.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Since the sample before: tasks admitted, hand-outs, completions, dead letters.
    pub changes: [u64; 4],
    /// PENDING, RUNNING, age of the oldest PENDING task in ms; `None` = not known.
    pub gauges: Option<[u64; 3]>,
    /// Waits of the hand-outs since the sample before, by [`Stats::wait_quantile`]'s buckets.
    pub waits: [u64; WAIT_BUCKETS],
}

/// A stretch of series that have their steps in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Second at which the first step begins, on the clock the samples came by.
    pub from_s: u64,
    /// A value or none for every step, oldest first; as many for each measure.
    pub rows: Vec<(Measure, Vec<Option<f64>>)>,
}

/// Samples of one step.
#[derive(Clone, Debug, Default)]
struct Point {
    /// Its step, counted from second 0.
    step: u64,
    /// Seconds that its samples stand for.
    seconds: u64,
    changes: [u64; 4],
    /// Samples with gauges.
    looks: u64,
    /// Sums over them.
    pending: u64,
    running: u64,
    oldest_ms: u64,
    wait_p99_ms: Option<u64>,
}

impl Point {
    fn value(&self, measure: Measure) -> Option<f64> {
        let rate = |at: usize| Some(self.changes[at] as f64 / self.seconds.max(1) as f64);
        let mean = |sum: u64| (self.looks > 0).then(|| (sum as f64 / self.looks as f64).round());
        match measure {
            Measure::Submit => rate(0),
            Measure::Allocate => rate(1),
            Measure::Complete => rate(2),
            Measure::Fail => rate(3),
            Measure::Pending => mean(self.pending),
            Measure::Running => mean(self.running),
            Measure::OldestAgeMs => (self.looks > 0).then_some(self.oldest_ms as f64),
            Measure::WaitP99Ms => self.wait_p99_ms.map(|ms| ms as f64),
        }
    }
}

#[derive(Debug)]
struct Ring {
    span: Span,
    /// Steps with samples, oldest first.
    points: VecDeque<Point>,
    /// Waits of the newest step.
    waits: [u64; WAIT_BUCKETS],
}

impl Ring {
    fn new(span: Span) -> Self {
        Self { span, points: VecDeque::new(), waits: [0; WAIT_BUCKETS] }
    }

    /// A sample of a second that stands for the last `seconds`.
    fn add(&mut self, second: u64, seconds: u64, sample: &Sample) {
        let step = second / self.span.step_s();
        if self.points.back().is_none_or(|newest| newest.step < step) {
            if self.points.len() == self.span.steps() {
                self.points.pop_front();
            }
            self.points.push_back(Point { step, ..Point::default() });
            self.waits = [0; WAIT_BUCKETS];
        }
        let point = self.points.back_mut().expect("just made sure of one");
        point.seconds += seconds;
        point.changes.iter_mut().zip(sample.changes).for_each(|(sum, n)| *sum += n);
        if let Some([pending, running, oldest_ms]) = sample.gauges {
            point.looks += 1;
            point.pending += pending;
            point.running += running;
            point.oldest_ms = point.oldest_ms.max(oldest_ms);
        }
        self.waits.iter_mut().zip(sample.waits).for_each(|(sum, n)| *sum += n);
        let any = self.waits.iter().any(|n| *n > 0);
        point.wait_p99_ms = any.then(|| Stats::wait_quantile(&self.waits, 0.99));
    }

    /// The point of a step. The timer of the samples drifts a little, so now and then a second has
    /// none: the next one stands for both.
    fn at(&self, step: u64) -> Option<&Point> {
        let found = self.points.partition_point(|point| point.step < step);
        let point = self.points.get(found)?;
        let late = point.step == step + 1 && self.span.step_s() == 1 && point.seconds == 2;
        (point.step == step || late).then_some(point)
    }

    fn window(&self, measures: &[Measure]) -> Option<Window> {
        let (oldest, newest) = (self.points.front()?.step, self.points.back()?.step);
        let first = oldest.max((newest + 1).saturating_sub(self.span.steps() as u64));
        let row = |measure: Measure| {
            let values = (first..=newest).map(|step| self.at(step)?.value(measure));
            (measure, values.collect())
        };
        let rows = measures.iter().map(|measure| row(*measure)).collect();
        Some(Window { from_s: first * self.span.step_s(), rows })
    }
}

/// All series of a process.
#[derive(Debug)]
pub struct Series {
    rings: [Ring; Span::ALL.len()],
    /// Second of the latest sample.
    latest: Option<u64>,
}

impl Default for Series {
    fn default() -> Self {
        Self { rings: Span::ALL.map(Ring::new), latest: None }
    }
}

impl Series {
    /// Takes a sample; seconds count on a clock that is never set back, and one that lies back
    /// counts as the latest.
    pub fn add(&mut self, second: u64, sample: &Sample) {
        let second = self.latest.map_or(second, |latest| second.max(latest));
        let seconds = self.latest.map_or(1, |latest| second - latest);
        self.rings.iter_mut().for_each(|ring| ring.add(second, seconds, sample));
        self.latest = Some(second);
    }

    /// Some measures over a span, up to the latest sample; before the first one there is nothing.
    /// The newest step may still be running.
    #[must_use]
    pub fn window(&self, span: Span, measures: &[Measure]) -> Option<Window> {
        let ring = self.rings.iter().find(|ring| ring.span == span)?;
        ring.window(measures)
    }
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
