//! Workers: registration in, display out.

use crate::codec::json::{Fields, Raw};
use crate::codec::wire::consume::{endpoint, warm};
use crate::codec::wire::field::{self, Rules, set};
use crate::codec::wire::out::Out;
use crate::model::id::Name;
use crate::model::limits;
use crate::model::reject::Reject;
use crate::model::worker::WorkerView;

/// The body of `POST /kwq/workers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Worker name.
    pub worker: Name,
    /// Endpoint.
    pub endpoint: Option<Name>,
    /// Slots.
    pub slots: Option<u32>,
    /// Version.
    pub version: Option<Name>,
    /// Keys it holds.
    pub warm: Option<Vec<Name>>,
}

const FIELDS: &[&str] = &["worker", "endpoint", "slots", "version", "affinity"];

/// Reads a registration.
///
/// # Errors
/// The code and field of the first rule it breaks.
pub fn parse(fields: &Fields<'_>, rules: &Rules) -> Result<Registration, Reject> {
    let (mut worker, mut out) = (None, (None, None, None, None));
    for (key, raw) in fields.iter() {
        match key {
            "worker" => set(&mut worker, raw, |r| field::name("worker", r))?,
            "endpoint" => set(&mut out.0, raw, endpoint)?,
            "slots" => {
                set(&mut out.1, raw, |r| field::narrow("slots", r, 1, limits::SLOTS_MAX))?;
            }
            "version" => set(&mut out.2, raw, version)?,
            "affinity" => set(&mut out.3, raw, |r| warm(r, rules))?,
            _ if rules.lenient => {}
            other => return Err(field::unknown(other, FIELDS)),
        }
    }
    let worker = worker.ok_or_else(|| Reject::field("worker", "worker is required"))?;
    let (endpoint, slots, version, warm) = out;
    Ok(Registration { worker, endpoint, slots, version, warm })
}

fn version(raw: Raw<'_>) -> Result<Name, Reject> {
    field::bounded("version", raw, limits::VERSION_BYTES_MAX)
}

/// Reads the body of `drain`: true unless it says otherwise.
///
/// # Errors
/// The code and field of the first rule it breaks.
pub fn parse_drain(fields: &Fields<'_>, rules: &Rules) -> Result<bool, Reject> {
    let mut drain = None;
    for (key, raw) in fields.iter() {
        match key {
            "drain" => set(&mut drain, raw, |r| field::boolean("drain", r))?,
            _ if rules.lenient => {}
            other => return Err(field::unknown(other, &["drain"])),
        }
    }
    Ok(drain.unwrap_or(true))
}

/// A worker; `named` adds the tasks it holds.
pub fn view(out: &mut Out, worker: &WorkerView, named: bool) {
    out.open();
    out.str("worker", &worker.worker);
    out.opt_str("endpoint", worker.endpoint.as_deref());
    out.str("state", worker.state.name());
    if let Some(slots) = worker.slots {
        out.num("slots", slots);
    }
    out.opt_str("version", worker.version.as_deref());
    out.num("leases", worker.leases);
    if let Some(tally) = &worker.tally {
        out.num("completed", tally.completed);
        out.num("failed", tally.failed);
        out.num("crashed", tally.crashed);
    }
    out.stamp("firstSeen_ts", worker.first_seen);
    out.stamp("lastSeen_ts", worker.last_seen);
    out.list("affinity");
    worker.affinity.iter().for_each(|key| out.text(key));
    out.close_list();
    if named {
        out.list("held");
        for held in worker.held.iter().take(limits::PAGE_MAX) {
            out.open();
            out.shown("ref", held.reference);
            out.str("groupId", &held.job);
            out.num("attempt", held.attempt);
            out.stamp("allocated_ts", held.allocated);
            out.close();
        }
        out.close_list();
    }
    out.close();
}

#[cfg(test)]
mod tests;
