//! Bodies of `Owner`, `JobDefined`, `JobChanged`, `WorkerDrained`, `LevelChanged`, `Inbox`: rare,
//! so plain rather than small.

use crate::codec::Malformed;
use crate::codec::bytes::{Cursor, len_u64, put_bytes, put_option, put_option_str, put_varint};
use crate::codec::event::submitted::{jitter, jitter_byte, priority};
use crate::model::affinity::AffinityKey;
use crate::model::event::Event;
use crate::model::id::Name;
use crate::model::job::{CancelMode, Dedup, JobChange, JobDefaults, JobSpec};
use crate::model::priority::Priority;
use crate::model::task::BackoffInput;

const CLOSE: u8 = 0;
const PAUSE: u8 = 1;
const RESUME: u8 = 2;
const CANCEL: u8 = 3;
const PRIORITISE: u8 = 4;
const WEIGHT: u8 = 5;
const RETENTION: u8 = 6;
const PURGE: u8 = 7;

/// Appends the body: `token key 16 B | node | addr`.
pub fn put_owner(out: &mut Vec<u8>, node: &str, addr: &str, token_key: [u64; 2]) {
    token_key.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    put_bytes(out, node.as_bytes());
    put_bytes(out, addr.as_bytes());
}

/// Reads `Owner`.
///
/// # Errors
/// Anything that [`put_owner`] does not write.
pub fn owner(body: &[u8]) -> Result<Event, Malformed> {
    let mut cursor = Cursor::new(body);
    let token_key = [cursor.u64()?, cursor.u64()?];
    let (node, addr) = (cursor.text()?.into(), cursor.text()?.into());
    cursor.end()?;
    Ok(Event::Owner { node, addr, token_key })
}

/// Appends the body, in the order of the fields.
pub fn put_job_defined(out: &mut Vec<u8>, job: &str, implicit: bool, spec: &JobSpec) {
    put_bytes(out, job.as_bytes());
    out.push(u8::from(implicit));
    put_option_str(out, spec.name.as_deref());
    out.push(spec.priority.get());
    put_varint(out, u64::from(spec.weight));
    put_option_str(out, spec.tag.as_deref());
    out.push(match spec.dedup {
        Dedup::Batch => 0,
        Dedup::Task => 1,
    });
    put_varint(out, spec.retention_ms);
    out.push(u8::from(spec.paused));
    put_defaults(out, &spec.defaults);
}

fn put_defaults(out: &mut Vec<u8>, defaults: &JobDefaults) {
    put_option_str(out, defaults.tag.as_deref());
    put_option(out, defaults.affinity.as_ref().map(|keys| len_u64(keys.len())));
    for key in defaults.affinity.iter().flatten() {
        put_bytes(out, key.key.as_bytes());
        out.push(key.weight);
    }
    put_option_str(out, defaults.source.as_deref());
    put_option_str(out, defaults.meta.as_deref());
    put_option(out, defaults.timeout_s.map(u64::from));
    put_option(out, defaults.lease_ms.map(u64::from));
    put_option(out, defaults.max_attempts.map(u64::from));
    put_option(out, defaults.max_crashes.map(u64::from));
    put_option(out, defaults.backoff.base_ms.map(u64::from));
    put_option(out, defaults.backoff.cap_ms.map(u64::from));
    put_option(out, defaults.backoff.jitter.map(|j| u64::from(jitter_byte(j))));
}

/// Reads `JobDefined`.
///
/// # Errors
/// Anything that [`put_job_defined`] does not write.
pub fn job_defined(body: &[u8]) -> Result<Event, Malformed> {
    let mut cursor = Cursor::new(body);
    let job = cursor.text()?.into();
    let implicit = cursor.flag()?;
    let spec = JobSpec {
        name: name(&mut cursor)?,
        priority: priority(cursor.byte()?)?,
        weight: cursor.number()?,
        tag: name(&mut cursor)?,
        dedup: match cursor.byte()? {
            0 => Dedup::Batch,
            1 => Dedup::Task,
            2.. => return Err(Malformed("job: dedup")),
        },
        retention_ms: cursor.varint()?,
        paused: cursor.flag()?,
        defaults: defaults(&mut cursor)?,
    };
    cursor.end()?;
    Ok(Event::JobDefined { job, implicit, spec })
}

fn defaults(cursor: &mut Cursor<'_>) -> Result<JobDefaults, Malformed> {
    Ok(JobDefaults {
        tag: name(cursor)?,
        affinity: affinity(cursor)?,
        source: name(cursor)?,
        meta: name(cursor)?,
        timeout_s: cursor.option()?,
        lease_ms: cursor.option()?,
        max_attempts: cursor.option()?,
        max_crashes: cursor.option()?,
        backoff: BackoffInput {
            base_ms: cursor.option()?,
            cap_ms: cursor.option()?,
            jitter: cursor.option()?.map(jitter).transpose()?,
        },
    })
}

fn affinity(cursor: &mut Cursor<'_>) -> Result<Option<Vec<AffinityKey>>, Malformed> {
    let Some(count) = cursor.option::<usize>()? else { return Ok(None) };
    let mut keys = cursor.reserve(count);
    for _ in 0..count {
        keys.push(AffinityKey { key: cursor.text()?.into(), weight: cursor.byte()? });
    }
    Ok(Some(keys))
}

fn name(cursor: &mut Cursor<'_>) -> Result<Option<Name>, Malformed> {
    cursor.option_text().map(|text| text.map(Name::from))
}

/// Appends the body: `job | verb | what it carries`.
pub fn put_job_changed(out: &mut Vec<u8>, job: &str, change: &JobChange) {
    put_bytes(out, job.as_bytes());
    match change {
        JobChange::Close => out.push(CLOSE),
        JobChange::Pause => out.push(PAUSE),
        JobChange::Resume => out.push(RESUME),
        JobChange::Cancel(mode, reason) => {
            let mode = match mode {
                CancelMode::Stop => 0,
                CancelMode::DropQueued => 1,
            };
            out.extend_from_slice(&[CANCEL, mode]);
            put_option_str(out, reason.as_deref());
        }
        JobChange::Prioritise(priority) => out.extend_from_slice(&[PRIORITISE, priority.get()]),
        JobChange::Weight(weight) => {
            out.push(WEIGHT);
            put_varint(out, u64::from(*weight));
        }
        JobChange::Retention(ms) => {
            out.push(RETENTION);
            put_varint(out, *ms);
        }
        JobChange::Purge => out.push(PURGE),
    }
}

/// Reads `JobChanged`.
///
/// # Errors
/// Anything that [`put_job_changed`] does not write.
pub fn job_changed(body: &[u8]) -> Result<Event, Malformed> {
    let mut cursor = Cursor::new(body);
    let job = cursor.text()?.into();
    let change = match cursor.byte()? {
        CLOSE => JobChange::Close,
        PAUSE => JobChange::Pause,
        RESUME => JobChange::Resume,
        CANCEL => {
            let mode = if cursor.flag()? { CancelMode::DropQueued } else { CancelMode::Stop };
            JobChange::Cancel(mode, name(&mut cursor)?)
        }
        PRIORITISE => JobChange::Prioritise(priority(cursor.byte()?)?),
        WEIGHT => JobChange::Weight(cursor.number()?),
        RETENTION => JobChange::Retention(cursor.varint()?),
        PURGE => JobChange::Purge,
        8.. => return Err(Malformed("job: verb")),
    };
    cursor.end()?;
    Ok(Event::JobChanged { job, change })
}

/// Appends the body: `worker | drains`.
pub fn put_worker_drained(out: &mut Vec<u8>, worker: &str, drains: bool) {
    put_bytes(out, worker.as_bytes());
    out.push(u8::from(drains));
}

/// Reads `WorkerDrained`.
///
/// # Errors
/// Anything that [`put_worker_drained`] does not write.
pub fn worker_drained(body: &[u8]) -> Result<Event, Malformed> {
    let mut cursor = Cursor::new(body);
    let worker = cursor.text()?.into();
    let drains = cursor.flag()?;
    cursor.end()?;
    Ok(Event::WorkerDrained { worker, drains })
}

/// Appends the body: `level, 0 = all | paused`.
pub fn put_level_changed(out: &mut Vec<u8>, level: Option<Priority>, paused: bool) {
    out.extend_from_slice(&[level.map_or(0, Priority::get), u8::from(paused)]);
}

/// Reads `LevelChanged`.
///
/// # Errors
/// Anything that [`put_level_changed`] does not write.
pub fn level_changed(body: &[u8]) -> Result<Event, Malformed> {
    let mut cursor = Cursor::new(body);
    let level = match cursor.byte()? {
        0 => None,
        value @ 1.. => Some(priority(value)?),
    };
    let paused = cursor.flag()?;
    cursor.end()?;
    Ok(Event::LevelChanged { level, paused })
}

/// Appends the body: `level | from | next | lost`.
pub fn put_inbox(out: &mut Vec<u8>, level: Priority, offsets: [u64; 3]) {
    out.push(level.get());
    offsets.into_iter().for_each(|offset| put_varint(out, offset));
}

/// Reads `Inbox`.
///
/// # Errors
/// Anything that [`put_inbox`] does not write.
pub fn inbox(body: &[u8]) -> Result<Event, Malformed> {
    let mut cursor = Cursor::new(body);
    let level = priority(cursor.byte()?)?;
    let (from, next, lost) = (cursor.varint()?, cursor.varint()?, cursor.varint()?);
    cursor.end()?;
    if next < from || from < lost {
        return Err(Malformed("inbox: offsets"));
    }
    Ok(Event::Inbox { level, from, next, lost })
}
