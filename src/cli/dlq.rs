//! `kwq dlq …`

use super::failure::{Failure, Verdict};
use super::{Context, lists, tasks};
use clap::Subcommand;

/// Verbs of the dead letters.
#[derive(Debug, Subcommand)]
pub(super) enum DlqVerb {
    /// List tasks that failed for good, newest first
    Ls(tasks::LsArgs),
}

/// Runs a verb.
pub(super) async fn run(verb: DlqVerb, context: &Context) -> Verdict {
    let DlqVerb::Ls(args) = verb;
    if args.names_state() {
        return Err(Failure::usage("dead letters are the tasks in state ERROR")
            .help("leave --state out, or use `kwq task ls --state …`"));
    }
    let (client, limit) = (context.client()?, args.limit());
    lists::show(context, &client, &args.call("/kwq/dlq"), limit, &tasks::VIEW).await
}
