//! What the node answers about itself: levels, numbers, cluster, audit.

use crate::codec::schema::{
    Named, answered, count, flag, integer, listed, named, number, stamp, string, word,
};
use crate::model::access::Role;
use serde_json::{Value, json};

pub(crate) fn schemas() -> Named {
    vec![
        ("Queue", queue()),
        ("StatsNow", stats_now()),
        ("QueueNow", queue_now()),
        ("TopJob", top_job()),
        ("PartitionNow", partition_now()),
        ("About", about()),
        ("Me", me()),
        ("Cluster", cluster()),
        ("Node", node()),
        ("Partition", partition()),
        ("Live", answered("Alive?", &["live"], json!({ "live": flag("Threads move") }))),
        ("Ready", ready()),
        ("AuditLine", audit_line()),
        ("StateHash", state_hash()),
        ("Images", images()),
        ("Series", series()),
        ("Nothing", crate::codec::schema::sent("No fields", &[], json!({}))),
    ]
}

fn queue() -> Value {
    let required = [
        "priority",
        "topic",
        "paused",
        "pending",
        "delayed",
        "allocated",
        "running",
        "oldestAgeMs",
        "inPerSec",
        "outPerSec",
        "jobs",
    ];
    answered(
        "A level",
        &required,
        json!({
            "priority": integer(1_u64, 9_u64, "9 is the most urgent"),
            "topic": string("Name of the level in the log"),
            "paused": flag("Nothing of it is handed out"),
            "pending": count("PENDING"),
            "delayed": count("DELAYED"),
            "allocated": count("ALLOCATED"),
            "running": count("RUNNING"),
            "oldestAgeMs": count("Age of the oldest PENDING task, ms"),
            "inPerSec": number("Submitted per second"),
            "outPerSec": number("Handed out per second"),
            "jobs": count("Jobs with tasks in it"),
        }),
    )
}

/// An object of plain counts, all of them always there.
fn numbers(note: &str, names: &[&str], each: &Value) -> Value {
    let fields = names.iter().map(|name| ((*name).to_owned(), each.clone())).collect();
    answered(note, names, Value::Object(fields))
}

fn stats_now() -> Value {
    let verdict = answered(
        "How it goes",
        &["level", "text"],
        json!({
            "level": word(["ok", "warn", "bad"], "In a word"),
            "text": string("In a sentence"),
        }),
    );
    let rates = ["submit", "allocate", "complete", "fail"];
    let worker_states = ["idle", "busy", "draining", "lost"];
    let required = [
        "ts",
        "verdict",
        "tasks",
        "submitted",
        "purged",
        "queues",
        "rates",
        "wait",
        "workers",
        "consumersWaiting",
        "leases",
        "affinity",
        "jobs",
        "partitions",
        "alerts",
    ];
    answered(
        "A snapshot",
        &required,
        json!({
            "ts": stamp("Taken"),
            "verdict": verdict,
            "tasks": named("Counts"),
            "submitted": count("Tasks ever admitted"),
            "purged": count("Tasks removed"),
            "queues": listed(named("QueueNow"), "Levels, 9 first"),
            "rates": numbers("Per second", &rates, &number("Per second")),
            "wait": numbers("From ready to handed out", &["p50Ms", "p95Ms", "p99Ms"], &count("ms")),
            "workers": numbers("By state", &worker_states, &count("Workers")),
            "consumersWaiting": count("Parked consumes"),
            "leases": count("Live leases"),
            "affinity": numbers("Use of affinity", &["hits", "misses"], &count("Hand-outs")),
            "jobs": listed(named("TopJob"), "The ten with most PENDING tasks"),
            "partitions": listed(named("PartitionNow"), "Partitions"),
            "alerts": listed(string("Alert"), "What needs a look"),
        }),
    )
}

fn queue_now() -> Value {
    answered(
        "A level in short",
        &["priority", "pending", "oldestAgeMs", "inPerSec", "outPerSec", "paused"],
        json!({
            "priority": integer(1_u64, 9_u64, "9 is the most urgent"),
            "pending": count("PENDING"),
            "oldestAgeMs": count("Age of the oldest PENDING task, ms"),
            "inPerSec": number("Submitted per second"),
            "outPerSec": number("Handed out per second"),
            "paused": flag("Nothing of it is handed out"),
        }),
    )
}

fn series() -> Value {
    let value = json!({ "type": ["number", "null"], "minimum": 0 });
    let values = json!({
        "type": "object",
        "description": "By name: a value for every step, `null` where nothing was counted",
        "additionalProperties": listed(value, "Oldest first"),
    });
    answered(
        "Numbers over time",
        &["from_ts", "stepMs", "series"],
        json!({
            "from_ts": stamp("When the first step begins"),
            "stepMs": count("Length of a step, ms"),
            "series": values,
        }),
    )
}

fn top_job() -> Value {
    let required = ["id", "priority", "pending", "running", "completed", "error"];
    answered(
        "A job in short",
        &required,
        json!({
            "id": string("Job"),
            "priority": integer(1_u64, 9_u64, "Priority"),
            "pending": count("PENDING"),
            "running": count("RUNNING"),
            "completed": count("COMPLETED"),
            "error": count("ERROR"),
            "eta_ts": stamp("Done at this rate"),
        }),
    )
}

fn partition_state() -> Value {
    let words = ["READY", "REPLAYING", "INDEXING", "FAILED", "UNOWNED"];
    word(words, "How it is")
}

fn partition_now() -> Value {
    answered(
        "A partition in short",
        &["i", "owner", "state", "replay"],
        json!({
            "i": count("Number"),
            "owner": string("Node"),
            "state": partition_state(),
            "replay": number("Part of the log replayed, 0…1"),
        }),
    )
}

fn durability() -> Value {
    word(["full", "reduced"], "`reduced`: an answer may come before it is on disk")
}

fn reasons() -> Value {
    listed(string("Reason"), "Why durability is reduced")
}

fn about() -> Value {
    let required =
        ["name", "version", "backend", "durability", "durabilityReasons", "partitions", "ready"];
    answered(
        "What answers here",
        &required,
        json!({
            "name": word(["kwq"], "Always kwq"),
            "version": string("Version"),
            "backend": string("Kind of log"),
            "durability": durability(),
            "durabilityReasons": reasons(),
            "partitions": count("Partitions"),
            "ready": flag("It serves"),
            "insecure": flag("Reachable from outside without tokens"),
        }),
    )
}

fn me() -> Value {
    let required = ["name", "roles", "scopes", "readOnly", "features"];
    answered(
        "The caller",
        &required,
        json!({
            "name": string("Of the token"),
            "roles": listed(word(Role::ALL.map(Role::word), "Role"), "What it may"),
            "scopes": listed(string("Prefix of job ids"), "Jobs it may touch; empty = all"),
            "readOnly": flag("It can change nothing"),
            "features": listed(string("Feature"), "What this server can do"),
        }),
    )
}

fn cluster() -> Value {
    let required =
        ["version", "backend", "durability", "durabilityReasons", "nodes", "partitions", "paused"];
    answered(
        "Nodes and partitions",
        &required,
        json!({
            "version": string("Version"),
            "backend": string("Kind of log"),
            "durability": durability(),
            "durabilityReasons": reasons(),
            "nodes": listed(named("Node"), "Nodes"),
            "partitions": listed(named("Partition"), "Partitions"),
            "paused": flag("All levels are paused"),
        }),
    )
}

fn node() -> Value {
    answered(
        "A node",
        &["node", "addr", "version", "partitions"],
        json!({
            "node": string("Name"),
            "addr": string("Address"),
            "version": string("Version"),
            "lastSeen_ts": stamp("Heard of"),
            "partitions": listed(count("Partition"), "Partitions it owns"),
        }),
    )
}

fn partition() -> Value {
    let required = [
        "partition",
        "owner",
        "epoch",
        "state",
        "position",
        "replayPercent",
        "indexPercent",
        "pending",
    ];
    answered(
        "A partition",
        &required,
        json!({
            "partition": count("Number"),
            "owner": string("Node"),
            "epoch": string("Epoch"),
            "state": partition_state(),
            "position": string("Durable position"),
            "replayPercent": number("Part of the log replayed, %"),
            "indexPercent": number("Part of the tasks indexed, %"),
            "pending": count("PENDING tasks"),
        }),
    )
}

fn ready() -> Value {
    let counts = ["owned", "ready", "indexing", "failed"];
    let replay = answered(
        "Progress of a start",
        &["percent", "etaMs"],
        json!({
            "percent": number("Part of the log replayed, %"),
            "etaMs": count("Time to go, ms"),
        }),
    );
    let required =
        ["ready", "reasons", "draining", "durability", "durabilityReasons", "partitions", "replay"];
    answered(
        "Does it serve?",
        &required,
        json!({
            "ready": flag("It serves"),
            "reasons": listed(string("Reason"), "Why it does not"),
            "draining": flag("It is shutting down"),
            "submitsRefused": string("Code that submits are refused with, while they are"),
            "durability": durability(),
            "durabilityReasons": reasons(),
            "partitions": numbers("Partitions", &counts, &count("Partitions")),
            "replay": replay,
        }),
    )
}

fn audit_line() -> Value {
    let required =
        ["seq", "actor", "from", "role", "op", "call", "target", "result", "prev", "hash"];
    answered(
        "A line of the audit trail",
        &required,
        json!({
            "seq": count("Number"),
            "ts": stamp("When it was answered"),
            "actor": string("`token:NAME`, or `anonymous`"),
            "from": string("Address it came from"),
            "role": string("Role it was allowed by"),
            "op": string("Name of the operation"),
            "call": string("Method and path template"),
            "target": string("Job, task, worker or level; `*` = several"),
            "job": string("Job of the task that is the target"),
            "operation": string("Operation that it began"),
            "result": string("`ok`, `unknown` or the code of the refusal"),
            "position": string("What the answer was valid for"),
            "prev": string("Hash of the line before, hex"),
            "hash": string("SHA-256 of this line up to here, hex"),
        }),
    )
}

fn state_hash() -> Value {
    answered(
        "State of a partition",
        &["partition", "position", "hash"],
        json!({
            "partition": count("Number"),
            "position": string("Position it is of"),
            "hash": string("Hash"),
        }),
    )
}

fn images() -> Value {
    let row = answered(
        "An image",
        &["partition", "position"],
        json!({
            "partition": count("Number"),
            "position": string("Position it is of"),
        }),
    );
    answered("Images written", &["partitions"], json!({ "partitions": listed(row, "Images") }))
}
