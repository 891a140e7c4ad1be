//! Path parts and query strings: percent-decoded, every parameter known or refused.

use crate::codec::wire::field;
use crate::model::id::Name;
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use std::borrow::Cow;
use std::sync::Arc;

/// The parameters of one call.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

/// Parameters of one call at most; each may be as long as the URI allows.
const PARAMETERS_MAX: usize = 128;

impl Query {
    /// Reads a query string. `known` are the names this route has; `lenient` is known everywhere.
    ///
    /// # Errors
    /// `bad_request` for broken encoding, `unknown_field` for a name not in `known`.
    pub(crate) fn parse(text: &str, known: &[&'static str]) -> Result<Self, Reject> {
        let mut query = Self::default();
        for part in text.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (decode_plus(name)?, decode_plus(value)?);
            if query.pairs.len() == PARAMETERS_MAX {
                return Err(Reject::new(Code::BadRequest, "more than 128 query parameters"));
            }
            query.pairs.push((name, value));
        }
        let lenient = query.flag("lenient")?;
        let foreign = |name: &str| name != "lenient" && !known.contains(&name);
        match query.pairs.iter().find(|(name, _)| foreign(name)) {
            Some((name, _)) if !lenient => {
                Err(field::unknown(name, &[known, &["lenient"]].concat()))
            }
            Some(_) | None => Ok(query),
        }
    }

    /// All values of a repeatable parameter.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The value of a parameter that may come once; empty counts as absent.
    pub(crate) fn one(&self, name: &'static str) -> Result<Option<&str>, Reject> {
        let mut values = self.all(name);
        let first = values.next().filter(|v| !v.is_empty());
        match values.next() {
            None => Ok(first),
            Some(_) => Err(bad(name, format!("{name} may be given once"))),
        }
    }

    /// `true` or `false`; a bare name means true.
    pub(crate) fn flag(&self, name: &'static str) -> Result<bool, Reject> {
        Ok(self.boolean(name)?.unwrap_or(false))
    }

    /// `true`, `false` or absent; a bare name means true.
    pub(crate) fn boolean(&self, name: &'static str) -> Result<Option<bool>, Reject> {
        match self.all(name).next() {
            None => Ok(None),
            Some("true" | "") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(bad(name, format!("{name} must be true or false"))),
        }
    }

    /// A whole number within bounds.
    pub(crate) fn integer(
        &self,
        name: &'static str,
        min: u64,
        max: u64,
    ) -> Result<Option<u64>, Reject> {
        // Only an empty list counts as absent; an empty number is none.
        let given = self.all(name).next();
        let Some(text) = self.one(name)?.or(given) else { return Ok(None) };
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let value = text.parse::<u64>().ok().filter(|v| digits && (min..=max).contains(v));
        value.map(Some).ok_or_else(|| bad(name, format!("{name} must be {min}..{max}")))
    }

    /// A name: 1…128 B, no controls, no outer spaces.
    pub(crate) fn name(&self, name: &'static str) -> Result<Option<Name>, Reject> {
        self.one(name)?.map(|text| checked_name(name, text)).transpose()
    }

    /// `limit` of a page.
    pub(crate) fn limit(&self) -> Result<usize, Reject> {
        let max = u64::try_from(limits::PAGE_MAX).unwrap_or(u64::MAX);
        let limit = self.integer("limit", 1, max)?;
        Ok(limit.and_then(|l| usize::try_from(l).ok()).unwrap_or(limits::PAGE))
    }

    /// The cursor of a list; an empty one was never given out.
    pub(crate) fn cursor(&self) -> Result<Option<&str>, Reject> {
        self.one("cursor")?;
        Ok(self.all("cursor").next())
    }

    /// Comma-separated values, each read by `read`.
    pub(crate) fn list<T>(
        &self,
        name: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, Reject> {
        let parts = self.all(name).flat_map(|v| v.split(',')).filter(|v| !v.is_empty());
        parts
            .map(|part| {
                let shown = crate::codec::json::shown(part);
                read(part).ok_or_else(|| bad(name, format!("`{shown}` is no value of {name}")))
            })
            .collect()
    }
}

/// `bad_request` on a part of the path, the query or a header.
pub(crate) fn bad(field: &'static str, detail: impl Into<Cow<'static, str>>) -> Reject {
    Reject::new(Code::BadRequest, detail).on(field)
}

/// A name in path or query.
pub(crate) fn checked_name(field: &'static str, text: &str) -> Result<Name, Reject> {
    match field::name_fault(text) {
        None => Ok(Arc::from(text)),
        Some(fault) => Err(bad(field, format!("{field} {fault}"))),
    }
}

/// A percent-decoded part of a path.
///
/// # Errors
/// `bad_request` for a broken escape or bytes that are no UTF-8.
pub(crate) fn decode(text: &str) -> Result<String, Reject> {
    decode_bytes(text, false)
}

fn decode_plus(text: &str) -> Result<String, Reject> {
    decode_bytes(text, true)
}

fn decode_bytes(text: &str, plus: bool) -> Result<String, Reject> {
    let broken = || Reject::new(Code::BadRequest, "the URI holds a broken percent escape");
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || {
                    let hex = bytes.next().map(char::from)?;
                    hex.to_digit(16).and_then(|d| u8::try_from(d).ok())
                };
                let (high, low) = digit().zip(digit()).ok_or_else(broken)?;
                out.push(high << 4 | low);
            }
            b'+' if plus => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8(out)
        .map_err(|_| Reject::new(Code::BadRequest, "the URI holds bytes that are not UTF-8"))
}
