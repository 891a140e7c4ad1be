//! `kwq state …`

use super::failure::{Failure, Verdict, exit};
use super::out::{View, left, right, text};
use super::{Context, on_runtime, serve};
use crate::client::Call;
use crate::node::offline;
use clap::Subcommand;
use serde_json::json;
use serde_json::value::RawValue;
use std::path::{Path, PathBuf};

/// Verbs of the state.
#[derive(Debug, Subcommand)]
pub(super) enum StateVerb {
    /// Hash of every partition: of a stopped server's directory, or (with --url) of a running one
    Hash {
        /// Directory of a stopped server [default: ./kwq-data, unless --url is given]
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// Replay the whole log, leave images out
        #[arg(long)]
        from_zero: bool,
    },
}

const VIEW: View = View {
    id: "hash",
    columns: &[
        right("PARTITION", |row| text(row, "partition")),
        right("POSITION", |row| text(row, "position")),
        left("HASH", |row| text(row, "hash")),
        left("FROM", |row| text(row, "from")),
    ],
};

/// Runs a verb.
pub(super) fn run(verb: StateVerb, context: &Context) -> Verdict {
    let StateVerb::Hash { data_dir, from_zero } = verb;
    if data_dir.is_none() && context.global.url.is_some() {
        if from_zero {
            return Err(Failure::usage("--from-zero replays the log of a stopped server")
                .help("leave --url (KWQ_URL) out and name its directory by --data-dir"));
        }
        return on_runtime(live(context));
    }
    let directory = data_dir.unwrap_or_else(|| PathBuf::from("./kwq-data"));
    stopped(&directory, from_zero, context)
}

async fn live(context: &Context) -> Verdict {
    let answer = context.client()?.send(Call::get("/kwq/admin/state-hash")).await?;
    context.out.rows(&answer.read::<Vec<_>>()?, &VIEW);
    Ok(exit::DONE)
}

fn stopped(directory: &Path, from_zero: bool, context: &Context) -> Verdict {
    serve::existing(directory)?;
    let found = offline::state_hash(directory, from_zero)
        .map_err(|e| serve::stopped_failure(directory, &e))?;
    if let Some(cut) = &found.cut {
        let (from, bytes) = (cut.from, cut.bytes);
        let what = format!("a torn tail was cut: {bytes} B of {} from {from}", cut.segment);
        context.out.note(&what);
    }
    super::logs::left_out(&found.left_out, context);
    let from = if from_zero { "zero" } else { "image" };
    let rows: Vec<Box<RawValue>> = found
        .rows
        .into_iter()
        .map(|(partition, position, hash)| {
            let row = json!({
                "partition": partition.0, "position": position.to_string(),
                "hash": hash, "from": from,
            });
            RawValue::from_string(row.to_string()).expect("a printed value is JSON")
        })
        .collect();
    context.out.rows(&rows, &VIEW);
    Ok(exit::DONE)
}
