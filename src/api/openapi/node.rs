//! Levels, numbers, cluster, audit, health, documents; the simulator.

use crate::api::openapi::operation::{Operation, delete, empty, get, json, post, typed};
use crate::api::openapi::refusals::{ADMITS, ASKS, TRACKS};
use crate::codec::schema::{count, integer, listed, named, string, word};
use crate::model::limits;
use crate::model::reject::Code;
use crate::store::series::{Measure, Span};
use serde_json::json;

pub(super) fn operations() -> Vec<Operation> {
    [levels(), numbers(), itself(), health(), documents(), simulator()].concat()
}

fn levels() -> Vec<Operation> {
    let rows = || json(200, "Nine rows, 9 first", listed(named("Queue"), "Levels"));
    let level = || word(["1", "2", "3", "4", "5", "6", "7", "8", "9", "all"], "Level");
    vec![
        get("/kwq/queues", "listLevels", "Levels").answer(rows()).refuses(TRACKS),
        post("/kwq/queues/{p}/pause", "pauseLevel", "Hand nothing of it out")
            .part("p", level())
            .optional_body("Reason")
            .answer(rows())
            .refuses(TRACKS),
        post("/kwq/queues/{p}/resume", "resumeLevel", "Hand it out again")
            .part("p", level())
            .optional_body("Reason")
            .answer(rows())
            .refuses(TRACKS),
    ]
}

fn numbers() -> Vec<Operation> {
    vec![
        get("/kwq/stats", "seedStats", "Changes of state per 5 s, as the original counted")
            .tag("seed")
            .query("limit", integer(1_u64, 2_000_u64, "Windows at most"))
            .answer(json(200, "Windows, newest first", named("SeedWindows")).with(&["Kwq-Lag-Ms!"]))
            .refuses(TRACKS),
        get("/kwq/stats/tags", "statsTags", "Tasks counted by a tag key")
            .needed("key", string("Tag key; `_` = bare tags"))
            .shared(&["Limit", "Fresh"])
            .answer(json(200, "Counts", named("Breakdown")).with(&["Kwq-Lag-Ms!"]))
            .refuses(TRACKS),
        get("/kwq/stats/now", "statsNow", "A snapshot")
            .shared(&["Fresh"])
            .answer(json(200, "The snapshot", named("StatsNow")).with(&["Kwq-Lag-Ms!"]))
            .refuses(TRACKS),
        series(),
        events(),
    ]
}

fn series() -> Operation {
    let names = word(Measure::ALL.map(Measure::name), "Numbers per second, tasks, ms");
    let spans = word(Span::ALL.map(Span::name), "By second, by 10 s, by 5 min");
    get("/kwq/stats/series", "statsSeries", "Numbers over time, since the process started")
        .commas("name", names)
        .required()
        .needed("range", spans)
        .answer(json(200, "A value for every step, oldest first", named("Series")))
}

fn events() -> Operation {
    let pattern = format!("^[0-9]{{1,{}}}$", limits::EVENT_ID_DIGITS_MAX);
    let id = json!({ "type": "string", "pattern": pattern });
    let note = "`snapshot` (data: as `/kwq/stats/now`) once a second; `job`, `operation`, \
                `cluster` on change (data: the job, the operation, as `/kwq/cluster`)";
    get("/kwq/events", "watchNode", "How the node goes on, until it drains or the token ends")
        .header("Last-Event-ID", id)
        .answer(typed(200, "Server-sent events", "text/event-stream", string(note)))
        .refuses(&[Code::Overloaded])
}

fn itself() -> Vec<Operation> {
    let about = json!({
        "application/json": { "schema": named("About") },
        "text/plain": { "schema": string("One line, when `Accept` begins with text/plain") },
    });
    let hashes = listed(named("StateHash"), "One a partition");
    vec![
        get("/kwq", "about", "What answers here").answer(json(200, "It", named("About")).of(about)),
        get("/kwq/me", "me", "The caller").answer(json(200, "The caller", named("Me"))),
        get("/kwq/cluster", "cluster", "Nodes and partitions").answer(json(
            200,
            "The cluster",
            named("Cluster"),
        )),
        get("/kwq/audit", "audit", "Lines of the audit trail")
            .query("after", count("Lines with a greater number"))
            .shared(&["Limit"])
            .answer(json(200, "Lines, oldest first", listed(named("AuditLine"), "Lines")))
            .refuses(&[Code::Overloaded]),
        get("/kwq/admin/state-hash", "stateHash", "Hash of the state of each partition")
            .answer(json(200, "Hashes", hashes))
            .refuses(ASKS),
        post("/kwq/admin/image", "writeImages", "Write images now")
            .optional_body("Nothing")
            .answer(json(200, "Written", named("Images")))
            .refuses(ASKS)
            .refuses(&[Code::NotReady]),
    ]
}

fn health() -> Vec<Operation> {
    let live = |operation: Operation| {
        operation.answer(json(200, "Alive", named("Live"))).answer(json(
            503,
            "Not alive",
            named("Live"),
        ))
    };
    let ready = |operation: Operation| {
        operation.answer(json(200, "It serves", named("Ready"))).answer(json(
            503,
            "It does not, and why",
            named("Ready"),
        ))
    };
    vec![
        live(get("/kwq/health/live", "healthLive", "Alive?")),
        ready(get("/kwq/health/ready", "healthReady", "Does it serve?")),
        live(get("/livez", "live", "Alive?")),
        ready(get("/readyz", "ready", "Does it serve?")),
        get("/metrics", "metrics", "Metrics for Prometheus").answer(typed(
            200,
            "Text format 0.0.4",
            "text/plain",
            string("Metrics"),
        )),
    ]
}

fn documents() -> Vec<Operation> {
    let to = |pattern, id, summary| {
        get(pattern, id, summary).file().answer(empty(302, "There").with(&["Location!"]))
    };
    let file = |pattern, id, summary| {
        get(pattern, id, summary)
            .file()
            .part("path", string("Name of the file"))
            .answer(typed(200, "The file", "*/*", json!({})))
            .answer(empty(302, "Without a name: to the page").with(&["Location!"]))
            .refuses(&[Code::NoRoute])
    };
    let document = json!({ "type": "object", "required": ["openapi", "info", "paths"] });
    let code = json!({ "type": "string", "minLength": 1, "description": "Code of a refusal" });
    vec![
        to("/", "root", "To the page"),
        to("/ui", "uiRoot", "To the page"),
        file("/ui/*", "ui", "The page").answer(empty(304, "As `If-None-Match` knows it")),
        get("/docs/errors/{code}", "errorPage", "What a code means and what to do")
            .file()
            .part("code", code)
            .answer(typed(200, "The page", "text/plain", string("Text")))
            .refuses(&[Code::NoRoute]),
        get("/openapi.json", "openapiJson", "This document").file().answer(json(
            200,
            "OpenAPI 3.1",
            document.clone(),
        )),
        get("/openapi.yaml", "openapiYaml", "This document as YAML").file().answer(typed(
            200,
            "OpenAPI 3.1",
            "application/yaml",
            document,
        )),
        to("/swagger", "swaggerRoot", "To Swagger UI"),
        file("/swagger/*", "swagger", "Swagger UI"),
    ]
}

fn simulator() -> Vec<Operation> {
    let seed = "/kwq/simulate/{numberOfTasks}/{durationSeconds}/{numberOfWorkers}";
    let report = || named("Simulation");
    let all = [
        post("/kwq/simulations", "startSimulation", "Start a simulation")
            .optional_body("Plan")
            .answer(json(202, "It runs", report()).with(&["Location!"])),
        get("/kwq/simulations/{id}", "getSimulation", "A simulation with its numbers")
            .part("id", string("Id"))
            .answer(json(200, "It", report()))
            .refuses(&[Code::SimulationNotFound]),
        delete("/kwq/simulations/{id}", "stopSimulation", "Stop it, and its last numbers")
            .part("id", string("Id"))
            .answer(json(200, "It", report()))
            .refuses(&[Code::SimulationNotFound]),
        get(seed, "seedSimulate", "Run the simulator, as the original did")
            .tag("seed")
            .part("numberOfTasks", integer(1_u64, 1_000_000_u64, "Tasks"))
            .part("durationSeconds", integer(0_u64, 60_u64, "Run time of each, s"))
            .part("numberOfWorkers", integer(1_u64, 1_000_u64, "Workers"))
            .answer(json(200, "Tasks completed", count("Tasks"))),
    ];
    let of_all = [Code::SimulatorDisabled, Code::Quota];
    all.into_iter().map(|operation| operation.refuses(ADMITS).refuses(&of_all)).collect()
}
