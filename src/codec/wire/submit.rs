//! Tasks as they are sent.

use crate::codec::json::{Element, Fields, Raw};
use crate::codec::wire::field::{self, Text};
use crate::codec::wire::{base64, out};
use crate::model::affinity::{AffinityKey, valid_key};
use crate::model::id::Name;
use crate::model::limits;
use crate::model::policy::Jitter;
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::reply::Admitted;
use crate::model::tags::{BadTag, TagSet};
use crate::model::task::{BackoffInput, Blob, Delay, Encoding, TaskInput};
use crate::model::time::WallMs;

/// Fields of a task that mean something.
const KNOWN: &[&str] = &[
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
/// Fields the server answers with; clients of the seed send them back. Ignored.
const OUTPUT: &[&str] = &[
    "status",
    "worker",
    "workerEndpoint",
    "runCount",
    "submitted_ts",
    "allocated_ts",
    "running_ts",
    "completed_ts",
    "ref",
    "partition",
    "index",
    "state",
    "attempt",
    "errors",
    "crashes",
    "redriven",
    "available_ts",
    "error_ts",
    "cancelled_ts",
    "error",
    "payloadBytes",
    "payloadSha256",
    "result",
    "resultEncoding",
    "resultBytes",
    "attempts",
    "lease",
    "leaseUntil_ts",
    "admitted",
];
const LATER: &[&str] = &["deadline_ts", "ttlMs", "requires", "array"];

/// What a submit is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `limits.payload`, bytes.
    pub payload_max: usize,
    /// `?lenient=true`.
    pub lenient: bool,
    /// Wall clock of the call.
    pub now: WallMs,
}

/// One task.
///
/// # Errors
/// The code and field of the rule that is broken.
pub fn task(fields: &Fields<'_>, rules: Rules) -> Result<TaskInput, Reject> {
    let known = |name: &str| KNOWN.contains(&name) || OUTPUT.contains(&name);
    if !fields.iter().all(|(name, _)| known(name)) {
        let all: Vec<&str> = KNOWN.iter().chain(OUTPUT).copied().collect();
        field::only(fields, &all, LATER, rules.lenient)?;
    }
    let priority = field::int(fields, "priority", 0, 9).map_err(|_| {
        Reject::field("priority", "priority must be 1..9").hint("9 is the most urgent")
    })?;
    Ok(TaskInput {
        id: id(fields)?,
        job: job(fields)?,
        priority: priority.and_then(Priority::new),
        tag: tags(fields)?,
        payload: payload(fields, rules.payload_max)?,
        affinity: affinity(fields, limits::AFFINITY_TASK_MAX)?,
        source: field::free(fields, "source", limits::ENDPOINT_BYTES_MAX)?,
        meta: field::free(fields, "meta", limits::META_BYTES_MAX)?,
        timeout_s: field::int32(fields, "timeoutSeconds", 0, limits::TIMEOUT_S_MAX)?
            .filter(|s| *s > 0),
        lease_ms: field::int32(fields, "leaseMs", limits::LEASE_MS_MIN, limits::LEASE_MS_MAX)?,
        max_attempts: field::int8(fields, "maxAttempts", 1, limits::BUDGET_MAX)?,
        max_crashes: field::int8(fields, "maxCrashes", 1, limits::BUDGET_MAX)?,
        backoff: backoff(fields)?,
        delay: delay(fields, rules.now)?,
        traceparent: field::free(fields, "traceparent", limits::TRACEPARENT_BYTES_MAX)?,
    })
}

fn id(fields: &Fields<'_>) -> Result<Option<Name>, Reject> {
    let id = field::name(fields, "id", limits::NAME_BYTES_MAX)?;
    if let Some(text) = id.as_ref().filter(|id| TaskRef::looks_like(id)) {
        let detail = format!("`{text}` looks like a task reference; those are given by the server");
        return Err(Reject::new(Code::ReservedId, detail).on("id"));
    }
    Ok(id)
}

fn job(fields: &Fields<'_>) -> Result<Option<Name>, Reject> {
    let group = field::name(fields, "groupId", limits::NAME_BYTES_MAX)?;
    let job = field::name(fields, "job", limits::NAME_BYTES_MAX)?;
    match (group, job) {
        (Some(group), Some(job)) if group != job => {
            Err(Reject::field("job", "job and groupId name different jobs; send one of them"))
        }
        (group, job) => Ok(group.or(job)),
    }
}

/// Canonical tag text of `tag` and `tags` united; the text as sent when only `tag` is given.
///
/// # Errors
/// `invalid_tag`, `invalid_field`.
pub fn tags(fields: &Fields<'_>) -> Result<Option<Name>, Reject> {
    let invalid =
        |field: &'static str| move |bad: BadTag| Reject::new(Code::InvalidTag, bad.0).on(field);
    let text = match fields.get("tag") {
        None => None,
        Some(raw) => {
            Some(raw.string()?.ok_or_else(|| Reject::field("tag", "tag must be a string"))?)
        }
    };
    let mut set = match &text {
        Some(text) => TagSet::parse(text).map_err(invalid("tag"))?,
        None => TagSet::default(),
    };
    let Some(raw) = fields.get("tags") else {
        return Ok(text.filter(|t| !t.is_empty()).map(|t| Name::from(t.as_ref())));
    };
    for item in tag_items(raw)? {
        set.add_item(&item).map_err(invalid("tags"))?;
    }
    if set.is_empty() { Ok(None) } else { Ok(Some(set.text().into())) }
}

fn tag_items(raw: Raw<'_>) -> Result<Vec<String>, Reject> {
    let wrong = || {
        Reject::field("tags", "tags must be an array of strings or an object of strings or arrays")
    };
    let strings = |raw: Raw<'_>| -> Result<Vec<String>, Reject> {
        let one = |element| match element {
            Ok(Element::Other(raw)) => raw.string()?.ok_or_else(wrong).map(String::from),
            Ok(Element::Object(_)) => Err(wrong()),
            Err(reject) => Err(reject),
        };
        raw.elements()?.map(one).collect()
    };
    if raw.is_array() {
        return strings(raw);
    }
    if !raw.is_object() {
        return Err(wrong());
    }
    let mut items = Vec::new();
    for (key, value) in raw.fields()?.iter() {
        if key.contains(':') {
            let detail = format!("the tag key `{key}` holds a colon");
            return Err(Reject::new(Code::InvalidTag, detail).on("tags"));
        }
        let values = match value.string()? {
            Some(text) => vec![text.into_owned()],
            None if value.is_array() => strings(value)?,
            None => return Err(wrong()),
        };
        items.extend(values.iter().map(|v| format!("{key}:{v}")));
    }
    Ok(items)
}

/// Payload or result bytes with their encoding.
///
/// # Errors
/// `invalid_field` for an encoding that does not fit; `payload_too_large` is decided by [`blob`]'s
/// callers.
fn payload(fields: &Fields<'_>, bytes_max: usize) -> Result<Blob, Reject> {
    let blob = blob(fields, "payload")?;
    if blob.bytes.len() > bytes_max {
        let detail = format!("the payload has {} B; at most {bytes_max}", blob.bytes.len());
        return Err(Reject::new(Code::PayloadTooLarge, detail)
            .on("payload")
            .hint("put large data elsewhere and send its URL"));
    }
    Ok(blob)
}

/// Bytes of a `payload` or `result` field by the rules of its `encoding`.
///
/// # Errors
/// `invalid_field`.
pub fn blob(fields: &Fields<'_>, name: &'static str) -> Result<Blob, Reject> {
    let asked = match field::text(fields, "encoding", 16, Text::Free)?.as_deref() {
        None => None,
        Some("text") => Some(Encoding::Text),
        Some("json") => Some(Encoding::Json),
        Some("base64") => Some(Encoding::Base64),
        Some(_) => return Err(Reject::field("encoding", "encoding must be text, json or base64")),
    };
    // `null` is a JSON value when `json` is asked for, and no payload otherwise.
    let sent = fields.iter().find(|(key, _)| *key == name).map(|(_, raw)| raw);
    let Some(raw) = sent.filter(|r| asked == Some(Encoding::Json) || !r.is_null()) else {
        return Ok(Blob { encoding: asked.unwrap_or_default(), bytes: Vec::new() });
    };
    let natural = if raw.is_string() { Encoding::Text } else { Encoding::Json };
    let encoding = asked.unwrap_or(natural);
    let wrong = |what: &str| Reject::field(name, format!("{name} must be {what}"));
    let bytes = match encoding {
        Encoding::Json => raw.text().as_bytes().to_vec(),
        Encoding::Text => raw
            .string()?
            .ok_or_else(|| wrong("a string for encoding text"))?
            .into_owned()
            .into_bytes(),
        Encoding::Base64 => {
            let text = raw.string()?.ok_or_else(|| wrong("a string for encoding base64"))?;
            base64::decode(&text).ok_or_else(|| wrong("base64 with padding"))?
        }
    };
    Ok(Blob { encoding, bytes })
}

/// Affinity keys: `a,b`, or an array of strings or `{key, weight}`. An empty list counts as absent.
///
/// # Errors
/// `invalid_field`.
pub fn affinity(fields: &Fields<'_>, max: usize) -> Result<Option<Vec<AffinityKey>>, Reject> {
    let Some(raw) = fields.get("affinity") else { return Ok(None) };
    let wrong = || {
        let detail = "affinity must be a string `a,b`, or an array of strings or {key, weight}";
        Reject::field("affinity", detail)
    };
    let mut keys: Vec<AffinityKey> = Vec::new();
    let mut add = |key: &str, weight: u8| {
        if !valid_key(key) {
            return Err(Reject::field(
                "affinity",
                "an affinity key has 1..128 B, no comma, no control",
            ));
        }
        if !keys.iter().any(|k| &*k.key == key) {
            keys.push(AffinityKey { key: Name::from(key), weight });
        }
        Ok(())
    };
    if let Some(text) = raw.string()? {
        for key in text.split(',').map(str::trim).filter(|k| !k.is_empty()) {
            add(key, 1)?;
        }
    } else if raw.is_array() {
        for element in raw.elements()? {
            match element? {
                Element::Other(raw) => add(&raw.string()?.ok_or_else(wrong)?, 1)?,
                Element::Object(fields) => {
                    field::only(&fields, &["key", "weight"], &[], false)?;
                    let key = fields.get("key").ok_or_else(wrong)?.string()?.ok_or_else(wrong)?;
                    let weight = field::int8(&fields, "weight", 1, limits::AFFINITY_WEIGHT_MAX)?;
                    add(&key, weight.unwrap_or(1))?;
                }
            }
        }
    } else {
        return Err(wrong());
    }
    if keys.len() > max {
        return Err(Reject::field("affinity", format!("at most {max} affinity keys")));
    }
    Ok((!keys.is_empty()).then_some(keys))
}

/// `backoff: {baseMs, capMs, jitter}`.
///
/// # Errors
/// `invalid_field`, also for base > cap when both are given.
pub fn backoff(fields: &Fields<'_>) -> Result<BackoffInput, Reject> {
    let Some(inner) = field::object(fields, "backoff")? else { return Ok(BackoffInput::default()) };
    field::only(&inner, &["baseMs", "capMs", "jitter"], &[], false)?;
    let base_ms = field::int32(&inner, "baseMs", 0, limits::BACKOFF_MS_MAX)?;
    let cap_ms = field::int32(&inner, "capMs", 0, limits::BACKOFF_MS_MAX)?;
    if let (Some(base), Some(cap)) = (base_ms, cap_ms)
        && base > cap
    {
        return Err(Reject::field("backoff", "baseMs must not be greater than capMs"));
    }
    let jitter = match field::text(&inner, "jitter", 16, Text::Free)?.as_deref() {
        None => None,
        Some("full") => Some(Jitter::Full),
        Some("none") => Some(Jitter::None),
        Some(_) => return Err(Reject::field("jitter", "jitter must be full or none")),
    };
    Ok(BackoffInput { base_ms, cap_ms, jitter })
}

fn delay(fields: &Fields<'_>, now: WallMs) -> Result<Delay, Reject> {
    let until = field::int(fields, "notBefore_ts", 0, u64::MAX)?;
    let wait = field::int(fields, "delayMs", 0, limits::DELAY_MS_MAX)?;
    match (until, wait) {
        (Some(_), Some(_)) => {
            Err(Reject::field("delayMs", "send notBefore_ts or delayMs, not both"))
        }
        (Some(at), None) if at > now.plus(limits::DELAY_MS_MAX).0 => {
            Err(Reject::field("notBefore_ts", "notBefore_ts is more than 365 days ahead"))
        }
        (Some(at), None) => Ok(Delay::Until(WallMs(at))),
        (None, Some(0) | None) => Ok(Delay::None),
        (None, Some(ms)) => Ok(Delay::For(ms)),
    }
}

/// Outcome of one item of a batch.
pub fn item(
    to: &mut out::Out,
    place: (&str, u64),
    id: Option<&str>,
    outcome: &Result<Admitted, Reject>,
) {
    to.open();
    to.num(place.0, place.1);
    match outcome {
        Ok(admitted) => {
            to.str("outcome", "ok");
            to.opt_str("id", id);
            to.shown("ref", admitted.reference);
        }
        Err(reject) => {
            to.str("outcome", "rejected");
            to.opt_str("id", id);
            to.str("code", reject.code.word());
            to.opt_str("field", reject.field.as_deref());
            to.str("detail", &reject.detail);
        }
    }
    to.close();
}
