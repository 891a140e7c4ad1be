//! A finished answer, before it becomes an HTTP response.

use crate::api::delivery::HandOuts;
use crate::api::stream::Streaming;
use crate::model::id::{PartitionId, Position};
use crate::model::reject::Code;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use std::fmt::{Display, Write as _};

/// Status, headers, bytes.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Made while it is sent, instead of `body`.
    pub(crate) stream: Option<Streaming>,
    /// Given back unless this answer reaches the socket.
    pub(crate) hand_outs: Option<HandOuts>,
    /// Set when the call was refused.
    pub(crate) refused: Option<Refused>,
    /// For the audit trail.
    pub(crate) told: Told,
    /// Row of the table that answered, for the metrics.
    pub(crate) route: &'static str,
}

/// What the audit trail is told of a call beside its path.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// What it was about, where the path does not say it.
    pub(crate) target: Option<String>,
    /// The job of a task.
    pub(crate) job: Option<String>,
    /// The operation that it began.
    pub(crate) operation: Option<String>,
    /// It only looked.
    pub(crate) unchanged: bool,
}

/// A call that was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    /// Something may have been changed all the same.
    pub(crate) partly: bool,
}

/// Names the row of the table in a response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Routed(pub(crate) &'static str);

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// A call that no row of the table fits.
pub(crate) const UNROUTED: &str = "other";
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

impl Answer {
    /// A status without a body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            stream: None,
            hand_outs: None,
            refused: None,
            told: Told::default(),
            route: UNROUTED,
        }
    }
    /// 200 with JSON.
    pub(crate) fn json(body: Vec<u8>) -> Self {
        Self::typed(StatusCode::OK, JSON, body.into())
    }
    /// 200 with text.
    pub(crate) fn text(body: String) -> Self {
        Self::typed(StatusCode::OK, TEXT, body.into())
    }
    /// A status with a body of a type.
    pub(crate) fn typed(status: StatusCode, kind: HeaderValue, body: Bytes) -> Self {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, kind);
        Self {
            status,
            headers,
            body,
            stream: None,
            hand_outs: None,
            refused: None,
            told: Told::default(),
            route: UNROUTED,
        }
    }
    /// Says what the call was about.
    pub(crate) fn about(mut self, target: impl Into<String>) -> Self {
        self.told.target = Some(target.into());
        self
    }
    /// Says whose task the call was about.
    pub(crate) fn of_job(mut self, job: impl Into<String>) -> Self {
        self.told.job = Some(job.into());
        self
    }
    /// Says which operation the call began.
    pub(crate) fn began(mut self, operation: impl Into<String>) -> Self {
        self.told.operation = Some(operation.into());
        self
    }
    /// Says that the call changed nothing: no line in the audit trail.
    pub(crate) fn unchanged(mut self) -> Self {
        self.told.unchanged = true;
        self
    }
    /// A body that is made while it is sent.
    pub(crate) fn streaming(self, stream: Streaming) -> Self {
        Self { stream: Some(stream), ..self }
    }
    /// Another status.
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
    /// Adds a header; a value that is no header text is left out.
    pub(crate) fn with(mut self, name: &'static str, value: impl Display) -> Self {
        if let Ok(value) = HeaderValue::try_from(value.to_string()) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }
    /// Adds `kwq-position`.
    pub(crate) fn positions(self, positions: &[(PartitionId, Position)]) -> Self {
        if positions.is_empty() {
            return self;
        }
        self.with("kwq-position", position_text(positions))
    }
    /// As an HTTP response with a body made from the bytes.
    pub(crate) fn response<B>(self, body: impl FnOnce(Bytes) -> B) -> Response<B> {
        let mut response = Response::new(body(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response.extensions_mut().insert(Routed(self.route));
        if let Some(stream) = self.stream {
            response.extensions_mut().insert(stream);
        }
        response
    }
}

/// `partition:position` pairs.
pub(crate) fn position_text(positions: &[(PartitionId, Position)]) -> String {
    let mut text = String::with_capacity(positions.len() * 16);
    for (partition, position) in positions {
        let comma = if text.is_empty() { "" } else { "," };
        write!(text, "{comma}{partition}:{position}").expect("a String accepts every write");
    }
    text
}

impl warp::Reply for Answer {
    fn into_response(self) -> warp::reply::Response {
        self.response(Into::into)
    }
}
