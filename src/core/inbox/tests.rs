//! Records of inboxes are taken exactly once, and whatever cannot become a task is kept.

use crate::core::admit::implicit_spec;
use crate::core::partition::tests::{Rig, consume, dead, task};
use crate::core::unique;
use crate::model::array::{ArrayInput, Span};
use crate::model::command::{Command, InboxBatch, InboxItem, Item};
use crate::model::dead::Source;
use crate::model::event::{Event, Stamped};
use crate::model::id::{Name, TaskSeq};
use crate::model::job::{CancelMode, Dedup, JobChange, JobDefaults, JobSpec};
use crate::model::operation::OpKind;
use crate::model::policy::Policy;
use crate::model::priority::Priority;
use crate::model::reply::Reply;
use crate::model::state::TaskState;
use crate::model::task::{BackoffInput, Blob, Encoding, TaskInput, TaskSpec};

mod model;

fn level(number: u8) -> Priority {
    Priority::new(u64::from(number)).expect("in range")
}

fn text(bytes: &str) -> Blob {
    Blob { encoding: Encoding::Text, bytes: bytes.as_bytes().to_vec() }
}

fn named(job: &str, id: &str, payload: &str) -> TaskInput {
    TaskInput { id: Some(id.into()), payload: text(payload), ..task(job) }
}

/// Items of records that follow each other, each as it came: `record 40`.
fn sent(level: Priority, from: u64, items: Vec<Item>) -> Vec<InboxItem> {
    let text = |offset: u64| format!("record {offset}").into_bytes();
    let item =
        |(offset, item)| InboxItem { item, source: Source::new(level, offset, text(offset)) };
    (from..).zip(items).map(item).collect()
}

fn batch(from: u64, next: u64, items: Vec<Item>) -> Command {
    let items = sent(level(7), from, items);
    let goes_on = false;
    Command::TakeInbox(Box::new(InboxBatch { level: level(7), from, next, items, goes_on }))
}

/// Where to go on; items admitted, dead, there already.
fn taken(rig: &mut Rig, command: Command) -> (u64, [u32; 3]) {
    let reply = rig.run(command);
    let Reply::InboxTaken { next, admitted, dead, duplicates } = reply else {
        panic!("an inbox is taken: {reply:?}");
    };
    (next, [admitted, dead, duplicates])
}

/// The tasks of a record that admits some.
fn submitted(record: &Stamped) -> Option<&[TaskSpec]> {
    let Event::Submitted { tasks, .. } = &record.event else { return None };
    Some(tasks)
}

fn define(rig: &mut Rig, job: &str, change: impl FnOnce(&mut JobSpec)) {
    let mut spec = implicit_spec(&Policy::default());
    change(&mut spec);
    rig.run(Command::DefineJob { job: job.into(), spec: Box::new(spec), replace: false });
}

fn change(rig: &mut Rig, job: &str, change: JobChange) {
    let spec = Box::new(implicit_spec(&Policy::default()));
    rig.run(Command::ChangeJob { job: job.into(), change, spec, implicit: true });
}

/// Class and message of every dead letter of the log.
fn letters(log: &[Stamped]) -> Vec<(Name, Name)> {
    let failures = log.iter().filter_map(|record| {
        let Event::Failed { tasks, .. } = &record.event else { return None };
        Some(tasks)
    });
    failures.flatten().map(|f| (f.class.clone(), f.message.clone())).collect()
}

#[test]
fn items_and_how_far_the_inbox_was_taken_are_one_batch() {
    let mut rig = Rig::new();
    let own = Item::Task(TaskInput { job: None, payload: text("x"), ..TaskInput::default() });
    let items = vec![own, dead(task("a")), Item::Task(task("a"))];
    let before = rig.log.len();
    assert_eq!(taken(&mut rig, batch(0, 3, items)), (3, [2, 1, 0]));
    let kinds: Vec<_> = rig.log[before..].iter().map(|record| record.event.kind()).collect();
    assert_eq!(kinds, ["JobDefined", "JobDefined", "Submitted", "Failed", "Inbox"]);
    assert!(rig.partition.job_row("default").is_some(), "without a job it is the default one");
    assert_eq!(rig.partition.inbox()[level(7).index()], 3);
    assert_eq!(rig.partition.inbox().iter().sum::<u64>(), 3, "the other levels stay");
    rig.check();
}

#[test]
fn offsets_without_items_are_progress_too() {
    let mut rig = Rig::new();
    assert_eq!(taken(&mut rig, batch(0, 5, Vec::new())), (5, [0; 3]));
    let event = Event::Inbox { level: level(7), from: 0, next: 5, lost: 0 };
    assert_eq!(rig.log.last().map(|record| &record.event), Some(&event));
    rig.check();
}

#[test]
fn what_was_taken_is_not_taken_again() {
    let mut rig = Rig::new();
    let item = || vec![Item::Task(task("a"))];
    taken(&mut rig, batch(0, 4, item()));
    let before = rig.log.len();
    let again = [batch(0, 4, item()), batch(3, 9, item()), batch(4, 4, vec![])];
    let unsound = [batch(6, 5, vec![]), batch(9, 9, item())];
    for command in again.into_iter().chain(unsound) {
        assert_eq!(taken(&mut rig, command), (4, [0; 3]));
    }
    assert_eq!(rig.log.len(), before, "nothing was decided");
    rig.check();
}

#[test]
fn a_hole_is_passed_and_recorded() {
    let mut rig = Rig::new();
    let hole = |rig: &Rig| {
        let last = rig.log.last().map(|record| &record.event);
        let Some(Event::Inbox { from, next, lost, .. }) = last else { panic!("{last:?}") };
        (*from, *next, *lost)
    };
    let item = || vec![Item::Task(task("a"))];
    assert_eq!(taken(&mut rig, batch(100, 101, item())), (101, [1, 0, 0]));
    assert_eq!(hole(&rig), (100, 101, 100), "retention was faster than the first owner");
    assert_eq!(taken(&mut rig, batch(107, 110, item())), (110, [1, 0, 0]));
    assert_eq!(hole(&rig), (107, 110, 6));
    assert_eq!(taken(&mut rig, batch(200, 200, vec![])), (200, [0; 3]));
    assert_eq!(hole(&rig), (200, 200, 90), "all are gone, and nothing is behind them");
    let (at, stats) = (level(7).index(), rig.partition.stats());
    assert_eq!((stats.inbox_taken[at], stats.inbox_lost[at]), (4, 196));
    rig.check();
}

#[test]
fn every_refusal_is_a_dead_letter() {
    let mut rig = Rig::new();
    change(&mut rig, "closed", JobChange::Close);
    change(&mut rig, "gone", JobChange::Cancel(CancelMode::Stop, None));
    define(&mut rig, "unique", |spec| spec.dedup = Dedup::Task);
    let many: Vec<_> = (0..32).map(|n| format!("t{n}")).collect();
    let defaults = JobDefaults { tag: Some("k:v".into()), ..JobDefaults::default() };
    define(&mut rig, "tagged", |spec| spec.defaults = defaults);
    let tag = Some(Name::from(many.join(",")));
    let backoff = BackoffInput { base_ms: Some(9), cap_ms: Some(8), ..BackoffInput::default() };
    let span = Span { from: 4, step: 3, count: 2 };
    let array = ArrayInput { task: task("closed"), span, id: Some("grid".into()) };
    let items = vec![
        Item::Task(named("closed", "a", "1")),
        Item::Task(named("gone", "b", "2")),
        Item::Task(named("unique", "c", "3")),
        Item::Task(named("unique", "c", "4")),
        Item::Task(named("unique", "c", "3")),
        Item::Task(TaskInput { tag, payload: text("5"), ..task("tagged") }),
        Item::Task(TaskInput { backoff, payload: text("6"), ..task("free") }),
        Item::Array(array),
        Item::Task(named("free", "d", "7")),
    ];
    assert_eq!(taken(&mut rig, batch(40, 49, items)), (49, [2, 6, 1]));
    let at = "of level 7";
    let letters = letters(&rig.log);
    let expected = [
        ("job_closed", format!("record 40 {at}: job_closed: job closed is closed")),
        ("job_closed", format!("record 41 {at}: job_closed: job gone is closed")),
        ("malformed", format!("record 43 {at}: id_conflict: the job has a task c with other")),
        ("malformed", format!("record 45 {at}: invalid_tag: ")),
        ("malformed", format!("record 46 {at}: invalid_field: baseMs 9 is greater")),
        ("job_closed", format!("record 47 {at}: job_closed: job closed")),
    ];
    assert_eq!(letters.len(), expected.len());
    for ((class, message), (expected, begin)) in letters.iter().zip(&expected) {
        assert_eq!(&**class, *expected, "{message}");
        assert!(message.starts_with(begin), "{message}\n{begin}");
    }
    rig.check();
}

#[test]
fn a_dead_letter_keeps_what_came_and_is_never_handed_out() {
    let mut rig = Rig::new();
    change(&mut rig, "closed", JobChange::Close);
    let refused = TaskInput { priority: Some(level(7)), ..named("closed", "a", "precious") };
    taken(&mut rig, batch(0, 1, vec![Item::Task(refused)]));
    let spec = rig.log.iter().find_map(|record| submitted(record)?.first());
    let spec = spec.expect("it lies where every task does");
    assert_eq!((spec.id.as_deref(), &*spec.payload.bytes), (Some("a"), &b"record 0"[..]));
    let (_, message) = letters(&rig.log).remove(0);
    assert!(message.starts_with("record 0 of level 7: "), "{message}");
    let Reply::Granted(grants) = rig.run(Command::Consume(consume("w", 10))) else { panic!() };
    assert!(grants.is_empty());
    assert_eq!(rig.partition.state(TaskSeq(0)), Some(TaskState::Error));
    assert_eq!(rig.partition.stats().came_in_dead[level(7).index()], 1);
    rig.operate(OpKind::PurgeDlq, None, &[TaskSeq(0)]);
    rig.pass(100);
    assert!(rig.partition.purged_task(TaskSeq(0)));
    rig.check();
}

#[test]
fn what_other_partitions_decide_is_told_to_come_over_rest() {
    let mut rig = Rig::with(Policy { partitions: 3, ..Policy::default() });
    define(&mut rig, "unique", |spec| spec.dedup = Dedup::Task);
    let home = |id: &str| unique::home(unique::id_hash("unique", id), 3).0;
    let ids: Vec<String> = (0..50).map(|n| format!("t{n}")).collect();
    let find = |here: bool| ids.iter().find(|id| (home(id) == 0) == here).expect("one of 50");
    let (here, there) = (find(true), find(false));
    let span = Span { from: 0, step: 1, count: 9 };
    let array = ArrayInput { task: task("free"), span, id: None };
    let items = vec![
        Item::Task(named("unique", here, "1")),
        Item::Task(named("unique", there, "2")),
        Item::Array(array),
        Item::Task(named("unique", here, "1")),
        Item::Task(named("free", there, "2")),
    ];
    assert_eq!(taken(&mut rig, batch(0, 5, items)), (5, [2, 2, 1]));
    for (class, message) in letters(&rig.log) {
        assert_eq!(&*class, "not_supported");
        assert!(message.contains("submit it over REST"), "{message}");
    }
    let (_, id) = &letters(&rig.log)[0];
    assert!(id.contains(&format!("decides `{there}`")), "{id}");
    let kept = rig.log.iter().filter_map(submitted).flatten().map(|t| t.payload.bytes.as_slice());
    let kept: Vec<_> = kept.filter(|bytes| bytes.starts_with(b"record")).collect();
    assert_eq!(kept, [b"record 1", b"record 2"], "as they came");
    let duplicates = rig.partition.job_row("unique").map(|job| job.numbers.duplicates);
    assert_eq!(duplicates, Some(1));
    rig.check();
}

#[test]
fn what_is_refused_is_kept_whole_in_as_many_dead_letters_as_it_needs() {
    let mut rig = Rig::with(Policy { partitions: 3, ..Policy::default() });
    let text: Vec<u8> = (0..600_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let span = Span { from: 0, step: 1, count: 9 };
    let common = TaskInput { priority: Some(level(7)), ..task("free") };
    let item = Item::Array(ArrayInput { task: common, span, id: None });
    let items = vec![InboxItem { item, source: Source::new(level(7), 0, text.clone()) }];
    let own = InboxBatch { level: level(7), from: 0, next: 1, items, goes_on: false };
    assert_eq!(taken(&mut rig, Command::TakeInbox(Box::new(own))), (1, [0, 3, 0]));
    let kept = rig.log.iter().filter_map(submitted).flatten();
    let kept: Vec<u8> = kept.flat_map(|task| task.payload.bytes.clone()).collect();
    assert!(kept == text, "the pieces joined are the record");
    let letters = letters(&rig.log);
    let begin =
        "piece 2 of 3, bytes 262144 to 524287 of record 0 of level 7: not_supported: an array";
    assert!(letters[1].1.starts_with(begin), "{}", letters[1].1);
    assert_eq!(rig.partition.stats().came_in_dead[level(7).index()], 3);
    rig.check();
}

#[test]
fn a_record_that_goes_on_is_not_taken_before_its_last_part_is() {
    let mut rig = Rig::new();
    let part = |goes_on: bool| {
        let items = sent(level(7), 3, vec![dead(task("a"))]);
        Command::TakeInbox(Box::new(InboxBatch {
            level: level(7),
            from: 3,
            next: 4,
            items,
            goes_on,
        }))
    };
    assert_eq!(taken(&mut rig, part(true)), (4, [0, 1, 0]));
    assert_eq!(rig.partition.inbox()[level(7).index()], 0, "a restart would begin before it");
    assert_eq!(taken(&mut rig, part(false)), (4, [0, 1, 0]));
    let event = Event::Inbox { level: level(7), from: 3, next: 4, lost: 3 };
    assert_eq!(rig.log.last().map(|record| &record.event), Some(&event));
    rig.check();
}
