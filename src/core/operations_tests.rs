//! An operation deals with every task it was accepted for once, whatever comes between.

use crate::core::partition::Partition;
use crate::core::partition::tests::{Rig, replayed, task};
use crate::model::command::Command;
use crate::model::event::Event;
use crate::model::id::{PartitionId, Position, TaskSeq};
use crate::model::job::{CancelMode, JobChange};
use crate::model::operation::{OpKind, OpNo, OpState, Operation};
use crate::model::policy::Policy;
use crate::model::reject::Code;
use crate::model::reply::Reply;
use crate::model::state::TaskState;
use std::collections::BTreeMap;

fn dead(rig: &mut Rig, job: &str, count: usize) -> Vec<TaskSeq> {
    rig.run(Command::submit(vec![task(job); count]));
    rig.kill(count, |_| true)
}

fn part(partition: &Partition, op: OpNo) -> Operation {
    partition.operations().find(|part| part.op == op).cloned().expect("it is remembered")
}

/// How often each task was redriven.
fn redriven(rig: &Rig) -> BTreeMap<TaskSeq, u32> {
    let mut times = BTreeMap::new();
    for record in &rig.log {
        if let Event::Redriven { tasks, .. } = &record.event {
            tasks.iter().for_each(|seq| *times.entry(*seq).or_default() += 1);
        }
    }
    times
}

#[test]
fn a_redrive_goes_on_in_slices_and_in_submit_order() {
    let mut rig = Rig::new();
    let tasks = dead(&mut rig, "a", 1_800);
    let op = rig.operate(OpKind::Redrive, None, &tasks);
    assert_eq!((part(&rig.partition, op).matched, part(&rig.partition, op).done), (1_800, 0));
    let mut before = 0;
    while part(&rig.partition, op).state == OpState::Running {
        rig.pass(16);
        let done = part(&rig.partition, op).done;
        assert!(done > before && done - before <= 500, "{before} to {done}");
        before = done;
        rig.check();
    }
    assert_eq!(part(&rig.partition, op).done, 1_800);
    let mut order: Vec<TaskSeq> = Vec::new();
    for record in &rig.log {
        if let Event::Redriven { tasks, .. } = &record.event {
            order.extend(tasks);
        }
    }
    assert_eq!(order, tasks);
    assert_eq!(rig.partition.job_row("a").expect("there").numbers.redriven, 1_800);
}

#[test]
fn a_number_that_another_operation_has_is_refused() {
    let mut rig = Rig::new();
    let tasks = dead(&mut rig, "a", 1_200);
    let (first, second) = tasks.split_at(600);
    let op = rig.operate(OpKind::Redrive, None, first);
    let spec = Box::new(part(&rig.partition, op).spec);
    let again = Command::StartOperation { op, spec, tasks: second.to_vec() };
    let Reply::Refused(reject) = rig.run(again) else { panic!("the first one would be lost") };
    assert!(reject.not_applied && reject.code == Code::Overloaded);
    while part(&rig.partition, op).state == OpState::Running {
        rig.pass(16);
    }
    assert_eq!(redriven(&rig).len(), 600, "all of the first, none of the second");
}

#[test]
fn a_task_that_dies_again_is_not_redriven_again() {
    let mut rig = Rig::new();
    let tasks = dead(&mut rig, "a", 1_200);
    let op = rig.operate(OpKind::Redrive, None, &tasks);
    for _ in 0..10 {
        rig.pass(16);
        rig.kill(1_200, |_| true);
    }
    assert_eq!(part(&rig.partition, op).state, OpState::Done);
    assert!(tasks.iter().all(|seq| rig.partition.state(*seq) == Some(TaskState::Error)));
    assert!(redriven(&rig).values().all(|times| *times == 1));
    assert_eq!(redriven(&rig).len(), 1_200);
}

#[test]
fn it_goes_on_after_a_restart_from_the_log_and_from_an_image() {
    for from_image in [false, true] {
        let mut rig = Rig::new();
        let tasks = dead(&mut rig, "a", 1_300);
        let op = rig.operate(OpKind::Redrive, None, &tasks);
        rig.pass(16);
        let again = match from_image {
            true => {
                let image = rig.partition.image();
                Partition::restore(PartitionId(0), Policy::default(), 3, image)
            }
            false => replayed(&rig.log),
        };
        assert_eq!(part(&again, op).done, 500);
        rig.partition = again;
        rig.partition.arm(rig.now);
        (0..3).for_each(|_| rig.pass(16));
        assert_eq!(part(&rig.partition, op).state, OpState::Done);
        assert_eq!(part(&rig.partition, op).done, 1_300);
        assert!(redriven(&rig).values().all(|times| *times == 1));
        assert_eq!(redriven(&rig).len(), 1_300);
        rig.check();
    }
}

#[test]
fn what_is_no_longer_dead_or_of_a_cancelled_job_is_skipped() {
    let mut rig = Rig::new();
    let (a, b) = (dead(&mut rig, "a", 4), dead(&mut rig, "b", 3));
    rig.run(Command::submit(vec![task("a"); 2]));
    let change = JobChange::Cancel(CancelMode::Stop, None);
    let spec = Box::new(crate::core::admit::implicit_spec(&Policy::default()));
    rig.run(Command::ChangeJob { job: "b".into(), change, spec, implicit: true });
    let all: Vec<TaskSeq> = (0..9).map(TaskSeq).collect();
    assert_eq!(rig.partition.dead_among(&all), (7, 3));
    let op = rig.operate(OpKind::Redrive, None, &all);
    rig.run(Command::RetryTask { seq: a[1], priority: None });
    rig.pass(16);
    let part = part(&rig.partition, op);
    assert_eq!((part.matched, part.done, part.skipped), (7, 3, 4));
    assert_eq!(rig.partition.state(b[0]), Some(TaskState::Error));
    rig.check();
}

#[test]
fn a_stopped_operation_stays_stopped_and_keeps_what_it_did() {
    let mut rig = Rig::new();
    let tasks = dead(&mut rig, "a", 1_200);
    let op = rig.operate(OpKind::PurgeDlq, None, &tasks);
    rig.pass(16);
    assert_eq!(rig.run(Command::StopOperation(op)), Reply::Done);
    rig.pass(100);
    let stopped = part(&rig.partition, op);
    assert_eq!((stopped.state, stopped.done), (OpState::Stopped, 500));
    let refused = |reply: Reply| {
        let Reply::Refused(reject) = reply else { panic!("{reply:?}") };
        reject.code
    };
    assert_eq!(refused(rig.run(Command::StopOperation(op))), Code::OperationEnded);
    assert_eq!(refused(rig.run(Command::StopOperation(OpNo(9)))), Code::OperationNotFound);
    let numbers = &rig.partition.job_row("a").expect("there").numbers;
    assert_eq!((numbers.purged, numbers.counts.of(TaskState::Error)), (500, 700));
    rig.check();
}

#[test]
fn nothing_moves_while_the_disk_is_nearly_full() {
    let mut rig = Rig::new();
    let tasks = dead(&mut rig, "a", 3);
    rig.partition.rest_operations(true);
    let op = rig.operate(OpKind::Redrive, None, &tasks);
    rig.pass(5_000);
    assert_eq!(part(&rig.partition, op).done, 0);
    rig.partition.rest_operations(false);
    rig.pass(2_000);
    assert_eq!(part(&rig.partition, op).state, OpState::Done);
}

#[test]
fn the_memory_of_operations_is_bounded_in_number_and_time() {
    let mut rig = Rig::new();
    for _ in 0..crate::model::limits::OPERATIONS_KEPT + 20 {
        rig.operate(OpKind::Redrive, None, &[]);
    }
    let kept = rig.partition.operations().count();
    assert_eq!(kept, crate::model::limits::OPERATIONS_KEPT + 1);
    assert_eq!(rig.partition.next_operation(), OpNo(1_021));
    rig.pass(9 * 86_400_000);
    rig.operate(OpKind::Redrive, None, &[]);
    assert_eq!(rig.partition.operations().count(), 1);
    let mut again = replayed(&rig.log);
    again.replay(Position(u64::MAX), &rig.log[0]);
    assert_eq!(again.next_operation(), OpNo(1_022));
}
