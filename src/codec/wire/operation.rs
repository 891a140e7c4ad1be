//! Bulk work on dead letters: filter in, operation out.

use crate::codec::json::{Fields, Raw};
use crate::codec::wire::field::{self, Rules, set};
use crate::codec::wire::out::Out;
use crate::model::id::Name;
use crate::model::limits;
use crate::model::operation::Operation;
use crate::model::priority::Priority;
use crate::model::reference::TaskRef;
use crate::model::reject::{Code, Reject};
use crate::model::tags::{TagPart, split};
use crate::model::time::WallMs;
use crate::model::view::TaskQuery;

/// The body of `POST /kwq/dlq/redrive` and `/kwq/dlq/purge`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bulk {
    /// The filter, but for `refs`.
    pub query: TaskQuery,
    /// Only these; empty = no condition.
    pub refs: Vec<TaskRef>,
    /// Count only.
    pub dry_run: bool,
    /// Priority to set.
    pub priority: Option<Priority>,
}

const FIELDS: &[&str] = &["filter", "all", "dryRun", "set"];
const FILTER: &[&str] =
    &["job", "id", "ref", "priority", "tag", "tagAny", "class", "worker", "since", "until"];

/// Reads a body; `set` is a field of a redrive only.
///
/// # Errors
/// The code and field of the first rule it breaks; `empty_filter`.
pub fn parse(fields: &Fields<'_>, redrive: bool, rules: &Rules) -> Result<Bulk, Reject> {
    let mut bulk = Bulk::default();
    let (mut all, mut dry_run) = (None, None);
    let known = if redrive { FIELDS } else { &FIELDS[..3] };
    for (key, raw) in fields.iter() {
        match key {
            "filter" if raw.is_null() => {}
            "filter" => read_filter(&mut bulk, &field::nested("filter", raw)?, rules)?,
            "all" => set(&mut all, raw, |r| field::boolean("all", r))?,
            "dryRun" => set(&mut dry_run, raw, |r| field::boolean("dryRun", r))?,
            "set" if redrive && raw.is_null() => {}
            "set" if redrive => bulk.priority = read_set(raw, rules)?,
            _ if rules.lenient => {}
            other => return Err(field::unknown(other, known)),
        }
    }
    bulk.dry_run = dry_run.unwrap_or(false);
    if bulk.refs.is_empty() && bulk.query == TaskQuery::default() && all != Some(true) {
        let detail = "the filter is empty, so it would match every dead task";
        let hint = "name what is meant, or say \"all\": true";
        return Err(Reject::new(Code::EmptyFilter, detail).on("filter").hint(hint));
    }
    Ok(bulk)
}

/// Reads `{priority?}`.
///
/// # Errors
/// The code and field of the first rule it breaks.
pub fn read_set(raw: Raw<'_>, rules: &Rules) -> Result<Option<Priority>, Reject> {
    let mut priority = None;
    for (key, raw) in field::nested("set", raw)?.iter() {
        match key {
            "priority" => set(&mut priority, raw, |r| {
                field::priority(r).map_err(|reject| reject.on("set.priority"))
            })?,
            _ if rules.lenient => {}
            other => return Err(field::unknown(other, &["priority"])),
        }
    }
    Ok(priority)
}

fn read_filter(bulk: &mut Bulk, fields: &Fields<'_>, rules: &Rules) -> Result<(), Reject> {
    let query = &mut bulk.query;
    for (key, raw) in fields.iter() {
        match key {
            "job" => set(&mut query.job, raw, |r| field::name("job", r))?,
            "id" => set(&mut query.id, raw, |r| field::name("id", r))?,
            "ref" if raw.is_null() => {}
            "ref" => bulk.refs = references(raw)?,
            "priority" => set(&mut query.priority, raw, field::priority)?,
            "tag" if raw.is_null() => {}
            "tag" => query.tags = tags("tag", raw)?,
            "tagAny" if raw.is_null() => {}
            "tagAny" => query.tags_any = tags("tagAny", raw)?,
            "class" => {
                set(&mut query.class, raw, |r| {
                    field::bounded("class", r, limits::CLASS_BYTES_MAX)
                })?;
            }
            "worker" => set(&mut query.worker, raw, |r| field::name("worker", r))?,
            "since" if raw.is_null() => {}
            "since" => query.since = stamp("since", raw)?,
            "until" if raw.is_null() => {}
            // Nothing was submitted before 1, and 0 would mean without bound.
            "until" => query.until = WallMs(stamp("until", raw)?.0.max(1)),
            _ if rules.lenient => {}
            other => return Err(field::unknown(other, FILTER)),
        }
    }
    Ok(())
}

fn stamp(field: &'static str, raw: Raw<'_>) -> Result<WallMs, Reject> {
    field::integer(field, raw, 0, i64::MAX.unsigned_abs()).map(WallMs)
}

fn references(raw: Raw<'_>) -> Result<Vec<TaskRef>, Reject> {
    field::list("ref", raw, limits::FILTER_REFS_MAX, |element| {
        let text = field::string("ref", field::scalar("ref", element)?)?;
        let broken = || Reject::field("ref", "ref must hold references of tasks, e.g. 5-0-1742");
        TaskRef::parse(&text).ok_or_else(broken)
    })
}

fn tags(field: &'static str, raw: Raw<'_>) -> Result<Vec<Name>, Reject> {
    let tags = field::list(field, raw, limits::TAGS_MAX, |element| {
        let text = field::string(field, field::scalar(field, element)?)?;
        Ok(match split(&text) {
            TagPart::Bare("") => None,
            TagPart::Bare(bare) => Some(Name::from(bare)),
            TagPart::Pair(key, value) => Some(Name::from(format!("{key}:{value}"))),
        })
    })?;
    Ok(tags.into_iter().flatten().collect())
}

/// The filter as an operation shows it.
#[must_use]
pub fn filter_text(bulk: &Bulk) -> Name {
    let query = &bulk.query;
    let mut out = Out::with_capacity(64 + bulk.refs.len() * 20);
    out.open();
    out.opt_str("job", query.job.as_deref());
    out.opt_str("id", query.id.as_deref());
    if !bulk.refs.is_empty() {
        out.list("ref");
        bulk.refs.iter().for_each(|reference| out.text(&reference.to_string()));
        out.close_list();
    }
    if let Some(priority) = query.priority {
        out.num("priority", priority.get());
    }
    for (name, tags) in [("tag", &query.tags), ("tagAny", &query.tags_any)] {
        if !tags.is_empty() {
            out.list(name);
            tags.iter().for_each(|tag| out.text(tag));
            out.close_list();
        }
    }
    out.opt_str("class", query.class.as_deref());
    out.opt_str("worker", query.worker.as_deref());
    out.stamp("since", query.since);
    out.stamp("until", query.until);
    out.close();
    String::from_utf8_lossy(&out.into_bytes()).as_ref().into()
}

/// An operation.
pub fn view(out: &mut Out, operation: &Operation) {
    out.open();
    out.shown("op", operation.op);
    out.str("kind", operation.spec.kind.word());
    out.str("state", operation.state.name());
    out.key("filter");
    out.raw(operation.spec.filter.as_bytes());
    if let Some(priority) = operation.spec.priority {
        out.object("set");
        out.num("priority", priority.get());
        out.close();
    }
    out.num("matched", operation.matched);
    out.num("done", operation.done);
    out.num("skipped", operation.skipped);
    out.stamp("created_ts", operation.created);
    out.stamp("ended_ts", operation.ended);
    out.str("by", &operation.spec.by);
    out.close();
}

/// What a dry run answers.
pub fn counted(out: &mut Out, matched: u64, skipped: u64) {
    out.open();
    out.num("matched", matched);
    out.num("skipped", skipped);
    out.close();
}

#[cfg(test)]
mod tests;
