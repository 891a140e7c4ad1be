//! Time as an argument: wall-clock milliseconds for people, ticks for measuring. Nobody below the
//! shells reads a clock.

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Milliseconds since 1970-01-01 UTC by the owner's wall clock. 0 = not set.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct WallMs(pub u64);

/// Milliseconds of the owner's monotonic clock since process start. Never goes backwards, means
/// nothing elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

/// The two clocks, read once per turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Wall clock, for stamps.
    pub wall: WallMs,
    /// Monotonic clock, for leases, delays and waits.
    pub tick: Tick,
}

impl WallMs {
    /// `self + ms`, saturating.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
    /// Milliseconds since `earlier`; 0 when the clock was set back.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
    /// `None` when not set.
    #[must_use]
    pub fn known(self) -> Option<Self> {
        (self.0 != 0).then_some(self)
    }
    /// RFC 3339 in UTC with milliseconds, e.g. `2026-11-24T12:00:00.000Z`.
    ///
    /// Source of the idea: Howard Hinnant, "chrono-compatible low-level date algorithms" (civil
    /// from days).
    #[must_use]
    pub fn rfc3339(self) -> String {
        let (days, ms) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let z = days + 719_468;
        let (era, doe) = (z / 146_097, z % 146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
        let year = yoe + era * 400 + u64::from(month <= 2);
        let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        let mut out = String::with_capacity(24);
        write!(out, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", ms % 1_000)
            .expect("a String accepts every write");
        out
    }
}

impl Tick {
    /// `self + ms`, saturating.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
    /// Milliseconds since `earlier`, 0 if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A smaller step of a wall clock is one of those by which it is kept right, ms.
const STEP_MS: u64 = 1_000;

/// Sees that the wall clock was set.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallWatch(Option<Now>);

impl WallWatch {
    /// By how much the wall clock has gone ahead of the time that has passed since the last look,
    /// ms; negative: it was set back. `None` = by 1 s at most.
    pub fn look(&mut self, now: Now) -> Option<i64> {
        let last = self.0.replace(now)?;
        let expected = last.wall.plus(now.tick.since(last.tick));
        let (ahead, behind) = (now.wall.since(expected), expected.since(now.wall));
        let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        (ahead.max(behind) > STEP_MS).then(|| ms(ahead) - ms(behind))
    }
}

/// Parses a duration with its unit (`250ms 5s 10m 2h 7d`) into milliseconds.
///
/// # Errors
/// A text that says what was expected.
pub fn parse_duration_ms(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    parse_with_unit(text, &UNITS)
        .ok_or_else(|| format!("`{text}` is not a duration; write e.g. 250ms, 5s, 10m, 2h, 7d"))
}

/// Parses a size with its unit (`512B 64KiB 1MiB 2GiB`) into bytes.
///
/// # Errors
/// A text that says what was expected.
pub fn parse_size_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 4] =
        [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];
    parse_with_unit(text, &UNITS)
        .ok_or_else(|| format!("`{text}` is not a size; write e.g. 512B, 64KiB, 1MiB, 2GiB"))
}

fn parse_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_seen_once() {
        let mut watch = WallWatch::default();
        let mut look = |wall, tick| watch.look(Now { wall: WallMs(wall), tick: Tick(tick) });
        assert_eq!(look(1_000_000, 0), None, "the first look");
        assert_eq!(look(1_061_000, 60_000), None, "it goes a little fast");
        assert_eq!(look(8_262_000, 61_000), Some(7_200_000));
        assert_eq!(look(8_263_000, 62_000), None);
        assert_eq!(look(1_064_000, 63_000), Some(-7_200_000));
    }
}
