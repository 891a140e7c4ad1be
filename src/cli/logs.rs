//! wip
use super::Context;
use super::failure::{Verdict, exit};
#[derive(Debug, clap::Subcommand)]
pub(super) enum LogVerb {
    /// x
    X,
}
pub(super) fn run(_v: &LogVerb, _c: &Context) -> Verdict {
    Ok(exit::DONE)
}
