//! Shapes of the original's routes.

use crate::codec::schema::{
    Named, answered, count, integer, listed, name, named, sent, stamp, string,
};
use serde_json::{Value, json};

pub(crate) fn schemas() -> Named {
    vec![
        ("SeedTask", seed_task()),
        ("SeedUpdate", seed_update()),
        ("SeedWindow", seed_window()),
        ("SeedWindows", listed(named("SeedWindow"), "Newest first")),
    ]
}

fn or_null(note: &str) -> Value {
    json!({ "type": ["string", "null"], "description": note })
}

/// Fields of the original's task in its order.
const FIELDS: [&str; 16] = [
    "id",
    "groupId",
    "priority",
    "tag",
    "source",
    "payload",
    "status",
    "worker",
    "workerEndpoint",
    "runCount",
    "meta",
    "timeoutSeconds",
    "submitted_ts",
    "allocated_ts",
    "running_ts",
    "completed_ts",
];

fn seed_task() -> Value {
    answered(
        "A task in the shape of the original: always these 16 fields",
        &FIELDS,
        json!({
            "id": string("Own id, else the reference"),
            "groupId": string("Job"),
            "priority": integer(1_u64, 9_u64, "9 is the most urgent"),
            "tag": or_null("Tags"),
            "source": or_null("As sent"),
            "payload": string("Text, JSON text or base64 text"),
            "status": named("SeedStatus"),
            "worker": or_null("Of the latest hand-out"),
            "workerEndpoint": or_null("Of the latest hand-out"),
            "runCount": count("Hand-outs"),
            "meta": or_null("As sent"),
            "timeoutSeconds": count("Longest run, s; 0 = no limit"),
            "submitted_ts": stamp("Submitted"),
            "allocated_ts": stamp("Handed out, else 0"),
            "running_ts": stamp("Started, else 0"),
            "completed_ts": stamp("Completed, else 0"),
        }),
    )
}

fn seed_update() -> Value {
    let ignored = json!({ "description": "Not read" });
    let mut fields = json!({
        "id": name("Own id or reference"),
        "groupId": name("Job; narrows the id"),
        "job": name("The same as groupId"),
        "status": {
            "type": "string",
            "description": "RUNNING, COMPLETED or ERROR; others are an illegal transition",
        },
        "worker": name("Who says so"),
    });
    for name in FIELDS {
        if fields.get(name).is_none() {
            fields[name] = ignored.clone();
        }
    }
    let note = "A task of the original; read are id, groupId, status and worker";
    sent(note, &["id", "status"], fields)
}

fn seed_window() -> Value {
    let names = ["total", "submitted", "allocated", "running", "error", "completed", "time"];
    answered(
        "Changes of state within 5 s",
        &names,
        json!({
            "total": count("Sum of the five"),
            "submitted": count("To SUBMITTED"),
            "allocated": count("To ALLOCATED"),
            "running": count("To RUNNING"),
            "error": count("To ERROR"),
            "completed": count("To COMPLETED"),
            "time": stamp("End of the window"),
        }),
    )
}
