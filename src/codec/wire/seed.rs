//! The shapes of the original's routes: exactly 16 fields, in this order, `null` or 0 when unset.

use crate::codec::json::Fields;
use crate::codec::wire::base64;
use crate::codec::wire::field::{self, Rules, set};
use crate::codec::wire::out::{Out, escape_into};
use crate::model::id::Name;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::tags::shown;
use crate::model::task::{Blob, Encoding, TaskSpec};
use crate::model::time::WallMs;
use crate::model::view::{HandOut, TaskView};

/// What the 16 fields are made of.
#[derive(Clone, Copy, Debug)]
struct Shape<'a> {
    id: Option<&'a str>,
    reference: TaskRef,
    job: &'a str,
    priority: u8,
    tag: Option<&'a str>,
    source: Option<&'a str>,
    payload: &'a Blob,
    status: &'static str,
    worker: Option<&'a str>,
    endpoint: Option<&'a str>,
    runs: u32,
    meta: Option<&'a str>,
    timeout_s: u32,
    stamps: [WallMs; 4],
}

/// A task just admitted, from its record.
#[must_use]
pub fn submitted(spec: &TaskSpec, reference: TaskRef, at: WallMs) -> Vec<u8> {
    write(&Shape {
        id: spec.id.as_deref(),
        reference,
        job: &spec.job,
        priority: spec.priority.get(),
        tag: spec.tag.as_deref(),
        source: spec.source.as_deref(),
        payload: &spec.payload,
        status: "SUBMITTED",
        worker: None,
        endpoint: None,
        runs: 0,
        meta: spec.meta.as_deref(),
        timeout_s: spec.timeout_s,
        stamps: [at, WallMs(0), WallMs(0), WallMs(0)],
    })
}

/// A task by id; the view must hold its payload.
#[must_use]
pub fn task(view: &TaskView) -> Vec<u8> {
    let (row, spec) = (&view.row, &view.spec);
    let done = row.state == crate::model::state::TaskState::Completed;
    write(&Shape {
        id: spec.id.as_deref(),
        reference: view.reference(),
        job: &spec.job,
        priority: row.priority.get(),
        tag: spec.tag.as_deref(),
        source: spec.source.as_deref(),
        payload: &spec.payload,
        status: row.state.seed_status(),
        worker: row.worker.as_deref(),
        endpoint: row.endpoint.as_deref(),
        runs: row.attempt,
        meta: spec.meta.as_deref(),
        timeout_s: spec.timeout_s,
        stamps: [
            row.submitted,
            row.allocated,
            row.running,
            if done { row.ended } else { WallMs(0) },
        ],
    })
}

/// A hand-out to a worker.
#[must_use]
pub fn hand_out(task: &HandOut, worker: &str, endpoint: Option<&str>) -> Vec<u8> {
    let (grant, spec) = (&task.grant, &task.spec);
    write(&Shape {
        id: spec.id.as_deref(),
        reference: spec.reference(grant.token.partition, grant.seq),
        job: &spec.job,
        priority: grant.priority.get(),
        tag: spec.tag.as_deref(),
        source: spec.source.as_deref(),
        payload: &spec.payload,
        status: "ALLOCATED",
        worker: Some(worker),
        endpoint,
        runs: grant.attempt,
        meta: spec.meta.as_deref(),
        timeout_s: spec.timeout_s,
        stamps: [task.submitted, grant.allocated, WallMs(0), WallMs(0)],
    })
}

fn write(shape: &Shape<'_>) -> Vec<u8> {
    let mut out = Out::with_capacity(420 + shape.payload.bytes.len() * 5 / 4);
    out.open();
    match shape.id {
        Some(id) => out.str("id", id),
        None => out.shown("id", shape.reference),
    }
    out.str("groupId", shape.job);
    out.num("priority", shape.priority);
    out.null_str("tag", shape.tag.map(shown).as_deref());
    out.null_str("source", shape.source);
    out.key("payload");
    out.raw(&payload_text(shape.payload));
    out.str("status", shape.status);
    out.null_str("worker", shape.worker);
    out.null_str("workerEndpoint", shape.endpoint);
    out.num("runCount", shape.runs);
    out.null_str("meta", shape.meta);
    out.num("timeoutSeconds", shape.timeout_s);
    let names = ["submitted_ts", "allocated_ts", "running_ts", "completed_ts"];
    for (name, at) in names.into_iter().zip(shape.stamps) {
        out.num(name, at.0);
    }
    out.close();
    out.into_bytes()
}

/// The payload is always a string: the text, the JSON text, or the base64 text.
fn payload_text(blob: &Blob) -> Vec<u8> {
    let mut out = Vec::with_capacity(blob.bytes.len() * 5 / 4 + 8);
    match blob.encoding {
        Encoding::Text | Encoding::Json => {
            escape_into(&mut out, &String::from_utf8_lossy(&blob.bytes));
        }
        Encoding::Base64 => {
            out.push(b'"');
            base64::encode_into(&mut out, &blob.bytes);
            out.push(b'"');
        }
    }
    out
}

/// What `POST /kwq/updateTask` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Start and renew.
    Running,
    /// Complete without a result.
    Completed,
    /// Fail.
    Error,
}

/// The fields of a SeedTask that are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateBody {
    /// Client id or reference.
    pub id: Name,
    /// Narrows the id.
    pub job: Option<Name>,
    /// What to do.
    pub update: Update,
    /// Worker that says so.
    pub worker: Option<Name>,
}

const FIELDS: &[&str] = &[
    "id",
    "groupId",
    "job",
    "priority",
    "tag",
    "source",
    "payload",
    "status",
    "worker",
    "workerEndpoint",
    "runCount",
    "meta",
    "timeoutSeconds",
];

/// Reads an update. Other fields of a SeedTask are accepted and ignored.
///
/// # Errors
/// `illegal_transition` for another status; else the first rule it breaks.
pub fn parse_update(fields: &Fields<'_>, rules: &Rules) -> Result<UpdateBody, Reject> {
    let (mut id, mut job, mut update, mut worker) = (None, None, None, None);
    for (key, raw) in fields.iter() {
        match key {
            "id" => set(&mut id, raw, |r| field::name("id", r))?,
            "groupId" | "job" => set(&mut job, raw, |r| field::name("groupId", r))?,
            "worker" => set(&mut worker, raw, |r| field::name("worker", r))?,
            "status" => set(&mut update, raw, |r| {
                let status = field::string("status", r)?;
                Ok(match status.as_ref() {
                    "RUNNING" => Ok(Update::Running),
                    "COMPLETED" => Ok(Update::Completed),
                    "ERROR" => Ok(Update::Error),
                    _ => Err(Reject::new(
                        Code::IllegalTransition,
                        "a worker may set RUNNING, COMPLETED or ERROR only",
                    )
                    .on("status")),
                })
            })?,
            known if FIELDS.contains(&known) || known.ends_with("_ts") || rules.lenient => {}
            other => return Err(field::unknown(other, FIELDS)),
        }
    }
    let update = update.ok_or_else(|| Reject::field("status", "status is required"))??;
    let id = id.ok_or_else(|| Reject::field("id", "id is required"))?;
    Ok(UpdateBody { id, job, update, worker })
}

#[cfg(test)]
mod tests;
