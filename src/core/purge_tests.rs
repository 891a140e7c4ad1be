//! Purges give back what tasks cost, and what is left is what replay and images say.

use crate::core::partition::Partition;
use crate::core::partition::tests::{Rig, consume, replayed, task};
use crate::model::array::{ArrayInput, Span};
use crate::model::command::{Command, Item};
use crate::model::id::{PartitionId, TaskSeq};
use crate::model::job::{CancelMode, Dedup, JobChange, JobSpec};
use crate::model::operation::OpKind;
use crate::model::reference::TaskRef;
use crate::model::reply::{JobOutcome, Reply};
use crate::model::state::TaskState;
use crate::model::task::TaskInput;

fn change(rig: &mut Rig, job: &str, change: JobChange) -> Reply {
    let spec = Box::new(crate::core::admit::implicit_spec(&Default::default()));
    rig.run(Command::ChangeJob { job: job.into(), change, spec, implicit: true })
}

fn submit(rig: &mut Rig, job: &str, count: u64) {
    let input = |n: u64| TaskInput { id: Some(format!("{job}-{n}").into()), ..task(job) };
    rig.run(Command::submit((0..count).map(input).collect()));
}

fn array(rig: &mut Rig, job: &str, count: u64) {
    let span = Span { from: 10, step: 2, count };
    let array = ArrayInput { task: task(job), span, id: Some("a".into()) };
    rig.run(Command::submit(vec![Item::Array(array)]));
}

fn cancel(rig: &mut Rig, job: &str) {
    change(rig, job, JobChange::Cancel(CancelMode::Stop, None));
}

#[test]
fn a_purged_job_is_gone_with_its_tasks_ids_and_slot() {
    let mut rig = Rig::new();
    submit(&mut rig, "keep", 10);
    let classes = rig.partition.classes.values().len();
    for round in 0..20 {
        submit(&mut rig, "night", 3_000);
        array(&mut rig, "night", 5_000);
        rig.run(Command::Consume(consume("w", 50)));
        cancel(&mut rig, "night");
        assert_eq!(change(&mut rig, "night", JobChange::Purge), Reply::Job(JobOutcome::Changed));
        rig.check();
        let p = &rig.partition;
        assert!(p.job_row("night").is_none() && p.purged_job("night") && !p.purged_job("keep"));
        assert_eq!(p.job_rows().count(), 1);
        assert_eq!(p.departed(), 8_000 * (round + 1));
        assert_eq!(p.id_candidates("night-7").count(), 0);
        assert!(p.purged_id("night-7") && !p.purged_id("keep-7"));
        assert_eq!(p.id_candidates("keep-7").count(), 1);
        assert!(p.array_ids.is_empty() && p.delayed.is_empty() && p.delayed_arrays.is_empty());
        let admitted = p.admitted().0;
        assert!((10..admitted).all(|seq| p.state(TaskSeq(seq)).is_none()));
        assert!((10..admitted).all(|seq| p.purged_task(TaskSeq(seq))));
        assert!((0..10).all(|seq| p.state(TaskSeq(seq)).is_some()));
    }
    let p = &rig.partition;
    assert_eq!((p.jobs.len(), p.ids.entries().len()), (2, 10), "the slot was used again");
    assert_eq!(p.classes.values().len(), classes + 1, "and so were its classes");
    assert_eq!(p.rows.held_chunks(), 2, "of 157 the one with the kept tasks and the open one");
    assert!(p.touched.capacity() < 10_000);
}

#[test]
fn a_job_with_live_tasks_is_not_purged() {
    let mut rig = Rig::new();
    submit(&mut rig, "busy", 3);
    assert_eq!(change(&mut rig, "busy", JobChange::Purge), Reply::Job(JobOutcome::Unchanged));
    assert!(rig.partition.job_row("busy").is_some());
    assert_eq!(change(&mut rig, "none", JobChange::Purge), Reply::Job(JobOutcome::Unchanged));
    assert!(rig.partition.job_row("none").is_none(), "and nothing is made to be purged");
}

#[test]
fn the_purge_of_a_huge_array_touches_no_task() {
    let mut rig = Rig::new();
    submit(&mut rig, "keep", 100);
    array(&mut rig, "mc", 40_000_000);
    submit(&mut rig, "keep", 100);
    rig.run(Command::Consume(consume("w", 20)));
    cancel(&mut rig, "mc");
    change(&mut rig, "mc", JobChange::Purge);
    let p = &rig.partition;
    assert!(p.rows.arrays().is_empty());
    assert_eq!(p.departed(), 40_000_000);
    for seq in [100, 5_000_000, 40_000_099] {
        assert!(p.state(TaskSeq(seq)).is_none() && p.purged_task(TaskSeq(seq)));
    }
    assert!(p.state(TaskSeq(40_000_100)).is_some());
    assert!(p.rows.held_chunks() < 4);
    let again = replayed(&rig.log);
    assert_eq!(again.state_hash(), rig.partition.state_hash());
}

#[test]
fn a_purged_task_is_known_as_purged_for_seven_days() {
    let mut rig = Rig::new();
    submit(&mut rig, "night", 3);
    cancel(&mut rig, "night");
    change(&mut rig, "night", JobChange::Purge);
    let reference = TaskRef::parse("5-0-1").expect("canonical");
    for (days, known) in [(0, true), (6, true), (2, false)] {
        rig.pass(days * 86_400_000);
        let p = &rig.partition;
        assert_eq!(p.purged_reference(reference), known, "{days}");
        assert_eq!((p.purged_id("night-1"), p.purged_job("night")), (known, known));
        assert_eq!(p.seq_of(reference), None);
    }
    submit(&mut rig, "night", 1);
    assert!(rig.partition.job_row("night").is_some(), "the name is free again");
    rig.check();
}

#[test]
fn single_elements_go_while_their_array_lives() {
    let mut rig = Rig::new();
    array(&mut rig, "mc", 3_000);
    let doomed = rig.kill(2_048, |seq| seq.0 >= 1_024);
    assert_eq!(doomed.len(), 1_024);
    rig.operate(OpKind::PurgeDlq, None, &doomed);
    rig.pass(20);
    rig.pass(20);
    rig.pass(20);
    rig.check();
    let p = &rig.partition;
    assert!(doomed.iter().all(|seq| p.state(*seq).is_none() && p.purged_task(*seq)));
    let value = |n: u64| TaskRef::parse(&format!("5-0-0-{}", 10 + 2 * n)).expect("canonical");
    assert!(p.purged_reference(value(1_500)) && p.seq_of(value(1_500)).is_none());
    assert_eq!(p.seq_of(value(2_500)), Some(TaskSeq(2_500)));
    assert_eq!(p.state(TaskSeq(2_500)), Some(TaskState::Pending));
    let numbers = &p.job_row("mc").expect("it is there").numbers;
    assert_eq!((numbers.purged, numbers.counts.total()), (1_024, 1_976));
    // The same array again is still the same.
    array(&mut rig, "mc", 3_000);
    assert_eq!(rig.partition.admitted(), TaskSeq(3_000));
}

#[test]
fn a_unique_id_is_free_again_once_its_task_is_purged() {
    let mut rig = Rig::new();
    let unique = |rig: &mut Rig| {
        let usual = crate::core::admit::implicit_spec(&Default::default());
        let spec = Box::new(JobSpec { dedup: Dedup::Task, ..usual });
        rig.run(Command::DefineJob { job: "once".into(), spec, replace: false });
    };
    let admitted = |rig: &Rig| rig.partition.admitted().0;
    unique(&mut rig);
    submit(&mut rig, "once", 100);
    submit(&mut rig, "once", 100);
    assert_eq!(admitted(&rig), 100, "the second time they are duplicates");
    cancel(&mut rig, "once");
    change(&mut rig, "once", JobChange::Purge);
    assert_eq!(rig.partition.unique.tasks().count(), 0);
    rig.check();
    unique(&mut rig);
    submit(&mut rig, "once", 100);
    assert_eq!(admitted(&rig), 200, "a new job of that name knows nothing of the old one");
    let restored = Partition::restore(PartitionId(0), Default::default(), 3, rig.partition.image());
    assert_eq!(restored.unique.tasks().count(), 100);
    rig.check();
}
