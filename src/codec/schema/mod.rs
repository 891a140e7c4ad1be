//! JSON Schemas of the bodies of `codec::wire`, for the OpenAPI document.
//!
//! Bounds and words come from `model`, so a schema cannot name another number than its parser. That
//! parser and schema know the same fields is checked by the tests beside this file; that answers
//! have no other fields than their schema by the contract run (`make contract`).
//!
//! Must not: be used on the way of a call.

pub mod insight;
pub mod job;
pub mod operation;
pub mod problem;
pub mod seed;
pub mod simulation;
pub mod task;
pub mod view;
pub mod work;

use crate::model::limits;
use serde_json::{Map, Value, json};

/// Every named schema, by its name in `components/schemas`.
#[must_use]
pub fn all() -> Map<String, Value> {
    let named = groups().into_iter().flatten();
    named.map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn groups() -> [Named; 9] {
    [
        task::schemas(),
        job::schemas(),
        work::schemas(),
        insight::schemas(),
        operation::schemas(),
        seed::schemas(),
        simulation::schemas(),
        view::schemas(),
        problem::schemas(),
    ]
}

/// Schemas with their names.
pub(crate) type Named = Vec<(&'static str, Value)>;

/// A reference to a named schema.
#[must_use]
pub fn named(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A reference to a named schema with a note of its own.
pub(crate) fn named_as(name: &str, note: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}"), "description": note })
}

/// An object as sent: other fields are refused.
pub(crate) fn sent(note: &str, required: &[&str], properties: Value) -> Value {
    let mut schema = answered(note, required, properties);
    schema["additionalProperties"] = json!(false);
    schema
}

/// An object as answered: fields may be added in later versions.
pub(crate) fn answered(note: &str, required: &[&str], properties: Value) -> Value {
    let mut schema = json!({ "type": "object", "description": note, "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// A string of at most `max` characters; the server counts bytes, so it may refuse shorter ones.
#[must_use]
pub fn text(max: usize, note: &str) -> Value {
    json!({ "type": "string", "maxLength": max, "description": note })
}

/// Any string.
#[must_use]
pub fn string(note: &str) -> Value {
    json!({ "type": "string", "description": note })
}

/// A name: 1…128 bytes, no control characters, no outer spaces.
#[must_use]
pub fn name(note: &str) -> Value {
    let max = limits::NAME_BYTES_MAX;
    json!({ "type": "string", "minLength": 1, "maxLength": max, "description": note })
}

/// One of these words.
#[must_use]
pub fn word<'w>(words: impl IntoIterator<Item = &'w str>, note: &str) -> Value {
    let words: Vec<&str> = words.into_iter().collect();
    json!({ "type": "string", "enum": words, "description": note })
}

/// A whole number within bounds.
#[must_use]
pub fn integer(min: impl Into<u64>, max: impl Into<u64>, note: &str) -> Value {
    let (min, max) = (min.into(), max.into());
    json!({ "type": "integer", "minimum": min, "maximum": max, "description": note })
}

/// A whole number from 0 on.
#[must_use]
pub fn count(note: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": note })
}

/// An instant.
#[must_use]
pub fn stamp(note: &str) -> Value {
    let note = format!("{note}; milliseconds since 1970-01-01 UTC");
    json!({ "type": "integer", "format": "int64", "minimum": 0, "description": note })
}

/// A number with a fraction.
#[must_use]
pub fn number(note: &str) -> Value {
    json!({ "type": "number", "minimum": 0, "description": note })
}

/// `true` or `false`.
#[must_use]
pub fn flag(note: &str) -> Value {
    json!({ "type": "boolean", "description": note })
}

/// A list of at most `max` items.
#[must_use]
pub fn list(max: usize, items: Value, note: &str) -> Value {
    json!({ "type": "array", "maxItems": max, "items": items, "description": note })
}

/// A list as answered.
#[must_use]
pub fn listed(items: Value, note: &str) -> Value {
    json!({ "type": "array", "items": items, "description": note })
}

/// Adds a default.
pub(crate) fn usual(mut schema: Value, value: impl Into<Value>) -> Value {
    schema["default"] = value.into();
    schema
}

#[cfg(test)]
mod tests;
