//! The demo's real work: Monte-Carlo prices of European options, checked against the closed form. A
//! price depends on the payload alone (and on the shape of its curve), never on time, machine or
//! order.
//!
//! The model is Black-Scholes with a forward rate per step, and antithetic pairs: in each step the
//! log of the underlying moves by `(f - vol²/2)·dt + vol·√dt·z`. The law at expiry depends on the
//! mean of the forwards only, and that mean is the trade's own zero rate; so the closed form is the
//! exact reference.

use crate::clock::{Clock, SystemClock};
use crate::codec::pricing::{self as json, OptionKind, OptionResult, OptionTask, PortfolioTrade};
use crate::model::affinity::{hit_ratio, valid_key};
use crate::sim::curve::Curve;
use crate::sim::random::{Random, hash};
use std::f64::consts::{PI, SQRT_2};
use std::sync::Arc;

/// Steps of a path.
const STEPS: usize = 16;
/// Antithetic pairs of a task: about 16 ms of a 2020s core in the release profile.
const PAIRS: usize = 65_536;
/// Curves kept; as many as a worker may name.
const CURVES_MAX: usize = 64;

/// Prices tasks and keeps the curves it has built.
pub struct Pricer {
    clock: Arc<dyn Clock>,
    pairs: usize,
    /// Latest used last.
    curves: Vec<(String, Curve)>,
    usage: CurveUse,
}

/// What the kept curves were worth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CurveUse {
    /// Tasks that found their curve ready.
    pub hits: u64,
    /// Tasks that had to build it.
    pub misses: u64,
    /// Time spent building.
    pub build_seconds: f64,
}

impl CurveUse {
    /// Time not spent building: hits times the mean cost of a build.
    #[must_use]
    pub fn saved_seconds(&self) -> f64 {
        if self.misses == 0 {
            0.0
        } else {
            self.hits as f64 * self.build_seconds / self.misses as f64
        }
    }

    /// Hits of all, 0 without any.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        hit_ratio(self.hits, self.misses)
    }
}

/// A result beside its reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Check {
    /// The worker's price.
    pub price: f64,
    /// Closed form.
    pub reference: f64,
    /// Distance in standard errors.
    pub z: f64,
}

impl Default for Pricer {
    fn default() -> Self {
        Self::new()
    }
}

impl Pricer {
    /// A pricer without any curve.
    #[must_use]
    pub fn new() -> Self {
        Self::with(SystemClock::shared(), PAIRS)
    }

    fn with(clock: Arc<dyn Clock>, pairs: usize) -> Self {
        Self { clock, pairs, curves: Vec::new(), usage: CurveUse::default() }
    }

    /// Prices a payload with flat forwards.
    ///
    /// # Errors
    /// What is wrong with the payload, in words.
    pub fn price(&mut self, payload: &str) -> Result<String, String> {
        let task = read(payload)?;
        let forwards = vec![task.rate; STEPS];
        json::write_result(&simulate(&task, &forwards, self.pairs))
    }

    /// Prices a payload with the forwards of a curve, which is built unless it is warm.
    ///
    /// # Errors
    /// As [`Self::price`]; also a key that is no affinity key.
    pub fn price_with_curve(&mut self, curve: &str, payload: &str) -> Result<String, String> {
        if !valid_key(curve) {
            return Err("the curve is no affinity key (1..128 bytes, no comma)".to_owned());
        }
        let task = read(payload)?;
        let pairs = self.pairs;
        let forwards = self.curve(curve).forwards(task.years, STEPS, task.rate);
        json::write_result(&simulate(&task, &forwards, pairs))
    }

    /// Keys of the curves that are ready, latest used first: the affinity of the next consume.
    #[must_use]
    pub fn warm_keys(&self) -> Vec<String> {
        self.curves.iter().rev().map(|(key, _)| key.clone()).collect()
    }

    /// Hits, misses and time of the curves so far.
    #[must_use]
    pub fn curve_use(&self) -> CurveUse {
        self.usage
    }

    fn curve(&mut self, key: &str) -> &Curve {
        let entry = match self.curves.iter().position(|(held, _)| held == key) {
            Some(at) => {
                self.usage.hits += 1;
                self.curves.remove(at)
            }
            None => {
                let before = self.clock.now().tick.0;
                let curve = Curve::build(key);
                let spent_ms = self.clock.now().tick.0.saturating_sub(before);
                self.usage.misses += 1;
                self.usage.build_seconds += spent_ms as f64 / 1_000.0;
                (key.to_owned(), curve)
            }
        };
        if self.curves.len() == CURVES_MAX {
            self.curves.remove(0);
        }
        self.curves.push(entry);
        &self.curves.last().expect("an entry was pushed on the line above").1
    }
}

/// Reads the portfolio file, one trade a line; empty lines are skipped.
///
/// # Errors
/// The first bad line, by number.
pub fn portfolio(text: &str) -> Result<Vec<PortfolioTrade>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| {
            let trade = json::read_trade(line).map_err(|e| format!("line {}: {e}", i + 1))?;
            validate(&task_of(&trade, 1)).map_err(|e| format!("line {}: {e}", i + 1))?;
            Ok(trade)
        })
        .collect()
}

/// Payload of the task that prices a trade with a seed.
///
/// # Errors
/// A number that JSON cannot hold; not for trades read by [`portfolio`].
pub fn payload(trade: &PortfolioTrade, seed: u64) -> Result<String, String> {
    json::write_task(&task_of(trade, seed))
}

/// Puts a result beside the closed form of its payload.
///
/// # Errors
/// A payload or a result that cannot be read, or is no price.
pub fn check(payload: &str, result: &str) -> Result<Check, String> {
    let task = read(payload)?;
    let found = json::read_result(result).map_err(|e| format!("bad result: {e}"))?;
    if found.stderr < 0.0 || found.price < 0.0 {
        return Err("bad result: a price or a standard error is negative".to_owned());
    }
    let reference = closed_form(&task);
    // Far out of the money no path may pay, so the measured error can be 0: rounding is the floor.
    let floor = 1e-9 * task.spot.max(task.strike);
    let z = (found.price - reference) / found.stderr.max(floor);
    Ok(Check { price: found.price, reference, z })
}

/// Black-Scholes price.
#[must_use]
pub fn closed_form(task: &OptionTask) -> f64 {
    let width = task.vol * task.years.sqrt();
    let middle = (task.spot / task.strike).ln() + task.rate * task.years;
    let (d1, d2) = (middle / width + 0.5 * width, middle / width - 0.5 * width);
    let strike_now = task.strike * (-task.rate * task.years).exp();
    let sign = sign(task.kind);
    sign * (task.spot * normal_cdf(sign * d1) - strike_now * normal_cdf(sign * d2))
}

fn task_of(trade: &PortfolioTrade, seed: u64) -> OptionTask {
    OptionTask {
        trade: trade.trade.clone(),
        kind: trade.kind,
        spot: trade.spot,
        strike: trade.strike,
        rate: trade.rate,
        vol: trade.vol,
        years: trade.years,
        seed,
    }
}

fn read(payload: &str) -> Result<OptionTask, String> {
    let task = json::read_task(payload).map_err(|error| format!("bad payload: {error}"))?;
    validate(&task)?;
    Ok(task)
}

fn validate(task: &OptionTask) -> Result<(), String> {
    if task.trade.is_empty() || task.trade.len() > 128 {
        return Err("bad payload: trade must have 1..128 bytes".to_owned());
    }
    let bounds = [
        ("spot", task.spot, 1e-6, 1e9),
        ("strike", task.strike, 1e-6, 1e9),
        ("rate", task.rate, -0.5, 1.0),
        ("vol", task.vol, 1e-4, 5.0),
        ("years", task.years, 1e-4, 60.0),
    ];
    for (name, value, least, most) in bounds {
        if !(least..=most).contains(&value) {
            return Err(format!("bad payload: {name} is {value}; it must be {least}..{most}"));
        }
    }
    Ok(())
}

/// The mean over antithetic pairs and its standard error.
fn simulate(task: &OptionTask, forwards: &[f64], pairs: usize) -> OptionResult {
    let step = task.years / forwards.len() as f64;
    let spread = task.vol * step.sqrt();
    let drifts: Vec<f64> =
        forwards.iter().map(|forward| (forward - 0.5 * task.vol * task.vol) * step).collect();
    let discount = (-task.rate * task.years).exp();
    let mut random = Random::new(task.seed ^ hash(&task.trade));
    let (mut mean, mut squares) = (0.0, 0.0);
    for i in 0..pairs {
        let (mut up, mut down) = (0.0, 0.0);
        for two in drifts.chunks(2) {
            let (z1, z2) = random.normals();
            for (drift, z) in two.iter().zip([z1, z2]) {
                up += drift + spread * z;
                down += drift - spread * z;
            }
        }
        let value = 0.5 * discount * (payoff(task, up) + payoff(task, down));
        let delta = value - mean;
        mean += delta / (i + 1) as f64;
        squares += delta * (value - mean);
    }
    let variance = squares / (pairs - 1) as f64;
    OptionResult { price: mean, stderr: (variance / pairs as f64).sqrt() }
}

fn payoff(task: &OptionTask, log_return: f64) -> f64 {
    (sign(task.kind) * (task.spot * log_return.exp() - task.strike)).max(0.0)
}

fn sign(kind: OptionKind) -> f64 {
    match kind {
        OptionKind::Call => 1.0,
        OptionKind::Put => -1.0,
    }
}

/// Normal distribution function: the series near 0, the continued fraction of Mills' ratio in the
/// tails.
fn normal_cdf(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() / (SQRT_2 * PI.sqrt());
    if x.abs() < 4.0 {
        let (mut term, mut sum) = (x, x);
        for odd in 1..80 {
            term *= x * x / f64::from(2 * odd + 1);
            sum += term;
        }
        0.5 + density * sum
    } else {
        let mut tail = 0.0;
        for n in (1..60).rev() {
            tail = f64::from(n) / (x.abs() + tail);
        }
        let upper = density / (x.abs() + tail);
        if x > 0.0 { 1.0 - upper } else { upper }
    }
}

#[cfg(test)]
#[path = "pricing_tests.rs"]
mod tests;
