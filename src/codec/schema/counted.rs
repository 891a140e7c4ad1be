//! Break-downs and explanations as answered.

use crate::codec::schema::{
    Named, answered, count, flag, integer, listed, named, number, stamp, string, word,
};
use crate::model::state::TaskState;
use serde_json::{Value, json};

pub(crate) fn schemas() -> Named {
    vec![("Breakdown", breakdown()), ("Explanation", explanation())]
}

fn breakdown() -> Value {
    let row = answered(
        "A value",
        &["value", "total", "counts"],
        json!({
            "value": string("Value; `__none` and `__other` stand last"),
            "total": count("Tasks"),
            "counts": named("Counts"),
        }),
    );
    answered(
        "Tasks by state, priority or the values of a tag key",
        &["by", "overflow", "rows"],
        json!({
            "job": string("Job; absent for all jobs"),
            "by": string("As asked"),
            "overflow": flag("Not every value has a row"),
            "rows": listed(row, "Largest total first"),
        }),
    )
}

fn explanation() -> Value {
    let words = [
        "job_paused",
        "level_paused",
        "delayed",
        "no_workers",
        "higher_priority_ahead",
        "fair_share",
        "lane_ahead",
        "allocated",
        "running",
        "ended",
    ];
    let reason = answered(
        "A reason",
        &["code", "detail"],
        json!({
            "code": word(words, "Which"),
            "count": count("Tasks or jobs"),
            "detail": string("One sentence"),
        }),
    );
    answered(
        "Why a task is not running",
        &["id", "ref", "state", "priority", "waitedMs", "partition", "reasons", "handOutsPerSec"],
        json!({
            "id": string("Own id, else the reference"),
            "ref": string("Reference"),
            "state": word(TaskState::ALL.map(TaskState::name), "State"),
            "priority": integer(1_u64, 9_u64, "Current priority"),
            "effectivePriority": integer(1_u64, 9_u64, "Priority it is served at"),
            "waitedMs": count("Time in PENDING, ms"),
            "partition": count("Partition"),
            "reasons": listed(reason, "Strongest first"),
            "ahead": count("Tasks of its job that go first"),
            "aheadPeers": count("Tasks of other jobs at its priority"),
            "aheadHigher": count("Tasks of higher priorities"),
            "handOutsPerSec": number("Of its partition, last 60 s"),
            "estimatedStart_ts": stamp("Expected hand-out"),
        }),
    )
}
