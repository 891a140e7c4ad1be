//! Tasks, arrays and batches: as sent and as answered.

use crate::codec::schema::{
    Named, answered, count, flag, integer, list, listed, name, named, named_as, sent, stamp,
    string, text, usual, word,
};
use crate::model::limits;
use crate::model::state::TaskState;
use crate::model::view::AttemptOutcome;
use serde_json::{Value, json};

pub(crate) fn schemas() -> Named {
    vec![
        ("NewTask", new_task()),
        ("NewArray", new_array()),
        ("ArraySpan", span()),
        ("NewTasks", new_tasks()),
        ("NewAffinity", new_affinity()),
        ("NewTags", new_tags()),
        ("Backoff", backoff()),
        ("TaskState", word(TaskState::ALL.map(TaskState::name), "State of a task")),
        ("SeedStatus", word(SEED_STATUS, "State of a task in the words of the original")),
        ("Affinity", affinity()),
        ("TaskError", task_error()),
        ("Attempt", attempt()),
        ("Task", task()),
        ("HandOut", hand_out()),
        ("Batch", batch()),
        ("BatchItem", batch_item()),
    ]
}

const SEED_STATUS: [&str; 5] = ["SUBMITTED", "ALLOCATED", "RUNNING", "ERROR", "COMPLETED"];

/// Fields that a task, an array and the defaults of a job share.
pub(crate) fn spec_fields() -> Value {
    json!({
        "tag": text(limits::TAG_TEXT_BYTES_MAX, "Tags as one text: `key:value,other,key:value`"),
        "tags": named("NewTags"),
        "affinity": named("NewAffinity"),
        "source": text(limits::ENDPOINT_BYTES_MAX, "Handed to the worker, not interpreted"),
        "meta": text(limits::META_BYTES_MAX, "Handed to the worker, not interpreted"),
        "timeoutSeconds":
            integer(0_u64, limits::TIMEOUT_S_MAX, "Longest run, s; 0 = no limit"),
        "leaseMs": integer(limits::LEASE_MS_MIN, limits::LEASE_MS_MAX, "Length of its leases, ms"),
        "maxAttempts": integer(1_u64, limits::BUDGET_MAX, "Failures before it is dead"),
        "maxCrashes": integer(1_u64, limits::BUDGET_MAX, "Lost workers before it is dead"),
        "backoff": named("Backoff"),
    })
}

/// Puts the members of `more` into `fields`.
pub(crate) fn joined(mut fields: Value, more: Value) -> Value {
    if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
        fields.extend(more);
    }
    fields
}

fn common_fields() -> Value {
    let own = json!({
        "groupId": name("Job; `default` when absent"),
        "job": name("The same as groupId; give it once"),
        "priority": integer(0_u64, 9_u64, "9 is the most urgent; 0 = that of the job"),
        "notBefore_ts": stamp("Not handed out before; at most 365 days ahead"),
        "delayMs": integer(0_u64, limits::DELAY_MS_MAX, "Not handed out for this long, ms"),
        "traceparent": text(limits::TRACEPARENT_BYTES_MAX, "Handed to the worker as sent"),
    });
    joined(spec_fields(), own)
}

fn new_task() -> Value {
    let own = json!({
        "id": name("Own id, unique in the job; it must not look like a reference"),
        "payload": { "description": "Any JSON value; at most 256 KiB when decoded" },
        "encoding": word(
            ["text", "json", "base64"],
            "How payload becomes bytes; `text` for a string, else `json`",
        ),
    });
    let note = "A task as sent. Fields that are only answered may be sent and are ignored. At \
        most one of notBefore_ts and delayMs.";
    sent(note, &[], joined(common_fields(), own))
}

fn new_array() -> Value {
    let note = "Many tasks as one object: a task without id, payload and encoding";
    sent(note, &["array"], joined(common_fields(), json!({ "array": named("ArraySpan") })))
}

fn span() -> Value {
    let max = limits::ARRAY_VALUE_MAX;
    let encoding = word(["text", "json"], "Of the payload");
    sent(
        "Values of an array: from, from + step, … up to to; at most 100,000,000 elements",
        &["to"],
        json!({
            "from": usual(integer(0_u64, max, "First value"), 0),
            "to": integer(0_u64, max, "Bound of the values, inclusive; not below from"),
            "step": usual(integer(1_u64, max, "Distance of two values"), 1),
            "payloadTemplate": text(limits::PAYLOAD_BYTES_MAX, "`{i}` becomes the value"),
            "encoding": usual(encoding, "text"),
            "id": json!({
                "type": "string", "minLength": 1, "maxLength": limits::ARRAY_ID_BYTES_MAX,
                "description": "Unique in the job",
            }),
        }),
    )
}

fn new_tasks() -> Value {
    let one = json!({ "oneOf": [named("NewTask"), named("NewArray")] });
    json!({
        "description": "A task, an array, or a list of both",
        "oneOf": [
            named("NewTask"),
            named("NewArray"),
            list(limits::BATCH_ITEMS, one, "Each has its own outcome"),
        ],
    })
}

fn new_affinity() -> Value {
    let key = json!({ "type": "string", "minLength": 1, "maxLength": limits::AFFINITY_KEY_BYTES_MAX,
        "description": "No comma, no control character" });
    let weight = integer(1_u64, limits::AFFINITY_WEIGHT_MAX, "Weight");
    let weighted = sent(
        "A key with a weight",
        &["key"],
        json!({
            "key": key,
            "weight": usual(weight, 1),
        }),
    );
    json!({
        "description": "Affinity keys: at most 8 of a task, 64 of a worker",
        "oneOf": [
            string("Keys, separated by commas"),
            list(limits::AFFINITY_WORKER_MAX, json!({ "oneOf": [key, weighted] }), "Keys"),
        ],
    })
}

fn new_tags() -> Value {
    let text = string("A value, or `key:value`");
    let values = json!({ "oneOf": [text.clone(), list(limits::TAGS_MAX, text.clone(), "Values")] });
    json!({
        "description": "Tags, united with `tag`; at most 32",
        "oneOf": [
            list(limits::TAGS_MAX, text, "Tags without comma"),
            { "type": "object", "additionalProperties": values },
        ],
    })
}

fn backoff() -> Value {
    sent(
        "Wait before the next attempt: base × 2^failures up to the cap",
        &[],
        json!({
            "baseMs": integer(0_u64, limits::BACKOFF_MS_MAX, "First wait, ms; not above capMs"),
            "capMs": integer(0_u64, limits::BACKOFF_MS_MAX, "Longest wait, ms"),
            "jitter": word(["full", "none"], "`full`: random between 0 and the wait"),
        }),
    )
}

fn affinity() -> Value {
    let key = json!({
        "key": string("Affinity key"),
        "weight": integer(1_u64, limits::AFFINITY_WEIGHT_MAX, "Weight"),
    });
    listed(answered("A key", &["key", "weight"], key), "Affinity keys with their weights")
}

fn task_error() -> Value {
    answered(
        "The latest failure",
        &["class", "message", "attempt"],
        json!({
            "class": string("Class of the failure"),
            "message": string("What the worker said"),
            "attempt": count("Number of the attempt"),
            "ts": stamp("When"),
        }),
    )
}

fn attempt() -> Value {
    let outcomes = AttemptOutcome::ALL.map(AttemptOutcome::name);
    answered(
        "One hand-out",
        &["attempt", "worker", "outcome"],
        json!({
            "attempt": count("Number"),
            "worker": string("Who had it"),
            "endpoint": string("Its endpoint"),
            "allocated_ts": stamp("Handed out"),
            "running_ts": stamp("Started"),
            "ended_ts": stamp("Ended"),
            "outcome": word(outcomes, "How it ended; `leased` = it runs"),
            "class": string("Class of the failure"),
            "message": string("Message of the failure"),
        }),
    )
}

/// Fields that lists, a task by id and hand-outs share.
fn shown_fields() -> Value {
    let identity = json!({
        "id": string("Own id, else the reference"),
        "ref": string("Reference: priority-partition-offset, arrays with -index"),
        "partition": count("Partition"),
        "index": count("Value of an element; arrays only"),
        "groupId": string("Job"),
        "priority": integer(1_u64, 9_u64, "Current priority"),
        "state": named("TaskState"),
        "status": named("SeedStatus"),
        "tag": string("Tags as sent"),
        "tags": listed(string("Tag"), "The set of its tags"),
        "affinity": named("Affinity"),
        "source": string("As sent"),
        "meta": string("As sent"),
        "encoding": word(["text", "json", "base64"], "How payload is to be read"),
        "payloadBytes": count("Bytes of the payload"),
        "timeoutSeconds": count("Longest run, s; 0 = no limit"),
        "leaseMs": count("Lease asked for, in a hand-out: granted, ms"),
        "maxAttempts": count("Failures before it is dead"),
        "maxCrashes": count("Lost workers before it is dead"),
        "backoff": named("Backoff"),
        "notBefore_ts": stamp("Not handed out before"),
        "traceparent": string("As sent"),
        "payload": { "description": "Any JSON value, see encoding" },
    });
    joined(identity, course_fields())
}

fn course_fields() -> Value {
    json!({
        "worker": string("Of the latest hand-out"),
        "workerEndpoint": string("Of the latest hand-out"),
        "attempt": count("Number of the latest hand-out, 0 before"),
        "runCount": count("The same as attempt"),
        "errors": count("Failures since the last redrive"),
        "crashes": count("Lost workers since the last redrive"),
        "redriven": count("Redrives"),
        "submitted_ts": stamp("Submitted"),
        "available_ts": stamp("May run since"),
        "allocated_ts": stamp("Handed out"),
        "error": named("TaskError"),
    })
}

const SHOWN: [&str; 18] = [
    "id",
    "ref",
    "partition",
    "groupId",
    "priority",
    "state",
    "status",
    "encoding",
    "payloadBytes",
    "attempt",
    "runCount",
    "errors",
    "crashes",
    "redriven",
    "timeoutSeconds",
    "maxAttempts",
    "maxCrashes",
    "backoff",
];

fn task() -> Value {
    let own = json!({
        "admitted": flag("Only as `false`: durable, not yet visible to its partition"),
        "payloadSha256": string("SHA-256 of the payload, hex; by id"),
        "running_ts": stamp("Started"),
        "completed_ts": stamp("Completed"),
        "error_ts": stamp("Dead"),
        "cancelled_ts": stamp("Cancelled"),
        "expired_ts": stamp("Expired"),
        "result": { "description": "Any JSON value, see resultEncoding; by id and on demand" },
        "resultEncoding": word(["text", "json", "base64"], "How result is to be read"),
        "resultBytes": count("Bytes of the result"),
        "attempts": listed(named("Attempt"), "The latest 100; by id"),
    });
    let required: Vec<&str> = SHOWN.into_iter().chain(["resultBytes"]).collect();
    answered("A task as answered", &required, joined(shown_fields(), own))
}

fn hand_out() -> Value {
    let own = json!({
        "lease": string("Token for heartbeat and reports"),
        "leaseUntil_ts": stamp("End of the lease, for people"),
    });
    let more = ["payload", "worker", "lease", "leaseMs", "leaseUntil_ts"];
    let required: Vec<&str> = SHOWN.into_iter().chain(more).collect();
    answered("A task handed to a worker", &required, joined(shown_fields(), own))
}

fn batch() -> Value {
    answered(
        "Outcome of a submit of many",
        &["accepted", "duplicates", "rejected", "closed", "results"],
        json!({
            "job": string("Job of the path"),
            "accepted": count("Tasks admitted; an array counts its elements"),
            "duplicates": count("Tasks that were there before"),
            "rejected": count("Items refused"),
            "lines": count("Lines read; NDJSON"),
            "chunks": count("Chunks made durable; NDJSON"),
            "closed": flag("The job takes no more tasks"),
            "results": listed(named("BatchItem"), "Outcomes in order, as `results` asks"),
        }),
    )
}

fn batch_item() -> Value {
    answered(
        "Outcome of one item",
        &["outcome"],
        json!({
            "i": count("Position in the list, from 0"),
            "line": count("Line of an NDJSON body, from 1"),
            "outcome": word(["ok", "duplicate", "conflict", "rejected"], "What became of it"),
            "id": string("Own id"),
            "ref": string("Reference"),
            "count": count("Elements of an array"),
            "refs": listed(string("Reference"), "One per partition of an array"),
            "code": named_as("ErrorCode", "Why it was refused"),
            "field": string("Field that breaks a rule"),
            "detail": string("What is wrong"),
            "existing": string("Reference of the task that was there before"),
        }),
    )
}
