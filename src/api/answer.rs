//! Answers: bodies with their headers, refusals as problem+json.

use crate::codec::wire::out::Out;
use crate::model::id::{PartitionId, Position};
use crate::model::reject::Reject;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use std::fmt::Write as _;
use warp::reply::{Reply, Response};

/// Result of a handler.
pub(crate) type Outcome = Result<Response, Reject>;

/// A JSON answer.
pub(crate) fn json(status: u16, body: Vec<u8>) -> Response {
    let mut response = body.into_response();
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    set(&mut response, CONTENT_TYPE, "application/json");
    response
}

/// A JSON answer written in place.
pub(crate) fn written(status: u16, write: impl FnOnce(&mut Out)) -> Response {
    let mut out = Out::with_capacity(512);
    write(&mut out);
    json(status, out.into_bytes())
}

/// An answer without a body.
pub(crate) fn empty(status: u16) -> Response {
    let mut response = Vec::<u8>::new().into_response();
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::NO_CONTENT);
    response.headers_mut().remove(CONTENT_TYPE);
    if status == 204 {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}

/// Bytes for download, never shown in place.
pub(crate) fn download(bytes: Vec<u8>) -> Response {
    let mut response = bytes.into_response();
    set(&mut response, CONTENT_TYPE, "application/octet-stream");
    header(&mut response, "content-disposition", "attachment");
    header(&mut response, "x-content-type-options", "nosniff");
    response
}

/// A refusal.
pub(crate) fn problem(reject: &Reject) -> Response {
    let status = reject.code.status();
    let mut out = Out::with_capacity(256);
    out.open();
    out.shown("type", format_args!("/docs/errors/{}", reject.code.word()));
    out.str("title", &reject.code.word().replace('_', " "));
    out.num("status", status);
    out.str("code", reject.code.word());
    out.str("detail", &reject.detail);
    out.opt_str("field", reject.field.as_deref());
    out.opt_str("hint", reject.hint.as_deref());
    if let Some(ms) = reject.retry_after_ms {
        out.num("retryAfterMs", ms);
    }
    out.close();
    let mut response = json(status, out.into_bytes());
    set(&mut response, CONTENT_TYPE, "application/problem+json");
    if let Some(ms) = reject.retry_after_ms {
        header(&mut response, "retry-after", &ms.div_ceil(1_000).max(1).to_string());
    }
    if reject.code == crate::model::reject::Code::MethodNotAllowed
        && let Some(allow) = &reject.hint
    {
        header(&mut response, "allow", allow);
    }
    if reject.not_applied {
        header(&mut response, "kwq-applied", "no");
    }
    response
}

/// Sets a header whose value is ours.
pub(crate) fn header(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

fn set(response: &mut Response, name: HeaderName, value: &'static str) {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
}

/// `no-store` on everything under `/kwq`.
pub(crate) fn no_store(response: &mut Response) {
    set(response, CACHE_CONTROL, "no-store");
}

/// `Kwq-Position`.
pub(crate) fn positions(response: &mut Response, positions: &[(PartitionId, Position)]) {
    let mut text = String::new();
    for (id, position) in positions {
        let comma = if text.is_empty() { "" } else { "," };
        write!(text, "{comma}{id}:{position}").expect("a String accepts every write");
    }
    header(response, "kwq-position", &text);
}
