//! Bulk work on dead letters and jobs: filter as sent, operation as answered.

use crate::codec::schema::{
    Named, answered, count, flag, integer, list, listed, name, named, sent, stamp, string, text,
    usual, word,
};
use crate::model::limits;
use crate::model::operation::{OpKind, OpState};
use serde_json::{Value, json};

pub(crate) fn schemas() -> Named {
    let all = || usual(flag("Needed with an empty filter"), false);
    let dry_run = || usual(flag("Count only"), false);
    let purge = json!({ "filter": named("DeadFilter"), "all": all(), "dryRun": dry_run() });
    let mut redrive = purge.clone();
    redrive["set"] = named("NewPriority");
    vec![
        ("BulkRedrive", sent("Which dead tasks go back", &[], redrive)),
        ("BulkPurge", sent("Which dead tasks are removed", &[], purge)),
        ("DeadFilter", dead_filter()),
        ("NewPriority", new_priority()),
        ("Matched", matched()),
        ("Operation", operation()),
    ]
}

fn new_priority() -> Value {
    sent("Changes", &[], json!({ "priority": integer(1_u64, 9_u64, "New priority") }))
}

fn dead_filter() -> Value {
    let tags = |note| list(limits::TAGS_MAX, string("`key:value` or a bare tag"), note);
    sent(
        "Every part must hold",
        &[],
        json!({
            "job": name("Job"),
            "id": name("Own id"),
            "ref": list(limits::FILTER_REFS_MAX, string("Reference"), "One of these"),
            "priority": integer(1_u64, 9_u64, "Current priority"),
            "tag": tags("Has all of these"),
            "tagAny": tags("Has one of these"),
            "class": text(limits::CLASS_BYTES_MAX, "Class of the latest failure"),
            "worker": name("Worker of the latest hand-out"),
            "since": stamp("Submitted then or later"),
            "until": stamp("Submitted before"),
        }),
    )
}

fn matched() -> Value {
    let fields = json!({ "matched": count("Match"), "skipped": count("Of them left alone") });
    answered("What a dry run counts", &["matched", "skipped"], fields)
}

fn operation() -> Value {
    let filter = json!({
        "job": string("Job"),
        "id": string("Own id"),
        "ref": listed(string("Reference"), "One of these"),
        "priority": integer(1_u64, 9_u64, "Priority"),
        "tag": listed(string("Tag"), "Has all of these"),
        "tagAny": listed(string("Tag"), "Has one of these"),
        "class": string("Class"),
        "worker": string("Worker"),
        "since": stamp("Submitted then or later"),
        "until": stamp("Submitted before"),
    });
    let required =
        ["op", "kind", "state", "filter", "matched", "done", "skipped", "created_ts", "by"];
    answered(
        "Bulk work with its progress",
        &required,
        json!({
            "op": string("Id"),
            "kind": word(OpKind::ALL.map(OpKind::word), "What it does"),
            "state": word(OpState::ALL.map(OpState::name), "How far it is"),
            "filter": answered("What it is about", &[], filter),
            "set": named("NewPriority"),
            "matched": count("Tasks that matched so far"),
            "done": count("Tasks done"),
            "skipped": count("Tasks left alone"),
            "created_ts": stamp("Begun"),
            "ended_ts": stamp("Over"),
            "by": string("Who began it"),
        }),
    )
}
