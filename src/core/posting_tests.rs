//! Postings against an ordered set, near and far, and what they cost.

use super::{Posting, Postings, SPAN, WORDS_MAX};
use crate::core::intern::KeyNumber;
use crate::model::id::TaskSeq;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Op {
    Insert(u64),
    Run(u64, u64),
    Remove(u64),
    PopFirst,
}

/// Dense, sparse and beyond the reach of one block.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..600, (0u64..400).prop_map(|n| n * 7), (0u64..8).prop_map(|n| n * SPAN / 3)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => number().prop_map(Op::Insert),
        1 => (0u64..3, 1u64..50).prop_map(|(gap, count)| Op::Run(gap, count)),
        3 => number().prop_map(Op::Remove),
        1 => Just(Op::PopFirst),
    ]
}

/// The structure's own rules, and its members by a walk over the words.
fn members(posting: &Posting) -> Vec<u64> {
    let mut all = Vec::new();
    for block in &posting.blocks {
        assert!(!block.words.is_empty() && block.words.len() <= WORDS_MAX);
        let mut words = block.words.iter();
        while let Some(word) = words.next() {
            let first = block.base + u64::from(word & super::OFFSET);
            assert_eq!(word & super::END, 0, "a run begins before it ends");
            let last = match word & super::START {
                0 => first,
                _ => {
                    let end = words.next().expect("a run ends in its block");
                    assert_ne!(end & super::END, 0);
                    block.base + u64::from(end & super::OFFSET)
                }
            };
            assert!(all.last().is_none_or(|before| *before < first));
            all.extend(first..=last);
        }
    }
    all
}

proptest! {
    #[test]
    fn it_behaves_like_an_ordered_set(ops in proptest::collection::vec(op(), 1..1_200)) {
        let (mut posting, mut model) = (Posting::default(), BTreeSet::new());
        for op in ops {
            match op {
                Op::Insert(n) => prop_assert_eq!(posting.insert(TaskSeq(n)), model.insert(n)),
                Op::Run(gap, count) => {
                    let first = model.last().map_or(0, |last| last + 1 + gap);
                    posting.push_run(TaskSeq(first), count);
                    model.extend(first..first + count);
                }
                Op::Remove(n) => prop_assert_eq!(posting.remove(TaskSeq(n)), model.remove(&n)),
                Op::PopFirst => {
                    if let Some(first) = posting.first() {
                        prop_assert!(posting.remove(first));
                        model.remove(&first.0);
                    }
                }
            }
            prop_assert_eq!(posting.first().map(|s| s.0), model.first().copied());
            prop_assert_eq!(posting.is_empty(), model.is_empty());
        }
        prop_assert!(members(&posting).into_iter().eq(model.iter().copied()));
    }
}

#[test]
fn a_run_longer_than_a_block_reaches_is_cut() {
    let mut posting = Posting::default();
    posting.push_run(TaskSeq(SPAN - 3), 2 * SPAN);
    assert_eq!(posting.blocks.len(), 2);
    assert!(posting.remove(TaskSeq(2 * SPAN - 3)) && !posting.remove(TaskSeq(2 * SPAN - 3)));
    assert!(posting.insert(TaskSeq(2 * SPAN - 3)) && !posting.insert(TaskSeq(2 * SPAN - 3)));
    assert_eq!(posting.first(), Some(TaskSeq(SPAN - 3)));
}

#[test]
fn a_lone_task_costs_five_bytes_and_a_run_next_to_nothing() {
    let mut sparse = Posting::default();
    (0..5_000u64).for_each(|n| sparse.push_run(TaskSeq(n * 10_000), 1));
    assert!(sparse.bytes() <= 5 * 5_000, "{} B", sparse.bytes());
    let mut dense = Posting::default();
    (0..5_000u64).for_each(|n| dense.push_run(TaskSeq(n * 1_000), 1_000));
    assert!(dense.bytes() < 100, "{} B", dense.bytes());
}

/// 10,000 keys and 33 tasks of each, as in one of three lanes that hold a million tasks.
#[test]
fn many_keys_with_few_tasks_each_cost_eight_bytes_a_posting() {
    let (keys, tasks) = (10_000u32, 330_000u32);
    let mut postings = Postings::default();
    for task in 0..tasks {
        let key = KeyNumber(task.wrapping_mul(0x9e37_79b9) % keys);
        postings.push_run(TaskSeq(u64::from(task) * 3), 1, &[(key, 1)]);
    }
    let bytes = postings.bytes((0..keys).map(KeyNumber)) as f64 / f64::from(tasks);
    assert!((4.0..8.0).contains(&bytes), "{bytes} B");
}

/// At most 16 B a posting, also after the middle was taken out in any order.
#[test]
fn memory_comes_back_when_tasks_leave_from_the_middle() {
    let mut posting = Posting::default();
    let count = 100_000u64;
    (0..count).for_each(|n| posting.push_run(TaskSeq(n * 50), 1));
    for n in (0..count).filter(|n| !(n * 7_919 % count).is_multiple_of(50)) {
        assert!(posting.remove(TaskSeq(n * 50)));
    }
    let left = members(&posting).len();
    assert!(posting.bytes() <= 16 * left + 4_096, "{} B for {left}", posting.bytes());
    assert_eq!(left, 2_000);
}
