//! Refusals of operations: codes by status, and the sets many operations share.

use crate::api::openapi::operation::header_map;
use crate::api::openapi::{guarded, private};
use crate::api::problem::title;
use crate::api::route::Route;
use crate::codec::schema::problem;
use crate::model::access::Access;
use crate::model::reject::Code;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A partition is asked.
pub(super) const ASKS: &[Code] =
    &[Code::PartitionUnavailable, Code::LogUnavailable, Code::Overloaded];
/// The tracker is asked, and the log for texts.
pub(super) const TRACKS: &[Code] =
    &[Code::PartitionUnavailable, Code::LogUnavailable, Code::Overloaded, Code::TrackerBehind];
/// Something new is let in.
pub(super) const ADMITS: &[Code] = &[
    Code::PartitionUnavailable,
    Code::LogUnavailable,
    Code::Overloaded,
    Code::Draining,
    Code::DiskFull,
];
/// Rules of a task or an array.
pub(super) const TASK_RULES: &[Code] = &[Code::InvalidTag, Code::ReservedId, Code::NotSupported];

/// Codes every operation of this kind may answer.
pub(super) fn usual(route: &Route, body: bool, strict: bool) -> Vec<Code> {
    let mut codes = vec![
        Code::BadRequest,
        Code::UriTooLong,
        Code::ContentEncoding,
        Code::HeadersTooLarge,
        Code::Internal,
    ];
    if guarded(route) {
        codes.push(Code::CrossSite);
    }
    match route.row.rule.access {
        Access::Open => {}
        Access::Any => codes.extend([Code::Unauthorized, Code::AuthRate]),
        Access::OneOf(_) => {
            codes.extend([Code::Unauthorized, Code::AuthRate, Code::Forbidden]);
        }
    }
    if strict {
        codes.push(Code::UnknownField);
    }
    if body {
        codes.extend([
            Code::BadJson,
            Code::RequestTimeout,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::InvalidField,
        ]);
    }
    codes
}

/// One response per status, each with the codes it may carry.
pub(super) fn responses(
    refusals: impl IntoIterator<Item = (u16, Code)>,
    route: &Route,
) -> BTreeMap<u16, Value> {
    let mut by_status: BTreeMap<u16, BTreeSet<Code>> = BTreeMap::new();
    for (status, code) in refusals {
        by_status.entry(status).or_default().insert(code);
    }
    by_status.into_iter().map(|(status, codes)| (status, response(status, &codes, route))).collect()
}

fn response(status: u16, codes: &BTreeSet<Code>, route: &Route) -> Value {
    let codes: Vec<Code> = codes.iter().copied().collect();
    let lines: Vec<String> =
        codes.iter().map(|code| format!("`{}`: {}", code.word(), title(*code))).collect();
    let mut headers = Vec::new();
    // A head that cannot be read is refused before its path is known.
    if private(route) && !matches!(status, 400 | 408 | 414 | 431) {
        headers.push("Cache-Control!");
    }
    match status {
        401 => headers.push("WWW-Authenticate!"),
        429 | 503 | 507 => headers.extend(["Retry-After!", "Kwq-Applied"]),
        404 | 409 => headers.push("Retry-After"),
        _ => {}
    }
    json!({
        "description": lines.join("; "),
        "headers": header_map(&headers),
        "content": { "application/problem+json": { "schema": problem::one_of(&codes) } },
    })
}
