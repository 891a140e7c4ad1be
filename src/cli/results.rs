//! `kwq job results`

use super::Context;
use super::failure::{Verdict, exit};
use super::human;
use super::out::{Format, View, left, number, right, text};
use crate::client::verbs::{Job, job_path};
use crate::client::{Call, Client};
use clap::Args;
use serde_json::Value;
use std::time::Duration;

/// Lines asked for at once; each may carry a result of 64 KiB.
const LINES: usize = 200;
/// Between two looks for more.
const STEP: Duration = Duration::from_millis(500);

/// `job results`
#[derive(Debug, Args)]
pub(super) struct ResultsArgs {
    /// Id or selector
    pub(super) job: String,
    /// Terminal states, comma-separated
    #[arg(long, default_value = "COMPLETED")]
    state: String,
    /// Begin behind the line with this cursor
    #[arg(long)]
    cursor: Option<String>,
    /// Go on until the job has ended
    #[arg(long)]
    follow: bool,
}

const VIEW: View = View {
    id: "id",
    columns: &[
        left("TASK", |line| text(line, "id")),
        left("STATE", |line| text(line, "state")),
        right("TRY", |line| text(line, "attempt")),
        left("ENDED", |line| human::stamp(number(line, "ended_ts"))),
        left("RESULT", |line| text(line, "result")),
        left("ERROR", |line| line.get("error").map_or(String::new(), |e| text(e, "class"))),
    ],
};

/// Prints the lines as they come. It asks page by page, so a server that restarts is no end.
pub(super) async fn run(
    args: &ResultsArgs,
    id: &str,
    context: &Context,
    client: &Client,
) -> Verdict {
    let mut cursor = args.cursor.clone();
    let mut documents = context.out.documents();
    loop {
        // Asked before the page: what comes after an ended job's last line is nothing.
        let job: Option<Job> = if args.follow { Some(client.job(id).await?) } else { None };
        let call = Call::get(format!("{}/results", job_path(id)));
        let call = call.query("state", &args.state).query("limit", LINES);
        let call = match &cursor {
            Some(cursor) => call.query("cursor", cursor),
            None => call,
        };
        let page = client.send(call).await?.text();
        let last = page.lines().rfind(|line| !line.is_empty());
        if let Some(last) = last {
            cursor = Some(text(&value(last), "cursor"));
            let lines = page.lines().filter(|line| !line.is_empty());
            match context.out.format() {
                Format::Table => {
                    context.out.table(&lines.map(value).collect::<Vec<_>>(), VIEW.columns);
                }
                Format::Quiet => lines.for_each(|line| documents.add(&text(&value(line), VIEW.id))),
                Format::Json | Format::Ndjson => lines.for_each(|line| documents.add(line)),
            }
            documents.flush();
        } else if job.is_none_or(|job| job.ended()) {
            documents.end();
            return Ok(exit::DONE);
        } else {
            tokio::time::sleep(STEP).await;
        }
    }
}

fn value(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_default()
}
