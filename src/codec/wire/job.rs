//! Jobs: as they are created, changed, and shown.

use crate::codec::json::Fields;
use crate::codec::wire::field::{self, Text};
use crate::codec::wire::out::Out;
use crate::codec::wire::submit;
use crate::model::id::Name;
use crate::model::job::{CancelMode, Dedup, JobDefaults, JobSpec};
use crate::model::limits;
use crate::model::policy::Jitter;
use crate::model::priority::Priority;
use crate::model::reject::{Code, Reject};
use crate::model::state::{StateCounts, TaskState};
use crate::model::tags::TagSet;
use crate::model::view::JobView;

const OUTPUT: &[&str] = &[
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
    "eta_ts",
    "created_ts",
    "firstAllocated_ts",
    "ended_ts",
    "firstError",
];
const LATER: &[&str] =
    &["shareGroup", "after", "notify", "maxRunning", "maxFails", "affinityWaitMs", "hedge"];

/// A job as sent: its id, if one was given, and its specification.
///
/// # Errors
/// The rule that is broken.
pub fn create(
    fields: &Fields<'_>,
    retention_ms: u64,
    lenient: bool,
) -> Result<(Option<Name>, JobSpec), Reject> {
    let own = [
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
    let known: Vec<&str> = own.iter().chain(OUTPUT).copied().collect();
    field::only(fields, &known, LATER, lenient)?;
    let id = field::name(fields, "id", limits::NAME_BYTES_MAX)?;
    match field::text(fields, "dedup", 16, Text::Free)?.as_deref() {
        None | Some("batch") => {}
        Some("task") => {
            let detail = "dedup `task` is not in this build yet";
            return Err(Reject::new(Code::NotSupported, detail).on("dedup"));
        }
        Some(_) => return Err(Reject::field("dedup", "dedup must be batch or task")),
    }
    let spec = JobSpec {
        name: field::name(fields, "name", limits::NAME_BYTES_MAX)?
            .filter(|n| id.as_ref() != Some(n)),
        priority: priority(fields)?.unwrap_or(Priority::DEFAULT),
        weight: weight(fields)?.unwrap_or(1),
        tag: submit::tags(fields)?,
        dedup: Dedup::Batch,
        retention_ms: retention(fields)?.unwrap_or(retention_ms),
        paused: field::flag(fields, "paused")?.unwrap_or(false),
        defaults: defaults(fields)?,
    };
    Ok((id, spec))
}

fn priority(fields: &Fields<'_>) -> Result<Option<Priority>, Reject> {
    let value = field::int(fields, "priority", 0, 9).map_err(|_| {
        Reject::field("priority", "priority must be 1..9").hint("9 is the most urgent")
    })?;
    Ok(value.and_then(Priority::new))
}

fn weight(fields: &Fields<'_>) -> Result<Option<u16>, Reject> {
    let value = field::int(fields, "weight", 1, u64::from(limits::WEIGHT_MAX))?;
    Ok(value.map(|w| u16::try_from(w).unwrap_or(limits::WEIGHT_MAX)))
}

fn retention(fields: &Fields<'_>) -> Result<Option<u64>, Reject> {
    field::int(fields, "retentionMs", 0, limits::RETENTION_MS_MAX)
}

fn defaults(fields: &Fields<'_>) -> Result<JobDefaults, Reject> {
    let Some(inner) = field::object(fields, "defaults")? else { return Ok(JobDefaults::default()) };
    let known = [
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
    field::only(&inner, &known, LATER, false)?;
    Ok(JobDefaults {
        tag: submit::tags(&inner)?,
        affinity: submit::affinity(&inner, limits::AFFINITY_TASK_MAX)?,
        source: field::free(&inner, "source", limits::ENDPOINT_BYTES_MAX)?,
        meta: field::free(&inner, "meta", limits::META_BYTES_MAX)?,
        timeout_s: field::int32(&inner, "timeoutSeconds", 0, limits::TIMEOUT_S_MAX)?,
        lease_ms: field::int32(&inner, "leaseMs", limits::LEASE_MS_MIN, limits::LEASE_MS_MAX)?,
        max_attempts: field::int8(&inner, "maxAttempts", 1, limits::BUDGET_MAX)?,
        max_crashes: field::int8(&inner, "maxCrashes", 1, limits::BUDGET_MAX)?,
        backoff: submit::backoff(&inner)?,
    })
}

/// Fields of a PATCH that were sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch {
    /// New priority.
    pub priority: Option<Priority>,
    /// New weight.
    pub weight: Option<u16>,
    /// New name.
    pub name: Option<Name>,
    /// New label text.
    pub tag: Option<Name>,
    /// New retention, ms.
    pub retention_ms: Option<u64>,
}

/// `PATCH /kwq/jobs/{job}`.
///
/// # Errors
/// The rule that is broken.
pub fn patch(fields: &Fields<'_>, lenient: bool) -> Result<Patch, Reject> {
    let known = ["priority", "weight", "name", "tag", "tags", "retentionMs"];
    field::only(fields, &known, LATER, lenient)?;
    Ok(Patch {
        priority: priority(fields)?,
        weight: weight(fields)?,
        name: field::name(fields, "name", limits::NAME_BYTES_MAX)?,
        tag: submit::tags(fields)?,
        retention_ms: retention(fields)?,
    })
}

/// `{mode?, reason?}` of a cancel.
///
/// # Errors
/// The rule that is broken.
pub fn cancel(fields: &Fields<'_>) -> Result<(CancelMode, Option<Name>), Reject> {
    field::only(fields, &["mode", "reason"], &[], false)?;
    let mode = match field::text(fields, "mode", 16, Text::Free)?.as_deref() {
        None | Some("stop") => CancelMode::Stop,
        Some("drop-queued") => CancelMode::DropQueued,
        Some(_) => return Err(Reject::field("mode", "mode must be stop or drop-queued")),
    };
    Ok((mode, field::free(fields, "reason", limits::REASON_BYTES_MAX)?))
}

/// `{reason?}` of pause and resume.
///
/// # Errors
/// The rule that is broken.
pub fn reason(fields: &Fields<'_>) -> Result<(), Reject> {
    field::only(fields, &["reason"], &[], false)?;
    field::free(fields, "reason", limits::REASON_BYTES_MAX).map(drop)
}

/// Nine counts under their names.
pub fn counts(to: &mut Out, name: &str, counts: &StateCounts) {
    to.object(name);
    for state in TaskState::ALL {
        to.num(state.name(), counts.of(state));
    }
    to.close();
}

/// A job as shown.
pub fn job(to: &mut Out, job: &JobView, now_ms: u64) {
    let numbers = &job.numbers;
    to.open();
    to.str("id", &job.id);
    to.str("name", job.spec.name.as_deref().unwrap_or(&job.id));
    to.str("state", job.state.name());
    to.flag("paused", job.paused);
    to.flag("implicit", job.implicit);
    to.num("priority", job.spec.priority.get());
    to.num("weight", job.spec.weight);
    to.str("dedup", if job.spec.dedup == Dedup::Task { "task" } else { "batch" });
    label(to, job);
    to.num("retentionMs", job.spec.retention_ms);
    shown_defaults(to, &job.spec.defaults);
    to.opt_str("cancelReason", job.cancel_reason.as_deref());
    counts(to, "counts", &numbers.counts);
    to.num("submitted", numbers.submitted);
    to.num("live", numbers.counts.live());
    to.num("purged", numbers.purged);
    to.num("handedOut", numbers.handed_out);
    to.num("failedAttempts", numbers.failed_attempts);
    to.num("crashes", numbers.crashes);
    to.num("redriven", numbers.redriven);
    to.num("duplicates", numbers.duplicates);
    to.float("ratePerSec", job.rate_per_sec, 1);
    if let Some(mean) = numbers.mean_run_ms() {
        to.float("meanRunMs", mean, 1);
    }
    if let Some(oldest) = numbers.oldest_pending.known() {
        to.num("oldestPendingMs", now_ms.saturating_sub(oldest.0));
    }
    if let Some(eta) = job.eta {
        to.stamp("eta_ts", eta);
    }
    to.object("affinity");
    hits(to, numbers.hits, numbers.misses);
    to.close();
    if let Some((reference, error)) = &numbers.first_error {
        to.object("firstError");
        to.shown("ref", reference);
        to.str("class", &error.class);
        to.str("message", &error.message);
        to.stamp("ts", error.ts);
        to.close();
    }
    to.stamp("created_ts", numbers.created);
    to.stamp("firstAllocated_ts", numbers.first_allocated);
    to.stamp("ended_ts", job.ended);
    if let Some((total, applied)) = job.partitions {
        to.object("partitions");
        to.count("total", total);
        to.count("applied", applied);
        to.close();
    }
    to.close();
}

/// Hits, misses and their ratio.
pub fn hits(to: &mut Out, hits: u64, misses: u64) {
    to.num("hits", hits);
    to.num("misses", misses);
    let all = hits + misses;
    let ratio = if all == 0 { 0.0 } else { hits as f64 / all as f64 };
    to.float("hitRatio", ratio, 3);
}

fn label(to: &mut Out, job: &JobView) {
    let Some(text) = &job.spec.tag else { return };
    to.str("tag", text);
    to.list("tags");
    TagSet::parse(text).unwrap_or_default().iter().for_each(|t| to.text(t));
    to.close_list();
}

fn shown_defaults(to: &mut Out, defaults: &JobDefaults) {
    to.object("defaults");
    to.opt_str("tag", defaults.tag.as_deref());
    if let Some(keys) = &defaults.affinity {
        to.list("affinity");
        for key in keys {
            to.open();
            to.str("key", &key.key);
            to.num("weight", key.weight);
            to.close();
        }
        to.close_list();
    }
    to.opt_str("source", defaults.source.as_deref());
    to.opt_str("meta", defaults.meta.as_deref());
    let mut number = |name: &str, value: Option<u64>| {
        if let Some(value) = value {
            to.num(name, value);
        }
    };
    number("timeoutSeconds", defaults.timeout_s.map(u64::from));
    number("leaseMs", defaults.lease_ms.map(u64::from));
    number("maxAttempts", defaults.max_attempts.map(u64::from));
    number("maxCrashes", defaults.max_crashes.map(u64::from));
    let backoff = defaults.backoff;
    if backoff != crate::model::task::BackoffInput::default() {
        to.object("backoff");
        to.num("baseMs", backoff.base_ms.unwrap_or(1_000));
        to.num("capMs", backoff.cap_ms.unwrap_or(300_000));
        let full = backoff.jitter.unwrap_or_default() == Jitter::Full;
        to.str("jitter", if full { "full" } else { "none" });
        to.close();
    }
    to.close();
}
