//! The set of sequence numbers against an ordered set.

use super::SeqSet;
use crate::model::id::TaskSeq;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Op {
    Insert(u64),
    Run(u64),
    Remove(u64),
    PopFirst,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0u64..20_000).prop_map(Op::Insert),
        (1u64..9_000).prop_map(Op::Run),
        (0u64..20_000).prop_map(Op::Remove),
        Just(Op::PopFirst),
    ]
}

proptest! {
    #[test]
    fn it_behaves_like_an_ordered_set(ops in proptest::collection::vec(op(), 1..120)) {
        let (mut set, mut model) = (SeqSet::default(), BTreeSet::new());
        let mut tail = 20_000;
        for op in ops {
            match op {
                Op::Insert(n) => prop_assert_eq!(set.insert(TaskSeq(n)), model.insert(n)),
                Op::Run(count) => {
                    set.insert_run(TaskSeq(tail), count);
                    model.extend(tail..tail + count);
                    tail += count;
                }
                Op::Remove(n) => prop_assert_eq!(set.remove(TaskSeq(n)), model.remove(&n)),
                Op::PopFirst => {
                    let first = set.first().map(|s| s.0);
                    prop_assert_eq!(first, model.pop_first());
                    if let Some(n) = first { set.remove(TaskSeq(n)); }
                }
            }
            prop_assert_eq!(set.len(), model.len() as u64);
            prop_assert_eq!(set.first().map(|s| s.0), model.first().copied());
        }
        for n in [0, 1, 63, 64, 4_095, 4_096, 5_000, 19_999, 23_456, u64::MAX] {
            prop_assert_eq!(set.rank(TaskSeq(n)), model.range(..n).count() as u64);
        }
        prop_assert!(set.iter().map(|s| s.0).eq(model.iter().copied()));
        let runs = set.runs().flat_map(|(first, count)| first.0..first.0 + count);
        prop_assert!(runs.eq(model.iter().copied()));
    }
}
