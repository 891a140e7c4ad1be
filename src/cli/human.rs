//! Numbers and times as people read them.

use crate::model::time::{WallMs, parse_duration_ms};
use std::time::Duration;

/// `20000` → `20,000`.
#[must_use]
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `4100000` → `4.1 M`.
#[must_use]
pub(super) fn short(n: u64) -> String {
    let f = n as f64;
    match n {
        0..=9_999 => grouped(n),
        10_000..=999_999 => format!("{:.1} k", f / 1e3),
        1_000_000..=999_999_999 => format!("{:.1} M", f / 1e6),
        1_000_000_000.. => format!("{:.1} G", f / 1e9),
    }
}

/// `8500` → `8.5 s`.
#[must_use]
pub(super) fn duration(ms: u64) -> String {
    let s = ms / 1_000;
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=9_999 => format!("{:.1} s", ms as f64 / 1e3),
        10_000..=119_999 => format!("{s} s"),
        120_000..=7_199_999 => format!("{} min", s / 60),
        7_200_000..=172_799_999 => format!("{} h", s / 3_600),
        172_800_000.. => format!("{} d", s / 86_400),
    }
}

/// `1048576` → `1.0 MiB`.
#[must_use]
pub(super) fn bytes(n: u64) -> String {
    let f = n as f64;
    match n {
        0..=1_023 => format!("{n} B"),
        1_024..=1_048_575 => format!("{:.1} KiB", f / 1024.0),
        1_048_576..=1_073_741_823 => format!("{:.1} MiB", f / 1_048_576.0),
        1_073_741_824.. => format!("{:.1} GiB", f / 1_073_741_824.0),
    }
}

/// A time stamp for people; `-` when unset.
#[must_use]
pub(super) fn stamp(ms: u64) -> String {
    WallMs(ms).known().map_or_else(|| "-".to_owned(), WallMs::rfc3339)
}

/// A bar of `width` cells.
#[must_use]
pub(super) fn bar(done: u64, total: u64, width: u64) -> String {
    let full = (done.min(total) * width).checked_div(total).unwrap_or(0);
    (0..width).map(|i| if i < full { '█' } else { '░' }).collect()
}

/// Reads a duration flag.
///
/// # Errors
/// What was expected.
pub(super) fn duration_flag(text: &str) -> Result<Duration, String> {
    parse_duration_ms(text).map(Duration::from_millis)
}

/// The candidate nearest to a word, if one is near enough to be meant.
#[must_use]
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let limit = (word.len() / 3).max(1);
    let scored = candidates.iter().map(|candidate| (distance(word, candidate), *candidate));
    scored.filter(|(d, _)| *d <= limit).min_by_key(|(d, _)| *d).map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace) between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = corner + usize::from(from != *to);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}
