//! What is told, to whom, in which order, and what is forgotten.

use super::*;
use crate::actor::handle::idle_engine;
use crate::model::job::JobSpec;
use crate::model::operation::OpKind;
use crate::model::priority::Priority;
use crate::model::state::TaskState;
use crate::model::time::{Tick, WallMs};
use crate::model::view::JobNumbers;
use std::time::Duration;

/// A job with so many tasks completed.
pub(crate) fn job(id: &str, completed: u64) -> JobView {
    let mut numbers = JobNumbers { submitted: completed, ..JobNumbers::default() };
    numbers.counts.add(TaskState::Completed, completed);
    JobView {
        id: Name::from(id),
        spec: JobSpec {
            name: None,
            priority: Priority::DEFAULT,
            weight: 1,
            tag: None,
            dedup: crate::model::job::Dedup::Batch,
            retention_ms: 0,
            paused: false,
            defaults: crate::model::job::JobDefaults::default(),
        },
        state: JobState::Open,
        implicit: false,
        paused: false,
        cancel_reason: None,
        numbers,
        rate_per_sec: 0.0,
        eta: None,
        ended: WallMs(0),
        partitions: None,
    }
}

fn at(second: u64) -> Now {
    Now { wall: WallMs(1_000_000 + second * 1_000), tick: Tick(second * 1_000) }
}

fn operation(number: u64, done: u64, scopes: &[&str]) -> Operation {
    Operation {
        op: OpNo(number),
        spec: OpSpec {
            kind: OpKind::Redrive,
            filter: Name::from("{}"),
            job: None,
            scopes: scopes.iter().map(|scope| Name::from(*scope)).collect(),
            by: Name::from("ops"),
            priority: None,
        },
        state: OpState::Running,
        matched: 10,
        done,
        skipped: 0,
        created: WallMs(1),
        ended: WallMs(0),
    }
}

/// A door, and looks at its feed.
struct Rig {
    handle: KwqHandle,
    policy: Policy,
}

impl Rig {
    fn new() -> Self {
        let handle = idle_engine();
        let policy = handle.engine.config.policy;
        let rig = Self { handle, policy };
        rig.feed().begin(77);
        rig.jobs(&[], 0);
        rig.feed().operations(&[], at(0));
        rig
    }
    fn feed(&self) -> &Feed {
        &self.handle.engine.feed
    }
    fn jobs(&self, jobs: &[JobView], second: u64) {
        self.feed().jobs(jobs, &self.policy, at(second));
    }
    fn within(&self, scope: &str) -> KwqHandle {
        self.handle.within(Scopes::new(vec![Name::from(scope)]))
    }
}

/// Id and the word of interest of each event that is there.
fn drain(events: &mut Events) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    while let Next::Event(text) = events.look() {
        let text = String::from_utf8(text.to_vec()).expect("text");
        let line = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).expect("a line");
        let named = |start: &str| line("data: ").strip_prefix(start)?.split('"').next();
        let what = named("{\"id\":\"").or_else(|| named("{\"op\":\"")).unwrap_or("cluster");
        found.push((line("id: ").parse().expect("a number"), what.to_owned()));
    }
    found
}

fn words(found: &[(u64, String)]) -> Vec<&str> {
    found.iter().map(|(_, word)| word.as_str()).collect()
}

#[test]
fn only_what_changed_since_the_first_look_is_told() {
    let handle = idle_engine();
    let (feed, policy) = (&handle.engine.feed, handle.engine.config.policy);
    let mut events = handle.events(None);
    feed.jobs(&[job("a", 1), job("b", 1)], &policy, at(1));
    assert!(drain(&mut events).is_empty(), "the first look finds no changes");
    let moved = JobView { rate_per_sec: 5.0, eta: Some(WallMs(9)), ..job("a", 1) };
    feed.jobs(&[moved, job("b", 2), job("c", 0)], &policy, at(2));
    assert_eq!(words(&drain(&mut events)), ["c", "b"], "a new one first");
    feed.jobs(&[job("a", 1), job("b", 2), job("c", 0)], &policy, at(3));
    assert!(drain(&mut events).is_empty());
    // A job of the same id after a purge is another one.
    feed.jobs(&[job("a", 1), job("b", 2)], &policy, at(4));
    feed.jobs(&[job("a", 1), job("b", 2), job("c", 0)], &policy, at(5));
    assert_eq!(words(&drain(&mut events)), ["c"]);
}

#[test]
fn ids_rise_whatever_the_wall_clock_does() {
    let rig = Rig::new();
    let mut events = rig.handle.events(None);
    for (n, second) in [(1, 500), (2, 100), (3, 900)] {
        let now = Now { wall: at(second).wall, ..at(1) };
        rig.feed().beat(now);
        rig.feed().jobs(&[job("a", n)], &rig.policy, now);
    }
    events.seen = u64::MAX;
    let ids: Vec<u64> = drain(&mut events).into_iter().map(|(id, _)| id).collect();
    assert!(ids.len() == 3 && ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    let least = |second| at(second).wall.0 * limits::EVENT_MARKS;
    assert!(ids[0] >= least(500) && ids[2] >= least(900), "{ids:?}");
}

#[test]
fn a_listener_who_comes_back_hears_what_it_missed_and_a_new_one_does_not() {
    let rig = Rig::new();
    let mut first = rig.handle.events(None);
    rig.jobs(&[job("a", 1)], 1);
    let seen = drain(&mut first)[0].0;
    rig.jobs(&[job("a", 2)], 2);
    rig.feed().operations(&[operation(1, 0, &[])], at(2));
    rig.feed().cluster(b"{}", at(2));
    let missed = drain(&mut first);
    assert_eq!(words(&missed), ["a", "op-1", "cluster"]);
    assert_eq!(drain(&mut rig.handle.events(Some(seen))), missed);
    assert!(drain(&mut rig.handle.events(None)).is_empty());
    let latest = missed.last().expect("three").0;
    assert!(drain(&mut rig.handle.events(Some(latest))).is_empty());
    // Ids of an older process, and of one whose clock was ahead.
    let (older, ahead) = (seen - limits::EVENT_MARKS, latest + limits::EVENT_MARKS);
    for id in [0, 7, older, ahead, u64::MAX] {
        assert_eq!(words(&drain(&mut rig.handle.events(Some(id)))), ["a", "a", "op-1", "cluster"]);
    }
}

#[test]
fn an_id_of_another_instance_is_no_place_here() {
    let [here, there] = [Rig::new(), Rig::new()];
    there.feed().begin(1_000_078);
    for second in [1, 3] {
        here.jobs(&[job("a", second)], second);
        there.jobs(&[job("a", second)], second + 1);
    }
    let ids = |of: &Rig| drain(&mut of.handle.events(Some(0))).into_iter().map(|(id, _)| id);
    let told = |of: &Rig, after| drain(&mut of.handle.events(Some(after))).len();
    let (mine, theirs): (Vec<u64>, Vec<u64>) = (ids(&here).collect(), ids(&there).collect());
    // They lie between each other.
    assert!(mine[0] < theirs[0] && theirs[0] < mine[1] && mine[1] < theirs[1]);
    assert_eq!([told(&here, mine[0]), told(&here, mine[1])], [1, 0]);
    assert_eq!([told(&here, theirs[0]), told(&here, theirs[1])], [2, 2]);
    assert_eq!([told(&there, mine[0]), told(&there, mine[1])], [2, 2]);
}

#[test]
fn an_id_has_nineteen_digits_and_ends_with_the_mark_of_its_process() {
    let rig = Rig::new();
    let mut events = rig.handle.events(None);
    let today = Now { wall: WallMs(1_795_521_600_000), tick: Tick(1) };
    rig.feed().cluster(b"{}", today);
    let id = drain(&mut events)[0].0;
    assert_eq!(id, 1_795_521_600_000_000_077);
    assert_eq!(id.to_string().len(), limits::EVENT_ID_DIGITS_MAX);
    assert!(i64::try_from(id).is_ok(), "also where numbers have a sign");
}

#[test]
fn missed_events_come_before_the_next_snapshot_and_in_order_with_it() {
    let rig = Rig::new();
    rig.feed().beat(at(1));
    rig.jobs(&[job("a", 1)], 1);
    let mut events = rig.handle.events(Some(1));
    rig.feed().beat(at(2));
    rig.jobs(&[job("a", 2)], 2);
    assert!(matches!(events.look(), Next::Event(_)), "the missed one");
    let Next::Snapshot(beat) = events.look() else { panic!("the snapshot comes next") };
    assert!(matches!(events.look(), Next::Snapshot(again) if again == beat), "until it is told");
    (events.told, events.seen) = (beat, beat);
    assert!(matches!(events.look(), Next::Event(_)), "what came after it");
    assert!(matches!(events.look(), Next::Nothing));
}

#[test]
fn events_are_kept_for_a_minute_and_within_bounds() {
    let rig = Rig::new();
    rig.jobs(&[job("a", 1)], 1);
    rig.feed().beat(at(61));
    assert_eq!(drain(&mut rig.handle.events(Some(1))).len(), 1);
    rig.feed().beat(at(62));
    assert!(drain(&mut rig.handle.events(Some(1))).is_empty());
    for n in 0..limits::FEED_EVENTS_MAX + 10 {
        rig.feed().cluster(format!("{{\"n\":{n}}}").as_bytes(), at(63));
    }
    let mut ring = lock(&rig.feed().ring);
    assert_eq!(ring.events.len(), limits::FEED_EVENTS_MAX);
    for _ in 0..20 {
        ring.push(at(63), About::Everybody, "cluster", &vec![b'x'; 1 << 20]);
        let bytes = ring.events.iter().map(|event| event.text.len()).sum::<usize>();
        assert!(bytes == ring.bytes && bytes <= limits::FEED_BYTES_MAX, "{bytes}");
    }
}

#[test]
fn of_many_changes_a_bounded_number_is_told_and_everybody_has_a_turn() {
    let rig = Rig::new();
    let mut events = rig.handle.events(None);
    let many = limits::FEED_CHANGES_MAX * 3;
    let jobs = |completed| (0..many).map(move |n| job(&format!("j{n:04}"), completed));
    let mut told = std::collections::BTreeSet::new();
    for second in 1..=3 {
        rig.jobs(&jobs(second).collect::<Vec<_>>(), second);
        let found = drain(&mut events);
        assert_eq!(found.len(), limits::FEED_CHANGES_MAX);
        told.extend(found.into_iter().map(|(_, job)| job));
    }
    assert_eq!(told.len(), many, "all have had their turn");
    // A change of state does not wait.
    let mut all: Vec<JobView> = jobs(4).collect();
    all[many - 1].state = JobState::Closed;
    rig.jobs(&all, 4);
    assert_eq!(drain(&mut events)[0].1, all[many - 1].id.to_string());
}

#[test]
fn operations_are_told_as_they_go_on() {
    let rig = Rig::new();
    let mut events = rig.handle.events(None);
    rig.feed().operations(&[operation(1, 0, &[])], at(1));
    rig.feed().operations(&[operation(1, 0, &[])], at(2));
    rig.feed().operations(&[operation(2, 0, &[]), operation(1, 5, &[])], at(3));
    let ended = Operation { state: OpState::Done, ..operation(1, 5, &[]) };
    rig.feed().operations(&[operation(2, 0, &[]), ended], at(4));
    assert_eq!(words(&drain(&mut events)), ["op-1", "op-1", "op-2", "op-1"]);
}

#[test]
fn a_door_to_some_jobs_hears_of_nothing_else() {
    let rig = Rig::new();
    let (mut mine, mut theirs) = (rig.within("a-").events(None), rig.within("b-").events(None));
    rig.jobs(&[job("a-1", 1), job("b-1", 1)], 1);
    rig.feed().operations(&[operation(2, 0, &["a-"]), operation(1, 0, &[])], at(1));
    rig.feed().cluster(b"{}", at(1));
    assert_eq!(words(&drain(&mut mine)), ["a-1", "op-2", "cluster"]);
    assert_eq!(words(&drain(&mut theirs)), ["b-1", "cluster"]);
    assert_eq!(words(&drain(&mut rig.within("a-").events(Some(0)))), ["a-1", "op-2", "cluster"]);
}

#[test]
fn a_change_of_the_cluster_is_one_of_a_partition_or_of_the_pause_of_all() {
    let feed = Feed::default();
    let mark = |epoch, state, paused| (vec![(epoch, state)], paused);
    let looks = [
        (mark(0, 0, None), false),
        (mark(4, 1, Some(false)), true),
        (mark(4, 1, Some(false)), false),
        (mark(4, 1, None), false),
        (mark(4, 1, Some(true)), true),
        (mark(4, 0, None), true),
        (mark(9, 1, Some(true)), true),
    ];
    for (number, (mark, changed)) in looks.into_iter().enumerate() {
        assert_eq!(feed.cluster_changed(mark), changed, "look {number}");
    }
}

#[test]
fn those_who_see_the_same_share_what_is_made_for_them() {
    let rig = Rig::new();
    let of = |handle: &KwqHandle| handle.events(None).audience;
    let (all, mine) = (of(&rig.handle), of(&rig.within("a-")));
    assert!(Arc::ptr_eq(&all, &of(&rig.handle)) && Arc::ptr_eq(&mine, &of(&rig.within("a-"))));
    assert!(!Arc::ptr_eq(&all, &mine));
    drop((all, mine));
    drop(of(&rig.within("b-")));
    drop(of(&rig.within("c-")));
    assert_eq!(lock(&rig.feed().audiences).len(), 1, "nobody listens any more but the last one");
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_made_is_left_out_and_events_go_on() {
    let rig = Rig::new();
    let mut events = rig.handle.events(None);
    // No partition serves, so there is no snapshot.
    rig.feed().beat(at(1));
    let waited = tokio::time::timeout(Duration::from_millis(50), events.next()).await;
    assert!(waited.is_err(), "nothing to tell");
    rig.jobs(&[job("a", 1)], 1);
    let told = events.next().await;
    assert!(String::from_utf8_lossy(&told).contains("event: job\n"));
}
