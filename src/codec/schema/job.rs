//! Jobs: as sent and as answered.

use crate::codec::schema::task::{joined, spec_fields};
use crate::codec::schema::{
    Named, answered, count, flag, integer, listed, name, named, number, sent, stamp, string, text,
    usual, word,
};
use crate::model::job::JobState;
use crate::model::limits;
use crate::model::state::TaskState;
use serde_json::{Map, Value, json};

pub(crate) fn schemas() -> Named {
    vec![
        ("NewJob", new_job()),
        ("NewDefaults", sent("Of tasks that do not say it themselves", &[], spec_fields())),
        ("JobPatch", sent("Fields to change", &[], joined(label_fields(), patch_fields()))),
        ("Reason", sent("Why", &[], json!({ "reason": reason() }))),
        ("JobCancel", cancel()),
        ("Redrive", redrive()),
        ("JobState", word(JobState::ALL.map(JobState::name), "State of a job")),
        ("Counts", counts()),
        ("Defaults", defaults()),
        ("Job", job()),
    ]
}

fn label_fields() -> Value {
    json!({
        "tag": text(limits::TAG_TEXT_BYTES_MAX, "Label of the job, not of its tasks"),
        "tags": named("NewTags"),
    })
}

fn patch_fields() -> Value {
    json!({
        "name": name("Name for people; the id when absent"),
        "priority": integer(1_u64, 9_u64, "Of tasks that do not say it themselves"),
        "weight": integer(1_u64, limits::WEIGHT_MAX, "Share among jobs of a level"),
        "retentionMs":
            integer(0_u64, limits::RETENTION_MS_MAX, "Kept this long after its end, ms"),
    })
}

fn new_job() -> Value {
    let own = json!({
        "id": name("Unique; the server makes one when absent"),
        "dedup": usual(word(["batch", "task"], "How repeated ids are met"), "batch"),
        "paused": usual(flag("Nothing of it is handed out"), false),
        "defaults": named("NewDefaults"),
    });
    let note = "A job as sent. Fields that are only answered may be sent and are ignored.";
    sent(note, &[], joined(joined(label_fields(), patch_fields()), own))
}

fn reason() -> Value {
    text(limits::REASON_BYTES_MAX, "For people")
}

fn cancel() -> Value {
    let mode = word(["stop", "drop-queued"], "`drop-queued` lets leased tasks finish");
    sent("How to cancel", &[], json!({ "mode": usual(mode, "stop"), "reason": reason() }))
}

fn redrive() -> Value {
    sent("What to change on the way", &[], json!({ "set": named("NewPriority") }))
}

fn counts() -> Value {
    let names = TaskState::ALL.map(TaskState::name);
    let fields: Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), count("Tasks in this state"))).collect();
    answered("Tasks by state", &names, Value::Object(fields))
}

fn defaults() -> Value {
    let mut fields = spec_fields();
    fields["tags"] = listed(string("Tag"), "The set of its tags");
    fields["affinity"] = named("Affinity");
    answered("Of tasks that do not say it themselves", &[], fields)
}

fn job() -> Value {
    let fields = json!({
        "id": string("Id"),
        "state": named("JobState"),
        "implicit": flag("Made by a submit that named it"),
        "dedup": word(["batch", "task"], "How repeated ids are met"),
        "paused": flag("Nothing of it is handed out"),
        "defaults": named("Defaults"),
        "cancelReason": string("Why it was cancelled"),
        "tags": listed(string("Tag"), "The set of its tags"),
        "created_ts": stamp("Created"),
        "firstAllocated_ts": stamp("First hand-out"),
        "ended_ts": stamp("Ended"),
    });
    let spec = joined(joined(label_fields(), patch_fields()), fields);
    let required = [
        "id",
        "name",
        "state",
        "paused",
        "implicit",
        "priority",
        "weight",
        "dedup",
        "retentionMs",
        "defaults",
        "counts",
        "submitted",
        "live",
        "purged",
        "handedOut",
        "failedAttempts",
        "crashes",
        "redriven",
        "duplicates",
        "ratePerSec",
        "affinity",
    ];
    answered("A job as answered", &required, joined(spec, number_fields()))
}

fn number_fields() -> Value {
    let partitions = json!({
        "total": count("Partitions"),
        "applied": count("Partitions in which it is in force"),
    });
    json!({
        "counts": named("Counts"),
        "submitted": count("Tasks ever admitted"),
        "live": count("Tasks that have not ended"),
        "purged": count("Tasks removed"),
        "handedOut": count("Hand-outs"),
        "failedAttempts": count("Failures reported"),
        "crashes": count("Leases lost"),
        "redriven": count("Redrives"),
        "duplicates": count("Submits of tasks that were there"),
        "ratePerSec": number("Completed per second"),
        "meanRunMs": number("Mean run, ms"),
        "oldestPendingMs": count("Age of the oldest PENDING task, ms"),
        "eta_ts": stamp("Done at this rate"),
        "affinity": hits(),
        "firstError": first_error(),
        "partitions": answered("After a control verb", &["total", "applied"], partitions),
    })
}

fn hits() -> Value {
    answered(
        "Use of affinity",
        &["hits", "misses", "hitRatio"],
        json!({
            "hits": count("Hand-outs to a worker that held a key"),
            "misses": count("Other hand-outs of tasks with keys"),
            "hitRatio": number("hits ÷ both"),
        }),
    )
}

fn first_error() -> Value {
    answered(
        "The first final failure",
        &["ref", "class", "message"],
        json!({
            "ref": string("Task"),
            "class": string("Class"),
            "message": string("Message"),
            "ts": stamp("When"),
        }),
    )
}
