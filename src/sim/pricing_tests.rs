//! Prices against the closed form.

use super::*;
use std::path::Path;
use std::process::Command;

fn example(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

fn trades() -> Vec<PortfolioTrade> {
    let text = std::fs::read_to_string(example("portfolio.ndjson")).expect("the file is here");
    portfolio(&text).expect("every line is a trade")
}

fn quick(pairs: usize) -> Pricer {
    Pricer::with(SystemClock::shared(), pairs)
}

fn task(kind: OptionKind, strike: f64) -> OptionTask {
    OptionTask {
        trade: "T".to_owned(),
        kind,
        spot: 100.0,
        strike,
        rate: 0.03,
        vol: 0.25,
        years: 2.0,
        seed: 7,
    }
}

const GOOD: &str = concat!(
    r#"{"trade":"T1","type":"call","spot":100.0,"strike":110.0,"#,
    r#""rate":0.03,"vol":0.2,"years":1.5,"seed":1}"#
);

#[test]
fn prices_of_the_portfolio_agree_with_the_closed_form() {
    let mut pricer = quick(2_048);
    let (mut sum, mut squares, mut worst, mut n) = (0.0, 0.0, 0.0_f64, 0.0);
    for trade in trades().iter().step_by(5) {
        let payload = payload(trade, 11).unwrap();
        let result = pricer.price_with_curve(&trade.curve, &payload).unwrap();
        let z = check(&payload, &result).unwrap().z;
        sum += z;
        squares += z * z;
        worst = worst.max(z.abs());
        n += 1.0;
    }
    assert!(n >= 400.0, "only {n} trades");
    let (bias, spread) = (sum / n, (squares / n).sqrt());
    assert!(worst < 5.0, "worst |z| {worst}");
    assert!(bias.abs() < 0.2, "mean z {bias} of {n} trades");
    assert!((0.8..1.2).contains(&spread), "spread of z {spread}: the standard error is wrong");
}

#[test]
fn closed_form_has_the_textbook_value_and_put_call_parity() {
    let book = OptionTask { rate: 0.05, vol: 0.2, years: 1.0, ..task(OptionKind::Call, 100.0) };
    assert!((closed_form(&book) - 10.450_583_572_185_565).abs() < 1e-10);
    for strike in [1.0, 60.0, 100.0, 180.0, 5_000.0] {
        let call = closed_form(&task(OptionKind::Call, strike));
        let put = closed_form(&task(OptionKind::Put, strike));
        let parity = 100.0 - strike * (-0.06_f64).exp();
        assert!((call - put - parity).abs() < 1e-9, "strike {strike}");
    }
}

#[test]
fn simulated_call_and_put_keep_parity_within_their_errors() {
    let call = simulate(&task(OptionKind::Call, 105.0), &[0.03; STEPS], 8_192);
    let put = simulate(&task(OptionKind::Put, 105.0), &[0.03; STEPS], 8_192);
    let parity = 100.0 - 105.0 * (-0.06_f64).exp();
    let error = (call.stderr * call.stderr + put.stderr * put.stderr).sqrt();
    assert!((call.price - put.price - parity).abs() < 4.0 * error);
}

#[test]
fn the_standard_error_falls_with_the_root_of_the_paths() {
    let few = simulate(&task(OptionKind::Call, 100.0), &[0.03; STEPS], 1_024).stderr;
    let many = simulate(&task(OptionKind::Call, 100.0), &[0.03; STEPS], 16_384).stderr;
    assert!((3.5..4.5).contains(&(few / many)), "ratio {}", few / many);
}

#[test]
fn the_same_payload_gives_the_same_text_in_every_pricer_warm_or_cold() {
    let (mut a, mut b) = (quick(256), quick(256));
    let first = a.price_with_curve("curve=USD-SOFR", GOOD).unwrap();
    assert_eq!(first, a.price_with_curve("curve=USD-SOFR", GOOD).unwrap());
    assert_eq!(first, b.price_with_curve("curve=USD-SOFR", GOOD).unwrap());
    let other_seed = GOOD.replace("\"seed\":1", "\"seed\":2");
    assert_ne!(a.price(&other_seed).unwrap(), a.price(GOOD).unwrap());
    let other_trade = GOOD.replace("T1", "T2");
    assert_ne!(a.price(&other_trade).unwrap(), a.price(GOOD).unwrap());
}

#[test]
fn the_shape_of_the_curve_moves_a_price_by_rounding_only() {
    let mut pricer = quick(512);
    let flat = json::read_result(&pricer.price(GOOD).unwrap()).unwrap();
    let text = pricer.price_with_curve("curve=EUR-ESTR", GOOD).unwrap();
    let shaped = json::read_result(&text).unwrap();
    assert!((flat.price - shaped.price).abs() < 1e-9);
}

#[test]
fn a_curve_is_built_once_and_the_oldest_gives_way() {
    let mut pricer = quick(2);
    for key in ["a", "b", "a", "a", "c"] {
        pricer.price_with_curve(key, GOOD).unwrap();
    }
    assert_eq!(pricer.warm_keys(), ["c", "a", "b"]);
    let usage = pricer.curve_use();
    assert_eq!((usage.hits, usage.misses), (2, 3));
    assert!((usage.hit_ratio() - 0.4).abs() < 1e-12);
    assert!((usage.saved_seconds() - usage.build_seconds * 2.0 / 3.0).abs() < 1e-12);
    for i in 0..CURVES_MAX {
        pricer.price_with_curve(&format!("k{i}"), GOOD).unwrap();
    }
    let warm = pricer.warm_keys();
    assert_eq!(warm.len(), CURVES_MAX);
    assert!(!warm.iter().any(|key| key == "a"));
}

#[test]
fn bad_payloads_are_refused_in_words_and_never_panic() {
    let mut pricer = quick(2);
    for (from, to, word) in [
        ("110.0", "-1", "strike"),
        ("110.0", "1e300", "strike"),
        ("100.0", "0", "spot"),
        ("100.0", "\"100\"", "string"),
        ("\"vol\":0.2", "\"vol\":0", "vol"),
        ("\"vol\":0.2", "\"vol\":1e999", "number"),
        ("1.5", "1e-9", "years"),
        ("0.03", "7", "rate"),
        ("\"seed\":1", "\"seed\":-1", "seed"),
        ("\"seed\":1", "\"seed\":1.5", "expected u64"),
        ("\"seed\":1", "\"seed\":1,\"more\":2", "more"),
        (",\"seed\":1", "", "seed"),
        ("call", "straddle", "straddle"),
        ("T1", "", "trade"),
    ] {
        let bad = GOOD.replace(from, to);
        assert_ne!(bad, GOOD);
        let error = pricer.price(&bad).expect_err(&bad);
        assert!(error.starts_with("bad payload"), "{error}");
        assert!(error.contains(word) || word == "seed", "{bad}: {error}");
    }
    for text in ["", "null", "[]", "{", "\u{0}", "nan", "é{}", &"[".repeat(100_000)] {
        assert!(pricer.price(text).is_err(), "{text}");
    }
    for key in ["", "a,b", "a\nb"] {
        assert!(pricer.price_with_curve(key, GOOD).is_err(), "{key:?}");
    }
}

#[test]
fn check_refuses_what_is_no_result_and_sees_a_wrong_price() {
    for bad in ["", "{}", r#"{"price":"1","stderr":0}"#, r#"{"price":-1.0,"stderr":0.1}"#] {
        assert!(check(GOOD, bad).is_err(), "{bad}");
    }
    let right = quick(4_096).price(GOOD).unwrap();
    assert!(check(GOOD, &right).unwrap().z.abs() < 5.0);
    let wrong = r#"{"price":12.0,"stderr":0.05}"#;
    assert!(check(GOOD, wrong).unwrap().z.abs() > 50.0);
}

#[test]
fn extreme_but_legal_trades_give_finite_prices() {
    let mut pricer = quick(64);
    for strike in ["1e-6", "1e9"] {
        for vol in ["1e-4", "5"] {
            for years in ["1e-4", "60"] {
                for rate in ["-0.5", "1"] {
                    let payload = GOOD
                        .replace("110.0", strike)
                        .replace("0.2", vol)
                        .replace("1.5", years)
                        .replace("0.03", rate);
                    let result = pricer.price(&payload).unwrap();
                    let found = check(&payload, &result).unwrap();
                    assert!(found.price.is_finite() && found.z.is_finite(), "{payload}");
                }
            }
        }
    }
}

#[test]
fn the_normal_distribution_is_right_where_both_methods_meet_and_in_the_tails() {
    for (x, p) in [
        (0.0, 0.5),
        (1.0, 0.841_344_746_068_542_9),
        (-1.96, 0.024_997_895_148_220_435),
        (-5.0, 2.866_515_718_791_933e-7),
        (-8.0, 6.220_960_574_271_784e-16),
    ] {
        let error = (normal_cdf(x) / p - 1.0).abs();
        assert!(error < 1e-12, "{x}: {error:e}");
    }
    assert!((normal_cdf(3.999_999_9) - normal_cdf(4.000_000_1)).abs() < 1e-10);
}

#[test]
fn the_portfolio_is_what_its_generator_writes() {
    let Ok(made) = Command::new("python3").arg(example("make_portfolio.py")).output() else {
        println!("SKIP: no python3");
        return;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let kept = std::fs::read(example("portfolio.ndjson")).expect("the file is here");
    assert!(made.stdout == kept, "examples/portfolio.ndjson has drifted from make_portfolio.py");
}

#[test]
fn the_portfolio_has_the_width_the_demo_needs() {
    let trades = trades();
    assert!(trades.len() >= 2_000);
    let ids: std::collections::BTreeSet<_> = trades.iter().map(|t| &t.trade).collect();
    assert_eq!(ids.len(), trades.len(), "a trade id repeats");
    let currencies: std::collections::BTreeSet<_> = trades.iter().map(|t| &*t.currency).collect();
    assert_eq!(currencies.into_iter().collect::<Vec<_>>(), ["CHF", "EUR", "GBP", "JPY", "USD"]);
    for trade in &trades {
        let tags = crate::model::tags::TagSet::parse(&trade.tag).expect("a tag text");
        assert!(tags.contains(&format!("currency:{}", trade.currency)), "{}", trade.trade);
        assert!(tags.iter().any(|tag| tag.starts_with("risk:")), "{}", trade.trade);
        assert!(valid_key(&trade.curve), "{}", trade.trade);
        assert!(trade.curve.contains(&trade.currency), "{}", trade.trade);
    }
}
