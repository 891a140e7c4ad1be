//! `kwq worker …`

use super::failure::{Verdict, exit};
use super::out::{View, left, number, right, text};
use super::{Context, dry, human, lists};
use crate::client::Call;
use crate::client::call::part;
use clap::Subcommand;
use serde_json::{Value, json};

/// Verbs of workers.
#[derive(Debug, Subcommand)]
pub(super) enum WorkerVerb {
    /// List workers
    Ls {
        /// States, e.g. ACTIVE,LOST
        #[arg(long)]
        state: Option<String>,
        /// Most rows
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show a worker and what it holds
    Get {
        /// Name
        worker: String,
    },
    /// Let a worker finish what it holds and give it nothing more
    Drain {
        /// Name
        worker: String,
        /// Take it back
        #[arg(long)]
        undo: bool,
    },
    /// Forget a worker; what it holds goes back to the queue at once
    Rm {
        /// Name
        worker: String,
    },
}

const VIEW: View = View {
    id: "worker",
    columns: &[
        left("WORKER", |row| text(row, "worker")),
        left("STATE", |row| text(row, "state")),
        right("LEASES", |row| text(row, "leases")),
        right("SLOTS", |row| text(row, "slots")),
        right("DONE", |row| tally(row, "completed")),
        right("FAILED", |row| tally(row, "failed")),
        right("CRASHED", |row| tally(row, "crashed")),
        left("LAST SEEN", |row| human::stamp(number(row, "lastSeen_ts"))),
        left("ENDPOINT", |row| text(row, "endpoint")),
    ],
};

/// A token with scopes is not told it.
fn tally(row: &Value, member: &str) -> String {
    let count = row.get(member).and_then(Value::as_u64);
    count.map_or_else(|| "–".to_owned(), human::grouped)
}

/// Runs a verb.
pub(super) async fn run(verb: WorkerVerb, context: &Context) -> Verdict {
    let client = context.client()?;
    match verb {
        WorkerVerb::Ls { state, limit } => {
            let call = Call::get("/kwq/workers");
            let call = match state {
                Some(state) => call.query("state", state),
                None => call,
            };
            lists::show(context, &client, &call, limit, &VIEW).await
        }
        WorkerVerb::Get { worker } => {
            let answer = client.send(Call::get(path(&worker))).await?;
            context.out.one(&answer.text(), &VIEW);
            Ok(exit::DONE)
        }
        WorkerVerb::Drain { worker, undo } => {
            let what =
                format!("{} {worker}", if undo { "take back the drain of" } else { "drain" });
            let never: fn(&str) -> bool = |_| false;
            let (look, never) = (Call::get(path(&worker)), ("worker_not_found", never));
            if dry::on_one(context, &client, look, &what, never).await? {
                return Ok(exit::DONE);
            }
            let call = Call::post(format!("{}/drain", path(&worker)));
            let answer = client.send(call.json(&json!({ "drain": !undo })).repeatable()).await?;
            context.out.one(&answer.text(), &VIEW);
            Ok(exit::DONE)
        }
        WorkerVerb::Rm { worker } => {
            let known: Value = client.send(Call::get(path(&worker))).await?.read()?;
            let held = number(&known, "leases");
            let what = format!("remove worker {worker} and give back {held} leased tasks");
            if context.confirm(&what)? {
                let answer = client.send(Call::delete(path(&worker))).await?;
                context.out.one(&answer.text(), &VIEW);
            }
            Ok(exit::DONE)
        }
    }
}

fn path(worker: &str) -> String {
    format!("/kwq/workers/{}", part(worker))
}
