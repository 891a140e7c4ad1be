//! Bodies of the events that name many tasks by number.
//!
//! A task is written as the distance from the one before, with one bit that says that everything
//! else is as before:
//!
//! ```text
//! varint( zigzag(seq − previous seq − 1) << 1 | changed ) [ the changed fields ]
//! ```
//! Neighbours in order with equal attempt and lease cost one byte, far ones two or three. Numbers
//! wrap: any u64 is exact.

use crate::codec::Malformed;
use crate::codec::bytes::{Cursor, len_u64, put_bytes, put_option, put_varint, put_zigzag, zigzag};
use crate::codec::event::Detail;
use crate::codec::event::submitted::{encoding, encoding_byte, priority};
use crate::model::event::{
    Completion, Event, FailCause, Failure, Next, Release, ReleaseCause, Start,
};
use crate::model::id::{LeaseNo, Name, TaskSeq};
use crate::model::priority::Priority;
use crate::model::task::Blob;
use crate::model::time::WallMs;
use std::collections::HashMap;

/// Distances between the numbers of a batch. Starts before 0, so that the first one is the number
/// itself.
pub(super) struct Steps {
    expected: u64,
}

impl Steps {
    pub(super) fn new() -> Self {
        Self { expected: 0 }
    }

    pub(super) fn put(&mut self, out: &mut Vec<u8>, seq: TaskSeq, changed: bool) {
        let step = u128::from(zigzag(seq.0.wrapping_sub(self.expected).cast_signed()));
        // One bit more than a u64 holds: the low bits first, so that common steps stay short.
        let joined = step << 1 | u128::from(changed);
        put_wide(out, joined);
        self.expected = seq.0.wrapping_add(1);
    }

    pub(super) fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(TaskSeq, bool), Malformed> {
        let joined = wide(cursor)?;
        let changed = joined & 1 == 1;
        let step = u64::try_from(joined >> 1).map_err(|_| Malformed("batch: step"))?;
        let step = crate::codec::bytes::unzigzag(step).cast_unsigned();
        let seq = TaskSeq(self.expected.wrapping_add(step));
        self.expected = seq.0.wrapping_add(1);
        Ok((seq, changed))
    }
}

/// A varint of 65 bits: the first byte holds six bits and, in bit 6, whether a plain varint
/// follows.
fn put_wide(out: &mut Vec<u8>, value: u128) {
    let low = value.to_le_bytes()[0] & 0x3f;
    let high = u64::try_from(value >> 6).unwrap_or(u64::MAX);
    if high == 0 {
        out.push(low);
    } else {
        out.push(low | 0x40);
        put_varint(out, high);
    }
}

fn wide(cursor: &mut Cursor<'_>) -> Result<u128, Malformed> {
    let first = cursor.byte()?;
    match first {
        0..0x40 => Ok(u128::from(first)),
        0x40..0x80 => Ok(u128::from(cursor.varint()?) << 6 | u128::from(first & 0x3f)),
        0x80.. => Err(Malformed("batch: step")),
    }
}

/// Appends the body: `n | n × (step [attempt])`.
pub fn put_started(out: &mut Vec<u8>, tasks: &[Start]) {
    put_varint(out, len_u64(tasks.len()));
    let (mut steps, mut last) = (Steps::new(), 1);
    for task in tasks {
        steps.put(out, task.seq, task.attempt != last);
        if task.attempt != last {
            put_varint(out, u64::from(task.attempt));
        }
        last = task.attempt;
    }
}

/// Reads `Started`.
///
/// # Errors
/// Anything that [`put_started`] does not write.
pub fn started(body: &[u8]) -> Result<Event, Malformed> {
    let mut cursor = Cursor::new(body);
    let count: usize = cursor.number()?;
    let mut tasks = cursor.reserve(count);
    let (mut steps, mut attempt) = (Steps::new(), 1);
    for _ in 0..count {
        let (seq, changed) = steps.read(&mut cursor)?;
        if changed {
            attempt = cursor.number()?;
        }
        tasks.push(Start { seq, attempt });
    }
    cursor.end()?;
    Ok(Event::Started(tasks))
}

const LATE: u8 = 1;
const HAS_RESULT: u8 = 1 << 1;
const RESULT_ENCODING: u8 = 2;

/// Appends the body: `n | n × (step [attempt, flags] | lease step | run ms [| result size]) |
/// results raw`.
pub fn put_completed(out: &mut Vec<u8>, tasks: &[Completion]) {
    put_varint(out, len_u64(tasks.len()));
    let (mut steps, mut last, mut lease) = (Steps::new(), (1, 0), 0u64);
    for task in tasks {
        let now = (task.attempt, completion_flags(task));
        steps.put(out, task.seq, now != last);
        if now != last {
            put_varint(out, u64::from(now.0));
            out.push(now.1);
        }
        put_zigzag(out, task.lease.0.wrapping_sub(lease).cast_signed());
        put_varint(out, task.run_ms);
        if let Some(result) = &task.result {
            put_varint(out, len_u64(result.bytes.len()));
        }
        (last, lease) = (now, task.lease.0.wrapping_add(1));
    }
    tasks.iter().filter_map(|t| t.result.as_ref()).for_each(|r| out.extend_from_slice(&r.bytes));
}

fn completion_flags(task: &Completion) -> u8 {
    let result = task.result.as_ref();
    let shown = result.map_or(0, |r| HAS_RESULT | encoding_byte(r.encoding) << RESULT_ENCODING);
    shown | if task.late { LATE } else { 0 }
}

/// Entries of `Completed` with their result sizes, results not read yet; the rest are the results.
fn completions<'a>(body: &'a [u8]) -> Result<(Vec<Completion>, Vec<usize>, Cursor<'a>), Malformed> {
    let mut cursor = Cursor::new(body);
    let count: usize = cursor.number()?;
    let (mut tasks, mut sizes) = (cursor.reserve(count), cursor.reserve(count));
    let (mut steps, mut last, mut lease) = (Steps::new(), (1, 0), 0u64);
    for _ in 0..count {
        let (seq, changed) = steps.read(&mut cursor)?;
        if changed {
            last = (cursor.number()?, cursor.byte()?);
        }
        let (attempt, flags) = last;
        lease = lease.wrapping_add(cursor.zigzag()?.cast_unsigned());
        let run_ms = cursor.varint()?;
        let mut result = None;
        if flags & HAS_RESULT != 0 {
            result =
                Some(Blob { encoding: encoding(flags >> RESULT_ENCODING)?, bytes: Vec::new() });
            sizes.push(cursor.number()?);
        } else if flags > LATE {
            return Err(Malformed("completed: flags"));
        } else {
            sizes.push(0);
        }
        let late = flags & LATE != 0;
        tasks.push(Completion { seq, attempt, lease: LeaseNo(lease), late, run_ms, result });
        lease = lease.wrapping_add(1);
    }
    Ok((tasks, sizes, cursor))
}

/// Reads `Completed`, and under [`Detail::Skim`] the result sizes.
///
/// # Errors
/// Anything that [`put_completed`] does not write.
pub fn completed(body: &[u8], detail: Detail) -> Result<(Event, Vec<u32>), Malformed> {
    let (mut tasks, sizes, mut results) = completions(body)?;
    let mut skimmed = Vec::new();
    for (task, size) in tasks.iter_mut().zip(sizes) {
        let bytes = results.take(size)?;
        match (detail, &mut task.result) {
            (Detail::Full, Some(result)) => result.bytes = bytes.to_vec(),
            (Detail::Full, None) => {}
            (Detail::Skim, _) => skimmed.push(crate::codec::bytes::len_u32(size)),
        }
    }
    results.end()?;
    Ok((Event::Completed(tasks), skimmed))
}

/// Reads one result of `Completed`; `None` if the entry has none.
///
/// # Errors
/// No such entry, or anything that [`put_completed`] does not write.
pub fn decode_result(body: &[u8], index: u32) -> Result<Option<Blob>, Malformed> {
    let (mut tasks, sizes, mut results) = completions(body)?;
    let index = usize::try_from(index).map_err(|_| Malformed("completed: index"))?;
    let size = *sizes.get(index).ok_or(Malformed("completed: index"))?;
    let before = sizes.iter().take(index).try_fold(0usize, |sum, size| sum.checked_add(*size));
    results.take(before.ok_or(Malformed("completed: size"))?)?;
    let bytes = results.take(size)?;
    Ok(tasks.swap_remove(index).result.map(|blob| Blob { bytes: bytes.to_vec(), ..blob }))
}

fn put_next(out: &mut Vec<u8>, next: Next) {
    match next {
        Next::Pending => out.push(0),
        Next::Error => out.push(1),
        Next::Cancelled => out.push(2),
        Next::Delayed(at) => {
            out.push(3);
            put_varint(out, at.0);
        }
    }
}

fn next(cursor: &mut Cursor<'_>) -> Result<Next, Malformed> {
    match cursor.byte()? {
        0 => Ok(Next::Pending),
        1 => Ok(Next::Error),
        2 => Ok(Next::Cancelled),
        3 => Ok(Next::Delayed(WallMs(cursor.varint()?))),
        4.. => Err(Malformed("failed: next")),
    }
}

/// Appends the body: `cause | s | s × text | n | n × (step [attempt] | lease | class | message |
/// budgets | next | run ms)`.
pub fn put_failed(out: &mut Vec<u8>, cause: FailCause, tasks: &[Failure]) {
    out.push(match cause {
        FailCause::Error => 0,
        FailCause::Timeout => 1,
        FailCause::Crash => 2,
    });
    let mut numbers: HashMap<&str, u64> = HashMap::new();
    let mut texts: Vec<&str> = Vec::new();
    for text in tasks.iter().flat_map(|t| [&*t.class, &*t.message]) {
        numbers.entry(text).or_insert_with(|| {
            texts.push(text);
            len_u64(texts.len() - 1)
        });
    }
    put_varint(out, len_u64(texts.len()));
    texts.iter().for_each(|text| put_bytes(out, text.as_bytes()));
    put_varint(out, len_u64(tasks.len()));
    let (mut steps, mut last) = (Steps::new(), 1);
    for task in tasks {
        steps.put(out, task.seq, task.attempt != last);
        if task.attempt != last {
            put_varint(out, u64::from(task.attempt));
        }
        put_varint(out, task.lease.0);
        put_varint(out, numbers.get(&*task.class).copied().unwrap_or_default());
        put_varint(out, numbers.get(&*task.message).copied().unwrap_or_default());
        out.extend_from_slice(&[task.errors, task.crashes]);
        put_next(out, task.next);
        put_varint(out, task.run_ms);
        last = task.attempt;
    }
}

/// Reads `Failed`.
///
/// # Errors
/// Anything that [`put_failed`] does not write.
pub fn failed(body: &[u8]) -> Result<Event, Malformed> {
    let mut cursor = Cursor::new(body);
    let cause = match cursor.byte()? {
        0 => FailCause::Error,
        1 => FailCause::Timeout,
        2 => FailCause::Crash,
        3.. => return Err(Malformed("failed: cause")),
    };
    let text_count: usize = cursor.number()?;
    let mut texts: Vec<Name> = cursor.reserve(text_count);
    for _ in 0..text_count {
        texts.push(cursor.text()?.into());
    }
    let text = |n: usize| texts.get(n).cloned().ok_or(Malformed("failed: text"));
    let count: usize = cursor.number()?;
    let mut tasks = cursor.reserve(count);
    let (mut steps, mut attempt) = (Steps::new(), 1);
    for _ in 0..count {
        let (seq, changed) = steps.read(&mut cursor)?;
        if changed {
            attempt = cursor.number()?;
        }
        tasks.push(Failure {
            seq,
            attempt,
            lease: LeaseNo(cursor.varint()?),
            class: text(cursor.number()?)?,
            message: text(cursor.number()?)?,
            errors: cursor.byte()?,
            crashes: cursor.byte()?,
            next: next(&mut cursor)?,
            run_ms: cursor.varint()?,
        });
    }
    cursor.end()?;
    Ok(Event::Failed { cause, tasks })
}

/// Appends the body: `cause | n | n × (step [attempt] | lease | next)`.
pub fn put_released(out: &mut Vec<u8>, cause: ReleaseCause, tasks: &[Release]) {
    out.push(match cause {
        ReleaseCause::Release => 0,
        ReleaseCause::Worker => 1,
        ReleaseCause::Undelivered => 2,
    });
    put_varint(out, len_u64(tasks.len()));
    let (mut steps, mut last) = (Steps::new(), 1);
    for task in tasks {
        steps.put(out, task.seq, task.attempt != last);
        if task.attempt != last {
            put_varint(out, u64::from(task.attempt));
        }
        put_varint(out, task.lease.0);
        put_next(out, task.next);
        last = task.attempt;
    }
}

/// Reads `Released`.
///
/// # Errors
/// Anything that [`put_released`] does not write.
pub fn released(body: &[u8]) -> Result<Event, Malformed> {
    let mut cursor = Cursor::new(body);
    let cause = match cursor.byte()? {
        0 => ReleaseCause::Release,
        1 => ReleaseCause::Worker,
        2 => ReleaseCause::Undelivered,
        3.. => return Err(Malformed("released: cause")),
    };
    let count: usize = cursor.number()?;
    let mut tasks = cursor.reserve(count);
    let (mut steps, mut attempt) = (Steps::new(), 1);
    for _ in 0..count {
        let (seq, changed) = steps.read(&mut cursor)?;
        if changed {
            attempt = cursor.number()?;
        }
        let lease = LeaseNo(cursor.varint()?);
        tasks.push(Release { seq, attempt, lease, next: next(&mut cursor)? });
    }
    cursor.end()?;
    Ok(Event::Released { cause, tasks })
}

/// Appends the body of `Cancelled`: `n | n × step`.
pub fn put_seqs(out: &mut Vec<u8>, tasks: &[TaskSeq]) {
    put_varint(out, len_u64(tasks.len()));
    let mut steps = Steps::new();
    tasks.iter().for_each(|seq| steps.put(out, *seq, false));
}

/// Reads what [`put_seqs`] wrote, as a part of a body.
///
/// # Errors
/// Anything else.
pub fn seqs(cursor: &mut Cursor<'_>) -> Result<Vec<TaskSeq>, Malformed> {
    let count: usize = cursor.number()?;
    let mut tasks = cursor.reserve(count);
    let mut steps = Steps::new();
    for _ in 0..count {
        match steps.read(cursor)? {
            (seq, false) => tasks.push(seq),
            (_, true) => return Err(Malformed("batch: step")),
        }
    }
    Ok(tasks)
}

/// Reads `Cancelled`.
///
/// # Errors
/// Anything that [`put_seqs`] does not write.
pub fn cancelled(body: &[u8]) -> Result<Event, Malformed> {
    let mut cursor = Cursor::new(body);
    let tasks = seqs(&mut cursor)?;
    cursor.end()?;
    Ok(Event::Cancelled(tasks))
}

/// Appends the body of `Redriven`: `priority? | n | n × step`.
pub fn put_redriven(out: &mut Vec<u8>, tasks: &[TaskSeq], priority: Option<Priority>) {
    put_option(out, priority.map(|p| u64::from(p.get())));
    put_seqs(out, tasks);
}

/// Reads `Redriven`.
///
/// # Errors
/// Anything that [`put_redriven`] does not write.
pub fn redriven(body: &[u8]) -> Result<Event, Malformed> {
    let mut cursor = Cursor::new(body);
    let priority = cursor.option()?.map(priority).transpose()?;
    let tasks = seqs(&mut cursor)?;
    cursor.end()?;
    Ok(Event::Redriven { tasks, priority })
}
