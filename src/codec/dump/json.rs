//! One JSON object a record, as `docs` and the fault checker read it. No payload, only its size and
//! SHA-256; no token.

use crate::codec::digest::{hex, sha256_hex};
use crate::codec::dump::{DumpBody, DumpRecord};
use crate::model::affinity::{AffinityKey, Fit};
use crate::model::event::{Event, Next, Stamped};
use crate::model::id::Name;
use crate::model::job::{CancelMode, Dedup, JobChange, JobDefaults, JobSpec};
use crate::model::key::{KeyAnswer, KeyPart, Told};
use crate::model::operation::OpStep;
use crate::model::policy::Jitter;
use crate::model::reference::TaskRef;
use crate::model::tags::{TagSet, shown};
use crate::model::task::{BackoffInput, TaskSpec};
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// The line of a record, without line end.
#[must_use]
pub fn dump_json(record: &DumpRecord) -> String {
    let mut out = Object::new();
    out.insert("partition".into(), json!(record.partition.0));
    out.insert("position".into(), json!(record.position.0.to_string()));
    out.insert("epoch".into(), json!(record.epoch.0.to_string()));
    out.insert("kind".into(), json!(record.kind()));
    match &record.body {
        DumpBody::Seal { at, synced_to } => {
            out.insert("at_ts".into(), json!(at.0));
            out.insert("syncedTo".into(), json!(synced_to.0.to_string()));
        }
        DumpBody::Event(stamped) => {
            out.insert("at_ts".into(), json!(stamped.at.0));
            put_event(&mut out, stamped, &record.refs);
        }
    }
    Value::Object(out).to_string()
}

fn put_event(out: &mut Object, stamped: &Stamped, refs: &[TaskRef]) {
    match &stamped.event {
        Event::Owner { node, addr, .. } => {
            out.insert("node".into(), json!(node));
            out.insert("addr".into(), json!(addr));
        }
        Event::JobDefined { job, implicit, spec } => {
            out.insert("job".into(), json!(job));
            out.insert("implicit".into(), json!(implicit));
            out.insert("spec".into(), job_spec(spec));
        }
        Event::JobChanged { job, change } => {
            out.insert("job".into(), json!(job));
            put_change(out, change);
        }
        Event::WorkerDrained { worker, drains } => {
            out.insert("worker".into(), json!(worker));
            out.insert("drains".into(), json!(drains));
        }
        Event::LevelChanged { level, paused } => {
            out.insert("level".into(), level.map_or(json!("all"), |l| json!(l.get())));
            out.insert("paused".into(), json!(paused));
        }
        Event::Allocated { worker, endpoint, .. } => {
            out.insert("worker".into(), json!(worker));
            put_name(out, "endpoint", endpoint.as_ref());
        }
        Event::Redriven { priority: Some(priority), .. } => {
            out.insert("priority".into(), json!(priority.get()));
        }
        Event::Key { part, answer } => put_key(out, part, answer),
        Event::Duplicates(jobs) => {
            let row = |(job, count): &(Name, u64)| json!({"job": job, "count": count});
            out.insert("duplicates".into(), jobs.iter().map(row).collect());
        }
        Event::Operation { op, step } => {
            out.insert("op".into(), json!(op.to_string()));
            put_step(out, step);
        }
        Event::Inbox { level, from, next, lost } => {
            out.insert("level".into(), json!(level.get()));
            for (name, offset) in [("from", from), ("next", next), ("lost", lost)] {
                out.insert(name.into(), json!(offset));
            }
        }
        Event::SubmittedArray { array, .. } => {
            let reference = refs.first().map(ToString::to_string);
            let mut row = json!({
                "ref": reference, "job": array.task.job, "priority": array.task.priority.get(),
                "from": array.span.from, "step": array.span.step, "count": array.span.count,
            });
            if let Some(id) = &array.id {
                row["id"] = json!(id);
            }
            out.insert("array".into(), row);
        }
        Event::Submitted { .. }
        | Event::Started(_)
        | Event::Completed(_)
        | Event::Failed { .. }
        | Event::Released { .. }
        | Event::Cancelled(_)
        | Event::Purged(_)
        | Event::Redriven { priority: None, .. } => {}
    }
    if let Some(tasks) = tasks(stamped, refs) {
        out.insert("tasks".into(), tasks);
    }
}

/// The `tasks` of a record, if its kind has any.
fn tasks(stamped: &Stamped, refs: &[TaskRef]) -> Option<Value> {
    let texts: Vec<String> = refs.iter().map(ToString::to_string).collect();
    let rows: Vec<Value> = match &stamped.event {
        Event::Owner { .. }
        | Event::JobDefined { .. }
        | Event::JobChanged { .. }
        | Event::LevelChanged { .. }
        | Event::WorkerDrained { .. }
        | Event::Key { .. }
        | Event::Duplicates(_)
        | Event::Inbox { .. }
        | Event::Operation { .. }
        | Event::SubmittedArray { .. } => return None,
        Event::Submitted { tasks, .. } => {
            texts.iter().zip(tasks).map(|(r, task)| submitted(r, task)).collect()
        }
        Event::Allocated { first_lease, tasks, .. } => (first_lease.0..)
            .zip(texts.iter().zip(tasks))
            .map(|(lease, (r, task))| {
                let (attempt, lease_ms) = (task.attempt, task.lease_ms);
                let mut row =
                    json!({"ref": r, "attempt": attempt, "lease": lease, "leaseMs": lease_ms});
                if task.fit != Fit::None {
                    row["affinity"] = json!(task.fit.word());
                }
                if let Some(level) = task.served {
                    row["servedPriority"] = json!(level.get());
                }
                row
            })
            .collect(),
        Event::Started(tasks) => {
            let rows = texts.iter().zip(tasks);
            rows.map(|(r, task)| json!({"ref": r, "attempt": task.attempt})).collect()
        }
        Event::Completed(tasks) => texts
            .iter()
            .zip(tasks)
            .map(|(r, task)| {
                let bytes = task.result.as_ref().map_or(0, |b| b.bytes.len());
                json!({"ref": r, "attempt": task.attempt, "late": task.late, "resultBytes": bytes})
            })
            .collect(),
        Event::Failed { tasks, .. } => texts
            .iter()
            .zip(tasks)
            .map(|(r, task)| {
                let mut row = json!({
                    "ref": r, "attempt": task.attempt, "class": task.class,
                    "errors": task.errors, "crashes": task.crashes, "to": next_word(task.next),
                });
                put_due(&mut row, task.next);
                row
            })
            .collect(),
        Event::Released { cause, tasks } => texts
            .iter()
            .zip(tasks)
            .map(|(r, task)| {
                let mut row = json!({"ref": r, "attempt": task.attempt, "cause": cause.word()});
                put_due(&mut row, task.next);
                row
            })
            .collect(),
        Event::Cancelled(_) | Event::Redriven { .. } | Event::Purged(_) => {
            texts.iter().map(|r| json!({"ref": r})).collect()
        }
    };
    Some(Value::Array(rows))
}

fn submitted(reference: &str, task: &TaskSpec) -> Value {
    let tags = task.tag.as_deref().and_then(|text| TagSet::parse(text).ok()).unwrap_or_default();
    let mut row = Object::new();
    row.insert("ref".into(), json!(reference));
    put_name(&mut row, "id", task.id.as_ref());
    row.insert("job".into(), json!(task.job));
    row.insert("priority".into(), json!(task.priority.get()));
    row.insert("tags".into(), json!(tags.iter().collect::<Vec<_>>()));
    row.insert("affinity".into(), affinity(&task.affinity));
    row.insert("state".into(), json!(task.first_state().name()));
    row.insert("payloadBytes".into(), json!(task.payload.bytes.len()));
    row.insert("payloadSha256".into(), json!(sha256_hex(&task.payload.bytes)));
    if let Some(time) = task.not_before.known() {
        row.insert("notBefore_ts".into(), json!(time.0));
    }
    Value::Object(row)
}

fn affinity(keys: &[AffinityKey]) -> Value {
    keys.iter().map(|k| json!({"key": k.key, "weight": k.weight})).collect()
}

fn next_word(next: Next) -> &'static str {
    match next {
        Next::Pending => "PENDING",
        Next::Delayed(_) => "DELAYED",
        Next::Error => "ERROR",
        Next::Cancelled => "CANCELLED",
    }
}

fn put_due(row: &mut Value, next: Next) {
    if let (Next::Delayed(at), Some(row)) = (next, row.as_object_mut()) {
        row.insert("due_ts".into(), json!(at.0));
    }
}

fn put_step(out: &mut Object, step: &OpStep) {
    out.insert("step".into(), json!(step.word()));
    match step {
        OpStep::Started { spec, matched, .. } => {
            out.insert("operation".into(), json!(spec.kind.word()));
            out.insert("filter".into(), json!(spec.filter));
            out.insert("by".into(), json!(spec.by));
            out.insert("matched".into(), json!(matched));
        }
        OpStep::Progress { done, skipped, .. } => {
            out.insert("done".into(), json!(done));
            out.insert("skipped".into(), json!(skipped));
        }
        OpStep::Stopped => {}
    }
}

fn put_change(out: &mut Object, change: &JobChange) {
    out.insert("change".into(), json!(change.word()));
    match change {
        JobChange::Close | JobChange::Pause | JobChange::Resume | JobChange::Purge => {}
        JobChange::Cancel(mode, reason) => {
            let mode = match mode {
                CancelMode::Stop => "stop",
                CancelMode::DropQueued => "drop-queued",
            };
            out.insert("mode".into(), json!(mode));
            put_name(out, "reason", reason.as_ref());
        }
        JobChange::Prioritise(priority) => {
            out.insert("priority".into(), json!(priority.get()));
        }
        JobChange::Weight(weight) => {
            out.insert("weight".into(), json!(weight));
        }
        JobChange::Retention(ms) => {
            out.insert("retentionMs".into(), json!(ms));
        }
    }
}

fn put_key(out: &mut Object, part: &KeyPart, answer: &KeyAnswer) {
    out.insert("keySha256".into(), json!(hex(&part.key.0)));
    out.insert("contentSha256".into(), json!(hex(&part.content.0)));
    if part.part == KeyPart::DONE {
        out.insert("part".into(), json!("done"));
    } else {
        out.insert("part".into(), json!(part.part >> 16));
        out.insert("step".into(), json!(part.part & 0xffff));
    }
    match answer {
        KeyAnswer::Tasks(told) => {
            out.insert("outcomes".into(), told.iter().map(outcome).collect());
        }
        KeyAnswer::Note(note) => {
            out.insert("noteBytes".into(), json!(note.len()));
        }
        KeyAnswer::Free => {
            out.insert("forgotten".into(), json!(true));
        }
    }
}

fn outcome(told: &Told) -> Value {
    match told {
        Told::Admitted { priority, first, count } => {
            json!({"outcome": "ok", "priority": priority.get(), "first": first.0, "count": count})
        }
        Told::Duplicate { priority, first, count } => json!({
            "outcome": "duplicate", "priority": priority.get(), "first": first.0, "count": count,
        }),
        Told::Array { priority, first, count, duplicate } => json!({
            "outcome": if *duplicate { "duplicate" } else { "ok" }, "array": true,
            "priority": priority.get(), "first": first.0, "count": count,
        }),
        Told::Elsewhere { partition, count } => {
            json!({"outcome": "elsewhere", "partition": partition.0, "count": count})
        }
        Told::Refused(refusal) => json!({"outcome": "refused", "code": refusal.code}),
    }
}

fn job_spec(spec: &JobSpec) -> Value {
    let mut out = Object::new();
    put_name(&mut out, "name", spec.name.as_ref());
    out.insert("priority".into(), json!(spec.priority.get()));
    out.insert("weight".into(), json!(spec.weight));
    put_tag(&mut out, spec.tag.as_ref());
    let dedup = match spec.dedup {
        Dedup::Batch => "batch",
        Dedup::Task => "task",
    };
    out.insert("dedup".into(), json!(dedup));
    out.insert("retentionMs".into(), json!(spec.retention_ms));
    out.insert("paused".into(), json!(spec.paused));
    out.insert("defaults".into(), defaults(&spec.defaults));
    Value::Object(out)
}

fn defaults(defaults: &JobDefaults) -> Value {
    let mut out = Object::new();
    put_tag(&mut out, defaults.tag.as_ref());
    if let Some(keys) = &defaults.affinity {
        out.insert("affinity".into(), affinity(keys));
    }
    put_name(&mut out, "source", defaults.source.as_ref());
    put_name(&mut out, "meta", defaults.meta.as_ref());
    put_number(&mut out, "timeoutSeconds", defaults.timeout_s);
    put_number(&mut out, "leaseMs", defaults.lease_ms);
    put_number(&mut out, "maxAttempts", defaults.max_attempts);
    put_number(&mut out, "maxCrashes", defaults.max_crashes);
    if defaults.backoff != BackoffInput::default() {
        let mut backoff = Object::new();
        put_number(&mut backoff, "baseMs", defaults.backoff.base_ms);
        put_number(&mut backoff, "capMs", defaults.backoff.cap_ms);
        if let Some(jitter) = defaults.backoff.jitter {
            let word = match jitter {
                Jitter::Full => "full",
                Jitter::None => "none",
            };
            backoff.insert("jitter".into(), json!(word));
        }
        out.insert("backoff".into(), Value::Object(backoff));
    }
    Value::Object(out)
}

fn put_name(out: &mut Object, key: &str, value: Option<&Name>) {
    if let Some(value) = value {
        out.insert(key.into(), json!(value));
    }
}

fn put_tag(out: &mut Object, tag: Option<&Name>) {
    if let Some(tag) = tag {
        out.insert("tag".into(), json!(shown(tag)));
    }
}

fn put_number<T: Into<u64>>(out: &mut Object, key: &str, value: Option<T>) {
    if let Some(value) = value {
        let number: u64 = value.into();
        out.insert(key.into(), json!(number));
    }
}

#[cfg(test)]
mod tests;
