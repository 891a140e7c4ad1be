//! `kwq log …`: the tools of a stopped server's data directory.

use super::Context;
use super::failure::{Failure, Verdict, exit};
use super::out::{Format, View};
use super::{human, serve};
use crate::codec::dump::json::dump_json;
use crate::codec::dump::{DumpBody, DumpRecord};
use crate::log::embedded::{Cut, inspect};
use crate::model::id::{PartitionId, Position};
use crate::node::offline;
use crate::store::audit::{Checked, Damage};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Verbs of the log.
#[derive(Debug, Subcommand)]
pub(super) enum LogVerb {
    /// Print every record
    Dump(DumpArgs),
    /// Check every record: exit 0 intact, 1 torn tail, 2 damage, 3 unknown format
    Verify {
        /// Directory of a stopped server
        #[arg(long, value_name = "DIR", default_value = "./kwq-data")]
        data_dir: PathBuf,
    },
    /// Cut a damaged log; what is removed is kept in a file
    Repair {
        /// Directory of a stopped server
        #[arg(long, value_name = "DIR", default_value = "./kwq-data")]
        data_dir: PathBuf,
        /// Position to cut at, down to the last whole group before it; `kwq log verify` names the
        /// damage
        #[arg(long, value_name = "POSITION")]
        to_offset: u64,
        /// File for what is removed [default: DIR.cut-POSITION]
        #[arg(long, value_name = "FILE")]
        aside: Option<PathBuf>,
    },
}

/// `log dump`
#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    /// Directory of a stopped server
    #[arg(long, value_name = "DIR", default_value = "./kwq-data")]
    data_dir: PathBuf,
    /// One JSON object a record, also on a terminal
    #[arg(long)]
    json: bool,
    /// Only this partition
    #[arg(long, value_name = "N")]
    partition: Option<u16>,
    /// From this position on
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    from: u64,
}

const REPAIRED: View = View { id: "end", columns: &[] };

/// Runs a verb.
pub(super) fn run(verb: LogVerb, context: &Context) -> Verdict {
    match verb {
        LogVerb::Dump(args) => dump(&args, context),
        LogVerb::Verify { data_dir } => verify(&data_dir, context),
        LogVerb::Repair { data_dir, to_offset, aside } => {
            let aside = aside.unwrap_or_else(|| beside(&data_dir, to_offset));
            repair(&data_dir, Position(to_offset), &aside, context)
        }
    }
}

fn dump(args: &DumpArgs, context: &Context) -> Verdict {
    let partition = args.partition.map(PartitionId);
    let mut documents = context.out.documents();
    let mut visit = |record: DumpRecord| {
        documents.add(&match context.out.format() {
            Format::Quiet => record.position.to_string(),
            Format::Table if !args.json => summary(&record),
            Format::Table | Format::Json | Format::Ndjson => dump_json(&record),
        });
        true
    };
    let dumped = offline::dump(&args.data_dir, partition, Position(args.from), &mut visit);
    // An array that was not read to its end stays open.
    documents.flush();
    let torn = dumped.map_err(|error| serve::stopped_failure(&args.data_dir, &error))?;
    documents.end();
    left_out(&torn, context);
    Ok(exit::DONE)
}

/// Says which torn tails of a copy of what Kafka holds were not read.
pub(super) fn left_out(torn: &[Cut], context: &Context) {
    for Cut { segment, from, bytes } in torn {
        let what = format!("a torn tail is left out: {bytes} B of {segment} from {from}");
        context.out.note(&what);
    }
}

fn summary(record: &DumpRecord) -> String {
    let at = match &record.body {
        DumpBody::Seal { at, .. } => at.0,
        DumpBody::Event(stamped) => stamped.at.0,
    };
    let tasks = match record.refs.as_slice() {
        [] => String::new(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    };
    let (position, partition) = (record.position.to_string(), record.partition.to_string());
    let line = format!(
        "{position:>12}  p{partition:<4} {}  {:<12} {tasks}",
        human::stamp(at),
        record.kind()
    );
    line.trim_end().to_owned()
}

fn verify(directory: &Path, context: &Context) -> Verdict {
    let verdict = offline::verify(directory).map_err(|error| serve::log_failure(&error))?;
    let copy = offline::is_copy(directory);
    let (code, word, text, body, place) = match verdict {
        inspect::Verdict::Intact { records, end } => {
            let text = format!("{} records, end at {end}", human::grouped(records));
            let body = json!({ "records": records, "end": end.to_string() });
            (0, "intact", text, body, None)
        }
        inspect::Verdict::TornTail { segment, from, bytes, records } => {
            let anew = if copy { " and read them anew from Kafka" } else { "" };
            let text =
                format!("{bytes} bytes at {from} in {segment}; start-up will cut them{anew}");
            let body = json!({
                "segment": segment, "from": from.to_string(), "bytes": bytes, "records": records,
            });
            (1, "torn tail", text, body, Some(format!("{segment}:{from}")))
        }
        inspect::Verdict::Damage { segment, offset, reason } => {
            let cure = if copy { format!("; {}", serve::MOVE_AWAY) } else { String::new() };
            let text = format!("{segment} at offset {offset}: {reason}{cure}");
            let body = json!({ "segment": segment, "offset": offset, "reason": reason });
            (2, "damage", text, body, Some(format!("{segment}:{offset}")))
        }
        inspect::Verdict::UnknownFormat(what) => {
            let body = json!({ "detail": what });
            (3, "unknown format", what.clone(), body, Some(what))
        }
    };
    let trail = trail(directory)?;
    let broken = trail.as_ref().is_some_and(|trail| trail.damage.is_some());
    match context.out.format() {
        Format::Table => {
            context.out.data(&format!("{word}: {text}"));
            let told = trail.iter().map(|trail| format!("audit trail: {}", told(trail)));
            told.for_each(|line| context.out.data(&line));
        }
        Format::Json | Format::Ndjson => {
            let mut body = body;
            body["verdict"] = json!(word);
            if let Some(trail) = &trail {
                body["audit"] =
                    json!({ "lines": trail.lines, "intact": !broken, "detail": told(trail) });
            }
            context.out.data(&body.to_string());
        }
        Format::Quiet => {
            let line = trail.and_then(|trail| trail.damage);
            let line = line.map(|Damage { file, line, .. }| format!("{}:{line}", file.display()));
            place.into_iter().chain(line).for_each(|place| context.out.data(&place));
        }
    }
    // The exit code is the log's alone: a power cut may take lines of the trail that no sync had
    // covered, and no task depends on them.
    Ok(code)
}

/// The chain of the audit trail, where there is one.
fn trail(directory: &Path) -> Result<Option<Checked>, Failure> {
    let dir = directory.join("audit");
    if !dir.is_dir() {
        return Ok(None);
    }
    let checked = crate::store::audit::check(&dir);
    checked.map(Some).map_err(|error| Failure::io("cannot read the audit trail", &error))
}

fn told(trail: &Checked) -> String {
    match &trail.damage {
        None if trail.unfinished => {
            let lines = human::grouped(trail.lines);
            format!("{lines} lines, and one that was only begun; start-up will cut it")
        }
        None => format!("{} lines, whole", human::grouped(trail.lines)),
        Some(Damage { file, line, fault }) => {
            format!("{} line {line}: {fault}", file.display())
        }
    }
}

fn repair(directory: &Path, to: Position, aside: &Path, context: &Context) -> Verdict {
    if offline::is_copy(directory) {
        let what = format!("{} holds no log of its own", directory.display());
        return Err(Failure::usage(what).help(serve::MOVE_AWAY));
    }
    let kept = aside.display();
    let cut = inspect::repair_preview(directory, to).map_err(|e| serve::log_failure(&e))?;
    let what = format!(
        "cut the log in {} behind the last whole group before {to}: new end {}, {} B, {} segments \
         and {} images removed (the bytes are kept in {kept})",
        directory.display(),
        cut.end,
        human::grouped(cut.removed_bytes),
        cut.segments_removed,
        cut.images_removed,
    );
    if !context.confirm(&what)? {
        return Ok(exit::DONE);
    }
    let report = inspect::repair(directory, to, aside).map_err(|e| serve::log_failure(&e))?;
    let body = json!({
        "end": report.end.to_string(), "removedBytes": report.removed_bytes,
        "segmentsRemoved": report.segments_removed, "imagesRemoved": report.images_removed,
        "aside": kept.to_string(),
    });
    context.out.one(&body.to_string(), &REPAIRED);
    Ok(exit::DONE)
}

/// A data directory holds nothing but its own files, so the cut goes beside it.
fn beside(directory: &Path, to: u64) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(format!(".cut-{to}"));
    PathBuf::from(name)
}
