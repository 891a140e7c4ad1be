//! One call as a handler sees it, and the only reader of request bodies: it counts while it reads.

use crate::api::auth::Caller;
use crate::api::context::Shared;
use crate::api::delivery::Delivery;
use crate::api::problem::Problem;
use crate::api::query::{Query, bad, checked_name};
use crate::model::id::Name;
use crate::model::reject::{Code, Reject};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A request on its way through a handler.
pub(crate) struct Call {
    /// Its engine reaches only what the caller may touch.
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer: IpAddr,
    /// Nobody, until the gate has asked.
    pub(crate) caller: Caller,
    pub(crate) head: Parts,
    /// Decoded `{…}` parts of the path.
    pub(crate) params: Vec<String>,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) body: Option<Incoming>,
    /// Not begun after this.
    pub(crate) deadline: Option<Instant>,
}

/// Kind of a body by its `Content-Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/json`.
    Json,
    /// `application/x-ndjson`.
    Ndjson,
    /// No header.
    Absent,
    /// Anything else.
    Other,
}

impl Call {
    /// The query, with the names this route knows.
    pub(crate) fn query(&self, known: &[&'static str]) -> Result<Query, Reject> {
        Query::parse(self.head.uri.query().unwrap_or_default(), known)
    }

    /// The n-th part of the path, as a name.
    pub(crate) fn name(&self, n: usize, field: &'static str) -> Result<Name, Reject> {
        checked_name(field, self.param(n))
    }

    /// The n-th part of the path.
    pub(crate) fn param(&self, n: usize) -> &str {
        self.params.get(n).map_or("", String::as_str)
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &'static str) -> Result<Option<&str>, Reject> {
        let value = self.head.headers.get(name);
        value.map(|v| v.to_str().map_err(|_| bad(name, format!("{name} is no text")))).transpose()
    }

    /// Kind of the body.
    pub(crate) fn media(&self) -> Media {
        let Some(value) = self.head.headers.get(CONTENT_TYPE) else { return Media::Absent };
        let text = value.to_str().unwrap_or_default();
        let kind = text.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/json") {
            Media::Json
        } else if kind.eq_ignore_ascii_case("application/x-ndjson") {
            Media::Ndjson
        } else {
            Media::Other
        }
    }

    /// The body of a verb, JSON required.
    pub(crate) async fn json(&mut self) -> Result<Bytes, Problem> {
        let limit = self.shared.api.config.limits.body;
        self.json_within(Bound { one: limit, list: limit }).await
    }

    /// The body of a verb that may come without one: then it is `{}`.
    pub(crate) async fn optional_json(&mut self) -> Result<Bytes, Problem> {
        if self.body.as_ref().is_none_or(|b| b.is_end_stream()) {
            return Ok(Bytes::from_static(b"{}"));
        }
        let media = self.media();
        let limit = self.shared.api.config.limits.body;
        let bytes = self.read(Bound { one: limit, list: limit }).await?;
        if bytes.is_empty() {
            return Ok(Bytes::from_static(b"{}"));
        }
        expect_json(media)?;
        Ok(bytes)
    }

    /// A JSON body within a bound.
    pub(crate) async fn json_within(&mut self, bound: Bound) -> Result<Bytes, Problem> {
        let media = self.media();
        let empty = self.body.as_ref().is_none_or(|b| b.is_end_stream());
        if !(empty && media == Media::Absent) {
            expect_json(media)?;
        }
        self.read(bound).await
    }

    /// The whole body, refused as soon as it passes its bound.
    async fn read(&mut self, bound: Bound) -> Result<Bytes, Problem> {
        let Some(body) = self.body.take() else { return Ok(Bytes::new()) };
        let mut source = self.source(body);
        let declared = source.declared();
        if declared.is_some_and(|n| n > bound.one.max(bound.list)) {
            return Err(too_large(bound.one.max(bound.list)));
        }
        let Some(first) = source.next().await? else { return Ok(Bytes::new()) };
        let limit = bound.of(&first);
        if first.len() > limit || declared.is_some_and(|n| n > limit) {
            return Err(too_large(limit));
        }
        let Some(second) = source.next().await? else { return Ok(first) };
        let mut all = Vec::with_capacity(first.len() + second.len());
        all.extend_from_slice(&first);
        let mut next = Some(second);
        while let Some(frame) = next {
            // Blanks before the first bracket may fill a whole frame, so the bound is asked of all
            // bytes.
            let limit = bound.of(&all);
            if all.len() + frame.len() > limit {
                return Err(too_large(limit));
            }
            all.extend_from_slice(&frame);
            next = source.next().await?;
        }
        Ok(all.into())
    }

    /// The body as a stream, for NDJSON.
    pub(crate) fn stream(&mut self) -> Option<Source> {
        let body = self.body.take()?;
        Some(self.source(body))
    }

    fn source(&self, body: Incoming) -> Source {
        Source::new(body, self.delivery.clone(), self.shared.api.config.http.body_ms)
    }

    /// Waits until its caller's token is not in force any more; for ever without tokens.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let (api, caller) = (self.shared.api.clone(), self.caller.clone());
        async move { api.guard.ended(&caller, || api.handle.now().wall).await }
    }

    /// Refuses a call that waited longer than its caller allows.
    pub(crate) fn in_time(&self) -> Result<(), Reject> {
        match self.deadline {
            Some(deadline) if Instant::now() > deadline => {
                Err(Reject::new(Code::Overloaded, "not begun within Kwq-Timeout-Ms")
                    .retry_unapplied(1_000))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The refusal of what was open when its caller's token ended.
pub(crate) fn token_over() -> Reject {
    Reject::new(Code::Unauthorized, "the token is not in force any more")
}

fn expect_json(media: Media) -> Result<(), Problem> {
    if media == Media::Json {
        return Ok(());
    }
    let reject = Reject::new(Code::UnsupportedMediaType, "the body must be application/json");
    Err(Problem::from(reject.on("Content-Type")).closing())
}

/// Bounds of a body: of an object, and of an array.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) one: usize,
    pub(crate) list: usize,
}

impl Bound {
    fn of(self, bytes: &[u8]) -> usize {
        match crate::codec::json::first_byte(bytes) {
            Some(b'[') => self.list,
            Some(_) | None => self.one,
        }
    }
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the body has more than {limit} B");
    Problem::new(Code::BodyTooLarge, detail).limit(limit).closing()
}

/// Seconds before the least speed is asked for.
const GRACE: Duration = Duration::from_secs(5);
/// Least speed of a body, B/s.
const BYTES_PER_SEC_MIN: u64 = 1_024;

/// A request body with its two time limits.
pub(crate) struct Source {
    body: Incoming,
    delivery: Arc<Delivery>,
    limit: Duration,
    begun: Instant,
    bytes: u64,
}

impl Source {
    /// Its time begins here.
    pub(crate) fn new(body: Incoming, delivery: Arc<Delivery>, limit_ms: u64) -> Self {
        let limit = Duration::from_millis(limit_ms);
        Self { body, delivery, limit, begun: Instant::now(), bytes: 0 }
    }

    /// Bytes of the body, if its head says how many.
    pub(crate) fn declared(&self) -> Option<usize> {
        self.body.size_hint().exact().map(|n| usize::try_from(n).unwrap_or(usize::MAX))
    }

    /// Begins both limits anew, after a chunk.
    pub(crate) fn restart(&mut self) {
        self.begun = Instant::now();
        self.bytes = 0;
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// `request_timeout` when they come too slowly, `bad_request` when the transfer is broken.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let allowed = GRACE + Duration::from_millis(self.bytes * 1_000 / BYTES_PER_SEC_MIN);
            let until = self.begun + allowed.min(self.limit);
            let Ok(frame) = tokio::time::timeout_at(until, self.body.frame()).await else {
                let detail = "the body came more slowly than 1 KiB/s or took too long";
                return Err(Problem::new(Code::RequestTimeout, detail).closing());
            };
            match frame {
                None => {
                    self.delivery.set_unread(false);
                    return Ok(None);
                }
                Some(Err(_)) => {
                    let detail = "the body ended early or its framing is broken";
                    return Err(Problem::new(Code::BadRequest, detail).closing());
                }
                Some(Ok(frame)) => {
                    // Trailers carry nothing for us.
                    if let Ok(data) = frame.into_data() {
                        self.bytes += u64::try_from(data.len()).unwrap_or(u64::MAX);
                        if !data.is_empty() {
                            return Ok(Some(data));
                        }
                    }
                }
            }
        }
    }
}
