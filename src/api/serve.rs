//! The accept loop: caps, one task a connection on a shard's runtime, drain.
//!
//! One thread accepts and deals connections round-robin; the kernel's own sharing of a port deals
//! unevenly.

use crate::api::context::{ApiContext, Phase, Shared};
use crate::api::delivery::{Delivery, Outgoing};
use crate::api::front::Front;
use crate::api::io::{Ended, Socket};
use crate::api::routes::Routes;
use crate::config::Http;
use crate::metrics::{ConnectionKind, Metrics, Refusal};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// Runs a future on the runtime of one shard. Called from the acceptor's thread.
pub type Spawner = Arc<dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync>;

/// Bytes of a request head the protocol reads before it refuses by itself; the front refuses from
/// 16 KiB on.
const HEAD_BYTES_READ_MAX: usize = 64 << 10;
/// Between two looks whether all connections are gone.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// For connections to notice that they are cut.
pub(crate) const CUT_WAIT: Duration = Duration::from_secs(1);

/// Counts open connections, in all and by address.
struct Ledger {
    metrics: Metrics,
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    freed: Notify,
}

/// The place of one connection in the ledger.
struct Seat {
    ledger: Arc<Ledger>,
    address: IpAddr,
}

impl Ledger {
    fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            open: AtomicUsize::new(0),
            by_address: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// `None` when the address has all it may have.
    fn seat(self: &Arc<Self>, address: IpAddr, max: usize) -> Option<Seat> {
        let mut map = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = map.entry(address).or_default();
        if *count >= max {
            self.metrics.http_refused(Refusal::Cap);
            return None;
        }
        *count += 1;
        self.open.fetch_add(1, Ordering::Relaxed);
        self.metrics.connection_opened(ConnectionKind::Open);
        Some(Seat { ledger: self.clone(), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut map = self.ledger.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = map.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                map.remove(&self.address);
            }
        }
        drop(map);
        self.ledger.open.fetch_sub(1, Ordering::Relaxed);
        self.ledger.metrics.connection_closed(ConnectionKind::Open);
        self.ledger.freed.notify_waiters();
    }
}

/// A running server.
pub struct ServerHandle {
    addr: SocketAddr,
    phase: watch::Sender<Phase>,
    ledger: Arc<Ledger>,
}

impl ServerHandle {
    /// The address that is listened on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.ledger.open.load(Ordering::Relaxed)
    }

    /// Parked and new consumes answer 204, new submits 503 `draining`; reports go on.
    pub fn begin_drain(&self) {
        advance(&self.phase, Phase::Draining);
    }

    /// Stops accepting, lets every connection end after the request in hand, cuts the rest after
    /// `timeout`.
    pub fn shutdown(&self, timeout: Duration) {
        advance(&self.phase, Phase::Closing);
        if !emptied_within(|| self.connections(), timeout) {
            tracing::warn!(connections = self.connections(), "connections cut at shutdown");
        }
        advance(&self.phase, Phase::Ended);
        if !emptied_within(|| self.connections(), CUT_WAIT) {
            tracing::warn!(connections = self.connections(), "connections outlive their end");
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        advance(&self.phase, Phase::Ended);
    }
}

/// Goes on to a phase, never back.
pub(crate) fn advance(phase: &watch::Sender<Phase>, to: Phase) {
    phase.send_if_modified(|phase| {
        let forward = *phase < to;
        if forward {
            *phase = to;
        }
        forward
    });
}

/// Waits until nothing is open; false: something still is.
pub(crate) fn emptied_within(open: impl Fn() -> usize, limit: Duration) -> bool {
    let mut waited = Duration::ZERO;
    while open() > 0 {
        if waited >= limit {
            return false;
        }
        std::thread::park_timeout(LOOK_INTERVAL);
        waited += LOOK_INTERVAL;
    }
    true
}

/// Begins to serve on a bound listener. Connections are dealt to `shards` in turn.
///
/// # Errors
/// When there is no shard, or the listener or the acceptor's thread cannot be set up.
pub fn start(
    listener: std::net::TcpListener,
    shards: Vec<Spawner>,
    context: ApiContext,
) -> io::Result<ServerHandle> {
    if shards.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no shard to serve on"));
    }
    let addr = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let (sender, phase) = watch::channel(Phase::Serving);
    let settings = Arc::new(context.config.http.clone());
    let ledger = Arc::new(Ledger::new(context.metrics.clone()));
    let shared = Arc::new(Shared::new(context, phase.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let acceptor = Acceptor {
        shards,
        settings,
        routes: Arc::new(Routes::new()),
        shared,
        ledger: ledger.clone(),
        phase,
    };
    crate::telemetry::spawn_thread("kwq-accept", move || {
        runtime.block_on(async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => acceptor.run(listener).await,
                Err(error) => tracing::error!(%error, "the listener cannot be used"),
            }
        });
    })?;
    Ok(ServerHandle { addr, phase: sender, ledger })
}

struct Acceptor {
    shards: Vec<Spawner>,
    settings: Arc<Http>,
    routes: Arc<Routes>,
    shared: Arc<Shared>,
    ledger: Arc<Ledger>,
    phase: watch::Receiver<Phase>,
}

impl Acceptor {
    async fn run(mut self, listener: TcpListener) {
        let mut turn = 0usize;
        while *self.phase.borrow_and_update() < Phase::Closing {
            let ledger = self.ledger.clone();
            let mut freed = std::pin::pin!(ledger.freed.notified());
            freed.as_mut().enable();
            let full = ledger.open.load(Ordering::Relaxed) >= self.settings.max_connections;
            let accepted = tokio::select! {
                changed = self.phase.changed() => {
                    if changed.is_err() { return }
                    continue;
                }
                () = freed, if full => continue,
                accepted = listener.accept(), if !full => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    self.deal(stream, peer, turn);
                    turn = turn.wrapping_add(1);
                }
                Err(error) => {
                    // Mostly out of descriptors: others must end first.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn deal(&self, stream: TcpStream, peer: SocketAddr, turn: usize) {
        let address = peer.ip().to_canonical();
        let Some(seat) = self.ledger.seat(address, self.settings.max_per_address) else { return };
        // The socket is registered anew with the runtime of its shard.
        let Ok(stream) = stream.into_std() else { return };
        let delivery = Arc::new(Delivery::default());
        let front = Front::new(self.shared.clone(), self.routes.clone(), delivery.clone(), address);
        let (settings, phase) = (Arc::clone(&self.settings), self.phase.clone());
        let shard = &self.shards[turn % self.shards.len()];
        shard(Box::pin(async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                let socket = Socket::new(stream, delivery, settings);
                if connection(socket, front, phase).await == Ended::TimedOut {
                    seat.ledger.metrics.http_refused(Refusal::Timeout);
                }
            }
            drop(seat);
        }));
    }
}

/// One connection to its end, whatever serves it.
pub(crate) async fn connection<S>(
    socket: Socket,
    service: S,
    mut phase: watch::Receiver<Phase>,
) -> Ended
where
    S: Service<Request<Incoming>, Response = Response<Outgoing>, Error = Infallible> + Unpin,
    S::Future: Unpin,
{
    drop(socket.set_nodelay());
    let mut conn = http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(HEAD_BYTES_READ_MAX)
        .serve_connection(TokioIo::new(socket), service);
    loop {
        tokio::select! {
            biased;
            ended = poll_fn(|cx| conn.poll_without_shutdown(cx)) => {
                if let Err(error) = ended {
                    tracing::trace!(%error, "connection ended");
                }
                break;
            }
            changed = phase.changed() => {
                let now = *phase.borrow_and_update();
                if changed.is_err() || now == Phase::Ended {
                    return Ended::Normally;
                }
                if now == Phase::Closing {
                    Pin::new(&mut conn).graceful_shutdown();
                }
            }
        }
    }
    conn.into_parts().io.into_inner().linger().await
}
