//! A report that comes again changes nothing, whatever has happened since: what was left for an
//! owner that was away is applied again by the next one.

use crate::core::partition::tests::{Rig, consume, task};
use crate::model::command::{Command, Item, Submit};
use crate::model::lease::LeaseToken;
use crate::model::policy::Policy;
use crate::model::reply::Reply;
use crate::model::report::{Outcome, Report, Verb};

/// A partition with one task, which is handed out.
fn leased(policy: Policy) -> (Rig, LeaseToken) {
    let mut rig = Rig::with(policy);
    let items = vec![Item::Task(task("j"))];
    rig.run(Command::Submit(Box::new(Submit { items, until_refused: false, key: None })));
    let token = hand_out(&mut rig);
    (rig, token)
}

fn hand_out(rig: &mut Rig) -> LeaseToken {
    let Reply::Granted(grants) = rig.run(Command::Consume(consume("w", 1))) else {
        panic!("a consume answers with grants");
    };
    grants[0].token
}

fn report(rig: &mut Rig, token: LeaseToken, verb: Verb) -> Outcome {
    let report = Report { token: Some(token), worker: None, verb };
    let Reply::Reported(mut outcomes) = rig.run(Command::Report(vec![report])) else {
        panic!("reports answer with outcomes");
    };
    outcomes.remove(0).outcome
}

/// It is told this, and nothing else has changed.
fn again(rig: &mut Rig, token: LeaseToken, verb: Verb, told: &Outcome) {
    let before = (rig.log.len(), rig.partition.state_hash());
    assert_eq!(report(rig, token, verb), *told);
    assert_eq!((rig.log.len(), rig.partition.state_hash()), before, "nothing has changed");
    rig.check();
}

fn complete() -> Verb {
    Verb::Complete { result: None, run_ms: Some(5) }
}

fn fail(retryable: bool) -> Verb {
    let (class, message) = ("e".into(), "m".into());
    Verb::Fail { class, message, retryable, retry_after_ms: Some(0), run_ms: None }
}

#[test]
fn a_start_that_comes_again_changes_nothing_also_after_the_end() {
    let (mut rig, token) = leased(Policy::default());
    assert_eq!(report(&mut rig, token, Verb::Start), Outcome::Ok);
    again(&mut rig, token, Verb::Start, &Outcome::Ok);
    assert_eq!(report(&mut rig, token, complete()), Outcome::Ok);
    again(&mut rig, token, Verb::Start, &Outcome::LeaseLost);
}

#[test]
fn a_complete_that_comes_again_changes_nothing() {
    let (mut rig, token) = leased(Policy::default());
    assert_eq!(report(&mut rig, token, complete()), Outcome::Ok);
    again(&mut rig, token, complete(), &Outcome::Duplicate);
    let other = Verb::Complete { result: Some(Default::default()), run_ms: None };
    again(&mut rig, token, other, &Outcome::Duplicate);
    again(&mut rig, token, fail(true), &Outcome::LeaseLost);
}

#[test]
fn a_late_complete_that_comes_again_changes_nothing() {
    let (mut rig, token) = leased(Policy::default());
    rig.pass(60_000);
    assert_eq!(report(&mut rig, token, complete()), Outcome::Ok);
    again(&mut rig, token, complete(), &Outcome::Duplicate);
}

#[test]
fn a_fail_that_comes_again_takes_no_second_attempt() {
    let (mut rig, token) = leased(Policy::default());
    assert_eq!(report(&mut rig, token, fail(true)), Outcome::Retry);
    again(&mut rig, token, fail(true), &Outcome::Duplicate);
    rig.pass(1);
    let newer = hand_out(&mut rig);
    again(&mut rig, token, fail(true), &Outcome::Duplicate);
    assert_eq!(report(&mut rig, newer, fail(false)), Outcome::Dead);
    again(&mut rig, newer, fail(false), &Outcome::Duplicate);
    again(&mut rig, token, fail(true), &Outcome::Duplicate);
}

#[test]
fn a_release_that_comes_again_takes_the_task_from_nobody() {
    let (mut rig, token) = leased(Policy::default());
    let release = || Verb::Release { delay_ms: 0 };
    assert_eq!(report(&mut rig, token, release()), Outcome::Ok);
    again(&mut rig, token, release(), &Outcome::Duplicate);
    let newer = hand_out(&mut rig);
    again(&mut rig, token, release(), &Outcome::Duplicate);
    assert_eq!(report(&mut rig, newer, complete()), Outcome::Ok);
    again(&mut rig, token, release(), &Outcome::Duplicate);
}

#[test]
fn one_record_that_holds_a_report_twice_counts_it_once() {
    let (mut rig, token) = leased(Policy::default());
    let one = || Report { token: Some(token), worker: None, verb: complete() };
    let Reply::Reported(outcomes) = rig.run(Command::Report(vec![one(), one()])) else {
        panic!("reports answer with outcomes");
    };
    assert_eq!(outcomes[1].outcome, Outcome::Duplicate);
    let done = rig.partition.job_rows().next().map(|job| job.numbers.counts);
    assert_eq!(done.map(|counts| counts.total()), Some(1));
    rig.check();
}
