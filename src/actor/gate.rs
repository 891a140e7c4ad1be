//! The command stream of a partition: whole chunks of what is ready, and nothing while too many
//! appends are open.

use crate::actor::engine::unavailable;
use crate::actor::envelope::{Envelope, Work};
use crate::model::id::Position;
use crate::model::limits;
use crate::model::reply::{Decided, Reply};
use futures_util::Stream;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::sync::mpsc;

/// Appends in flight; the stream pauses at the limit and while the gate is shut.
#[derive(Default)]
pub(crate) struct Gate {
    open: Cell<usize>,
    shut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Gate {
    pub(crate) fn begin(&self) {
        self.open.set(self.open.get() + 1);
    }

    pub(crate) fn end(&self) {
        self.open.set(self.open.get().saturating_sub(1));
        self.wake();
    }

    pub(crate) fn shut(&self, shut: bool) {
        self.shut.set(shut);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn passes(&self) -> bool {
        !self.shut.get() && self.open.get() < limits::TICKETS_OPEN_MAX
    }
}

/// Yields up to [`limits::TURN_COMMANDS`] envelopes at a time.
pub(crate) struct Commands {
    pub(crate) receiver: mpsc::Receiver<Envelope>,
    pub(crate) gate: Rc<Gate>,
}

/// What nobody has looked at when the partition goes was not applied, and is told so.
impl Drop for Commands {
    fn drop(&mut self) {
        self.receiver.close();
        while let Ok(envelope) = self.receiver.try_recv() {
            if let Work::Decide(_, reply) = envelope.work {
                let refused = Reply::Refused(unavailable());
                // The caller may have gone.
                drop(reply.send(Decided { reply: refused, position: Position(0) }));
            }
        }
    }
}

impl Stream for Commands {
    type Item = Vec<Envelope>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.gate.passes() {
            *self.gate.waker.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut chunk = Vec::new();
        match self.receiver.poll_recv_many(cx, &mut chunk, limits::TURN_COMMANDS) {
            Poll::Ready(0) => Poll::Ready(None),
            Poll::Ready(_) => Poll::Ready(Some(chunk)),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actor::envelope::Backlog;
    use crate::model::command::{Class, Command};
    use crate::model::reject::Code;
    use crate::model::time::Tick;
    use tokio::sync::oneshot;

    #[test]
    fn what_is_left_in_the_channel_is_refused_as_not_applied() {
        let (sender, receiver) = mpsc::channel(4);
        let commands = Commands { receiver, gate: Rc::default() };
        let (reply, mut answer) = oneshot::channel();
        let work = Work::Decide(Command::Tick, reply);
        let envelope = Envelope {
            work,
            class: Class::Report,
            held: Backlog::default().hold(0),
            sent: Tick(0),
        };
        assert!(sender.try_send(envelope).is_ok(), "there is room");
        drop(commands);
        let Reply::Refused(reject) = answer.try_recv().expect("an answer").reply else {
            panic!("it was decided");
        };
        assert!(reject.not_applied && reject.code == Code::PartitionUnavailable);
    }
}
