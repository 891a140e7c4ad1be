//! The only time and the only chance of the process. Everything else gets them as arguments.

use crate::model::time::{Now, Tick, WallMs};
use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Reads the two clocks together.
pub trait Clock: Send + Sync {
    /// Wall clock and monotonic tick.
    fn now(&self) -> Now;
}

/// Source of unguessable bits.
pub trait Entropy: Send + Sync {
    /// 64 fresh random bits.
    fn next_u64(&self) -> u64;
}

/// The clocks of the operating system.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Ticks count from this call.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self { start: Instant::now() })
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        let tick = self.start.elapsed().as_millis();
        Now {
            wall: WallMs(u64::try_from(wall).unwrap_or(u64::MAX)),
            tick: Tick(u64::try_from(tick).unwrap_or(u64::MAX)),
        }
    }
}

/// Microseconds since the first call, monotonic: for measuring what the log does.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
pub fn stopwatch_micros() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Random bits of the operating system.
#[derive(Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks for chance")]
    fn next_u64(&self) -> u64 {
        getrandom::u64().expect("the operating system provides random bits")
    }
}
