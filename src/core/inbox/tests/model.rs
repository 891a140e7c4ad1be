//! Random batches, repeats, overlaps, holes and crashes against a model that takes one record after
//! the other.

use super::*;
use crate::core::partition::Partition;
use crate::core::partition::tests::replayed;
use crate::model::id::PartitionId;
use proptest::prelude::*;
use std::collections::BTreeMap;

const LEVELS: [u8; 2] = [3, 9];

#[derive(Clone, Debug)]
enum Op {
    /// The next so many records of a level.
    Take(usize, u64),
    /// A batch that begins so many records below what was taken.
    Repeat(usize, u64, u64),
    /// So many records are gone before they are taken.
    Hole(usize, u64, u64),
    /// Only the first batches of the log are there after the start.
    Crash(usize),
    /// A start from an image.
    Image,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0usize..2, 1u64..9).prop_map(|(l, n)| Op::Take(l, n)),
        2 => (0usize..2, 1u64..6, 1u64..9).prop_map(|(l, b, n)| Op::Repeat(l, b, n)),
        1 => (0usize..2, 1u64..6, 0u64..9).prop_map(|(l, s, n)| Op::Hole(l, s, n)),
        2 => (0usize..9).prop_map(Op::Crash),
        1 => Just(Op::Image),
    ]
}

/// What lies at an offset; the same whenever it is read.
fn record(level: u8, offset: u64) -> Vec<Item> {
    let own = |n: u64| TaskInput {
        priority: Some(super::level(level)),
        payload: text(&format!("{level}:{offset}:{n}")),
        ..task("free")
    };
    let job = |name: &str| TaskInput { job: Some(name.into()), ..own(0) };
    // Four ids, and some of them with other content.
    let id = (offset / 7) % 4;
    let unique = |payload: String| TaskInput {
        id: Some(format!("u{id}").into()),
        payload: text(&payload),
        ..job("unique")
    };
    match offset.wrapping_mul(11).wrapping_add(u64::from(level)) % 7 {
        0 => Vec::new(),
        1 => vec![Item::Task(own(0))],
        2 => vec![Item::Task(own(0)), dead(own(1)), Item::Task(own(2))],
        3 => vec![dead(own(0))],
        4 => vec![Item::Task(job("closed"))],
        5 => vec![Item::Task(unique(format!("same {id}")))],
        _ => vec![Item::Task(unique(format!("{level}:{offset}")))],
    }
}

/// What a reader that never fails would have made of the records.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    next: [u64; 2],
    passed: [u64; 2],
    lost: [u64; 2],
    /// Payload and whether it is dead, in the order of admission.
    tasks: Vec<(Vec<u8>, bool)>,
    duplicates: u64,
    /// Content by unique id.
    ids: BTreeMap<Name, (Vec<u8>, Priority)>,
}

impl Model {
    /// Takes records; items admitted, dead, there already.
    fn take(&mut self, which: usize, from: u64, next: u64) -> [u32; 3] {
        self.lost[which] += from - self.next[which];
        self.passed[which] += next - from;
        self.next[which] = next;
        let mut counts = [0; 3];
        for item in (from..next).flat_map(|offset| record(LEVELS[which], offset)) {
            counts[self.item(&item)] += 1;
        }
        counts
    }

    fn item(&mut self, item: &Item) -> usize {
        let task = item.task();
        let content = (task.payload.bytes.clone(), task.priority.expect("the topic gives it"));
        let unique = task.id.as_ref().filter(|_| task.job.as_deref() == Some("unique"));
        let known = unique.and_then(|id| self.ids.get(id));
        if known == Some(&content) {
            self.duplicates += 1;
            return 2;
        }
        let closed = task.job.as_deref() == Some("closed");
        let dies = matches!(item, Item::Dead(_)) || closed || known.is_some();
        self.tasks.push((content.0.clone(), dies));
        if let Some(id) = unique.filter(|_| !dies) {
            self.ids.insert(id.clone(), content);
        }
        usize::from(dies)
    }
}

/// A partition beside its model, both with all they were after each batch.
struct Both {
    rig: Rig,
    model: Model,
    /// Records of the log and the model after each batch.
    batches: Vec<(usize, Model)>,
}

impl Both {
    fn new() -> Self {
        let mut rig = Rig::new();
        change(&mut rig, "closed", JobChange::Close);
        define(&mut rig, "unique", |spec| spec.dedup = Dedup::Task);
        let batches = vec![(rig.log.len(), Model::default())];
        Self { rig, model: Model::default(), batches }
    }

    fn take(&mut self, which: usize, from: u64, next: u64) {
        let before = (self.rig.log.len(), self.model.next[which]);
        let number = LEVELS[which];
        // What is refused is kept as it came: here that is the payload.
        let text = |item: &Item| item.task().payload.bytes.clone();
        let sent = |offset: u64| {
            record(number, offset).into_iter().map(move |item| InboxItem {
                source: Source::new(level(number), offset, text(&item)),
                item,
            })
        };
        let items = (from..next).flat_map(sent).collect();
        let batch = InboxBatch { level: level(number), from, next, items, goes_on: false };
        let got = taken(&mut self.rig, Command::TakeInbox(Box::new(batch)));
        if from < before.1 {
            assert_eq!((got, self.rig.log.len()), ((before.1, [0; 3]), before.0));
            return;
        }
        assert_eq!(got, (next, self.model.take(which, from, next)));
        let last = self.rig.log.last().map(|record| record.event.kind());
        assert_eq!(last, Some("Inbox"));
        self.batches.push((self.rig.log.len(), self.model.clone()));
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Take(which, count) => {
                let from = self.rig.partition.inbox()[level(LEVELS[which]).index()];
                self.take(which, from, from + count);
            }
            Op::Repeat(which, back, count) => {
                let from = self.model.next[which].saturating_sub(back);
                self.take(which, from, from + count);
            }
            Op::Hole(which, skip, count) => {
                let from = self.model.next[which] + skip;
                self.take(which, from, from + count);
            }
            Op::Crash(lost) => {
                let kept = self.batches.len().saturating_sub(lost).max(1);
                self.batches.truncate(kept);
                let (records, model) = self.batches[kept - 1].clone();
                self.rig.log.truncate(records);
                self.model = model;
                self.rig.partition = replayed(&self.rig.log);
                self.rig.partition.arm(self.rig.now);
            }
            Op::Image => {
                let (image, policy) = (self.rig.partition.image(), Policy::default());
                let hash = self.rig.partition.state_hash();
                self.rig.partition = Partition::restore(PartitionId(0), policy, 3, image);
                self.rig.partition.arm(self.rig.now);
                assert_eq!(self.rig.partition.state_hash(), hash);
            }
        }
    }

    fn check(&self) {
        let partition = &self.rig.partition;
        let mut inbox = [0; Priority::LEVELS];
        LEVELS.iter().zip(self.model.next).for_each(|(l, next)| inbox[level(*l).index()] = next);
        assert_eq!(partition.inbox(), &inbox);
        let admitted = self.rig.log.iter().filter_map(submitted);
        let state = |seq| partition.state(TaskSeq(seq)) == Some(TaskState::Error);
        let tasks = (0u64..).zip(admitted.flatten());
        let tasks: Vec<_> = tasks.map(|(n, t)| (t.payload.bytes.clone(), state(n))).collect();
        assert_eq!(tasks, self.model.tasks, "each item once, in its place");
        let unique = partition.job_row("unique").map(|job| job.numbers.duplicates);
        assert_eq!(unique, Some(self.model.duplicates));
        // Counted from the whole log, as after a start without an image.
        let fresh = replayed(&self.rig.log);
        for (which, number) in LEVELS.into_iter().enumerate() {
            let (at, stats) = (level(number).index(), fresh.stats());
            let counted = (stats.inbox_taken[at], stats.inbox_lost[at]);
            assert_eq!(counted, (self.model.passed[which], self.model.lost[which]));
        }
        let dead = self.model.tasks.iter().filter(|(_, dead)| *dead).count();
        assert_eq!(fresh.stats().came_in_dead.iter().sum::<u64>(), dead as u64);
        self.rig.check();
    }
}

proptest! {
    #[test]
    fn every_record_is_taken_once_whatever_happens(
        ops in proptest::collection::vec(op(), 1..60),
    ) {
        let mut both = Both::new();
        ops.into_iter().for_each(|op| both.step(op));
        both.check();
        // A reader that begins anew ends where the others do.
        for which in 0..LEVELS.len() {
            both.step(Op::Repeat(which, 60, 3));
            both.step(Op::Take(which, 60));
        }
        both.check();
    }
}
