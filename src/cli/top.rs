//! `kwq top`: the numbers of `GET /kwq/stats/now` on one screen, again and again.

use super::Context;
use super::failure::{Failure, Verdict, exit};
use super::human;
use super::out::{Column, Format, Out, harmless, left, number, right, text};
use crate::client::{Answer, Call};
use crate::model::affinity::hit_ratio;
use clap::Args;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// `top`
#[derive(Debug, Args)]
pub(super) struct TopArgs {
    /// Show the numbers once and end
    #[arg(long)]
    once: bool,
    /// Time between two looks, 100ms or more
    #[arg(long, default_value = "1s", value_parser = interval, value_name = "DURATION")]
    interval: Duration,
}

/// Shortest time between two looks.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

const LEVELS: &[Column] = &[
    right("PRI", |row| text(row, "priority")),
    right("PENDING", |row| grouped(row, "pending")),
    right("RUNNING", |row| grouped(row, "running")),
    right("DELAYED", |row| grouped(row, "delayed")),
    right("OLDEST", |row| match number(row, "oldestAgeMs") {
        0 => "-".to_owned(),
        ms => human::duration(ms),
    }),
    right("IN/S", |row| rate(row, "inPerSec")),
    right("OUT/S", |row| rate(row, "outPerSec")),
    left("", |row| match row.get("paused").and_then(Value::as_bool) {
        Some(true) => "paused".to_owned(),
        Some(false) | None => String::new(),
    }),
];

const JOBS: &[Column] = &[
    left("JOB", |row| text(row, "id")),
    right("PRI", |row| text(row, "priority")),
    right("PENDING", |row| grouped(row, "pending")),
    right("RUNNING", |row| grouped(row, "running")),
    right("COMPLETED", |row| grouped(row, "completed")),
    right("ERROR", |row| grouped(row, "error")),
    left("ETA", |row| human::stamp(number(row, "eta_ts"))),
];

/// Runs the verb; without `--once` until it is interrupted or no longer let in. A server that was
/// there once is waited for.
pub(super) async fn run(args: TopArgs, context: &Context) -> Verdict {
    if !args.once && context.out.format() == Format::Json {
        return Err(Failure::usage("json is one document, and this goes on for ever")
            .help("add --once, or use -o ndjson"));
    }
    let (client, look) = (context.client()?, Call::get("/kwq/stats/now"));
    let mut answer = client.send(look.clone()).await?;
    show(context, &answer, args.once)?;
    if args.once {
        return Ok(exit::DONE);
    }
    let mut heard = Instant::now();
    let mut away = false;
    loop {
        tokio::time::sleep(args.interval).await;
        // The next look is the repeat, so that a failure is seen at once.
        match client.send_once(&look).await {
            Ok(fresh) => {
                show(context, &fresh, false)?;
                (answer, heard, away) = (fresh, Instant::now(), false);
            }
            Err(error) => {
                let failure = Failure::from(error);
                if failure.exit == exit::DENIED {
                    return Err(failure);
                }
                missed(context, &answer, &failure.what, heard.elapsed(), away)?;
                away = true;
            }
        }
    }
}

/// A look without an answer: the numbers on the screen stay, with their age; other formats have no
/// place for it but stderr, where it is told once (`away`: it has been).
fn missed(
    context: &Context,
    last: &Answer,
    what: &str,
    silent: Duration,
    away: bool,
) -> Result<(), Failure> {
    let out = &context.out;
    if out.format() == Format::Table {
        let now: Value = last.read()?;
        let ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
        let mut lines = board(out, &now);
        let at = human::stamp(number(&now, "ts"));
        let silent = human::duration(ms);
        lines[0] = harmless(&format!("{at}  no answer for {silent}: {what}"));
        out.screen(&lines.join("\n"));
    } else if !away {
        out.note(&format!("no answer: {what}; asking on"));
    }
    Ok(())
}

/// JSON is the body, `quiet` the ids of its jobs.
fn show(context: &Context, answer: &Answer, once: bool) -> Result<(), Failure> {
    let out = &context.out;
    match out.format() {
        Format::Json | Format::Ndjson => out.data(&answer.text()),
        Format::Quiet => {
            let now: Value = answer.read()?;
            rows(&now, "jobs").iter().for_each(|job| out.data(&text(job, "id")));
        }
        Format::Table => {
            let text = board(out, &answer.read()?).join("\n");
            if once { out.data(&text) } else { out.screen(&text) }
        }
    }
    Ok(())
}

/// Lines and tables; the first line says when and how it stands.
fn board(out: &Out, now: &Value) -> Vec<String> {
    let mut lines = head(now);
    for (member, columns) in [("queues", LEVELS), ("jobs", JOBS)] {
        let shown: Vec<Value> = rows(now, member).into_iter().filter(busy).collect();
        if !shown.is_empty() {
            lines.extend([String::new(), out.drawn(&shown, columns)]);
        }
    }
    lines
}

/// A level or job that has something to show.
fn busy(row: &Value) -> bool {
    let counts = ["pending", "delayed", "allocated", "running"];
    let paused = row.get("paused").and_then(Value::as_bool) == Some(true);
    paused || row.get("id").is_some() || counts.iter().any(|name| number(row, name) > 0)
}

/// The lines above the tables.
fn head(now: &Value) -> Vec<String> {
    let part = |member: &str| now.get(member).cloned().unwrap_or_default();
    let (verdict, tasks, rates) = (part("verdict"), part("tasks"), part("rates"));
    let (wait, workers, fits) = (part("wait"), part("workers"), part("affinity"));
    let states = ["PENDING", "DELAYED", "ALLOCATED", "RUNNING", "COMPLETED", "ERROR", "CANCELLED"];
    let states = states.map(|state| format!("{} {}", state.to_lowercase(), grouped(&tasks, state)));
    let flow = ["submit", "allocate", "complete", "fail"];
    let flow = flow.map(|name| format!("{name} {}/s", rate(&rates, name)));
    let waits = [("p50", "p50Ms"), ("p95", "p95Ms"), ("p99", "p99Ms")];
    let waits = waits.map(|(name, at)| format!("{name} {}", human::duration(number(&wait, at))));
    let people = ["idle", "busy", "draining", "lost"];
    let people = people.map(|name| format!("{name} {}", grouped(&workers, name)));
    let away = rows(now, "partitions").into_iter().filter(|p| text(p, "state") != "READY");
    let away: Vec<String> =
        away.map(|p| format!("partition {} is {}", text(&p, "i"), text(&p, "state"))).collect();
    let warm = match (number(&fits, "hits"), number(&fits, "misses")) {
        (0, 0) => "-".to_owned(),
        (hits, misses) => format!("{:.0} %", hit_ratio(hits, misses) * 100.0),
    };
    let mut lines = vec![
        format!("{}  {}", human::stamp(number(now, "ts")), text(&verdict, "text")),
        format!("tasks    {}", states.join("  ")),
        format!("rates    {}", flow.join("  ")),
        format!("waits    {}", waits.join("  ")),
        format!("workers  {}", people.join("  ")),
        format!(
            "leases   {}  consumers waiting {}  warm {warm}",
            grouped(now, "leases"),
            grouped(now, "consumersWaiting"),
        ),
    ];
    lines.extend(away);
    lines
}

fn rows(now: &Value, member: &str) -> Vec<Value> {
    now.get(member).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn grouped(row: &Value, member: &str) -> String {
    human::grouped(number(row, member))
}

fn rate(row: &Value, member: &str) -> String {
    format!("{:.1}", row.get(member).and_then(Value::as_f64).unwrap_or(0.0))
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = human::duration_flag(text)?;
    if interval < INTERVAL_MIN {
        return Err("the shortest interval is 100ms".to_owned());
    }
    Ok(interval)
}
