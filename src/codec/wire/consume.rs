//! Consume and heartbeat: bodies in, hand-outs and renewals out.

use crate::codec::json::{Fields, Raw};
use crate::codec::wire::field::{self, Rules, set};
use crate::codec::wire::out::Out;
use crate::codec::wire::report::{self, Sent};
use crate::codec::wire::task;
use crate::codec::wire::task_out::{self, Holder};
use crate::model::affinity::AffinityMode;
use crate::model::command::ALL_LEVELS;
use crate::model::id::Name;
use crate::model::lease::LeaseToken;
use crate::model::limits;
use crate::model::reject::Reject;
use crate::model::reply::CancelNotice;
use crate::model::report::ReportOutcome;
use crate::model::view::HandOut;

/// The body of `POST /kwq/consume`.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// Worker name.
    pub worker: Name,
    /// Endpoint.
    pub endpoint: Option<Name>,
    /// Tasks at most.
    pub max: usize,
    /// Longest wait, ms; `None` = the node's default.
    pub wait_ms: Option<u64>,
    /// Stop before this much expected run time.
    pub target_ms: Option<u64>,
    /// Payload bytes at most.
    pub max_bytes: u64,
    /// Lease asked for, ms.
    pub lease_ms: Option<u32>,
    /// Levels allowed, bit `Priority::index`.
    pub levels: u16,
    /// Jobs allowed, empty = all.
    pub jobs: Vec<Name>,
    /// Keys the worker holds.
    pub warm: Vec<Name>,
    /// Use of affinity.
    pub mode: AffinityMode,
    /// Reports; `None` when the field was not sent.
    pub done: Option<Vec<Sent>>,
    /// Tokens to renew; `None` when the field was not sent.
    pub leases: Option<Vec<Token>>,
}

/// A token of a list: `Err` holds a text that is none of ours.
pub type Token = Result<LeaseToken, String>;

const FIELDS: &[&str] = &[
    "worker",
    "endpoint",
    "max",
    "waitMs",
    "targetMs",
    "maxBytes",
    "leaseMs",
    "leases",
    "priorities",
    "jobs",
    "affinity",
    "affinityMode",
    "done",
];

#[derive(Default)]
struct Parts {
    worker: Option<Name>,
    endpoint: Option<Name>,
    max: Option<usize>,
    wait_ms: Option<u64>,
    target_ms: Option<u64>,
    max_bytes: Option<u64>,
    lease_ms: Option<u32>,
    levels: Option<u16>,
    jobs: Option<Vec<Name>>,
    warm: Option<Vec<Name>>,
    mode: Option<AffinityMode>,
    done: Option<Vec<Sent>>,
    leases: Option<Vec<Token>>,
}

/// Reads a consume.
///
/// # Errors
/// The code and field of the first rule it breaks.
pub fn parse(fields: &Fields<'_>, rules: &Rules) -> Result<Body, Reject> {
    let mut parts = Parts::default();
    for (key, raw) in fields.iter() {
        parts.field(key, raw, rules)?;
    }
    Ok(Body {
        worker: required_worker(parts.worker)?,
        endpoint: parts.endpoint,
        max: parts.max.unwrap_or(1),
        wait_ms: parts.wait_ms,
        target_ms: parts.target_ms,
        max_bytes: parts.max_bytes.unwrap_or(limits::CONSUME_BYTES),
        lease_ms: parts.lease_ms,
        levels: parts.levels.filter(|bits| *bits != 0).unwrap_or(ALL_LEVELS),
        jobs: parts.jobs.unwrap_or_default(),
        warm: parts.warm.unwrap_or_default(),
        mode: parts.mode.unwrap_or_default(),
        done: parts.done,
        leases: parts.leases,
    })
}

impl Parts {
    fn field(&mut self, key: &str, raw: Raw<'_>, rules: &Rules) -> Result<(), Reject> {
        match key {
            "worker" => set(&mut self.worker, raw, |r| field::name("worker", r)),
            "endpoint" => set(&mut self.endpoint, raw, endpoint),
            "max" => set(&mut self.max, raw, |r| {
                let max = field::narrow::<u16>("max", r, 1, 1_000)?;
                Ok(usize::from(max))
            }),
            "waitMs" => {
                set(&mut self.wait_ms, raw, |r| field::integer("waitMs", r, 0, limits::WAIT_MS_MAX))
            }
            "targetMs" => set(&mut self.target_ms, raw, |r| {
                field::integer("targetMs", r, 1, limits::TARGET_MS_MAX)
            }),
            "maxBytes" => set(&mut self.max_bytes, raw, |r| {
                field::integer("maxBytes", r, 1, limits::CONSUME_BYTES_MAX)
            }),
            "leaseMs" => set(&mut self.lease_ms, raw, task::lease_ms),
            "priorities" => set(&mut self.levels, raw, levels),
            "jobs" => set(&mut self.jobs, raw, jobs),
            "affinity" => set(&mut self.warm, raw, |r| warm(r, rules)),
            "affinityMode" => set(&mut self.mode, raw, mode),
            "done" => set(&mut self.done, raw, |r| report::parse_done(r, rules)),
            "leases" => set(&mut self.leases, raw, leases),
            "labels" => Err(field::later("labels")),
            _ if rules.lenient => Ok(()),
            other => Err(field::unknown(other, FIELDS)),
        }
    }
}

fn required_worker(worker: Option<Name>) -> Result<Name, Reject> {
    worker.ok_or_else(|| Reject::field("worker", "worker is required"))
}

/// A worker's endpoint: shown, never dialled.
///
/// # Errors
/// `invalid_field`.
pub fn endpoint(raw: Raw<'_>) -> Result<Name, Reject> {
    field::bounded("endpoint", raw, limits::ENDPOINT_BYTES_MAX)
}

fn levels(raw: Raw<'_>) -> Result<u16, Reject> {
    let list = field::list("priorities", raw, limits::CONSUME_MAX, |element| {
        field::priority(field::scalar("priorities", element)?).map_err(|r| r.on("priorities"))
    })?;
    Ok(list.iter().fold(0, |bits, p| bits | 1 << p.index()))
}

fn jobs(raw: Raw<'_>) -> Result<Vec<Name>, Reject> {
    field::list("jobs", raw, limits::CONSUME_JOBS_MAX, |element| {
        field::name("jobs", field::scalar("jobs", element)?)
    })
}

/// Keys a worker says it holds; weights are ignored.
///
/// # Errors
/// `invalid_field`.
pub fn warm(raw: Raw<'_>, rules: &Rules) -> Result<Vec<Name>, Reject> {
    let keys = field::affinity(raw, limits::AFFINITY_WORKER_MAX, rules)?;
    Ok(keys.into_iter().map(|k| k.key).collect())
}

fn mode(raw: Raw<'_>) -> Result<AffinityMode, Reject> {
    match field::string("affinityMode", raw)?.as_ref() {
        "prefer" => Ok(AffinityMode::Prefer),
        "any" => Ok(AffinityMode::Any),
        "only" | "claim" => Err(field::later("affinityMode")),
        _ => Err(Reject::field("affinityMode", "affinityMode must be prefer or any")),
    }
}

fn leases(raw: Raw<'_>) -> Result<Vec<Token>, Reject> {
    field::list("leases", raw, limits::HEARTBEAT_LEASES_MAX, |element| {
        let text = field::token("leases", field::scalar("leases", element)?)?;
        Ok(LeaseToken::decode(&text).ok_or_else(|| text.into_owned()))
    })
}

/// The body of `POST /kwq/heartbeat`.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// Worker name.
    pub worker: Name,
    /// Exactly these; `None` = all of the worker's.
    pub leases: Option<Vec<Token>>,
    /// Keys the worker holds, if it says so.
    pub warm: Option<Vec<Name>>,
}

/// Reads a heartbeat.
///
/// # Errors
/// The code and field of the first rule it breaks.
pub fn parse_heartbeat(fields: &Fields<'_>, rules: &Rules) -> Result<Heartbeat, Reject> {
    let (mut worker, mut tokens, mut keys) = (None, None, None);
    for (key, raw) in fields.iter() {
        match key {
            "worker" => set(&mut worker, raw, |r| field::name("worker", r))?,
            "leases" => set(&mut tokens, raw, leases)?,
            "affinity" => set(&mut keys, raw, |r| warm(r, rules))?,
            "progress" => return Err(field::later("progress")),
            _ if rules.lenient => {}
            other => return Err(field::unknown(other, &["worker", "leases", "affinity"])),
        }
    }
    Ok(Heartbeat { worker: required_worker(worker)?, leases: tokens, warm: keys })
}

/// What a heartbeat answers, as borrowed parts.
#[derive(Clone, Copy, Debug)]
pub struct Renewed<'a> {
    /// Leases renewed.
    pub renewed: usize,
    /// Tokens that act no more, as sent.
    pub lost: &'a [String],
    /// Stop these.
    pub cancel: &'a [CancelNotice],
}

/// What a consume answers, as borrowed parts.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Hand-outs, in order.
    pub tasks: &'a [HandOut],
    /// Verdicts with the tokens they answer, in order.
    pub done: &'a [(Option<String>, ReportOutcome)],
    /// Present when `leases` was sent.
    pub renewed: Option<Renewed<'a>>,
    /// Beat this often, ms.
    pub heartbeat_ms: u64,
    /// Stop asking.
    pub drain: bool,
}

/// The body of a consume that answers 200.
#[must_use]
pub fn answer(answer: &Answer<'_>, holder: Holder<'_>) -> Vec<u8> {
    let payload: usize = answer.tasks.iter().map(|t| t.spec.payload.bytes.len() * 5 / 4).sum();
    let size = 96 + payload + answer.tasks.len() * 800 + answer.done.len() * 160;
    let mut out = Out::with_capacity(size);
    out.open();
    out.list("tasks");
    answer.tasks.iter().for_each(|task| task_out::hand_out(&mut out, task, holder));
    out.close_list();
    out.list("done");
    for (lease, verdict) in answer.done {
        report::verdict(&mut out, lease.as_deref(), verdict);
    }
    out.close_list();
    if let Some(renewed) = answer.renewed {
        renewal(&mut out, renewed);
    }
    out.num("heartbeatMs", answer.heartbeat_ms);
    out.flag("drain", answer.drain);
    out.close();
    out.into_bytes()
}

fn renewal(out: &mut Out, renewed: Renewed<'_>) {
    out.count("renewed", renewed.renewed);
    out.list("lost");
    renewed.lost.iter().for_each(|token| out.text(token));
    out.close_list();
    out.list("cancel");
    for notice in renewed.cancel {
        out.open();
        out.str("lease", &notice.token.encode());
        out.shown("ref", notice.reference);
        out.str("reason", &notice.reason);
        out.close();
    }
    out.close_list();
}

/// The body of a heartbeat.
#[must_use]
pub fn heartbeat(renewed: Renewed<'_>, heartbeat_ms: u64, lease_ms: u32, drain: bool) -> Vec<u8> {
    let mut out = Out::with_capacity(128);
    out.open();
    renewal(&mut out, renewed);
    out.num("heartbeatMs", heartbeat_ms);
    out.num("leaseMs", lease_ms);
    out.flag("drain", drain);
    out.close();
    out.into_bytes()
}

#[cfg(test)]
mod tests;
