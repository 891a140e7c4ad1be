//! Simulations: the plan in, the report out.

use crate::codec::json::{Fields, Raw};
use crate::codec::wire::field::{self, Rules, set};
use crate::codec::wire::out::Out;
use crate::model::affinity::hit_ratio;
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::reject::Reject;
use crate::model::simulation::{SimulationPlan, SimulationView, Spread};

const FIELDS: &[&str] = &[
    "tasks",
    "jobs",
    "workers",
    "durationMs",
    "failRate",
    "crashRate",
    "affinityKeys",
    "priorities",
    "seed",
];

/// Fields of `durationMs`.
const DURATION_FIELDS: &[&str] = &["dist", "mean"];

/// Reads the body of `POST /kwq/simulations`; what it omits is as in
/// [`SimulationPlan::default`].
///
/// # Errors
/// The code and field of the first rule it breaks.
pub fn parse(fields: &Fields<'_>, rules: &Rules) -> Result<SimulationPlan, Reject> {
    let mut plan = SimulationPlan::default();
    for (key, raw) in fields.iter().filter(|(_, raw)| !raw.is_null()) {
        match key {
            "tasks" => {
                plan.tasks = field::integer("tasks", raw, 1, limits::SIMULATION_TASKS_MAX)?;
            }
            "jobs" => plan.jobs = field::narrow("jobs", raw, 1, limits::SIMULATION_JOBS_MAX)?,
            "workers" => {
                plan.workers = field::narrow("workers", raw, 1, limits::SIMULATION_WORKERS_MAX)?;
            }
            "durationMs" => {
                (plan.spread, plan.mean_ms) = duration(&field::nested("durationMs", raw)?, rules)?;
            }
            "failRate" => plan.fail_rate = rate("failRate", raw)?,
            "crashRate" => plan.crash_rate = rate("crashRate", raw)?,
            "affinityKeys" => {
                let most = limits::SIMULATION_KEYS_MAX;
                plan.affinity_keys = field::narrow("affinityKeys", raw, 0, most)?;
            }
            "priorities" => plan.priorities = priorities(raw)?,
            "seed" => plan.seed = field::integer("seed", raw, 0, u64::MAX)?,
            _ if rules.lenient => {}
            other => return Err(field::unknown(other, FIELDS)),
        }
    }
    if plan.fail_rate + plan.crash_rate > 1.0 {
        let detail = "failRate and crashRate together must be at most 1";
        return Err(Reject::field("failRate", detail));
    }
    Ok(plan)
}

fn duration(fields: &Fields<'_>, rules: &Rules) -> Result<(Spread, u32), Reject> {
    let (mut spread, mut mean) = (None, None);
    for (key, raw) in fields.iter() {
        match key {
            "dist" => set(&mut spread, raw, dist)?,
            "mean" => set(&mut mean, raw, |r| {
                field::narrow("durationMs.mean", r, 0, limits::SIMULATION_MEAN_MS_MAX)
            })?,
            _ if rules.lenient => {}
            other => return Err(field::unknown(other, DURATION_FIELDS)),
        }
    }
    let usual = SimulationPlan::default();
    Ok((spread.unwrap_or(usual.spread), mean.unwrap_or(usual.mean_ms)))
}

fn dist(raw: Raw<'_>) -> Result<Spread, Reject> {
    let word = field::string("durationMs.dist", raw)?;
    Spread::ALL.into_iter().find(|spread| spread.word() == word).ok_or_else(|| {
        Reject::field("durationMs.dist", "durationMs.dist must be fixed, uniform or exp")
    })
}

/// A share 0…1, whole or with a fraction.
fn rate(name: &'static str, raw: Raw<'_>) -> Result<f64, Reject> {
    let number = (raw.kind() == "a number").then(|| raw.text().parse::<f64>().ok()).flatten();
    number
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| Reject::field(name, format!("{name} must be a number 0..1")))
}

fn priorities(raw: Raw<'_>) -> Result<Vec<Priority>, Reject> {
    let list = field::list("priorities", raw, Priority::LEVELS, |element| {
        field::priority(field::scalar("priorities", element)?).map_err(|r| r.on("priorities"))
    })?;
    // An empty list counts as absent.
    Ok(if list.is_empty() { SimulationPlan::default().priorities } else { list })
}

/// A simulation with its numbers.
pub fn view(out: &mut Out, view: &SimulationView) {
    out.open();
    out.str("id", &view.id);
    out.str("state", view.state.name());
    out.num("submitted", view.submitted);
    out.num("completed", view.completed);
    out.num("failed", view.failed);
    out.num("crashed", view.crashed);
    out.num("elapsedMs", view.elapsed_ms);
    out.float("ratePerSec", view.rate_per_sec(), 1);
    out.object("waitMs");
    for (name, ms) in ["p50", "p95", "p99"].into_iter().zip(view.wait_ms) {
        out.num(name, ms);
    }
    out.close();
    let (hits, misses) = view.affinity;
    out.float("hitRatio", hit_ratio(hits, misses), 3);
    out.opt_str("detail", view.detail.as_deref());
    out.close();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json;

    fn read(text: &str) -> Result<SimulationPlan, Reject> {
        parse(&json::object(text)?, &Rules::default())
    }

    #[test]
    fn an_empty_plan_is_the_default_and_every_field_is_read() {
        assert_eq!(read("{}"), Ok(SimulationPlan::default()));
        let plan = read(
            r#"{"tasks":5,"jobs":2,"workers":3,"durationMs":{"dist":"exp","mean":7},
               "failRate":0.25,"crashRate":1e-2,"affinityKeys":4,"priorities":[9,1],"seed":8}"#,
        );
        let expected = SimulationPlan {
            tasks: 5,
            jobs: 2,
            workers: 3,
            spread: Spread::Exponential,
            mean_ms: 7,
            fail_rate: 0.25,
            crash_rate: 0.01,
            affinity_keys: 4,
            priorities: [9, 1].map(|p| Priority::new(p).expect("1..9")).to_vec(),
            seed: 8,
        };
        assert_eq!(plan, Ok(expected));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_its_field() {
        for (text, field) in [
            (r#"{"tasks":0}"#, "tasks"),
            (r#"{"tasks":10000001}"#, "tasks"),
            (r#"{"workers":10001}"#, "workers"),
            (r#"{"jobs":0}"#, "jobs"),
            (r#"{"failRate":1.5}"#, "failRate"),
            (r#"{"failRate":"0.5"}"#, "failRate"),
            (r#"{"failRate":0.6,"crashRate":0.6}"#, "failRate"),
            (r#"{"durationMs":{"dist":"normal"}}"#, "durationMs.dist"),
            (r#"{"durationMs":{"mean":-1}}"#, "durationMs.mean"),
            (r#"{"durationMs":5}"#, "durationMs"),
            (r#"{"priorities":[0]}"#, "priorities"),
            (r#"{"task":5}"#, "task"),
        ] {
            let reject = read(text).expect_err(text);
            assert_eq!(reject.field.as_deref(), Some(field), "{text}");
        }
    }
}
