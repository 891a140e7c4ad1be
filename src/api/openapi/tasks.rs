//! Tasks and the dead letter.

use crate::api::openapi::operation::{Operation, get, json, post, typed};
use crate::api::openapi::refusals::TRACKS;
use crate::codec::schema::{flag, integer, listed, name, named, stamp, string, word};
use crate::model::limits;
use crate::model::reject::Code;
use crate::model::state::TaskState;
use serde_json::{Value, json};

pub(super) fn operations() -> Vec<Operation> {
    let all =
        [
            list(get("/kwq/tasks", "listTasks", "Tasks, a page")),
            list(get("/kwq/dlq", "listDeadTasks", "Dead tasks, a page")),
            one(get("/kwq/tasks/{task}", "getTask", "One task"))
                .query("payload", flag("With its payload; needs the role payload"))
                .query("result", flag("With its result; needs the role payload"))
                .answer(json(200, "The task", named("Task"))),
            one(get("/kwq/tasks/{task}/explain", "explainTask", "Why it does not run"))
                .answer(json(200, "Reasons", named("Explanation"))),
            one(get("/kwq/tasks/{task}/payload", "getPayload", "Its payload, as bytes"))
                .answer(bytes()),
            one(get("/kwq/tasks/{task}/result", "getResult", "Its result, as bytes"))
                .answer(bytes()),
            one(post("/kwq/tasks/{task}/cancel", "cancelTask", "Cancel a task"))
                .optional_body("Reason")
                .answer(json(200, "The task", named("Task")))
                .refuses(&[Code::IllegalTransition]),
            one(post("/kwq/tasks/{task}/retry", "retryTask", "Redrive a dead task"))
                .optional_body("Redrive")
                .answer(json(200, "The task", named("Task")))
                .refuses(&[Code::IllegalTransition, Code::JobEnded]),
        ];
    all.into_iter().map(|operation| operation.tag("tasks")).collect()
}

/// A task of the path.
fn one(operation: Operation) -> Operation {
    operation
        .part("task", name("Reference, or own id"))
        .query("job", name("Job, where an own id is in several"))
        .refuses(TRACKS)
        .refuses(&[Code::TaskNotFound, Code::Purged])
}

fn bytes() -> super::operation::Answer {
    let bytes = json!({ "description": "Bytes; none when it is empty" });
    typed(200, "The bytes", "application/octet-stream", bytes).with(&["Content-Disposition!"])
}

fn states() -> Value {
    let words = TaskState::ALL.map(TaskState::name).into_iter().chain(["SUBMITTED"]);
    word(words, "One of these states; SUBMITTED = PENDING")
}

fn list(operation: Operation) -> Operation {
    let order = "`recent`: latest change first, over the last few thousand changes";
    let rows = listed(named("Task"), "Tasks");
    operation
        .query("job", name("Job"))
        .query("id", name("Own id"))
        .query("index", integer(0_u64, limits::ARRAY_VALUE_MAX, "Value of an element; needs job"))
        .query("priority", integer(1_u64, 9_u64, "Current priority"))
        .query("worker", name("Worker of the latest hand-out"))
        .commas("state", states())
        .repeated("tag", string("`key:value` or a bare tag; has all"), limits::TAGS_MAX)
        .commas("tagAny", string("Has one of these tags"))
        .query("class", string("Class of the latest failure"))
        .query("since", stamp("Submitted then or later"))
        .query("until", stamp("Submitted before"))
        .query("order", word(["recent", "new", "old"], order))
        .shared(&["Fresh", "Limit", "Cursor"])
        .answer(json(200, "A page", rows).with(&["Kwq-Next", "Kwq-Lag-Ms!", "Kwq-Scanned"]))
        .refuses(TRACKS)
        .refuses(&[Code::BadCursor])
}
