//! Streams of server-sent events: how many may be open, and what ends one before its source does.

use crate::actor::handle::KwqHandle;
use crate::api::answer::Answer;
use crate::api::auth::{Caller, Guard};
use crate::api::call::Call;
use crate::api::stream::{Broken, Streaming};
use crate::metrics::{ConnectionKind, Metrics, ShedClass, ShedReason};
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// What a stream sends, piece by piece; the next is asked for when the socket has taken the one
/// before.
pub(crate) trait Source: Send + 'static {
    /// The next piece; `None` = the stream ends.
    fn piece(&mut self) -> impl Future<Output = Result<Option<Bytes>, Reject>> + Send;
}

/// The answer to a call: a stream that ends with its source or with the right to see it.
///
/// # Errors
/// `overloaded` when too many streams are open.
pub(crate) fn answer(call: &Call, source: impl Source) -> Result<Answer, Reject> {
    let stream = Open { source, pass: Pass::of(call), _seat: call.shared.seats.take(call)? };
    let pieces = futures_util::stream::unfold(Some(stream), |stream| async {
        let mut stream = stream?;
        match stream.source.piece().await {
            Ok(Some(bytes)) if stream.pass.holds() => Some((Ok(bytes), Some(stream))),
            Ok(_) => None,
            Err(reject) => Some((Err(Broken(reject.detail.to_string())), None)),
        }
    });
    let answer = Answer::typed(StatusCode::OK, EVENTS, Bytes::new());
    Ok(answer.streaming(Streaming::new(Box::pin(pieces))))
}

struct Open<S> {
    source: S,
    pass: Pass,
    _seat: Seat,
}

/// The right of a caller to a stream, which may outlive its token by far.
struct Pass {
    guard: Arc<Guard>,
    handle: KwqHandle,
    head: HeaderMap,
    peer: IpAddr,
    caller: Caller,
}

impl Pass {
    fn of(call: &Call) -> Self {
        let mut head = HeaderMap::new();
        if let Some(token) = call.head.headers.get(AUTHORIZATION) {
            head.insert(AUTHORIZATION, token.clone());
        }
        let api = &call.shared.api;
        let (guard, handle) = (Arc::clone(&api.guard), api.handle.clone());
        Self { guard, handle, head, peer: call.peer, caller: call.caller.clone() }
    }

    /// Is the token still in force, with the same roles and scopes?
    fn holds(&self) -> bool {
        let caller = self.guard.identify(&self.head, self.peer, self.handle.now());
        caller.is_ok_and(|caller| caller == self.caller)
    }
}

/// Places of streams. They are queries, which are shed first after submits: they may take a share
/// of the connections, and the rest is for everybody else.
pub(crate) struct Seats {
    open: AtomicUsize,
    max: usize,
    metrics: Metrics,
}

impl Seats {
    pub(crate) fn new(connections_max: usize, metrics: Metrics) -> Self {
        let max = (connections_max * limits::STREAMS_PERCENT / 100).max(1);
        Self { open: AtomicUsize::new(0), max, metrics }
    }

    fn take(self: &Arc<Self>, call: &Call) -> Result<Seat, Reject> {
        let next = |open: usize| (open < self.max).then_some(open + 1);
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        if self.open.fetch_update(set, get, next).is_err() {
            self.metrics.shed(ShedClass::Query, ShedReason::Connections);
            let detail = format!("{} streams of events are open", self.max);
            let jitter = 1_000 + call.shared.api.handle.random() % 2_000;
            return Err(Reject::new(Code::Overloaded, detail).retry_unapplied(jitter));
        }
        self.metrics.connection_opened(ConnectionKind::Sse);
        Ok(Seat(Arc::clone(self)))
    }
}

/// A place that is taken.
struct Seat(Arc<Seats>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.metrics.connection_closed(ConnectionKind::Sse);
    }
}
