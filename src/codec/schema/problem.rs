//! Refusals.

use crate::codec::schema::{Named, answered, count, named, string};
use crate::model::reject::Code;
use serde_json::{Value, json};

pub(crate) fn schemas() -> Named {
    let words: Vec<&str> = Code::ALL.iter().map(|code| code.word()).collect();
    let code = json!({
        "type": "string", "enum": words,
        "description": "Stable code; `/docs/errors/{code}` says more",
    });
    vec![("ErrorCode", code), ("Problem", problem())]
}

fn problem() -> Value {
    let status = json!({
        "type": "integer", "minimum": 400, "maximum": 599, "description": "HTTP status",
    });
    answered(
        "A refusal (RFC 9457)",
        &["type", "title", "status", "code", "detail"],
        json!({
            "type": string("Page of the code"),
            "title": string("What the code means"),
            "status": status,
            "code": named("ErrorCode"),
            "detail": string("What is wrong here"),
            "field": string("Field that breaks a rule"),
            "hint": string("What to do instead"),
            "retryAfterMs": count("Wait this long, ms"),
            "outcome": string("Verdict on a single report"),
            "existing": string("Reference or job that is there already"),
            "accepted": count("Tasks that are in all the same"),
            "nextLine": count("First line not known to be durable; NDJSON"),
            "limit": count("Bound that was passed"),
        }),
    )
}

/// A refusal with one of these codes.
#[must_use]
pub fn one_of(codes: &[Code]) -> Value {
    let words: Vec<&str> = codes.iter().map(|code| code.word()).collect();
    let mut schema = named("Problem");
    schema["properties"] = json!({ "code": { "enum": words } });
    schema
}
