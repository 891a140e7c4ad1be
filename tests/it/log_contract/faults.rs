//! The fault-injecting wrapper does what its script says, and nothing a reader could see.

use super::kit::*;
use kwq::log::faulty::{Fault, FaultyLog};
use kwq::log::memory::MemoryLog;
use kwq::log::{Batch, Error, EventLog, Room};
use kwq::model::id::Epoch;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

fn batch(epoch: Epoch, n: u64) -> Batch {
    Batch { epoch, events: vec![cancelled(n)].into() }
}

#[test]
fn a_refused_append_writes_nothing_and_the_next_goes_on() {
    let log = FaultyLog::new(MemoryLog::new());
    let epoch = own(&log, 0);
    log.inject(2, Fault::Refuse);
    put(&log, 0, epoch, vec![cancelled(1)]);
    assert!(matches!(log.append(p(0), batch(epoch, 2)), Err(Error::Full(_))));
    put(&log, 0, epoch, vec![cancelled(3)]);
    assert_eq!(all(&log).unwrap().len(), 3);
}

#[test]
fn after_a_failed_append_everything_fails() {
    let log = FaultyLog::new(MemoryLog::new());
    let epoch = own(&log, 0);
    log.inject(1, Fault::FailAppend);
    for n in 0..3 {
        assert!(matches!(log.append(p(0), batch(epoch, n)), Err(Error::Failed(_))));
    }
    assert_eq!(all(&log).unwrap().len(), 1);
}

#[test]
fn after_a_failed_ticket_every_later_ticket_fails_though_the_batches_are_there() {
    let log = FaultyLog::new(MemoryLog::new());
    let epoch = own(&log, 0);
    log.inject(2, Fault::FailTicket);
    log.hold();
    let tickets: Vec<_> = (0..4).map(|n| log.append(p(0), batch(epoch, n)).unwrap()).collect();
    log.release();
    let fine: Vec<_> = tickets.into_iter().map(|t| t.wait().is_ok()).collect();
    assert_eq!(fine, [true, false, false, false]);
    assert!(log.append(p(0), batch(epoch, 9)).is_err());
    assert_eq!(all(&log).unwrap().len(), 5);
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn held_tickets_resolve_in_order_when_they_may_pass() {
    let log = FaultyLog::new(MemoryLog::new());
    let epoch = own(&log, 0);
    log.hold();
    let first = log.append(p(0), batch(epoch, 1)).unwrap();
    let mut second = log.append(p(0), batch(epoch, 2)).unwrap();
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut cx = Context::from_waker(&waker);
    log.pass(1);
    first.wait().unwrap();
    assert!(Pin::new(&mut second).poll(&mut cx).is_pending());
    log.pass(1);
    while !flag.0.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(matches!(Pin::new(&mut second).poll(&mut cx), Poll::Ready(Ok(_))));
}

#[test]
fn the_room_shown_is_the_one_set() {
    let log = FaultyLog::new(MemoryLog::new());
    assert_eq!(log.room(), Room::Plenty);
    log.set_room(Some(Room::WorkOnly));
    assert_eq!(log.room(), Room::WorkOnly);
    log.set_room(None);
    assert_eq!(log.room(), Room::Plenty);
}
