//! Why a call failed, in what a caller branches on.

use serde_json::Value;
use std::time::Duration;

/// A call that brought no answer of class 2xx.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be used.
    #[error("`{0}` cannot be used as a server address: {1}")]
    BadUrl(String, String),
    /// A client cannot be set up.
    #[error("cannot set up a client: {0}")]
    Setup(String),
    /// A dry run: the call was not sent.
    #[error("would {0}")]
    DryRun(String),
    /// Nobody listens there; nothing was sent.
    #[error("cannot reach {url}: {cause}")]
    Unreachable {
        /// Root of the server.
        url: String,
        /// The system's words.
        cause: String,
    },
    /// No answer in time; what was asked may have happened.
    #[error("no answer from {url} to {call} within {} s", .within.as_secs())]
    Timeout {
        /// Root of the server.
        url: String,
        /// Method and path.
        call: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// The connection broke before the answer; what was asked may have happened.
    #[error("the connection to {url} broke: {cause}")]
    Broken {
        /// Root of the server.
        url: String,
        /// The system's words.
        cause: String,
    },
    /// The server refused.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// The answer is not what the API promises.
    #[error("the server's answer cannot be read: {0}")]
    BadAnswer(String),
}

/// `application/problem+json`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub code: String,
    /// What is wrong.
    pub detail: String,
    /// Offending field.
    pub field: Option<String>,
    /// What to do instead.
    pub hint: Option<String>,
    /// Wait this long, ms; from the body or `Retry-After`.
    pub retry_after_ms: Option<u64>,
    /// Nothing was logged.
    pub not_applied: bool,
    /// NDJSON: tasks durable before the failure.
    pub accepted: Option<u64>,
    /// NDJSON: first line not known to be durable.
    pub next_line: Option<u64>,
}

impl Error {
    /// The refusal, if the server spoke.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            Self::BadUrl(..)
            | Self::Setup(_)
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Broken { .. }
            | Self::BadAnswer(_)
            | Self::DryRun(_) => None,
        }
    }

    /// Code of the refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.problem().map(|problem| problem.code.as_str())
    }

    /// True when a repeat of the same call may succeed later: nobody there, broken off, overloaded.
    #[must_use]
    pub fn passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Broken { .. } => true,
            Self::Refused(problem) => matches!(problem.status, 429 | 500 | 502 | 503 | 504 | 507),
            Self::BadUrl(..) | Self::Setup(_) | Self::BadAnswer(_) | Self::DryRun(_) => false,
        }
    }
}

impl Problem {
    /// The server does not know `Idempotency-Key`.
    #[must_use]
    pub fn refuses_keys(&self) -> bool {
        self.code == "not_supported" && self.field.as_deref() == Some("Idempotency-Key")
    }

    /// Reads the body of a refusal; a body of another kind becomes the detail.
    #[must_use]
    pub fn read(status: u16, body: &[u8]) -> Self {
        let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
            let text = String::from_utf8_lossy(body);
            let detail = match text.trim() {
                "" => format!("the server answered {status}"),
                text => text.chars().take(300).collect(),
            };
            return Self { status, code: format!("http_{status}"), detail, ..Self::default() };
        };
        let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| members.get(name).and_then(Value::as_u64);
        let title = text("title");
        Self {
            status,
            code: text("code").unwrap_or_else(|| format!("http_{status}")),
            detail: text("detail").or(title).unwrap_or_else(|| format!("status {status}")),
            field: text("field"),
            hint: text("hint"),
            retry_after_ms: number("retryAfterMs"),
            not_applied: false,
            accepted: number("accepted"),
            next_line: number("nextLine"),
        }
    }
}
