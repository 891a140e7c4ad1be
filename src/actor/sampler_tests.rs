//! From counters of partitions to rates.

use super::*;
use crate::model::time::Tick;

fn at(second: u64) -> Now {
    Now { wall: WallMs(7_000_000 + second * 1_000 + 3), tick: Tick(second * 1_000 + 2) }
}

fn partition(submitted: u64, pending: u64) -> Option<PartitionNumbers> {
    let mut numbers = PartitionNumbers::default();
    numbers.submitted[4] = submitted;
    numbers.states[TaskState::Pending.index()] = pending;
    numbers.oldest_age_ms[4] = pending * 10;
    Some(numbers)
}

#[test]
fn counters_become_rates_and_gauges_are_summed() {
    let mut sampler = Sampler::default();
    sampler.take(&[partition(5, 5), partition(1, 2)], at(1));
    sampler.take(&[partition(9, 3), partition(1, 1)], at(2));
    // One was rebuilt and counts from 0, the other cannot be asked.
    sampler.take(&[partition(2, 3), None], at(3));
    sampler.take(&[partition(2, 3), partition(4, 0)], at(4));
    let measures = [Measure::Submit, Measure::Pending, Measure::OldestAgeMs];
    let (from, window) = sampler.window(Span::Minutes, &measures, at(4));
    assert_eq!(from, WallMs(7_001_000), "whole seconds of the wall clock");
    let values = |at: usize| window.rows[at].1.clone();
    assert_eq!(values(0), [Some(6.0), Some(4.0), Some(2.0), Some(3.0)]);
    assert_eq!(values(1), [Some(7.0), Some(4.0), None, Some(3.0)]);
    assert_eq!(values(2), [Some(50.0), Some(30.0), None, Some(30.0)]);
}

#[test]
fn before_the_first_sample_the_series_are_empty() {
    let (from, window) = Sampler::default().window(Span::Days, &[Measure::Fail], at(0));
    assert_eq!((from, window.rows), (WallMs(7_000_000), vec![(Measure::Fail, Vec::new())]));
}

#[test]
fn only_dead_letters_are_failures() {
    let mut numbers = partition(0, 0).expect("numbers");
    (numbers.dead, numbers.failed[0]) = ([1, 2, 3], [9; 9]);
    let mut sampler = Sampler::default();
    sampler.take(&[Some(numbers)], at(1));
    let (_, window) = sampler.window(Span::Minutes, &[Measure::Fail], at(1));
    assert_eq!(window.rows[0].1, [Some(6.0)]);
}
