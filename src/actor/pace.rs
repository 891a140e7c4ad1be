//! The pace of submits while the tracker is behind: a source that is faster than the fold is slowed
//! before it is refused.

use std::time::Duration;

/// Longest wait, ms.
const MOST_MS: u64 = 1_000;

/// How long a submit waits when the tracker is `lag` changes behind and `most` are let be: the
/// longer the farther, at most 1 s. `left` = how much later it may begin.
///
/// # Errors
/// Why it is refused: the tracker is behind by twice as much, or the wait is longer than `left`.
pub(super) fn wait(lag: u64, most: u64, left: Option<Duration>) -> Result<Duration, String> {
    let Some(excess) = lag.checked_sub(most + 1) else { return Ok(Duration::ZERO) };
    let behind = format!("lists and counters are {lag} changes behind");
    if excess >= most {
        return Err(format!("{behind}, more than twice tracker.max-lag"));
    }
    let ms = 1 + excess * MOST_MS / most;
    let wait = Duration::from_millis(ms);
    match left.filter(|left| *left < wait) {
        Some(_) => Err(format!("{behind}, so submits wait {ms} ms; Kwq-Timeout-Ms allows less")),
        None => Ok(wait),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_submit_waits_the_longer_the_farther() {
        let waits = [0, 1_000, 1_001, 1_501, 2_000].map(|lag| wait(lag, 1_000, None));
        assert_eq!(waits, [ms(0), ms(0), ms(1), ms(501), ms(1_000)].map(Ok));
        assert!(wait(2_001, 1_000, None).is_err());
    }

    #[test]
    fn it_does_not_begin_later_than_its_caller_allows() {
        assert_eq!(wait(1_501, 1_000, Some(ms(501))), Ok(ms(501)));
        assert!(wait(1_501, 1_000, Some(ms(500))).is_err());
        assert_eq!(wait(1_000, 1_000, Some(ms(0))), Ok(ms(0)), "no wait is none too many");
    }
}
