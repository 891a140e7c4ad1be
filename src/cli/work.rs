//! `kwq work -- CMD`: runs a command for every task, by the worker protocol of the API.
//!
//! One loop owns all state. Commands, consumes, beats and reports are futures that hand their end
//! back to the loop, so nothing is shared and a stop at any moment knows what is held.
//!
//! Must not: drop a report before its outcome was seen, or signal a process it did not start.

mod child;
mod cycle;
mod duty;
mod pricing;
#[cfg(test)]
mod tests;

use super::failure::{Failure, Verdict, exit};
use super::{Context, human};
use crate::client::worker::Consume;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `work`
#[derive(Debug, Args)]
pub(super) struct WorkArgs {
    /// Commands that run at the same time
    #[arg(short = 'j', long = "jobs-at-once", default_value_t = 1, value_name = "N")]
    slots: usize,
    /// Name of this process [default: HOST-PID-RANDOM]
    #[arg(long)]
    worker: Option<String>,
    /// Shown to operators, never dialled
    #[arg(long)]
    endpoint: Option<String>,
    /// Only tasks of this job (repeatable)
    #[arg(long)]
    job: Vec<String>,
    /// Only these levels, e.g. 9,8
    #[arg(long, value_delimiter = ',')]
    priorities: Vec<u8>,
    /// Affinity key that is warm here (repeatable)
    #[arg(long)]
    affinity: Vec<String>,
    /// Lease to ask for
    #[arg(long, value_parser = human::duration_flag, value_name = "DURATION")]
    lease: Option<Duration>,
    /// Fetch about that much work at a time; for short tasks
    #[arg(long, value_parser = human::duration_flag, value_name = "DURATION")]
    target: Option<Duration>,
    /// Stop after that many tasks
    #[arg(long, value_name = "N")]
    max_tasks: Option<u64>,
    /// Stop when there was nothing to do for that long
    #[arg(long, value_parser = human::duration_flag, value_name = "DURATION")]
    idle_exit: Option<Duration>,
    /// Time a command gets after SIGTERM, before SIGKILL
    #[arg(long, default_value = "30s", value_parser = human::duration_flag)]
    #[arg(value_name = "DURATION")]
    grace: Duration,
    /// Price the demo's options in this process instead of running a command
    #[arg(long, hide = true)]
    pricing: bool,
    /// Stop when this process is no longer the parent
    #[arg(long, hide = true)]
    parent: Option<u32>,
    /// Command and its arguments
    #[arg(last = true, required_unless_present = "pricing", value_name = "CMD")]
    command: Vec<String>,
}

/// What runs a task.
#[derive(Clone)]
enum Engine {
    Command(Arc<child::Command>),
    Pricing(pricing::Shared),
}

/// What a worker was asked to be.
struct Plan {
    name: String,
    slots: usize,
    ask: Consume,
    target_ms: Option<u64>,
    grace: Duration,
    idle_exit: Option<Duration>,
    max_tasks: u64,
    parent: Option<u32>,
    engine: Engine,
}

/// Works until told to stop.
pub(super) async fn run(args: WorkArgs, context: &Context) -> Verdict {
    let client = context.client_with(0, 0)?;
    let plan = plan(args, &client.fresh_name())?;
    context.out.note(&format!("worker {} on {}", plan.name, client.url()));
    let name = plan.name.clone();
    let verdict = cycle::run(plan, client, context).await;
    context.out.detail(&format!("worker {name} has stopped"));
    verdict
}

fn plan(args: WorkArgs, random: &str) -> Result<Plan, Failure> {
    if args.slots == 0 || args.slots > 10_000 {
        return Err(Failure::usage("-j must be 1..10000"));
    }
    let name = args.worker.unwrap_or_else(|| default_name(random));
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let engine = match args.command.split_first() {
        _ if args.pricing => Engine::Pricing(pricing::Shared::default()),
        Some((program, rest)) => Engine::Command(Arc::new(child::Command {
            program: PathBuf::from(program),
            arguments: rest.to_vec(),
            worker: name.clone(),
        })),
        None => return Err(Failure::usage("give a command after `--`")),
    };
    let ask = Consume {
        worker: name.clone(),
        endpoint: args.endpoint,
        lease_ms: args.lease.map(ms),
        priorities: args.priorities,
        jobs: args.job,
        affinity: args.affinity,
        ..Consume::default()
    };
    Ok(Plan {
        name,
        slots: args.slots,
        ask,
        target_ms: args.target.map(ms),
        grace: args.grace,
        idle_exit: args.idle_exit,
        max_tasks: args.max_tasks.unwrap_or(u64::MAX),
        parent: args.parent,
        engine,
    })
}

/// Unique per process: host, process, chance. Cut to what the API takes.
fn default_name(random: &str) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String = host.chars().filter(char::is_ascii_graphic).take(60).collect();
    let chance: String = random.chars().take(6).collect();
    format!("{host}-{}-{chance}", std::process::id())
}

/// Exit code of a worker that was told to go away by the server.
fn denied(failure: Failure) -> Failure {
    failure.exit(exit::DENIED)
}
