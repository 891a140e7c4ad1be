//! Refusals → `application/problem+json`.

use crate::api::answer::{Answer, Refused};
use crate::codec::wire::out::Out;
use crate::model::reject::{Code, Reject};
use hyper::StatusCode;
use hyper::header::HeaderValue;

/// A refusal with the members and headers only HTTP has.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) reject: Reject,
    extra: Box<Extra>,
}

#[derive(Clone, Debug, Default)]
struct Extra {
    /// Instead of the code's own.
    status: Option<u16>,
    numbers: Vec<(&'static str, u64)>,
    texts: Vec<(&'static str, String)>,
    allow: Option<String>,
    /// The rest of the request was not read.
    close: bool,
}

/// What a handler gives back.
pub(crate) type Outcome = Result<Answer, Problem>;

/// Wait after a refusal that names no time, ms.
const RETRY_MS: u64 = 1_000;

impl From<Reject> for Problem {
    fn from(reject: Reject) -> Self {
        Self { reject, extra: Box::default() }
    }
}

impl Problem {
    /// From its parts.
    pub(crate) fn new(code: Code, detail: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Reject::new(code, detail).into()
    }
    /// Adds a number.
    pub(crate) fn number(mut self, name: &'static str, value: u64) -> Self {
        self.extra.numbers.push((name, value));
        self
    }
    /// Adds a text.
    pub(crate) fn text(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.extra.texts.push((name, value.into()));
        self
    }
    /// The methods a path has.
    pub(crate) fn allow(mut self, methods: String) -> Self {
        self.extra.allow = Some(methods);
        self
    }
    /// Another status than the code's.
    pub(crate) fn status(mut self, status: u16) -> Self {
        self.extra.status = Some(status);
        self
    }
    /// The connection ends with this answer, because the rest of the body was not read.
    pub(crate) fn closing(mut self) -> Self {
        self.extra.close = true;
        self
    }
    /// The whole answer in bytes, for a head that never became a request.
    pub(crate) fn to_http(&self) -> Vec<u8> {
        let status = self.reject.code.status();
        let body = self.body(status);
        let reason = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
        let mut out = format!(
            "HTTP/1.1 {status} {}\r\ncontent-type: application/problem+json\r\n\
             cache-control: no-store\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            reason.unwrap_or("Refused"),
            body.len(),
        )
        .into_bytes();
        out.extend_from_slice(&body);
        out
    }

    /// A bound of the node.
    pub(crate) fn limit(self, limit: usize) -> Self {
        self.number("limit", u64::try_from(limit).unwrap_or(u64::MAX))
    }

    fn body(&self, status: u16) -> Vec<u8> {
        let reject = &self.reject;
        let mut out = Out::with_capacity(256);
        out.open();
        out.shown("type", format_args!("/docs/errors/{}", reject.code.word()));
        out.str("title", title(reject.code));
        out.num("status", status);
        out.str("code", reject.code.word());
        out.str("detail", &reject.detail);
        out.opt_str("field", reject.field.as_deref());
        out.opt_str("hint", reject.hint.as_deref());
        if let Some(ms) = self.retry_after_ms(status) {
            out.num("retryAfterMs", ms);
        }
        if let Some(task) = &reject.existing {
            out.shown("existing", task);
        }
        self.extra.texts.iter().for_each(|(name, text)| out.str(name, text));
        self.extra.numbers.iter().for_each(|(name, n)| out.num(name, *n));
        out.close();
        out.into_bytes()
    }

    fn retry_after_ms(&self, status: u16) -> Option<u64> {
        let waits = matches!(status, 429 | 503 | 507)
            || matches!(self.reject.code, Code::NotAdmitted | Code::IdempotencyInProgress);
        self.reject.retry_after_ms.or_else(|| waits.then_some(RETRY_MS))
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let status = problem.extra.status.unwrap_or_else(|| problem.reject.code.status());
        let kind = HeaderValue::from_static("application/problem+json");
        let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = Self::typed(code, kind, problem.body(status).into());
        if let Some(ms) = problem.retry_after_ms(status) {
            answer = answer.with("retry-after", ms.div_ceil(1_000).max(1));
        }
        if problem.reject.not_applied && matches!(status, 429 | 503 | 507) {
            answer = answer.with("kwq-applied", "no");
        }
        let accepted = problem.extra.numbers.iter().any(|n| n.0 == "accepted" && n.1 > 0);
        let unknown = status >= 500 && !problem.reject.not_applied;
        answer.refused = Some(Refused { code: problem.reject.code, partly: accepted || unknown });
        if problem.reject.code == Code::Unauthorized {
            answer = answer.with("www-authenticate", "Bearer");
        }
        if let Some(allow) = &problem.extra.allow {
            answer = answer.with("allow", allow);
        }
        if problem.extra.close {
            answer = answer.with("connection", "close");
        }
        answer
    }
}

/// What a code means, in a few words; the first line of its page says the same.
pub(crate) fn title(code: Code) -> &'static str {
    match code {
        Code::BadJson => "the body is not the JSON that is expected",
        Code::BadRequest => "a part of path, query or header cannot be read",
        Code::BadCursor => "the cursor is unknown or too old",
        Code::Unauthorized => "a valid token is needed",
        Code::Forbidden => "the role does not allow this",
        Code::CrossSite => "a call from another web site is refused",
        Code::NoRoute => "there is no such path",
        Code::SimulatorDisabled => "the simulator is switched off",
        Code::JobNotFound => "there is no such job",
        Code::TaskNotFound => "there is no such task",
        Code::WorkerNotFound => "there is no such worker",
        Code::OperationNotFound => "there is no such operation",
        Code::SimulationNotFound => "there is no such simulation",
        Code::NotAdmitted => "the task is not visible yet",
        Code::MethodNotAllowed => "the path does not have this method",
        Code::RequestTimeout => "the request came too slowly",
        Code::LeaseLost => "the lease does not act any more",
        Code::Cancelled => "the task was cancelled",
        Code::IllegalTransition => "the state of the task does not allow this",
        Code::JobClosed => "the job takes no more tasks",
        Code::JobEnded => "the job has ended",
        Code::NotFinished => "the job has not ended",
        Code::OperationEnded => "the operation is over",
        Code::IdConflict => "the id names another task",
        Code::JobConflict => "the job exists with another specification",
        Code::IdempotencyKeyReused => "the key was used for another request",
        Code::IdempotencyInProgress => "the first call with this key is still running",
        Code::Purged => "it was removed",
        Code::BodyTooLarge => "the body is too large",
        Code::LineTooLarge => "a line is too large",
        Code::TooManyItems => "there are too many items",
        Code::PayloadTooLarge => "the payload is too large",
        Code::ResultTooLarge => "the result is too large",
        Code::UriTooLong => "the URI is too long",
        Code::UnsupportedMediaType => "the content type is not accepted",
        Code::ContentEncoding => "compressed bodies are not accepted",
        Code::InvalidField => "a field breaks a rule",
        Code::UnknownField => "a field or parameter is unknown",
        Code::InvalidTag => "a tag breaks the grammar",
        Code::ReservedId => "the id looks like a reference",
        Code::EmptyFilter => "an empty filter would match everything",
        Code::NotSupported => "this is not supported by this build",
        Code::Quota => "this client or job is over its share",
        Code::AuthRate => "too many wrong tokens",
        Code::HeadersTooLarge => "the request head is too large",
        Code::Internal => "a bug in the server",
        Code::Overloaded => "the server is busy",
        Code::NotReady => "the server is not ready",
        Code::Draining => "the server is shutting down",
        Code::LogUnavailable => "the log cannot be written or read",
        Code::PartitionUnavailable => "a partition has no owner at the moment",
        Code::TrackerBehind => "the tracker is behind",
        Code::DiskFull => "the disk is full",
    }
}
