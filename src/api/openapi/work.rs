//! What workers call, and workers as operators see them; the work routes of the original.

use crate::api::openapi::operation::{Operation, delete, empty, get, json, post};
use crate::api::openapi::refusals::{ASKS, TRACKS};
use crate::codec::schema::{integer, listed, name, named, text, word};
use crate::model::limits;
use crate::model::reject::Code;
use crate::model::worker::WorkerState;
use serde_json::json;

pub(super) fn operations() -> Vec<Operation> {
    let all = [
        consume(),
        post("/kwq/heartbeat", "heartbeat", "Renew leases")
            .body("Heartbeat")
            .answer(json(200, "What became of them", named("Renewed")))
            .refuses(ASKS)
            .refuses(&[Code::NotSupported]),
        report(post("/kwq/start", "start", "It runs").body("Start")),
        report(post("/kwq/complete", "complete", "It is done").body("Complete"))
            .refuses(&[Code::ResultTooLarge]),
        report(post("/kwq/fail", "fail", "It failed").body("Fail")),
        report(post("/kwq/release", "release", "It is given back").body("Release")),
        post("/kwq/workers", "registerWorker", "Register; optional, every call registers")
            .body("Registration")
            .answer(json(200, "Registered", named("Registered"))),
        list_workers(),
        one(get("/kwq/workers/{worker}", "getWorker", "One worker")).answer(json(
            200,
            "The worker",
            named("Worker"),
        )),
        one(post("/kwq/workers/{worker}/drain", "drainWorker", "Let it finish what it holds"))
            .optional_body("Drain")
            .answer(json(200, "The worker", named("Worker"))),
        one(delete("/kwq/workers/{worker}", "deleteWorker", "Forget it, give its tasks back"))
            .answer(json(200, "Done", named("Released"))),
    ];
    let modern = all.into_iter().map(|operation| operation.tag("work"));
    let seed = [seed_consume(), seed_update()].into_iter().map(|o| o.tag("seed"));
    modern.chain(seed).collect()
}

const POLL: [&str; 2] = ["Kwq-Poll-After-Ms!", "Kwq-Drain"];

fn consume() -> Operation {
    post("/kwq/consume", "consume", "Ask for tasks; report and renew on the way")
        .body("Consume")
        .answer(json(200, "Tasks", named("Consumed")).with(&["Kwq-Poll-After-Ms"]))
        .answer(empty(204, "No task, and neither done nor leases was sent").with(&POLL))
        .refuses(ASKS)
        .refuses(&[Code::NotSupported])
}

/// A single report answers its verdict by its status, a list of them is always 200.
fn report(operation: Operation) -> Operation {
    let both = json!({ "oneOf": [named("Verdict"), named("Verdicts")] });
    operation
        .answer(json(200, "Taken; or the verdicts of a list", both))
        .answer(json(202, "Durable; its owner is away and decides later", named("Verdict")))
        .refuses(ASKS)
        .refuses(&[Code::LeaseLost, Code::Cancelled])
}

fn list_workers() -> Operation {
    get("/kwq/workers", "listWorkers", "Workers, a page")
        .query("state", word(WorkerState::ALL.map(WorkerState::name), "In this state"))
        .shared(&["Limit", "Cursor"])
        .answer(json(200, "A page", listed(named("Worker"), "Workers")).with(&["Kwq-Next"]))
        .refuses(ASKS)
        .refuses(&[Code::BadCursor])
}

/// A worker of the path.
fn one(operation: Operation) -> Operation {
    operation.part("worker", name("Worker")).refuses(ASKS).refuses(&[Code::WorkerNotFound])
}

fn seed_consume() -> Operation {
    let leased = ["Kwq-Lease!", "Kwq-Lease-Ms!", "Kwq-Attempt!", "Deprecation!"];
    get(
        "/kwq/consume/{workerAddress}/{workerEndpoint}/{waitSec}",
        "seedConsume",
        "Ask for one task, as the original did",
    )
    .part("workerAddress", name("Worker"))
    .part(
        "workerEndpoint",
        json!({
            "type": "string", "minLength": 1, "maxLength": limits::ENDPOINT_BYTES_MAX,
            "description": "Shown, never dialled",
        }),
    )
    .part("waitSec", integer(0_u64, 60_u64, "Longest wait, s; more counts as 60"))
    .answer(json(200, "A task", named("SeedTask")).with(&leased))
    .answer(empty(204, "No task").with(&POLL))
    .refuses(ASKS)
    .refuses(&[Code::NoRoute])
}

fn seed_update() -> Operation {
    post("/kwq/updateTask", "seedUpdate", "Report on a task, as the original did")
        .header("Kwq-Lease", text(limits::TOKEN_CHARS_MAX, "Token of the hand-out"))
        .body("SeedUpdate")
        .answer(json(200, "The task", named("SeedTask")))
        .answer(json(202, "Durable; its owner is away and decides later", named("Verdict")))
        .refuses(TRACKS)
        .refuses(&[
            Code::LeaseLost,
            Code::Cancelled,
            Code::IllegalTransition,
            Code::TaskNotFound,
            Code::Purged,
        ])
}
