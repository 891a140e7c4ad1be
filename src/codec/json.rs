//! Bounded, strict reading of untrusted JSON: every value is a checked slice of the text it came
//! in.
//!
//! One pass checks grammar and depth and cuts an object into `(key, raw value)` pairs; values are
//! decoded only when
//! a field asks for them. So a payload keeps its exact bytes, and a batch is read item by item.
//!
//! Must not: allocate from a declared length, recurse by the depth of the input, or panic on any
//! bytes.

mod cursor;

use crate::model::reject::{Code, Reject};
use cursor::Cursor;
use std::borrow::Cow;

/// Fields one object of ours may have; far above the largest one, so that a search by comparison
/// stays cheap.
pub const FIELDS_MAX: usize = 256;

/// One value, checked, without outer blanks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

/// An object cut into its fields, in order, keys unique.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a>(Vec<(Cow<'a, str>, Raw<'a>)>);

/// An element of an array or a whole document.
#[derive(Clone, Debug)]
pub enum Element<'a> {
    /// An object, already cut.
    Object(Fields<'a>),
    /// Anything else.
    Other(Raw<'a>),
}

/// Walks over the elements of an array; ends after the first error.
#[derive(Debug)]
pub struct Elements<'a> {
    cursor: Cursor<'a>,
    state: Walk,
    /// The array is the whole document: nothing may follow it.
    whole: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    First,
    Next,
    Ended,
}

/// The text of a body.
///
/// # Errors
/// `bad_json` when it is not UTF-8, empty, or begins with a byte order mark.
pub fn text(bytes: &[u8]) -> Result<&str, Reject> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        Reject::new(Code::BadJson, format!("the body is not UTF-8 at byte {}", e.valid_up_to()))
    })?;
    if text.starts_with('\u{feff}') {
        return Err(Reject::new(Code::BadJson, "the body begins with a byte order mark"));
    }
    if text.trim_ascii().is_empty() {
        return Err(Reject::new(Code::BadJson, "the body is empty; JSON is expected"));
    }
    Ok(text)
}

/// First byte that is not blank.
#[must_use]
pub fn first_byte(bytes: &[u8]) -> Option<u8> {
    bytes.iter().copied().find(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r'))
}

/// Reads a whole document that is not walked element by element.
///
/// # Errors
/// `bad_json` for anything but exactly one JSON value.
pub fn document(text: &str) -> Result<Element<'_>, Reject> {
    let mut cursor = Cursor::new(text);
    cursor.blanks();
    let element = cursor.element(0)?;
    cursor.end()?;
    Ok(element)
}

/// Reads a document that must be an object.
///
/// # Errors
/// `bad_json` for broken JSON and for any other kind of value.
pub fn object(text: &str) -> Result<Fields<'_>, Reject> {
    match document(text)? {
        Element::Object(fields) => Ok(fields),
        Element::Other(raw) => Err(Reject::new(
            Code::BadJson,
            format!("a JSON object is expected, not {}", raw.kind()),
        )),
    }
}

/// Walks over the elements of a document that is an array.
///
/// # Errors
/// `bad_json` when it is no array; later errors come from the walk.
pub fn elements(text: &str) -> Result<Elements<'_>, Reject> {
    let mut cursor = Cursor::new(text);
    cursor.blanks();
    cursor.eat(b'[', "a JSON array is expected")?;
    Ok(Elements { cursor, state: Walk::First, whole: true })
}

impl<'a> Raw<'a> {
    /// The text exactly as sent.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.0
    }
    /// The literal `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }
    /// A string.
    #[must_use]
    pub fn is_string(self) -> bool {
        self.0.starts_with('"')
    }
    /// An array.
    #[must_use]
    pub fn is_array(self) -> bool {
        self.0.starts_with('[')
    }
    /// An object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.0.starts_with('{')
    }
    /// The kind, for messages.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self.0.as_bytes().first() {
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b'"') => "a string",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') => "null",
            Some(_) => "a number",
            None => "nothing",
        }
    }
    /// `true` or `false`; `None` for another kind.
    #[must_use]
    pub fn boolean(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
    /// A whole number written as one: no fraction, no exponent. `None` for another kind or beyond
    /// 64 bits.
    #[must_use]
    pub fn integer(self) -> Option<i128> {
        let digits = self.0.strip_prefix('-').unwrap_or(self.0);
        let whole = !digits.is_empty() && digits.len() <= 20;
        (whole && digits.bytes().all(|b| b.is_ascii_digit())).then(|| self.0.parse().ok()).flatten()
    }
    /// A decoded string; `None` for another kind.
    ///
    /// # Errors
    /// `bad_json` for half of a surrogate pair.
    pub fn string(self) -> Result<Option<Cow<'a, str>>, Reject> {
        let inner = self.0.strip_prefix('"').and_then(|s| s.strip_suffix('"'));
        inner.map(|inner| decode(self.0, inner)).transpose()
    }
    /// Cuts an object into its fields.
    ///
    /// # Errors
    /// `bad_json` when it is no object or a key comes twice.
    pub fn fields(self) -> Result<Fields<'a>, Reject> {
        let mut cursor = Cursor::new(self.0);
        cursor.fields(0)
    }
    /// Walks over the elements of an array.
    ///
    /// # Errors
    /// `bad_json` when it is no array.
    pub fn elements(self) -> Result<Elements<'a>, Reject> {
        elements(self.0)
    }
}

impl<'a> Fields<'a> {
    /// The fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Raw<'a>)> {
        self.0.iter().map(|(key, raw)| (key.as_ref(), *raw))
    }
    /// A field by name; `null` counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Raw<'a>> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, raw)| *raw).filter(|r| !r.is_null())
    }
    /// Without the named fields.
    #[must_use]
    pub fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|(key, _)| !names.contains(&key.as_ref()));
        self
    }
    /// With a field that stands outside the object.
    #[must_use]
    pub fn with(self, name: &'a str, value: Raw<'a>) -> Self {
        let mut fields = self.without(&[name]);
        fields.0.push((Cow::Borrowed(name), value));
        fields
    }
    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// True without fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, Reject>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if !matches!(step, Ok(Some(_))) {
            self.state = Walk::Ended;
        }
        step.transpose()
    }
}

impl<'a> Elements<'a> {
    fn step(&mut self) -> Result<Option<Element<'a>>, Reject> {
        if self.state == Walk::Ended {
            return Ok(None);
        }
        self.cursor.blanks();
        if self.cursor.peek() == Some(b']') {
            if self.whole {
                self.cursor.at += 1;
                self.cursor.end()?;
            }
            return Ok(None);
        }
        if self.state == Walk::Next {
            self.cursor.eat(b',', "`,` or `]` is expected")?;
            self.cursor.blanks();
        }
        self.state = Walk::Next;
        self.cursor.element(1).map(Some)
    }
}

fn decode<'a>(quoted: &'a str, inner: &'a str) -> Result<Cow<'a, str>, Reject> {
    if !inner.as_bytes().contains(&b'\\') {
        return Ok(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(quoted).map(Cow::Owned).map_err(|_| {
        Reject::new(Code::BadJson, "a string holds an escape that is no Unicode character")
    })
}

/// A foreign text short enough for a message.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut short: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
    if short.len() < text.len() && short.chars().count() == 64 {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
