//! Our own accept loop: caps, timers, `TCP_NODELAY`, round-robin over the shards, drain. warp's own
//! loop has none of them
//! (measured: silent, half-sent and idle connections were all open after 75 s).

use crate::api::context::ApiContext;
use crate::api::routes;
use crate::config::Http;
use crate::metrics::{ConnectionKind, Metrics, Refusal};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

/// Runs a future on one shard's thread.
pub type Spawner = Arc<dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync>;

/// Bytes of a request head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// Pause after an accept error such as too many open files, ms.
const ACCEPT_PAUSE_MS: u64 = 50;

/// A running server.
pub struct ServerHandle {
    addr: SocketAddr,
    open: Arc<Open>,
    drain: watch::Sender<bool>,
    context: ApiContext,
    stop: Arc<AtomicBool>,
}

/// Open connections, in all and by address.
#[derive(Default)]
struct Open {
    count: AtomicUsize,
    by_address: Mutex<BTreeMap<IpAddr, usize>>,
}

impl Open {
    fn enter(self: &Arc<Self>, address: IpAddr, http: &Http, metrics: &Metrics) -> Option<Place> {
        if self.count.load(Ordering::Acquire) >= http.max_connections {
            return None;
        }
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let here = by_address.entry(address).or_insert(0);
        if *here >= http.max_per_address {
            return None;
        }
        *here += 1;
        self.count.fetch_add(1, Ordering::AcqRel);
        metrics.connection_opened(ConnectionKind::Open);
        Some(Place { open: Arc::clone(self), address, metrics: metrics.clone() })
    }
}

/// One open connection; given up on drop.
struct Place {
    open: Arc<Open>,
    address: IpAddr,
    metrics: Metrics,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.count.fetch_sub(1, Ordering::AcqRel);
        self.metrics.connection_closed(ConnectionKind::Open);
        let mut by_address = self.open.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

/// Starts the accept loop on a thread of its own.
///
/// # Errors
/// The listener or the thread could not be had.
pub fn start(
    listener: TcpListener,
    shards: Vec<Spawner>,
    http: &Http,
    context: ApiContext,
) -> io::Result<ServerHandle> {
    let addr = listener.local_addr()?;
    let (drain, draining) = watch::channel(false);
    let open = Arc::new(Open::default());
    let stop = Arc::new(AtomicBool::new(false));
    let http = Arc::new(http.clone());
    let loop_state = Acceptor {
        open: Arc::clone(&open),
        stop: Arc::clone(&stop),
        context: context.clone(),
        draining,
        http,
        shards,
    };
    crate::telemetry::spawn_thread("kwq-accept", move || loop_state.run(&listener))?;
    Ok(ServerHandle { addr, open, drain, context, stop })
}

struct Acceptor {
    open: Arc<Open>,
    stop: Arc<AtomicBool>,
    context: ApiContext,
    draining: watch::Receiver<bool>,
    http: Arc<Http>,
    shards: Vec<Spawner>,
}

impl Acceptor {
    fn run(&self, listener: &TcpListener) {
        let mut next = 0;
        while !self.stop.load(Ordering::Acquire) {
            match listener.accept() {
                Ok((stream, peer)) => {
                    self.deal(stream, peer, next);
                    next = (next + 1) % self.shards.len();
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    std::thread::park_timeout(Duration::from_millis(ACCEPT_PAUSE_MS));
                }
            }
        }
    }

    fn deal(&self, stream: TcpStream, peer: SocketAddr, shard: usize) {
        let Some(place) = self.open.enter(peer.ip(), &self.http, &self.context.metrics) else {
            self.context.metrics.http_refused(Refusal::Cap);
            return;
        };
        let ready = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true));
        if let Err(error) = ready {
            tracing::debug!(%error, "a connection was gone before it was served");
            return;
        }
        let (http, context) = (Arc::clone(&self.http), self.context.clone());
        let draining = self.draining.clone();
        (self.shards[shard])(Box::pin(async move {
            serve(stream, http, context, draining).await;
            drop(place);
        }));
    }
}

async fn serve(
    stream: TcpStream,
    http: Arc<Http>,
    context: ApiContext,
    mut draining: watch::Receiver<bool>,
) {
    let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { return };
    let mut first = [0u8; 1];
    let wait = Duration::from_millis(http.first_byte_ms);
    match tokio::time::timeout(wait, stream.peek(&mut first)).await {
        Ok(Ok(read)) if read > 0 => {}
        _ => {
            context.metrics.http_refused(Refusal::Timeout);
            return;
        }
    }
    let io = TokioIo::new(Stalls::new(stream, &http));
    let service = TowerToHyperService::new(warp::service(routes::service(context)));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(http.head_ms.max(http.idle_ms)))
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX.max(512 << 10))
        .half_close(false);
    let connection = builder.serve_connection::<_, _>(io, service);
    tokio::pin!(connection);
    let drained = async move {
        // The guard inside must not live across an await.
        drop(draining.wait_for(|drain| *drain).await);
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drained => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// A stream that is cut when the peer stops taking what we write.
struct Stalls {
    inner: tokio::net::TcpStream,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Stalls {
    fn new(inner: tokio::net::TcpStream, http: &Http) -> Self {
        Self { inner, limit: Duration::from_millis(http.write_stall_ms), stalled: None }
    }

    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let until = Instant::now() + self.limit;
        let sleep = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if sleep.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncRead for Stalls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stalls {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.watch(cx, wrote)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watch(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

impl ServerHandle {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections close after the answer they owe.
    pub fn begin_drain(&self) {
        self.context.closing.store(true, Ordering::Release);
        self.drain.send_replace(true);
    }

    /// Waits until all connections are gone, at most this long, and stops accepting.
    pub fn shutdown(&self, limit: Duration) {
        let step = Duration::from_millis(20);
        let mut waited = Duration::ZERO;
        while self.open.count.load(Ordering::Acquire) > 0 && waited < limit {
            std::thread::park_timeout(step);
            waited += step;
        }
        self.stop.store(true, Ordering::Release);
        // One connection of our own lets the blocked accept see the flag.
        drop(TcpStream::connect_timeout(&self.addr, step));
    }
}
