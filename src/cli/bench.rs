//! wip
use super::Context; use super::failure::{Verdict,exit};
#[derive(Debug, clap::Subcommand)]
pub(super) enum BenchVerb { /// x
 Load }
pub(super) async fn run(_v: BenchVerb, _c: &Context) -> Verdict { Ok(exit::DONE) }
