//! A tracker page: up to 1,024 rows in columns, with a summary in front that tells without decoding
//! whether a filter can match.
//!
//! ```text
//! version u8 | rows u16 LE | crc32c u32 LE of what follows
//! states u16 LE | jobs u64 LE | first admission u64 LE | last admission u64 LE
//! columns
//! column: runs of (varint length, zigzag varint step); within a run each value is the one before
//! plus the step
//! ```
//! Runs of equal steps fit what occurs: constants (job, priority, state of a pending batch) and
//! counters (entry in a record) are one run, stamps one to three bytes a row. Changing the layout:
//! raise [`VERSION`]; a store of another version is folded again from the log.

use crate::model::limits::PAGE_TASKS;
use crate::model::row::Row;

/// Layout of this file.
pub const VERSION: u8 = 4;
const HEADER: usize = 7;
const SUMMARY: usize = 26;

/// Why bytes are no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Written by another version.
    #[error("page of another version")]
    Version,
    /// Bytes are not what was written.
    #[error("page is damaged")]
    Damaged,
}

/// What a page holds, so that a list may pass it over unread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Stored states that occur, bit `TaskState::index`.
    pub states: u16,
    /// Jobs that occur, bit `number % 64`.
    pub jobs: u64,
    /// First and last admission, ms.
    pub admitted: [u64; 2],
}

impl Summary {
    /// Of rows that are all like this one.
    #[must_use]
    pub fn of_row(row: &Row) -> Self {
        Self::of(std::slice::from_ref(row))
    }

    fn of(rows: &[Row]) -> Self {
        let mut summary = Self { admitted: [u64::MAX, 0], ..Self::default() };
        for row in rows.iter().filter(|row| !row.gone()) {
            summary.states |= 1 << row.state.min(15);
            summary.jobs |= 1 << (row.job % 64);
            summary.admitted[0] = summary.admitted[0].min(row.submitted);
            summary.admitted[1] = summary.admitted[1].max(row.submitted);
        }
        summary
    }
}

/// The summary of an encoded page. Does not look at the rows; whoever stored the page checks it as
/// a whole.
///
/// # Errors
/// Another version, or too short for a page.
pub fn summary(bytes: &[u8]) -> Result<Summary, Error> {
    let (header, rest) = bytes.split_at_checked(HEADER).ok_or(Error::Damaged)?;
    if header[0] != VERSION {
        return Err(Error::Version);
    }
    let (states, rest) = rest.split_first_chunk().ok_or(Error::Damaged)?;
    let (jobs, rest) = rest.split_first_chunk().ok_or(Error::Damaged)?;
    let (first, rest) = rest.split_first_chunk().ok_or(Error::Damaged)?;
    let last = rest.first_chunk().ok_or(Error::Damaged)?;
    Ok(Summary {
        states: u16::from_le_bytes(*states),
        jobs: u64::from_le_bytes(*jobs),
        admitted: [u64::from_le_bytes(*first), u64::from_le_bytes(*last)],
    })
}

/// Rows → bytes.
///
/// # Panics
/// With more than 1,024 rows.
#[must_use]
pub fn encode(rows: &[Row]) -> Vec<u8> {
    assert!(rows.len() <= PAGE_TASKS, "a page has at most 1,024 rows");
    let mut out = vec![0; HEADER];
    let summary = Summary::of(rows);
    out.extend(summary.states.to_le_bytes());
    out.extend(summary.jobs.to_le_bytes());
    summary.admitted.iter().for_each(|stamp| out.extend(stamp.to_le_bytes()));
    encode_columns(&mut out, rows);
    let crc = crc32c::crc32c(out.get(HEADER..).unwrap_or_default());
    out[0] = VERSION;
    let count = u16::try_from(rows.len()).expect("at most 1,024 rows");
    out[1..3].copy_from_slice(&count.to_le_bytes());
    out[3..7].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Bytes → rows.
///
/// # Errors
/// Another version, or bytes that were not written by [`encode`].
pub fn decode(bytes: &[u8]) -> Result<Vec<Row>, Error> {
    let (header, mut rest) = bytes.split_at_checked(HEADER).ok_or(Error::Damaged)?;
    if header[0] != VERSION {
        return Err(Error::Version);
    }
    let count = usize::from(u16::from_le_bytes([header[1], header[2]]));
    let crc = u32::from_le_bytes([header[3], header[4], header[5], header[6]]);
    if count > PAGE_TASKS || crc32c::crc32c(rest) != crc {
        return Err(Error::Damaged);
    }
    rest = rest.get(SUMMARY..).ok_or(Error::Damaged)?;
    let mut rows = vec![Row::default(); count];
    decode_columns(&mut rest, &mut rows)?;
    if !rest.is_empty() {
        return Err(Error::Damaged);
    }
    Ok(rows)
}

/// One column of all rows. A loop of its own for each `value`: a table in between costs more than
/// the coding.
fn put(out: &mut Vec<u8>, rows: &[Row], value: impl Fn(&Row) -> u64) {
    let (mut last, mut run): (u64, Option<(u64, u64)>) = (0, None);
    for row in rows {
        let value = value(row);
        let step = value.wrapping_sub(last);
        last = value;
        run = match run {
            Some((length, same)) if same == step => Some((length + 1, same)),
            ended => {
                put_run(out, ended);
                Some((1, step))
            }
        };
    }
    put_run(out, run);
}

fn put_run(out: &mut Vec<u8>, run: Option<(u64, u64)>) {
    if let Some((length, step)) = run {
        put_varint(out, length);
        // Zigzag: small steps down are as short as small steps up.
        put_varint(out, step << 1 ^ (step >> 63).wrapping_neg());
    }
}

/// The opposite of [`put`].
fn take(
    rest: &mut &[u8],
    rows: &mut [Row],
    set: impl Fn(&mut Row, u64) -> Result<(), Error>,
) -> Result<(), Error> {
    let (mut at, mut value) = (0, 0u64);
    while at < rows.len() {
        let length = usize::try_from(take_varint(rest)?).map_err(|_| Error::Damaged)?;
        let coded = take_varint(rest)?;
        let step = coded >> 1 ^ (coded & 1).wrapping_neg();
        let run = rows.get_mut(at..).and_then(|r| r.get_mut(..length)).ok_or(Error::Damaged)?;
        if length == 0 {
            return Err(Error::Damaged);
        }
        for row in run {
            value = value.wrapping_add(step);
            set(row, value)?;
        }
        at += length;
    }
    Ok(())
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("below 128"));
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, Error> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(Error::Damaged)?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::Damaged)
}

/// Stamps as durations since the stage before, so that they are small and often equal; 0 = never.
fn since(later: u64, earlier: u64) -> u64 {
    if later == 0 { 0 } else { later.wrapping_sub(earlier).wrapping_add(1) }
}

/// The opposite of [`since`].
fn at(coded: u64, earlier: u64) -> u64 {
    if coded == 0 { 0 } else { earlier.wrapping_add(coded - 1) }
}

fn encode_columns(out: &mut Vec<u8>, rows: &[Row]) {
    put(out, rows, |r| u64::from(r.state));
    put(out, rows, |r| u64::from(r.submit_priority));
    put(out, rows, |r| u64::from(r.set_priority));
    put(out, rows, |r| u64::from(r.errors) << 8 | u64::from(r.crashes));
    put(out, rows, |r| u64::from(r.redriven));
    put(out, rows, |r| u64::from(r.attempt));
    put(out, rows, |r| u64::from(r.job));
    put(out, rows, |r| u64::from(r.worker));
    put(out, rows, |r| u64::from(r.endpoint));
    put(out, rows, |r| u64::from(r.class));
    put(out, rows, |r| r.submitted);
    put(out, rows, |r| since(r.available, r.submitted));
    put(out, rows, |r| since(r.allocated, r.submitted));
    put(out, rows, |r| since(r.running, r.allocated));
    put(out, rows, |r| since(r.ended, r.submitted));
    put(out, rows, |r| r.record);
    put(out, rows, |r| u64::from(r.entry));
    put(out, rows, |r| u64::from(r.payload_bytes));
    put(out, rows, |r| r.result_record);
    put(out, rows, |r| u64::from(r.result_entry));
    put(out, rows, |r| u64::from(r.result_bytes));
    put(out, rows, |r| since(r.due, r.submitted));
    put(out, rows, |r| u64::from(r.set_after));
    put(out, rows, |r| u64::from(r.tags));
}

/// Columns in the order of [`encode_columns`]: a stamp stands behind the one it counts from.
fn decode_columns(rest: &mut &[u8], rows: &mut [Row]) -> Result<(), Error> {
    take(rest, rows, |r, v| narrow(v, &mut r.state))?;
    take(rest, rows, |r, v| narrow(v, &mut r.submit_priority))?;
    take(rest, rows, |r, v| narrow(v, &mut r.set_priority))?;
    take(rest, rows, |r, v| {
        narrow(v >> 8, &mut r.errors)?;
        narrow(v & 0xff, &mut r.crashes)
    })?;
    take(rest, rows, |r, v| narrow(v, &mut r.redriven))?;
    take(rest, rows, |r, v| narrow(v, &mut r.attempt))?;
    take(rest, rows, |r, v| narrow(v, &mut r.job))?;
    take(rest, rows, |r, v| narrow(v, &mut r.worker))?;
    take(rest, rows, |r, v| narrow(v, &mut r.endpoint))?;
    take(rest, rows, |r, v| narrow(v, &mut r.class))?;
    take(rest, rows, |r, v| narrow(v, &mut r.submitted))?;
    take(rest, rows, |r, v| narrow(at(v, r.submitted), &mut r.available))?;
    take(rest, rows, |r, v| narrow(at(v, r.submitted), &mut r.allocated))?;
    take(rest, rows, |r, v| narrow(at(v, r.allocated), &mut r.running))?;
    take(rest, rows, |r, v| narrow(at(v, r.submitted), &mut r.ended))?;
    take(rest, rows, |r, v| narrow(v, &mut r.record))?;
    take(rest, rows, |r, v| narrow(v, &mut r.entry))?;
    take(rest, rows, |r, v| narrow(v, &mut r.payload_bytes))?;
    take(rest, rows, |r, v| narrow(v, &mut r.result_record))?;
    take(rest, rows, |r, v| narrow(v, &mut r.result_entry))?;
    take(rest, rows, |r, v| narrow(v, &mut r.result_bytes))?;
    take(rest, rows, |r, v| narrow(at(v, r.submitted), &mut r.due))?;
    take(rest, rows, |r, v| narrow(v, &mut r.set_after))?;
    take(rest, rows, |r, v| narrow(v, &mut r.tags))
}

fn narrow<T: TryFrom<u64>>(value: u64, field: &mut T) -> Result<(), Error> {
    *field = T::try_from(value).map_err(|_| Error::Damaged)?;
    Ok(())
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
