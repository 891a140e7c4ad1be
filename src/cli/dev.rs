//! `kwq dev`: a node, local worker processes and a real job, with one command and no question.

mod crew;
mod demo;

use super::failure::{Failure, Verdict, exit};
use super::{Context, human, own_name, serve};
use crate::config::Sources;
use crate::telemetry;
use clap::Args;
use demo::{Demo, JOB};
use std::net::SocketAddr;

/// `dev`
#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
    /// Where everything is kept
    #[arg(long, default_value = "./kwq-data", value_name = "DIR")]
    data_dir: String,
    /// Worker processes
    #[arg(long, default_value_t = 4, value_name = "N")]
    workers: u16,
    /// Tasks of the demo job
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    tasks: u64,
    /// Only the server
    #[arg(long)]
    no_demo: bool,
    /// Any configuration key (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Runs until Ctrl-C.
pub(super) fn run(args: &DevArgs, context: &Context) -> Verdict {
    let config = serve::load(sources(args, context)?)?;
    serve::install_logging(&config)?;
    let node = serve::start(&config)?;
    let summary = node.wait_ready().map_err(|error| serve::start_failure(&error))?;
    let url = format!("http://{}", node.addr());
    context.out.data(&serve::banner(&config, &summary));
    for line in first_run(args, &url) {
        context.out.data(&line);
    }
    let demo = if args.no_demo {
        None
    } else {
        let demo = Demo::new(&url, args.tasks, args.workers, context.out)?;
        let out = context.out;
        // Said at once: the server goes on, and its end may be hours away.
        let thread = telemetry::spawn_thread("kwq-demo", move || {
            if let Err(failure) = demo.run() {
                out.failure(&failure);
            }
        });
        Some(thread.map_err(|error| Failure::io("cannot start the demo", &error))?)
    };
    let stopped = node.run_until_signal();
    if let Some(Err(panic)) = demo.map(std::thread::JoinHandle::join) {
        context.out.note(&format!("the demo broke: {}", telemetry::panic_text(&*panic)));
    }
    stopped.map_err(|error| serve::start_failure(&error))?;
    Ok(exit::DONE)
}

fn sources(args: &DevArgs, context: &Context) -> Result<Sources, Failure> {
    // Nobody routes traffic to a local server, so there is nothing to wait for before it drains;
    // and
    // its log lines would bury the few that tell a newcomer what to do.
    let level = if context.global.verbose { "info" } else { "warn" };
    let mut sets = vec![
        ("http.listen".to_owned(), args.listen.to_string()),
        ("log.data-dir".to_owned(), args.data_dir.clone()),
        ("drain.delay".to_owned(), "0s".to_owned()),
        ("telemetry.level".to_owned(), level.to_owned()),
    ];
    sets.extend(serve::pairs(&args.set)?);
    Ok(Sources { file: None, sets })
}

fn first_run(args: &DevArgs, url: &str) -> Vec<String> {
    let kwq = match url {
        "http://127.0.0.1:8080" => own_name(),
        other => format!("{} --url {other}", own_name()),
    };
    let mut lines = vec![
        format!("  UI       {url}/ui/index.html"),
        format!("  API      {url}/kwq"),
        format!("  Metrics  {url}/metrics"),
    ];
    if !args.no_demo {
        let tasks = human::grouped(args.tasks);
        let workers = args.workers;
        lines.push(format!(
            "  Demo     job {JOB}: {tasks} Monte Carlo option prices, {workers} local workers"
        ));
    }
    lines.push("Try, in another terminal".to_owned());
    if !args.no_demo {
        lines.push(format!("  {kwq} job wait {JOB}"));
    }
    lines.extend([
        format!("  {kwq} submit --job hello --array 1-1000 --payload 'task {{i}}' --close"),
        format!("  {kwq} work --job hello --idle-exit 2s -- cat"),
        "dev mode: loopback only, no tokens. Ctrl-C drains and stops.".to_owned(),
    ]);
    lines
}
