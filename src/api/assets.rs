//! Files inside the binary: the UI and the pages of error codes. Nothing is read by a path that a
//! caller names.

use crate::api::answer::Answer;
use crate::api::call::Call;
use crate::api::problem::{Outcome, Problem};
use crate::api::route::{OPEN, Route, on};
use crate::model::reject::Code;
use hyper::header::{HeaderValue, IF_NONE_MATCH};
use hyper::{Method, StatusCode};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "ui/"]
struct Ui;

#[derive(RustEmbed)]
#[folder = "docs/errors/"]
struct ErrorPages;

/// `promises.md` 8 and `ecosystem.md` 5.1.
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    form-action 'none'; frame-ancestors 'none'; base-uri 'none'; \
    require-trusted-types-for 'script'";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        on(Method::GET, "/", OPEN, to_ui),
        on(Method::GET, "/ui", OPEN, to_ui),
        on(Method::GET, "/ui/*", OPEN, ui),
        on(Method::GET, "/docs/errors/{code}", OPEN, error_page),
    ]
}

async fn to_ui(_: Call) -> Outcome {
    Ok(Answer::empty(StatusCode::FOUND).with("location", "/ui/index.html"))
}

async fn ui(call: Call) -> Outcome {
    let path = match call.param(0) {
        "" => return to_ui(call).await,
        path => path,
    };
    let file =
        Ui::get(path).ok_or_else(|| Problem::new(Code::NoRoute, "the UI has no such file"))?;
    let hash = file.metadata.sha256_hash();
    let mut tag = String::with_capacity(66);
    tag.push('"');
    for byte in hash {
        use std::fmt::Write as _;
        write!(tag, "{byte:02x}").expect("a String accepts every write");
    }
    tag.push('"');
    let known = call.head.headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let same = known.is_some_and(|known| {
        known.split(',').map(str::trim).any(|k| k == "*" || k.trim_start_matches("W/") == tag)
    });
    let answer = if same {
        Answer::empty(StatusCode::NOT_MODIFIED)
    } else {
        Answer::typed(StatusCode::OK, kind(path), file.data.into_owned().into())
    };
    Ok(answer
        .with("etag", tag)
        .with("cache-control", "no-cache")
        .with("content-security-policy", POLICY)
        .with("referrer-policy", "no-referrer")
        .with("x-content-type-options", "nosniff"))
}

fn kind(path: &str) -> HeaderValue {
    let kinds = [
        (".html", "text/html; charset=utf-8"),
        (".css", "text/css; charset=utf-8"),
        (".js", "text/javascript; charset=utf-8"),
        (".svg", "image/svg+xml"),
        (".json", "application/json"),
        (".ico", "image/x-icon"),
        (".png", "image/png"),
        (".webmanifest", "application/manifest+json"),
        (".txt", "text/plain; charset=utf-8"),
    ];
    let kind = kinds.iter().find(|(end, _)| path.ends_with(end)).map(|(_, kind)| *kind);
    HeaderValue::from_static(kind.unwrap_or("application/octet-stream"))
}

/// The page of an error code as text, also for the command line.
pub(crate) fn error_text(code: &str) -> Option<String> {
    let file = ErrorPages::get(&format!("{code}.md"))?;
    String::from_utf8(file.data.into_owned()).ok()
}

async fn error_page(call: Call) -> Outcome {
    let page = error_text(call.param(0));
    let page = page.ok_or_else(|| Problem::new(Code::NoRoute, "there is no such error code"))?;
    let answer = Answer::text(page);
    Ok(answer.with("x-content-type-options", "nosniff").with("cache-control", "no-cache"))
}
