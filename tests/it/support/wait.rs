//! Names, deadlines and background calls. Tests never assert on tight times: they wait for a
//! condition until a generous limit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A name nobody else in this run uses: tests share servers, never jobs or workers.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Repeats `probe` until it gives a value; panics with `what` after a minute.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let begun = start_watch();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(since(begun) < Duration::from_secs(60), "never happened: {what}");
        pause(25);
    }
}

/// Runs a blocking call beside the test.
pub(crate) fn in_background<T: Send + 'static>(
    call: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    Builder::new().spawn(call).expect("a thread can be had")
}

/// Sleeps between two looks at a condition.
pub(crate) fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Milliseconds since 1970 by the wall clock of this machine.
pub(crate) fn now_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "a black-box test lives outside the Clock")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("fits until the year 292 million")
}

/// The start of a measured stretch.
pub(crate) fn start_watch() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a black-box test lives outside the Clock")]
    let now = Instant::now();
    now
}

/// How long ago `begun` was.
pub(crate) fn since(begun: Instant) -> Duration {
    begun.elapsed()
}
