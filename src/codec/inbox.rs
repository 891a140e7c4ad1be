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
//! it came and says what is wrong with it; a large one becomes several. Of a header that comes
//! twice the last one counts, as Kafka's own clients read them; one without a value is as good as
//! none, like `null` in JSON.
//!
//! Must not: panic on any bytes, read JSON by other rules than REST, know Kafka or a clock.

use crate::codec::json::{self, Element, Fields, Raw};
use crate::codec::wire::field::{self, Rules};
use crate::codec::wire::{array, task};
use crate::model::command::{InboxItem, Item};
use crate::model::dead::Source;
use crate::model::id::Name;
use crate::model::limits;
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::task::{Blob, Delay, TaskInput};
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

/// What a record comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// When it was submitted: its stamp, but never later than now. A producer's clock may be ahead,
    /// and nothing may have been submitted before it was.
    pub submitted: WallMs,
    /// At least one, in the order of the lines; of what is no task as many dead letters as keep it
    /// whole.
    pub items: Vec<InboxItem>,
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

/// Reads a record. Never fails: what is wrong with it is a dead letter.
#[must_use]
pub fn decode(record: &InboxRecord<'_>, bounds: &Bounds) -> Decoded {
    let rules = Rules { lenient: true, ..bounds.rules };
    let submitted = record.at.known().map_or(rules.now, |at| at.min(rules.now));
    let (given, fault) = Given::read(record.headers);
    let headers = shown(record.headers);
    let reader = Reader { record, bounds, rules, submitted, given, headers };
    let read = match fault {
        None => reader.items(),
        Some(reject) => Err(reject),
    };
    let all = record.value.unwrap_or_default();
    let items = read.unwrap_or_else(|reject| reader.bury(None, all, &reject));
    Decoded { submitted, items }
}

/// Headers as a dead letter shows them, `name=value` a line as `kcat -H` takes them; those that are
/// read here first, and as many as fit.
fn shown(headers: &[(&str, Option<&[u8]>)]) -> Option<Name> {
    let known = |name: &str| name == FORMAT || HEADERS.iter().any(|(header, _)| *header == name);
    let (first, rest): (Vec<_>, Vec<_>) = headers.iter().partition(|(name, _)| known(name));
    let mut text = String::new();
    for (name, value) in first.into_iter().chain(rest) {
        let value = value.unwrap_or_default();
        let line = match std::str::from_utf8(value) {
            Ok(value) if !value.chars().any(char::is_control) => format!("{name}={value}"),
            Ok(_) | Err(_) => format!("{name}={}", value.escape_ascii()),
        };
        let between = usize::from(!text.is_empty());
        if text.len() + between + line.len() <= limits::META_BYTES_MAX {
            text.push_str(if between > 0 { "\n" } else { "" });
            text.push_str(&line);
        }
    }
    (!text.is_empty()).then(|| text.into())
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
    headers: Option<Name>,
}

impl Reader<'_, '_> {
    fn items(&self) -> Result<Vec<InboxItem>, Reject> {
        let format = header_text(self.record.headers, FORMAT)?;
        let Some(value) = self.record.value else {
            let detail = "the record has no value (a tombstone); a task is a JSON object";
            return Err(Reject::new(Code::BadJson, detail)
                .hint("an empty payload is an empty value with the header kwq-fmt: raw"));
        };
        match format {
            None => Ok(vec![self.with_source(None, value, self.single(value)?)]),
            Some("raw") => Ok(vec![self.with_source(None, value, self.raw(value)?)]),
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
            task.payload = Blob::opaque(value.to_vec());
        }
        Ok(item)
    }

    /// A batch whose frame is wrong is dead as a whole: its lines cannot be told.
    fn batch(&self, value: &[u8]) -> Result<Vec<InboxItem>, Reject> {
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
            1..=limits::INBOX_BATCH_TASKS => {
                Ok(lines().flat_map(|(line, number)| self.line(line, number)).collect())
            }
            _ => {
                let detail = "the batch holds more than 1,000 tasks";
                Err(Reject::new(Code::TooManyItems, detail).hint("send several records"))
            }
        }
    }

    fn line(&self, line: &[u8], number: u64) -> Vec<InboxItem> {
        let max = self.rules.payload_bytes_max + limits::LINE_EXTRA_BYTES;
        let item = bounded(line, max, Code::LineTooLarge, "limits.payload + 16 KiB")
            .and_then(|()| json::text(line))
            .and_then(json::object)
            .and_then(|fields| self.item(fields));
        match item {
            Ok(item) => vec![self.with_source(Some(number), line, item)],
            Err(reject) => self.bury(Some(number), line, &reject),
        }
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

    fn with_source(&self, line: Option<u64>, text: &[u8], item: Item) -> InboxItem {
        InboxItem { item, source: self.source(line, text.to_vec()) }
    }

    /// The record, or one line of it.
    fn source(&self, line: Option<u64>, text: Vec<u8>) -> Source {
        let InboxRecord { level, offset, headers, .. } = *self.record;
        // A batch with a header too many is one all the same: so it can be sent again.
        let batch = matches!(header_text(headers, FORMAT), Ok(Some("batch")));
        let headers = self.headers.clone();
        Source { level, offset, line, lines: batch && line.is_none(), headers, text }
    }

    /// Dead letters of the record, or of one line of it, that keep it whole.
    fn bury(&self, line: Option<u64>, text: &[u8], reject: &Reject) -> Vec<InboxItem> {
        let of_header = |(header, name): &&(&str, &str)| {
            reject.field.as_deref() == Some(name) && self.given.has(name) && header != name
        };
        let header = HEADERS.iter().find(of_header);
        let part = header.map(|(header, _)| format!(", header {header}")).unwrap_or_default();
        let letters = self.source(line, text.to_vec()).bury(&part, reject, self.remains(text));
        let dead = |letter| InboxItem {
            item: Item::Dead(Box::new(letter)),
            source: self.source(line, Vec::new()),
        };
        letters.into_iter().map(dead).collect()
    }

    /// What can be read of a record that is no task.
    fn remains(&self, text: &[u8]) -> TaskInput {
        let own = json::text(text).and_then(json::object).unwrap_or_default();
        let fields = self.given.over(own).unwrap_or_default();
        let name = |names: &[&'static str]| names.iter().find_map(|n| readable(fields.get(n)?));
        TaskInput {
            id: name(&["id"]).filter(|id| !TaskRef::looks_like(id)),
            job: name(&["groupId", "job"]),
            priority: Some(self.record.level),
            tag: field::good_tags(fields.get("tag"), fields.get("tags")).unwrap_or_default(),
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

#[cfg(test)]
mod tests;
