//! What a run measured: latencies, and the disk's own sync time, without which no durable rate
//! means anything.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Measures time. A load generator times others, so it reads the real clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a measurement is no replay")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Since the start, µs.
    #[must_use]
    pub fn us(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Latencies in µs, 3 digits.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

/// Quantiles of a histogram, µs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quantiles {
    /// Values.
    pub count: u64,
    /// Median.
    pub p50_us: u64,
    /// 90 %.
    pub p90_us: u64,
    /// 99 %.
    pub p99_us: u64,
    /// 99.9 %.
    pub p999_us: u64,
    /// Largest.
    pub max_us: u64,
}

impl Default for Latency {
    fn default() -> Self {
        let bounds = Histogram::new_with_bounds(1, 600_000_000, 3);
        Self(bounds.expect("1 µs to 10 min with 3 digits is a valid range"))
    }
}

impl Latency {
    /// Adds a value.
    pub fn record(&mut self, us: u64) {
        self.0.saturating_record(us.max(1));
    }

    /// The value below which this share (0…1) of all values lies, µs.
    #[must_use]
    pub fn at(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    /// The quantiles.
    #[must_use]
    pub fn quantiles(&self) -> Quantiles {
        Quantiles {
            count: self.0.len(),
            p50_us: self.0.value_at_quantile(0.5),
            p90_us: self.0.value_at_quantile(0.9),
            p99_us: self.0.value_at_quantile(0.99),
            p999_us: self.0.value_at_quantile(0.999),
            max_us: self.0.max(),
        }
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: u64| us as f64 / 1_000.0;
        write!(f, "p50 {:.2} ms  p99 {:.2} ms", ms(self.p50_us), ms(self.p99_us))?;
        write!(f, "  p99.9 {:.2} ms  max {:.2} ms", ms(self.p999_us), ms(self.max_us))
    }
}

/// 4 KiB into a zero-filled file, then `fdatasync`, one after another: the F of `performance.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskSync {
    /// Median, µs.
    pub p50_us: u64,
    /// 99 %, µs.
    pub p99_us: u64,
    /// Syncs timed.
    pub rounds: u64,
}

/// Bytes of a timed write.
const BLOCK: usize = 4_096;

impl DiskSync {
    /// Times `rounds` syncs on the disk of a directory; leaves nothing behind.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn measure(directory: &Path, rounds: u64) -> io::Result<Self> {
        let path = directory.join(format!(".kwq-sync-{}.tmp", std::process::id()));
        let measured = Self::measure_in(&path, rounds);
        std::fs::remove_file(&path)?;
        measured
    }

    fn measure_in(path: &Path, rounds: u64) -> io::Result<Self> {
        let mut file: File =
            OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
        let zeros = vec![0; BLOCK];
        for _ in 0..rounds {
            file.write_all(&zeros)?;
        }
        file.sync_data()?;
        let ones = vec![1; BLOCK];
        let mut latency = Latency::default();
        for round in 0..rounds {
            let watch = Stopwatch::start();
            file.write_all_at(&ones, round * BLOCK as u64)?;
            file.sync_data()?;
            latency.record(watch.us());
        }
        let all = latency.quantiles();
        Ok(Self { p50_us: all.p50_us, p99_us: all.p99_us, rounds })
    }
}

impl fmt::Display for DiskSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99) = (self.p50_us as f64 / 1e3, self.p99_us as f64 / 1e3);
        write!(f, "p50 {p50:.2} ms, p99 {p99:.2} ms")
    }
}

/// What the system says about a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessUse {
    /// Resident bytes that are not a file's cache.
    pub rss_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Time on a core so far, ms; the kernel counts in steps of 10.
    pub cpu_ms: u64,
}

/// One step of the kernel's clock as it shows times of processes, ms.
const CPU_STEP_MS: u64 = 10;

impl ProcessUse {
    /// Of a process on this machine; `None` where there is no such process or no `/proc`.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let number = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before it may hold anything; user and system time are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')')?;
        let times = fields.split_whitespace().skip(11).take(2);
        let steps: u64 = times.filter_map(|field| field.parse::<u64>().ok()).sum();
        Some(Self {
            rss_bytes: number("RssAnon:")? * 1_024,
            threads: number("Threads:")?,
            cpu_ms: steps * CPU_STEP_MS,
        })
    }
}
