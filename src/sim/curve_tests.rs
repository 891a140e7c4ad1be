//! Curves against their quotes.

use super::*;

#[test]
fn every_quote_is_repriced_by_the_curve_built_from_it() {
    for key in ["curve=USD-SOFR", "curve=JPY-TONA", "curve=CHF-SARON", "anything"] {
        let curve = Curve::build(key);
        for (years, par) in Curve::quotes(key) {
            let error = (curve.par_rate(years) - par).abs();
            assert!(error < 1e-10, "{key} {years} y: {error:e}");
        }
    }
}

#[test]
fn a_curve_depends_on_its_key_and_on_nothing_else() {
    let (one, again) = (Curve::build("curve=EUR-ESTR"), Curve::build("curve=EUR-ESTR"));
    assert_eq!(one.cumulative, again.cumulative);
    assert_ne!(one.cumulative, Curve::build("curve=EUR-EURIBOR").cumulative);
}

#[test]
fn forwards_of_a_trade_have_its_rate_as_their_mean_and_the_shape_of_the_curve() {
    let curve = Curve::build("curve=GBP-SONIA");
    for years in [0.01, 0.5, 3.7, 30.0, 55.0] {
        let forwards = curve.forwards(years, 16, 0.033);
        let mean = forwards.iter().sum::<f64>() / 16.0;
        assert!((mean - 0.033).abs() < 1e-12, "{years} y: {mean}");
        let other = curve.forwards(years, 16, 0.043);
        for (a, b) in forwards.iter().zip(other) {
            assert!((b - a - 0.01).abs() < 1e-12, "{years} y");
        }
    }
    let forwards = curve.forwards(30.0, 16, 0.033);
    assert!(forwards.windows(2).any(|w| (w[1] - w[0]).abs() > 1e-5), "the curve is flat");
}

#[test]
fn forwards_stay_plausible_and_without_jumps_between_days() {
    let curve = Curve::build("curve=USD-SOFR");
    let daily: Vec<f64> = curve.cumulative.windows(2).map(|w| (w[1] - w[0]) * 365.0).collect();
    assert!(daily.iter().all(|f| (-0.01..0.12).contains(f)), "a forward is out of range");
    let jump = daily.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f64::max);
    assert!(jump < 1e-3, "largest jump {jump}");
}
