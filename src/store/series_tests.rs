//! Steps, gaps, bounds: series against what was put in.

use super::*;

const IDLE: Sample = Sample { changes: [0; 4], gauges: Some([0; 3]), waits: [0; WAIT_BUCKETS] };

fn values(series: &Series, span: Span, measure: Measure) -> Vec<Option<f64>> {
    series.window(span, &[measure]).expect("there are samples").rows.remove(0).1
}

#[test]
fn names_are_read_back() {
    for measure in Measure::ALL {
        assert_eq!(Measure::parse(measure.name()), Some(measure));
    }
    for span in Span::ALL {
        assert_eq!(Span::parse(span.name()), Some(span));
    }
    assert_eq!((Measure::parse("Submit"), Span::parse("1h")), (None, None));
}

#[test]
fn a_span_has_as_many_steps_as_fit_into_it() {
    let lengths = Span::ALL.map(|span| span.step_s() * span.steps() as u64);
    assert_eq!(lengths, [600, 6 * 3_600, 7 * 86_400]);
    let points: usize = Span::ALL.iter().map(|span| span.steps()).sum();
    assert!(points == 4_776 && size_of::<Point>() <= 96, "{}", size_of::<Point>());
}

#[test]
fn before_the_first_sample_there_is_nothing() {
    assert_eq!(Series::default().window(Span::Minutes, &Measure::ALL), None);
}

#[test]
fn rates_are_per_second_gauges_are_means_and_ages_are_the_largest() {
    let mut series = Series::default();
    for second in 20..30 {
        let n = second - 20;
        let gauges = Some([n, 2 * n, 100 * n]);
        series.add(second, &Sample { changes: [10, 20, n, 0], gauges, ..IDLE });
    }
    let window = series.window(Span::Minutes, &[Measure::Submit, Measure::Pending]);
    let window = window.expect("there are samples");
    assert_eq!(window.from_s, 20);
    assert_eq!(window.rows[0], (Measure::Submit, vec![Some(10.0); 10]));
    assert_eq!(window.rows[1].1[9], Some(9.0));
    let one = |measure| values(&series, Span::Hours, measure);
    assert_eq!(series.window(Span::Hours, &[]).expect("there").from_s, 20);
    assert_eq!(one(Measure::Submit), [Some(10.0)]);
    assert_eq!(one(Measure::Allocate), [Some(20.0)]);
    assert_eq!(one(Measure::Complete), [Some(4.5)]);
    assert_eq!(one(Measure::Pending), [Some(5.0)], "4.5, in whole tasks");
    assert_eq!(one(Measure::Running), [Some(9.0)]);
    assert_eq!(one(Measure::OldestAgeMs), [Some(900.0)]);
    assert_eq!(one(Measure::WaitP99Ms), [None], "nothing was handed out");
}

#[test]
fn waits_are_those_of_their_step() {
    let mut series = Series::default();
    let waits = |bucket: usize, n: u64| {
        let mut waits = [0; WAIT_BUCKETS];
        waits[bucket] = n;
        Sample { waits, ..IDLE }
    };
    series.add(8, &waits(3, 99));
    series.add(9, &waits(10, 1));
    series.add(10, &IDLE);
    assert_eq!(values(&series, Span::Minutes, Measure::WaitP99Ms), [Some(7.0), Some(1023.0), None]);
    assert_eq!(values(&series, Span::Hours, Measure::WaitP99Ms), [Some(7.0), None]);
    assert_eq!(values(&series, Span::Days, Measure::WaitP99Ms), [Some(7.0)]);
}

#[test]
fn a_second_without_a_sample_is_covered_by_the_next_and_a_longer_gap_is_empty() {
    let mut series = Series::default();
    series.add(0, &Sample { changes: [4; 4], ..IDLE });
    series.add(2, &Sample { changes: [8; 4], ..IDLE });
    series.add(6, &Sample { changes: [8; 4], ..IDLE });
    let submit = values(&series, Span::Minutes, Measure::Submit);
    let four = Some(4.0);
    assert_eq!(submit, [four, four, four, None, None, None, Some(2.0)], "8 in 4 s");
    let rate = values(&series, Span::Hours, Measure::Submit)[0].expect("a rate");
    assert!((rate - 20.0 / 7.0).abs() < 1e-9, "20 in 7 s: {rate}");
}

#[test]
fn a_partition_that_cannot_be_asked_leaves_a_hole_in_gauges_only() {
    let mut series = Series::default();
    series.add(5, &Sample { changes: [3; 4], gauges: None, ..IDLE });
    assert_eq!(values(&series, Span::Minutes, Measure::Pending), [None]);
    assert_eq!(values(&series, Span::Minutes, Measure::OldestAgeMs), [None]);
    assert_eq!(values(&series, Span::Minutes, Measure::Fail), [Some(3.0)]);
}

#[test]
fn a_sample_that_lies_back_counts_as_the_latest() {
    let mut series = Series::default();
    series.add(9, &Sample { changes: [1; 4], ..IDLE });
    series.add(4, &Sample { changes: [2; 4], ..IDLE });
    assert_eq!(values(&series, Span::Minutes, Measure::Submit), [Some(3.0)]);
}

#[test]
fn rings_keep_their_span_and_no_more() {
    let mut series = Series::default();
    for second in 0..8 * 86_400 {
        series.add(second, &Sample { changes: [second, 1, 0, 0], ..IDLE });
    }
    for span in Span::ALL {
        let window = series.window(span, &[Measure::Allocate]).expect("there are samples");
        assert_eq!(window.rows[0].1, vec![Some(1.0); span.steps()], "{}", span.name());
        let end = window.from_s + span.step_s() * span.steps() as u64;
        assert_eq!(end, 8 * 86_400, "{}", span.name());
    }
    // After a long silence only what lies within the span is shown.
    series.add(9 * 86_400, &IDLE);
    let submit = values(&series, Span::Minutes, Measure::Submit);
    assert_eq!((submit.len(), submit.iter().flatten().count()), (600, 1));
}
