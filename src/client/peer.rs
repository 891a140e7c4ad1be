//! Bytes to another instance, and bytes back: one POST a call, over kept connections.
//!
//! A call that fails has never come to the peer, or its outcome is not known; nothing is sent
//! twice. Only the pool below sends again what a connection that has ended gives back unbegun, so
//! a connection whose runtime has ended, or that the peer has closed, does no harm.
//!
//! Must not: know what the bytes mean, follow a redirect, or believe a peer a length.

use super::Error;
use super::call::root_cause;
use crate::model::limits;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Where a peer takes calls.
const PATH: &str = "/internal/call";
/// A peer that is there takes a connection within this time.
const CONNECT: Duration = Duration::from_secs(1);
/// Who took no connection within that time is not tried again for so long: while a network is cut,
/// peers are still heard of by way of the log, and each call would wait for them anew. Refusing at
/// once what would likely fail is the circuit breaker of M. Nygard, *Release It!*.
const SILENT: Duration = Duration::from_secs(2);
/// A connection without calls is used again within this time. The listener keeps it longer, so no
/// call meets one that is being closed.
const IDLE: Duration = Duration::from_secs(5);
/// That a peer does not let this instance in is said so often.
const TELL: Duration = Duration::from_secs(60);
/// Bytes that are reserved for an answer because its head says so.
const RESERVE_BYTES_MAX: u64 = 1 << 20;
/// Bytes that are read of a refusal.
const REFUSAL_BYTES_MAX: usize = 4 << 10;
/// Peers whose places are kept; of more the idle ones go.
const PEERS_KEPT: usize = 256;

/// A client of all other instances; cheap to clone.
#[derive(Clone)]
pub struct PeerClient {
    http: reqwest::Client,
    authorization: Option<HeaderValue>,
    /// By address: a peer that hangs takes nothing from the others.
    peers: Arc<Mutex<BTreeMap<String, Known>>>,
}

/// What is kept of one peer.
struct Known {
    /// Places for calls.
    places: Arc<Semaphore>,
    /// It took no connection; until then none is tried.
    silent_until: Option<Instant>,
    /// It was said that it does not let this instance in.
    told_at: Option<Instant>,
}

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Nobody listens there: the instance has ended. The call was not carried out.
    #[error("nobody listens at the peer: {0}")]
    Gone(String),
    /// The call was not carried out: not let in, or no way there.
    #[error("the peer was not reached: {0}")]
    Unreached(String),
    /// It may have been carried out.
    #[error("it is not known what became of the call: {0}")]
    Unknown(String),
}

impl PeerClient {
    /// A client; nothing is connected yet.
    ///
    /// # Errors
    /// A secret that no header can carry.
    pub fn new(secret: Option<&str>) -> Result<Self, Error> {
        let authorization = secret.map(authorization).transpose()?;
        let http = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .tcp_nodelay(true)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(limits::PEER_CALLS_MAX)
            .build()
            .map_err(|error| Error::Setup(error.to_string()))?;
        Ok(Self { http, authorization, peers: Arc::default() })
    }

    /// Sends bytes to the instance at `addr` (host and port) and brings what it answers, within
    /// `limit`. Dropped, it closes its connection, by which the peer knows.
    ///
    /// # Errors
    /// No answer.
    pub async fn call(
        &self,
        addr: &str,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<Vec<u8>, PeerError> {
        let unreached = |why: String| PeerError::Unreached(format!("{addr}: {why}"));
        if body.len() > limits::PEER_BYTES_MAX {
            let most = limits::PEER_BYTES_MAX;
            return Err(unreached(format!("a call of {} B; at most {most} B", body.len())));
        }
        let url = address(addr).ok_or_else(|| unreached("no HOST:PORT".to_owned()))?;
        if self.known(addr, |peer| peer.silent_until).is_some_and(|end| Instant::now() < end) {
            return Err(unreached(format!("it took no connection within the last {SILENT:?}")));
        }
        let until = Instant::now() + limit;
        let place = tokio::time::timeout_at(until, self.place(addr)).await;
        let place = place.ok().flatten().ok_or_else(|| {
            let most = limits::PEER_CALLS_MAX;
            unreached(format!("{most} calls are under way; none ended within {limit:?}"))
        })?;
        let left = until.saturating_duration_since(Instant::now());
        let mut request = self.http.post(url).timeout(left);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let request = request.header(CONTENT_TYPE, "application/octet-stream").body(body);
        let fault = |error: &reqwest::Error| {
            if error.is_connect() && error.is_timeout() {
                let end = Instant::now() + SILENT;
                self.known(addr, |peer| peer.silent_until = Some(end));
            }
            fault(addr, limit, error)
        };
        let response = request.send().await.map_err(|error| fault(&error))?;
        if response.status() != reqwest::StatusCode::OK {
            if response.status() == reqwest::StatusCode::UNAUTHORIZED {
                self.say_not_let_in(addr);
            }
            return Err(refused(addr, response).await);
        }
        let (answer, whole) = read(response, limits::PEER_BYTES_MAX).await;
        drop(place);
        match whole {
            Ok(true) => Ok(answer),
            Ok(false) => {
                let most = limits::PEER_BYTES_MAX;
                Err(PeerError::Unknown(format!("{addr}: the answer has more than {most} B")))
            }
            Err(error) => Err(fault(&error)),
        }
    }

    /// An operator must hear of it, but not with each call.
    fn say_not_let_in(&self, addr: &str) {
        let now = Instant::now();
        let first = |peer: &mut Known| {
            let told = peer.told_at.is_some_and(|at| now - at < TELL);
            if !told {
                peer.told_at = Some(now);
            }
            !told
        };
        if self.known(addr, first) {
            tracing::error!(
                peer = addr,
                "an instance does not let this one in: node.secret there and here differ; set the \
                 same for all"
            );
        }
    }

    /// Waits for a place among the calls of one peer.
    async fn place(&self, addr: &str) -> Option<OwnedSemaphorePermit> {
        let places = self.known(addr, |peer| Arc::clone(&peer.places));
        places.acquire_owned().await.ok()
    }

    /// Reads or changes what is kept of a peer.
    fn known<T>(&self, addr: &str, act: impl FnOnce(&mut Known) -> T) -> T {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= PEERS_KEPT && !peers.contains_key(addr) {
            // Whoever waits or calls holds the places too.
            peers.retain(|_, peer| Arc::strong_count(&peer.places) > 1);
        }
        let new = || Known {
            places: Arc::new(Semaphore::new(limits::PEER_CALLS_MAX)),
            silent_until: None,
            told_at: None,
        };
        act(peers.entry(addr.to_owned()).or_insert_with(new))
    }
}

fn authorization(secret: &str) -> Result<HeaderValue, Error> {
    let value = HeaderValue::try_from(format!("Bearer {secret}"));
    let mut value =
        value.map_err(|_| Error::Setup("the secret is no text for a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `None` for anything but a host and a port: the secret goes there.
/// Does anybody take connections at `addr` (host and port)? Blocks for 1 s at most.
#[must_use]
pub fn listens(addr: &str) -> bool {
    let mut addrs = addr.to_socket_addrs().into_iter().flatten();
    addrs.next().is_some_and(|addr| TcpStream::connect_timeout(&addr, CONNECT).is_ok())
}

fn address(addr: &str) -> Option<reqwest::Url> {
    let mut url = reqwest::Url::parse(&format!("http://{addr}/")).ok()?;
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let nobody = url.username().is_empty() && url.password().is_none();
    if !plain || !nobody || url.host_str().is_none() {
        return None;
    }
    url.set_path(PATH);
    Some(url)
}

/// Reads a body up to a bound; false: there is more.
async fn read(
    mut response: reqwest::Response,
    most: usize,
) -> (Vec<u8>, Result<bool, reqwest::Error>) {
    let declared = response.content_length().unwrap_or_default().min(RESERVE_BYTES_MAX);
    let mut bytes = Vec::with_capacity(usize::try_from(declared).unwrap_or_default());
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > most => return (bytes, Ok(false)),
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return (bytes, Ok(true)),
            Err(error) => return (bytes, Err(error)),
        }
    }
}

/// What a refusal means: a listener refuses before it hands a call on, so its refusals and those
/// of whoever else took over its port are *not reached*.
async fn refused(addr: &str, response: reqwest::Response) -> PeerError {
    let status = response.status();
    if status == reqwest::StatusCode::UNAUTHORIZED {
        return PeerError::Unreached(format!(
            "{addr} did not let this instance in: node.secret there and here differ"
        ));
    }
    let (bytes, _) = read(response, REFUSAL_BYTES_MAX).await;
    let told = String::from_utf8_lossy(&bytes);
    let told: String = told.chars().filter(|c| !c.is_control()).take(300).collect();
    let text = format!("{addr} answered {}: {told}", status.as_u16());
    if status.is_client_error() || status == reqwest::StatusCode::SERVICE_UNAVAILABLE {
        PeerError::Unreached(text)
    } else {
        PeerError::Unknown(text)
    }
}

/// What a failure of the transport means.
fn fault(addr: &str, limit: Duration, error: &reqwest::Error) -> PeerError {
    let cause = root_cause(error);
    if error.is_connect() && is_refused(error) {
        return PeerError::Gone(format!("{addr}: {cause}"));
    }
    if error.is_connect() || error.is_builder() {
        return PeerError::Unreached(format!("{addr}: {cause}"));
    }
    if error.is_timeout() {
        return PeerError::Unknown(format!("{addr}: no answer within {limit:?}"));
    }
    PeerError::Unknown(format!("{addr}: the connection broke: {cause}"))
}

/// The system of the peer says that nobody listens at that port.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let said = error.downcast_ref::<std::io::Error>();
        if said.is_some_and(|said| said.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
