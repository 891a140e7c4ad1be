//! wip
use super::Context;
use super::failure::{Verdict, exit};
#[derive(Debug, clap::Subcommand)]
pub(super) enum StateVerb {
    /// x
    X,
}
pub(super) fn run(_v: &StateVerb, _c: &Context) -> Verdict {
    Ok(exit::DONE)
}
