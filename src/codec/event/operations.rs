//! Bodies of `Operation` and `Purged`.
//!
//! ```text
//! Operation: varint number | step 0 started, 1 progress, 2 stopped
//!   started:  kind | text filter | text? job | n | n × text scope | text by | priority?
//!             varint matched | tasks
//!   progress: u64 last task | varint done | varint skipped
//! Purged, tasks: n | n × step
//! ```

use crate::codec::Malformed;
use crate::codec::bytes::{Cursor, len_u64, put_bytes, put_option, put_option_str, put_varint};
use crate::codec::event::batches::{put_seqs, seqs};
use crate::codec::event::submitted::priority;
use crate::model::event::Event;
use crate::model::id::TaskSeq;
use crate::model::operation::{OpKind, OpNo, OpSpec, OpStep};

const STARTED: u8 = 0;
const PROGRESS: u8 = 1;
const STOPPED: u8 = 2;

/// Appends the body of `Operation`.
pub fn put(out: &mut Vec<u8>, op: OpNo, step: &OpStep) {
    put_varint(out, op.0);
    match step {
        OpStep::Started { spec, matched, tasks } => {
            out.push(STARTED);
            put_spec(out, spec);
            put_varint(out, *matched);
            put_seqs(out, tasks);
        }
        OpStep::Progress { upto, done, skipped } => {
            out.push(PROGRESS);
            out.extend_from_slice(&upto.0.to_le_bytes());
            put_varint(out, *done);
            put_varint(out, *skipped);
        }
        OpStep::Stopped => out.push(STOPPED),
    }
}

fn put_spec(out: &mut Vec<u8>, spec: &OpSpec) {
    out.push(match spec.kind {
        OpKind::Redrive => 0,
        OpKind::PurgeDlq => 1,
        OpKind::PurgeJob => 2,
    });
    put_bytes(out, spec.filter.as_bytes());
    put_option_str(out, spec.job.as_deref());
    put_varint(out, len_u64(spec.scopes.len()));
    spec.scopes.iter().for_each(|scope| put_bytes(out, scope.as_bytes()));
    put_bytes(out, spec.by.as_bytes());
    put_option(out, spec.priority.map(|p| u64::from(p.get())));
}

/// Reads `Operation`.
///
/// # Errors
/// Anything that [`put`] does not write.
pub fn operation(body: &[u8]) -> Result<Event, Malformed> {
    let mut cursor = Cursor::new(body);
    let op = OpNo(cursor.varint()?);
    let step = match cursor.byte()? {
        STARTED => {
            let spec = Box::new(spec(&mut cursor)?);
            OpStep::Started { spec, matched: cursor.varint()?, tasks: seqs(&mut cursor)? }
        }
        PROGRESS => OpStep::Progress {
            upto: TaskSeq(cursor.u64()?),
            done: cursor.varint()?,
            skipped: cursor.varint()?,
        },
        STOPPED => OpStep::Stopped,
        3.. => return Err(Malformed("operation: step")),
    };
    cursor.end()?;
    Ok(Event::Operation { op, step })
}

fn spec(cursor: &mut Cursor<'_>) -> Result<OpSpec, Malformed> {
    let kind = match cursor.byte()? {
        0 => OpKind::Redrive,
        1 => OpKind::PurgeDlq,
        2 => OpKind::PurgeJob,
        3.. => return Err(Malformed("operation: kind")),
    };
    let filter = cursor.text()?.into();
    let job = cursor.option_text()?.map(Into::into);
    let count: usize = cursor.number()?;
    let mut scopes = cursor.reserve(count);
    for _ in 0..count {
        scopes.push(cursor.text()?.into());
    }
    let by = cursor.text()?.into();
    let priority = cursor.option()?.map(priority).transpose()?;
    Ok(OpSpec { kind, filter, job, scopes, by, priority })
}

/// Reads `Purged`.
///
/// # Errors
/// Anything that [`put_seqs`] does not write.
pub fn purged(body: &[u8]) -> Result<Event, Malformed> {
    let mut cursor = Cursor::new(body);
    let tasks = seqs(&mut cursor)?;
    cursor.end()?;
    Ok(Event::Purged(tasks))
}
