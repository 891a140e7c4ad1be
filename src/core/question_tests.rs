//! A question is answered alike whether it is asked by its own type or as one of any kind.

use super::*;
use crate::core::partition::Partition;
use crate::core::partition::tests::{consume, owned, task};
use crate::model::command::Command;
use crate::model::id::Position;
use crate::model::policy::Policy;
use crate::model::reply::Reply;
use crate::model::samples::{self, Listed};

/// A partition with two tasks, one of them leased, and its token.
fn asked() -> (Partition, LeaseToken) {
    let (mut partition, _, now) = owned(Policy::default());
    let mut events = Vec::new();
    let mut named = task("eod");
    named.id = Some("t-1".into());
    drop(partition.decide(Command::submit(vec![named, task("eod")]), now, &mut events));
    for (at, stamped) in (1..).zip(std::mem::take(&mut events)) {
        partition.placed(&stamped.event, Position(at));
    }
    let granted = partition.decide(Command::Consume(consume("w", 1)), now, &mut events);
    let Reply::Granted(grants) = granted else { panic!("{granted:?}") };
    let token = grants[0].token;
    (partition, token)
}

#[test]
fn every_question_has_the_answer_of_its_name() {
    let (partition, _) = asked();
    for question in samples::questions() {
        let variant = question.variant();
        assert_eq!(answer(&partition, question).variant(), variant);
    }
}

fn check<Q: Ask + Clone>(partition: &Partition, question: Q) -> Q::Answer
where
    Q::Answer: PartialEq + std::fmt::Debug,
{
    let told = answer(partition, question.clone().into());
    let own = question.ask(partition);
    assert_eq!(Q::answer_of(told).as_ref(), Some(&own));
    own
}

#[test]
fn answers_are_those_of_the_partition() {
    let (partition, token) = asked();
    let p = &partition;
    assert_eq!(check(p, FirstKey), [1, 2]);
    assert_eq!(check(p, Pending), 1);
    assert_eq!(check(p, Numbers).waits.iter().sum::<u64>(), 1);
    assert_eq!(check(p, StateHash), p.state_hash());
    let holders = check(p, Holders { scopes: Scopes::default() });
    assert_eq!((holders.len(), holders[0].leases), (1, 1));
    assert!(check(p, Holders { scopes: Scopes::new(vec!["var".into()]) }).is_empty());
    assert_eq!(check(p, WorkerHere { worker: "w".into() }).0.len(), 1);
    assert_eq!(check(p, ToldLeases { worker: "w".into() }), [(token, "eod".into())]);
    assert_eq!(check(p, ToldLeases { worker: "v".into() }), []);
    let leased = check(p, LeasedTask { token }).unwrap();
    assert_eq!(check(p, LeasedJobs { tokens: vec![token] }), [Some((leased, Some("eod".into())))]);
    let live = |worker: &str| LiveToken { seq: leased, worker: Some(worker.into()) };
    assert_eq!(check(p, live("w")), Some(token));
    assert_eq!(check(p, live("v")), None);
    assert_eq!(check(p, Candidates::Id("t-1".into())), [TaskSeq(0)]);
    assert_eq!(check(p, Candidates::Element("eod".into(), 0)), []);
    let part = check(p, PartOfJob { job: "eod".into() }).unwrap();
    assert_eq!(check(p, JobParts), (vec![*part], 0));
    assert_eq!(check(p, PartOfJob { job: "var".into() }), None);
    assert_eq!(check(p, OperationNumbers), (OpNo(1), 0));
}

#[test]
fn only_jobs_that_are_over_by_the_rule_are_told() {
    let (mut partition, _, now) = owned(Policy::default());
    let mut events = Vec::new();
    drop(partition.decide(Command::submit(vec![task("a"), task("b")]), now, &mut events));
    for seq in [TaskSeq(0), TaskSeq(1)] {
        drop(partition.decide(Command::CancelTask(seq), now, &mut events));
    }
    let over = |ms, rule, max| JobsOver { now: now.wall.plus(ms), rule, max };
    assert_eq!(check(&partition, over(9, OverRule::Idle(10), 9)), []);
    let both: [Name; 2] = ["a".into(), "b".into()];
    assert_eq!(check(&partition, over(10, OverRule::Idle(10), 9)), both);
    assert_eq!(check(&partition, over(10, OverRule::Idle(10), 1)).len(), 1);
    // Open jobs have no retention.
    assert_eq!(check(&partition, over(u64::MAX / 2, OverRule::Retention, 9)), []);
}
