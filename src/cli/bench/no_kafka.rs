//! Stands where `kwq bench kafka` would be, in a build without Kafka.

use crate::cli::Context;
use crate::cli::failure::{Failure, Verdict};
use clap::Args;

/// `bench kafka`
#[derive(Debug, Args)]
pub(in crate::cli) struct KafkaArgs {
    /// A broker to begin with
    #[arg(long, value_name = "HOST:PORT,…")]
    kafka: String,
}

/// Refuses.
pub(super) async fn run(args: KafkaArgs, _: &Context) -> Verdict {
    let what = format!("this build cannot speak to Kafka at {}", args.kafka);
    Err(Failure::usage(what).help("build with --features kafka"))
}
