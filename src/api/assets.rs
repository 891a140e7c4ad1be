//! Files inside the binary: the page and the error texts.

use crate::api::answer::{self, Outcome};
use crate::api::call::Call;
use crate::model::reject::{Code, Reject};
use rust_embed::RustEmbed;
use warp::reply::{Reply, Response};

/// The admin page.
#[derive(RustEmbed)]
#[folder = "ui/"]
struct Ui;

/// One page per error code.
#[derive(RustEmbed)]
#[folder = "docs/errors/"]
struct Errors;

const CSP: &str = "default-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; \
     require-trusted-types-for 'script'";

/// 302.
pub(crate) fn redirect(to: &str) -> Response {
    let mut response = answer::empty(302);
    answer::header(&mut response, "location", to);
    response
}

/// `/ui/…`.
pub(crate) fn ui(call: &Call, path: &str) -> Outcome {
    let Some(file) = Ui::get(path) else {
        return Err(Reject::new(Code::NoRoute, "there is no such file"));
    };
    let tag = format!("\"{}\"", hex(&file.metadata.sha256_hash()));
    if call.header("if-none-match") == Some(tag.as_str()) {
        let mut response = answer::empty(304);
        answer::header(&mut response, "etag", &tag);
        return Ok(response);
    }
    let mut response = file.data.into_owned().into_response();
    answer::header(&mut response, "content-type", mime(path));
    answer::header(&mut response, "etag", &tag);
    answer::header(&mut response, "cache-control", "no-cache");
    answer::header(&mut response, "content-security-policy", CSP);
    answer::header(&mut response, "x-content-type-options", "nosniff");
    answer::header(&mut response, "referrer-policy", "no-referrer");
    Ok(response)
}

/// The page of an error code as text, for the command line.
pub(crate) fn error_text(code: &str) -> Option<String> {
    let file = Errors::get(&format!("{code}.md"))?;
    String::from_utf8(file.data.into_owned()).ok()
}

/// `/docs/errors/{code}`.
pub(crate) fn error_page(code: &str) -> Outcome {
    let Some(file) = Errors::get(&format!("{code}.md")) else {
        return Err(Reject::new(Code::NoRoute, "there is no such error code"));
    };
    let mut response = file.data.into_owned().into_response();
    answer::header(&mut response, "content-type", "text/plain; charset=utf-8");
    Ok(response)
}

fn mime(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a String accepts every write");
        out
    })
}
