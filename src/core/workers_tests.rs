//! What two instances know of workers, as one list.

use super::*;

fn view(worker: &str, state: WorkerState, last_seen: u64) -> WorkerView {
    let mut registry = WorkerRegistry::new(1, 1);
    let now = Now { tick: Tick(last_seen), wall: WallMs(last_seen) };
    registry.seen(&worker.into(), now, Sign::default());
    registry.reported(worker, now, WorkerTally { completed: 1, failed: 2, crashed: 0 });
    WorkerView { state, ..registry.view(worker, now).expect("seen just now") }
}

#[test]
fn a_name_that_two_know_is_there_once_and_every_other_one_too() {
    let views = |names: &str| -> Vec<WorkerView> {
        names.chars().map(|name| view(&name.to_string(), WorkerState::Active, 1)).collect()
    };
    for (own, others, all) in
        [("", "", ""), ("ab", "", "ab"), ("", "ab", "ab"), ("ace", "bcdf", "abcdef")]
    {
        let others = views(others);
        let names: Vec<Name> =
            joined(views(own).into_iter(), others.iter()).map(|view| view.worker).collect();
        assert_eq!(names.concat(), all);
    }
}

#[test]
fn who_heard_of_a_worker_later_is_right_and_what_it_did_is_the_sum() {
    use WorkerState::{Active, Draining, Lost};
    for (old, new, both) in [
        (Active, Active, Active),
        (Lost, Active, Active),
        (Active, Lost, Active),
        (Draining, Active, Draining),
        (Active, Draining, Draining),
        (Lost, Draining, Draining),
        (Lost, Lost, Lost),
    ] {
        let old = WorkerView { slots: Some(1), ..view("w", old, 5) };
        let new = WorkerView { slots: Some(2), ..view("w", new, 9) };
        for joined in [old.clone().with(new.clone()), new.with(old)] {
            assert_eq!((joined.state, joined.slots), (both, Some(2)));
            assert_eq!((joined.first_seen, joined.last_seen), (WallMs(5), WallMs(9)));
            let tally = joined.tally.expect("both know it");
            assert_eq!((tally.completed, tally.failed), (2, 4));
        }
    }
}

#[test]
fn who_is_known_by_a_drain_only_is_forgotten_with_it() {
    let mut registry = WorkerRegistry::new(1, 1);
    let now = Now { tick: Tick(5), wall: WallMs(5) };
    let (called, other) = (Name::from("called"), Name::from("other"));
    registry.seen(&called, now, Sign::default());
    for worker in [&called, &other] {
        registry.drained(worker, now, true);
        assert!(registry.drains(worker));
        registry.drained(worker, now, false);
    }
    assert!(registry.view(&called, now).is_some_and(|view| view.state == WorkerState::Active));
    assert!(registry.view(&other, now).is_none());
    // It calls while it drains.
    registry.drained(&other, now, true);
    assert!(registry.seen(&other, now, Sign::default()));
    registry.drained(&other, now, false);
    assert!(registry.view(&other, now).is_some());
}
