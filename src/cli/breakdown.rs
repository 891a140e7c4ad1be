//! `kwq job breakdown`

use super::Context;
use super::failure::{Verdict, exit};
use super::out::{Column, Format, View, left, number, right, text};
use crate::client::verbs::job_path;
use crate::client::{Call, Client};
use clap::Args;
use serde_json::Value;

/// `job breakdown`
#[derive(Debug, Args)]
pub(super) struct BreakdownArgs {
    /// Id or selector
    pub(super) job: String,
    /// state, priority or tag:KEY; bare tags are tag:_
    #[arg(long)]
    by: String,
    /// Most values
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Wait until everything acknowledged is counted
    #[arg(long)]
    fresh: bool,
}

const VIEW: View = View { id: "value", columns: COLUMNS };

const COLUMNS: &[Column] = &[
    left("VALUE", |row| text(row, "value")),
    right("TOTAL", |row| text(row, "total")),
    right("DELAYED", |row| state(row, "DELAYED")),
    right("PENDING", |row| state(row, "PENDING")),
    right("ALLOCATED", |row| state(row, "ALLOCATED")),
    right("RUNNING", |row| state(row, "RUNNING")),
    right("COMPLETED", |row| state(row, "COMPLETED")),
    right("ERROR", |row| state(row, "ERROR")),
    right("CANCELLED", |row| state(row, "CANCELLED")),
];

fn state(row: &Value, name: &str) -> String {
    row.get("counts").map_or(0, |counts| number(counts, name)).to_string()
}

/// Shows the break-down of one job after the other.
pub(super) async fn run(
    args: &BreakdownArgs,
    ids: &[String],
    context: &Context,
    client: &Client,
) -> Verdict {
    for id in ids {
        let path = format!("{}/breakdown", job_path(id));
        let call = Call::get(path).query("by", &args.by).query("limit", args.limit);
        let call = if args.fresh { call.query("fresh", true) } else { call };
        let answer = client.send(call).await?;
        show(context, &answer.text());
    }
    Ok(exit::DONE)
}

fn show(context: &Context, body: &str) {
    let found = || serde_json::from_str::<Value>(body).unwrap_or_default();
    let rows = |found: &Value| found["rows"].as_array().cloned().unwrap_or_default();
    match context.out.format() {
        Format::Json | Format::Ndjson => context.out.data(body),
        Format::Quiet => {
            rows(&found()).iter().for_each(|row| context.out.data(&text(row, VIEW.id)));
        }
        Format::Table => {
            let found = found();
            context.out.table(&rows(&found), VIEW.columns);
            if found["overflow"].as_bool() == Some(true) {
                context.out.note("not every value has a row: the others are under __other");
            }
        }
    }
}
