//! Random submits with repeats against a naive map, and against replay and images.

use crate::core::partition::Partition;
use crate::core::unique;
use crate::model::affinity::AffinityKey;
use crate::model::array::{ArrayInput, Span};
use crate::model::command::{ARRAYS, Command, Item, Submit};
use crate::model::event::{Event, Stamped};
use crate::model::id::{PartitionId, Position};
use crate::model::job::{Dedup, JobChange};
use crate::model::key::{Digest, Frees, KeyPart, Keyed};
use crate::model::limits;
use crate::model::policy::Policy;
use crate::model::priority::Priority;
use crate::model::reject::{Code, Reject};
use crate::model::reply::{AdmittedItem, Elsewhere, Reply, Submitted};
use crate::model::task::{Blob, Encoding, TaskInput};
use crate::model::time::{Now, Tick, WallMs};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

const RETENTION_MS: u64 = 1_000;

fn policy(partitions: u16) -> Policy {
    Policy { key_retention_ms: RETENTION_MS, partitions, ..Policy::default() }
}

struct Rig {
    partition: Partition,
    log: Vec<Stamped>,
    now: Now,
}

impl Rig {
    fn new(id: u16, partitions: u16) -> Self {
        let mut partition = Partition::new(PartitionId(id), policy(partitions), 7);
        let owner = Event::Owner { node: "n".into(), addr: "".into(), token_key: [1, 2] };
        let log = vec![Stamped { at: WallMs(1_000), event: owner }];
        partition.replay(Position(0), &log[0]);
        let now = Now { wall: WallMs(1_000), tick: Tick(0) };
        partition.arm(now);
        let mut rig = Self { partition, log, now };
        let spec = crate::core::admit::implicit_spec(&policy(partitions));
        let spec = crate::model::job::JobSpec { dedup: Dedup::Task, ..spec };
        rig.run(Command::DefineJob { job: "u".into(), spec: Box::new(spec), replace: false });
        rig
    }

    fn run(&mut self, command: Command) -> Reply {
        let from = self.log.len();
        let reply = self.partition.decide(command, self.now, &mut self.log);
        for at in from..self.log.len() {
            let event = self.log[at].event.clone();
            self.partition.placed(&event, Position(at as u64));
        }
        reply
    }

    fn submitted(&mut self, command: Command) -> Submitted {
        let Reply::Submitted(answer) = self.run(command) else { panic!("another reply") };
        answer
    }

    fn keyed(&mut self, key: u8, content: u8, items: Vec<Item>, frees: Frees) -> Reply {
        let part = KeyPart { key: Digest([key; 32]), content: Digest([content; 32]), part: 0 };
        let key = Some(Keyed { part, frees });
        self.run(Command::Submit(Box::new(Submit { items, until_refused: false, key })))
    }

    fn pass(&mut self, ms: u64) {
        self.now = Now { wall: self.now.wall.plus(ms), tick: self.now.tick.plus(ms) };
    }

    /// From zero, and from an image with everything behind it.
    fn check(&self) {
        let id = self.partition.id();
        let hash = self.partition.state_hash();
        let mut from_zero = Partition::new(id, self.partition.policy, 9);
        let mut half = None;
        for (at, record) in self.log.iter().enumerate() {
            from_zero.replay(Position(at as u64), record);
            if at == self.log.len() / 2 {
                half = Some(from_zero.image());
            }
        }
        assert_eq!(from_zero.state_hash(), hash, "from zero");
        let image = half.expect("the log is not empty");
        let mut tail = Partition::restore(id, self.partition.policy, 3, image);
        for (at, record) in self.log.iter().enumerate().skip(self.log.len() / 2 + 1) {
            tail.replay(Position(at as u64), record);
        }
        assert_eq!(tail.state_hash(), hash, "from image and tail");
    }
}

fn task(job: &str, id: Option<u8>, content: u8) -> TaskInput {
    TaskInput {
        job: Some(job.into()),
        id: id.map(|id| format!("id{id}").into()),
        payload: Blob { encoding: Encoding::Text, bytes: vec![content] },
        ..TaskInput::default()
    }
}

fn array(id: Option<u8>, content: u8, count: u64) -> Item {
    let span = Span { from: 10, step: 2, count };
    let id = id.map(|id| format!("array{id}").into());
    Item::Array(ArrayInput { task: task("u", None, content), span, id })
}

/// A task or an array, its id in its job or none, and its content.
type Thing = (bool, Option<u8>, u8);

const ELEMENTS: u64 = 3;

fn item((single, id, content): &Thing) -> Item {
    match single {
        true => Item::Task(task("u", *id, *content)),
        false => array(*id, *content, ELEMENTS),
    }
}

/// One submit: key (none = without), and things.
type Call = (Option<u8>, Vec<Thing>);

fn calls() -> impl Strategy<Value = Vec<(Call, u16)>> {
    let one = (prop::bool::weighted(0.7), prop::option::of(0u8..4), 0u8..2);
    let call = (prop::option::of(0u8..3), vec(one, 0..5));
    vec((call, 0u16..400), 1..40)
}

/// What a call is answered, as plain text: `ok`, `dup` or `no` with a reference.
fn texts(answer: &Submitted) -> Vec<String> {
    let text = |outcome: &Result<AdmittedItem, Reject>| match outcome {
        Ok(AdmittedItem::Task(one)) if one.duplicate => format!("dup {}", one.reference),
        Ok(AdmittedItem::Task(one)) => format!("ok {}", one.reference),
        Ok(AdmittedItem::Array { reference, count, duplicate: true }) => {
            format!("dup {reference} x {count}")
        }
        Ok(AdmittedItem::Array { reference, count, .. }) => format!("ok {reference} x {count}"),
        Err(reject) => {
            format!("no {:?} {:?}", reject.code, reject.existing.as_ref().map(ToString::to_string))
        }
    };
    answer.outcomes.iter().map(text).collect()
}

/// Things, time, answer.
type Known = (Vec<Thing>, WallMs, Vec<String>);

#[derive(Default)]
struct Naive {
    next: u64,
    /// Kind and id → content and reference.
    ids: BTreeMap<(bool, u8), (u8, String)>,
    /// Key → its first call.
    keys: BTreeMap<u8, Known>,
    duplicates: u64,
}

impl Naive {
    fn submit(&mut self, things: &[Thing]) -> Vec<String> {
        let mut said = Vec::new();
        for (single, id, content) in things {
            let known = id.and_then(|id| self.ids.get(&(*single, id)));
            let (count, times) = match single {
                true => (1, String::new()),
                false => (ELEMENTS, format!(" x {ELEMENTS}")),
            };
            said.push(match known {
                Some((same, reference)) if same == content => {
                    self.duplicates += count;
                    format!("dup {reference}{times}")
                }
                Some((_, reference)) => format!("no IdConflict {:?}", Some(reference)),
                None => {
                    let reference = format!("5-0-{}", self.next);
                    self.next += count;
                    if let Some(id) = id {
                        self.ids.insert((*single, *id), (*content, reference.clone()));
                    }
                    format!("ok {reference}{times}")
                }
            });
        }
        said
    }
}

proptest! {
    #[test]
    fn submits_with_repeats_equal_a_naive_map(calls in calls()) {
        let (mut rig, mut naive) = (Rig::new(0, 1), Naive::default());
        for ((key, things), wait) in calls {
            rig.pass(u64::from(wait));
            let items: Vec<Item> = things.iter().map(item).collect();
            let Some(key) = key else {
                let answer = rig.submitted(Command::submit(items));
                prop_assert_eq!(texts(&answer), naive.submit(&things));
                continue;
            };
            let content = things.iter().fold(9u8, |sum, (single, id, content)| {
                let one = id.map_or(7, |id| id * 2 + content) + 10 * u8::from(*single);
                sum.wrapping_mul(31).wrapping_add(one)
            });
            let reply = rig.keyed(key, content, items, Frees::Never);
            let known = naive.keys.get(&key);
            let known = known.filter(|(_, at, _)| at.plus(RETENTION_MS) > rig.now.wall);
            match (known.cloned(), reply) {
                (Some((same, _, said)), Reply::Submitted(answer)) if same == things => {
                    prop_assert!(answer.replayed);
                    prop_assert_eq!(texts(&answer), said);
                }
                (Some((other, _, _)), Reply::Refused(reject)) => {
                    prop_assert_ne!(other, things);
                    prop_assert_eq!(reject.code, Code::IdempotencyKeyReused);
                }
                (None, Reply::Submitted(answer)) => {
                    prop_assert!(!answer.replayed);
                    let said = naive.submit(&things);
                    prop_assert_eq!(texts(&answer), said.clone());
                    naive.keys.insert(key, (things, rig.now.wall, said));
                }
                // Two contents of one small hash: not what is tested.
                (Some((other, _, _)), Reply::Submitted(_)) => prop_assume!(other == things),
                other => prop_assert!(false, "{:?}", other),
            }
        }
        let job = rig.partition.job_rows().next().expect("a job");
        prop_assert_eq!(job.numbers.duplicates, naive.duplicates);
        prop_assert_eq!(job.numbers.submitted, naive.next);
        rig.check();
    }
}

#[test]
fn a_refusal_leaves_the_key_free_and_a_forgotten_part_too() {
    let mut rig = Rig::new(0, 1);
    rig.submitted(Command::submit(vec![task("u", Some(1), 1)]));
    let refused = rig.keyed(9, 1, vec![item(&(true, Some(1), 2))], Frees::Refused);
    let Reply::Submitted(refused) = refused else { panic!("{refused:?}") };
    assert_eq!(texts(&refused), ["no IdConflict Some(\"5-0-0\")"]);
    // Other content under the same key: it was left free.
    let Reply::Submitted(taken) = rig.keyed(9, 2, vec![item(&(true, Some(2), 2))], Frees::Refused)
    else {
        panic!("the key was free")
    };
    assert_eq!((texts(&taken), taken.replayed), (vec!["ok 5-0-1".to_owned()], false));
    let part = KeyPart { key: Digest([9; 32]), content: Digest([2; 32]), part: 0 };
    let other = KeyPart { content: Digest([3; 32]), ..part };
    rig.run(Command::ForgetKey(other));
    assert!(matches!(rig.partition.recall(&part), Ok(Some(_))), "only its own content");
    rig.run(Command::ForgetKey(part));
    assert!(matches!(rig.partition.recall(&other), Ok(None)));
    rig.check();
}

#[test]
fn a_closed_job_frees_only_where_that_refuses_the_call() {
    let mut rig = Rig::new(0, 1);
    let (spec, implicit) = (crate::core::admit::implicit_spec(&policy(1)), false);
    let (job, spec) = ("u".into(), Box::new(spec));
    rig.run(Command::ChangeJob { job, change: JobChange::Close, spec, implicit });
    rig.keyed(1, 1, vec![item(&(true, None, 1))], Frees::Closed);
    rig.keyed(2, 1, vec![item(&(true, None, 1))], Frees::Never);
    let part = |key: u8| KeyPart { key: Digest([key; 32]), content: Digest([1; 32]), part: 0 };
    assert!(matches!(rig.partition.recall(&part(1)), Ok(None)));
    assert!(matches!(rig.partition.recall(&part(2)), Ok(Some(_))));
    let Reply::Submitted(again) = rig.keyed(2, 1, vec![item(&(true, None, 1))], Frees::Never)
    else {
        panic!("remembered")
    };
    assert_eq!(texts(&again), ["no JobClosed None"]);
    assert!(again.replayed);
    rig.check();
}

fn thirty() -> Vec<Item> {
    (0..30).map(|id| item(&(true, Some(id), 0))).collect()
}

#[test]
fn an_id_of_another_partition_is_handed_back_and_the_split_is_remembered() {
    let mut rig = Rig::new(1, 3);
    let Reply::Submitted(first) = rig.keyed(1, 1, thirty(), Frees::Never) else { panic!() };
    assert!(first.elsewhere.len() > 9 && first.elsewhere.len() < 30, "dealt by hash");
    for other in &first.elsewhere {
        let id = unique::id_hash("u", other.item.task().id.as_deref().expect("given"));
        assert_eq!((unique::home(id, 3), &thirty()[other.place]), (other.partition, &other.item));
        assert_ne!(other.partition, PartitionId(1));
    }
    let Reply::Submitted(again) = rig.keyed(1, 1, thirty(), Frees::Never) else { panic!() };
    assert_eq!(again, Submitted { replayed: true, ..first });
    rig.check();
}

#[test]
fn what_ends_at_a_refusal_ends_at_another_partitions_task_too() {
    let mut rig = Rig::new(1, 3);
    let part = KeyPart { key: Digest([1; 32]), content: Digest([1; 32]), part: 0 };
    let key = Some(Keyed { part, frees: Frees::Refused });
    let call = Submit { items: thirty(), until_refused: true, key };
    let first = rig.submitted(Command::Submit(Box::new(call.clone())));
    let stop = first.elsewhere.first().expect("one of thirty").place;
    assert_eq!((first.outcomes.len(), first.elsewhere.len()), (30, 30 - stop));
    let again = rig.submitted(Command::Submit(Box::new(call)));
    assert_eq!(again, Submitted { replayed: true, ..first });
    rig.check();
}

#[test]
fn an_array_is_decided_in_its_first_partition_with_all_that_stands_beside_it() {
    let items = || vec![item(&(true, None, 1)), array(Some(1), 1, 7), item(&(true, None, 2))];
    let mut beside = Rig::new(1, 3);
    for replayed in [false, true] {
        let Reply::Submitted(answer) = beside.keyed(1, 1, items(), Frees::Never) else { panic!() };
        let whole = |(place, item)| Elsewhere { place, partition: ARRAYS, item };
        let all: Vec<Elsewhere> = items().into_iter().enumerate().map(whole).collect();
        assert_eq!((answer.elsewhere, answer.replayed), (all, replayed));
    }
    beside.check();
    let mut first = Rig::new(0, 3);
    for _ in 0..2 {
        let Reply::Submitted(answer) = first.keyed(1, 1, items(), Frees::Never) else { panic!() };
        assert_eq!(texts(&answer), ["ok 5-0-0", "ok 5-0-1 x 3", "ok 5-0-4"]);
        assert!(answer.elsewhere.is_empty());
    }
    let again = first.submitted(Command::submit(vec![array(Some(1), 1, 7)]));
    assert_eq!(texts(&again), ["dup 5-0-1 x 3"]);
    let duplicates = |rig: &Rig| rig.partition.job_rows().next().map(|job| job.numbers.duplicates);
    assert_eq!(duplicates(&first), Some(7), "of all partitions");
    first.check();
    // The others take their shares unasked.
    let Item::Array(input) = array(Some(1), 1, 7) else { unreachable!("made as one") };
    for said in ["ok 5-1-0 x 2", "dup 5-1-0 x 2"] {
        let share = Command::submit(vec![Item::Share(input.clone())]);
        assert_eq!(texts(&beside.submitted(share)), [said]);
    }
    assert_eq!(duplicates(&beside), Some(0), "the first partition has counted them");
    beside.check();
}

#[test]
fn what_ends_at_a_refusal_waits_behind_each_array() {
    let mut rig = Rig::new(0, 3);
    let items = vec![array(None, 1, 7), array(None, 2, 7), item(&(true, None, 2))];
    let call = Submit { items: items.clone(), until_refused: true, key: None };
    let answer = rig.submitted(Command::Submit(Box::new(call)));
    assert_eq!(texts(&answer)[0], "ok 5-0-0 x 3");
    let behind: Vec<Item> = answer.elsewhere.into_iter().map(|other| other.item).collect();
    assert_eq!(behind, items[1..]);
    rig.check();
}

#[test]
fn two_arrays_differ_even_where_their_shares_are_equal() {
    let mut rig = Rig::new(0, 2);
    let one = |count| Command::submit(vec![array(Some(1), 1, count)]);
    assert_eq!(texts(&rig.submitted(one(3))), ["ok 5-0-0 x 2"]);
    let other = rig.submitted(one(4));
    assert_eq!(texts(&other), ["no IdConflict Some(\"5-0-0\")"]);
    rig.check();
}

#[test]
fn the_content_of_a_task_is_in_normal_form() {
    let tagged = |tag: &str, keys: &[(&str, u8)]| {
        let key = |(key, weight): &(&str, u8)| AffinityKey { key: (*key).into(), weight: *weight };
        let affinity = Some(keys.iter().map(key).collect());
        unique::content_hash(&TaskInput { tag: Some(tag.into()), affinity, ..task("u", None, 1) })
    };
    let plain = tagged("a:1,c:2", &[("x", 1), ("y", 2)]);
    assert_eq!(plain, tagged("c: 2,a:1", &[("y", 2), ("x", 1)]));
    assert_ne!(plain, tagged("a:1", &[("x", 1), ("y", 2)]));
    assert_ne!(plain, tagged("a:1,c:2", &[("x", 2), ("y", 1)]));
    let base = task("u", None, 1);
    let hash = unique::content_hash;
    assert_ne!(hash(&base), hash(&task("u", None, 2)));
    assert_ne!(hash(&base), hash(&TaskInput { priority: Priority::new(5), ..base.clone() }));
    let json = Blob { encoding: Encoding::Json, ..base.payload.clone() };
    assert_ne!(hash(&base), hash(&TaskInput { payload: json, ..base.clone() }));
    // What is no content.
    assert_eq!(hash(&base), hash(&TaskInput { meta: Some("m".into()), ..base.clone() }));
}

#[test]
fn a_full_memory_refuses_new_keys_and_forgets_none() {
    let mut rig = Rig::new(0, 1);
    let note = vec![0; 1 << 20];
    let part = |n: u64| KeyPart { key: Digest([1; 32]), content: Digest([1; 32]), part: n };
    let count = (limits::KEYS_BYTES_MAX >> 20) as u64;
    for n in 0..count {
        rig.run(Command::Remember { part: part(n), note: note.clone() });
        rig.log.clear();
    }
    let full = rig.run(Command::Remember { part: part(count), note: note.clone() });
    let Reply::Refused(reject) = full else { panic!("{full:?}") };
    assert_eq!((reject.code, reject.not_applied), (Code::Overloaded, true));
    assert_eq!(reject.retry_after_ms, Some(RETENTION_MS));
    assert!(matches!(rig.partition.recall(&part(0)), Ok(Some(_))));
    rig.pass(RETENTION_MS);
    assert!(matches!(
        rig.run(Command::Remember { part: part(count), note }),
        Reply::Noted(_, false)
    ));
    assert_eq!(rig.partition.remembered.iter().count(), 1, "what was too old is gone");
}
