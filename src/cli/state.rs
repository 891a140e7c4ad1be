//! `kwq state …`: hashes of the state of a stopped server.

use super::failure::{Verdict, exit};
use super::{Context, logs};
use crate::node::offline;
use clap::Subcommand;
use std::path::PathBuf;

/// Verbs of the state.
#[derive(Debug, Subcommand)]
pub(super) enum StateVerb {
    /// Print position and hash of every partition
    Hash {
        /// Data directory of the stopped server
        #[arg(long, default_value = "./kwq-data", value_name = "DIR")]
        data_dir: PathBuf,
        /// Leave images out and fold the log from its beginning
        #[arg(long)]
        from_zero: bool,
    },
}

/// Runs a verb.
pub(super) fn run(verb: &StateVerb, context: &Context) -> Verdict {
    let StateVerb::Hash { data_dir, from_zero } = verb;
    let rows = offline::state_hash(data_dir, *from_zero).map_err(|error| logs::failure(&error))?;
    let from = if *from_zero { "zero" } else { "image+tail" };
    for (partition, position, hash) in rows {
        context.out.data(&format!(
            "{{\"partition\":{partition},\"position\":\"{position}\",\"hash\":\"{hash}\",\"from\":\"{from}\"}}"
        ));
    }
    Ok(exit::DONE)
}
