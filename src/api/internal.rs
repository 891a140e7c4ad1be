//! The listener for other instances: bytes of a call in, bytes of its answer out.
//!
//! ```text
//!   acceptor ─ a seat each ─► shard runtimes ─ http1 ─► secret, form, room ─► body ─► Handler
//! ```
//! Whatever is refused is refused before the handler is called, and with any status but 200 it has
//! not been, unless that is 500. A caller that goes away takes the handler's future with it.
//!
//! Must not: know what the bytes mean, or read a body of somebody without the secret.

use crate::api::auth;
use crate::api::call::Source;
use crate::api::context::Phase;
use crate::api::delivery::{Delivery, Outgoing, Stage};
use crate::api::io::Socket;
use crate::api::serve::{CUT_WAIT, Spawner, advance, connection, emptied_within};
use crate::codec::digest;
use crate::config::Http;
use crate::model::limits;
use crate::model::reject::Code;
use futures_util::FutureExt as _;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// What is done with the bytes of a call. Its future is dropped when the caller goes away.
pub type Handler =
    Arc<dyn Fn(Bytes) -> Pin<Box<dyn Future<Output = Vec<u8>> + Send>> + Send + Sync>;

const PATH: &str = "/internal/call";
const OCTETS: &str = "application/octet-stream";
/// Longest time for a head; also for the first byte of a connection.
const HEAD_MS: u64 = 10_000;
/// Longest silence between two calls; peers use no connection again after half of `HEAD_MS`.
const IDLE_MS: u64 = 60_000;
/// Longest time for a body.
const BODY_MS: u64 = 30_000;
/// Longest time in which a peer takes no byte of its answer.
const WRITE_STALL_MS: u64 = 10_000;
/// Bytes of bodies are counted in units of this size.
const UNIT_BYTES: usize = 1 << 10;

/// A running listener; dropped, it cuts what is left.
pub struct InternalServer {
    addr: SocketAddr,
    phase: watch::Sender<Phase>,
    seats: Arc<Semaphore>,
}

impl InternalServer {
    /// The address that is listened on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops accepting, ends idle connections, lets every other one end after the call in hand,
    /// cuts the rest after `timeout`.
    pub fn shutdown(&self, timeout: Duration) {
        let taken = || limits::PEER_CONNECTIONS_MAX - self.seats.available_permits();
        advance(&self.phase, Phase::Closing);
        if !emptied_within(taken, timeout) {
            tracing::warn!(connections = taken(), "connections of peers cut at shutdown");
        }
        advance(&self.phase, Phase::Ended);
        if !emptied_within(taken, CUT_WAIT) {
            tracing::warn!(connections = taken(), "connections of peers outlive their end");
        }
    }
}

impl Drop for InternalServer {
    fn drop(&mut self) {
        advance(&self.phase, Phase::Ended);
    }
}

/// Begins to take calls on a bound listener, from whoever knows the secret. Connections are dealt
/// to `shards` in turn.
///
/// # Errors
/// When there is no shard, or the listener or the acceptor's thread cannot be set up.
pub fn start(
    listener: std::net::TcpListener,
    shards: Vec<Spawner>,
    secret: Option<String>,
    handler: Handler,
) -> io::Result<InternalServer> {
    if shards.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no shard to serve on"));
    }
    let addr = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let (sender, phase) = watch::channel(Phase::Serving);
    let seats = Arc::new(Semaphore::new(limits::PEER_CONNECTIONS_MAX));
    let door = Arc::new(Door {
        secret: secret.map(|secret| digest::sha256(secret.as_bytes())),
        handler,
        room: Arc::new(Semaphore::new(limits::PEER_BODIES_BYTES_MAX / UNIT_BYTES)),
    });
    let settings = Arc::new(settings(addr));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let acceptor = Acceptor { shards, settings, door, seats: Arc::clone(&seats), phase };
    crate::telemetry::spawn_thread("kwq-internal", move || {
        runtime.block_on(async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => acceptor.run(listener).await,
                Err(error) => tracing::error!(%error, "the listener for peers cannot be used"),
            }
        });
    })?;
    Ok(InternalServer { addr, phase: sender, seats })
}

/// Timers of the sockets; the caps are the acceptor's.
fn settings(listen: SocketAddr) -> Http {
    Http {
        listen,
        max_connections: limits::PEER_CONNECTIONS_MAX,
        max_per_address: limits::PEER_CONNECTIONS_MAX,
        first_byte_ms: HEAD_MS,
        head_ms: HEAD_MS,
        body_ms: BODY_MS,
        idle_ms: IDLE_MS,
        write_stall_ms: WRITE_STALL_MS,
    }
}

struct Acceptor {
    shards: Vec<Spawner>,
    settings: Arc<Http>,
    door: Arc<Door>,
    seats: Arc<Semaphore>,
    phase: watch::Receiver<Phase>,
}

impl Acceptor {
    async fn run(mut self, listener: TcpListener) {
        let mut turn = 0usize;
        while *self.phase.borrow_and_update() < Phase::Closing {
            let seats = Arc::clone(&self.seats);
            let seated = async {
                let seat = seats.acquire_owned().await;
                (seat, listener.accept().await)
            };
            let (seat, accepted) = tokio::select! {
                changed = self.phase.changed() => {
                    if changed.is_err() { return }
                    continue;
                }
                seated = seated => seated,
            };
            let Ok(seat) = seat else { return };
            match accepted {
                Ok((stream, _)) => {
                    self.deal(stream, seat, turn);
                    turn = turn.wrapping_add(1);
                }
                Err(error) => {
                    // Mostly out of descriptors: others must end first.
                    tracing::warn!(%error, "a connection of a peer could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn deal(&self, stream: TcpStream, seat: OwnedSemaphorePermit, turn: usize) {
        // The socket is registered anew with the runtime of its shard.
        let Ok(stream) = stream.into_std() else { return };
        let delivery = Arc::new(Delivery::default());
        let line = Line { door: Arc::clone(&self.door), delivery: Arc::clone(&delivery) };
        let (settings, phase) = (Arc::clone(&self.settings), self.phase.clone());
        let shard = &self.shards[turn % self.shards.len()];
        shard(Box::pin(async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                connection(Socket::new(stream, delivery, settings), line, phase).await;
            }
            drop(seat);
        }));
    }
}

/// What every connection leads to.
struct Door {
    /// Digest of the secret.
    secret: Option<[u8; 32]>,
    handler: Handler,
    /// Units of bodies that may be held at a time.
    room: Arc<Semaphore>,
}

/// The service of one connection.
struct Line {
    door: Arc<Door>,
    delivery: Arc<Delivery>,
}

/// A status and what it says.
type Refusal = (StatusCode, String);

impl Service<Request<Incoming>> for Line {
    type Response = Response<Outgoing>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Outgoing>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.delivery.enter(Stage::Busy);
        let (door, delivery) = (Arc::clone(&self.door), Arc::clone(&self.delivery));
        Box::pin(async move {
            let (head, body) = request.into_parts();
            delivery.set_unread(!body.is_end_stream());
            let answer = door.answer(&head, Source::new(body, Arc::clone(&delivery), BODY_MS));
            // A bug in one call must not end the process.
            let answer = AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
                tracing::error!("the handler of a call of a peer panicked");
                Err((StatusCode::INTERNAL_SERVER_ERROR, "a bug; see the log".to_owned()))
            });
            Ok(response(answer, delivery))
        })
    }
}

fn response(answer: Result<Vec<u8>, Refusal>, delivery: Arc<Delivery>) -> Response<Outgoing> {
    let (status, kind, bytes) = match answer {
        Ok(bytes) => (StatusCode::OK, OCTETS, bytes),
        Err((status, text)) => (status, "text/plain; charset=utf-8", (text + "\n").into_bytes()),
    };
    delivery.answer();
    // Whoever is refused has to begin anew, the more so if its body was left unread.
    let closing = status != StatusCode::OK || delivery.unread();
    let mut response = Response::new(Outgoing::bytes(delivery, bytes.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    if closing {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

impl Door {
    async fn answer(&self, head: &Parts, body: Source) -> Result<Vec<u8>, Refusal> {
        self.admit(head)?;
        let declared = declared(&body)?;
        let units = u32::try_from(declared.div_ceil(UNIT_BYTES).max(1)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(units).map_err(|_| {
            let most = limits::PEER_BODIES_BYTES_MAX;
            let text = format!("calls of nearly {most} B are in hand; try again");
            (StatusCode::SERVICE_UNAVAILABLE, text)
        })?;
        let bytes = collect(body, declared).await?;
        let answer = (self.handler)(bytes).await;
        drop(room);
        if answer.len() > limits::PEER_BYTES_MAX {
            let (len, most) = (answer.len(), limits::PEER_BYTES_MAX);
            let text = format!("the call was carried out; its answer has {len} B, most is {most}");
            return Err((StatusCode::INTERNAL_SERVER_ERROR, text));
        }
        Ok(answer)
    }

    /// Everything that can be said by the head alone; who it is comes first.
    fn admit(&self, head: &Parts) -> Result<(), Refusal> {
        let refuse = |status, text: &str| Err((status, text.to_owned()));
        if !self.knows(head) {
            let text = "node.secret here and at the caller differ; all instances need the same";
            return refuse(StatusCode::UNAUTHORIZED, text);
        }
        // On loopback there may be no secret, and a browser that is made to call.
        if head.headers.contains_key(ORIGIN) {
            return refuse(StatusCode::FORBIDDEN, "this is for instances of kwq, not for pages");
        }
        if head.uri.path() != PATH {
            return refuse(StatusCode::NOT_FOUND, "instances of kwq call POST /internal/call here");
        }
        if head.method != Method::POST {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "a call is a POST");
        }
        let octets = head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == OCTETS);
        if !octets || head.headers.contains_key(CONTENT_ENCODING) {
            let text = "the body must be application/octet-stream, without Content-Encoding";
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
        }
        Ok(())
    }

    /// Digests are compared, in a time that says nothing of how near a guess was. One side alone
    /// with a secret is a difference too: its calls back would be refused.
    fn knows(&self, head: &Parts) -> bool {
        let presented = auth::bearer(&head.headers).ok().map(digest::sha256);
        match (&self.secret, presented) {
            (Some(secret), Some(presented)) => auth::same(secret, &presented),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

/// Bytes the body will have.
fn declared(body: &Source) -> Result<usize, Refusal> {
    let Some(declared) = body.declared() else {
        let text = "say by Content-Length how long the body is";
        return Err((StatusCode::LENGTH_REQUIRED, text.to_owned()));
    };
    if declared > limits::PEER_BYTES_MAX {
        let text = format!("a call of {declared} B; at most {} B", limits::PEER_BYTES_MAX);
        return Err((StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    Ok(declared)
}

/// The whole body; the protocol below gives no more than was declared.
async fn collect(mut body: Source, declared: usize) -> Result<Bytes, Refusal> {
    // Not all at once: it was said, not sent.
    const FIRST_BYTES_MAX: usize = 1 << 20;
    let mut bytes = Vec::with_capacity(declared.min(FIRST_BYTES_MAX));
    loop {
        match body.next().await {
            Ok(Some(part)) => bytes.extend_from_slice(&part),
            Ok(None) => return Ok(bytes.into()),
            Err(problem) => {
                let slow = problem.reject.code == Code::RequestTimeout;
                let status =
                    if slow { StatusCode::REQUEST_TIMEOUT } else { StatusCode::BAD_REQUEST };
                return Err((status, problem.reject.detail.into_owned()));
            }
        }
    }
}

#[cfg(test)]
#[path = "internal_tests.rs"]
mod tests;
