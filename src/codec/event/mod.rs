//! Events ↔ bodies of log records. One file a family; `submitted` can hand back a single task
//! without the others.
//!
//! Field order is the format: change nothing here without a new [`crate::codec::frame::VERSION`]
//! and new golden bytes.

mod allocated;
pub mod arrays;
pub mod batches;
pub mod control;
pub mod keys;
pub mod operations;
pub mod submitted;
#[cfg(test)]
mod tests;

use crate::codec::Malformed;
use crate::codec::frame::{KIND_EVENT_MAX, KIND_EVENT_MIN};
use crate::model::event::{Event, Stamped};
use crate::model::time::WallMs;

/// `Owner`.
pub const OWNER: u8 = 16;
const JOB_DEFINED: u8 = 17;
const JOB_CHANGED: u8 = 18;
const LEVEL_CHANGED: u8 = 19;
/// `Submitted`.
pub const SUBMITTED: u8 = 20;
const ALLOCATED: u8 = 21;
const STARTED: u8 = 22;
/// `Completed`.
pub const COMPLETED: u8 = 23;
const FAILED: u8 = 24;
const RELEASED: u8 = 25;
const CANCELLED: u8 = 26;
const REDRIVEN: u8 = 27;
const WORKER_DRAINED: u8 = 28;
const KEY: u8 = 29;
/// `SubmittedArray`.
pub const SUBMITTED_ARRAY: u8 = 30;
const OPERATION: u8 = 31;
const PURGED: u8 = 32;
const INBOX: u8 = 33;
const _: () = assert!(OWNER == KIND_EVENT_MIN && INBOX == KIND_EVENT_MAX);

/// How much of a record a reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Everything.
    Full,
    /// Payload and result bytes are left empty; their sizes are in [`Decoded::blob_bytes`].
    Skim,
}

/// An event as read.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The event with its stamp.
    pub stamped: Stamped,
    /// Under [`Detail::Skim`] the payload size per task of `Submitted`, the result size per entry
    /// of `Completed` (0 without result); otherwise empty.
    pub blob_bytes: Vec<u32>,
}

/// Appends the body of an event; answers the kind of its record.
pub fn encode(event: &Event, out: &mut Vec<u8>) -> u8 {
    match event {
        Event::Owner { node, addr, token_key } => control::put_owner(out, node, addr, *token_key),
        Event::JobDefined { job, implicit, spec } => {
            control::put_job_defined(out, job, *implicit, spec);
        }
        Event::JobChanged { job, change } => control::put_job_changed(out, job, change),
        Event::WorkerDrained { worker, drains } => {
            control::put_worker_drained(out, worker, *drains);
        }
        Event::LevelChanged { level, paused } => control::put_level_changed(out, *level, *paused),
        Event::Submitted { first, tasks } => submitted::put(out, *first, tasks),
        Event::SubmittedArray { first, array } => arrays::put(out, *first, array),
        Event::Allocated { worker, endpoint, first_lease, tasks } => {
            allocated::put_allocated(out, worker, endpoint.as_deref(), *first_lease, tasks);
        }
        Event::Started(tasks) => batches::put_started(out, tasks),
        Event::Completed(tasks) => batches::put_completed(out, tasks),
        Event::Failed { cause, tasks } => batches::put_failed(out, *cause, tasks),
        Event::Released { cause, tasks } => batches::put_released(out, *cause, tasks),
        Event::Cancelled(tasks) => batches::put_seqs(out, tasks),
        Event::Redriven { tasks, priority } => batches::put_redriven(out, tasks, *priority),
        Event::Key { part, answer } => keys::put_key(out, part, answer),
        Event::Duplicates(jobs) => keys::put_duplicates(out, jobs),
        Event::Purged(tasks) => batches::put_seqs(out, tasks),
        Event::Inbox { level, from, next, lost } => {
            control::put_inbox(out, *level, [*from, *next, *lost]);
        }
        Event::Operation { op, step } => operations::put(out, *op, step),
    }
    kind_of(event)
}

fn kind_of(event: &Event) -> u8 {
    match event {
        Event::Owner { .. } => OWNER,
        Event::JobDefined { .. } => JOB_DEFINED,
        Event::JobChanged { .. } => JOB_CHANGED,
        Event::WorkerDrained { .. } => WORKER_DRAINED,
        Event::LevelChanged { .. } => LEVEL_CHANGED,
        Event::Submitted { .. } => SUBMITTED,
        Event::SubmittedArray { .. } => SUBMITTED_ARRAY,
        Event::Allocated { .. } => ALLOCATED,
        Event::Started(_) => STARTED,
        Event::Completed(_) => COMPLETED,
        Event::Failed { .. } => FAILED,
        Event::Released { .. } => RELEASED,
        Event::Cancelled(_) => CANCELLED,
        Event::Redriven { .. } => REDRIVEN,
        Event::Key { .. } | Event::Duplicates(_) => KEY,
        Event::Purged(_) => PURGED,
        Event::Inbox { .. } => INBOX,
        Event::Operation { .. } => OPERATION,
    }
}

/// Reads the body of an event record.
///
/// # Errors
/// Anything that [`encode`] does not write.
pub fn decode(kind: u8, at: WallMs, body: &[u8], detail: Detail) -> Result<Decoded, Malformed> {
    let plain = |event| Ok((event, Vec::new()));
    let (event, blob_bytes) = match kind {
        OWNER => control::owner(body).and_then(plain),
        JOB_DEFINED => control::job_defined(body).and_then(plain),
        JOB_CHANGED => control::job_changed(body).and_then(plain),
        WORKER_DRAINED => control::worker_drained(body).and_then(plain),
        LEVEL_CHANGED => control::level_changed(body).and_then(plain),
        SUBMITTED => submitted::read(body, detail),
        SUBMITTED_ARRAY => arrays::read(body).and_then(plain),
        ALLOCATED => allocated::allocated(body).and_then(plain),
        STARTED => batches::started(body).and_then(plain),
        COMPLETED => batches::completed(body, detail),
        FAILED => batches::failed(body).and_then(plain),
        RELEASED => batches::released(body).and_then(plain),
        CANCELLED => batches::cancelled(body).and_then(plain),
        REDRIVEN => batches::redriven(body).and_then(plain),
        KEY => keys::read(body).and_then(plain),
        OPERATION => operations::operation(body).and_then(plain),
        INBOX => control::inbox(body).and_then(plain),
        PURGED => operations::purged(body).and_then(plain),
        0..OWNER | 34.. => Err(Malformed("record: kind")),
    }?;
    Ok(Decoded { stamped: Stamped { at, event }, blob_bytes })
}
