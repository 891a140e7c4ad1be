//! Reads the fields of an object by the rules of the contract: kind, range, length; anything else
//! is a clear refusal.

use crate::codec::json::{Element, Fields, Raw};
use crate::model::id::Name;
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use std::borrow::Cow;

/// Kind of text a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// A name: no control characters, no outer spaces, not empty.
    Name,
    /// Free text.
    Free,
}

/// Refuses fields nobody knows, with the nearest known name as a hint.
///
/// # Errors
/// `unknown_field`; `not_supported` for fields of a later release.
pub fn only(
    fields: &Fields<'_>,
    known: &[&str],
    later: &[&str],
    lenient: bool,
) -> Result<(), Reject> {
    for (name, _) in fields.iter() {
        if known.contains(&name) {
            continue;
        }
        if later.contains(&name) {
            let detail = format!("`{name}` is not in this build yet");
            return Err(Reject::new(Code::NotSupported, detail).on(name.to_owned()));
        }
        if !lenient {
            let detail = format!("the field `{name}` is not known here");
            let mut reject = Reject::new(Code::UnknownField, detail).on(name.to_owned());
            if let Some(near) = nearest(name, known) {
                reject = reject.hint(near.to_owned());
            }
            return Err(reject);
        }
    }
    Ok(())
}

/// The known name with the smallest edit distance, if it is near.
#[must_use]
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let best = known.iter().map(|k| (distance(name, k), *k)).min();
    best.filter(|(d, k)| *d <= 1 + k.len() / 3).map(|(_, k)| k)
}

/// Levenshtein distance over bytes, ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// A string field.
///
/// # Errors
/// Another kind, too long, control characters or outer spaces in a name.
pub fn text<'a>(
    fields: &Fields<'a>,
    name: &'static str,
    bytes_max: usize,
    kind: Text,
) -> Result<Option<Cow<'a, str>>, Reject> {
    let Some(raw) = fields.get(name) else { return Ok(None) };
    string(raw, name, bytes_max, kind).map(Some)
}

/// A string value, checked.
///
/// # Errors
/// As [`text`].
pub fn string<'a>(
    raw: Raw<'a>,
    name: &'static str,
    bytes_max: usize,
    kind: Text,
) -> Result<Cow<'a, str>, Reject> {
    let Some(value) = raw.string()? else {
        return Err(Reject::field(name, format!("{name} must be a string, not {}", raw.kind())));
    };
    check_text(&value, name, bytes_max, kind)?;
    Ok(value)
}

/// Checks a text against the rules of its field.
///
/// # Errors
/// As [`text`].
pub fn check_text(
    value: &str,
    name: &'static str,
    bytes_max: usize,
    kind: Text,
) -> Result<(), Reject> {
    if value.len() > bytes_max {
        let detail = format!("{name} has {} B; at most {bytes_max}", value.len());
        return Err(Reject::field(name, detail));
    }
    if kind == Text::Name {
        if value.is_empty() {
            return Err(Reject::field(name, format!("{name} must not be empty")));
        }
        if value.chars().any(char::is_control) || value.trim() != value {
            let detail = format!("{name} must have no control characters and no outer spaces");
            return Err(Reject::field(name, detail));
        }
    }
    Ok(())
}

/// A name field, owned.
///
/// # Errors
/// As [`text`].
pub fn name(
    fields: &Fields<'_>,
    field: &'static str,
    bytes_max: usize,
) -> Result<Option<Name>, Reject> {
    Ok(text(fields, field, bytes_max, Text::Name)?.map(|t| Name::from(t.as_ref())))
}

/// A free text field, owned; an empty text counts as absent.
///
/// # Errors
/// As [`text`].
pub fn free(
    fields: &Fields<'_>,
    field: &'static str,
    bytes_max: usize,
) -> Result<Option<Name>, Reject> {
    let value = text(fields, field, bytes_max, Text::Free)?;
    Ok(value.filter(|t| !t.is_empty()).map(|t| Name::from(t.as_ref())))
}

/// A whole number in a range; never clamped.
///
/// # Errors
/// Another kind, a fraction, out of range.
pub fn int(
    fields: &Fields<'_>,
    name: &'static str,
    min: u64,
    max: u64,
) -> Result<Option<u64>, Reject> {
    let Some(raw) = fields.get(name) else { return Ok(None) };
    number(raw, name, min, max).map(Some)
}

/// A whole number value in a range.
///
/// # Errors
/// As [`int`].
pub fn number(raw: Raw<'_>, name: &'static str, min: u64, max: u64) -> Result<u64, Reject> {
    let wanted = || Reject::field(name, format!("{name} must be a whole number {min}..{max}"));
    let value = raw.integer().ok_or_else(wanted)?;
    u64::try_from(value).ok().filter(|v| (min..=max).contains(v)).ok_or_else(wanted)
}

/// A whole number that fits 32 bits by its range.
///
/// # Errors
/// As [`int`].
pub fn int32(
    fields: &Fields<'_>,
    name: &'static str,
    min: u32,
    max: u32,
) -> Result<Option<u32>, Reject> {
    let value = int(fields, name, u64::from(min), u64::from(max))?;
    Ok(value.map(|v| u32::try_from(v).unwrap_or(max)))
}

/// A whole number that fits 8 bits by its range.
///
/// # Errors
/// As [`int`].
pub fn int8(
    fields: &Fields<'_>,
    name: &'static str,
    min: u8,
    max: u8,
) -> Result<Option<u8>, Reject> {
    let value = int(fields, name, u64::from(min), u64::from(max))?;
    Ok(value.map(|v| u8::try_from(v).unwrap_or(max)))
}

/// A boolean.
///
/// # Errors
/// Another kind.
pub fn flag(fields: &Fields<'_>, name: &'static str) -> Result<Option<bool>, Reject> {
    let Some(raw) = fields.get(name) else { return Ok(None) };
    let wanted = || Reject::field(name, format!("{name} must be true or false"));
    raw.boolean().ok_or_else(wanted).map(Some)
}

/// An object.
///
/// # Errors
/// Another kind.
pub fn object<'a>(fields: &Fields<'a>, name: &'static str) -> Result<Option<Fields<'a>>, Reject> {
    let Some(raw) = fields.get(name) else { return Ok(None) };
    if !raw.is_object() {
        return Err(Reject::field(name, format!("{name} must be an object")));
    }
    raw.fields().map(Some)
}

/// The elements of a list, at most `max` of them; an absent list is empty.
///
/// # Errors
/// Another kind, too many.
pub fn list<'a>(
    fields: &Fields<'a>,
    name: &'static str,
    max: usize,
) -> Result<Option<Vec<Element<'a>>>, Reject> {
    let Some(raw) = fields.get(name) else { return Ok(None) };
    if !raw.is_array() {
        return Err(Reject::field(name, format!("{name} must be an array")));
    }
    let mut all = Vec::new();
    for element in raw.elements()? {
        if all.len() == max {
            return Err(Reject::field(name, format!("{name} has more than {max} elements")));
        }
        all.push(element?);
    }
    Ok(Some(all))
}

/// A list of names.
///
/// # Errors
/// As [`list`] and [`text`].
pub fn names(
    fields: &Fields<'_>,
    name: &'static str,
    max: usize,
    bytes_max: usize,
) -> Result<Vec<Name>, Reject> {
    let elements = list(fields, name, max)?.unwrap_or_default();
    let one = |element| match element {
        Element::Other(raw) => {
            string(raw, name, bytes_max, Text::Name).map(|t| Name::from(t.as_ref()))
        }
        Element::Object(_) => Err(Reject::field(name, format!("{name} holds strings"))),
    };
    elements.into_iter().map(one).collect()
}

/// A worker's name: required everywhere it is asked for.
///
/// # Errors
/// Absent or against the rules of a name.
pub fn worker(fields: &Fields<'_>) -> Result<Name, Reject> {
    name(fields, "worker", limits::NAME_BYTES_MAX)?
        .ok_or_else(|| Reject::field("worker", "worker is required"))
}
