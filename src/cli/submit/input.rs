//! Where the tasks of a submit come from: NDJSON, a JSON array, plain lines, or a count. Never
//! whole in memory, but for a JSON array (whose size the API limits anyway).

use super::{Range, SubmitArgs};
use crate::cli::failure::Failure;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Longest line read; the server's limit is lower.
const LINE_BYTES_MAX: u64 = 2 << 20;
/// Largest JSON array read.
const ARRAY_BYTES_MAX: u64 = 1 << 30;

type Reader = Box<dyn BufRead>;

/// A line of input.
pub(super) enum Line {
    /// A task as JSON.
    Task(Vec<u8>),
    /// A payload as text.
    Payload(String),
}

/// A stream of lines.
pub(super) struct Source {
    kind: Kind,
    line: u64,
}

enum Kind {
    Lines(Reader),
    Array(std::vec::IntoIter<Box<RawValue>>),
    Count { next: u64, range: Range, payload: String },
}

impl Source {
    /// One task for each number, `{i}` in the payload being the number.
    pub(super) fn count(range: Range, args: &SubmitArgs) -> Self {
        let payload = args.payload.clone().unwrap_or_default();
        Self { kind: Kind::Count { next: range.from, range, payload }, line: 0 }
    }

    /// Opens a file or stdin (`-`).
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let mut reader: Reader = if shown == "-" {
            Box::new(BufReader::with_capacity(1 << 20, io::stdin()))
        } else {
            let file = File::open(path).map_err(|e| {
                Failure::io(&format!("cannot open {shown}"), &e).help("is the path right?")
            })?;
            Box::new(BufReader::with_capacity(1 << 20, file))
        };
        let failed = |error| Failure::io(&format!("cannot read {shown}"), &error);
        let head = reader.fill_buf().map_err(failed)?;
        if head.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
            return Ok(Self { kind: Kind::Lines(reader), line: 0 });
        }
        let mut text = Vec::new();
        reader.take(ARRAY_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
        let items: Vec<Box<RawValue>> = serde_json::from_slice(&text)
            .map_err(|error| Failure::new("bad_json", format!("{shown}: {error}")))?;
        Ok(Self { kind: Kind::Array(items.into_iter()), line: 0 })
    }

    /// Tasks in all, if known.
    pub(super) fn total(&self) -> Option<u64> {
        match &self.kind {
            Kind::Lines(_) => None,
            Kind::Array(items) => u64::try_from(items.len()).ok(),
            Kind::Count { range, .. } => {
                Some((range.to + 1).saturating_sub(range.from).div_ceil(range.step))
            }
        }
    }

    /// Number of the line given last, from 1.
    pub(super) fn line_number(&self) -> u64 {
        self.line
    }

    /// The next task; empty lines are skipped.
    pub(super) fn next(&mut self, plain: bool) -> Result<Option<Line>, Failure> {
        self.line += 1;
        match &mut self.kind {
            Kind::Count { next, range, .. } if *next > range.to => Ok(None),
            Kind::Count { next, range, payload } => {
                let text = payload.replace("{i}", &next.to_string());
                *next = next.saturating_add(range.step);
                Ok(Some(Line::Payload(text)))
            }
            Kind::Array(items) => Ok(items.next().map(|item| {
                // An item may span lines; a line may not.
                let flat =
                    item.get().bytes().map(|b| if b == b'\n' || b == b'\r' { b' ' } else { b });
                Line::Task(flat.collect())
            })),
            Kind::Lines(reader) => loop {
                let mut line = Vec::new();
                let mut limited = reader.take(LINE_BYTES_MAX);
                let read = limited.read_until(b'\n', &mut line);
                let read = read.map_err(|error| Failure::io("cannot read the input", &error))?;
                if read == 0 {
                    return Ok(None);
                }
                if line.last() != Some(&b'\n') && read as u64 == LINE_BYTES_MAX {
                    let what = format!("line {} is longer than 2 MiB", self.line);
                    return Err(Failure::new("line_too_large", what));
                }
                while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                    line.pop();
                }
                if line.is_empty() {
                    self.line += 1;
                    continue;
                }
                return if plain {
                    payload(line, self.line).map(Some)
                } else {
                    Ok(Some(Line::Task(line)))
                };
            },
        }
    }
}

fn payload(line: Vec<u8>, number: u64) -> Result<Line, Failure> {
    let text = String::from_utf8(line)
        .map_err(|_| Failure::new("bad_input", format!("line {number} is not UTF-8")))?;
    Ok(Line::Payload(text))
}

/// A line with the members of the template it lacks. Without a template a task goes out exactly as
/// it is.
pub(super) fn merged(line: Line, template: &Map<String, Value>) -> Result<Vec<u8>, String> {
    let mut task = match line {
        Line::Task(bytes) if template.is_empty() => return Ok(bytes),
        // Raw values keep every member's text, so a JSON payload stays byte for byte.
        Line::Task(bytes) => return with_defaults(&bytes, template),
        Line::Payload(text) => Map::from_iter([("payload".to_owned(), Value::String(text))]),
    };
    for (name, value) in template {
        task.insert(name.clone(), value.clone());
    }
    serde_json::to_vec(&Value::Object(task)).map_err(|error| error.to_string())
}

fn with_defaults(bytes: &[u8], template: &Map<String, Value>) -> Result<Vec<u8>, String> {
    let given: std::collections::BTreeMap<String, Box<RawValue>> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut out = bytes.trim_ascii_end().to_vec();
    out.pop();
    let mut first = given.is_empty();
    for (name, value) in template.iter().filter(|(name, _)| !given.contains_key(*name)) {
        out.extend_from_slice(if first { b"" } else { b"," });
        out.extend_from_slice(format!("{}:{value}", Value::from(name.as_str())).as_bytes());
        first = false;
    }
    out.push(b'}');
    Ok(out)
}
