//! How long a partition that fell waits before it is rebuilt.

use crate::model::time::Tick;
use std::time::Duration;

/// Wait after the first fall and the longest one, ms (P22).
const WAIT_MS: (u64, u64) = (100, 10_000);

/// The falls of one partition. Each doubles the wait; one that comes after the partition has served
/// for longer than the longest wait has nothing to do with those before and is a first one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Restarts {
    falls: u32,
    served_since: Option<Tick>,
}

impl Restarts {
    /// The partition serves.
    pub(super) fn serves(&mut self, now: Tick) {
        self.served_since = Some(now);
    }

    /// It is down, or could not be rebuilt.
    pub(super) fn fell(&mut self, now: Tick) {
        let served = self.served_since.take().map_or(0, |since| now.0.saturating_sub(since.0));
        let before = if served > WAIT_MS.1 { 0 } else { self.falls };
        self.falls = before.saturating_add(1);
    }

    /// From now to the next try.
    pub(super) fn wait(&self) -> Duration {
        if self.falls == 0 {
            return Duration::ZERO;
        }
        let doubled = self.falls.saturating_sub(1).min(u64::BITS / 4);
        Duration::from_millis((WAIT_MS.0 << doubled).min(WAIT_MS.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(restarts: &mut Restarts, falls: &[u64]) -> Vec<u128> {
        let fall = |at: &u64| {
            restarts.serves(Tick(0));
            restarts.fell(Tick(*at));
            restarts.wait().as_millis()
        };
        falls.iter().map(fall).collect()
    }

    #[test]
    fn each_fall_doubles_the_wait_up_to_the_longest() {
        let expected = [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000];
        assert_eq!(waits(&mut Restarts::default(), &[0; 9]), expected);
        let mut many = Restarts { falls: u32::MAX, served_since: None };
        assert_eq!(waits(&mut many, &[0]), [10_000]);
    }

    #[test]
    fn one_that_served_long_enough_begins_anew() {
        let mut restarts = Restarts::default();
        assert_eq!(waits(&mut restarts, &[0, 10_000, 10_001, 1]), [100, 200, 100, 200]);
    }

    #[test]
    fn a_rebuild_that_fails_is_no_service() {
        let mut restarts = Restarts::default();
        restarts.serves(Tick(0));
        restarts.fell(Tick(1));
        restarts.fell(Tick(60_000));
        assert_eq!(restarts.wait().as_millis(), 200);
    }
}
