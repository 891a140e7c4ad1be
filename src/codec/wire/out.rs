//! Writes JSON by hand into bytes: the bodies of the hot calls are built without an intermediate
//! tree.

use crate::codec::wire::base64;
use crate::model::task::{Blob, Encoding};
use crate::model::time::WallMs;
use std::fmt::Display;

/// A JSON text under construction. Commas are set by the writer; brackets must be closed by the
/// caller.
#[derive(Debug, Default)]
pub struct Out {
    bytes: Vec<u8>,
    /// The next member or element needs a comma before it.
    comma: bool,
}

impl Out {
    /// With room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), comma: false }
    }
    /// The finished text.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
    /// True before the first byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn before(&mut self) {
        if self.comma {
            self.bytes.push(b',');
        }
        self.comma = true;
    }
    /// `{`, as an element or the whole text.
    pub fn open(&mut self) {
        self.before();
        self.bytes.push(b'{');
        self.comma = false;
    }
    /// `}`.
    pub fn close(&mut self) {
        self.bytes.push(b'}');
        self.comma = true;
    }
    /// `[`, as an element or the whole text.
    pub fn open_list(&mut self) {
        self.before();
        self.bytes.push(b'[');
        self.comma = false;
    }
    /// `]`.
    pub fn close_list(&mut self) {
        self.bytes.push(b']');
        self.comma = true;
    }
    /// `"name":`; a value must follow. The name is ours and needs no escape.
    pub fn key(&mut self, name: &str) {
        self.before();
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b"\":");
        self.comma = false;
    }
    /// `"name":{`.
    pub fn object(&mut self, name: &str) {
        self.key(name);
        self.open();
    }
    /// `"name":[`.
    pub fn list(&mut self, name: &str) {
        self.key(name);
        self.open_list();
    }

    /// A string element or value.
    pub fn text(&mut self, text: &str) {
        self.before();
        escape_into(&mut self.bytes, text);
    }
    /// A string element `first:second`; the second alone when the first is empty.
    pub fn pair(&mut self, first: &str, second: &str) {
        self.before();
        self.bytes.push(b'"');
        if !first.is_empty() {
            escaped_into(&mut self.bytes, first);
            self.bytes.push(b':');
        }
        escaped_into(&mut self.bytes, second);
        self.bytes.push(b'"');
    }
    /// A value that displays as JSON: a whole number or a boolean.
    pub fn plain(&mut self, value: impl Display) {
        use std::io::Write as _;
        self.before();
        write!(self.bytes, "{value}").expect("a Vec accepts every write");
    }
    /// A number.
    pub fn number(&mut self, value: u64) {
        self.before();
        decimal_into(&mut self.bytes, value);
    }
    /// JSON text that is already checked.
    pub fn raw(&mut self, json: &[u8]) {
        self.before();
        self.bytes.extend_from_slice(json);
    }

    /// A string member.
    pub fn str(&mut self, name: &str, text: &str) {
        self.key(name);
        self.text(text);
    }
    /// A string member, left out when unset.
    pub fn opt_str(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.str(name, text);
        }
    }
    /// A string member, `null` when unset.
    pub fn null_str(&mut self, name: &str, text: Option<&str>) {
        self.key(name);
        match text {
            Some(text) => self.text(text),
            None => self.raw(b"null"),
        }
    }
    /// A whole number.
    pub fn num(&mut self, name: &str, value: impl Into<u64>) {
        self.key(name);
        self.number(value.into());
    }
    /// A count of this process.
    pub fn count(&mut self, name: &str, value: usize) {
        self.num(name, u64::try_from(value).unwrap_or(u64::MAX));
    }
    /// A number with a fraction of at most `places` digits; `null` when it is none.
    pub fn float(&mut self, name: &str, value: f64, places: usize) {
        self.key(name);
        if value.is_finite() {
            self.plain(format_args!("{value:.places$}"));
        } else {
            self.raw(b"null");
        }
    }
    /// A boolean.
    pub fn flag(&mut self, name: &str, value: bool) {
        self.key(name);
        self.raw(if value { b"true" } else { b"false" });
    }
    /// A stamp, left out when unset.
    pub fn stamp(&mut self, name: &str, at: WallMs) {
        if at.known().is_some() {
            self.num(name, at.0);
        }
    }
    /// A reference or another short text made of digits, letters and `-`.
    pub fn shown(&mut self, name: &str, value: impl Display) {
        use std::io::Write as _;
        self.key(name);
        self.before();
        write!(self.bytes, "\"{value}\"").expect("a Vec accepts every write");
    }
    /// Payload or result as it came in; a `json` blob without bytes is `null`.
    pub fn blob(&mut self, name: &str, blob: &Blob) {
        self.key(name);
        match blob.encoding {
            Encoding::Text => self.text(&String::from_utf8_lossy(&blob.bytes)),
            Encoding::Json if blob.bytes.is_empty() => self.raw(b"null"),
            Encoding::Json => self.raw(&blob.bytes),
            Encoding::Base64 => {
                self.before();
                self.bytes.push(b'"');
                base64::encode_into(&mut self.bytes, &blob.bytes);
                self.bytes.push(b'"');
            }
        }
    }
}

/// Wire name of an encoding.
#[must_use]
pub fn encoding_name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Text => "text",
        Encoding::Json => "json",
        Encoding::Base64 => "base64",
    }
}

/// Appends a quoted string.
pub fn escape_into(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escaped_into(out, text);
    out.push(b'"');
}

fn escaped_into(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut clean = 0;
    for (i, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(bytes.get(clean..i).unwrap_or_default());
        clean = i + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
    }
    out.extend_from_slice(bytes.get(clean..).unwrap_or_default());
}

fn decimal_into(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests;
