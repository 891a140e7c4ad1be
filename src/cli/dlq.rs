//! `kwq dlq …`

use super::failure::{Failure, Verdict};
use super::{Context, lists, operations, tasks};
use clap::Subcommand;

/// Verbs of the dead letters.
#[derive(Debug, Subcommand)]
pub(super) enum DlqVerb {
    /// List tasks that failed for good, newest first
    Ls(tasks::LsArgs),
    /// Run dead tasks again, with fresh budgets
    Redrive {
        #[command(flatten)]
        which: operations::DeadArgs,
        /// At another priority
        #[arg(long, value_name = "1..9")]
        set_priority: Option<u8>,
    },
    /// Remove dead tasks for good
    Purge {
        #[command(flatten)]
        which: operations::DeadArgs,
    },
}

/// Runs a verb.
pub(super) async fn run(verb: DlqVerb, context: &Context) -> Verdict {
    match verb {
        DlqVerb::Ls(args) => ls(args, context).await,
        DlqVerb::Redrive { which, set_priority } => {
            operations::redrive(which, set_priority, context).await
        }
        DlqVerb::Purge { which } => operations::purge(which, context).await,
    }
}

async fn ls(args: tasks::LsArgs, context: &Context) -> Verdict {
    if args.names_state() {
        return Err(Failure::usage("dead letters are the tasks in state ERROR")
            .help("leave --state out, or use `kwq task ls --state …`"));
    }
    let (client, limit) = (context.client()?, args.limit());
    lists::show(context, &client, &args.call("/kwq/dlq"), limit, &tasks::VIEW).await
}
