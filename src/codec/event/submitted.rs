//! `Submitted`: tasks of one record, each readable alone.
//!
//! ```text
//!  0 u64 first sequence number | 8 u32 tasks n | 12 u32 strings s | 16 u32 templates t
//! 20 u32 bytes of strings | 24 u32 bytes of templates | 28 u32 bytes of specs
//! 32 ends of: s strings | t templates | n specs | n payloads, u32 each
//!    strings | templates | specs | payloads
//! ```
//! An end counts from the start of its area. A *template* is what tasks of a batch have in common
//! (job, tag, budgets …), a *spec* what they do not (client id, meta …). So a task costs about 10
//! bytes beside its payload, a replay decodes a template once and shares its texts, and a hand-out
//! reads one task in constant time. Payloads lie raw at the end.

use crate::codec::Malformed;
use crate::codec::bytes::{Cursor, len_u32, len_u64, put_bytes, put_option, put_varint, utf8};
use crate::codec::event::Detail;
use crate::model::affinity::AffinityKey;
use crate::model::event::Event;
use crate::model::id::{Name, TaskSeq};
use crate::model::key::Hash128;
use crate::model::policy::{Backoff, Jitter};
use crate::model::priority::Priority;
use crate::model::task::{Blob, Encoding, TaskSpec};
use crate::model::time::WallMs;
use std::collections::HashMap;

const HEAD_BYTES: usize = 32;
const HAS_ID: u8 = 1 << 2;
const HAS_NOT_BEFORE: u8 = 1 << 3;
const HAS_META: u8 = 1 << 4;
const HAS_TRACE: u8 = 1 << 5;
const HAS_CONTENT: u8 = 1 << 7;

/// Appends the body.
pub fn put(out: &mut Vec<u8>, first: TaskSeq, tasks: &[TaskSpec]) {
    let mut tables = Tables::default();
    let mut spec_ends = Vec::with_capacity(tasks.len());
    let mut specs = Vec::with_capacity(tasks.len() * 8);
    for task in tasks {
        let template = tables.template(task);
        tables.put_spec(&mut specs, template, task);
        spec_ends.push(len_u32(specs.len()));
    }
    let payload_bytes: usize = tasks.iter().map(|t| t.payload.bytes.len()).sum();
    out.reserve(HEAD_BYTES + tasks.len() * 8 + specs.len() + payload_bytes + 256);
    out.extend_from_slice(&first.0.to_le_bytes());
    for count in [
        tasks.len(),
        tables.string_ends.len(),
        tables.template_ends.len(),
        tables.strings.len(),
        tables.templates.len(),
        specs.len(),
    ] {
        put_u32(out, len_u32(count));
    }
    let ends = tables.string_ends.iter().chain(&tables.template_ends).chain(&spec_ends);
    ends.for_each(|end| put_u32(out, *end));
    let mut payload_end = 0;
    for task in tasks {
        payload_end += task.payload.bytes.len();
        put_u32(out, len_u32(payload_end));
    }
    out.extend_from_slice(&tables.strings);
    out.extend_from_slice(&tables.templates);
    out.extend_from_slice(&specs);
    tasks.iter().for_each(|t| out.extend_from_slice(&t.payload.bytes));
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// What tasks of a batch usually share.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Template<'a> {
    job: &'a str,
    priority: Priority,
    tag: Option<&'a str>,
    affinity: &'a [AffinityKey],
    source: Option<&'a str>,
    timeout_s: u32,
    lease_ms: u32,
    budgets: (u8, u8),
    backoff: Backoff,
}

impl<'a> Template<'a> {
    fn of(task: &'a TaskSpec) -> Self {
        Self {
            job: &task.job,
            priority: task.priority,
            tag: task.tag.as_deref(),
            affinity: &task.affinity,
            source: task.source.as_deref(),
            timeout_s: task.timeout_s,
            lease_ms: task.lease_ms,
            budgets: (task.max_attempts, task.max_crashes),
            backoff: task.backoff,
        }
    }
}

/// The tables while they are built. The numbers follow first use, so equal events give equal bytes.
#[derive(Default)]
struct Tables<'a> {
    string_numbers: HashMap<&'a str, u32>,
    string_ends: Vec<u32>,
    strings: Vec<u8>,
    template_numbers: HashMap<Template<'a>, u32>,
    template_ends: Vec<u32>,
    templates: Vec<u8>,
    last: Option<(Template<'a>, u32)>,
}

impl<'a> Tables<'a> {
    fn string(&mut self, text: &'a str) -> u64 {
        if let Some(number) = self.string_numbers.get(text) {
            return u64::from(*number);
        }
        let number = len_u32(self.string_ends.len());
        self.string_numbers.insert(text, number);
        self.strings.extend_from_slice(text.as_bytes());
        self.string_ends.push(len_u32(self.strings.len()));
        u64::from(number)
    }

    fn template(&mut self, task: &'a TaskSpec) -> u32 {
        let template = Template::of(task);
        if let Some((last, number)) = self.last
            && last == template
        {
            return number;
        }
        let number = match self.template_numbers.get(&template) {
            Some(number) => *number,
            None => self.put_template(template),
        };
        self.last = Some((template, number));
        number
    }

    fn put_template(&mut self, template: Template<'a>) -> u32 {
        let mut out = std::mem::take(&mut self.templates);
        put_varint(&mut out, self.string(template.job));
        out.push(template.priority.get());
        put_option(&mut out, template.tag.map(|t| self.string(t)));
        put_option(&mut out, template.source.map(|s| self.string(s)));
        put_varint(&mut out, u64::from(template.timeout_s));
        put_varint(&mut out, u64::from(template.lease_ms));
        out.extend_from_slice(&[template.budgets.0, template.budgets.1]);
        put_varint(&mut out, u64::from(template.backoff.base_ms));
        put_varint(&mut out, u64::from(template.backoff.cap_ms));
        out.push(jitter_byte(template.backoff.jitter));
        put_varint(&mut out, len_u64(template.affinity.len()));
        for key in template.affinity {
            put_varint(&mut out, self.string(&key.key));
            out.push(key.weight);
        }
        self.templates = out;
        let number = len_u32(self.template_ends.len());
        self.template_ends.push(len_u32(self.templates.len()));
        self.template_numbers.insert(template, number);
        number
    }

    fn put_spec(&mut self, out: &mut Vec<u8>, template: u32, task: &'a TaskSpec) {
        let mut flags = encoding_byte(task.payload.encoding);
        flags |= if task.id.is_some() { HAS_ID } else { 0 };
        flags |= if task.not_before.0 > 0 { HAS_NOT_BEFORE } else { 0 };
        flags |= if task.meta.is_some() { HAS_META } else { 0 };
        flags |= if task.traceparent.is_some() { HAS_TRACE } else { 0 };
        flags |= if task.content.is_some() { HAS_CONTENT } else { 0 };
        put_varint(out, u64::from(template));
        out.push(flags);
        if let Some(id) = &task.id {
            put_bytes(out, id.as_bytes());
        }
        if task.not_before.0 > 0 {
            put_varint(out, task.not_before.0);
        }
        if let Some(meta) = &task.meta {
            put_varint(out, self.string(meta));
        }
        if let Some(trace) = &task.traceparent {
            put_bytes(out, trace.as_bytes());
        }
        if let Some(Hash128(words)) = task.content {
            words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        }
    }
}

/// Reads all tasks, and under [`Detail::Skim`] the payload sizes.
///
/// # Errors
/// Anything that [`put`] does not write.
pub fn read(body: &[u8], detail: Detail) -> Result<(Event, Vec<u32>), Malformed> {
    let view = View::new(body)?;
    let mut texts = Texts::shared(&view)?;
    let mut templates = Vec::with_capacity(view.templates.count());
    for number in 0..view.templates.count() {
        templates.push(template(view.templates.item(number)?, &mut texts)?);
    }
    let mut tasks = Vec::with_capacity(view.specs.count());
    let mut sizes = Vec::new();
    for index in 0..view.specs.count() {
        let mut spec = Cursor::new(view.specs.item(index)?);
        let number: usize = spec.number()?;
        let common = templates.get(number).ok_or(Malformed("submitted: template"))?;
        let mut task = common.clone();
        read_spec(&mut spec, &mut task, &mut texts)?;
        let payload = view.payloads.item(index)?;
        match detail {
            Detail::Full => task.payload.bytes = payload.to_vec(),
            Detail::Skim => sizes.push(len_u32(payload.len())),
        }
        tasks.push(task);
    }
    Ok((Event::Submitted { first: view.first, tasks }, sizes))
}

/// Reads one task, in constant time.
///
/// # Errors
/// No such task, or anything that [`put`] does not write.
pub fn decode_task(body: &[u8], index: u32) -> Result<TaskSpec, Malformed> {
    let view = View::new(body)?;
    let index = usize::try_from(index).map_err(|_| Malformed("submitted: index"))?;
    let mut texts = Texts::single(&view);
    let mut spec = Cursor::new(view.specs.item(index)?);
    let number = spec.number()?;
    let mut task = template(view.templates.item(number)?, &mut texts)?;
    read_spec(&mut spec, &mut task, &mut texts)?;
    task.payload.bytes = view.payloads.item(index)?.to_vec();
    Ok(task)
}

/// One area with its table of ends.
#[derive(Clone, Copy)]
struct Area<'a> {
    ends: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Area<'a> {
    fn count(&self) -> usize {
        self.ends.len() / 4
    }

    fn end(&self, index: usize) -> Option<usize> {
        let at = index.checked_mul(4)?;
        let end = self.ends.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*end)).ok()
    }

    fn item(&self, index: usize) -> Result<&'a [u8], Malformed> {
        let start = if index == 0 { Some(0) } else { self.end(index - 1) };
        let range = start.zip(self.end(index));
        range.and_then(|(s, e)| self.bytes.get(s..e)).ok_or(Malformed("submitted: table"))
    }

    /// The last end must be the end, or bytes would lie there that nothing names.
    fn whole(self) -> Result<Self, Malformed> {
        let end = if self.count() == 0 { Some(0) } else { self.end(self.count() - 1) };
        if end == Some(self.bytes.len()) { Ok(self) } else { Err(Malformed("submitted: area")) }
    }
}

/// The areas of a body. Every count was checked against the bytes that are there.
struct View<'a> {
    first: TaskSeq,
    strings: Area<'a>,
    templates: Area<'a>,
    specs: Area<'a>,
    payloads: Area<'a>,
}

impl<'a> View<'a> {
    fn new(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let first = TaskSeq(cursor.u64()?);
        let mut words = [0usize; 6];
        for word in &mut words {
            *word = usize::try_from(cursor.u32()?).map_err(|_| Malformed("submitted: head"))?;
        }
        let [tasks, strings, templates, string_bytes, template_bytes, spec_bytes] = words;
        let mut table =
            |count: usize| cursor.take(count.checked_mul(4).ok_or(Malformed("submitted: head"))?);
        let (string_ends, template_ends) = (table(strings)?, table(templates)?);
        let (spec_ends, payload_ends) = (table(tasks)?, table(tasks)?);
        let area = |ends, bytes| Area { ends, bytes }.whole();
        Ok(Self {
            first,
            strings: area(string_ends, cursor.take(string_bytes)?)?,
            templates: area(template_ends, cursor.take(template_bytes)?)?,
            specs: area(spec_ends, cursor.take(spec_bytes)?)?,
            payloads: area(payload_ends, cursor.rest())?,
        })
    }
}

/// Texts by number: all of them shared, or made when asked for.
enum Texts<'v, 'a> {
    Shared(Vec<Name>),
    Single(&'v View<'a>),
}

impl<'v, 'a> Texts<'v, 'a> {
    fn shared(view: &View<'a>) -> Result<Self, Malformed> {
        let numbers = 0..view.strings.count();
        let texts = numbers.map(|n| utf8(view.strings.item(n)?).map(Name::from));
        texts.collect::<Result<_, _>>().map(Self::Shared)
    }

    fn single(view: &'v View<'a>) -> Self {
        Self::Single(view)
    }

    fn get(&mut self, number: usize) -> Result<Name, Malformed> {
        match self {
            Self::Shared(texts) => texts.get(number).cloned().ok_or(Malformed("submitted: text")),
            Self::Single(view) => utf8(view.strings.item(number)?).map(Name::from),
        }
    }
}

fn template(bytes: &[u8], texts: &mut Texts<'_, '_>) -> Result<TaskSpec, Malformed> {
    let mut cursor = Cursor::new(bytes);
    let job = texts.get(cursor.number()?)?;
    let priority = priority(cursor.byte()?)?;
    let tag = cursor.option()?.map(|n| texts.get(n)).transpose()?;
    let source = cursor.option()?.map(|n| texts.get(n)).transpose()?;
    let (timeout_s, lease_ms) = (cursor.number()?, cursor.number()?);
    let (max_attempts, max_crashes) = (cursor.byte()?, cursor.byte()?);
    let (base_ms, cap_ms) = (cursor.number()?, cursor.number()?);
    let jitter = jitter(cursor.byte()?)?;
    let count: usize = cursor.number()?;
    let mut affinity = cursor.reserve(count);
    for _ in 0..count {
        affinity.push(AffinityKey { key: texts.get(cursor.number()?)?, weight: cursor.byte()? });
    }
    cursor.end()?;
    Ok(TaskSpec {
        id: None,
        job,
        priority,
        tag,
        payload: Blob::default(),
        affinity,
        source,
        meta: None,
        timeout_s,
        lease_ms,
        max_attempts,
        max_crashes,
        backoff: Backoff { base_ms, cap_ms, jitter },
        not_before: WallMs(0),
        traceparent: None,
        content: None,
        element: None,
    })
}

/// The rest of a spec, after its template number.
fn read_spec(
    spec: &mut Cursor<'_>,
    task: &mut TaskSpec,
    texts: &mut Texts<'_, '_>,
) -> Result<(), Malformed> {
    let flags = spec.byte()?;
    task.payload.encoding = encoding(flags & 3)?;
    if flags & !HAS_CONTENT >= HAS_TRACE << 1 {
        return Err(Malformed("submitted: flags"));
    }
    if flags & HAS_ID != 0 {
        task.id = Some(spec.text()?.into());
    }
    if flags & HAS_NOT_BEFORE != 0 {
        task.not_before = WallMs(spec.varint()?);
    }
    if flags & HAS_META != 0 {
        task.meta = Some(texts.get(spec.number()?)?);
    }
    if flags & HAS_TRACE != 0 {
        task.traceparent = Some(spec.text()?.into());
    }
    if flags & HAS_CONTENT != 0 {
        task.content = Some(Hash128([spec.u64()?, spec.u64()?]));
    }
    spec.end()
}

/// Byte of an encoding.
#[must_use]
pub fn encoding_byte(encoding: Encoding) -> u8 {
    match encoding {
        Encoding::Text => 0,
        Encoding::Json => 1,
        Encoding::Base64 => 2,
    }
}

/// Encoding of a byte.
///
/// # Errors
/// Unknown.
pub fn encoding(byte: u8) -> Result<Encoding, Malformed> {
    match byte {
        0 => Ok(Encoding::Text),
        1 => Ok(Encoding::Json),
        2 => Ok(Encoding::Base64),
        3.. => Err(Malformed("encoding")),
    }
}

/// Byte of a jitter.
#[must_use]
pub fn jitter_byte(jitter: Jitter) -> u8 {
    match jitter {
        Jitter::Full => 0,
        Jitter::None => 1,
    }
}

/// Jitter of a byte.
///
/// # Errors
/// Unknown.
pub fn jitter(byte: u8) -> Result<Jitter, Malformed> {
    match byte {
        0 => Ok(Jitter::Full),
        1 => Ok(Jitter::None),
        2.. => Err(Malformed("jitter")),
    }
}

/// Priority of a byte.
///
/// # Errors
/// Outside 1…9.
pub fn priority(byte: u8) -> Result<Priority, Malformed> {
    Priority::new(u64::from(byte)).ok_or(Malformed("priority"))
}

const _: () = assert!(HAS_ID > 3, "two bits are the encoding");
