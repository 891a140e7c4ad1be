//! The warm state of the pricing demo: a forward curve, bootstrapped from par swap quotes and
//! smoothed on a daily grid. Building one costs some 25 ms, more than a task: it is what a worker
//! saves when affinity brings it the next task of the same curve. The quotes are made from the key
//! alone, so every process builds the same curve.

use crate::sim::random::{Random, hash};

/// Days of a year on the grid.
const YEAR_DAYS: usize = 365;
/// Length of the grid.
const YEARS_MAX: usize = 30;
/// Maturities that are quoted, in years.
const KNOTS: [usize; 12] = [1, 2, 3, 4, 5, 7, 10, 12, 15, 20, 25, 30];
/// Rounds of smoothing, each followed by repricing of every quote.
const ROUNDS: usize = 40;
/// Smoothing sweeps of a round.
const SWEEPS: usize = 200;

/// A forward curve on a daily grid of 30 years, flat beyond.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Minus the logarithm of the discount factor at the end of day `i`; entry 0 is today.
    cumulative: Vec<f64>,
}

impl Curve {
    /// Bootstraps the curve that belongs to an affinity key.
    #[must_use]
    pub fn build(key: &str) -> Self {
        let quotes = Quotes::of_key(key);
        let mut forwards = vec![quotes.level; YEARS_MAX * YEAR_DAYS];
        reprice(&mut forwards, &quotes);
        for _ in 0..ROUNDS {
            smooth(&mut forwards);
            reprice(&mut forwards, &quotes);
        }
        let mut cumulative = Vec::with_capacity(forwards.len() + 1);
        let mut sum = 0.0;
        cumulative.push(sum);
        for forward in forwards {
            sum += forward / YEAR_DAYS as f64;
            cumulative.push(sum);
        }
        Self { cumulative }
    }

    /// Forward rates over `steps` equal steps up to `years`, shifted together so that their mean is
    /// `rate`: the shape is the curve's, the level is the trade's own zero rate.
    #[must_use]
    pub fn forwards(&self, years: f64, steps: usize, rate: f64) -> Vec<f64> {
        let step = years / steps as f64;
        let shift = rate - self.cumulative_at(years) / years;
        (0..steps)
            .map(|i| {
                let from = self.cumulative_at(i as f64 * step);
                let to = self.cumulative_at((i + 1) as f64 * step);
                (to - from) / step + shift
            })
            .collect()
    }

    /// Discount factor.
    #[must_use]
    pub fn discount(&self, years: f64) -> f64 {
        (-self.cumulative_at(years)).exp()
    }

    /// Par rate of a swap with annual coupons.
    #[must_use]
    pub fn par_rate(&self, years: usize) -> f64 {
        let annuity: f64 = (1..=years).map(|year| self.discount(year as f64)).sum();
        (1.0 - self.discount(years as f64)) / annuity
    }

    /// The quotes it was built from: maturity in years and par rate.
    #[must_use]
    pub fn quotes(key: &str) -> Vec<(usize, f64)> {
        let quotes = Quotes::of_key(key);
        KNOTS.into_iter().zip(quotes.par).collect()
    }

    /// Linear between the days, flat forwards beyond the last one.
    fn cumulative_at(&self, years: f64) -> f64 {
        let day = years.max(0.0) * YEAR_DAYS as f64;
        let mut low = 0;
        let mut high = self.cumulative.len() - 2;
        while low < high {
            let middle = (low + high).div_ceil(2);
            if middle as f64 <= day { low = middle } else { high = middle - 1 }
        }
        let (a, b) = (self.cumulative[low], self.cumulative[low + 1]);
        a + (b - a) * (day - low as f64)
    }
}

/// Par rates for [`KNOTS`].
struct Quotes {
    level: f64,
    par: [f64; KNOTS.len()],
}

impl Quotes {
    /// A plausible curve of the currency named in the key, bent by the bits of the whole key.
    fn of_key(key: &str) -> Self {
        let currency = key.rsplit('=').next().unwrap_or(key).split('-').next().unwrap_or(key);
        let level = match currency {
            "USD" => 0.042,
            "EUR" => 0.023,
            "GBP" => 0.040,
            "JPY" => 0.008,
            "CHF" => 0.006,
            _ => 0.030,
        };
        let mut bits = Random::new(hash(key));
        let mut about = |size: f64| size * (2.0 * bits.uniform() - 1.0);
        let (slope, hump) = (about(0.006), about(0.004));
        let par = KNOTS.map(|years| {
            let t = years as f64;
            let bend = slope * (1.0 - (-t / 8.0).exp()) + hump * (t / 5.0) * (-t / 5.0).exp();
            level + bend + about(0.0002)
        });
        Self { level, par }
    }
}

/// Averages each day with its neighbours, many times over; the ends stay.
fn smooth(forwards: &mut [f64]) {
    for _ in 0..SWEEPS {
        let mut left = forwards[0];
        for i in 1..forwards.len() - 1 {
            let here = forwards[i];
            forwards[i] = 0.25 * left + 0.5 * here + 0.25 * forwards[i + 1];
            left = here;
        }
    }
}

/// Shifts the forwards between neighbouring knots so that every quoted swap is worth nothing, the
/// shortest first.
fn reprice(forwards: &mut [f64], quotes: &Quotes) {
    let mut annuity = 0.0;
    let mut cumulative = 0.0;
    let mut from = 0;
    for (to, par) in KNOTS.into_iter().zip(quotes.par) {
        let days = &mut forwards[from * YEAR_DAYS..to * YEAR_DAYS];
        let years: Vec<f64> = days
            .chunks(YEAR_DAYS)
            .map(|year| year.iter().sum::<f64>() / YEAR_DAYS as f64)
            .collect();
        let shift = solve(|shift| {
            let (mut sum, mut left, mut factor) = (cumulative, annuity, 1.0);
            for year in &years {
                sum += year + shift;
                factor = f64::exp(-sum);
                left += factor;
            }
            par * left - (1.0 - factor)
        });
        for day in days {
            *day += shift;
        }
        for year in years {
            cumulative += year + shift;
            annuity += (-cumulative).exp();
        }
        from = to;
    }
}

/// Root of a falling function between minus and plus one, by bisection: no derivative, no failure.
fn solve(f: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (-1.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if f(middle) > 0.0 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
#[path = "curve_tests.rs"]
mod tests;
