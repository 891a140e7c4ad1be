//! When a hand-out counts as delivered.

use super::*;
use std::task::Waker;

fn outgoing(delivery: &Arc<Delivery>) -> Outgoing {
    let tasks = HandOuts {
        handle: crate::actor::handle::idle_engine(),
        answer: Some(ConsumeAnswer::default()),
    };
    Outgoing::granted(delivery.clone(), Bytes::from_static(b"{}"), tasks)
}

fn waiting(delivery: &Delivery) -> usize {
    delivery.waiting.lock().expect("not poisoned").len()
}

#[test]
fn a_hand_out_waits_from_its_last_byte_to_the_flush() {
    let delivery = Arc::new(Delivery::default());
    let mut body = outgoing(&delivery);
    assert_eq!(body.size_hint().exact(), Some(2));
    assert!(!body.is_end_stream());
    assert_eq!(waiting(&delivery), 0, "armed inside the body");
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(Pin::new(&mut body).poll_frame(&mut cx), Poll::Ready(Some(Ok(_)))));
    assert!(body.is_end_stream());
    assert_eq!(waiting(&delivery), 1, "armed until the socket has it");
    delivery.flushed();
    assert_eq!(waiting(&delivery), 0);
}

#[test]
fn the_connection_is_idle_once_the_body_is_gone() {
    let delivery = Arc::new(Delivery::default());
    delivery.enter(Stage::Busy);
    drop(outgoing(&delivery));
    assert_eq!(delivery.stage(), Stage::Idle);
}
