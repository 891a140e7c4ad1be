//! JSON → YAML for people: block style, every text in double quotes, so no word is taken for a
//! number or a boolean. Reads nothing.

use serde_json::Value;

/// A JSON text as YAML.
///
/// # Errors
/// The text is no JSON.
pub fn of_json(json: &str) -> Result<String, serde_json::Error> {
    let mut out = String::with_capacity(json.len() * 3 / 2);
    write(&mut out, &serde_json::from_str(json)?, 0);
    out.push('\n');
    Ok(out)
}

/// Writes a value that stands behind `key:` or `-`.
fn write(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                begin(out, depth);
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                member_of(out, member, depth);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                begin(out, depth);
                out.push('-');
                member_of(out, item, depth);
            }
        }
        // A JSON text of one line is YAML as it is.
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => out.push_str(&value.to_string()),
    }
}

fn member_of(out: &mut String, value: &Value, depth: usize) {
    let block = value.as_object().is_some_and(|o| !o.is_empty())
        || value.as_array().is_some_and(|a| !a.is_empty());
    if !block {
        out.push(' ');
    }
    write(out, value, depth + 1);
}

fn begin(out: &mut String, depth: usize) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
