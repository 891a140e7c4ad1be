//! What is counted and what is listed.

use super::*;
use crate::model::id::{PartitionId, TaskSeq};
use crate::model::priority::Priority;

fn body(listing: Listing, listed_max: usize) -> serde_json::Value {
    let reference = TaskRef::of_seq(Priority::DEFAULT, PartitionId(0), TaskSeq(1_744));
    let mut tally = Tally::new(listing, listed_max);
    tally.add(Place::Item(0), Some("t1"), Ok(Settled::Task(reference, false)));
    tally.add(Place::Item(1), Some("t2"), Err(&Reject::field("priority", "priority must be 1..9")));
    let mut conflict = Reject::new(Code::IdConflict, "another task");
    conflict.existing = Some(Box::new(reference));
    tally.add(Place::Line(3), None, Err(&conflict));
    tally.add(Place::Line(4), Some("t1"), Ok(Settled::Task(reference, true)));
    let summary = Summary { job: Some("var"), lines: Some((3, 1)), closed: true };
    serde_json::from_slice(&tally.finish(summary)).expect("JSON")
}

#[test]
fn every_outcome_is_listed_on_request() {
    let want = serde_json::json!({"job":"var","accepted":1,"duplicates":1,"rejected":2,"lines":3,
        "chunks":1,"closed":true,"results":[
        {"i":0,"outcome":"ok","id":"t1","ref":"5-0-1744"},
        {"i":1,"outcome":"rejected","id":"t2","code":"invalid_field","field":"priority",
         "detail":"priority must be 1..9"},
        {"line":3,"outcome":"conflict","code":"id_conflict","detail":"another task",
         "existing":"5-0-1744"},
        {"line":4,"outcome":"duplicate","id":"t1","ref":"5-0-1744"}]});
    assert_eq!(body(Listing::All, usize::MAX), want);
}

#[test]
fn all_are_counted_when_few_are_listed() {
    let errors = body(Listing::Errors, usize::MAX);
    assert_eq!(errors["results"].as_array().map(Vec::len), Some(2));
    let one = body(Listing::Errors, 1);
    assert_eq!((one["results"].as_array().map(Vec::len), &one["rejected"]), (Some(1), &2.into()));
}
