//! Whom work finds, against a model that looks at everybody.

use super::{Places, Wish};
use crate::core::fresh::ReadyWork;
use crate::model::access::Scopes;
use crate::model::id::{Name, PartitionId};
use crate::model::priority::Priority;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;

#[derive(Clone, Debug)]
enum Op {
    /// Worker, keys (none = does not care), job (2 = any).
    Park(u8, Option<BTreeSet<u8>>, u8),
    Leave(usize),
    Learn(u16),
}

fn key(number: u8) -> Name {
    Name::from(format!("k{number}"))
}

fn job(number: u8) -> Name {
    Name::from(format!("j{number}"))
}

/// What a worker has learned in a partition.
fn learned(partition: u16, worker: u8) -> impl Iterator<Item = u8> {
    let salt = partition * 3 + u16::from(worker);
    (0u8..6).filter(move |key| (salt + u16::from(*key) * 5).is_multiple_of(4))
}

fn op() -> impl Strategy<Value = Op> {
    let keys = proptest::option::weighted(0.8, proptest::collection::btree_set(0u8..6, 0..4));
    prop_oneof![
        5 => (0u8..9, keys, 0u8..3).prop_map(|(worker, keys, job)| Op::Park(worker, keys, job)),
        2 => (0..9usize).prop_map(Op::Leave),
        1 => (0u16..2).prop_map(Op::Learn),
    ]
}

/// Worker, keys it is warm for, and the job it takes.
type Model = BTreeMap<u64, (u8, Option<BTreeSet<u8>>, u8)>;

fn step(places: &mut Places, model: &mut Model, op: Op) {
    match op {
        Op::Park(worker, keys, wanted) => {
            let wish = Wish {
                key: (Name::from(format!("w{worker}")), None),
                levels: u16::MAX,
                max: 1,
                jobs: (wanted < 2).then(|| job(wanted)).into_iter().collect(),
                scopes: Scopes::default(),
                warm: keys.as_ref().map(|keys| keys.iter().map(|k| key(*k)).collect()),
            };
            let (wake, _) = oneshot::channel();
            let (number, displaced) = places.park(wish, wake, None).expect("it is the newest");
            let before = model.iter().find(|(_, (known, ..))| *known == worker).map(|(n, _)| *n);
            assert_eq!(displaced.is_some(), before.is_some());
            before.map(|n| model.remove(&n));
            model.insert(number, (worker, keys, wanted));
        }
        Op::Leave(pick) => {
            let Some(number) = model.keys().nth(pick).copied() else { return };
            model.remove(&number);
            assert!(places.take(number).is_some());
        }
        Op::Learn(partition) => {
            places.learn(PartitionId(partition), |worker| {
                let worker = worker.bytes().last().expect("w and a digit") - b'0';
                learned(partition, worker).map(key).collect()
            });
            for (worker, warm, _) in model.values_mut() {
                warm.iter_mut().for_each(|warm| warm.extend(learned(partition, *worker)));
            }
        }
    }
}

proptest! {
    #[test]
    fn work_finds_whom_a_look_at_everybody_finds(
        ops in proptest::collection::vec(op(), 1..60),
        keys in proptest::collection::btree_map(0u8..6, 1u8..5, 1..4),
        wanted in 0u8..2,
    ) {
        let (mut places, mut model) = (Places::new(2), Model::new());
        for op in ops {
            step(&mut places, &mut model, op);
            let named = keys.iter().map(|(k, weight)| (key(*k), *weight)).collect();
            let level = Priority::DESCENDING[0];
            let work = ReadyWork { job: job(wanted), level, keys: named, count: 1 };
            let mut best: Vec<(u32, u64)> = Vec::new();
            for (number, (_, warm, takes)) in &model {
                let holds = |key: &u8| warm.as_ref().is_some_and(|warm| warm.contains(key));
                let shared = keys.iter().filter(|(key, _)| holds(key));
                let score = shared.map(|(_, weight)| u32::from(*weight)).sum();
                if score > 0 && (*takes == 2 || *takes == wanted) {
                    best.push((score, *number));
                }
            }
            best.sort_by_key(|(score, number)| (std::cmp::Reverse(*score), *number));
            let best: Vec<u64> = best.into_iter().map(|(_, number)| number).collect();
            prop_assert_eq!(places.warm_for(&work), best);
        }
        model.keys().for_each(|number| drop(places.take(*number)));
        prop_assert_eq!((places.len(), places.keys()), (0, 0));
    }
}
