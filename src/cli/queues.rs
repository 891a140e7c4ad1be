//! `kwq queue …`

use super::Context;
use super::failure::{Failure, Verdict, exit};
use super::human;
use super::out::{View, left, number, right, text};
use crate::client::Call;
use clap::Subcommand;
use serde_json::{Value, json};

/// Verbs of the nine priority levels.
#[derive(Debug, Subcommand)]
pub(super) enum QueueVerb {
    /// List the levels, 9 first
    Ls,
    /// Stop handing out a level
    Pause {
        /// 1..9 or all
        level: String,
        /// Kept in the audit log
        #[arg(long)]
        reason: Option<String>,
    },
    /// Hand out a paused level again
    Resume {
        /// 1..9 or all
        level: String,
    },
}

const VIEW: View = View {
    id: "priority",
    columns: &[
        right("PRI", |row| text(row, "priority")),
        left("STATE", |row| match row.get("paused") {
            Some(Value::Bool(true)) => "PAUSED".to_owned(),
            Some(_) | None => "open".to_owned(),
        }),
        right("PENDING", |row| human::grouped(number(row, "pending"))),
        right("DELAYED", |row| human::grouped(number(row, "delayed"))),
        right("ALLOCATED", |row| human::grouped(number(row, "allocated"))),
        right("RUNNING", |row| human::grouped(number(row, "running"))),
        right("OLDEST", |row| match number(row, "oldestAgeMs") {
            0 => "-".to_owned(),
            ms => human::duration(ms),
        }),
        right("IN/S", |row| text(row, "inPerSec")),
        right("OUT/S", |row| text(row, "outPerSec")),
        right("JOBS", |row| text(row, "jobs")),
    ],
};

/// Runs a verb.
pub(super) async fn run(verb: QueueVerb, context: &Context) -> Verdict {
    let call = match verb {
        QueueVerb::Ls => Call::get("/kwq/queues"),
        QueueVerb::Pause { level, reason } => {
            let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
            Call::post(path(&level, "pause")?).json(&body).repeatable()
        }
        QueueVerb::Resume { level } => {
            Call::post(path(&level, "resume")?).json(&json!({})).repeatable()
        }
    };
    let answer = context.client()?.send(call).await?;
    context.out.rows(&answer.read::<Vec<_>>()?, &VIEW);
    Ok(exit::DONE)
}

fn path(level: &str, verb: &str) -> Result<String, Failure> {
    let known = level == "all" || matches!(level.parse::<u8>(), Ok(1..=9));
    if !known {
        return Err(Failure::usage(format!("`{level}` is no priority level"))
            .help("write 1..9 (9 is the most urgent) or all"));
    }
    Ok(format!("/kwq/queues/{level}/{verb}"))
}
