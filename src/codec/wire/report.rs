//! Reports of workers and the verdicts they get.

use crate::codec::json::{Element, Fields};
use crate::codec::wire::field::{self, Text};
use crate::codec::wire::out::Out;
use crate::codec::wire::submit;
use crate::model::id::Name;
use crate::model::lease::LeaseToken;
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use crate::model::report::{Outcome, Report, ReportOutcome, Verb};
use crate::model::time::WallMs;

/// Verb of a route, or of a `done` item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `start`.
    Start,
    /// `complete`.
    Complete,
    /// `fail`.
    Fail,
    /// `release`.
    Release,
}

/// A report with its token as sent, to echo it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// Token text.
    pub lease: String,
    /// The report.
    pub report: Report,
}

/// A token as sent.
///
/// # Errors
/// No string, empty, longer than 64 characters.
pub fn token(element: &Element<'_>, name: &'static str) -> Result<String, Reject> {
    let wrong = || Reject::field(name, format!("{name} must be a string of 1..64 characters"));
    let Element::Other(raw) = element else { return Err(wrong()) };
    let text = raw.string()?.ok_or_else(wrong)?;
    let fits = (1..=limits::TOKEN_CHARS_MAX).contains(&text.chars().count());
    if fits { Ok(text.into_owned()) } else { Err(wrong()) }
}

/// A report; `kind` `None` = a `done` item that carries `type`.
///
/// # Errors
/// The rule that is broken.
pub fn report(
    fields: &Fields<'_>,
    kind: Option<Kind>,
    worker: Option<&Name>,
    result_max: usize,
) -> Result<Sent, Reject> {
    let kind = match kind {
        Some(kind) => kind,
        None => match field::text(fields, "type", 16, Text::Free)?.as_deref() {
            None | Some("complete") => Kind::Complete,
            Some("fail") => Kind::Fail,
            Some("release") => Kind::Release,
            Some(_) => return Err(Reject::field("type", "type must be complete, fail or release")),
        },
    };
    let known: &[&str] = match kind {
        Kind::Start => &["lease", "worker"],
        Kind::Complete => &["lease", "worker", "runMs", "result", "encoding", "type"],
        Kind::Fail => {
            &["lease", "worker", "runMs", "class", "message", "retryable", "retryAfterMs", "type"]
        }
        Kind::Release => &["lease", "worker", "delayMs", "type"],
    };
    field::only(fields, known, &[], false)?;
    let raw = fields.get("lease").ok_or_else(|| Reject::field("lease", "lease is required"))?;
    let lease = token(&Element::Other(raw), "lease")?;
    let own = field::name(fields, "worker", limits::NAME_BYTES_MAX)?;
    let run_ms = field::int(fields, "runMs", 0, limits::RUN_MS_MAX)?;
    let verb = match kind {
        Kind::Start => Verb::Start,
        Kind::Complete => Verb::Complete { result: result(fields, result_max)?, run_ms },
        Kind::Fail => fail(fields, run_ms)?,
        Kind::Release => {
            let delay = field::int32(fields, "delayMs", 0, limits::BACKOFF_MS_MAX)?;
            Verb::Release { delay_ms: delay.unwrap_or(0) }
        }
    };
    let report =
        Report { token: LeaseToken::decode(&lease), worker: own.or_else(|| worker.cloned()), verb };
    Ok(Sent { lease, report })
}

fn result(
    fields: &Fields<'_>,
    bytes_max: usize,
) -> Result<Option<crate::model::task::Blob>, Reject> {
    let blob = submit::blob(fields, "result")?;
    if blob.bytes.len() > bytes_max {
        let detail = format!("the result has {} B; at most {bytes_max}", blob.bytes.len());
        return Err(Reject::new(Code::ResultTooLarge, detail)
            .on("result")
            .hint("store large results elsewhere and send their URL"));
    }
    Ok(fields.iter().any(|(name, _)| name == "result").then_some(blob))
}

fn fail(fields: &Fields<'_>, run_ms: Option<u64>) -> Result<Verb, Reject> {
    let class = field::text(fields, "class", limits::CLASS_BYTES_MAX, Text::Free)?;
    let class = class.filter(|c| !c.is_empty()).unwrap_or_else(|| "error".into());
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-');
    if !class.bytes().all(fits) {
        return Err(Reject::field("class", "class holds only A-Z a-z 0-9 _ . : -"));
    }
    let message = field::text(fields, "message", usize::MAX, Text::Free)?.unwrap_or_default();
    Ok(Verb::Fail {
        class: Name::from(class.as_ref()),
        message: Name::from(cut(&message, limits::MESSAGE_BYTES_MAX)),
        retryable: field::flag(fields, "retryable")?.unwrap_or(true),
        retry_after_ms: field::int32(fields, "retryAfterMs", 0, limits::BACKOFF_MS_MAX)?,
        run_ms,
    })
}

/// The longest prefix of whole characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Word of an outcome.
#[must_use]
pub fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Retry => "retry",
        Outcome::Dead => "dead",
        Outcome::Duplicate => "duplicate",
        Outcome::LeaseLost => "lease_lost",
        Outcome::Cancelled => "cancelled",
        Outcome::Unavailable(_) => "unavailable",
        Outcome::Invalid(_) => "invalid",
    }
}

/// Members of a verdict, without its braces.
pub fn members(to: &mut Out, lease: &str, verdict: &ReportOutcome) {
    to.str("outcome", word(&verdict.outcome));
    to.str("lease", lease);
    if let Outcome::Unavailable(reject) | Outcome::Invalid(reject) = &verdict.outcome {
        to.str("code", reject.code.word());
        to.opt_str("field", reject.field.as_deref());
        to.str("detail", &reject.detail);
    }
    let Some(task) = &verdict.task else { return };
    match &task.id {
        Some(id) => to.str("id", id),
        None => to.shown("id", task.reference),
    }
    to.shown("ref", task.reference);
    to.str("state", task.state.name());
    to.num("attempt", task.attempt);
    if let Some(budget) = &task.budget {
        if budget.at_ts != WallMs(0) {
            to.num("at_ts", budget.at_ts.0);
        }
        to.num("errors", budget.errors);
        to.num("crashes", budget.crashes);
        to.num("maxAttempts", budget.max_attempts);
    }
}

/// A verdict.
pub fn verdict(to: &mut Out, lease: &str, verdict: &ReportOutcome) {
    to.open();
    members(to, lease, verdict);
    to.close();
}
