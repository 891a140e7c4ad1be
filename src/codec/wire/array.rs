//! An array as sent: a task object with the member `array` → [`ArrayInput`].

use crate::codec::json::{Fields, Raw};
use crate::codec::wire::field::{self, Rules, set};
use crate::codec::wire::task;
use crate::model::array::{ArrayInput, Span, payload_bytes, render};
use crate::model::id::Name;
use crate::model::limits;
use crate::model::reject::{Code, Reject};
use crate::model::task::{Blob, Encoding};
use serde::de::IgnoredAny;

const FIELDS: &[&str] = &["from", "to", "step", "payloadTemplate", "encoding", "id"];
/// What belongs to a single task only.
const SINGLE: &[&str] = &["id", "payload", "encoding"];

/// The member that makes an item an array.
#[must_use]
pub fn member<'a>(fields: &Fields<'a>) -> Option<Raw<'a>> {
    fields.get("array").filter(|raw| !raw.is_null())
}

/// Reads an array; `array` is the member of that name in `fields`.
///
/// # Errors
/// The code and field of the first rule it breaks.
pub fn parse(
    fields: &Fields<'_>,
    array: Raw<'_>,
    job: Option<&Name>,
    rules: &Rules,
) -> Result<ArrayInput, Reject> {
    if let Some(single) = SINGLE.iter().find(|name| fields.get(name).is_some()) {
        let detail = format!("{single} is of a single task; an array has its own in `array`");
        return Err(Reject::field(*single, detail));
    }
    let mut parts = Parts::default();
    for (key, raw) in field::nested("array", array)?.iter() {
        parts.field(key, raw, rules)?;
    }
    let (span, payload) = (parts.span(rules)?, parts.payload(rules)?);
    let mut task = task::parse(fields, job, rules)?;
    task.payload = payload;
    check_size(&task.payload, &span, rules.payload_bytes_max)?;
    check_json(&task.payload, span.from)?;
    Ok(ArrayInput { task, span, id: parts.id })
}

#[derive(Default)]
struct Parts {
    from: Option<u64>,
    to: Option<u64>,
    step: Option<u64>,
    template: Option<String>,
    encoding: Option<Encoding>,
    id: Option<Name>,
}

impl Parts {
    fn field(&mut self, key: &str, raw: Raw<'_>, rules: &Rules) -> Result<(), Reject> {
        const VALUE_MAX: u64 = limits::ARRAY_VALUE_MAX;
        match key {
            "from" => set(&mut self.from, raw, |r| field::integer("array.from", r, 0, VALUE_MAX)),
            "to" => set(&mut self.to, raw, |r| field::integer("array.to", r, 0, VALUE_MAX)),
            "step" => set(&mut self.step, raw, |r| field::integer("array.step", r, 1, VALUE_MAX)),
            "payloadTemplate" => set(&mut self.template, raw, |r| {
                field::string("array.payloadTemplate", r).map(std::borrow::Cow::into_owned)
            }),
            "encoding" => set(&mut self.encoding, raw, |r| {
                match field::string("array.encoding", r)?.as_ref() {
                    "text" => Ok(Encoding::Text),
                    "json" => Ok(Encoding::Json),
                    _ => Err(Reject::field("array.encoding", "encoding must be text or json")),
                }
            }),
            "id" => set(&mut self.id, raw, id),
            _ if rules.lenient => Ok(()),
            other => Err(field::unknown(other, FIELDS)),
        }
    }

    fn span(&self, rules: &Rules) -> Result<Span, Reject> {
        let (from, step) = (self.from.unwrap_or(0), self.step.unwrap_or(1));
        let to = self.to.ok_or_else(|| Reject::field("array.to", "array.to is required"))?;
        let ahead = to.checked_sub(from).ok_or_else(|| {
            Reject::field("array.to", "array.to must not be below array.from") //
        })?;
        let count = ahead / step + 1;
        if count > rules.array_max {
            let detail = format!("the array has {count} elements; at most {}", rules.array_max);
            return Err(Reject::field("array.to", detail));
        }
        Ok(Span { from, step, count })
    }

    fn payload(&mut self, rules: &Rules) -> Result<Blob, Reject> {
        let bytes = self.template.take().unwrap_or_default().into_bytes();
        let max = rules.payload_bytes_max;
        if bytes.len() > max {
            let detail = format!("payloadTemplate has {} B; at most {max}", bytes.len());
            return Err(Reject::new(Code::PayloadTooLarge, detail).on("array.payloadTemplate"));
        }
        Ok(Blob { encoding: self.encoding.unwrap_or_default(), bytes })
    }
}

fn id(raw: Raw<'_>) -> Result<Name, Reject> {
    let id = field::name("array.id", raw)?;
    if id.len() > limits::ARRAY_ID_BYTES_MAX {
        return Err(Reject::field("array.id", "array.id must have 1..64 bytes"));
    }
    Ok(id)
}

/// The payload of an element is a payload: the longest, which is that of the last, must be one.
fn check_size(payload: &Blob, span: &Span, max: usize) -> Result<(), Reject> {
    let last = span.value(span.count - 1);
    let bytes = payload_bytes(&payload.bytes, last);
    if bytes <= max as u64 {
        return Ok(());
    }
    let detail = format!("the payload of element {last} has {bytes} B; at most {max}");
    Err(Reject::new(Code::PayloadTooLarge, detail).on("array.payloadTemplate"))
}

/// The text of the first element must be JSON where that is claimed.
fn check_json(payload: &Blob, first: u64) -> Result<(), Reject> {
    let sound = payload.encoding != Encoding::Json
        || serde_json::from_slice::<IgnoredAny>(&render(&payload.bytes, first)).is_ok();
    if sound {
        return Ok(());
    }
    let detail = format!("payloadTemplate is no JSON with the value {first} in it");
    Err(Reject::field("array.payloadTemplate", detail).hint("or send encoding text"))
}

#[cfg(test)]
mod tests;
