//! The clients of a run: the world they share, and the submitters. They go on through every fault
//! and follow the server to its new address.

use crate::history::{Entry, History, Submit};
use crate::http::{Answer, Client, NoAnswer, Verdict, verdict};
use crate::util::{Rng, now_us, pause_ms};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Jobs of the load.
pub(crate) const JOBS: [&str; 3] = ["alpha", "beta", "gamma"];

/// Submits, workers misbehave.
pub(crate) const RUN: u8 = 0;
/// No new work, unknown submits are settled, workers are honest: everything must end.
pub(crate) const HEAL: u8 = 1;
/// Threads end.
pub(crate) const STOP: u8 = 2;

/// What a thread is doing right now, for counting what a kill cuts off.
#[derive(Clone, Copy)]
pub(crate) enum Doing {
    Submit = 0,
    Consume = 1,
    Report = 2,
}

/// Shared by all clients of a run.
#[derive(Default)]
pub(crate) struct World {
    addrs: Mutex<Vec<SocketAddr>>,
    /// What was seen.
    pub(crate) history: History,
    /// `RUN`, `HEAL`, `STOP`.
    pub(crate) mode: AtomicU8,
    flying: [AtomicUsize; 3],
    /// The slowest of these calls, microseconds, answered or not.
    pub(crate) slowest: AtomicU64,
    /// Acknowledged tasks and accepted ends, for the throttle and the printed line.
    pub(crate) acked: AtomicUsize,
    pub(crate) ended: AtomicUsize,
    /// Refusals with 507 `disk_full`.
    pub(crate) full: AtomicUsize,
    /// Acknowledged calls of any kind.
    pub(crate) operations: AtomicUsize,
    /// Answers nobody may give.
    pub(crate) odd: Mutex<Vec<String>>,
    /// Above this many open tasks submitters send single tasks only, above four times it none.
    pub(crate) backlog: AtomicUsize,
    /// A client waits so long for an answer, ms.
    pub(crate) patience_ms: AtomicU64,
    serial: AtomicUsize,
    /// Clients that looked for an address.
    turn: AtomicUsize,
}

impl World {
    /// Where the server is, if it is anywhere; the first of several.
    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        self.addrs().first().copied()
    }

    fn addrs(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.addrs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the clients where the server is.
    pub(crate) fn set_addr(&self, addr: Option<SocketAddr>) {
        self.set_addrs(addr.into_iter().collect());
    }

    /// Tells them that there are several: each keeps to one of them.
    pub(crate) fn set_addrs(&self, addrs: Vec<SocketAddr>) {
        *self.addrs() = addrs;
    }

    /// The mode.
    pub(crate) fn mode(&self) -> u8 {
        self.mode.load(Ordering::SeqCst)
    }

    /// Runs a call that counts as in flight.
    pub(crate) fn flying<T>(&self, doing: &[Doing], call: impl FnOnce() -> T) -> T {
        let slots = || doing.iter().filter_map(|d| self.flying.get(*d as usize));
        for slot in slots() {
            slot.fetch_add(1, Ordering::SeqCst);
        }
        let t0 = now_us();
        let out = call();
        self.slowest.fetch_max(now_us() - t0, Ordering::SeqCst);
        for slot in slots() {
            slot.fetch_sub(1, Ordering::SeqCst);
        }
        out
    }

    /// Calls in flight: submits, consumes, reports.
    pub(crate) fn in_flight(&self) -> [usize; 3] {
        [0, 1, 2].map(|i: usize| self.flying.get(i).map_or(0, |s| s.load(Ordering::SeqCst)))
    }

    /// A number never given before in this run.
    pub(crate) fn number(&self) -> usize {
        self.serial.fetch_add(1, Ordering::SeqCst)
    }

    /// Notes an answer nobody may give.
    pub(crate) fn odd(&self, what: String) {
        self.odd.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// Adds to a counter.
    pub(crate) fn add(counter: &AtomicUsize, n: usize) {
        counter.fetch_add(n, Ordering::SeqCst);
    }

    /// Keeps `client` at a present address of the server; `None` while it is away.
    pub(crate) fn connect(&self, client: &mut Option<Client>) -> bool {
        self.keep(client, || self.turn.fetch_add(1, Ordering::SeqCst))
    }

    /// Keeps `client` at the instance whose turn it is, as [`World::connect`].
    fn keep(&self, client: &mut Option<Client>, turn: impl FnOnce() -> usize) -> bool {
        let addrs = self.addrs().clone();
        if addrs.is_empty() {
            *client = None;
            pause_ms(5);
            return false;
        }
        if client.as_ref().is_none_or(|c| !addrs.contains(&c.addr())) {
            let patience_ms = self.patience_ms.load(Ordering::SeqCst);
            let addr = addrs.get(turn() % addrs.len()).copied();
            *client = addr.map(|addr| Client::with_timeout(addr, patience_ms));
        }
        true
    }

    /// Checks the status of an answer against what the routes of the load may say.
    pub(crate) fn judge(&self, what: &str, result: &Result<Answer, NoAnswer>) {
        let Ok(a) = result else { return };
        let allowed = matches!(a.status, 200 | 201 | 202 | 204 | 429 | 502 | 503 | 504 | 507)
            || (a.status == 409 && a.json()["code"] != "idempotency_key_reused");
        if !allowed {
            let body = String::from_utf8_lossy(&a.body);
            self.odd(format!("{what}: {} {body:.300}", a.status));
        }
        if a.status == 507 {
            Self::add(&self.full, 1);
        }
    }
}

/// One submit call, kept so that it can be repeated exactly.
struct Call {
    path: String,
    kind: &'static str,
    body: Vec<u8>,
    single: bool,
    tasks: Vec<Submit>,
}

/// A submitter until the mode is no longer `RUN`. It keeps to the instance of its number, not to
/// the one that is next: an instance without a submitter has no tasks of its own, because a task
/// stays where it was submitted.
pub(crate) fn submitter(world: &World, seed: u64, number: usize) {
    let mut rng = Rng::new(seed);
    let mut client = None;
    while world.mode() == RUN {
        let open = world.acked.load(Ordering::SeqCst);
        let open = open.saturating_sub(world.ended.load(Ordering::SeqCst));
        let limit = world.backlog.load(Ordering::SeqCst);
        if open > 4 * limit {
            pause_ms(10);
            continue;
        }
        if !world.keep(&mut client, || number) {
            continue;
        }
        // Above the limit single tasks only, so that a submit is in flight at every kill.
        let call = make(world, &mut rng, open > limit);
        send(world, &mut client, &call, true);
    }
}

fn make(world: &World, rng: &mut Rng, single: bool) -> Call {
    let dice = if single { 0 } else { rng.range(0, 100) };
    let count = match dice {
        0..=64 => 1,
        65..=93 => rng.range(2, 20),
        _ => rng.range(100, 1_000),
    };
    let job = JOBS.get(rng.index(JOBS.len())).copied().unwrap_or("alpha");
    let own_route = count > 1 && rng.chance(60);
    let mut tasks = Vec::new();
    let mut bodies = Vec::new();
    for _ in 0..count {
        let n = world.number();
        let pad = if rng.chance(5) { rng.range(500, 3_000) } else { rng.range(0, 80) };
        let payload = format!("p-{n}-{}", "x".repeat(usize::try_from(pad).expect("small")));
        let id = rng.chance(20).then(|| format!("trade-{n}"));
        let priority = u8::try_from(rng.range(1, 10)).expect("one digit");
        let mut body = json!({"groupId": job, "priority": priority, "payload": payload,
            "tag": format!("book:{}", n % 7), "maxAttempts": rng.range(2, 4),
            "backoff": {"baseMs": 20, "capMs": 200, "jitter": "full"}});
        if let Some(id) = &id {
            body["id"] = json!(id);
        }
        bodies.push(body);
        let job = job.to_owned();
        let verdict = Verdict::Unknown;
        tasks.push(Submit { t0: 0, t1: 0, payload, job, priority, id, verdict, task: None });
    }
    let ndjson = own_route && rng.chance(30);
    let body = match (count, ndjson) {
        (1, _) => bodies.first().expect("one").to_string(),
        (_, true) => bodies.iter().map(|b| format!("{b}\n")).collect(),
        (_, false) => Value::Array(bodies).to_string(),
    };
    let kind = if ndjson { "application/x-ndjson" } else { "application/json" };
    let path = if own_route {
        format!("/kwq/jobs/{job}/tasks?results=all")
    } else {
        "/kwq/submit".to_owned()
    };
    Call { path, kind, body: body.into_bytes(), single: count == 1, tasks }
}

fn send(world: &World, client: &mut Option<Client>, call: &Call, count: bool) -> Verdict {
    let Some(http) = client.as_mut() else { return Verdict::Refused };
    // Sent once and without a key: a repeat of an unknown outcome could double work.
    let headers = vec![("Content-Type", call.kind)];
    let t0 = now_us();
    let result =
        world.flying(&[Doing::Submit], || http.call("POST", &call.path, &headers, &call.body));
    let t1 = now_us();
    world.judge("submit", &result);
    let whole = verdict(&result);
    let outcomes = match (&result, whole) {
        (Ok(answer), Verdict::Ok) if call.single => {
            vec![(Verdict::Ok, answer.header("kwq-ref").map(str::to_owned))]
        }
        (Ok(answer), Verdict::Ok) => items(&answer.json(), call),
        _ => vec![(whole, None); call.tasks.len()],
    };
    let mut entries = Vec::with_capacity(call.tasks.len());
    let mut acked = 0;
    for (i, task) in call.tasks.iter().enumerate() {
        let (verdict, reference) = outcomes.get(i).cloned().unwrap_or((Verdict::Ok, None));
        acked += usize::from(count && verdict == Verdict::Ok);
        entries.push(Entry::Submit(Submit { t0, t1, verdict, task: reference, ..task.clone() }));
    }
    world.history.extend(entries);
    World::add(&world.acked, acked);
    World::add(&world.operations, acked);
    if matches!(&result, Ok(a) if a.status >= 429) {
        pause_ms(20);
    }
    if matches!(result, Err(NoAnswer::NotSent)) {
        pause_ms(5);
    }
    whole
}

/// Outcome and reference of each item of a batch answer.
fn items(answer: &Value, call: &Call) -> Vec<(Verdict, Option<String>)> {
    let mut all = vec![(Verdict::Ok, None); call.tasks.len()];
    for (at, item) in answer["results"].as_array().into_iter().flatten().enumerate() {
        let place = match (item["i"].as_u64(), item["line"].as_u64()) {
            (Some(i), _) => usize::try_from(i).ok(),
            (None, Some(line)) => usize::try_from(line).ok().and_then(|l| l.checked_sub(1)),
            (None, None) => Some(at),
        };
        let Some(slot) = place.and_then(|p| all.get_mut(p)) else { continue };
        let code = item["code"].as_str().unwrap_or("");
        slot.0 = match item["outcome"].as_str() {
            Some("ok" | "duplicate") => Verdict::Ok,
            _ if matches!(code, "internal" | "log_unavailable" | "partition_unavailable") => {
                Verdict::Unknown
            }
            _ => Verdict::Refused,
        };
        slot.1 = item["ref"].as_str().map(str::to_owned);
    }
    all
}
