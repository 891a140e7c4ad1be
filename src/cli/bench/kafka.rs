//! `kwq bench kafka`: what a REST submit into kwq on Kafka costs against producing the same tasks
//! with a plain Kafka client, in turn on one broker in one run, so that both see the same minute of
//! the same machine.

use super::server::{Server, Spawn};
use super::{broken, load_average, raise_file_limit};
use crate::cli::Context;
use crate::cli::failure::{Failure, Verdict, exit};
use crate::cli::human::grouped;
use crate::cli::out::Format;
use crate::log::kafka::{Cluster, Topics, Yardstick};
use crate::model::feed::Feed;
use crate::model::priority::Priority;
use crate::sim::keys::Keys;
use crate::sim::report::Stopwatch;
use crate::sim::tally::Books;
use crate::sim::workload::{Plan, Run};
use clap::Args;
use serde::Serialize;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// `bench kafka`
#[derive(Debug, Args)]
pub(in crate::cli) struct KafkaArgs {
    /// A broker to begin with; topics are made there and deleted afterwards
    #[arg(long, value_name = "HOST:PORT,…")]
    kafka: String,
    /// Where the server keeps its data [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Configuration key of the server (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Partitions of the topics
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    partitions: u16,
    /// Rounds of both; which goes first alternates
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: u32,
    /// Tasks of a round
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1..))]
    tasks: u64,
    /// Tasks of one call
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    batch: u64,
    /// Connections
    #[arg(long, default_value_t = 16, value_name = "N")]
    connections: usize,
    /// Bytes of a payload, at least 12
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    payload: usize,
}

/// What was measured.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    version: &'static str,
    tasks: u64,
    batch: u64,
    connections: usize,
    payload_bytes: usize,
    partitions: u16,
    cores: usize,
    load_before: String,
    load_after: String,
    /// Records per second of the plain client, over all rounds.
    raw_per_second: f64,
    /// Tasks per second through REST, over all rounds.
    kwq_per_second: f64,
    /// kwq ÷ raw, over all rounds.
    ratio: f64,
    /// kwq ÷ raw of each round.
    rounds: Vec<f64>,
    books: Vec<Books>,
}

/// Both sides of the comparison.
struct Sides<'a> {
    yardstick: &'a Yardstick,
    server: Server,
}

/// Measures; exit 8 when a task was not acknowledged.
pub(super) async fn run(args: KafkaArgs, context: &Context) -> Verdict {
    raise_file_limit();
    let name = format!("kwq-bench-{}", crate::client::fresh_name());
    let directory = args.dir.clone().unwrap_or_else(|| std::env::temp_dir().join(&name));
    let data_dir = directory.join("data");
    if data_dir.exists() {
        let what = format!("{} holds the data of another run", data_dir.display());
        return Err(Failure::usage(what).help("give an empty --dir"));
    }
    let cluster =
        Cluster { brokers: args.kafka.clone(), client_id: name.clone(), properties: Vec::new() };
    let refused = |error: crate::log::Error| {
        Failure::new("bench", error.to_string()).help("look at the broker and its log")
    };
    let yardstick =
        Yardstick::start(&cluster, format!("{name}-raw"), args.partitions).map_err(refused)?;
    let topics = Topics {
        prefix: name,
        partitions: args.partitions,
        replication: 1,
        manage: true,
        inboxes: false,
        feeds: Vec::new(),
    };
    let measured = match spawn(&args, &topics, data_dir.clone()).await {
        Ok(server) => {
            let sides = Sides { yardstick: &yardstick, server };
            let report = measure(&args, context, &sides).await;
            sides.server.stop();
            report
        }
        Err(failure) => Err(failure),
    };
    // What was measured is said, and why it was not, whatever becomes of what was made for it.
    let cleaned = yardstick.remove(&made(&topics)).map_err(refused);
    // A directory that was named may hold other things.
    let ours = if args.dir.is_some() { &data_dir } else { &directory };
    let removed = match std::fs::remove_dir_all(ours) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::io("cannot remove the data", &error))
        }
        Ok(()) | Err(_) => Ok(()),
    };
    let report = measured?;
    show(&report, context);
    cleaned?;
    removed?;
    Ok(if report.books.iter().all(Books::clean) { exit::DONE } else { exit::CHECK })
}

async fn spawn(args: &KafkaArgs, topics: &Topics, data_dir: PathBuf) -> Result<Server, Failure> {
    let mut sets = vec![
        "log.backend=kafka".to_owned(),
        format!("kafka.bootstrap-servers={}", args.kafka),
        format!("topics.prefix={}", topics.prefix),
        format!("topics.replication={}", topics.replication),
        format!("topics.inboxes={}", topics.inboxes),
        format!("topics.dead={}", topics.feeds.contains(&Feed::Dead)),
        format!("log.partitions={}", topics.partitions),
    ];
    sets.extend(args.set.iter().cloned());
    Server::start(Spawn { data_dir, durability: "fsync".to_owned(), sets }).await
}

/// Every topic a server may have made under this prefix.
fn made(topics: &Topics) -> Vec<String> {
    let inboxes = Priority::ASCENDING.map(|level| topics.inbox(level));
    let feeds = Feed::ALL.map(|feed| topics.feed(feed));
    let others = [topics.changelog(), topics.commands(), topics.cluster()];
    inboxes.into_iter().chain(feeds).chain(others).collect()
}

async fn measure(
    args: &KafkaArgs,
    context: &Context,
    sides: &Sides<'_>,
) -> Result<Report, Failure> {
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        tasks: args.tasks,
        batch: args.batch,
        connections: args.connections,
        payload_bytes: args.payload,
        partitions: args.partitions,
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        load_before: load_average(),
        ..Report::default()
    };
    let mut seconds = [0.0; 2];
    for round in 0..args.rounds {
        context.out.note(&format!("round {} …", round + 1));
        let mut took = [0.0; 2];
        for side in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            took[side] = if side == 0 {
                produce(args, sides.yardstick)?
            } else {
                let (books, seconds) = submit(args, &sides.server).await?;
                report.books.push(books);
                seconds
            };
        }
        report.rounds.push(took[0] / f64::max(took[1], 1e-9));
        (seconds[0], seconds[1]) = (seconds[0] + took[0], seconds[1] + took[1]);
    }
    let rate = |seconds: f64| (args.tasks * u64::from(args.rounds)) as f64 / seconds.max(1e-9);
    (report.raw_per_second, report.kwq_per_second) = (rate(seconds[0]), rate(seconds[1]));
    report.ratio = report.kwq_per_second / report.raw_per_second.max(1e-9);
    report.load_after = load_average();
    Ok(report)
}

/// The tasks of a round as records of a plain client, one task each; s.
fn produce(args: &KafkaArgs, yardstick: &Yardstick) -> Result<f64, Failure> {
    let pad = "x".repeat(args.payload.saturating_sub(12));
    let write = |number: u64, value: &mut Vec<u8>| {
        write!(value, r#"{{"groupId":"bench","payload":"{number:012}{pad}"}}"#)
            .expect("a Vec accepts every write");
    };
    let watch = Stopwatch::start();
    let sent = yardstick.produce(args.tasks, args.batch, write);
    sent.map_err(|error| Failure::new("bench", format!("producing: {error}")))?;
    Ok(watch.elapsed().as_secs_f64())
}

/// The same tasks through REST; s.
async fn submit(args: &KafkaArgs, server: &Server) -> Result<(Books, f64), Failure> {
    let run = Run::new(Plan {
        addr: server.addr(),
        token: None,
        job: format!("bench-{}", crate::client::fresh_name()),
        tasks: args.tasks,
        batch: args.batch,
        connections: args.connections,
        payload_bytes: args.payload,
        single: false,
        merged: false,
        keys: Keys::new(0, 0.0),
        depth: 0,
    });
    let phase = run.submit().await.map_err(|error| broken("submit", &error))?;
    Ok((run.books(false), phase.seconds))
}

fn show(report: &Report, context: &Context) {
    if context.out.format() != Format::Table {
        let text = serde_json::to_string(report).expect("a report has string keys only");
        return context.out.data(&text);
    }
    let whole = |rate: f64| format!("{rate:.0}").parse().map_or_else(|_| String::new(), grouped);
    let rounds: Vec<String> = report.rounds.iter().map(|ratio| format!("{ratio:.3}")).collect();
    for line in [
        format!(
            "kwq {} · {} tasks a round · batch {} · {} connections · {} B payload · {} partitions \
             · {} cores shared by broker, server and client",
            report.version,
            grouped(report.tasks),
            report.batch,
            report.connections,
            report.payload_bytes,
            report.partitions,
            report.cores,
        ),
        format!("load average   before {}   after {}", report.load_before, report.load_after),
        format!(
            "raw        {:>12} records/s   plain client, acks=all, lz4, one task a record",
            whole(report.raw_per_second)
        ),
        format!("kwq        {:>12} tasks/s     REST submit", whole(report.kwq_per_second)),
        format!("kwq ÷ raw  {:.3}   rounds {}", report.ratio, rounds.join(" ")),
    ] {
        context.out.data(&line);
    }
}
