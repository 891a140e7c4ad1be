//! The OpenAPI document, and Swagger UI to read it in a browser. Everything is inside the binary;
//! the page asks no other host.

use crate::api::answer::{Answer, JSON};
use crate::api::call::Call;
use crate::api::openapi;
use crate::api::problem::{Outcome, Problem};
use crate::api::route::{OPEN, Route, on};
use crate::model::reject::Code;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use std::sync::Arc;
use utoipa_swagger_ui::Config;

/// Swagger UI sets styles by itself and draws its icons from `data:` URLs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; \
    base-uri 'none'";

const YAML: HeaderValue = HeaderValue::from_static("application/yaml");

pub(crate) fn routes() -> Vec<Route> {
    vec![
        on(Method::GET, "/openapi.json", OPEN, |_| async {
            Ok(document(JSON, &openapi::texts().json))
        }),
        on(Method::GET, "/openapi.yaml", OPEN, |_| async {
            Ok(document(YAML, &openapi::texts().yaml))
        }),
        on(Method::GET, "/swagger", OPEN, to_swagger),
        on(Method::GET, "/swagger/*", OPEN, swagger),
    ]
}

fn document(kind: HeaderValue, text: &'static str) -> Answer {
    fixed(Answer::typed(StatusCode::OK, kind, text.as_bytes().into()))
}

fn fixed(answer: Answer) -> Answer {
    answer.with("cache-control", "no-cache").with("x-content-type-options", "nosniff")
}

async fn to_swagger(_: Call) -> Outcome {
    Ok(Answer::empty(StatusCode::FOUND).with("location", "/swagger/index.html"))
}

async fn swagger(call: Call) -> Outcome {
    let path = call.param(0);
    if path.is_empty() {
        return to_swagger(call).await;
    }
    // Relative to the page, so that it works behind a path prefix too. Without `none` the page
    // asks a validator on the internet.
    let config = Config::from("../openapi.json").validator_url("none");
    let file = utoipa_swagger_ui::serve(path, Arc::new(config)).map_err(|error| {
        tracing::error!(%error, "the page of the documents cannot be made");
        Problem::new(Code::Internal, "the page cannot be made; see the log")
    })?;
    let file = file.ok_or_else(|| Problem::new(Code::NoRoute, "Swagger UI has no such file"))?;
    let kind = HeaderValue::try_from(file.content_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let answer = fixed(Answer::typed(StatusCode::OK, kind, file.bytes.into_owned().into()));
    Ok(answer.with("content-security-policy", POLICY).with("referrer-policy", "no-referrer"))
}
