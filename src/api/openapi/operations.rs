//! Bulk work: operations, and the verbs that begin one.

use crate::api::openapi::operation::{Answer, Operation, delete, get, json, post};
use crate::api::openapi::refusals::{ADMITS, ASKS};
use crate::codec::schema::{listed, name, named, string};
use crate::model::reject::Code;

pub(super) fn operations() -> Vec<Operation> {
    let one = |operation: Operation| {
        operation
            .part("op", string("Id of the operation"))
            .answer(json(200, "The operation", named("Operation")))
            .refuses(ASKS)
            .refuses(&[Code::OperationNotFound])
    };
    let all = [
        list(),
        one(get("/kwq/operations/{op}", "getOperation", "One operation")),
        one(delete("/kwq/operations/{op}", "stopOperation", "Stop it; what is done stays"))
            .refuses(&[Code::OperationEnded]),
        bulk(post("/kwq/dlq/redrive", "redriveDead", "Redrive dead tasks").body("BulkRedrive")),
        bulk(post("/kwq/dlq/purge", "purgeDead", "Remove dead tasks").body("BulkPurge")),
        of_job(post("/kwq/jobs/{job}/retry", "retryJob", "Redrive its dead tasks"))
            .optional_body("Redrive"),
        of_job(delete("/kwq/jobs/{job}", "purgeJob", "Remove an ended job with its tasks"))
            .refuses(&[Code::NotFinished]),
    ];
    all.into_iter().map(|operation| operation.tag("operations")).collect()
}

fn list() -> Operation {
    let rows = listed(named("Operation"), "Newest first");
    get("/kwq/operations", "listOperations", "Operations, a page")
        .shared(&["Limit", "Cursor"])
        .answer(json(200, "A page", rows).with(&["Kwq-Next"]))
        .refuses(ASKS)
        .refuses(&[Code::BadCursor])
}

fn begun() -> Answer {
    json(202, "It goes on after this answer", named("Operation")).with(&["Location!"])
}

fn bulk(operation: Operation) -> Operation {
    operation
        .answer(json(200, "With dryRun: how many match", named("Matched")))
        .answer(begun())
        .refuses(ADMITS)
        .refuses(&[Code::EmptyFilter, Code::JobNotFound, Code::Purged])
}

fn of_job(operation: Operation) -> Operation {
    operation.part("job", name("Job")).answer(begun()).refuses(ADMITS).refuses(&[
        Code::JobNotFound,
        Code::JobEnded,
        Code::Purged,
    ])
}
