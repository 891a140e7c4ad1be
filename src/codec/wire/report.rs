//! Reports of workers and the verdicts on them.

use crate::codec::json::{Element, Fields, Raw};
use crate::codec::wire::field::{self, Rules, set};
use crate::codec::wire::out::Out;
use crate::model::id::Name;
use crate::model::lease::LeaseToken;
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use crate::model::report::{Outcome, Report, ReportOutcome, ReportedTask, Verb};
use std::sync::Arc;

/// What a report is about; the path of the call, or `type` in a `done` list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The task runs.
    Start,
    /// It is done.
    Complete,
    /// It failed.
    Fail,
    /// It is given back.
    Release,
}

/// A report with the text of its token, for the echo.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// The token as sent, if it was a good string.
    pub lease: Option<String>,
    /// The report, or the rule it breaks.
    pub report: Result<Report, Reject>,
}

/// The body of a report call.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// One report.
    One(Sent),
    /// `{"items": […]}`.
    Many(Vec<Sent>),
}

const FIELDS: &[&str] = &[
    "lease",
    "worker",
    "runMs",
    "result",
    "encoding",
    "class",
    "message",
    "retryable",
    "retryAfterMs",
    "delayMs",
    "type",
];

/// Reads the body of `start`, `complete`, `fail` or `release`.
///
/// # Errors
/// `bad_json`; `unknown_field` beside `items`; more than 1,000 items.
pub fn parse(fields: &Fields<'_>, kind: Kind, rules: &Rules) -> Result<Body, Reject> {
    let Some(items) = fields.get("items") else {
        return Ok(Body::One(one(fields, kind, false, rules)));
    };
    if let Some((other, _)) = fields.iter().find(|(key, _)| *key != "items" && !rules.lenient) {
        return Err(field::unknown(other, &["items"]));
    }
    let read = |element| Ok(item(element, kind, false, rules));
    field::list("items", items, limits::CONSUME_MAX, read).map(Body::Many)
}

/// Reads the `done` list of a consume.
///
/// # Errors
/// No list, or more than 1,000 items.
pub fn parse_done(raw: Raw<'_>, rules: &Rules) -> Result<Vec<Sent>, Reject> {
    let read = |element| Ok(item(element, Kind::Complete, true, rules));
    field::list("done", raw, limits::CONSUME_MAX, read)
}

fn item(element: Element<'_>, kind: Kind, typed: bool, rules: &Rules) -> Sent {
    match element {
        Element::Object(fields) => one(&fields, kind, typed, rules),
        Element::Other(raw) => {
            let detail = format!("a report must be an object, not {}", raw.kind());
            Sent { lease: None, report: Err(Reject::field("items", detail)) }
        }
    }
}

fn one(fields: &Fields<'_>, kind: Kind, typed: bool, rules: &Rules) -> Sent {
    let lease = fields.get("lease").and_then(|raw| field::token("lease", raw).ok());
    let report = read(fields, kind, typed, rules);
    Sent { lease: lease.map(|text| text.into_owned()), report }
}

/// Fields of a report before its verb is known.
#[derive(Default)]
struct Parts<'a> {
    token: Option<Option<LeaseToken>>,
    worker: Option<Name>,
    run_ms: Option<u64>,
    result: Option<Raw<'a>>,
    encoding: Option<Raw<'a>>,
    class: Option<Name>,
    message: Option<Name>,
    retryable: Option<bool>,
    retry_after_ms: Option<u32>,
    delay_ms: Option<u32>,
}

fn read(fields: &Fields<'_>, kind: Kind, typed: bool, rules: &Rules) -> Result<Report, Reject> {
    let kind = match fields.get("type").filter(|_| typed) {
        Some(raw) => read_kind(raw)?,
        None => kind,
    };
    let mut parts = Parts::default();
    for (key, raw) in fields.iter() {
        let known = parts.field(kind, key, raw)? || (typed && key == "type");
        if !known && !rules.lenient {
            let unknown = field::unknown(key, FIELDS);
            return Err(match key {
                "type" => unknown.hint("the path says it; `type` is for `done` of a consume"),
                _ => unknown,
            });
        }
    }
    let token = parts.token.ok_or_else(|| Reject::field("lease", "lease is required"))?;
    let worker = parts.worker.clone();
    Ok(Report { token, worker, verb: parts.verb(kind, rules)? })
}

fn read_kind(raw: Raw<'_>) -> Result<Kind, Reject> {
    match field::string("type", raw)?.as_ref() {
        "complete" => Ok(Kind::Complete),
        "fail" => Ok(Kind::Fail),
        "release" => Ok(Kind::Release),
        _ => Err(Reject::field("type", "type must be complete, fail or release")),
    }
}

impl<'a> Parts<'a> {
    /// False for a field this kind of report does not have.
    fn field(&mut self, kind: Kind, key: &str, raw: Raw<'a>) -> Result<bool, Reject> {
        match (kind, key) {
            (_, "lease") => set(&mut self.token, raw, |r| {
                field::token("lease", r).map(|text| LeaseToken::decode(&text))
            })?,
            (_, "worker") => set(&mut self.worker, raw, |r| field::name("worker", r))?,
            (Kind::Complete | Kind::Fail, "runMs") => {
                set(&mut self.run_ms, raw, |r| field::integer("runMs", r, 0, limits::RUN_MS_MAX))?
            }
            (Kind::Complete, "result") => self.result = Some(raw),
            (Kind::Complete, "encoding") => self.encoding = Some(raw),
            (Kind::Fail, "class") => set(&mut self.class, raw, class)?,
            (Kind::Fail, "message") => set(&mut self.message, raw, message)?,
            (Kind::Fail, "retryable") => {
                set(&mut self.retryable, raw, |r| field::boolean("retryable", r))?;
            }
            (Kind::Fail, "retryAfterMs") => set(&mut self.retry_after_ms, raw, |r| {
                field::narrow("retryAfterMs", r, 0, limits::BACKOFF_MS_MAX)
            })?,
            (Kind::Release, "delayMs") => set(&mut self.delay_ms, raw, |r| {
                field::narrow("delayMs", r, 0, limits::BACKOFF_MS_MAX)
            })?,
            (_, _) => return Ok(false),
        }
        Ok(true)
    }

    fn verb(self, kind: Kind, rules: &Rules) -> Result<Verb, Reject> {
        Ok(match kind {
            Kind::Start => Verb::Start,
            Kind::Release => Verb::Release { delay_ms: self.delay_ms.unwrap_or(0) },
            Kind::Complete => {
                let (max, code) = (rules.result_bytes_max, Code::ResultTooLarge);
                let result = field::blob("result", self.result, self.encoding, max, code)?;
                Verb::Complete { result, run_ms: self.run_ms }
            }
            Kind::Fail => Verb::Fail {
                class: self.class.unwrap_or_else(|| Arc::from("error")),
                message: self.message.unwrap_or_else(|| Arc::from("")),
                retryable: self.retryable.unwrap_or(true),
                retry_after_ms: self.retry_after_ms,
                run_ms: self.run_ms,
            },
        })
    }
}

fn class(raw: Raw<'_>) -> Result<Name, Reject> {
    let text = field::string("class", raw)?;
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
    if (1..=limits::CLASS_BYTES_MAX).contains(&text.len()) && text.bytes().all(good) {
        return Ok(Arc::from(text.as_ref()));
    }
    Err(Reject::field("class", "class must be 1..64 characters of A-Z a-z 0-9 _ . : -"))
}

/// Cut at the limit, at a character boundary, never refused for its length.
fn message(raw: Raw<'_>) -> Result<Name, Reject> {
    let text = field::string("message", raw)?;
    let cut = text.floor_char_boundary(limits::MESSAGE_BYTES_MAX);
    Ok(Arc::from(text.get(..cut).unwrap_or_default()))
}

/// Word of a verdict.
#[must_use]
pub fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Retry => "retry",
        Outcome::Dead => "dead",
        Outcome::Duplicate => "duplicate",
        Outcome::LeaseLost => "lease_lost",
        Outcome::Cancelled => "cancelled",
        Outcome::Unavailable(_) => "unavailable",
        Outcome::Invalid(_) => "invalid",
        Outcome::Accepted => "accepted",
    }
}

/// One verdict as an object.
pub fn verdict(out: &mut Out, lease: Option<&str>, verdict: &ReportOutcome) {
    out.open();
    out.str("outcome", outcome_word(&verdict.outcome));
    match &verdict.outcome {
        Outcome::Invalid(reject) | Outcome::Unavailable(reject) => {
            out.str("code", reject.code.word());
            out.opt_str("field", reject.field.as_deref());
            out.str("detail", &reject.detail);
        }
        Outcome::Ok
        | Outcome::Retry
        | Outcome::Dead
        | Outcome::Duplicate
        | Outcome::LeaseLost
        | Outcome::Cancelled
        | Outcome::Accepted => {}
    }
    out.opt_str("lease", lease);
    if let Some(task) = &verdict.task {
        reported(out, task);
    }
    out.close();
}

fn reported(out: &mut Out, task: &ReportedTask) {
    match &task.id {
        Some(id) => out.str("id", id),
        None => out.shown("id", task.reference),
    }
    out.shown("ref", task.reference);
    out.str("state", task.state.name());
    out.num("attempt", task.attempt);
    if let Some(budget) = task.budget {
        out.stamp("at_ts", budget.at_ts);
        out.num("errors", budget.errors);
        if budget.at_ts.known().is_none() {
            out.num("crashes", budget.crashes);
        }
        out.num("maxAttempts", budget.max_attempts);
    }
}

#[cfg(test)]
mod tests;
