//! A task as answered: views and hand-outs → the modern body.

use crate::codec::wire::out::{Out, encoding_name};
use crate::model::affinity::AffinityKey;
use crate::model::id::Name;
use crate::model::limits;
use crate::model::policy::{Backoff, Jitter};
use crate::model::reference::TaskRef;
use crate::model::state::TaskState;
use crate::model::tags::{TagPart, TagSet, is_list, shown, split};
use crate::model::task::{TaskError, TaskSpec};
use crate::model::view::{Attempt, HandOut, TaskView};

/// Who a hand-out is for.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// Worker name.
    pub worker: &'a str,
    /// Its endpoint.
    pub endpoint: Option<&'a str>,
}

/// A hand-out: the task with payload, lease and stamps.
pub fn hand_out(out: &mut Out, task: &HandOut, holder: Holder<'_>) {
    let (grant, spec) = (&task.grant, &task.spec);
    let reference = spec.reference(grant.token.partition, grant.seq);
    out.open();
    identity(out, spec, &reference);
    out.num("priority", grant.priority.get());
    state(out, TaskState::Allocated);
    labels(out, spec);
    out.blob("payload", &spec.payload);
    out.str("encoding", encoding_name(spec.payload.encoding));
    out.count("payloadBytes", spec.payload.bytes.len());
    out.str("worker", holder.worker);
    out.opt_str("workerEndpoint", holder.endpoint);
    out.num("attempt", grant.attempt);
    out.num("runCount", grant.attempt);
    out.num("errors", grant.errors);
    out.num("crashes", grant.crashes);
    out.num("redriven", grant.redriven);
    budgets(out, spec);
    out.stamp("submitted_ts", task.submitted);
    out.stamp("available_ts", grant.available);
    out.stamp("allocated_ts", grant.allocated);
    latest_error(out, task.error.as_ref());
    out.str("lease", &grant.token.encode());
    out.num("leaseMs", grant.lease_ms);
    out.stamp("leaseUntil_ts", grant.lease_until);
    out.close();
}

/// A task as the tracker knows it.
pub fn view(out: &mut Out, task: &TaskView) {
    out.open();
    members(out, task);
    out.close();
}

/// What [`view`] says, inside an object.
pub fn members(out: &mut Out, task: &TaskView) {
    let (row, spec) = (&task.row, &task.spec);
    identity(out, spec, &task.reference());
    out.num("priority", row.priority.get());
    state(out, row.state);
    labels(out, spec);
    if task.with_payload {
        out.blob("payload", &spec.payload);
    }
    out.str("encoding", encoding_name(spec.payload.encoding));
    out.num("payloadBytes", row.payload_bytes);
    out.opt_str("payloadSha256", task.payload_sha256.as_deref());
    out.opt_str("worker", row.worker.as_deref());
    out.opt_str("workerEndpoint", row.endpoint.as_deref());
    out.num("attempt", row.attempt);
    out.num("runCount", row.attempt);
    out.num("errors", row.errors);
    out.num("crashes", row.crashes);
    out.num("redriven", row.redriven);
    budgets(out, spec);
    if spec.lease_ms != 0 {
        out.num("leaseMs", spec.lease_ms);
    }
    stamps(out, task);
    latest_error(out, row.error.as_ref());
    result(out, task);
    if !task.attempts.is_empty() {
        out.list("attempts");
        task.attempts.iter().for_each(|a| attempt(out, a));
        out.close_list();
    }
}

/// The latest error of a task; nothing without one.
pub(super) fn latest_error(out: &mut Out, error: Option<&TaskError>) {
    let Some(error) = error else { return };
    out.object("error");
    out.str("class", &error.class);
    out.str("message", &error.message);
    out.num("attempt", error.attempt);
    out.stamp("ts", error.ts);
    out.close();
}

fn identity(out: &mut Out, spec: &TaskSpec, reference: &TaskRef) {
    match &spec.id {
        Some(id) => out.str("id", id),
        None => out.shown("id", reference),
    }
    out.shown("ref", reference);
    out.num("partition", reference.partition.0);
    if let Some(index) = reference.index {
        out.num("index", index);
    }
    out.str("groupId", &spec.job);
}

fn state(out: &mut Out, state: TaskState) {
    out.str("state", state.name());
    out.str("status", state.seed_status());
}

/// `tag`, `tags` and `affinity`.
fn labels(out: &mut Out, spec: &TaskSpec) {
    tags(out, spec.tag.as_ref());
    affinity(out, &spec.affinity);
}

/// A tag text and the set derived from it; nothing when there are no tags.
pub fn tags(out: &mut Out, tag: Option<&Name>) {
    let Some(text) = tag else { return };
    out.str("tag", &shown(text));
    if let Some(parts) = plain_parts(text) {
        out.list("tags");
        parts.iter().for_each(|(key, value)| out.pair(key, value));
        out.close_list();
        return;
    }
    // A text that does not parse can only come from an inbox; it is shown as it is, without a set.
    let set = TagSet::parse(text).unwrap_or_default();
    if !set.is_empty() {
        out.list("tags");
        set.iter().for_each(|tag| out.text(tag));
        out.close_list();
    }
}

/// The tags of a text as borrowed `(key, value)`, the key empty for a bare tag; hand-outs are
/// written without a set. `None` for an odd text (a list, an item that begins with `:`, many items,
/// no tag at all): the grammar itself decides then.
fn plain_parts(text: &str) -> Option<Vec<(&str, &str)>> {
    if text.len() > 512 || is_list(text) {
        return None;
    }
    let mut parts: Vec<(&str, &str)> = Vec::with_capacity(8);
    let mut key_before = None;
    for item in text.split(',') {
        match split(item) {
            TagPart::Pair(key, value) => {
                key_before = Some(key);
                add(&mut parts, (key, value));
            }
            TagPart::Bare("") => {}
            TagPart::Bare(bare) if bare.contains(':') => return None,
            TagPart::Bare(bare) => {
                if let Some(key) = key_before {
                    add(&mut parts, (key, bare));
                }
                add(&mut parts, ("", bare));
            }
        }
    }
    (1..=limits::TAGS_MAX).contains(&parts.len()).then_some(parts)
}

fn add<'a>(parts: &mut Vec<(&'a str, &'a str)>, part: (&'a str, &'a str)) {
    if !parts.contains(&part) {
        parts.push(part);
    }
}

/// Affinity keys; nothing when there are none.
pub fn affinity(out: &mut Out, keys: &[AffinityKey]) {
    if keys.is_empty() {
        return;
    }
    out.list("affinity");
    for key in keys {
        out.open();
        out.str("key", &key.key);
        out.num("weight", key.weight);
        out.close();
    }
    out.close_list();
}

fn budgets(out: &mut Out, spec: &TaskSpec) {
    out.opt_str("source", spec.source.as_deref());
    out.opt_str("meta", spec.meta.as_deref());
    out.num("timeoutSeconds", spec.timeout_s);
    out.num("maxAttempts", spec.max_attempts);
    out.num("maxCrashes", spec.max_crashes);
    backoff(out, spec.backoff);
    out.stamp("notBefore_ts", spec.not_before);
    out.opt_str("traceparent", spec.traceparent.as_deref());
}

/// `backoff` with all three parts.
pub fn backoff(out: &mut Out, backoff: Backoff) {
    out.object("backoff");
    out.num("baseMs", backoff.base_ms);
    out.num("capMs", backoff.cap_ms);
    out.str("jitter", jitter_name(backoff.jitter));
    out.close();
}

/// Wire name of a jitter.
#[must_use]
pub fn jitter_name(jitter: Jitter) -> &'static str {
    match jitter {
        Jitter::Full => "full",
        Jitter::None => "none",
    }
}

fn stamps(out: &mut Out, task: &TaskView) {
    let row = &task.row;
    out.stamp("submitted_ts", row.submitted);
    out.stamp("available_ts", row.available);
    out.stamp("allocated_ts", row.allocated);
    out.stamp("running_ts", row.running);
    match row.state {
        TaskState::Completed => out.stamp("completed_ts", row.ended),
        TaskState::Error => out.stamp("error_ts", row.ended),
        TaskState::Cancelled => out.stamp("cancelled_ts", row.ended),
        TaskState::Expired => out.stamp("expired_ts", row.ended),
        TaskState::Blocked
        | TaskState::Delayed
        | TaskState::Pending
        | TaskState::Allocated
        | TaskState::Running => {}
    }
}

fn result(out: &mut Out, task: &TaskView) {
    out.num("resultBytes", task.row.result.map_or(0, |at| at.bytes));
    if let Some(blob) = &task.result {
        out.blob("result", blob);
        out.str("resultEncoding", encoding_name(blob.encoding));
    }
}

fn attempt(out: &mut Out, attempt: &Attempt) {
    out.open();
    out.num("attempt", attempt.attempt);
    out.str("worker", &attempt.worker);
    out.opt_str("endpoint", attempt.endpoint.as_deref());
    out.stamp("allocated_ts", attempt.allocated);
    out.stamp("running_ts", attempt.running);
    out.stamp("ended_ts", attempt.ended);
    out.str("outcome", attempt.outcome.name());
    out.opt_str("class", attempt.class.as_deref());
    out.opt_str("message", attempt.message.as_deref());
    out.close();
}

#[cfg(test)]
mod tests;
