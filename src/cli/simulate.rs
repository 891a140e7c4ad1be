//! `kwq simulate`: a simulated load on a server whose simulator is on.

use super::Context;
use super::failure::{Verdict, exit};
use super::jobs::put;
use super::out::{View, left, number, right, text};
use crate::client::Call;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use std::time::Duration;

/// `simulate`
#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// Tasks in all [default: 10000]
    #[arg(long)]
    tasks: Option<u64>,
    /// Jobs they are dealt to [default: 1]
    #[arg(long)]
    jobs: Option<u32>,
    /// Simulated workers [default: 10]
    #[arg(long)]
    workers: Option<u32>,
    /// Spread of the run times [default: fixed]
    #[arg(long, value_enum)]
    dist: Option<Dist>,
    /// Mean run time, e.g. 100ms [default: 100ms]
    #[arg(long, value_parser = super::human::duration_flag, value_name = "DURATION")]
    mean: Option<Duration>,
    /// Share of the attempts that fail, 0..1 [default: 0]
    #[arg(long, value_name = "SHARE")]
    fail_rate: Option<f64>,
    /// Share of the attempts whose worker dies, 0..1 [default: 0]
    #[arg(long, value_name = "SHARE")]
    crash_rate: Option<f64>,
    /// Distinct affinity keys, one on each task [default: none]
    #[arg(long, value_name = "N")]
    affinity_keys: Option<u32>,
    /// Priorities in turn [default: 5]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    priorities: Vec<u8>,
    /// Seed of all draws [default: 1]
    #[arg(long)]
    seed: Option<u64>,
    /// Wait for its end and show the last numbers
    #[arg(long)]
    wait: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dist {
    Fixed,
    Uniform,
    Exp,
}

const VIEW: View = View {
    id: "id",
    columns: &[
        left("ID", |row| text(row, "id")),
        left("STATE", |row| text(row, "state")),
        right("SUBMITTED", |row| text(row, "submitted")),
        right("COMPLETED", |row| text(row, "completed")),
        right("FAILED", |row| text(row, "failed")),
        right("CRASHED", |row| text(row, "crashed")),
        right("RATE/S", |row| text(row, "ratePerSec")),
        right("WAIT P50 MS", |row| text(&row["waitMs"], "p50")),
        right("P99 MS", |row| text(&row["waitMs"], "p99")),
        right("HITS", |row| text(row, "hitRatio")),
    ],
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Runs the verb. With `--wait` exit 1 when the simulation did not come to its end.
pub(super) async fn run(args: SimulateArgs, context: &Context) -> Verdict {
    let client = context.client()?;
    let answer = client.send(Call::post("/kwq/simulations").json(&plan(&args))).await?;
    let mut shown: Value = answer.read()?;
    if !args.wait {
        context.out.one(&answer.text(), &VIEW);
        return Ok(exit::DONE);
    }
    let path = format!("/kwq/simulations/{}", text(&shown, "id"));
    let bar = context.out.progress(Some(args.tasks.unwrap_or(10_000)));
    let mut last = answer;
    while text(&shown, "state") == "RUNNING" {
        tokio::time::sleep(LOOK).await;
        last = client.send(Call::get(&*path)).await?;
        shown = last.read()?;
        bar.set_position(number(&shown, "completed"));
    }
    bar.finish_and_clear();
    context.out.one(&last.text(), &VIEW);
    Ok(if text(&shown, "state") == "DONE" { exit::DONE } else { exit::FAILED })
}

/// Only what was given; the server has the defaults and the bounds.
fn plan(args: &SimulateArgs) -> Value {
    let mut plan = Map::new();
    put(&mut plan, "tasks", args.tasks);
    put(&mut plan, "jobs", args.jobs);
    put(&mut plan, "workers", args.workers);
    let mut duration = Map::new();
    let dist = args.dist.map(|dist| match dist {
        Dist::Fixed => "fixed",
        Dist::Uniform => "uniform",
        Dist::Exp => "exp",
    });
    put(&mut duration, "dist", dist);
    let ms = |mean: Duration| u64::try_from(mean.as_millis()).unwrap_or(u64::MAX);
    put(&mut duration, "mean", args.mean.map(ms));
    if !duration.is_empty() {
        plan.insert("durationMs".to_owned(), Value::Object(duration));
    }
    put(&mut plan, "failRate", args.fail_rate);
    put(&mut plan, "crashRate", args.crash_rate);
    put(&mut plan, "affinityKeys", args.affinity_keys);
    if !args.priorities.is_empty() {
        plan.insert("priorities".to_owned(), args.priorities.clone().into());
    }
    put(&mut plan, "seed", args.seed);
    Value::Object(plan)
}
