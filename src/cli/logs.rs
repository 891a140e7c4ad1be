//! `kwq log …`: the log of a stopped server.

use super::Context;
use super::failure::{Failure, Verdict, exit};
use crate::codec::dump::json::dump_json;
use crate::log::Error;
use crate::log::embedded::inspect::{self, Verdict as Found};
use crate::model::id::{PartitionId, Position};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `log verify`: a torn tail, damage, an unknown format.
const TORN: u8 = 1;
const DAMAGED: u8 = 2;
const UNKNOWN: u8 = 3;

/// Where the log lies.
#[derive(Debug, Args)]
pub(super) struct Directory {
    /// Data directory of the stopped server
    #[arg(long, default_value = "./kwq-data", value_name = "DIR")]
    data_dir: PathBuf,
}

/// Verbs of the log.
#[derive(Debug, Subcommand)]
pub(super) enum LogVerb {
    /// Print every record, one JSON object a line
    Dump {
        #[command(flatten)]
        directory: Directory,
        /// JSON lines (the only form there is)
        #[arg(long)]
        json: bool,
        /// Only this partition
        #[arg(long, value_name = "P")]
        partition: Option<u16>,
        /// From this position on
        #[arg(long, default_value_t = 0, value_name = "O")]
        from: u64,
    },
    /// Check every record; exit 0 intact, 1 torn tail, 2 damage, 3 unknown format
    Verify {
        #[command(flatten)]
        directory: Directory,
    },
    /// Cut everything from a position on; the removed bytes are kept in a file
    Repair {
        #[command(flatten)]
        directory: Directory,
        /// First position to remove
        #[arg(long, value_name = "O")]
        to_offset: u64,
        /// Receives the removed bytes; must not exist yet
        #[arg(long, default_value = "kwq-removed.bin", value_name = "FILE")]
        aside: PathBuf,
    },
}

/// Runs a verb.
pub(super) fn run(verb: &LogVerb, context: &Context) -> Verdict {
    match verb {
        LogVerb::Dump { directory, partition, from, .. } => {
            let mut print = |record| {
                context.out.data(&dump_json(&record));
                true
            };
            let (only, from) = (partition.map(PartitionId), Position(*from));
            inspect::dump(&directory.data_dir, only, from, &mut print)
                .map_err(|error| failure(&error))?;
            Ok(exit::DONE)
        }
        LogVerb::Verify { directory } => verify(directory, context),
        LogVerb::Repair { directory, to_offset, aside } => {
            let what = format!("cut the log of {} at {to_offset}", directory.data_dir.display());
            if !context.confirm(&what)? {
                return Ok(exit::DONE);
            }
            let report = inspect::repair(&directory.data_dir, Position(*to_offset), aside)
                .map_err(|error| failure(&error))?;
            context.out.data(&format!(
                "new end {}, {} B removed, {} segments and {} images dropped; removed bytes in {}",
                report.end,
                report.removed_bytes,
                report.segments_removed,
                report.images_removed,
                aside.display()
            ));
            Ok(exit::DONE)
        }
    }
}

fn verify(directory: &Directory, context: &Context) -> Verdict {
    let found = inspect::verify(&directory.data_dir).map_err(|error| failure(&error))?;
    let (code, text) = match found {
        Found::Intact { records, end } => {
            (exit::DONE, format!("intact: {records} records, end {end}"))
        }
        Found::TornTail { segment, from, bytes, records } => {
            let at = format!("{segment} position {from}");
            (
                TORN,
                format!("torn tail: {bytes} B at {at}, {records} records before; start-up cuts it"),
            )
        }
        Found::Damage { segment, offset, reason } => {
            (DAMAGED, format!("damage: {segment} offset {offset}: {reason}"))
        }
        Found::UnknownFormat(text) => (UNKNOWN, format!("unknown format: {text}")),
    };
    context.out.data(&text);
    Ok(code)
}

/// A refusal of the log, with what to do.
pub(super) fn failure(error: &Error) -> Failure {
    let (code, help) = match error {
        Error::Locked(..) => ("locked", "stop the server first"),
        Error::Damaged { .. } => {
            ("damaged", "see `kwq log verify`; `kwq log repair` cuts from a position on")
        }
        Error::UnknownFormat(_) => {
            ("unknown_format", "is this the data directory of a kwq server?")
        }
        Error::Failed(_) | Error::Full(_) | Error::NoRecord(_) | Error::Io { .. } => {
            ("log", "look at the path, its permissions and the free space")
        }
    };
    Failure::new(code, error.to_string()).help(help)
}
