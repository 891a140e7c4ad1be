//! One request, read strictly: path parts, query, headers, capped body.

use crate::codec::json;
use crate::codec::wire::field::nearest;
use crate::model::id::Name;
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use futures_util::{Stream, StreamExt};
use hyper::body::Buf;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{HeaderMap, Method};
use std::pin::Pin;
use std::time::Duration;

/// Pieces of a body as they arrive.
pub(crate) type BodyStream = Pin<Box<dyn Stream<Item = Result<Vec<u8>, String>> + Send + Sync>>;

/// What kind of body came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Ndjson,
}

/// One request.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Percent-decoded parts of the path.
    pub(crate) parts: Vec<String>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: BodyStream,
    pub(crate) body_ms: u64,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// Only these query parameters are known.
    pub(crate) fn allow_query(&self, known: &[&str]) -> Result<(), Reject> {
        for (name, _) in &self.query {
            if !known.contains(&name.as_str()) {
                let detail = format!("the query parameter `{name}` is not known here");
                let reject = Reject::new(Code::UnknownField, detail).on(name.clone());
                return Err(match nearest(name, known) {
                    Some(near) => reject.hint(near.to_owned()),
                    None => reject,
                });
            }
        }
        Ok(())
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn query_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn query_name(&self, name: &str) -> Option<Name> {
        self.query(name).filter(|v| !v.is_empty()).map(Name::from)
    }

    pub(crate) fn query_flag(&self, name: &str) -> Result<bool, Reject> {
        match self.query(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(bad_query(name, "true or false")),
        }
    }

    pub(crate) fn query_number(
        &self,
        name: &str,
        min: u64,
        max: u64,
    ) -> Result<Option<u64>, Reject> {
        let Some(text) = self.query(name) else { return Ok(None) };
        let number = text.parse::<u64>().ok().filter(|n| (min..=max).contains(n));
        number.map(Some).ok_or_else(|| bad_query(name, &format!("a number {min}..{max}")))
    }

    /// `limit`, 1…1,000, default 100.
    pub(crate) fn limit(&self) -> Result<usize, Reject> {
        let asked = self.query_number("limit", 1, limits::PAGE_MAX as u64)?;
        Ok(asked.map_or(limits::PAGE, |n| usize::try_from(n).unwrap_or(limits::PAGE)))
    }

    /// Rules that hold for every call with a body: type, encoding.
    pub(crate) fn media(&self, ndjson: bool) -> Result<Option<Media>, Reject> {
        if let Some(coding) = self.headers.get(CONTENT_ENCODING)
            && coding != "identity"
        {
            let detail = "a body with a Content-Encoding is refused; send it plain";
            return Err(Reject::new(Code::ContentEncoding, detail));
        }
        let Some(value) = self.headers.get(CONTENT_TYPE) else { return Ok(None) };
        let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
        match essence.trim().to_ascii_lowercase().as_str() {
            "application/json" => Ok(Some(Media::Json)),
            "application/x-ndjson" if ndjson => Ok(Some(Media::Ndjson)),
            other => {
                let detail = format!("`{other}` is not accepted here");
                Err(Reject::new(Code::UnsupportedMediaType, detail).hint("application/json"))
            }
        }
    }

    /// The whole body, at most `max` bytes; the limit holds while reading, whatever length was
    /// declared.
    pub(crate) async fn read_body(&mut self, max: usize) -> Result<Vec<u8>, Reject> {
        let declared = self.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
        if declared.and_then(|v| v.parse::<u64>().ok()).is_some_and(|n| n > max as u64) {
            return Err(too_large(max));
        }
        let limit = Duration::from_millis(self.body_ms);
        let mut bytes = Vec::new();
        loop {
            let piece = tokio::time::timeout(limit, self.body.next()).await;
            match piece.map_err(|_| too_slow())? {
                None => return Ok(bytes),
                Some(Err(reason)) => return Err(Reject::new(Code::BadRequest, reason)),
                Some(Ok(piece)) if bytes.len() + piece.len() > max => return Err(too_large(max)),
                Some(Ok(piece)) => bytes.extend_from_slice(&piece),
            }
        }
    }

    /// A JSON object that must be there.
    pub(crate) async fn json(&mut self, max: usize) -> Result<String, Reject> {
        let media = self.media(false)?;
        let bytes = self.read_body(max).await?;
        if media.is_none() {
            return Err(no_type());
        }
        json::text(&bytes)?;
        String::from_utf8(bytes).map_err(|_| Reject::new(Code::BadJson, "the body is not UTF-8"))
    }

    /// A JSON object that may be left out, body and type; then it is `{}`.
    pub(crate) async fn optional_json(&mut self, max: usize) -> Result<String, Reject> {
        let media = self.media(false)?;
        let bytes = self.read_body(max).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok("{}".to_owned());
        }
        if media.is_none() {
            return Err(no_type());
        }
        json::text(&bytes)?;
        String::from_utf8(bytes).map_err(|_| Reject::new(Code::BadJson, "the body is not UTF-8"))
    }

    pub(crate) fn lenient(&self) -> Result<bool, Reject> {
        self.query_flag("lenient")
    }
}

/// Turns warp's body into pieces without naming its buffer type.
pub(crate) fn pieces<B: Buf + Send + 'static>(
    stream: impl Stream<Item = Result<B, warp::Error>> + Send + Sync + 'static,
) -> BodyStream {
    Box::pin(stream.map(|piece| match piece {
        Ok(mut buf) => {
            let mut bytes = vec![0; buf.remaining()];
            buf.copy_to_slice(&mut bytes);
            Ok(bytes)
        }
        Err(error) => Err(format!("the body could not be read: {error}")),
    }))
}

/// Percent-decodes the parts of a path after `/`.
pub(crate) fn path_parts(path: &str) -> Result<Vec<String>, Reject> {
    path.split('/').skip(1).map(|part| decode(part, false)).collect()
}

/// Splits a query string.
pub(crate) fn query_pairs(query: &str) -> Result<Vec<(String, String)>, Reject> {
    let pairs = query.split('&').filter(|p| !p.is_empty());
    let pair = |text: &str| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        Ok((decode(name, true)?, decode(value, true)?))
    };
    pairs.map(pair).collect()
}

fn decode(text: &str, plus: bool) -> Result<String, Reject> {
    let bad = || Reject::new(Code::BadRequest, "the address holds a broken percent escape");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let (pair, after) = rest.split_first_chunk::<2>().ok_or_else(bad)?;
                let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
                bytes.push(u8::from_str_radix(pair, 16).map_err(|_| bad())?);
                rest = after;
            }
            b'+' if plus => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

pub(crate) fn bad_query(name: &str, wanted: &str) -> Reject {
    Reject::new(Code::BadRequest, format!("{name} must be {wanted}")).on(name.to_owned())
}

fn no_type() -> Reject {
    Reject::new(Code::UnsupportedMediaType, "the body has no Content-Type")
        .hint("Content-Type: application/json")
}

pub(crate) fn too_large(max: usize) -> Reject {
    Reject::new(Code::BodyTooLarge, format!("the body has more than {max} B"))
}

pub(crate) fn too_slow() -> Reject {
    Reject::new(Code::RequestTimeout, "the body came too slowly")
}
