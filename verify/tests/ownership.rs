//! The protocol holds within its bounds, and each planted mistake is found.

use kwq_verify::ownership::{
    Bounds, IN_THE_LOG, Mistake, NO_DOUBLE, NO_HOLE, Ownership, SAME_FROM_THE_MARK, TOKEN_IS_ONE,
};
use stateright::{Checker, Model};

/// `KWQ_VERIFY_SCALE`: 1 = the bounds of every run, 2 = a move and a fault more, 40 times the states.
fn bounds() -> Bounds {
    match std::env::var("KWQ_VERIFY_SCALE").as_deref() {
        Err(_) | Ok("1") => Bounds::default(),
        Ok("2") => Bounds { moves: 3, faults: 2, ..Bounds::default() },
        Ok(other) => panic!("KWQ_VERIFY_SCALE={other}: 1 or 2"),
    }
}

#[test]
fn no_hand_out_is_told_twice() {
    let model = Ownership { bounds: bounds(), mistake: None };
    let checker = model.checker().threads(2).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{:?}: {states} states, {depth} steps deep", model.bounds);
    checker.assert_properties();
}

/// The steps of the shortest way to a fault, as long as there is one.
fn found(mistake: Mistake, faults: u8, property: &'static str) {
    let bounds = Bounds { faults, ..Bounds::default() };
    let model = Ownership { bounds, mistake: Some(mistake) };
    let checker = model.checker().threads(2).finish_when(stateright::HasDiscoveries::AllOf(
        std::collections::BTreeSet::from([property]),
    ));
    let checker = checker.spawn_bfs().join();
    let path = checker.discovery(property);
    let steps = path.map(|path| path.into_actions()).unwrap_or_default();
    println!("{mistake:?}: {property}, against it {} steps: {steps:?}", steps.len());
    assert!(!steps.is_empty(), "{mistake:?} was not found");
}

#[test]
fn an_answer_before_its_report_is_found() {
    found(Mistake::AnswerBeforeReport, 0, NO_DOUBLE);
    found(Mistake::AnswerBeforeReport, 0, IN_THE_LOG);
}

#[test]
fn an_accepted_gap_is_found() {
    found(Mistake::AcceptGap, 0, NO_DOUBLE);
}

#[test]
fn a_checkpoint_of_a_zombie_is_found() {
    found(Mistake::ZombieCheckpoint, 0, SAME_FROM_THE_MARK);
    found(Mistake::ZombieCheckpoint, 0, NO_DOUBLE);
}

#[test]
fn an_own_owner_record_that_is_forgiven_is_found() {
    found(Mistake::ForgiveOwnOwner, 1, IN_THE_LOG);
}

#[test]
fn a_reused_token_is_found() {
    found(Mistake::ReusedToken, 0, TOKEN_IS_ONE);
}

#[test]
fn a_hole_that_readers_accept_is_found() {
    found(Mistake::AcceptHole, 1, NO_HOLE);
}
