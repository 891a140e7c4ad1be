//! The index against a plain list.

use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn candidates_are_those_of_a_plain_list_whatever_was_removed(
        ids in proptest::collection::vec(0u8..6, 1..60),
        removed in proptest::collection::vec(0usize..60, 0..60),
    ) {
        let mut index = IdIndex::default();
        let mut list: Vec<(String, TaskSeq)> = Vec::new();
        for (n, id) in ids.iter().enumerate() {
            let (id, seq) = (format!("id{id}"), TaskSeq(n as u64 * 3));
            index.insert(&id, seq);
            list.push((id, seq));
        }
        for at in removed {
            let seq = TaskSeq(at as u64 * 3);
            let known = list.iter().position(|(_, known)| *known == seq);
            let hash = known.map(|at| hash_of(&list.remove(at).0));
            prop_assert_eq!(index.remove(seq), hash);
        }
        let again = IdIndex::restore(index.entries());
        for id in (0..6).map(|id| format!("id{id}")) {
            let newest_first = list.iter().rev().filter(|(known, _)| *known == id);
            let wanted: Vec<TaskSeq> = newest_first.map(|(_, seq)| *seq).collect();
            prop_assert_eq!(index.candidates(&id).collect::<Vec<_>>(), wanted.clone());
            prop_assert_eq!(again.candidates(&id).collect::<Vec<_>>(), wanted);
        }
        let all: Vec<TaskSeq> = list.iter().map(|(_, seq)| *seq).collect();
        prop_assert_eq!(index.within(TaskSeq(0), TaskSeq(u64::MAX)), all);
    }
}
