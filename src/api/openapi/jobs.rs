//! Jobs and submits.

use crate::api::openapi::operation::{Answer, Operation, empty, get, json, patch, post, typed};
use crate::api::openapi::refusals::{ADMITS, ASKS, TASK_RULES, TRACKS};
use crate::codec::schema::{flag, integer, listed, name, named, string, word};
use crate::model::job::JobState;
use crate::model::limits;
use crate::model::reject::Code;
use crate::model::state::TaskState;
use serde_json::{Value, json};

/// Of calls with an `Idempotency-Key`.
const KEYED: &[Code] = &[Code::IdempotencyKeyReused, Code::IdempotencyInProgress];

pub(super) fn operations() -> Vec<Operation> {
    let all = [
        create(),
        list(),
        get("/kwq/jobs/{job}", "getJob", "One job")
            .part("job", name("Job"))
            .answer(json(200, "The job", named("Job")))
            .refuses(ASKS)
            .refuses(&[Code::JobNotFound, Code::Purged]),
        patch("/kwq/jobs/{job}", "changeJob", "Change a job")
            .part("job", name("Job"))
            .body("JobPatch")
            .refuses(&[Code::InvalidTag]),
        post("/kwq/jobs/{job}/close", "closeJob", "Take no more tasks")
            .part("job", name("Job"))
            .optional_body("Reason"),
        post("/kwq/jobs/{job}/pause", "pauseJob", "Hand nothing of it out")
            .part("job", name("Job"))
            .optional_body("Reason"),
        post("/kwq/jobs/{job}/resume", "resumeJob", "Hand it out again")
            .part("job", name("Job"))
            .optional_body("Reason"),
        post("/kwq/jobs/{job}/cancel", "cancelJob", "Cancel its tasks")
            .part("job", name("Job"))
            .optional_body("JobCancel"),
        wait(),
        breakdown(),
        results(),
        events(),
        submit(),
        submit_tasks(),
    ];
    all.into_iter().map(|operation| operation.tag("jobs")).map(control).collect()
}

/// Verbs that change a job answer alike.
fn control(operation: Operation) -> Operation {
    if operation.answered() {
        return operation;
    }
    operation
        .answer(json(200, "In force in every partition", named("Job")))
        .answer(
            json(202, "Durable, not yet in force everywhere", named("Job")).with(&["Location!"]),
        )
        .refuses(ASKS)
        .refuses(&[Code::JobNotFound, Code::JobEnded, Code::Purged])
}

fn create() -> Operation {
    post("/kwq/jobs", "createJob", "Create a job")
        .body("NewJob")
        .shared(&["IdempotencyKey"])
        .answer(json(201, "Created", named("Job")).with(&["Location!", "Kwq-Replayed"]))
        .answer(
            json(200, "It is there, with the same specification", named("Job"))
                .with(&["Kwq-Replayed"]),
        )
        .refuses(ADMITS)
        .refuses(KEYED)
        .refuses(&[Code::InvalidTag, Code::NotSupported, Code::JobConflict, Code::JobNotFound])
}

fn list() -> Operation {
    let sorts = word(["created", "eta", "errors", "age"], "Order; `created`: newest first");
    get("/kwq/jobs", "listJobs", "Jobs, a page")
        .commas("state", word(JobState::ALL.map(JobState::name), "One of these states"))
        .query("paused", flag("Paused or not"))
        .query("tag", string("Label of the job"))
        .query("priority", integer(1_u64, 9_u64, "Priority"))
        .query("q", string("Prefix of the id"))
        .query("sort", sorts)
        .shared(&["Limit", "Cursor", "Fresh"])
        .answer(
            json(200, "A page", listed(named("Job"), "Jobs")).with(&["Kwq-Next", "Kwq-Lag-Ms!"]),
        )
        .refuses(TRACKS)
        .refuses(&[Code::BadCursor])
}

fn wait() -> Operation {
    let wait = integer(0_u64, limits::WAIT_MS_MAX, "Longest wait, ms; 20,000 when absent");
    get("/kwq/jobs/{job}/wait", "waitForJob", "Wait until it has ended or failed first")
        .part("job", name("Job"))
        .commas("for", word(["done", "firstError"], "What is waited for; `done` holds always"))
        .query("waitMs", wait)
        .answer(json(200, "It holds", named("Job")))
        .answer(empty(204, "Not within waitMs"))
        .refuses(ASKS)
        .refuses(&[Code::JobNotFound, Code::Purged])
}

fn breakdown() -> Operation {
    let by = "`state`, `priority` or `tag:KEY`; bare tags are `tag:_`";
    get("/kwq/jobs/{job}/breakdown", "breakDownJob", "Its tasks counted")
        .part("job", name("Job"))
        .needed("by", string(by))
        .shared(&["Limit", "Fresh"])
        .answer(json(200, "Counts", named("Breakdown")).with(&["Kwq-Lag-Ms!"]))
        .refuses(TRACKS)
        .refuses(&[Code::JobNotFound, Code::Purged])
}

fn results() -> Operation {
    let terminal = TaskState::ALL.into_iter().filter(|state| state.terminal());
    let states = word(terminal.map(TaskState::name), "Ended so; COMPLETED when absent");
    let most = integer(1_u64, limits::PAGE_MAX as u64, "Lines; 1,000, with `follow` no end");
    let lines = "An object a line: `id, ref, index, state, attempt, result, resultEncoding, \
                 error, ended_ts, cursor`; empty lines say that more may come";
    get("/kwq/jobs/{job}/results", "readResults", "Its ended tasks in completion order")
        .part("job", name("Job"))
        .commas("state", states)
        .query("limit", most)
        .query("follow", flag("Go on until the job has ended"))
        .shared(&["Cursor", "Fresh"])
        .answer(typed(200, "Lines", "application/x-ndjson", string(lines)).with(&["Kwq-Lag-Ms!"]))
        .refuses(TRACKS)
        .refuses(&[Code::JobNotFound, Code::Purged, Code::BadCursor, Code::LogUnavailable])
}

fn events() -> Operation {
    let events = "Events `progress` and `state`; data: the job";
    get("/kwq/jobs/{job}/events", "watchJob", "How it goes on, until it has ended")
        .part("job", name("Job"))
        .answer(typed(200, "Server-sent events", "text/event-stream", string(events)))
        .refuses(ASKS)
        .refuses(&[Code::JobNotFound, Code::Purged])
}

/// Submits take JSON and NDJSON.
fn tasks_content() -> Value {
    let lines = string("One task or array a line; LF or CRLF");
    json!({
        "application/json": { "schema": named("NewTasks") },
        "application/x-ndjson": { "schema": lines },
    })
}

fn submit() -> Operation {
    let both = json!({ "oneOf": [named("SeedTask"), named("Batch")] });
    let answer: Answer = json(200, "Durable; one task answers as the original did", both);
    submits(post("/kwq/submit", "submit", "Submit tasks, each names its job"))
        .answer(answer.with(&["Kwq-Ref", "Kwq-Outcome", "Kwq-Replayed"]))
        .refuses(&[Code::IdConflict, Code::PayloadTooLarge])
}

fn submit_tasks() -> Operation {
    let operation = post("/kwq/jobs/{job}/tasks", "submitTasks", "Submit tasks into a job");
    submits(operation.part("job", name("Job")).query("close", flag("Close the job at the end")))
        .answer(json(200, "Every `ok` item is durable", named("Batch")).with(&["Kwq-Replayed"]))
}

/// What both submits share. With `onError=stop` a line is refused with 422, whatever its code.
fn submits(operation: Operation) -> Operation {
    let listing = "Outcomes that are listed; of lists and NDJSON";
    let stops = [
        Code::BadJson,
        Code::IdConflict,
        Code::JobClosed,
        Code::JobNotFound,
        Code::PayloadTooLarge,
    ];
    operation
        .query("results", word(["all", "errors"], listing))
        .query("onError", word(["skip", "stop"], "What a bad line does; NDJSON only"))
        .content(true, tasks_content())
        .shared(&["IdempotencyKey"])
        .refuses(KEYED)
        .refuses(ADMITS)
        .refuses(TASK_RULES)
        .refuses(&[Code::JobClosed, Code::JobNotFound, Code::TooManyItems, Code::LineTooLarge])
        .refuses_as(422, &stops)
}
