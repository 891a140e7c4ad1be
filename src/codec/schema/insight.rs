//! Why a task does not run, and how many are in what state.

use crate::codec::schema::{
    Named, answered, count, flag, integer, listed, named, number, stamp, string, word,
};
use crate::model::explain::Cause;
use serde_json::{Value, json};

pub(crate) fn schemas() -> Named {
    vec![("Explanation", explanation()), ("Blocker", blocker()), ("Breakdown", breakdown())]
}

fn blocker() -> Value {
    let fields = json!({
        "code": word(Cause::ALL.map(Cause::name), "What it is"),
        "count": count("Tasks or jobs, where that means something"),
        "detail": string("In a sentence"),
    });
    answered("A reason", &["code", "detail"], fields)
}

fn explanation() -> Value {
    let required =
        ["id", "ref", "state", "priority", "waitedMs", "partition", "reasons", "handOutsPerSec"];
    answered(
        "Why a task does not run",
        &required,
        json!({
            "id": string("Own id, else the reference"),
            "ref": string("Reference"),
            "state": named("TaskState"),
            "priority": integer(1_u64, 9_u64, "Current priority"),
            "effectivePriority": integer(1_u64, 9_u64, "With ageing; of a live task"),
            "waitedMs": count("Waited so far, ms"),
            "partition": count("Partition"),
            "reasons": listed(named("Blocker"), "Strongest first"),
            "ahead": count("Tasks of its lane that go first"),
            "aheadPeers": count("Tasks of other jobs of its level"),
            "aheadHigher": count("Tasks of higher levels"),
            "handOutsPerSec": number("Hand-outs per second"),
            "estimatedStart_ts": stamp("Start at this rate"),
        }),
    )
}

fn breakdown() -> Value {
    let row = json!({
        "value": string(
            "State, priority or value; `__none` (left out where the key is beyond tags.max-keys) \
             and `__other` stand last",
        ),
        "total": count("Tasks"),
        "counts": named("Counts"),
    });
    let row = answered("A row", &["value", "total", "counts"], row);
    answered(
        "Tasks counted, largest first",
        &["by", "overflow", "rows"],
        json!({
            "job": string("Job"),
            "by": string("As asked"),
            "overflow": flag("There were too many values to tell all apart"),
            "rows": listed(row, "Rows"),
        }),
    )
}
