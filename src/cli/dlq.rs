//! `kwq dlq …`

use super::failure::Verdict;
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
    let (client, limit) = (context.client()?, args.limit());
    lists::show(context, &client, &args.call("/kwq/dlq"), limit, &tasks::VIEW).await
}
