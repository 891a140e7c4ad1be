//! Who is woken, and that no promise is lost.

use super::{Hub, Place, Wake, Wish};
use crate::core::fresh::ReadyWork;
use crate::model::access::Scopes;
use crate::model::id::{Name, PartitionId};
use crate::model::priority::Priority;
use std::sync::Arc;

const P: PartitionId = PartitionId(0);
const LEVEL: u16 = 1 << 5;

fn name(text: &str) -> Name {
    Name::from(text)
}

fn wish(worker: &str, max: usize) -> Wish {
    let (jobs, scopes, warm) = (Vec::new(), Scopes::default(), Some(Vec::new()));
    Wish { key: (name(worker), None), levels: u16::MAX, max, jobs, scopes, warm }
}

fn warm(worker: &str, keys: &[&str]) -> Wish {
    Wish { warm: Some(keys.iter().map(|key| name(key)).collect()), ..wish(worker, 1) }
}

/// Of one job and the level of the tests.
fn work(keys: &[(&str, u8)], count: u64) -> Vec<ReadyWork> {
    let level = Priority::DESCENDING.into_iter().find(|p| 1 << p.index() == LEVEL);
    let keys = keys.iter().map(|(key, weight)| (name(key), *weight)).collect();
    vec![ReadyWork { job: name("job"), level: level.expect("one of nine"), keys, count }]
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
    hub.publish(P, LEVEL, 2, true, Vec::new());
    assert!(matches!((woken(&mut a), woken(&mut b)), (Some(Wake::Work(_)), Some(Wake::Work(_)))));
    hub.publish(P, LEVEL, 2, true, Vec::new());
    assert_eq!(hub.waiting(), 0, "both promises ended: the third is woken");
    assert!(matches!(woken(&mut c), Some(Wake::Work(_))));
}

#[test]
fn a_promise_is_spoken_for_until_it_ends() {
    let hub = hub();
    let (mut a, mut b) = (park(&hub, "a"), park(&hub, "b"));
    hub.publish(P, LEVEL, 1, true, Vec::new());
    let promise = woken(&mut a).expect("woken");
    hub.publish(P, LEVEL, 1, true, Vec::new());
    assert!(woken(&mut b).is_none(), "the one task is spoken for");
    drop(promise);
    assert!(matches!(woken(&mut b), Some(Wake::Work(_))), "what a left is for b");
}

#[test]
fn a_wake_nobody_read_goes_to_the_next() {
    let hub = hub();
    let a = park(&hub, "a");
    let mut b = park(&hub, "b");
    hub.publish(P, LEVEL, 1, true, Vec::new());
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
    hub.publish(P, LEVEL, 1, true, Vec::new());
    assert!(matches!(woken(&mut b), Some(Wake::Work(_))));
}

#[test]
fn nothing_on_offer_wakes_nobody() {
    let hub = hub();
    let mut a = park(&hub, "a");
    hub.publish(P, 0, 0, true, Vec::new());
    hub.wake_all();
    assert!(woken(&mut a).is_none());
    let mut narrow = hub.park(Wish { levels: 1 << 9, ..wish("n", 1) }, None).expect("a place");
    hub.publish(P, LEVEL, 5, true, Vec::new());
    assert!(woken(&mut narrow).is_none(), "no work on its level");
}

#[test]
fn an_offer_goes_from_one_choosy_consume_to_the_next() {
    let hub = hub();
    let choosy = |worker| {
        hub.park(Wish { jobs: vec![name("job")], ..wish(worker, 1) }, None).expect("place")
    };
    let (mut a, mut b, mut c) = (choosy("a"), choosy("b"), choosy("c"));
    hub.publish(P, LEVEL, 1, true, Vec::new());
    let look = woken(&mut a).expect("the longest waiting looks first");
    assert!(woken(&mut b).is_none());
    drop(look);
    let look = woken(&mut b).expect("then the next");
    let mut again =
        hub.park(Wish { jobs: vec![name("job")], ..wish("a", 1) }, Some(a.number)).expect("place");
    drop(look);
    drop(woken(&mut c).expect("then the last"));
    assert!(woken(&mut again).is_none(), "the offer was seen by all");
}

#[test]
fn a_look_that_moved_nothing_is_no_news() {
    let hub = hub();
    hub.publish(P, LEVEL, 1, true, Vec::new());
    let before = hub.published();
    hub.publish(P, LEVEL, 1, false, Vec::new());
    assert_eq!(hub.published(), before);
    hub.publish(P, LEVEL, 2, false, Vec::new());
    assert_eq!(hub.published(), before + 1, "a delay that is over needs no event");
}

#[test]
fn a_newer_consume_of_a_worker_ends_the_older() {
    let hub = hub();
    let mut old = park(&hub, "w");
    let mut new = park(&hub, "w");
    assert!(matches!(woken(&mut old), Some(Wake::Leave)));
    drop(old);
    hub.publish(P, LEVEL, 1, true, Vec::new());
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
    hub.publish(P, LEVEL, 1, true, Vec::new());
    let number = a.number;
    drop((woken(&mut a), a));
    hub.dismiss("a");
    assert!(hub.park(wish("a", 1), Some(number)).is_none());
    assert!(hub.park(wish("a", 1), None).is_some(), "a new one is welcome");
}

#[test]
fn new_work_wakes_the_best_score_first_then_the_longest_waiting() {
    let hub = hub();
    let mut cold = park(&hub, "cold");
    let place = |wish| hub.park(wish, None).expect("a place");
    let (mut other, mut one) = (place(warm("other", &["z"])), place(warm("one", &["x"])));
    let (mut both, mut heavy) = (place(warm("both", &["y", "x"])), place(warm("heavy", &["w"])));
    let keys = [("x", 2), ("y", 3), ("w", 4)];
    let mut order = Vec::new();
    for _ in 0..5 {
        hub.publish(P, LEVEL, 1, true, work(&keys, 1));
        let places = [&mut cold, &mut other, &mut one, &mut both, &mut heavy];
        let woken: Vec<_> = places.into_iter().enumerate().map(|(n, p)| (n, woken(p))).collect();
        order.extend(woken.iter().filter(|(_, wake)| wake.is_some()).map(|(n, _)| *n));
        // The task is taken: what the end of the promise finds is nothing.
        hub.publish(P, 0, 0, true, Vec::new());
    }
    assert_eq!(order, [3, 4, 2, 0, 1], "x + y, w, x, then by waiting");
}

#[test]
fn each_kind_of_work_finds_its_own_and_no_more_than_it_has() {
    let hub = hub();
    let mut cold = park(&hub, "cold");
    let place = |wish| hub.park(wish, None).expect("a place");
    let (mut y, mut x) = (place(warm("y", &["y"])), place(warm("x", &["x"])));
    let mut again = place(warm("again", &["x"]));
    let kinds = [work(&[("x", 1)], 1), work(&[("y", 1)], 1)].concat();
    hub.publish(P, LEVEL, 3, true, kinds);
    let wakes = [woken(&mut x), woken(&mut y), woken(&mut cold)];
    assert!(wakes.iter().all(Option::is_some), "the third task is for the longest waiting");
    assert!(woken(&mut again).is_none(), "there is one task with x");
}

#[test]
fn what_a_partition_says_was_learned_counts_as_named() {
    let hub = hub();
    let (_cold, mut learned) = (park(&hub, "cold"), park(&hub, "learned"));
    let any = hub.park(Wish { warm: None, ..wish("any", 1) }, None).expect("a place");
    let knows = |worker: &Name| match &**worker {
        "cold" => Vec::new(),
        _ => vec![name("x"), name("y")],
    };
    for _ in 0..2 {
        hub.learn(P, knows);
    }
    hub.publish(P, LEVEL, 1, true, work(&[("x", 1)], 1));
    assert!(woken(&mut learned).is_some());
    drop((any, learned));
    let lobby = hub.lock();
    assert_eq!(lobby.places.keys(), 0, "nobody who is there still stands under a key");
}

#[test]
fn a_choosy_one_that_is_warm_goes_before_those_that_only_look() {
    let hub = hub();
    let jobs = |job: &str, wish: Wish| Wish { jobs: vec![name(job)], ..wish };
    let place = |wish| hub.park(wish, None).expect("a place");
    let mut cold = place(jobs("job", wish("cold", 1)));
    let mut foreign = place(jobs("other", warm("foreign", &["x"])));
    let mut hot = place(jobs("job", warm("hot", &["x"])));
    hub.publish(P, LEVEL, 1, true, work(&[("x", 1)], 1));
    let promise = woken(&mut hot).expect("it scores");
    assert!(woken(&mut cold).is_none(), "the task is spoken for");
    // It did not take it.
    drop(promise);
    drop(woken(&mut cold).expect("what is left is shown to the longest waiting"));
    assert!(woken(&mut foreign).is_some(), "and to the next");
}

#[test]
fn work_that_came_while_all_was_spoken_for_keeps_its_taste() {
    let hub = hub();
    let place = |wish| hub.park(wish, None).expect("a place");
    let (mut cold, mut x) = (place(wish("cold", 1)), place(warm("x", &["x"])));
    let mut y = place(warm("y", &["y"]));
    hub.publish(P, LEVEL, 1, true, work(&[("x", 1)], 1));
    let promise = woken(&mut x).expect("it is warm");
    // Taken, but not answered yet; the next one comes.
    hub.publish(P, LEVEL, 1, true, work(&[("y", 1)], 1));
    assert!(woken(&mut y).is_none());
    drop(promise);
    let promise = woken(&mut y);
    assert!(promise.is_some() && woken(&mut cold).is_none());
}
