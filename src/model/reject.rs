//! An expected refusal: part of the protocol, with a stable code. Not a `std::error::Error`.

use crate::model::reference::TaskRef;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

macro_rules! codes {
    ($($variant:ident = $word:literal $status:literal;)*) => {
        /// Stable code of a refusal; each has a page `docs/errors/<code>.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "each code is documented in docs/errors/<code>.md")]
        pub enum Code { $($variant),* }

        impl Code {
            /// Every code, for documents and tests.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// The word on the wire.
            #[must_use]
            pub fn word(self) -> &'static str { match self { $(Self::$variant => $word),* } }
            /// HTTP status.
            #[must_use]
            pub fn status(self) -> u16 { match self { $(Self::$variant => $status),* } }
            /// The code of a word.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

codes! {
    BadJson = "bad_json" 400;
    BadRequest = "bad_request" 400;
    BadCursor = "bad_cursor" 400;
    Unauthorized = "unauthorized" 401;
    Forbidden = "forbidden" 403;
    CrossSite = "cross_site" 403;
    NoRoute = "no_route" 404;
    SimulatorDisabled = "simulator_disabled" 404;
    JobNotFound = "job_not_found" 404;
    TaskNotFound = "task_not_found" 404;
    WorkerNotFound = "worker_not_found" 404;
    OperationNotFound = "operation_not_found" 404;
    SimulationNotFound = "simulation_not_found" 404;
    NotAdmitted = "not_admitted" 404;
    MethodNotAllowed = "method_not_allowed" 405;
    RequestTimeout = "request_timeout" 408;
    LeaseLost = "lease_lost" 409;
    Cancelled = "cancelled" 409;
    IllegalTransition = "illegal_transition" 409;
    JobClosed = "job_closed" 409;
    JobEnded = "job_ended" 409;
    NotFinished = "not_finished" 409;
    OperationEnded = "operation_ended" 409;
    IdConflict = "id_conflict" 409;
    JobConflict = "job_conflict" 409;
    IdempotencyKeyReused = "idempotency_key_reused" 409;
    IdempotencyInProgress = "idempotency_in_progress" 409;
    Purged = "purged" 410;
    BodyTooLarge = "body_too_large" 413;
    LineTooLarge = "line_too_large" 413;
    TooManyItems = "too_many_items" 413;
    PayloadTooLarge = "payload_too_large" 413;
    ResultTooLarge = "result_too_large" 413;
    UriTooLong = "uri_too_long" 414;
    UnsupportedMediaType = "unsupported_media_type" 415;
    ContentEncoding = "content_encoding" 415;
    InvalidField = "invalid_field" 422;
    UnknownField = "unknown_field" 422;
    InvalidTag = "invalid_tag" 422;
    ReservedId = "reserved_id" 422;
    EmptyFilter = "empty_filter" 422;
    NotSupported = "not_supported" 422;
    Quota = "quota" 429;
    AuthRate = "auth_rate" 429;
    HeadersTooLarge = "headers_too_large" 431;
    Internal = "internal" 500;
    Overloaded = "overloaded" 503;
    NotReady = "not_ready" 503;
    Draining = "draining" 503;
    LogUnavailable = "log_unavailable" 503;
    PartitionUnavailable = "partition_unavailable" 503;
    TrackerBehind = "tracker_behind" 503;
    DiskFull = "disk_full" 507;
}

/// Travels as its word, so that codes may come and go between versions.
impl Serialize for Code {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.word())
    }
}

/// A word of another version is read as `internal`: the refusal keeps its detail and whether it
/// was applied.
impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let word = Cow::<str>::deserialize(from)?;
        Ok(Self::parse(&word).unwrap_or(Self::Internal))
    }
}

/// A refusal with what the caller needs to mend it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// Stable code.
    pub code: Code,
    /// What is wrong, for people.
    pub detail: Cow<'static, str>,
    /// Offending field.
    pub field: Option<Cow<'static, str>>,
    /// What to do instead.
    pub hint: Option<Cow<'static, str>>,
    /// Wait this long, ms.
    pub retry_after_ms: Option<u64>,
    /// Nothing was logged: repeating is free of risk (`Kwq-Applied: no`).
    pub not_applied: bool,
    /// The task that has the id already; boxed, because few refusals name one.
    pub existing: Option<Box<TaskRef>>,
}

impl Reject {
    /// A refusal with a text.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            field: None,
            hint: None,
            retry_after_ms: None,
            not_applied: false,
            existing: None,
        }
    }
    /// `invalid_field` on a named field.
    #[must_use]
    pub fn field(
        field: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(Code::InvalidField, detail).on(field)
    }
    /// Names the offending field.
    #[must_use]
    pub fn on(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.field = Some(field.into());
        self
    }
    /// Says what to do instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    /// The refusal came after something may have been logged: it must not promise that nothing was
    /// done.
    #[must_use]
    pub fn possibly_applied(mut self) -> Self {
        self.not_applied = false;
        self
    }
    /// Refused before anything was logged; retry after `ms`.
    #[must_use]
    pub fn retry_unapplied(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self.not_applied = true;
        self
    }
}
