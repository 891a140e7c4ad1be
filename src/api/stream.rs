//! Bodies that are made while they are sent. The next piece is made when the socket has taken the
//! one before, so a slow reader holds one piece; one that stops reading meets `http.write-stall`.

use crate::api::context::Phase;
use futures_util::{Stream, StreamExt as _};
use hyper::body::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A stream that is silent for this long says that it is alive.
pub(crate) const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// Why a body ends before its end: the connection breaks, so that its reader knows.
#[derive(Debug, thiserror::Error)]
#[error("the body cannot go on: {0}")]
pub(crate) struct Broken(pub(crate) String);

pub(crate) type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, Broken>> + Send>>;

/// A body on its way through an answer, which is taken out once.
#[derive(Clone)]
pub(crate) struct Streaming {
    pieces: Arc<Mutex<Option<Pieces>>>,
    /// It is never whole, so its reader need not know whether it is.
    endless: bool,
}

impl Streaming {
    pub(crate) fn new(pieces: Pieces) -> Self {
        Self { pieces: Arc::new(Mutex::new(Some(pieces))), endless: false }
    }

    /// A body that may end well at any time.
    pub(crate) fn endless(pieces: Pieces) -> Self {
        Self { endless: true, ..Self::new(pieces) }
    }

    pub(crate) fn take(&self) -> Option<Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The same body, but it ends, or breaks off if it has an end, when its reader may read no
    /// more.
    pub(crate) fn until(self, ended: impl Future<Output = ()> + Send + 'static) -> Self {
        let Some(pieces) = self.take() else { return self };
        let endless = self.endless;
        let state = Some((pieces, Box::pin(ended)));
        let until = futures_util::stream::unfold(state, move |state| async move {
            let (mut pieces, mut ended) = state?;
            tokio::select! {
                biased;
                () = &mut ended => {
                    let broken = || Broken("its token is not in force any more".to_owned());
                    (!endless).then(|| (Err(broken()), None))
                }
                piece = pieces.next() => piece.map(|piece| (piece, Some((pieces, ended)))),
            }
        });
        Self { endless, ..Self::new(Box::pin(until)) }
    }
}

impl std::fmt::Debug for Streaming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Streaming")
    }
}

/// When an endless body has to say something, and when it has to end.
pub(crate) struct Pulse {
    phase: watch::Receiver<Phase>,
    spoke: Instant,
}

impl Pulse {
    pub(crate) fn new(phase: watch::Receiver<Phase>) -> Self {
        Self { phase, spoke: Instant::now() }
    }

    /// Something is about to be sent.
    pub(crate) fn speak(&mut self) {
        self.spoke = Instant::now();
    }

    /// Silent for too long.
    pub(crate) fn due(&self) -> bool {
        self.spoke.elapsed() >= ALIVE_EVERY
    }

    /// Time until it has been silent for too long.
    pub(crate) fn left(&self) -> Duration {
        ALIVE_EVERY.saturating_sub(self.spoke.elapsed())
    }

    /// Waits; false when the server drains, which ends every endless body.
    pub(crate) async fn rest(&mut self, time: Duration) -> bool {
        tokio::select! {
            biased;
            _ = self.phase.wait_for(|phase| *phase >= Phase::Draining) => false,
            () = tokio::time::sleep(time) => true,
        }
    }
}
