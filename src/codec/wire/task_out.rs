//! Tasks as they are answered: modern, hand-out, seed.

use crate::codec::wire::out::{Out, encoding_name};
use crate::model::policy::Jitter;
use crate::model::reference::TaskRef;
use crate::model::state::TaskState;
use crate::model::tags::TagSet;
use crate::model::task::{Encoding, TaskSpec};
use crate::model::time::WallMs;
use crate::model::view::{Attempt, HandOut, TaskView};

/// Identity and text shared by all modern shapes.
fn text(to: &mut Out, reference: &TaskRef, spec: &TaskSpec, payload_bytes: u32) {
    match &spec.id {
        Some(id) => to.str("id", id),
        None => to.shown("id", reference),
    }
    to.shown("ref", reference);
    to.num("partition", reference.partition.0);
    to.str("groupId", &spec.job);
    tags(to, spec);
    if !spec.affinity.is_empty() {
        to.list("affinity");
        for key in &spec.affinity {
            to.open();
            to.str("key", &key.key);
            to.num("weight", key.weight);
            to.close();
        }
        to.close_list();
    }
    to.opt_str("source", spec.source.as_deref());
    to.opt_str("meta", spec.meta.as_deref());
    to.opt_str("traceparent", spec.traceparent.as_deref());
    to.str("encoding", encoding_name(spec.payload.encoding));
    to.num("payloadBytes", payload_bytes);
    to.num("timeoutSeconds", spec.timeout_s);
    to.num("maxAttempts", spec.max_attempts);
    to.num("maxCrashes", spec.max_crashes);
    to.object("backoff");
    to.num("baseMs", spec.backoff.base_ms);
    to.num("capMs", spec.backoff.cap_ms);
    to.str("jitter", if spec.backoff.jitter == Jitter::Full { "full" } else { "none" });
    to.close();
    to.stamp("notBefore_ts", spec.not_before);
}

fn tags(to: &mut Out, spec: &TaskSpec) {
    let Some(text) = &spec.tag else { return };
    to.str("tag", text);
    let set = TagSet::parse(text).unwrap_or_default();
    to.list("tags");
    set.iter().for_each(|tag| to.text(tag));
    to.close_list();
}

/// A task that is handed out.
pub fn hand_out(to: &mut Out, task: &HandOut, worker: &str, endpoint: Option<&str>) {
    let grant = &task.grant;
    let reference = TaskRef::of_seq(task.spec.priority, grant.token.partition, grant.seq);
    to.open();
    let bytes = u32::try_from(task.spec.payload.bytes.len()).unwrap_or(u32::MAX);
    text(to, &reference, &task.spec, bytes);
    to.num("priority", grant.priority.get());
    to.str("state", TaskState::Allocated.name());
    to.str("status", TaskState::Allocated.seed_status());
    to.blob("payload", &task.spec.payload);
    to.str("worker", worker);
    to.opt_str("workerEndpoint", endpoint);
    to.num("attempt", grant.attempt);
    to.num("runCount", grant.attempt);
    to.num("errors", grant.errors);
    to.num("crashes", grant.crashes);
    to.num("redriven", grant.redriven);
    to.stamp("submitted_ts", task.submitted);
    to.stamp("available_ts", grant.available);
    to.stamp("allocated_ts", grant.allocated);
    to.str("lease", &grant.token.encode());
    to.num("leaseMs", grant.lease_ms);
    to.stamp("leaseUntil_ts", grant.lease_until);
    to.close();
}

/// A task in a list or by id.
pub fn task(to: &mut Out, view: &TaskView) {
    let row = &view.row;
    to.open();
    text(to, &view.reference(), &view.spec, row.payload_bytes);
    to.num("priority", row.priority.get());
    to.str("state", row.state.name());
    to.str("status", row.state.seed_status());
    if view.with_payload {
        to.blob("payload", &view.spec.payload);
    }
    to.opt_str("payloadSha256", view.payload_sha256.as_deref());
    to.opt_str("worker", row.worker.as_deref());
    to.opt_str("workerEndpoint", row.endpoint.as_deref());
    to.num("attempt", row.attempt);
    to.num("runCount", row.attempt);
    to.num("errors", row.errors);
    to.num("crashes", row.crashes);
    to.num("redriven", row.redriven);
    if view.spec.lease_ms > 0 {
        to.num("leaseMs", view.spec.lease_ms);
    }
    stamps(to, view);
    if let Some(error) = &row.error {
        to.object("error");
        to.str("class", &error.class);
        to.str("message", &error.message);
        to.num("attempt", error.attempt);
        to.stamp("ts", error.ts);
        to.close();
    }
    if let Some(result) = &view.result {
        to.blob("result", result);
        to.str("resultEncoding", encoding_name(result.encoding));
    }
    to.num("resultBytes", row.result.map_or(0, |at| at.bytes));
    if !view.attempts.is_empty() {
        to.list("attempts");
        view.attempts.iter().for_each(|a| attempt(to, a));
        to.close_list();
    }
    to.close();
}

fn stamps(to: &mut Out, view: &TaskView) {
    let row = &view.row;
    to.stamp("submitted_ts", row.submitted);
    if row.state != TaskState::Delayed {
        to.stamp("available_ts", row.available);
    }
    to.stamp("allocated_ts", row.allocated);
    to.stamp("running_ts", row.running);
    match row.state {
        TaskState::Completed => to.stamp("completed_ts", row.ended),
        TaskState::Error => to.stamp("error_ts", row.ended),
        TaskState::Cancelled => to.stamp("cancelled_ts", row.ended),
        TaskState::Blocked
        | TaskState::Delayed
        | TaskState::Pending
        | TaskState::Allocated
        | TaskState::Running
        | TaskState::Expired => {}
    }
}

fn attempt(to: &mut Out, attempt: &Attempt) {
    to.open();
    to.num("attempt", attempt.attempt);
    to.str("worker", &attempt.worker);
    to.opt_str("endpoint", attempt.endpoint.as_deref());
    to.stamp("allocated_ts", attempt.allocated);
    to.stamp("running_ts", attempt.running);
    to.stamp("ended_ts", attempt.ended);
    to.str("outcome", attempt.outcome.name());
    to.opt_str("class", attempt.class.as_deref());
    to.opt_str("message", attempt.message.as_deref());
    to.close();
}

/// State and stamps of a seed body.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeedState<'a> {
    /// One of the seed's five words.
    pub status: &'a str,
    /// Worker.
    pub worker: Option<&'a str>,
    /// Its endpoint.
    pub endpoint: Option<&'a str>,
    /// Hand-outs.
    pub run_count: u32,
    /// Submitted, allocated, running, completed.
    pub stamps: [WallMs; 4],
}

/// Exactly the 16 fields of the original, in their order.
pub fn seed(
    to: &mut Out,
    reference: &TaskRef,
    spec: &TaskSpec,
    priority: u8,
    state: SeedState<'_>,
) {
    to.open();
    match &spec.id {
        Some(id) => to.str("id", id),
        None => to.shown("id", reference),
    }
    to.str("groupId", &spec.job);
    to.num("priority", priority);
    to.null_str("tag", spec.tag.as_deref());
    to.null_str("source", spec.source.as_deref());
    seed_payload(to, spec);
    to.str("status", state.status);
    to.null_str("worker", state.worker);
    to.null_str("workerEndpoint", state.endpoint);
    to.num("runCount", state.run_count);
    to.null_str("meta", spec.meta.as_deref());
    to.num("timeoutSeconds", spec.timeout_s);
    for (name, at) in
        ["submitted_ts", "allocated_ts", "running_ts", "completed_ts"].into_iter().zip(state.stamps)
    {
        to.num(name, at.0);
    }
    to.close();
}

/// Always a string: text, JSON text, base64 text.
fn seed_payload(to: &mut Out, spec: &TaskSpec) {
    match spec.payload.encoding {
        Encoding::Base64 => to.blob("payload", &spec.payload),
        Encoding::Text | Encoding::Json => {
            to.str("payload", &String::from_utf8_lossy(&spec.payload.bytes));
        }
    }
}
