//! Small tools of the fault tests: one clock, one generator, scratch directories, the printed
//! lines. Must not use anything of the product.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall clock of the start of the process in microseconds, and the instant it was read.
#[expect(clippy::disallowed_methods, reason = "a test of a real process lives in real time")]
fn origin() -> &'static (u64, Instant) {
    static ORIGIN: OnceLock<(u64, Instant)> = OnceLock::new();
    ORIGIN.get_or_init(|| {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        (u64::try_from(wall.as_micros()).expect("fits for 500,000 years"), Instant::now())
    })
}

/// Microseconds since 1970 that never fall: comparable with the server's `*_ts`.
pub(crate) fn now_us() -> u64 {
    let (wall, start) = origin();
    wall + u64::try_from(start.elapsed().as_micros()).expect("fits")
}

/// A small xorshift generator; every run prints its seed.
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator from a seed; equal seeds give equal sequences.
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Self(seed ^ 0x9e37_79b9_7f4a_7c15);
        if rng.0 == 0 {
            rng.0 = 1;
        }
        for _ in 0..8 {
            rng.next();
        }
        rng
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number in `from..to`.
    pub(crate) fn range(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from).max(1)
    }

    /// An index below `n`.
    pub(crate) fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % (n as u64).max(1)).expect("below n")
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// Seed of this run: `KWQ_TEST_SEED` or the clock.
pub(crate) fn seed() -> u64 {
    std::env::var("KWQ_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(now_us)
}

/// A count times `KWQ_TEST_SCALE` (default 1), at least 1.
pub(crate) fn scaled(count: usize) -> usize {
    let scale = std::env::var("KWQ_TEST_SCALE").ok().and_then(|s| s.parse::<usize>().ok());
    count.saturating_mul(scale.unwrap_or(1)).max(1)
}

/// Sleeps.
pub(crate) fn pause_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// A named thread.
pub(crate) fn spawn<F: FnOnce() + Send + 'static>(name: &str, f: F) -> JoinHandle<()> {
    Builder::new().name(name.into()).spawn(f).expect("threads are to be had")
}

/// Waits until `done` says so, looking every 10 ms; false after `limit_ms`.
pub(crate) fn wait_until(limit_ms: u64, mut done: impl FnMut() -> bool) -> bool {
    let end = now_us() + limit_ms * 1_000;
    loop {
        if done() {
            return true;
        }
        if now_us() > end {
            return false;
        }
        pause_ms(10);
    }
}

/// A fresh empty directory of this test under the target directory.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults").join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).expect("the old scratch directory goes");
    }
    std::fs::create_dir_all(&dir).expect("the scratch directory can be made");
    dir
}

/// Prints one line past the capture of the test runner: the counts belong to the report of a run.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "faults: {line}").expect("stdout takes a line");
}

/// One heavy test at a time: they measure times and the machine may have two cores.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static HEAVY: Mutex<()> = Mutex::new(());
    HEAVY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Flips a bit of the first of these files that holds `mark`, at it; the file.
pub(crate) fn damage(files: Vec<PathBuf>, mark: &str) -> Option<PathBuf> {
    files.into_iter().find(|file| {
        let mut bytes = std::fs::read(file).unwrap_or_default();
        let place = bytes.windows(mark.len()).position(|part| part == mark.as_bytes());
        let Some(byte) = place.and_then(|place| bytes.get_mut(place)) else { return false };
        *byte ^= 1;
        // In place: the server has the file open.
        let opened = OpenOptions::new().write(true).open(file).expect("a file can be written");
        opened.write_all_at(&[*byte], place.unwrap_or(0) as u64).expect("a byte can be written");
        true
    })
}
