//! Jobs: specification, changes and cancel in; the summed job out.

use crate::codec::json::{Fields, Raw};
use crate::codec::wire::field::{self, Rules, set};
use crate::codec::wire::out::Out;
use crate::codec::wire::{operation, task, task_out};
use crate::model::affinity::hit_ratio;
use crate::model::id::Name;
use crate::model::job::{CancelMode, Dedup, JobDefaults, JobSpec};
use crate::model::limits;
use crate::model::policy::{Backoff, Policy};
use crate::model::priority::Priority;
use crate::model::reject::Reject;
use crate::model::state::{StateCounts, TaskState};
use crate::model::time::WallMs;
use crate::model::view::JobView;

const FIELDS: &[&str] = &[
    "id",
    "name",
    "priority",
    "weight",
    "tag",
    "tags",
    "dedup",
    "retentionMs",
    "paused",
    "defaults",
];
const DEFAULTS: &[&str] = &[
    "tag",
    "tags",
    "affinity",
    "source",
    "meta",
    "timeoutSeconds",
    "leaseMs",
    "maxAttempts",
    "maxCrashes",
    "backoff",
];
const PATCH: &[&str] = &["priority", "weight", "name", "tag", "tags", "retentionMs"];
const LATER: &[&str] =
    &["shareGroup", "after", "notify", "maxRunning", "maxFails", "affinityWaitMs", "hedge"];
/// Fields of an answer that a client may send back unchanged.
const OUTPUT_ONLY: &[&str] = &[
    "state",
    "implicit",
    "cancelReason",
    "counts",
    "submitted",
    "live",
    "purged",
    "handedOut",
    "failedAttempts",
    "crashes",
    "redriven",
    "duplicates",
    "ratePerSec",
    "meanRunMs",
    "oldestPendingMs",
    "affinity",
    "firstError",
    "partitions",
];

/// What the node fills in for a job that says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Base {
    /// `job.priority`.
    pub priority: Priority,
    /// `job.retention`, ms.
    pub retention_ms: u64,
}

/// Fields that a create and a patch share.
#[derive(Default)]
struct Parts<'a> {
    id: Option<Name>,
    name: Option<Name>,
    priority: Option<Priority>,
    weight: Option<u16>,
    tag: Option<Raw<'a>>,
    tags: Option<Raw<'a>>,
    dedup: Dedup,
    retention_ms: Option<u64>,
    paused: Option<bool>,
    defaults: Option<JobDefaults>,
}

impl<'a> Parts<'a> {
    fn field(&mut self, key: &str, raw: Raw<'a>, rules: &Rules) -> Result<(), Reject> {
        match key {
            "id" => set(&mut self.id, raw, |r| field::name("id", r)),
            "name" => set(&mut self.name, raw, |r| field::name("name", r)),
            "priority" => {
                if !raw.is_null() {
                    self.priority = Some(field::priority(raw)?);
                }
                Ok(())
            }
            "weight" => {
                set(&mut self.weight, raw, |r| field::narrow("weight", r, 1, limits::WEIGHT_MAX))
            }
            "tag" => set(&mut self.tag, raw, Ok),
            "tags" => set(&mut self.tags, raw, Ok),
            "retentionMs" => set(&mut self.retention_ms, raw, |r| {
                field::integer("retentionMs", r, 0, limits::RETENTION_MS_MAX)
            }),
            "paused" => set(&mut self.paused, raw, |r| field::boolean("paused", r)),
            "dedup" if raw.is_null() => Ok(()),
            "dedup" => match field::string("dedup", raw)?.as_ref() {
                "batch" => Ok(()),
                "task" => {
                    self.dedup = Dedup::Task;
                    Ok(())
                }
                _ => Err(Reject::field("dedup", "dedup must be batch or task")),
            },
            "defaults" => set(&mut self.defaults, raw, |r| defaults(r, rules)),
            later if LATER.contains(&later) => Err(field::later(later)),
            known if OUTPUT_ONLY.contains(&known) || known.ends_with("_ts") => Ok(()),
            _ if rules.lenient => Ok(()),
            other => Err(field::unknown(other, FIELDS)),
        }
    }
}

/// Reads `POST /kwq/jobs`: the id, if given, and the specification with its defaults filled in.
///
/// # Errors
/// The code and field of the first rule it breaks.
pub fn parse(
    fields: &Fields<'_>,
    base: Base,
    rules: &Rules,
) -> Result<(Option<Name>, JobSpec), Reject> {
    let mut parts = Parts::default();
    for (key, raw) in fields.iter() {
        parts.field(key, raw, rules)?;
    }
    let spec = JobSpec {
        name: parts.name.filter(|name| parts.id.as_ref() != Some(name)),
        priority: parts.priority.unwrap_or(base.priority),
        weight: parts.weight.unwrap_or(1),
        tag: field::tag_text(parts.tag, parts.tags)?,
        dedup: parts.dedup,
        retention_ms: parts.retention_ms.unwrap_or(base.retention_ms),
        paused: parts.paused.unwrap_or(false),
        defaults: parts.defaults.unwrap_or_default(),
    };
    Ok((parts.id, spec))
}

fn defaults(raw: Raw<'_>, rules: &Rules) -> Result<JobDefaults, Reject> {
    let mut out = JobDefaults::default();
    let (mut tag, mut tags, mut backoff) = (None, None, None);
    for (key, raw) in field::nested("defaults", raw)?.iter() {
        match key {
            "tag" => set(&mut tag, raw, Ok)?,
            "tags" => set(&mut tags, raw, Ok)?,
            "affinity" => {
                set(&mut out.affinity, raw, |r| {
                    field::affinity(r, limits::AFFINITY_TASK_MAX, rules)
                })?;
            }
            "source" => set(&mut out.source, raw, |r| {
                field::bounded("source", r, limits::ENDPOINT_BYTES_MAX)
            })?,
            "meta" => {
                set(&mut out.meta, raw, |r| field::bounded("meta", r, limits::META_BYTES_MAX))?
            }
            "timeoutSeconds" => set(&mut out.timeout_s, raw, |r| {
                field::narrow("timeoutSeconds", r, 0, limits::TIMEOUT_S_MAX)
            })?,
            "leaseMs" => set(&mut out.lease_ms, raw, task::lease_ms)?,
            "maxAttempts" => set(&mut out.max_attempts, raw, |r| {
                field::narrow("maxAttempts", r, 1, limits::BUDGET_MAX)
            })?,
            "maxCrashes" => set(&mut out.max_crashes, raw, |r| {
                field::narrow("maxCrashes", r, 1, limits::BUDGET_MAX)
            })?,
            "backoff" => set(&mut backoff, raw, |r| task::backoff(r, rules))?,
            _ if rules.lenient => {}
            other => return Err(field::unknown(other, DEFAULTS)),
        }
    }
    out.tag = field::tag_text(tag, tags)?;
    out.backoff = backoff.unwrap_or_default();
    Ok(out)
}

/// What a patch changes; only what is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// New priority.
    pub priority: Option<Priority>,
    /// New weight.
    pub weight: Option<u16>,
    /// New name.
    pub name: Option<Name>,
    /// New label text; empty = no label.
    pub tag: Option<Name>,
    /// New retention, ms.
    pub retention_ms: Option<u64>,
}

/// Reads `PATCH /kwq/jobs/{job}`.
///
/// # Errors
/// The code and field of the first rule it breaks.
pub fn parse_patch(fields: &Fields<'_>, rules: &Rules) -> Result<Patch, Reject> {
    let mut parts = Parts::default();
    for (key, raw) in fields.iter() {
        if LATER.contains(&key) {
            return Err(field::later(key));
        }
        if !PATCH.contains(&key) && !rules.lenient {
            return Err(field::unknown(key, PATCH));
        }
        if PATCH.contains(&key) {
            parts.field(key, raw, rules)?;
        }
    }
    let labelled = parts.tag.is_some() || parts.tags.is_some();
    let text = field::tag_text(parts.tag, parts.tags)?;
    Ok(Patch {
        priority: parts.priority,
        weight: parts.weight,
        name: parts.name,
        tag: labelled.then(|| text.unwrap_or_else(|| Name::from(""))),
        retention_ms: parts.retention_ms,
    })
}

/// Reads the body of `cancel`.
///
/// # Errors
/// The code and field of the first rule it breaks.
pub fn parse_cancel(
    fields: &Fields<'_>,
    rules: &Rules,
) -> Result<(CancelMode, Option<Name>), Reject> {
    let (mut mode, mut reason) = (None, None);
    for (key, raw) in fields.iter() {
        match key {
            "mode" => set(&mut mode, raw, |r| match field::string("mode", r)?.as_ref() {
                "stop" => Ok(CancelMode::Stop),
                "drop-queued" => Ok(CancelMode::DropQueued),
                _ => Err(Reject::field("mode", "mode must be stop or drop-queued")),
            })?,
            "reason" => set(&mut reason, raw, read_reason)?,
            _ if rules.lenient => {}
            other => return Err(field::unknown(other, &["mode", "reason"])),
        }
    }
    Ok((mode.unwrap_or_default(), reason))
}

fn read_reason(raw: Raw<'_>) -> Result<Name, Reject> {
    field::bounded("reason", raw, limits::REASON_BYTES_MAX)
}

/// Reads a body that holds `reason` at most.
///
/// # Errors
/// The code and field of the first rule it breaks.
pub fn parse_reason(fields: &Fields<'_>, rules: &Rules) -> Result<Option<Name>, Reject> {
    let mut reason = None;
    for (key, raw) in fields.iter() {
        match key {
            "reason" => set(&mut reason, raw, read_reason)?,
            _ if rules.lenient => {}
            other => return Err(field::unknown(other, &["reason"])),
        }
    }
    Ok(reason)
}

/// Reads `{set?: {priority}}`.
///
/// # Errors
/// The code and field of the first rule it breaks.
pub fn parse_set(fields: &Fields<'_>, rules: &Rules) -> Result<Option<Priority>, Reject> {
    let mut priority = None;
    for (key, raw) in fields.iter() {
        match key {
            "set" if raw.is_null() => {}
            "set" => priority = operation::read_set(raw, rules)?,
            _ if rules.lenient => {}
            other => return Err(field::unknown(other, &["set"])),
        }
    }
    Ok(priority)
}

/// A job.
pub fn view(out: &mut Out, job: &JobView, policy: &Policy, now: WallMs) {
    let (spec, numbers) = (&job.spec, &job.numbers);
    out.open();
    out.str("id", &job.id);
    out.str("name", spec.name.as_deref().unwrap_or(&job.id));
    out.str("state", job.state.name());
    out.flag("paused", job.paused);
    out.flag("implicit", job.implicit);
    out.num("priority", spec.priority.get());
    out.num("weight", spec.weight);
    out.str("dedup", dedup_name(spec.dedup));
    task_out::tags(out, spec.tag.as_ref());
    out.num("retentionMs", spec.retention_ms);
    view_defaults(out, &spec.defaults, policy);
    out.opt_str("cancelReason", job.cancel_reason.as_deref());
    if let Some((total, applied)) = job.partitions {
        out.object("partitions");
        out.count("total", total);
        out.count("applied", applied);
        out.close();
    }
    out.key("counts");
    counts(out, &numbers.counts);
    out.num("submitted", numbers.submitted);
    out.num("live", numbers.counts.live());
    out.num("purged", numbers.purged);
    out.num("handedOut", numbers.handed_out);
    out.num("failedAttempts", numbers.failed_attempts);
    out.num("crashes", numbers.crashes);
    out.num("redriven", numbers.redriven);
    out.num("duplicates", numbers.duplicates);
    out.float("ratePerSec", job.rate_per_sec, 3);
    if let Some(mean) = numbers.mean_run_ms() {
        out.float("meanRunMs", mean, 1);
    }
    if let Some(oldest) = numbers.oldest_pending.known() {
        out.num("oldestPendingMs", now.since(oldest));
    }
    if let Some(eta) = job.eta {
        out.num("eta_ts", eta.0);
    }
    hits(out, numbers.hits, numbers.misses);
    if let Some((reference, error)) = &numbers.first_error {
        out.object("firstError");
        out.shown("ref", reference);
        out.str("class", &error.class);
        out.str("message", &error.message);
        out.num("ts", error.ts.0);
        out.close();
    }
    out.stamp("created_ts", numbers.created);
    out.stamp("firstAllocated_ts", numbers.first_allocated);
    out.stamp("ended_ts", job.ended);
    out.close();
}

fn dedup_name(dedup: Dedup) -> &'static str {
    match dedup {
        Dedup::Batch => "batch",
        Dedup::Task => "task",
    }
}

fn view_defaults(out: &mut Out, defaults: &JobDefaults, policy: &Policy) {
    out.object("defaults");
    task_out::tags(out, defaults.tag.as_ref());
    task_out::affinity(out, defaults.affinity.as_deref().unwrap_or_default());
    out.opt_str("source", defaults.source.as_deref());
    out.opt_str("meta", defaults.meta.as_deref());
    let numbers = [
        ("timeoutSeconds", defaults.timeout_s),
        ("leaseMs", defaults.lease_ms),
        ("maxAttempts", defaults.max_attempts.map(u32::from)),
        ("maxCrashes", defaults.max_crashes.map(u32::from)),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            out.num(name, value);
        }
    }
    let sent = defaults.backoff;
    if sent.base_ms.is_some() || sent.cap_ms.is_some() || sent.jitter.is_some() {
        task_out::backoff(
            out,
            Backoff {
                base_ms: sent.base_ms.unwrap_or(policy.backoff.base_ms),
                cap_ms: sent.cap_ms.unwrap_or(policy.backoff.cap_ms),
                jitter: sent.jitter.unwrap_or(policy.backoff.jitter),
            },
        );
    }
    out.close();
}

/// Nine counts by state name.
pub fn counts(out: &mut Out, counts: &StateCounts) {
    out.open();
    for state in TaskState::ALL {
        out.num(state.name(), counts.of(state));
    }
    out.close();
}

fn hits(out: &mut Out, hits: u64, misses: u64) {
    out.object("affinity");
    out.num("hits", hits);
    out.num("misses", misses);
    out.float("hitRatio", hit_ratio(hits, misses), 3);
    out.close();
}

#[cfg(test)]
mod tests;
