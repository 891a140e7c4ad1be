//! wip
use super::Context;
use super::failure::{Verdict, exit};
#[derive(Debug, clap::Args)]
pub(super) struct DevArgs {}
pub(super) fn run(_v: &DevArgs, _c: &Context) -> Verdict {
    Ok(exit::DONE)
}
