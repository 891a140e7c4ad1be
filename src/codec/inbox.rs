//! Records of the inbox topics `KWQ-1` … `KWQ-9`, written by any Kafka client → items of a submit.
//!
//! ```text
//!   value    a task or an array as REST takes it; unknown fields are ignored
//!   headers  kwq-job kwq-id kwq-tags kwq-affinity traceparent    stand instead of the field
//!            kwq-fmt: raw      the value is the payload: text if it is UTF-8, else base64
//!            kwq-fmt: batch    NDJSON of up to 1,000 tasks, each line judged on its own
//!   topic    the priority; the field is ignored
//!   key      free: it chose the partition and says nothing else
//! ```
//! Nobody can be refused here, so what breaks a rule becomes a dead letter that keeps the record as
//! it came and says what is wrong with it. Of a header that comes twice the last one counts, as
//! Kafka's own clients read them; one without a value is as good as none, like `null` in JSON.
//!
//! Must not: panic on any bytes, read JSON by other rules than REST, know Kafka or a clock.

use crate::codec::json::{self, Element, Fields, Raw};
use crate::codec::wire::field::{self, Rules};
use crate::codec::wire::{array, task};
use crate::model::command::Item;
use crate::model::dead::DeadInput;
use crate::model::id::Name;
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::task::{Blob, Delay, Encoding, TaskInput};
use crate::model::time::WallMs;
use std::sync::Arc;

/// How the value is to be read.
const FORMAT: &str = "kwq-fmt";
/// Headers and the fields they stand for.
const HEADERS: &[(&str, &str)] = &[
    ("kwq-job", "groupId"),
    ("kwq-id", "id"),
    ("kwq-tags", "tag"),
    ("kwq-affinity", "affinity"),
    ("traceparent", "traceparent"),
];
/// Other names of the same field; a header stands for all of them.
const ALIASES: &[(&str, &str)] = &[("groupId", "job"), ("tag", "tags")];

/// A record as Kafka gives it.
#[derive(Clone, Copy, Debug)]
pub struct InboxRecord<'a> {
    /// Priority of its topic.
    pub level: Priority,
    /// Its offset there, for the message of a dead letter.
    pub offset: u64,
    /// Its stamp; unset if it has none.
    pub at: WallMs,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// In the order they were written.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// What the node allows; `rules.now` is the clock of the turn.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Limits of fields; they are read leniently whatever it says.
    pub rules: Rules,
    /// Bytes of a value that is one task (`limits.body`).
    pub task_bytes_max: usize,
    /// Bytes of a value that is a batch (`limits.batch-body`).
    pub batch_bytes_max: usize,
}

/// An item of a submit, or what is kept of what cannot be one.
pub type Outcome = Result<Item, Box<DeadInput>>;

/// What a record comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// When it was submitted: its stamp, but never later than now. A producer's clock may be ahead,
    /// and nothing may have been submitted before it was.
    pub submitted: WallMs,
    /// At least one outcome, in the order of the lines.
    pub outcomes: Vec<Outcome>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            task_bytes_max: limits::BODY_BYTES,
            batch_bytes_max: limits::BATCH_BODY_BYTES,
        }
    }
}

/// Reads a record. Never fails: what is wrong with it is an outcome.
#[must_use]
pub fn decode(record: &InboxRecord<'_>, bounds: &Bounds) -> Decoded {
    let rules = Rules { lenient: true, ..bounds.rules };
    let submitted = record.at.known().map_or(rules.now, |at| at.min(rules.now));
    let (given, fault) = Given::read(record.headers);
    let reader = Reader { record, bounds, rules, submitted, given };
    let read = match fault {
        None => reader.outcomes(),
        Some(reject) => Err(reject),
    };
    let outcomes = read.unwrap_or_else(|reject| {
        vec![Err(reader.bury(None, record.value.unwrap_or_default(), &reject))]
    });
    Decoded { submitted, outcomes }
}

/// Fields that are given by headers, as JSON, so that one parser judges both.
#[derive(Default)]
struct Given {
    texts: Vec<(&'static str, String)>,
}

impl Given {
    /// The headers, and the first that is no text.
    fn read(headers: &[(&str, Option<&[u8]>)]) -> (Self, Option<Reject>) {
        let (mut given, mut fault) = (Self::default(), None);
        for (header, name) in HEADERS {
            match header_text(headers, header) {
                Ok(None) => {}
                Ok(Some(text)) => {
                    given.texts.push((*name, serde_json::Value::from(text).to_string()));
                }
                Err(reject) => fault = fault.or(Some(reject)),
            }
        }
        (given, fault)
    }

    fn has(&self, name: &str) -> bool {
        self.texts.iter().any(|(field, _)| *field == name)
    }

    /// The fields of a task with these instead of its own.
    fn over<'a>(&'a self, mut fields: Fields<'a>) -> Result<Fields<'a>, Reject> {
        for (name, text) in &self.texts {
            if let Some((_, other)) = ALIASES.iter().find(|(first, _)| first == name) {
                fields = fields.without(&[other]);
            }
            if let Element::Other(raw) = json::document(text)? {
                fields = fields.with(name, raw);
            }
        }
        Ok(fields)
    }
}

/// The last header of a name.
fn header_text<'a>(
    headers: &[(&str, Option<&'a [u8]>)],
    name: &str,
) -> Result<Option<&'a str>, Reject> {
    let last = headers.iter().rev().find(|(header, _)| *header == name);
    let Some(bytes) = last.and_then(|(_, value)| *value) else { return Ok(None) };
    std::str::from_utf8(bytes).map(Some).map_err(|e| {
        let detail = format!("the header {name} is not UTF-8 at byte {}", e.valid_up_to());
        Reject::field(name.to_owned(), detail)
    })
}

struct Reader<'r, 'a> {
    record: &'r InboxRecord<'a>,
    bounds: &'r Bounds,
    rules: Rules,
    submitted: WallMs,
    given: Given,
}

impl Reader<'_, '_> {
    fn outcomes(&self) -> Result<Vec<Outcome>, Reject> {
        let format = header_text(self.record.headers, FORMAT)?;
        let Some(value) = self.record.value else {
            let detail = "the record has no value (a tombstone); a task is a JSON object";
            return Err(Reject::new(Code::BadJson, detail)
                .hint("an empty payload is an empty value with the header kwq-fmt: raw"));
        };
        match format {
            None => Ok(vec![Ok(self.single(value)?)]),
            Some("raw") => Ok(vec![Ok(self.raw(value)?)]),
            Some("batch") => self.batch(value),
            Some(other) => {
                let detail = format!("the header kwq-fmt is `{}`", json::shown(other));
                Err(Reject::field(FORMAT, detail)
                    .hint("raw and batch are known; without it the value is one task"))
            }
        }
    }

    fn single(&self, value: &[u8]) -> Result<Item, Reject> {
        bounded(value, self.bounds.task_bytes_max, Code::BodyTooLarge, "limits.body")?;
        if value.trim_ascii().is_empty() {
            let detail = "the value is empty; a task is a JSON object";
            return Err(Reject::new(Code::BadJson, detail).hint("send {} for a task of defaults"));
        }
        let fields = json::text(value).and_then(json::object).map_err(|reject| {
            let hint = match json::first_byte(value) {
                Some(b'[') => "send several tasks as lines, with the header kwq-fmt: batch",
                _ => "send a payload that is no task with the header kwq-fmt: raw",
            };
            reject.hint(hint)
        })?;
        self.item(fields)
    }

    fn raw(&self, value: &[u8]) -> Result<Item, Reject> {
        let max = self.rules.payload_bytes_max;
        bounded(value, max, Code::PayloadTooLarge, "limits.payload")?;
        let mut item = self.item(Fields::default())?;
        if let Item::Task(task) = &mut item {
            task.payload = opaque(value);
        }
        Ok(item)
    }

    /// A batch whose frame is wrong is dead as a whole: its lines cannot be told.
    fn batch(&self, value: &[u8]) -> Result<Vec<Outcome>, Reject> {
        let max = self.bounds.batch_bytes_max;
        bounded(value, max, Code::BodyTooLarge, "limits.batch-body")?;
        if self.given.has("id") {
            let detail = "the header kwq-id names one task, and the record is a batch";
            return Err(Reject::field("id", detail).hint("give each line an id of its own"));
        }
        let lines = || {
            let lines = value.split(|byte| *byte == b'\n').zip(1u64..);
            let lines = lines.map(|(line, n)| (line.strip_suffix(b"\r").unwrap_or(line), n));
            lines.filter(|(line, _)| !line.trim_ascii().is_empty())
        };
        match lines().take(limits::INBOX_BATCH_TASKS + 1).count() {
            0 => {
                let detail = "the batch holds no line with a task";
                Err(Reject::new(Code::BadJson, detail).hint("send one JSON object a line"))
            }
            1..=limits::INBOX_BATCH_TASKS => Ok(lines().map(|(l, n)| self.line(l, n)).collect()),
            _ => {
                let detail = "the batch holds more than 1,000 tasks";
                Err(Reject::new(Code::TooManyItems, detail).hint("send several records"))
            }
        }
    }

    fn line(&self, line: &[u8], number: u64) -> Outcome {
        let max = self.rules.payload_bytes_max + limits::LINE_EXTRA_BYTES;
        let item = bounded(line, max, Code::LineTooLarge, "limits.payload + 16 KiB")
            .and_then(|()| json::text(line))
            .and_then(json::object)
            .and_then(|fields| self.item(fields));
        item.map_err(|reject| self.bury(Some(number), line, &reject))
    }

    /// A task or an array.
    fn item(&self, fields: Fields<'_>) -> Result<Item, Reject> {
        let fields = self.given.over(fields)?;
        let tag = field::good_tags(fields.get("tag"), fields.get("tags"))?;
        let fields = fields.without(&["tag", "tags", "priority"]);
        let common = |task: TaskInput| TaskInput {
            tag: tag.clone(),
            priority: Some(self.record.level),
            // A delay begins when the record was written, not when it was read.
            delay: match task.delay {
                Delay::For(ms) => Delay::Until(self.submitted.plus(ms)),
                Delay::None | Delay::Until(_) => task.delay,
            },
            ..task
        };
        match array::member(&fields) {
            None => task::parse(&fields, None, &self.rules).map(|task| Item::Task(common(task))),
            Some(member) => {
                let mut array = array::parse(&fields, member, None, &self.rules)?;
                array.task = common(array.task);
                Ok(Item::Array(array))
            }
        }
    }

    /// A dead letter of the record, or of one line of it.
    fn bury(&self, line: Option<u64>, text: &[u8], reject: &Reject) -> Box<DeadInput> {
        let mut place = format!("record {} of level {}", self.record.offset, self.record.level);
        if let Some(line) = line {
            place.push_str(&format!(", line {line}"));
        }
        let of_header = |(header, name): &&(&str, &str)| {
            reject.field.as_deref() == Some(name) && self.given.has(name) && header != name
        };
        if let Some((header, _)) = HEADERS.iter().find(of_header) {
            place.push_str(&format!(", header {header}"));
        }
        Box::new(DeadInput::new(&place, reject, self.remains(text)))
    }

    /// What can be read of a record that is no task; the payload is its text, so that it can be
    /// mended and sent again.
    fn remains(&self, text: &[u8]) -> TaskInput {
        let own = json::text(text).and_then(json::object).unwrap_or_default();
        let fields = self.given.over(own).unwrap_or_default();
        let name = |names: &[&'static str]| names.iter().find_map(|n| readable(fields.get(n)?));
        TaskInput {
            id: name(&["id"]).filter(|id| !TaskRef::looks_like(id)),
            job: name(&["groupId", "job"]),
            priority: Some(self.record.level),
            tag: field::good_tags(fields.get("tag"), fields.get("tags")).unwrap_or_default(),
            payload: opaque(cut(text, self.rules.payload_bytes_max)),
            ..TaskInput::default()
        }
    }
}

fn bounded(bytes: &[u8], max: usize, code: Code, key: &'static str) -> Result<(), Reject> {
    if bytes.len() <= max {
        return Ok(());
    }
    let detail = format!("{} B are too many; at most {max} ({key})", bytes.len());
    Err(Reject::new(code, detail))
}

fn readable(raw: Raw<'_>) -> Option<Name> {
    let text = raw.string().ok().flatten()?;
    field::name_fault(&text).is_none().then(|| Arc::from(text.as_ref()))
}

/// Bytes of which nothing is known. What is UTF-8 is shown as text, as `kwq work` does with what a
/// program prints; that it may be JSON too is for the worker to know.
fn opaque(bytes: &[u8]) -> Blob {
    let text = std::str::from_utf8(bytes).is_ok();
    let encoding = if text { Encoding::Text } else { Encoding::Base64 };
    Blob { encoding, bytes: bytes.to_vec() }
}

/// The first bytes; a text stays one.
fn cut(bytes: &[u8], max: usize) -> &[u8] {
    let end = match std::str::from_utf8(bytes) {
        Ok(text) => text.floor_char_boundary(max),
        Err(_) => max.min(bytes.len()),
    };
    bytes.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
