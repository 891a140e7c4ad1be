//! Who is woken, and that no promise is lost.

use super::{Hub, Place, Wake, Wish};
use crate::model::id::{Name, PartitionId};
use std::sync::Arc;

const P: PartitionId = PartitionId(0);
const LEVEL: u16 = 1 << 5;

fn name(text: &str) -> Name {
    Name::from(text)
}

fn wish(worker: &str, max: usize) -> Wish {
    Wish { key: (name(worker), None), levels: u16::MAX, max, choosy: false }
}

fn hub() -> Arc<Hub> {
    Arc::new(Hub::new(1, 10))
}

fn park<'a>(hub: &'a Hub, worker: &str) -> Place<'a> {
    hub.park(wish(worker, 1), None).expect("a place")
}

fn woken(place: &mut Place<'_>) -> Option<Wake> {
    place.woken.try_recv().ok()
}

#[test]
fn as_many_are_woken_as_can_be_served_longest_waiting_first() {
    let hub = hub();
    let (mut a, mut b, mut c) = (park(&hub, "a"), park(&hub, "b"), park(&hub, "c"));
    hub.publish(P, LEVEL, 2, true);
    assert!(matches!((woken(&mut a), woken(&mut b)), (Some(Wake::Work(_)), Some(Wake::Work(_)))));
    hub.publish(P, LEVEL, 2, true);
    assert_eq!(hub.waiting(), 0, "both promises ended: the third is woken");
    assert!(matches!(woken(&mut c), Some(Wake::Work(_))));
}

#[test]
fn a_promise_is_spoken_for_until_it_ends() {
    let hub = hub();
    let (mut a, mut b) = (park(&hub, "a"), park(&hub, "b"));
    hub.publish(P, LEVEL, 1, true);
    let promise = woken(&mut a).expect("woken");
    hub.publish(P, LEVEL, 1, true);
    assert!(woken(&mut b).is_none(), "the one task is spoken for");
    drop(promise);
    assert!(matches!(woken(&mut b), Some(Wake::Work(_))), "what a left is for b");
}

#[test]
fn a_wake_nobody_read_goes_to_the_next() {
    let hub = hub();
    let a = park(&hub, "a");
    let mut b = park(&hub, "b");
    hub.publish(P, LEVEL, 1, true);
    // Its wait ended in the same moment.
    drop(a);
    assert!(matches!(woken(&mut b), Some(Wake::Work(_))));
}

#[test]
fn a_caller_that_has_gone_is_passed_over() {
    let hub = hub();
    let mut a = park(&hub, "a");
    a.woken.close();
    let mut b = park(&hub, "b");
    hub.publish(P, LEVEL, 1, true);
    assert!(matches!(woken(&mut b), Some(Wake::Work(_))));
}

#[test]
fn nothing_on_offer_wakes_nobody() {
    let hub = hub();
    let mut a = park(&hub, "a");
    hub.publish(P, 0, 0, true);
    hub.wake_all();
    assert!(woken(&mut a).is_none());
    let mut narrow = hub.park(Wish { levels: 1 << 9, ..wish("n", 1) }, None).expect("a place");
    hub.publish(P, LEVEL, 5, true);
    assert!(woken(&mut narrow).is_none(), "no work on its level");
}

#[test]
fn an_offer_goes_from_one_choosy_consume_to_the_next() {
    let hub = hub();
    let choosy = |worker| hub.park(Wish { choosy: true, ..wish(worker, 1) }, None).expect("place");
    let (mut a, mut b, mut c) = (choosy("a"), choosy("b"), choosy("c"));
    hub.publish(P, LEVEL, 1, true);
    let look = woken(&mut a).expect("the longest waiting looks first");
    assert!(woken(&mut b).is_none());
    drop(look);
    let look = woken(&mut b).expect("then the next");
    let mut again = hub.park(Wish { choosy: true, ..wish("a", 1) }, Some(a.number)).expect("place");
    drop(look);
    drop(woken(&mut c).expect("then the last"));
    assert!(woken(&mut again).is_none(), "the offer was seen by all");
}

#[test]
fn a_look_that_moved_nothing_is_no_news() {
    let hub = hub();
    hub.publish(P, LEVEL, 1, true);
    let before = hub.published();
    hub.publish(P, LEVEL, 1, false);
    assert_eq!(hub.published(), before);
    hub.publish(P, LEVEL, 2, false);
    assert_eq!(hub.published(), before + 1, "a delay that is over needs no event");
}

#[test]
fn a_newer_consume_of_a_worker_ends_the_older() {
    let hub = hub();
    let mut old = park(&hub, "w");
    let mut new = park(&hub, "w");
    assert!(matches!(woken(&mut old), Some(Wake::Leave)));
    drop(old);
    hub.publish(P, LEVEL, 1, true);
    assert!(matches!(woken(&mut new), Some(Wake::Work(_))));
}

#[test]
fn a_full_or_shut_hub_parks_nobody() {
    let hub = Arc::new(Hub::new(1, 1));
    let mut a = park(&hub, "a");
    assert!(hub.park(wish("b", 1), None).is_none());
    hub.shut();
    assert!(matches!(woken(&mut a), Some(Wake::Leave)));
    assert!(hub.park(wish("c", 1), None).is_none());
}

#[test]
fn a_consume_that_is_awake_while_its_worker_is_sent_away_does_not_come_back() {
    let hub = hub();
    let mut a = park(&hub, "a");
    hub.publish(P, LEVEL, 1, true);
    let number = a.number;
    drop((woken(&mut a), a));
    hub.dismiss("a");
    assert!(hub.park(wish("a", 1), Some(number)).is_none());
    assert!(hub.park(wish("a", 1), None).is_some(), "a new one is welcome");
}
