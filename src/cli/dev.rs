//! `kwq dev`: a node, local worker processes and a real job, with one command and no question.

mod crew;
mod demo;

use super::failure::{Failure, Verdict, exit};
use super::{Context, human, own_name, serve};
use crate::config::Sources;
use crate::telemetry;
use clap::Args;
use crew::Crew;
use demo::{Demo, JOB};
use std::net::SocketAddr;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// `dev`
#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// Address to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where everything is kept [default: ./kwq-data, with --kafka ./kwq-data-kafka]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Keep the log on these Kafka brokers, topics KWQ-…, instead of in the directory
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
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
    let node = serve::start(&config, None)?;
    let summary = node.wait_ready().map_err(|error| serve::start_failure(&error))?;
    let url = format!("http://{}", node.addr());
    context.out.data(&serve::banner(&config, &summary));
    for line in first_run(args, &url) {
        context.out.data(&line);
    }
    let demo = match args.no_demo {
        true => None,
        false => Some(Demo::new(&url, context.token()?, (args.tasks, args.workers), context.out)?),
    };
    let stopped = until_signal(demo, context);
    node.stop();
    stopped?;
    Ok(exit::DONE)
}

/// Runs the demo until a signal. The workers are stopped while the server still takes their
/// reports, so this file listens for signals itself. From then on a second signal ends the process
/// at once.
fn until_signal(demo: Option<Demo>, context: &Context) -> Result<(), Failure> {
    let failed = |error| Failure::io("cannot listen for signals", &error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let mut signals = runtime.block_on(async { Signals::install() }).map_err(failed)?;
    runtime.block_on(async {
        let mut crew = Crew::default();
        if let Some(demo) = demo {
            let outcome = tokio::select! {
                outcome = demo.run(&mut crew) => Some(outcome),
                () = signals.next() => None,
            };
            if let Some(outcome) = outcome {
                if let Err(failure) = outcome {
                    context.out.failure(&failure);
                }
                // The server goes on: there is more to try.
                signals.next().await;
            }
        } else {
            signals.next().await;
        }
        context.out.note("draining");
        tokio::select! {
            () = crew.stop() => {}
            () = signals.next() => {}
        }
    });
    let second = telemetry::spawn_thread("kwq-second-signal", move || {
        runtime.block_on(signals.next());
        std::process::exit(i32::from(exit::DONE));
    });
    second.map(|_| ()).map_err(failed)
}

/// Ctrl-C and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Nobody routes traffic to a local server, so there is nothing to wait for before it drains; and
/// its log lines would bury the few that tell a newcomer what to do.
const QUIET: &[(&str, &str)] =
    &[("drain.delay", "0s"), ("simulator.enabled", "true"), ("telemetry.level", "warn")];
const VERBOSE: &[(&str, &str)] = &[("drain.delay", "0s"), ("simulator.enabled", "true")];
/// As [`QUIET`] and [`VERBOSE`]. A directory that holds an embedded log takes no copy of another.
const QUIET_ON_KAFKA: &[(&str, &str)] = &[QUIET[0], QUIET[1], QUIET[2], KAFKA_DIR];
const VERBOSE_ON_KAFKA: &[(&str, &str)] = &[VERBOSE[0], VERBOSE[1], KAFKA_DIR];
const KAFKA_DIR: (&str, &str) = ("log.data-dir", "./kwq-data-kafka");

fn sources(args: &DevArgs, context: &Context) -> Result<Sources, Failure> {
    let flags = [
        ("http.listen", args.listen.map(|addr| addr.to_string())),
        ("log.data-dir", args.data_dir.clone()),
        ("log.backend", args.kafka.as_ref().map(|_| "kafka".to_owned())),
        ("kafka.bootstrap-servers", args.kafka.clone()),
    ];
    let given = flags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    let sets = given.chain(serve::pairs(&args.set)?).collect();
    Ok(Sources { file: None, presets: presets(args, context.global.verbose), sets })
}

fn presets(args: &DevArgs, verbose: bool) -> &'static [(&'static str, &'static str)] {
    match (&args.kafka, verbose) {
        (None, false) => QUIET,
        (None, true) => VERBOSE,
        (Some(_), false) => QUIET_ON_KAFKA,
        (Some(_), true) => VERBOSE_ON_KAFKA,
    }
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
        "dev mode: Ctrl-C drains and stops.".to_owned(),
    ]);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: DevArgs,
    }

    #[test]
    fn the_log_on_kafka_has_a_directory_of_its_own() {
        for (line, verbose, dir) in [
            (&["dev"][..], false, None),
            (&["dev"][..], true, None),
            (&["dev", "--kafka", "a:1"][..], false, Some("./kwq-data-kafka")),
            (&["dev", "--kafka", "a:1"][..], true, Some("./kwq-data-kafka")),
        ] {
            let presets = presets(&Line::parse_from(line).args, verbose);
            let found = presets.iter().find(|(key, _)| *key == "log.data-dir");
            assert_eq!(found.map(|(_, dir)| *dir), dir, "{line:?}");
            assert!(presets.contains(&("simulator.enabled", "true")), "{line:?}");
        }
    }
}
