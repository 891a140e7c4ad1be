//! A task as sent: body → [`TaskInput`].

use crate::codec::json::{Fields, Raw};
use crate::codec::wire::field::{self, Rules, set};
use crate::model::id::Name;
use crate::model::limits;
use crate::model::policy::Jitter;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::task::{BackoffInput, Delay, TaskInput};
use crate::model::time::WallMs;

/// Fields a task may be sent with; hints come from here.
const FIELDS: &[&str] = &[
    "id",
    "groupId",
    "job",
    "priority",
    "tag",
    "tags",
    "payload",
    "encoding",
    "affinity",
    "source",
    "meta",
    "timeoutSeconds",
    "leaseMs",
    "maxAttempts",
    "maxCrashes",
    "backoff",
    "notBefore_ts",
    "delayMs",
    "traceparent",
];

/// Fields that are output only; clients that send a task back as they got it are not refused for
/// them.
const OUTPUT_ONLY: &[&str] = &[
    "ref",
    "partition",
    "index",
    "state",
    "status",
    "worker",
    "workerEndpoint",
    "attempt",
    "runCount",
    "errors",
    "crashes",
    "redriven",
    "error",
    "payloadBytes",
    "payloadSha256",
    "result",
    "resultEncoding",
    "resultBytes",
    "attempts",
    "lease",
    "admitted",
];

/// Reads one task. `job` is the job of the path, which the body may only repeat.
///
/// # Errors
/// The code and field of the first rule it breaks.
pub fn parse(fields: &Fields<'_>, job: Option<&Name>, rules: &Rules) -> Result<TaskInput, Reject> {
    let mut task = TaskInput { job: job.cloned(), ..TaskInput::default() };
    let mut texts = Texts::default();
    for (key, raw) in fields.iter() {
        match key {
            // Who has one is read by `array::parse`.
            "array" => {}
            "payload" => texts.payload = Some(raw),
            "encoding" => texts.encoding = Some(raw),
            "tag" => texts.tag = Some(raw),
            "tags" => texts.tags = Some(raw),
            "delayMs" => texts.delay = Some(raw).filter(|r| !r.is_null()),
            "notBefore_ts" => texts.not_before = Some(raw).filter(|r| !r.is_null()),
            "groupId" | "job" if !raw.is_null() => {
                let named = field::name(if key == "job" { "job" } else { "groupId" }, raw)?;
                if texts.job.as_ref().is_some_and(|other| *other != named) {
                    let detail = "groupId and job are one field; give it once";
                    return Err(Reject::field("groupId", detail));
                }
                texts.job = Some(named);
            }
            "groupId" | "job" => {}
            other => simple(&mut task, other, raw, rules)?,
        }
    }
    if let Some(named) = texts.job.take() {
        task.job = Some(same_job(named, job)?);
    }
    texts.finish(&mut task, rules)?;
    Ok(task)
}

/// Values that need each other.
#[derive(Default)]
struct Texts<'a> {
    payload: Option<Raw<'a>>,
    encoding: Option<Raw<'a>>,
    tag: Option<Raw<'a>>,
    tags: Option<Raw<'a>>,
    delay: Option<Raw<'a>>,
    not_before: Option<Raw<'a>>,
    job: Option<Name>,
}

impl Texts<'_> {
    fn finish(self, task: &mut TaskInput, rules: &Rules) -> Result<(), Reject> {
        task.tag = field::tag_text(self.tag, self.tags)?;
        let (max, code) = (rules.payload_bytes_max, Code::PayloadTooLarge);
        task.payload =
            field::blob("payload", self.payload, self.encoding, max, code)?.unwrap_or_default();
        task.delay = match (self.not_before, self.delay) {
            (None, None) => Delay::None,
            (Some(_), Some(_)) => {
                let detail = "only one of notBefore_ts and delayMs may be given";
                return Err(Reject::field("delayMs", detail));
            }
            (None, Some(raw)) => match field::integer("delayMs", raw, 0, limits::DELAY_MS_MAX)? {
                0 => Delay::None,
                ms => Delay::For(ms),
            },
            (Some(raw), None) => not_before(raw, rules.now)?,
        };
        Ok(())
    }
}

fn not_before(raw: Raw<'_>, now: WallMs) -> Result<Delay, Reject> {
    let at = WallMs(field::integer("notBefore_ts", raw, 0, u64::MAX)?);
    if at.since(now) > limits::DELAY_MS_MAX {
        let detail = "notBefore_ts must be at most 365 days ahead";
        return Err(Reject::field("notBefore_ts", detail).hint("it counts in milliseconds"));
    }
    Ok(at.known().map_or(Delay::None, Delay::Until))
}

fn same_job(named: Name, path: Option<&Name>) -> Result<Name, Reject> {
    match path {
        Some(path) if *path != named => {
            Err(Reject::field("groupId", "groupId must be absent or the job of the path"))
        }
        Some(path) => Ok(path.clone()),
        None => Ok(named),
    }
}

fn simple(task: &mut TaskInput, key: &str, raw: Raw<'_>, rules: &Rules) -> Result<(), Reject> {
    match key {
        "id" => set(&mut task.id, raw, client_id),
        "priority" if !raw.is_null() => {
            task.priority = field::priority_or_unset(raw)?;
            Ok(())
        }
        "affinity" => {
            set(&mut task.affinity, raw, |r| field::affinity(r, limits::AFFINITY_TASK_MAX, rules))
        }
        "source" => {
            set(&mut task.source, raw, |r| field::bounded("source", r, limits::ENDPOINT_BYTES_MAX))
        }
        "meta" => set(&mut task.meta, raw, |r| field::bounded("meta", r, limits::META_BYTES_MAX)),
        "traceparent" => set(&mut task.traceparent, raw, |r| {
            field::bounded("traceparent", r, limits::TRACEPARENT_BYTES_MAX)
        }),
        "timeoutSeconds" => set(&mut task.timeout_s, raw, |r| {
            field::narrow("timeoutSeconds", r, 0, limits::TIMEOUT_S_MAX)
        }),
        "leaseMs" => set(&mut task.lease_ms, raw, lease_ms),
        "maxAttempts" => set(&mut task.max_attempts, raw, |r| {
            field::narrow("maxAttempts", r, 1, limits::BUDGET_MAX)
        }),
        "maxCrashes" => set(&mut task.max_crashes, raw, |r| {
            field::narrow("maxCrashes", r, 1, limits::BUDGET_MAX)
        }),
        "backoff" if !raw.is_null() => {
            task.backoff = backoff(raw, rules)?;
            Ok(())
        }
        "priority" | "backoff" => Ok(()),
        other => foreign(other, FIELDS, rules),
    }
}

/// `leaseMs` of a task, a job or a consume.
///
/// # Errors
/// `invalid_field`.
pub fn lease_ms(raw: Raw<'_>) -> Result<u32, Reject> {
    field::narrow("leaseMs", raw, limits::LEASE_MS_MIN, limits::LEASE_MS_MAX)
}

/// A client id: a name that does not look like a reference.
fn client_id(raw: Raw<'_>) -> Result<Name, Reject> {
    let id = field::name("id", raw)?;
    if TaskRef::looks_like(&id) {
        let detail = "an id must not look like a reference (priority-partition-offset)";
        return Err(Reject::new(Code::ReservedId, detail)
            .on("id")
            .hint("put a letter in front of it"));
    }
    Ok(id)
}

/// `{baseMs, capMs, jitter}`.
///
/// # Errors
/// `invalid_field`, `unknown_field`.
pub fn backoff(raw: Raw<'_>, rules: &Rules) -> Result<BackoffInput, Reject> {
    let mut out = BackoffInput::default();
    for (key, raw) in field::nested("backoff", raw)?.iter() {
        match key {
            "baseMs" => set(&mut out.base_ms, raw, |r| {
                field::narrow("backoff.baseMs", r, 0, limits::BACKOFF_MS_MAX)
            })?,
            "capMs" => set(&mut out.cap_ms, raw, |r| {
                field::narrow("backoff.capMs", r, 0, limits::BACKOFF_MS_MAX)
            })?,
            "jitter" => {
                set(&mut out.jitter, raw, |r| match field::string("backoff.jitter", r)?.as_ref() {
                    "full" => Ok(Jitter::Full),
                    "none" => Ok(Jitter::None),
                    _ => Err(Reject::field("backoff.jitter", "jitter must be full or none")),
                })?
            }
            _ if rules.lenient => {}
            other => return Err(field::unknown(other, &["baseMs", "capMs", "jitter"])),
        }
    }
    match (out.base_ms, out.cap_ms) {
        (Some(base), Some(cap)) if base > cap => {
            Err(Reject::field("backoff", "backoff.baseMs must not be greater than capMs"))
        }
        (_, _) => Ok(out),
    }
}

/// A field that is none of those a task is sent with.
fn foreign(key: &str, known: &[&'static str], rules: &Rules) -> Result<(), Reject> {
    match key {
        "deadline_ts" | "ttlMs" | "requires" => Err(field::later(key)),
        "leaseUntil_ts" => Ok(()),
        key if OUTPUT_ONLY.contains(&key) || key.ends_with("_ts") || rules.lenient => Ok(()),
        key => Err(field::unknown(key, known)),
    }
}

#[cfg(test)]
mod tests;
