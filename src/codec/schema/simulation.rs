//! Simulations: the plan as sent, the report as answered.

use crate::codec::schema::{
    Named, answered, count, integer, list, named, number, sent, string, usual, word,
};
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::simulation::{SimulationState, Spread};
use serde_json::{Value, json};

pub(crate) fn schemas() -> Named {
    vec![("Plan", plan()), ("RunTime", run_time()), ("Simulation", simulation())]
}

fn share(note: &str) -> Value {
    json!({ "type": "number", "minimum": 0, "maximum": 1, "default": 0, "description": note })
}

fn plan() -> Value {
    let level = integer(1_u64, 9_u64, "Level");
    sent(
        "What is simulated",
        &[],
        json!({
            "tasks": usual(integer(1_u64, limits::SIMULATION_TASKS_MAX, "Tasks"), 10_000),
            "jobs": usual(integer(1_u64, limits::SIMULATION_JOBS_MAX, "Jobs"), 1),
            "workers": usual(integer(1_u64, limits::SIMULATION_WORKERS_MAX, "Workers"), 10),
            "durationMs": named("RunTime"),
            "failRate": share("Part of the runs that fail; with crashRate at most 1"),
            "crashRate": share("Part of the runs whose worker dies"),
            "affinityKeys":
                usual(integer(0_u64, limits::SIMULATION_KEYS_MAX, "Affinity keys"), 0),
            "priorities": usual(list(Priority::LEVELS, level, "Levels in turn"), json!([5])),
            "seed": usual(count("Of all draws"), 1),
        }),
    )
}

fn run_time() -> Value {
    let spread = word(Spread::ALL.map(Spread::word), "How run times are spread");
    let mean = integer(0_u64, limits::SIMULATION_MEAN_MS_MAX, "Mean, ms");
    let fields = json!({ "dist": usual(spread, "fixed"), "mean": usual(mean, 100) });
    sent("Run time of a task", &[], fields)
}

fn simulation() -> Value {
    let wait = answered(
        "From ready to handed out, ms",
        &["p50", "p95", "p99"],
        json!({ "p50": count("Median"), "p95": count("95 %"), "p99": count("99 %") }),
    );
    let required = [
        "id",
        "state",
        "submitted",
        "completed",
        "failed",
        "crashed",
        "elapsedMs",
        "ratePerSec",
        "waitMs",
        "hitRatio",
    ];
    answered(
        "A simulation with its numbers",
        &required,
        json!({
            "id": string("Id"),
            "state": word(SimulationState::ALL.map(SimulationState::name), "How far it is"),
            "submitted": count("Tasks submitted"),
            "completed": count("Tasks completed"),
            "failed": count("Runs that failed"),
            "crashed": count("Workers that died"),
            "elapsedMs": count("Since its start, ms"),
            "ratePerSec": number("Completed per second"),
            "waitMs": wait,
            "hitRatio": number("Hand-outs to a worker that held a key ÷ all with keys"),
            "detail": string("Why it failed"),
        }),
    )
}
