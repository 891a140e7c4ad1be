//! Lists by tags on a large array.

use super::naive_tests::fold;
use super::test_rig::{Writer, placed};
use crate::model::id::Name;
use crate::model::view::{Order, TaskQuery, TextAt};
use crate::store::memory::MemoryStore;
use crate::store::{StoredText, TaskTexts};

/// No text may be read.
struct NoTexts;

impl TaskTexts for NoTexts {
    fn texts(&self, wanted: &[TextAt]) -> Result<Vec<StoredText>, String> {
        if wanted.is_empty() { Ok(Vec::new()) } else { Err("a text was read".to_owned()) }
    }
}

#[test]
fn tags_that_no_task_has_cost_neither_texts_nor_more_than_the_budget() {
    let mut writer = Writer::new();
    writer.array(0, 1_000_000);
    let records = placed(&writer.log);
    let mut tracker = fold(Box::new(MemoryStore::default()), &records);
    let tagged = |tag: &str| TaskQuery {
        tags: vec![Name::from("a:1"), Name::from(tag)],
        order: Order::Old,
        limit: 10,
        ..TaskQuery::default()
    };
    for budget in [1, 100, 100_000] {
        let page = tracker.list(&tagged("nope:1"), &NoTexts, budget).expect("no text is needed");
        assert_eq!((page.rows.len(), page.next.is_none()), (0, budget == 100_000));
        assert!(page.scanned <= budget, "{} looked at", page.scanned);
    }
}
