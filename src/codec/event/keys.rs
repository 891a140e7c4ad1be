//! Bodies of `Key`: what makes a repeated submit one.
//!
//! ```text
//! 0 = a remembered part:  32 B SHA-256 of the key | 32 B of the content | part | answer
//!     answer: 0 | n | n outcomes      1 | bytes of a note      2: forgotten
//!     outcome: 0 admitted, 1 duplicate: priority | first number | count
//!              2 elsewhere: partition | count
//!              3 refused: code | detail | field? | hint? | reference of the existing task?
//!              4 share of an array, 5 one that was there: priority | first number | count
//! 1 = duplicates, of `dedup: task` and of arrays:  n | n × (job | count)
//! ```

use crate::codec::Malformed;
use crate::codec::bytes::{Cursor, len_u64, put_bytes, put_option_str, put_varint};
use crate::codec::event::submitted::priority;
use crate::model::event::Event;
use crate::model::id::{Name, PartitionId, TaskSeq};
use crate::model::key::{Digest, KeyAnswer, KeyPart, Refusal, Told};
use crate::model::reference::TaskRef;

const REMEMBERED: u8 = 0;
const DUPLICATES: u8 = 1;
const TASKS: u8 = 0;
const NOTE: u8 = 1;
const FREE: u8 = 2;
const ADMITTED: u8 = 0;
const DUPLICATE: u8 = 1;
const ELSEWHERE: u8 = 2;
const REFUSED: u8 = 3;
const ARRAY: u8 = 4;
const ARRAY_AGAIN: u8 = 5;

/// Appends the body of a remembered part.
pub fn put_key(out: &mut Vec<u8>, part: &KeyPart, answer: &KeyAnswer) {
    out.push(REMEMBERED);
    out.extend_from_slice(&part.key.0);
    out.extend_from_slice(&part.content.0);
    put_varint(out, part.part);
    match answer {
        KeyAnswer::Tasks(told) => {
            out.push(TASKS);
            put_varint(out, len_u64(told.len()));
            told.iter().for_each(|one| put_told(out, one));
        }
        KeyAnswer::Note(note) => {
            out.push(NOTE);
            put_bytes(out, note);
        }
        KeyAnswer::Free => out.push(FREE),
    }
}

fn put_told(out: &mut Vec<u8>, told: &Told) {
    match told {
        Told::Admitted { priority, first, count } => {
            out.extend_from_slice(&[ADMITTED, priority.get()]);
            put_varint(out, first.0);
            put_varint(out, u64::from(*count));
        }
        Told::Duplicate { priority, first, count } => {
            out.extend_from_slice(&[DUPLICATE, priority.get()]);
            put_varint(out, first.0);
            put_varint(out, u64::from(*count));
        }
        Told::Array { priority, first, count, duplicate } => {
            out.push(if *duplicate { ARRAY_AGAIN } else { ARRAY });
            out.push(priority.get());
            put_varint(out, first.0);
            put_varint(out, *count);
        }
        Told::Elsewhere { partition, count } => {
            out.push(ELSEWHERE);
            put_varint(out, u64::from(partition.0));
            put_varint(out, u64::from(*count));
        }
        Told::Refused(refusal) => {
            out.push(REFUSED);
            put_bytes(out, refusal.code.as_bytes());
            put_bytes(out, refusal.detail.as_bytes());
            put_option_str(out, refusal.field.as_deref());
            put_option_str(out, refusal.hint.as_deref());
            put_option_str(out, refusal.existing.map(|task| task.to_string()).as_deref());
        }
    }
}

/// Appends the body of duplicates.
pub fn put_duplicates(out: &mut Vec<u8>, jobs: &[(Name, u64)]) {
    out.push(DUPLICATES);
    put_varint(out, len_u64(jobs.len()));
    for (job, count) in jobs {
        put_bytes(out, job.as_bytes());
        put_varint(out, *count);
    }
}

/// Reads a body of this kind.
///
/// # Errors
/// Anything that [`put_key`] and [`put_duplicates`] do not write.
pub fn read(body: &[u8]) -> Result<Event, Malformed> {
    let mut cursor = Cursor::new(body);
    let event = match cursor.byte()? {
        REMEMBERED => {
            let part = KeyPart {
                key: digest(&mut cursor)?,
                content: digest(&mut cursor)?,
                part: cursor.varint()?,
            };
            Event::Key { part, answer: answer(&mut cursor)? }
        }
        DUPLICATES => {
            let count = cursor.number()?;
            let mut jobs = cursor.reserve(count);
            for _ in 0..count {
                jobs.push((cursor.text()?.into(), cursor.varint()?));
            }
            Event::Duplicates(jobs)
        }
        2.. => return Err(Malformed("key: form")),
    };
    cursor.end()?;
    Ok(event)
}

fn digest(cursor: &mut Cursor<'_>) -> Result<Digest, Malformed> {
    cursor.take(32)?.try_into().map(Digest).map_err(|_| Malformed("key: digest"))
}

fn answer(cursor: &mut Cursor<'_>) -> Result<KeyAnswer, Malformed> {
    Ok(match cursor.byte()? {
        TASKS => {
            let count = cursor.number()?;
            let mut all = cursor.reserve(count);
            for _ in 0..count {
                all.push(told(cursor)?);
            }
            KeyAnswer::Tasks(all)
        }
        NOTE => {
            let length = cursor.number()?;
            KeyAnswer::Note(cursor.take(length)?.to_vec())
        }
        FREE => KeyAnswer::Free,
        3.. => return Err(Malformed("key: answer")),
    })
}

fn told(cursor: &mut Cursor<'_>) -> Result<Told, Malformed> {
    Ok(match cursor.byte()? {
        ADMITTED => Told::Admitted {
            priority: priority(cursor.byte()?)?,
            first: TaskSeq(cursor.varint()?),
            count: cursor.number()?,
        },
        DUPLICATE => Told::Duplicate {
            priority: priority(cursor.byte()?)?,
            first: TaskSeq(cursor.varint()?),
            count: cursor.number()?,
        },
        ELSEWHERE => {
            Told::Elsewhere { partition: PartitionId(cursor.number()?), count: cursor.number()? }
        }
        REFUSED => Told::Refused(Box::new(Refusal {
            code: cursor.text()?.into(),
            detail: cursor.text()?.into(),
            field: cursor.option_text()?.map(Name::from),
            hint: cursor.option_text()?.map(Name::from),
            existing: match cursor.option_text()? {
                Some(text) => Some(TaskRef::parse(text).ok_or(Malformed("key: reference"))?),
                None => None,
            },
        })),
        form @ (ARRAY | ARRAY_AGAIN) => Told::Array {
            priority: priority(cursor.byte()?)?,
            first: TaskSeq(cursor.varint()?),
            count: cursor.varint()?,
            duplicate: form == ARRAY_AGAIN,
        },
        6.. => return Err(Malformed("key: outcome")),
    })
}
