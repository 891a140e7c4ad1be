//! First look at every request: checks of the head, the hot verbs by direct dispatch, everything
//! else by the filters.
//!
//! Hot verbs do not go through the filters: a tower of filters costs more than the whole of their
//! work.

use crate::actor::handle::KwqHandle;
use crate::api::answer::{Answer, Routed, UNROUTED, position_text};
use crate::api::call::Call;
use crate::api::context::Shared;
use crate::api::delivery::{Delivery, Outgoing, Stage};
use crate::api::hot::Hot;
use crate::api::problem::Problem;
use crate::api::query::bad;
use crate::api::routes::{Routes, Slot};
use crate::api::{auth, gate};
use crate::model::reject::Code;
use futures_util::FutureExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::Service;
use hyper::{Method, Request, Response};
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
const URI_BYTES_MAX: usize = 4 << 10;
const POSITION: &str = "kwq-position";
const TIMEOUT_MS_MAX: u64 = 60_000;

/// The service of one connection.
pub(crate) struct Front {
    shared: Arc<Shared>,
    routes: Arc<Routes>,
    delivery: Arc<Delivery>,
    /// Who is at the other end.
    peer: IpAddr,
}

impl Front {
    pub(crate) fn new(
        shared: Arc<Shared>,
        routes: Arc<Routes>,
        delivery: Arc<Delivery>,
        peer: IpAddr,
    ) -> Self {
        Self { shared, routes, delivery, peer }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Outgoing>, Infallible>> + Send>>;

impl Service<Request<Incoming>> for Front {
    type Response = Response<Outgoing>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.delivery.enter(Stage::Busy);
        let (head, body) = request.into_parts();
        self.delivery.set_unread(!body.is_end_stream());
        let private = head.uri.path().starts_with("/kwq");
        let (delivery, routes) = (self.delivery.clone(), self.routes.clone());
        let (metrics, handle) = (self.shared.api.metrics.clone(), self.shared.api.handle.clone());
        // Health answers before there is a position.
        let positioned = private && !head.uri.path().starts_with("/kwq/health");
        let (method, started) = (method_name(&head.method), Instant::now());
        let call = Call {
            shared: self.shared.clone(),
            peer: self.peer,
            caller: auth::Caller::default(),
            head,
            params: Vec::new(),
            delivery: delivery.clone(),
            body: Some(body),
            deadline: None,
        };
        let seen = delivery.clone();
        Box::pin(async move {
            // A bug in one call must not end the process or the other calls of the connection.
            let caught = AssertUnwindSafe(answer(call, routes)).catch_unwind().await;
            let mut response = caught.unwrap_or_else(|_| {
                tracing::error!("a handler panicked");
                finished(Problem::new(Code::Internal, "a bug; see the log").into(), delivery)
            });
            if positioned {
                position(&mut response, &handle);
            }
            if private {
                response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
            seen.answer();
            if seen.unread() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            let route = response.extensions().get::<Routed>().map_or(UNROUTED, |r| r.0);
            let code = response.status().as_u16();
            metrics.http_request(route, method, code, started.elapsed().as_secs_f64());
            Ok(response)
        })
    }
}

/// What an answer is valid for, where its handler did not say it more exactly.
fn position(response: &mut Response<Outgoing>, handle: &KwqHandle) {
    if !response.status().is_success() || response.headers().contains_key(POSITION) {
        return;
    }
    if let Ok(value) = HeaderValue::try_from(position_text(&handle.positions())) {
        response.headers_mut().insert(POSITION, value);
    }
}

async fn answer(mut call: Call, routes: Arc<Routes>) -> Response<Outgoing> {
    let delivery = call.delivery.clone();
    if let Err(problem) = admit(&mut call) {
        return finished(problem.into(), delivery);
    }
    match Hot::of(&mut call) {
        Some(hot) => {
            let answer = gate::perform(call, hot.row(), |call| hot.run(call)).await;
            finished(answer, delivery)
        }
        None => {
            let slot = Slot::new(call);
            Outgoing::from_warp(delivery, routes.answer(slot).await)
        }
    }
}

fn finished(mut answer: Answer, delivery: Arc<Delivery>) -> Response<Outgoing> {
    let hand_outs = answer.hand_outs.take();
    answer.response(|bytes| match hand_outs {
        Some(tasks) => Outgoing::granted(delivery, bytes, tasks),
        None => Outgoing::bytes(delivery, bytes),
    })
}

/// Rules that hold for every call.
fn admit(call: &mut Call) -> Result<(), Problem> {
    let head = &call.head;
    // `CONNECT host:port` and `GET host`; the filters can do nothing with a target without a path.
    if head.uri.path_and_query().is_none() {
        return Err(Problem::new(Code::BadRequest, "the target must be a path").closing());
    }
    if uri_bytes(head) > URI_BYTES_MAX {
        return Err(Problem::new(Code::UriTooLong, "the URI has more than 4 KiB").closing());
    }
    if head.headers.len() > HEADERS_MAX || head_bytes(head) > HEAD_BYTES_MAX {
        let detail = "the head has more than 64 headers or 16 KiB";
        return Err(Problem::new(Code::HeadersTooLarge, detail).closing());
    }
    if head.headers.contains_key(CONTENT_ENCODING) {
        let detail = "send the body without Content-Encoding";
        return Err(Problem::new(Code::ContentEncoding, detail).closing());
    }
    let path = head.uri.path();
    let guarded = path.starts_with("/kwq") || path == "/metrics";
    let site = head.headers.get("sec-fetch-site");
    if guarded && site.is_some_and(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site")) {
        return Err(Problem::new(Code::CrossSite, "sent by another site's page").closing());
    }
    if let Some(text) = call.header("kwq-timeout-ms")? {
        let ms = text.parse::<u64>().ok().filter(|ms| (1..=TIMEOUT_MS_MAX).contains(ms));
        let ms = ms.ok_or_else(|| bad("Kwq-Timeout-Ms", "Kwq-Timeout-Ms must be 1..60000"))?;
        call.deadline = Some(Instant::now() + Duration::from_millis(ms));
    }
    Ok(())
}

/// A method of the table; the rest share a name, so that callers cannot make up metrics.
fn method_name(method: &Method) -> &'static str {
    ["GET", "POST", "PATCH", "DELETE", "HEAD"]
        .into_iter()
        .find(|name| *name == method.as_str())
        .unwrap_or(UNROUTED)
}

fn uri_bytes(head: &Parts) -> usize {
    head.uri.path_and_query().map_or(0, |p| p.as_str().len())
}

fn head_bytes(head: &Parts) -> usize {
    // `GET /path HTTP/1.1` with its line end, and the empty line at the end.
    let line = head.method.as_str().len() + uri_bytes(head) + " ".len() * 2 + "HTTP/1.1".len() + 4;
    // Four bytes a line: colon, space, line end.
    let headers = head.headers.iter();
    line + headers.map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>()
}
