//! What happens to an answer after the handler: the body on its way to the socket, and hand-outs
//! that did not get there.
//!
//! ```text
//!   handler ─► Outgoing (armed) ─ frame taken ─► Delivery.waiting ─ socket took all ─► disarmed
//!                  └── dropped before that ──────────┴─► undeliver: the leases go back at once
//! ```

use crate::actor::handle::KwqHandle;
use crate::actor::request::ConsumeAnswer;
use crate::api::stream::{Pieces, Streaming};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

/// Hand-outs that are given back when dropped, unless they were delivered.
pub(crate) struct HandOuts {
    handle: KwqHandle,
    answer: Option<ConsumeAnswer>,
}

impl std::fmt::Debug for HandOuts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandOuts").field("armed", &self.answer.is_some()).finish()
    }
}

impl HandOuts {
    /// `None` when nothing was handed out.
    pub(crate) fn of(handle: &KwqHandle, mut answer: ConsumeAnswer) -> Option<Self> {
        if answer.tasks.is_empty() {
            return None;
        }
        // The payload is in the body already; only the leases are needed to give them back.
        answer.tasks.iter_mut().for_each(|task| task.spec.payload.bytes = Vec::new());
        Some(Self { handle: handle.clone(), answer: Some(answer) })
    }
}

impl HandOuts {
    /// The socket has them: dropping gives nothing back.
    fn delivered(mut self) {
        self.answer = None;
    }
}

impl Drop for HandOuts {
    fn drop(&mut self) {
        if let Some(answer) = &self.answer {
            self.handle.undeliver(answer);
        }
    }
}

/// What a connection is waiting for; decides which time limit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing was received yet.
    First,
    /// A request head has begun.
    Head,
    /// A request is in hand.
    Busy,
    /// Between requests.
    Idle,
}

/// Shared by the socket, the service and the bodies of one connection.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    waiting: Mutex<Vec<HandOuts>>,
    stage: AtomicU8,
    /// The body of the request in hand has not been read to its end.
    unread: AtomicBool,
    /// An answer of ours is on its way to the socket.
    answering: AtomicBool,
}

impl Delivery {
    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::First,
            1 => Stage::Head,
            2 => Stage::Busy,
            _ => Stage::Idle,
        }
    }
    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }
    pub(crate) fn set_unread(&self, unread: bool) {
        self.unread.store(unread, Ordering::Relaxed);
    }
    /// Then the connection cannot be used again, and its peer must be told.
    pub(crate) fn unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }
    /// A handler has answered.
    pub(crate) fn answer(&self) {
        self.answering.store(true, Ordering::Relaxed);
    }
    /// Whether what is written now is an answer of ours. If not, it is a refusal by the protocol
    /// below, of a head that never became a request.
    pub(crate) fn answering(&self) -> bool {
        self.stage() == Stage::Busy || self.answering.load(Ordering::Relaxed)
    }
    /// The socket took every byte given to it so far.
    pub(crate) fn flushed(&self) {
        if self.stage() != Stage::Busy {
            self.answering.store(false, Ordering::Relaxed);
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.drain(..).for_each(HandOuts::delivered);
    }
    fn taken(&self, hand_outs: HandOuts) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(hand_outs);
    }
}

/// The body of a response.
pub(crate) struct Outgoing {
    content: Content,
    delivery: Arc<Delivery>,
}

enum Content {
    Bytes(Option<Bytes>),
    Granted(Option<(Bytes, HandOuts)>),
    Warp(<warp::reply::Response as Inner>::Body),
    Stream(Pieces),
}

/// Names the body type of a response, which its crate does not export.
trait Inner {
    type Body;
}
impl<B> Inner for hyper::Response<B> {
    type Body = B;
}

impl Outgoing {
    pub(crate) fn bytes(delivery: Arc<Delivery>, bytes: Bytes) -> Self {
        let content = Content::Bytes(Some(bytes).filter(|b| !b.is_empty()));
        Self { content, delivery }
    }
    pub(crate) fn granted(delivery: Arc<Delivery>, bytes: Bytes, tasks: HandOuts) -> Self {
        Self { content: Content::Granted(Some((bytes, tasks))), delivery }
    }
    /// Takes over a response of the filters.
    pub(crate) fn from_warp(
        delivery: Arc<Delivery>,
        response: warp::reply::Response,
    ) -> hyper::Response<Self> {
        let mut response = response;
        let pieces = response.extensions_mut().remove::<Streaming>().and_then(|s| s.take());
        response.map(|body| {
            let content = pieces.map_or(Content::Warp(body), Content::Stream);
            Self { content, delivery }
        })
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.delivery.enter(Stage::Idle);
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        match &mut this.content {
            Content::Bytes(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Content::Granted(content) => {
                let Some((bytes, tasks)) = content.take() else { return Poll::Ready(None) };
                this.delivery.taken(tasks);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Content::Warp(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|f| f.map_err(Into::into)))
            }
            Content::Stream(pieces) => {
                let piece = pieces.as_mut().poll_next(cx);
                piece.map(|piece| piece.map(|p| p.map(Frame::data).map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Bytes(bytes) => bytes.is_none(),
            Content::Granted(content) => content.is_none(),
            Content::Warp(body) => body.is_end_stream(),
            Content::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let exact = |bytes: Option<&Bytes>| {
            let len = bytes.map_or(0, Bytes::len);
            SizeHint::with_exact(u64::try_from(len).unwrap_or(u64::MAX))
        };
        match &self.content {
            Content::Bytes(bytes) => exact(bytes.as_ref()),
            Content::Granted(content) => exact(content.as_ref().map(|(bytes, _)| bytes)),
            Content::Warp(body) => body.size_hint(),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests;
