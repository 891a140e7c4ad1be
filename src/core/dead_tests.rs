//! What comes in dead is kept, is found, and never runs.

use crate::core::partition::tests::{Rig, consume, dead, task};
use crate::model::array::{ArrayInput, Span};
use crate::model::command::{Command, Item};
use crate::model::event::Event;
use crate::model::id::{Name, TaskSeq};
use crate::model::job::{Dedup, JobChange, JobDefaults, JobSpec};
use crate::model::operation::{OpKind, OpState};
use crate::model::priority::Priority;
use crate::model::reject::Code;
use crate::model::reply::Reply;
use crate::model::state::TaskState;
use crate::model::task::TaskInput;
use crate::model::view::JobNumbers;

fn named(job: &str, id: &str) -> TaskInput {
    TaskInput { id: Some(id.into()), priority: Priority::new(9), ..task(job) }
}

fn numbers(rig: &Rig, job: &str) -> JobNumbers {
    rig.partition.job_row(job).expect("the job is there").numbers.clone()
}

#[test]
fn it_keeps_its_place_and_is_never_handed_out() {
    let mut rig = Rig::new();
    let span = Span { from: 0, step: 1, count: 2 };
    let array = Item::Array(ArrayInput { task: task("a"), span, id: None });
    let items = vec![Item::Task(task("a")), dead(named("a", "x")), array, dead(task("b"))];
    let Reply::Submitted(answer) = rig.run(Command::submit(items)) else { panic!("a submit") };
    assert!(answer.outcomes.iter().all(Result::is_ok) && answer.elsewhere.is_empty());
    let kinds: Vec<_> = rig.log.iter().map(|record| record.event.kind()).collect();
    let first = ["Owner", "JobDefined", "Submitted", "Failed"];
    assert_eq!(kinds, [&first[..], &["Submitted", "JobDefined", "Submitted", "Failed"]].concat());
    let Reply::Granted(grants) = rig.run(Command::Consume(consume("w", 10))) else { panic!() };
    assert_eq!(grants.iter().map(|g| g.seq.0).collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(rig.partition.state(TaskSeq(1)), Some(TaskState::Error));
    assert_eq!(rig.partition.id_candidates("x").collect::<Vec<_>>(), [TaskSeq(1)]);
    let a = numbers(&rig, "a");
    assert_eq!((a.submitted, a.counts.of(TaskState::Error), a.handed_out), (4, 1, 3));
    assert_eq!((a.failed_attempts, numbers(&rig, "b").submitted), (0, 1));
    let (reference, error) = a.first_error.expect("it is the first");
    assert_eq!((reference.to_string().as_str(), &*error.class), ("9-0-1", "malformed"));
    assert!(rig.partition.failed_at(TaskSeq(1)).is_some(), "the reason can be read");
    rig.check();
}

#[test]
fn it_cannot_be_redriven_but_purged() {
    let mut rig = Rig::new();
    rig.run(Command::submit(vec![dead(task("a")), Item::Task(task("a"))]));
    let died = rig.kill(1, |_| true);
    let Reply::Refused(reject) = rig.run(Command::RetryTask { seq: TaskSeq(0), priority: None })
    else {
        panic!("a refusal is expected");
    };
    assert_eq!(reject.code, Code::IllegalTransition);
    let all = [TaskSeq(0), TaskSeq(1)];
    assert_eq!(died, [TaskSeq(1)]);
    let op = rig.operate(OpKind::Redrive, None, &all);
    rig.pass(100);
    let part = rig.partition.operations().find(|part| part.op == op).expect("it is remembered");
    assert_eq!((part.state, part.done, part.skipped), (OpState::Done, 1, 1));
    rig.operate(OpKind::PurgeDlq, None, &all);
    rig.pass(100);
    assert!(rig.partition.purged_task(TaskSeq(0)));
    rig.check();
}

#[test]
fn a_closed_job_takes_it_and_ended_when_it_did() {
    let mut rig = Rig::new();
    rig.run(Command::submit(vec![dead(task("a"))]));
    let spec = Box::new(crate::core::admit::implicit_spec(&Default::default()));
    let change = JobChange::Close;
    rig.run(Command::ChangeJob { job: "a".into(), change, spec, implicit: true });
    let drained = numbers(&rig, "a").drained;
    rig.pass(5_000);
    rig.run(Command::submit(vec![dead(task("a"))]));
    let after = numbers(&rig, "a");
    assert_eq!((after.submitted, after.drained), (2, drained));
    rig.check();
}

#[test]
fn it_takes_no_unique_id_and_asks_nothing_of_its_job() {
    let mut rig = Rig::new();
    let defaults = JobDefaults { tag: Some("k:v".into()), ..JobDefaults::default() };
    let spec = crate::core::admit::implicit_spec(&Default::default());
    let spec = Box::new(JobSpec { dedup: Dedup::Task, defaults, ..spec });
    rig.run(Command::DefineJob { job: "a".into(), spec, replace: false });
    let many: Vec<_> = (0..32).map(|n| format!("t{n}")).collect();
    let tag = Some(Name::from(many.join(",")));
    rig.run(Command::submit(vec![dead(TaskInput { tag: tag.clone(), ..named("a", "x") })]));
    let Some(Event::Submitted { tasks, .. }) = rig.log.iter().rev().nth(1).map(|r| &r.event) else {
        panic!("it was submitted");
    };
    assert_eq!((&tasks[0].id, &tasks[0].tag), (&None, &tag), "too many tags to unite");
    let Reply::Submitted(answer) = rig.run(Command::submit(vec![named("a", "x")])) else {
        panic!("a submit");
    };
    assert!(answer.outcomes[0].is_ok(), "the id is free");
    rig.check();
}
