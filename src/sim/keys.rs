//! Affinity keys of a load: drawn by a task's number, evenly or skewed, the same in every run.

use crate::model::affinity::hit_ratio;
use serde::Serialize;

/// Which key a task carries.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Share of the tasks that carry this key or one before it, ascending to 1.
    upto: Vec<f64>,
}

/// How hand-outs fitted their workers.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fits {
    /// To a worker that was warm for it.
    pub hits: u64,
    /// To one that was warm for others.
    pub misses: u64,
    /// Share of the hits.
    pub hit_ratio: f64,
}

impl Keys {
    /// So many keys, the k-th carried k^`skew` times less often than the first; 0 = all alike.
    #[must_use]
    pub fn new(count: u32, skew: f64) -> Self {
        let share = |k: u32| f64::from(k).powf(-skew);
        let whole: f64 = (1..=count).map(share).sum();
        let mut sum = 0.0;
        let upto = (1..=count).map(|k| {
            sum += share(k) / whole;
            sum
        });
        Self { upto: upto.collect() }
    }

    /// Number of the key of a task; `None` without keys.
    #[must_use]
    pub fn of(&self, task: u64) -> Option<usize> {
        let mixed = task.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let at = f64::from(u32::try_from(mixed).unwrap_or(u32::MAX)) / 4_294_967_296.0;
        let last = self.upto.len().checked_sub(1)?;
        Some(self.upto.partition_point(|upto| *upto <= at).min(last))
    }
}

impl Fits {
    /// From counts.
    #[must_use]
    pub fn new(hits: u64, misses: u64) -> Self {
        Self { hits, misses, hit_ratio: hit_ratio(hits, misses) }
    }
}

#[cfg(test)]
mod tests {
    use super::Keys;

    fn counted(keys: &Keys, count: usize) -> Vec<u32> {
        let mut counts = vec![0; count];
        (0..100_000).filter_map(|task| keys.of(task)).for_each(|key| counts[key] += 1);
        counts
    }

    #[test]
    fn keys_are_alike_or_skewed_as_asked() {
        let even = counted(&Keys::new(10, 0.0), 10);
        assert!(even.iter().all(|count| (9_500..10_500).contains(count)), "{even:?}");
        let skewed = counted(&Keys::new(10, 1.0), 10);
        let ratio = f64::from(skewed[0]) / f64::from(skewed[9]);
        assert!((9.0..11.0).contains(&ratio), "{skewed:?}");
        assert_eq!(Keys::new(0, 1.0).of(7), None);
    }
}
