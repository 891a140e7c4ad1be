//! The counters of the tracker against a naive count over all tasks.

use super::naive_tests::{Model, P0};
use super::test_rig::{Writer, placed, spec, steps};
use crate::model::access::Scopes;
use crate::model::array::{ArraySpec, Span};
use crate::model::breakdown::{LevelCounts, TagCaps, TagCounts, Within};
use crate::model::event::{Event, Stamped};
use crate::model::id::{Name, TaskSeq};
use crate::model::job::{CancelMode, JobChange};
use crate::model::key::Hash128;
use crate::model::priority::Priority;
use crate::model::state::StateCounts;
use crate::model::tags::{TagPart, TagSet, split};
use crate::model::time::WallMs;
use crate::store::Tracker;
use crate::store::memory::MemoryStore;
use proptest::prelude::*;

const JOBS: [&str; 3] = ["alpha", "beta", "gamma"];
const KEYS: [&str; 6] = ["a", "b", "c", "d", "_", "never"];
const CAPS: TagCaps = TagCaps { values: 3, keys: 2 };

/// Gives every task tags of its own: few keys, more values than the caps allow.
fn tagged(mut log: Vec<Stamped>, salt: u64) -> Vec<Stamped> {
    for record in &mut log {
        if let Event::Submitted { first, tasks } = &mut record.event {
            for (n, task) in (first.0..).zip(tasks) {
                let mix = (n ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
                task.tag = tags(mix).map(Name::from);
            }
        }
    }
    log
}

fn tags(mix: u64) -> Option<String> {
    let (a, b) = (mix % 7, mix / 7 % 5);
    let text = match mix % 11 {
        0 => return None,
        1 => format!("bare-{b}"),
        2 => format!("a:{a},b:{b},c:{a}"),
        3 => format!("a:{a},a:{b},a:x{b}"),
        4 => format!("d:__other,a:__{a}"),
        5 => format!("b:{b},lone-{a}"),
        6 => format!("c:{a},c:{b},d:{a}"),
        7 => format!("_:{a},bare-{b}"),
        _ => format!("a:{a}"),
    };
    Some(text)
}

/// Values of a task under a key.
fn values(text: Option<&Name>, key: &str) -> Vec<String> {
    let set = text.and_then(|text| TagSet::parse(text).ok()).unwrap_or_default();
    let value = |tag: &str| match split(tag) {
        TagPart::Pair(k, v) => (k == key).then(|| v.to_owned()),
        TagPart::Bare(bare) => (key == "_").then(|| bare.to_owned()),
    };
    set.iter().filter_map(value).collect()
}

fn keys(text: Option<&Name>) -> Vec<String> {
    let set = text.and_then(|text| TagSet::parse(text).ok()).unwrap_or_default();
    let key = |tag: &str| match split(tag) {
        TagPart::Pair(k, _) => k.to_owned(),
        TagPart::Bare(_) => "_".to_owned(),
    };
    set.iter().map(key).collect()
}

/// The first so many keys of a job in one of its lives, and whether there are more.
fn counted_keys(model: &Model, job: &str, life: usize, most: usize) -> (Vec<String>, bool) {
    let (mut first, mut more) = (Vec::<String>::new(), false);
    let own = |n: &usize| &*model.tasks[*n].spec.job == job && model.tasks[*n].life == life;
    for n in (0..model.tasks.len()).filter(own) {
        for key in keys(model.tasks[n].spec.tag.as_ref()) {
            let known = first.contains(&key);
            more |= !known && first.len() == most;
            if !known && first.len() < most {
                first.push(key);
            }
        }
    }
    (first, more)
}

/// Counts by hand. Of one job only its present life is looked at; the first values of all jobs may
/// have come and gone with an earlier one.
fn count(model: &Model, now: WallMs, jobs: &[&str], key: &str, caps: TagCaps) -> TagCounts {
    let (mut sum, mut own) = (TagCounts::default(), Vec::<String>::new());
    let (mut none, mut left_out) = (StateCounts::default(), false);
    let mut rows = std::collections::BTreeMap::<Name, StateCounts>::new();
    let mut counting = Vec::new();
    for job in jobs {
        let present = model.lives.iter().filter(|name| &***name == *job).count();
        let first = if jobs.len() > 1 { 0 } else { present };
        for life in first..=present {
            let (counted, more) = counted_keys(model, job, life, caps.keys);
            let counts = counted.iter().any(|k| k == key);
            left_out |= more && !counts && life == present;
            counting.push((*job, life, counts));
        }
    }
    for n in 0..model.tasks.len() {
        let task = &model.tasks[n].spec;
        let own_life = |(job, life, _): &&(&str, usize, bool)| {
            *job == &*task.job && *life == model.tasks[n].life
        };
        let Some((.., counts)) = counting.iter().find(own_life) else { continue };
        let state = model.row(n, now).state;
        let here = u64::from(!model.tasks[n].purged);
        let found = if *counts { values(task.tag.as_ref(), key) } else { Vec::new() };
        if found.is_empty() {
            none.add(state, here);
        }
        for value in found {
            let mut known = own.contains(&value);
            if !known && own.len() < caps.values && !value.starts_with("__") {
                own.push(value.clone());
                known = true;
            }
            if known {
                rows.entry(Name::from(value)).or_default().add(state, here);
            } else {
                sum.other.add(state, here);
                sum.overflow = true;
            }
        }
    }
    sum.overflow |= left_out;
    sum.none = (!left_out).then_some(none);
    sum.rows = rows.into_iter().filter(|(_, counts)| counts.total() > 0).collect();
    sum
}

fn levels(model: &Model, now: WallMs, job: &str) -> LevelCounts {
    let mut levels = LevelCounts::default();
    for n in (0..model.tasks.len())
        .filter(|n| &*model.tasks[*n].spec.job == job && !model.tasks[*n].purged)
    {
        let row = model.row(n, now);
        levels[row.priority.index()].add(row.state, 1);
    }
    levels
}

fn check(tracker: &mut Tracker, model: &Model, now: WallMs, caps: TagCaps) {
    tracker.advance(now);
    let everything = Within::Jobs(Scopes::default());
    for job in JOBS {
        assert_eq!(tracker.level_counts(&job.into()), levels(model, now, job), "{job}");
    }
    for key in KEYS {
        for job in JOBS {
            let found = tracker.tag_counts(&Within::Job(job.into()), key).expect("sound");
            assert_eq!(found, count(model, now, &[job], key, caps), "{job} {key}");
        }
        let found = tracker.tag_counts(&everything, key).expect("sound");
        assert_eq!(found, count(model, now, &JOBS, key, caps), "all jobs, {key}");
        // What a caller with scopes sees is the sum of what it may see.
        let scopes = Scopes::new(["alpha", "gamma"].map(Name::from).into());
        let found = tracker.tag_counts(&Within::Jobs(scopes), key).expect("sound");
        let parts = ["alpha", "gamma"].map(|job| count(model, now, &[job], key, caps));
        for part in &parts {
            for (value, counts) in &part.rows {
                let row = found.rows.iter().find(|(v, _)| v == value).expect("has a row");
                assert!(row.1.total() >= counts.total());
            }
        }
        let sum = |of: fn(&TagCounts) -> u64| parts.iter().map(of).sum::<u64>();
        let none = |counts: &TagCounts| counts.none.map(|none| none.total());
        assert_eq!(none(&found), parts.iter().map(none).sum(), "{key}");
        assert_eq!(found.other.total(), sum(|p| p.other.total()), "{key}");
    }
    assert!(tracker.damage().is_none());
}

fn open(store: &MemoryStore, caps: TagCaps, now: WallMs) -> Tracker {
    Tracker::open_capped(Box::new(store.clone()), 1, 50, caps, now).expect("the store opens")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_history_is_counted_as_by_hand(
        history in steps(220),
        salt in any::<u64>(),
        looks in proptest::collection::vec((0usize..400, 0u64..400, any::<bool>()), 0..5),
        later in 0u64..600,
        wide in any::<bool>(),
    ) {
        let caps = if wide { TagCaps::default() } else { CAPS };
        let log = tagged(Writer::run(&history), salt);
        let records = placed(&log);
        let store = MemoryStore::default();
        let mut tracker = open(&store, caps, WallMs(0));
        let mut looks = looks;
        looks.sort_unstable();
        let mut latest = WallMs(0);
        for (cut, ahead, again) in looks {
            let cut = cut.min(records.len());
            tracker.fold(P0, &records[..cut]);
            let now = log[..cut].last().map_or(WallMs(0), |r| r.at.plus(ahead));
            latest = latest.max(now);
            tracker.advance(latest);
            if again {
                tracker.checkpoint().expect("memory takes everything");
                tracker = open(&store, caps, latest);
            }
        }
        tracker.fold(P0, &records);
        let now = latest.max(log.last().expect("never empty").at).plus(later);
        check(&mut tracker, &Model::of(&records), now, caps);
        tracker.checkpoint().expect("memory takes everything");
        let mut again = open(&store, caps, now);
        check(&mut again, &Model::of(&records), now, caps);
    }
}

fn delayed_array(job: &str, first: u64, count: u64, due: u64) -> Event {
    let mut task = spec(job, 5, Some("a:1,b:2"), due);
    task.payload.bytes = b"{i}".to_vec();
    let span = Span { from: 0, step: 1, count };
    let array = Box::new(ArraySpec { task, span, id: None, content: Hash128::default() });
    Event::SubmittedArray { first: TaskSeq(first), array }
}

/// Arrays that wait, elements cancelled meanwhile, a job moved and a job cancelled meanwhile.
fn waiting_history() -> Vec<Stamped> {
    let event = |at: u64, event: Event| Stamped { at: WallMs(at), event };
    let change = |job: &str, change| Event::JobChanged { job: job.into(), change };
    let moved = JobChange::Prioritise(Priority::try_from(8).expect("1 to 9"));
    vec![
        event(10, delayed_array("alpha", 0, 3_000, 5_000)),
        event(10, delayed_array("beta", 3_000, 2_500, 5_000)),
        event(20, Event::Cancelled(vec![TaskSeq(0), TaskSeq(1_500), TaskSeq(2_999)])),
        event(30, change("alpha", moved)),
        event(40, change("beta", JobChange::Cancel(CancelMode::Stop, None))),
        event(6_000, Event::Cancelled(vec![TaskSeq(1)])),
    ]
}

#[test]
fn delayed_arrays_are_counted_over_restarts_and_when_their_time_comes() {
    let log = waiting_history();
    let records = placed(&log);
    for cut in 1..=records.len() {
        let store = MemoryStore::default();
        let mut tracker = open(&store, CAPS, WallMs(0));
        tracker.fold(P0, &records[..cut]);
        for now in [WallMs(100), WallMs(5_500), WallMs(7_000)] {
            let now = now.max(log[cut - 1].at);
            check(&mut tracker, &Model::of(&records[..cut]), now, CAPS);
            tracker.checkpoint().expect("memory takes everything");
            tracker = open(&store, CAPS, now);
        }
        check(&mut tracker, &Model::of(&records[..cut]), WallMs(7_000), CAPS);
    }
}

#[test]
fn other_limits_mean_counting_anew() {
    let log = waiting_history();
    let records = placed(&log);
    let store = MemoryStore::default();
    let mut tracker = open(&store, CAPS, WallMs(0));
    tracker.fold(P0, &records);
    tracker.checkpoint().expect("memory takes everything");
    let same = open(&store, CAPS, WallMs(0));
    assert!(same.cursors()[0].0 > 0);
    let other = open(&store, TagCaps { values: 4, ..CAPS }, WallMs(0));
    assert_eq!(other.cursors()[0].0, 0, "it is folded again");
}

#[test]
fn many_values_and_keys_stay_within_the_limits() {
    let caps = TagCaps { values: 10, keys: 2 };
    let tasks = (0..500).map(|n| spec("j", 5, Some(&format!("a:{n},k{n}:1,bare-{n}")), 0));
    let event = Event::Submitted { first: TaskSeq(0), tasks: tasks.collect() };
    let log = [Stamped { at: WallMs(5), event }];
    let mut tracker = open(&MemoryStore::default(), caps, WallMs(0));
    tracker.fold(P0, &placed(&log));
    let of = |tracker: &mut Tracker, key: &str| {
        tracker.tag_counts(&Within::Job("j".into()), key).expect("sound")
    };
    let a = of(&mut tracker, "a");
    assert_eq!(
        (a.rows.len(), a.other.total(), a.none.map(|none| none.total())),
        (10, 490, Some(0))
    );
    assert!(a.overflow);
    let bare = of(&mut tracker, "_");
    assert_eq!((bare.rows.len(), bare.overflow), (0, true), "the job has two keys before it");
    assert_eq!(bare.none, None, "nobody knows who has it");
    assert_eq!(of(&mut tracker, "k0").rows.len(), 2, "`1`, and `bare-0` by rule 2");
}
