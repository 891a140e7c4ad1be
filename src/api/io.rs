//! The socket of a connection with its time limits: first byte, head, idle, write stall.
//!
//! The limits of the body are those of `call::Source`. A limit that is over looks like a broken
//! socket to the protocol above, which then drops the connection. A head that is refused, here or
//! there, is answered with a problem like every other refusal.

use crate::api::delivery::{Delivery, Stage};
use crate::api::head::{Fault, HeadCheck};
use crate::api::problem::Problem;
use crate::config::Http;
use crate::model::reject::Code;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Normally,
    TimedOut,
}

/// A socket that gives up.
pub(crate) struct Socket {
    stream: TcpStream,
    delivery: Arc<Delivery>,
    settings: Arc<Http>,
    reading: Timer,
    /// Stage seen at the latest read or flush, and since when.
    stage: (Stage, Instant),
    writing: Timer,
    stalled: Option<Instant>,
    timed_out: bool,
    /// The head that is being read; `None` once it is complete.
    head: Option<HeadCheck>,
    refused: Option<Fault>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, delivery: Arc<Delivery>, settings: Arc<Http>) -> Self {
        Self {
            stream,
            delivery,
            settings,
            reading: Timer::default(),
            stage: (Stage::First, Instant::now()),
            writing: Timer::default(),
            stalled: None,
            timed_out: false,
            head: None,
            refused: None,
        }
    }

    /// Small answers leave at once.
    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        self.stream.set_nodelay(true)
    }

    /// Ends the connection so that the peer can still read the last answer: closes our side, then
    /// takes what is still on its way, within bounds. Closing with unread bytes would reset the
    /// connection and lose the answer.
    pub(crate) async fn linger(mut self) -> Ended {
        const BYTES_MAX: usize = 4 << 20;
        const TIME: Duration = Duration::from_secs(1);
        if self.timed_out {
            return Ended::TimedOut;
        }
        if let Some((code, detail)) = self.refused {
            let refusal = Problem::new(code, detail).closing().to_http();
            if self.stream.write_all(&refusal).await.is_err() {
                return Ended::Normally;
            }
        }
        if self.stream.shutdown().await.is_err() {
            return Ended::Normally;
        }
        let drain = async {
            let (mut sink, mut taken) = (vec![0u8; 16 << 10], 0);
            while let Ok(n @ 1..) = self.stream.read(&mut sink).await {
                taken += n;
                if taken > BYTES_MAX {
                    break;
                }
            }
        };
        drop(tokio::time::timeout(TIME, drain).await);
        Ended::Normally
    }

    /// A limit counts from the moment its stage began.
    fn note_stage(&mut self) {
        let stage = self.delivery.stage();
        if stage != self.stage.0 {
            self.stage = (stage, Instant::now());
        }
    }

    fn read_deadline(&mut self) -> Option<Instant> {
        self.note_stage();
        let limit_ms = match self.stage.0 {
            Stage::First => self.settings.first_byte_ms,
            Stage::Head => self.settings.head_ms,
            Stage::Idle => self.settings.idle_ms,
            Stage::Busy => return None,
        };
        Some(self.stage.1 + Duration::from_millis(limit_ms))
    }

    /// Looks at what was read, as far as it is of a head.
    fn look(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        match self.delivery.stage() {
            Stage::First => self.head = Some(HeadCheck::default()),
            // An end of line in front is what is left of a head that was begun with the request
            // before it; its beginning was not seen here.
            Stage::Idle if matches!(bytes[0], b'\r' | b'\n') => self.head = None,
            Stage::Idle => self.head = Some(HeadCheck::default()),
            Stage::Head => {}
            Stage::Busy => {
                self.head = None;
                return Ok(());
            }
        }
        self.delivery.enter(Stage::Head);
        match self.head.as_mut().map(|head| head.feed(bytes)) {
            None | Some(Ok(false)) => {}
            Some(Ok(true)) => self.head = None,
            Some(Err(fault)) => {
                self.refused = Some(fault);
                return Err(io::Error::new(io::ErrorKind::InvalidData, fault.1));
            }
        }
        Ok(())
    }

    /// Takes a refusal of the protocol above for ours, which says more. True: nothing is to be
    /// written.
    fn translate(&mut self, buf: &[u8]) -> bool {
        if self.delivery.answering() {
            return false;
        }
        let fault = match buf.get(9..12) {
            Some(b"431") => (Code::HeadersTooLarge, "the head has more than 64 headers or 16 KiB"),
            Some(b"414") => (Code::UriTooLong, "the URI has more than 4 KiB"),
            _ => (Code::BadRequest, "the head is not HTTP/1.1"),
        };
        self.refused.get_or_insert(fault);
        true
    }

    fn over(&mut self, what: &'static str) -> io::Error {
        self.timed_out = true;
        io::Error::new(io::ErrorKind::TimedOut, what)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if let Poll::Ready(done) = Pin::new(&mut this.stream).poll_read(cx, buf) {
            let checked = this.look(&buf.filled()[before..]);
            return Poll::Ready(done.and(checked));
        }
        match this.read_deadline() {
            Some(deadline) if this.reading.over(cx, deadline) => {
                Poll::Ready(Err(this.over("the request did not come in time")))
            }
            Some(_) | None => Poll::Pending,
        }
    }
}

impl Socket {
    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        if self.writing.over(cx, since + Duration::from_millis(self.settings.write_stall_ms)) {
            return Poll::Ready(Err(self.over("the peer does not read")));
        }
        Poll::Pending
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.translate(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.wrote(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.translate(bufs.first().map_or(&[], |buf| buf)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        // The protocol flushes only after it has written all it had buffered.
        this.delivery.flushed();
        // Nobody reads before there is something to read, so the silence behind an answer is timed
        // from here: an earlier timer may have gone off while the call was at work.
        if let Some(deadline) = this.read_deadline()
            && this.reading.over(cx, deadline)
        {
            return Poll::Ready(Err(this.over("the request did not come in time")));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A timer that is touched only when a deadline comes nearer or has come: most deadlines are never
/// reached.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    fn over(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return true;
            }
            sleep.as_mut().reset(deadline);
        }
        false
    }
}
