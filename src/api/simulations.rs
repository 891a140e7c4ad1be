//! Simulations: start, look, stop; and the seed's way to run one and wait for it.

use crate::actor::simulation::{Simulation, Simulations};
use crate::api::answer::Answer;
use crate::api::call::Call;
use crate::api::problem::{Outcome, Problem};
use crate::api::query::bad;
use crate::api::route::{ADMIN, Route, on};
use crate::api::submit::admitted;
use crate::codec::json;
use crate::codec::wire::out::Out;
use crate::codec::wire::simulation as wire;
use crate::model::id::Name;
use crate::model::priority::Priority;
use crate::model::reject::{Code, Reject};
use crate::model::simulation::SimulationPlan;
use hyper::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// The seed's call answers at the latest after this time.
const SEED_WAIT: Duration = Duration::from_secs(600);

pub(crate) fn routes() -> Vec<Route> {
    let rule = ADMIN.whole();
    let one = "/kwq/simulations/{id}";
    let seed = "/kwq/simulate/{numberOfTasks}/{durationSeconds}/{numberOfWorkers}";
    vec![
        on(Method::POST, "/kwq/simulations", rule.audited("simulation.start"), start),
        on(Method::GET, one, rule, get),
        on(Method::DELETE, one, rule.audited("simulation.stop"), stop),
        on(Method::GET, seed, rule.audited("simulation.run"), run),
    ]
}

fn simulations(call: &Call) -> Result<Arc<Simulations>, Problem> {
    call.shared.api.simulations.clone().ok_or_else(|| {
        let reject = Reject::new(Code::SimulatorDisabled, "simulator.enabled is off");
        reject.hint("start with `kwq dev`, or set simulator.enabled = true").into()
    })
}

async fn start(mut call: Call) -> Outcome {
    admitted(&call)?;
    let simulations = simulations(&call)?;
    let bytes = call.optional_json().await?;
    let rules = call.shared.rules(call.query(&[])?.flag("lenient")?);
    let plan = wire::parse(&json::object(json::text(&bytes)?)?, &rules)?;
    let simulation = simulations.start(plan)?;
    let view = shown(&simulation).await?;
    let location = format!("/kwq/simulations/{}", simulation.id());
    let about = simulation.id().to_string();
    Ok(view.status(StatusCode::ACCEPTED).with("location", location).about(&*about))
}

async fn shown(simulation: &Simulation) -> Result<Answer, Problem> {
    let mut out = Out::default();
    wire::view(&mut out, &simulation.view().await?);
    Ok(Answer::json(out.into_bytes()))
}

async fn get(call: Call) -> Outcome {
    call.query(&[])?;
    let simulation = simulations(&call)?.get(call.param(0))?;
    shown(&simulation).await
}

/// Answers once it has stopped, so that the numbers are its last.
async fn stop(call: Call) -> Outcome {
    call.query(&[])?;
    let simulation = simulations(&call)?.get(call.param(0))?;
    simulation.stop();
    simulation.ended().await;
    shown(&simulation).await
}

/// Stops what nobody waits for any more.
struct Awaited(Arc<Simulation>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// `GET /kwq/simulate/{numberOfTasks}/{durationSeconds}/{numberOfWorkers}`: tasks completed.
async fn run(call: Call) -> Outcome {
    call.query(&[])?;
    admitted(&call)?;
    let simulations = simulations(&call)?;
    let number = |n: usize, field: &'static str, least: u32, most: u32| {
        let given = call.param(n).parse::<u32>().ok().filter(|v| (least..=most).contains(v));
        given.ok_or_else(|| bad(field, format!("{field} must be a whole number {least}..{most}")))
    };
    let tasks = number(0, "numberOfTasks", 1, 1_000_000)?;
    let seconds = number(1, "durationSeconds", 0, 60)?;
    let workers = number(2, "numberOfWorkers", 1, 1_000)?;
    let plan = SimulationPlan {
        tasks: u64::from(tasks),
        workers,
        mean_ms: seconds * 1_000,
        priorities: (1..=5).filter_map(Priority::new).collect(),
        ..SimulationPlan::default()
    };
    let job = Name::from(format!("GroupId-{}", call.shared.api.handle.now().wall.0));
    let awaited = Awaited(simulations.start_named(&job, plan)?);
    // At the end of the wait the count so far is the answer.
    drop(tokio::time::timeout(SEED_WAIT, awaited.0.ended()).await);
    let view = awaited.0.view().await?;
    Ok(Answer::json(view.completed.to_string().into_bytes()))
}
