//! `kwq job results`

use super::Context;
use super::failure::{Verdict, exit};
use super::out::text;
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

/// Prints the lines as they are. It asks page by page, so a server that restarts is no end.
pub(super) async fn run(
    args: &ResultsArgs,
    id: &str,
    context: &Context,
    client: &Client,
) -> Verdict {
    let mut cursor = args.cursor.clone();
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
            context.out.data(page.trim_end());
            let last: Value = serde_json::from_str(last).unwrap_or_default();
            cursor = Some(text(&last, "cursor"));
        } else if job.is_none_or(|job| job.ended()) {
            return Ok(exit::DONE);
        } else {
            tokio::time::sleep(STEP).await;
        }
    }
}
