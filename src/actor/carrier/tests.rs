//! What is carried, and that any place on the way is one to go on from.

use super::gather::{FOUND, Found, Slice, behind, gather, swept};
use super::*;
use crate::log::Batch;
use crate::log::memory::MemoryLog;
use crate::model::array::{ArraySpec, Span};
use crate::model::event::{Event, FailCause, Failure, Next, Stamped, Start};
use crate::model::id::{Epoch, LeaseNo, TaskSeq};
use crate::model::job::{CancelMode, JobChange};
use crate::model::key::Hash128;
use crate::model::state::TaskState;
use crate::model::task::{Blob, TaskSpec};
use crate::store::Selected;

const ID: PartitionId = PartitionId(0);
/// Elements of the array in the log below: it does not fit a slice.
const ELEMENTS: u64 = FOUND as u64 * 5 / 2;

fn spec() -> TaskSpec {
    TaskSpec::plain(Blob::default())
}

fn failure(seq: u64, attempt: u32, next: Next) -> Failure {
    Failure {
        seq: TaskSeq(seq),
        attempt,
        lease: LeaseNo(0),
        class: "io".into(),
        message: "broken".into(),
        errors: 1,
        crashes: 0,
        next,
        run_ms: 5,
    }
}

fn failed(tasks: Vec<Failure>) -> Event {
    Event::Failed { cause: FailCause::Error, tasks }
}

fn array(first: u64) -> Event {
    let span = Span { from: 0, step: 1, count: ELEMENTS };
    let array = ArraySpec { task: spec(), span, id: None, content: Hash128::default() };
    Event::SubmittedArray { first: TaskSeq(first), array: Box::new(array) }
}

/// A log of a partition: each list is a batch; the stamp of an event is its position.
fn log(batches: Vec<Vec<Event>>) -> MemoryLog {
    let log = MemoryLog::new();
    let owner = Event::Owner { node: "n".into(), addr: "".into(), token_key: [0; 2] };
    let mut position = 0;
    for events in std::iter::once(vec![owner]).chain(batches) {
        let stamped = |event| {
            position += 1;
            Stamped { at: WallMs(position), event }
        };
        let events: Vec<_> = events.into_iter().map(stamped).collect();
        let batch = Batch { epoch: Epoch(1), events: events.into() };
        drop(log.append(ID, batch).expect("memory takes everything"));
    }
    log
}

fn sample() -> MemoryLog {
    let job = spec().job;
    log(vec![
        vec![Event::Submitted { first: TaskSeq(0), tasks: vec![spec(), spec(), spec()] }],
        vec![array(3), Event::Started(vec![Start { seq: TaskSeq(0), attempt: 1 }])],
        vec![failed(vec![
            failure(0, 1, Next::Pending),
            failure(1, 1, Next::Error),
            failure(2, 1, Next::Error),
        ])],
        vec![Event::JobChanged { job, change: JobChange::Cancel(CancelMode::Stop, None) }],
        vec![failed(vec![failure(3, 0, Next::Error)])],
    ])
}

/// All that is told from a place on; a cancelled job has ended these tasks.
fn all(log: &MemoryLog, feed: Feed, from: EndPlace, cancelled: &[u64]) -> Vec<Found> {
    let (mut told, mut at) = (Vec::new(), from);
    let until = log.end(ID);
    while at.record < until {
        let mut slice = gather(log, (feed, WallMs(0)), ID, at, until).expect("it can be read");
        if slice.cancel.take().is_some() {
            let from = slice.next.read;
            let rest = cancelled.iter().filter(|seq| **seq >= from);
            // One at a time: each is a place to go on from.
            let tasks: Vec<_> = rest.copied().map(TaskSeq).take(1).collect();
            let next = tasks.first().map(|seq| seq.0 + 1);
            slice = swept(slice.next, WallMs(0), Selected { tasks, next });
        }
        let Slice { found, next, .. } = slice;
        assert!(found.len() <= FOUND && next > at, "{at:?} → {next:?}");
        told.extend(found);
        at = next;
    }
    told
}

#[test]
fn every_change_is_told_once_and_in_order_from_any_place_on() {
    let log = sample();
    let told = all(&log, Feed::Status, EndPlace::default(), &[4, 9]);
    assert_eq!(told.len() as u64, 3 + ELEMENTS + 1 + 3 + 2 + 1);
    assert!(told.is_sorted_by(|a, b| a.at < b.at));
    for done in [0, 1, 2, 3, FOUND, FOUND + 1, told.len() - 5, told.len() - 2, told.len() - 1] {
        let last = told[done].at;
        let from = EndPlace { read: last.read + 1, ..last };
        assert_eq!(all(&log, Feed::Status, from, &[4, 9]), told[done + 1..], "behind {last:?}");
    }
}

#[test]
fn only_dead_tasks_are_dead_letters() {
    let told = all(&sample(), Feed::Dead, EndPlace::default(), &[4]);
    let seqs: Vec<_> = told.iter().map(|found| found.change.seq.0).collect();
    assert_eq!(seqs, [1, 2, 3]);
    assert!(told.iter().all(|found| found.change.to == TaskState::Error));
}

#[test]
fn what_kafka_has_let_go_is_not_told_again() {
    let log = sample();
    let since = WallMs(log.end(ID).0 - 1);
    let slice = gather(&log, (Feed::Dead, since), ID, EndPlace::default(), log.end(ID));
    let slice = slice.expect("it can be read");
    let seqs: Vec<_> = slice.found.iter().map(|found| found.change.seq.0).collect();
    assert_eq!((seqs, slice.next.record), (vec![3], log.end(ID)));
}

#[test]
fn nothing_behind_what_is_folded_is_told() {
    let log = sample();
    for until in 1..log.end(ID).0 {
        let until = Position(until);
        let slice = gather(&log, (Feed::Dead, WallMs(0)), ID, EndPlace::default(), until);
        let slice = slice.expect("it can be read");
        assert!(slice.found.iter().all(|found| found.at.record < until), "{until}");
        assert_eq!(slice.next, EndPlace { record: until, read: 0 });
    }
}

#[test]
fn the_text_of_a_task_without_a_row_is_found_in_the_log() {
    let mut batches = Vec::new();
    for n in 0..50 {
        let mut task = spec();
        task.meta = Some(format!("{n}").into());
        batches.push(vec![Event::Submitted {
            first: TaskSeq(2 * n),
            tasks: vec![task.clone(), task],
        }]);
        batches.push(vec![failed(vec![failure(2 * n, 1, Next::Pending)]); usize::from(n % 7 == 0)]);
    }
    let log = log(batches.into_iter().filter(|batch| !batch.is_empty()).collect());
    let below = log.end(ID);
    let mut texts = Texts::default();
    for seq in (0..100).chain([99, 0]) {
        let found = texts.read(&log, (ID, TaskSeq(seq)), None, below).expect("it can be read");
        let (at, stored) = found.expect("it is there");
        let meta = stored.spec.meta.as_deref().map(str::to_owned);
        assert_eq!((meta, u64::from(at.entry)), (Some((seq / 2).to_string()), seq % 2), "{seq}");
    }
    let beyond = texts.read(&log, (ID, TaskSeq(100)), None, below).expect("it can be read");
    assert!(beyond.is_none());
}

#[test]
fn a_partition_begins_behind_what_is_there_or_where_its_feed_does() {
    let (owner, now) = (Position(77), WallMs(Feed::Dead.retention_ms() + 5));
    let place = behind(Position(9));
    for feed in Feed::ALL {
        assert_eq!(begin(feed, Last::Behind(place), owner, now), (place, WallMs(0)));
    }
    let start = EndPlace::default();
    for anew in [Last::Never, Last::Ahead] {
        assert_eq!(begin(Feed::Dead, anew, owner, now), (start, WallMs(0)));
    }
    assert_eq!(begin(Feed::Dead, Last::Expired, owner, now), (start, WallMs(5)));
    let first = EndPlace { record: owner, read: 0 };
    assert_eq!(begin(Feed::Status, Last::Never, owner, now), (first, WallMs(0)));
}

mod letters_of_the_dead {
    use super::*;
    use crate::model::view::{Attempt, AttemptOutcome, TrackedTask};

    fn letter(known: Option<(TrackedTask, Vec<Attempt>)>) -> (String, String) {
        let log = log(vec![
            vec![Event::Submitted { first: TaskSeq(0), tasks: vec![spec()] }],
            vec![failed(vec![failure(0, 1, Next::Error)])],
        ]);
        let found = all(&log, Feed::Dead, EndPlace::default(), &[]).pop().expect("it is dead");
        let letter = letters::dead(&mut Texts::default(), &log, ID, found, known);
        let letter = letter.expect("it can be read").expect("it is known");
        (letter.key, String::from_utf8(letter.value).expect("text"))
    }

    fn says(told: &str, parts: &[&str]) {
        let left_out: Vec<_> = parts.iter().filter(|part| !told.contains(**part)).collect();
        assert!(left_out.is_empty(), "{left_out:?} in {told}");
    }

    fn attempt(number: u32) -> Attempt {
        Attempt {
            attempt: number,
            worker: format!("w{number}").into(),
            endpoint: None,
            allocated: WallMs(10),
            running: WallMs(20),
            ended: WallMs(30),
            outcome: AttemptOutcome::Failed,
            class: None,
            message: None,
        }
    }

    #[test]
    fn a_purged_task_is_told_as_the_log_knows_it() {
        let (key, told) = letter(None);
        assert_eq!(key, "5-0-0");
        says(&told, &[r#""ref":"5-0-0""#, r#""state":"ERROR""#, r#""error_ts":3"#]);
        says(&told, &[r#""error":{"class":"io","message":"broken","attempt":1,"ts":3}"#]);
    }

    #[test]
    fn a_task_that_has_moved_on_is_told_as_it_died() {
        let row = TrackedTask {
            partition: ID,
            seq: TaskSeq(0),
            job: spec().job,
            submit_priority: spec().priority,
            priority: spec().priority,
            state: TaskState::Completed,
            worker: Some("w2".into()),
            endpoint: None,
            attempt: 2,
            errors: 0,
            crashes: 0,
            redriven: 1,
            submitted: WallMs(1),
            available: WallMs(1),
            allocated: WallMs(40),
            running: WallMs(41),
            ended: WallMs(50),
            error: None,
            record: Position(2),
            index: 0,
            payload_bytes: 0,
            result: None,
        };
        let (_, told) = letter(Some((row, vec![attempt(1), attempt(2)])));
        says(&told, &[r#""state":"ERROR""#, r#""attempt":1,"runCount":1"#, r#""worker":"w1""#]);
        says(&told, &[r#""running_ts":20,"error_ts":3"#, r#""attempts":[{"attempt":1,"#]);
        assert!(!told.contains("w2") && !told.contains("completed_ts"), "{told}");
    }
}

#[test]
fn what_an_owner_after_this_one_has_carried_is_waited_for() {
    let behind = |at: u64| Last::Behind(EndPlace { record: Position(at), read: 0 });
    let fits = |last| within(Position(9))(last).ok();
    assert_eq!(fits(behind(9)), Some(behind(9)), "all of it was carried");
    assert_eq!(fits(behind(10)), None, "by an owner after this one");
    assert_eq!(fits(Last::Expired), Some(Last::Expired));
    assert_eq!(fits(Last::Ahead), Some(Last::Ahead));
}
