//! What the writer counts of its syncs: how long, and how many records they made durable.

use crate::log::{LogNumbers, SYNC_BUCKETS};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters by bit length.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    micros: [AtomicU64; SYNC_BUCKETS],
    records: [AtomicU64; SYNC_BUCKETS],
}

impl Syncs {
    /// A sync has returned. `micros` is `None` where nobody measures time.
    pub(crate) fn count(&self, micros: Option<u64>, records: u64) {
        if let Some(micros) = micros {
            self.micros[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        }
        self.records[bucket(records)].fetch_add(1, Ordering::Relaxed);
    }

    /// Into what is shown.
    pub(crate) fn show(&self, numbers: &mut LogNumbers) {
        for (shown, counted) in
            [(&mut numbers.sync_micros, &self.micros), (&mut numbers.sync_records, &self.records)]
        {
            for (shown, counted) in shown.iter_mut().zip(counted) {
                *shown = counted.load(Ordering::Relaxed);
            }
        }
    }
}

fn bucket(value: u64) -> usize {
    let bits = (u64::BITS - value.leading_zeros()) as usize;
    bits.min(SYNC_BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::{Syncs, bucket};
    use crate::log::{LogNumbers, SYNC_BUCKETS};

    #[test]
    fn values_lie_by_their_bit_length() {
        assert_eq!([0, 1, 2, 3, 4, u64::MAX].map(bucket), [0, 1, 2, 2, 3, SYNC_BUCKETS - 1]);
        let (syncs, mut numbers) = (Syncs::default(), LogNumbers::default());
        syncs.count(None, 5);
        syncs.count(Some(1_000), 0);
        syncs.show(&mut numbers);
        assert_eq!((numbers.sync_micros.iter().sum::<u64>(), numbers.sync_micros[10]), (1, 1));
        assert_eq!((numbers.sync_records[0], numbers.sync_records[3]), (1, 1));
    }
}
