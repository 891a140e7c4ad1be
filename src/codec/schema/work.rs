//! What workers send and are answered: consume, heartbeat, reports, registration.

use crate::codec::schema::task::joined;
use crate::codec::schema::{
    Named, answered, count, flag, integer, list, listed, name, named, named_as, sent, stamp,
    string, text, usual, word,
};
use crate::model::limits;
use crate::model::worker::WorkerState;
use serde_json::{Value, json};

pub(crate) fn schemas() -> Named {
    vec![
        ("Consume", consume()),
        ("Consumed", consumed()),
        ("Heartbeat", heartbeat()),
        ("Renewed", renewed()),
        ("StartReport", sent("It runs", &["lease"], lease_fields())),
        ("CompleteReport", sent("It is done", &["lease"], joined(lease_fields(), complete()))),
        ("FailReport", sent("It failed", &["lease"], joined(lease_fields(), fail()))),
        ("ReleaseReport", sent("It is given back", &["lease"], joined(lease_fields(), release()))),
        ("DoneReport", done_report()),
        ("Start", one_or_many("StartReport")),
        ("Complete", one_or_many("CompleteReport")),
        ("Fail", one_or_many("FailReport")),
        ("Release", one_or_many("ReleaseReport")),
        ("Verdict", verdict()),
        (
            "Verdicts",
            answered(
                "Of each report, in order",
                &["items"],
                json!({
                    "items": listed(named("Verdict"), "Verdicts"),
                }),
            ),
        ),
        ("CancelNotice", cancel_notice()),
        ("Registration", registration()),
        ("Registered", registered()),
        (
            "Drain",
            sent(
                "What to do",
                &[],
                json!({
                    "drain": usual(flag("`false` takes a drain back"), true),
                }),
            ),
        ),
        ("Worker", worker()),
        (
            "Released",
            answered(
                "Done",
                &["released"],
                json!({
                    "released": count("Tasks given back"),
                }),
            ),
        ),
    ]
}

fn lease(note: &str) -> Value {
    let max = limits::TOKEN_CHARS_MAX;
    json!({ "type": "string", "minLength": 1, "maxLength": max, "description": note })
}

fn leases(note: &str) -> Value {
    list(limits::HEARTBEAT_LEASES_MAX, lease("Token"), note)
}

fn consume() -> Value {
    let bytes = integer(1_u64, limits::CONSUME_BYTES_MAX, "Payload bytes at most");
    let wait = integer(0_u64, limits::WAIT_MS_MAX, "Longest wait, ms");
    let levels = list(limits::CONSUME_MAX, integer(1_u64, 9_u64, "Level"), "Only these levels");
    let jobs = list(limits::CONSUME_JOBS_MAX, name("Job"), "Only these jobs");
    let done = list(limits::CONSUME_MAX, named("DoneReport"), "Reports on tasks that ended");
    sent(
        "Asks for tasks",
        &["worker"],
        json!({
            "worker": name("One name per process"),
            "endpoint": text(limits::ENDPOINT_BYTES_MAX, "Shown, never dialled"),
            "max": usual(integer(1_u64, 1_000_u64, "Tasks at most"), 1),
            "waitMs": usual(wait, limits::WAIT_MS),
            "targetMs": integer(1_u64, limits::TARGET_MS_MAX, "Tasks for about this long, ms"),
            "maxBytes": usual(bytes, limits::CONSUME_BYTES),
            "leaseMs": integer(limits::LEASE_MS_MIN, limits::LEASE_MS_MAX, "Length of leases, ms"),
            "leases": leases("A heartbeat for these, before the wait"),
            "priorities": levels,
            "jobs": jobs,
            "affinity": named("NewAffinity"),
            "affinityMode": usual(word(["prefer", "any"], "Use of affinity"), "prefer"),
            "done": done,
        }),
    )
}

fn renewal_fields() -> Value {
    json!({
        "renewed": count("Leases renewed"),
        "lost": listed(string("Token"), "Tokens that act no more: drop these tasks"),
        "cancel": listed(named("CancelNotice"), "Stop these tasks, report nothing"),
        "heartbeatMs": count("Beat this often, ms"),
        "drain": flag("Finish what you hold, ask no more"),
    })
}

fn consumed() -> Value {
    let own = json!({
        "tasks": listed(named("HandOut"), "Tasks with payload and lease"),
        "done": listed(named("Verdict"), "On the reports, in order"),
    });
    let note = "Tasks; renewed, lost and cancel when leases were sent";
    answered(note, &["tasks", "done", "heartbeatMs", "drain"], joined(renewal_fields(), own))
}

fn heartbeat() -> Value {
    sent(
        "Renews leases",
        &["worker"],
        json!({
            "worker": name("Who it is"),
            "leases": leases("Exactly these; all of the worker's when absent"),
            "affinity": named("NewAffinity"),
        }),
    )
}

fn renewed() -> Value {
    let own = json!({ "leaseMs": count("Shortest lease renewed, ms") });
    let required = ["renewed", "lost", "cancel", "heartbeatMs", "leaseMs", "drain"];
    answered("What became of the leases", &required, joined(renewal_fields(), own))
}

fn cancel_notice() -> Value {
    answered(
        "A task to stop",
        &["lease", "ref", "reason"],
        json!({
            "lease": string("Token"),
            "ref": string("Reference"),
            "reason": string("Why"),
        }),
    )
}

fn lease_fields() -> Value {
    json!({ "lease": lease("Token of the hand-out"), "worker": name("It must be the lease's") })
}

fn run_ms() -> Value {
    integer(0_u64, limits::RUN_MS_MAX, "The worker's own measure, ms")
}

fn complete() -> Value {
    json!({
        "runMs": run_ms(),
        "result": { "description": "Any JSON value; at most 64 KiB when decoded" },
        "encoding": word(["text", "json", "base64"], "How result becomes bytes"),
    })
}

fn fail() -> Value {
    let class = json!({
        "type": "string", "pattern": "^[A-Za-z0-9_.:-]+$", "minLength": 1,
        "maxLength": limits::CLASS_BYTES_MAX, "default": "error",
        "description": "Class of the failure",
    });
    json!({
        "runMs": run_ms(),
        "class": class,
        "message": usual(string("For people; cut at 4,096 bytes"), ""),
        "retryable": usual(flag("`false`: dead letter at once"), true),
        "retryAfterMs": integer(0_u64, limits::BACKOFF_MS_MAX, "Instead of the back-off, ms"),
    })
}

fn release() -> Value {
    let delay = integer(0_u64, limits::BACKOFF_MS_MAX, "Not handed out for this long, ms");
    json!({ "delayMs": usual(delay, 0) })
}

fn done_report() -> Value {
    let typed = |kind: &str, own: Value| {
        let kind = json!({ "type": { "type": "string", "enum": [kind] } });
        joined(joined(lease_fields(), own), kind)
    };
    json!({
        "description": "A report in a consume; without type it is a complete",
        "oneOf": [
            sent("It is done", &["lease"], typed("complete", complete())),
            sent("It failed", &["lease", "type"], typed("fail", fail())),
            sent("It is given back", &["lease", "type"], typed("release", release())),
        ],
    })
}

fn one_or_many(report: &str) -> Value {
    let items = list(limits::CONSUME_MAX, named(report), "Each has its own verdict");
    let many = sent("Several reports", &["items"], json!({ "items": items }));
    json!({ "description": "One report, or a list of them", "oneOf": [named(report), many] })
}

fn verdict() -> Value {
    let words = [
        "ok",
        "retry",
        "dead",
        "duplicate",
        "lease_lost",
        "cancelled",
        "accepted",
        "unavailable",
        "invalid",
    ];
    answered(
        "Verdict on a report",
        &["outcome"],
        json!({
            "outcome": word(words, "What became of it"),
            "code": named_as("ErrorCode", "Why it is `invalid` or `unavailable`"),
            "field": string("Field that breaks a rule"),
            "detail": string("What is wrong"),
            "lease": string("Token as sent"),
            "id": string("Task"),
            "ref": string("Reference"),
            "state": named("TaskState"),
            "attempt": count("Number of the hand-out"),
            "at_ts": stamp("It may run again"),
            "errors": count("Failures since the last redrive"),
            "crashes": count("Lost workers since the last redrive"),
            "maxAttempts": count("Failures before it is dead"),
        }),
    )
}

fn registration() -> Value {
    sent(
        "A worker that begins",
        &["worker"],
        json!({
            "worker": name("One name per process"),
            "endpoint": text(limits::ENDPOINT_BYTES_MAX, "Shown, never dialled"),
            "slots": integer(1_u64, limits::SLOTS_MAX, "Tasks it runs at once"),
            "version": text(limits::VERSION_BYTES_MAX, "Of the worker"),
            "affinity": named("NewAffinity"),
        }),
    )
}

fn registered() -> Value {
    answered(
        "What it shall keep to",
        &["worker", "heartbeatMs", "leaseMs"],
        json!({
            "worker": string("Who it is"),
            "heartbeatMs": count("Beat this often, ms"),
            "leaseMs": count("Usual lease, ms"),
        }),
    )
}

fn worker() -> Value {
    let held = answered(
        "A task it holds",
        &["ref", "groupId", "attempt"],
        json!({
            "ref": string("Reference"),
            "groupId": string("Job"),
            "attempt": count("Number of the hand-out"),
            "allocated_ts": stamp("Handed out"),
        }),
    );
    let required = ["worker", "state", "leases", "affinity"];
    answered(
        "A worker",
        &required,
        json!({
            "worker": string("Name"),
            "endpoint": string("Endpoint"),
            "state": word(WorkerState::ALL.map(WorkerState::name), "How it is"),
            "slots": count("Tasks it runs at once"),
            "version": string("Of the worker"),
            "leases": count("Leases it holds"),
            "completed": count("Completed; absent for a token with scopes"),
            "failed": count("Failed or timed out; absent for a token with scopes"),
            "crashed": count("Leases lost; absent for a token with scopes"),
            "firstSeen_ts": stamp("First call"),
            "lastSeen_ts": stamp("Latest call"),
            "affinity": listed(string("Affinity key"), "Warm keys; none for a token with scopes"),
            "held": listed(held, "Tasks it holds, at most 1,000; by name"),
        }),
    )
}
