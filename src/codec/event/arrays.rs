//! `SubmittedArray`: the values, then the body of a `Submitted` with one task, whose payload is the
//! template.
//!
//! ```text
//! u64 first sequence number | varint from | varint step | varint count | 2 × u64 content hash
//! option text id | body of `Submitted`
//! ```

use crate::codec::Malformed;
use crate::codec::bytes::{Cursor, put_option_str, put_varint};
use crate::codec::event::{Detail, submitted};
use crate::model::array::{ArraySpec, Span};
use crate::model::event::Event;
use crate::model::id::TaskSeq;
use crate::model::key::Hash128;
use crate::model::task::TaskSpec;

/// Appends the body.
pub fn put(out: &mut Vec<u8>, first: TaskSeq, array: &ArraySpec) {
    out.extend_from_slice(&first.0.to_le_bytes());
    for value in [array.span.from, array.span.step, array.span.count] {
        put_varint(out, value);
    }
    array.content.0.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    put_option_str(out, array.id.as_deref());
    submitted::put(out, first, std::slice::from_ref(&array.task));
}

/// Reads an array.
///
/// # Errors
/// Anything that [`put`] does not write.
pub fn read(body: &[u8]) -> Result<Event, Malformed> {
    let (first, array) = decode(body)?;
    Ok(Event::SubmittedArray { first, array: Box::new(array) })
}

/// Reads one element, in constant time.
///
/// # Errors
/// No such element, or anything that [`put`] does not write.
pub fn decode_element(body: &[u8], index: u32) -> Result<TaskSpec, Malformed> {
    let (first, array) = decode(body)?;
    if u64::from(index) >= array.span.count {
        return Err(Malformed("array: no such element"));
    }
    Ok(array.element(first, u64::from(index)))
}

fn decode(body: &[u8]) -> Result<(TaskSeq, ArraySpec), Malformed> {
    let mut cursor = Cursor::new(body);
    let first = TaskSeq(cursor.u64()?);
    let span = Span { from: cursor.varint()?, step: cursor.varint()?, count: cursor.varint()? };
    let last = span.count.checked_sub(1).and_then(|last| last.checked_mul(span.step));
    let sound = last.is_none_or(|ahead| span.from.checked_add(ahead).is_some());
    if span.step == 0 || (span.count > 0 && last.is_none()) || !sound {
        return Err(Malformed("array: values"));
    }
    let content = Hash128([cursor.u64()?, cursor.u64()?]);
    let id = cursor.option_text()?.map(Into::into);
    let (event, _) = submitted::read(cursor.rest(), Detail::Full)?;
    let Event::Submitted { first: same, tasks } = event else {
        return Err(Malformed("array: task"));
    };
    let [task] = <[TaskSpec; 1]>::try_from(tasks).map_err(|_| Malformed("array: task"))?;
    if same != first {
        return Err(Malformed("array: task"));
    }
    Ok((first, ArraySpec { task, span, id, content }))
}
