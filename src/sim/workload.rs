//! A closed-loop load of numbered tasks over raw connections: submit, consume, complete, in phases
//! or as whole life cycles. Every number is kept in the [`Tally`].
//!
//! Must not: parse more of an answer than it needs, or trust an answer it has not counted.

use crate::sim::keys::{Fits, Keys};
use crate::sim::report::{Latency, Quantiles, Stopwatch};
use crate::sim::tally::{Books, Tally};
use crate::sim::wire::{Reply, Wire, find};
use futures_util::future::try_join_all;
use serde::Serialize;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::sleep;

/// What is sent.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Server.
    pub addr: SocketAddr,
    /// Token.
    pub token: Option<String>,
    /// Job of the run; must be new.
    pub job: String,
    /// Tasks in all.
    pub tasks: u64,
    /// Tasks of one call.
    pub batch: u64,
    /// Connections, each a worker of its own.
    pub connections: usize,
    /// Bytes of a payload, at least 12.
    pub payload_bytes: usize,
    /// One-task calls (`POST /kwq/submit`, single reports) instead of batches.
    pub single: bool,
    /// Completions ride on the next consume.
    pub merged: bool,
    /// Affinity keys, one a task.
    pub keys: Keys,
    /// Of `tasks`, those that are pending before a life cycle begins, and still when it ends.
    pub depth: u64,
}

/// What a phase measured.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// Tasks that went through.
    pub tasks: u64,
    /// Wall time, s.
    pub seconds: f64,
    /// Tasks per second.
    pub per_second: f64,
    /// Calls that were refused and repeated.
    pub repeated: u64,
    /// Of one call.
    pub latency: Quantiles,
}

/// A run: state shared by its connections, all on one thread.
pub struct Run {
    plan: Plan,
    tally: RefCell<Tally>,
    /// Next number to submit.
    next: RefCell<u64>,
    /// Numbers to submit at present.
    goal: RefCell<u64>,
    latency: RefCell<Latency>,
    repeated: RefCell<u64>,
    moved: RefCell<u64>,
    /// Tokens by connection, in hand-out order.
    leases: RefCell<Vec<Vec<String>>>,
}

/// Empty answers in a row after which a drain is given up.
const EMPTY_MAX: u32 = 200;
/// Lease asked for: no task of a measured run may expire.
const LEASE_MS: u64 = 3_600_000;
/// Longest wait for the first hand-out after a restart.
const FIRST_WAIT: Duration = Duration::from_secs(60);
/// Longest wait for a quiet tracker.
const QUIET_WAIT: Duration = Duration::from_secs(300);
/// Repeats of one refused call.
const REPEATS_MAX: u32 = 2_000;

impl Run {
    /// A run that has not begun.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self {
            tally: RefCell::new(Tally::new(plan.tasks)),
            next: RefCell::new(0),
            goal: RefCell::new(plan.tasks),
            latency: RefCell::default(),
            repeated: RefCell::new(0),
            moved: RefCell::new(0),
            leases: RefCell::new(vec![Vec::new(); plan.connections]),
            plan,
        }
    }

    /// Points the rest of the run at another address: the server was started again.
    pub fn move_to(&mut self, addr: SocketAddr) {
        self.plan.addr = addr;
    }

    /// The books so far.
    #[must_use]
    pub fn books(&self, drained: bool) -> Books {
        self.tally.borrow().close(drained)
    }

    /// Submits everything.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses for good.
    pub async fn submit(&self) -> io::Result<Phase> {
        self.phase("submit", |connection| self.submit_loop(connection)).await
    }

    /// Submits the first `depth` tasks and waits until the tracker has them all, so that what
    /// follows is measured at that depth and undisturbed.
    ///
    /// # Errors
    /// As [`Self::submit`]; `TimedOut` when the tracker does not follow.
    pub async fn fill(&self) -> io::Result<()> {
        *self.goal.borrow_mut() = self.plan.depth;
        let filled = try_join_all((0..self.plan.connections).map(|c| self.submit_loop(c))).await;
        *self.goal.borrow_mut() = self.plan.tasks;
        filled?;
        let (watch, mut wire) = (Stopwatch::start(), self.wire());
        while watch.elapsed() < QUIET_WAIT {
            // Answered once everything acknowledged before is in the tracker.
            if wire.get("/kwq/stats/now?fresh=true").await?.status == 200 {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the tracker is still behind the fill"))
    }

    /// Takes `most` tasks, or all of them, and keeps their leases.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub async fn consume(&self, most: u64) -> io::Result<Phase> {
        self.phase("consume", |connection| self.consume_loop(connection, most)).await
    }

    /// Completes everything that is held.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub async fn complete(&self) -> io::Result<Phase> {
        self.phase("complete", |connection| self.complete_loop(connection)).await
    }

    /// Submits, takes and completes, call after call on each connection, until every task has gone
    /// through.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub async fn lifecycle(&self) -> io::Result<Phase> {
        self.phase("lifecycle", |connection| self.life_loop(connection)).await
    }

    /// Takes the first task after a restart, however long the server needs.
    ///
    /// # Errors
    /// Nothing was handed out within a minute.
    pub async fn first_hand_out(&self) -> io::Result<()> {
        let (watch, mut wire) = (Stopwatch::start(), self.wire());
        while watch.elapsed() < FIRST_WAIT {
            let taken = self.take(&mut wire, 0, &[], 0).await;
            if let Ok(leases) = taken
                && !leases.is_empty()
            {
                self.leases.borrow_mut()[0].extend(leases);
                return Ok(());
            }
            sleep(Duration::from_millis(1)).await;
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    async fn phase<F>(&self, name: &'static str, body: impl Fn(usize) -> F) -> io::Result<Phase>
    where
        F: Future<Output = io::Result<()>>,
    {
        *self.latency.borrow_mut() = Latency::default();
        *self.repeated.borrow_mut() = 0;
        *self.moved.borrow_mut() = 0;
        let watch = Stopwatch::start();
        try_join_all((0..self.plan.connections).map(body)).await?;
        let (seconds, tasks) = (watch.elapsed().as_secs_f64(), *self.moved.borrow());
        Ok(Phase {
            name,
            tasks,
            seconds,
            per_second: tasks as f64 / seconds.max(1e-9),
            repeated: *self.repeated.borrow(),
            latency: self.latency.borrow().quantiles(),
        })
    }

    fn wire(&self) -> Wire {
        Wire::new(self.plan.addr, self.plan.token.as_deref())
    }

    fn took(&self, tasks: u64) {
        *self.moved.borrow_mut() += tasks;
    }

    async fn submit_loop(&self, _connection: usize) -> io::Result<()> {
        let mut wire = self.wire();
        while let Some(range) = self.take_range() {
            let tasks = range.end - range.start;
            self.submit_range(&mut wire, range).await?;
            self.took(tasks);
        }
        Ok(())
    }

    async fn consume_loop(&self, connection: usize, most: u64) -> io::Result<()> {
        let mut wire = self.wire();
        let mut empty = 0;
        while self.tally.borrow().handed_count() < most.min(self.plan.tasks) && empty < EMPTY_MAX {
            let leases = self.take(&mut wire, connection, &[], 0).await?;
            empty = if leases.is_empty() { empty + 1 } else { 0 };
            if leases.is_empty() {
                sleep(Duration::from_millis(5)).await;
            }
            self.took(leases.len() as u64);
            self.leases.borrow_mut()[connection].extend(leases);
        }
        Ok(())
    }

    async fn complete_loop(&self, connection: usize) -> io::Result<()> {
        let mut wire = self.wire();
        let held = std::mem::take(&mut self.leases.borrow_mut()[connection]);
        let batch = usize::try_from(self.plan.batch).unwrap_or(1);
        for leases in held.chunks(batch) {
            self.finish(&mut wire, leases).await?;
            self.took(leases.len() as u64);
        }
        Ok(())
    }

    async fn life_loop(&self, connection: usize) -> io::Result<()> {
        let mut wire = self.wire();
        let (mut empty, mut held) = (0, Vec::new());
        loop {
            let range = self.take_range();
            let submitting = range.is_some();
            if let Some(range) = range {
                self.submit_range(&mut wire, range).await?;
            }
            let done = self.tally.borrow().handed_count() >= self.plan.tasks - self.plan.depth;
            if (done || empty >= EMPTY_MAX) && !submitting && held.is_empty() {
                return Ok(());
            }
            let finished = std::mem::take(&mut held);
            let leases = self.take(&mut wire, connection, &finished, 0).await?;
            self.took(finished.len() as u64);
            empty = if leases.is_empty() { empty + 1 } else { 0 };
            if leases.is_empty() && finished.is_empty() && !submitting {
                sleep(Duration::from_millis(2)).await;
            }
            if self.plan.merged {
                held = leases;
            } else if !leases.is_empty() {
                self.finish(&mut wire, &leases).await?;
                self.took(leases.len() as u64);
            }
        }
    }

    fn take_range(&self) -> Option<std::ops::Range<u64>> {
        let mut next = self.next.borrow_mut();
        let from = *next;
        let batch = if self.plan.single { 1 } else { self.plan.batch };
        let to = (from + batch).min(*self.goal.borrow());
        *next = to;
        (from < to).then_some(from..to)
    }

    async fn submit_range(&self, wire: &mut Wire, range: std::ops::Range<u64>) -> io::Result<()> {
        let pad = "x".repeat(self.plan.payload_bytes.saturating_sub(12));
        let count = range.end - range.start;
        let (path, body) = if self.plan.single {
            let body = format!(
                r#"{{"groupId":"{}","payload":"{:012}{pad}"{}}}"#,
                self.plan.job,
                range.start,
                self.affinity(range.start),
            );
            ("/kwq/submit".to_owned(), body)
        } else {
            let mut body = String::with_capacity((pad.len() + 28) * batch_len(count));
            for number in range.clone() {
                let comma = if number == range.start { '[' } else { ',' };
                let keys = self.affinity(number);
                write!(body, r#"{comma}{{"payload":"{number:012}{pad}"{keys}}}"#)
                    .expect("a String accepts every write");
            }
            body.push(']');
            (format!("/kwq/jobs/{}/tasks?results=errors", self.plan.job), body)
        };
        let single = self.plan.single;
        let sent = self.until_taken(wire, &path, body.as_bytes(), |reply| {
            if single { 1 } else { number_after(reply.body, b"\"accepted\":").unwrap_or(0) }
        });
        match sent.await {
            Ok(accepted) if accepted == count => self.tally.borrow_mut().acked(range),
            Ok(_) => self.tally.borrow_mut().doubtful(range),
            Err(error) => {
                self.tally.borrow_mut().doubtful(range);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The `affinity` member of a task, with a comma before it.
    fn affinity(&self, number: u64) -> String {
        match self.plan.keys.of(number) {
            Some(key) => format!(r#","affinity":["key-{key}"]"#),
            None => String::new(),
        }
    }

    /// Affinity hits and misses so far, as the server counts them for the job of the run.
    ///
    /// # Errors
    /// The server cannot be reached or does not know the job.
    pub async fn fits(&self) -> io::Result<Fits> {
        let mut wire = self.wire();
        let reply = wire.get(&format!("/kwq/jobs/{}", self.plan.job)).await?;
        let number = |key: &'static [u8]| number_after(reply.body, key);
        match (number(b"\"hits\":"), number(b"\"misses\":")) {
            (Some(hits), Some(misses)) => Ok(Fits::new(hits, misses)),
            _ => Err(io::Error::other("the job shows no affinity")),
        }
    }

    /// One consume; `done` are completed by the same call.
    async fn take(
        &self,
        wire: &mut Wire,
        connection: usize,
        done: &[String],
        wait_ms: u64,
    ) -> io::Result<Vec<String>> {
        let most = if self.plan.single { 1 } else { self.plan.batch };
        let job = &self.plan.job;
        let mut body = format!(
            r#"{{"worker":"{job}-{connection}","max":{most},"waitMs":{wait_ms},"jobs":["{job}"]"#
        );
        write!(body, r#","leaseMs":{LEASE_MS}"#).expect("a String accepts every write");
        if !done.is_empty() {
            push_reports(&mut body, ",\"done\":", done);
        }
        body.push('}');
        let sent = self.until_taken(wire, "/kwq/consume", body.as_bytes(), |reply| {
            let (tasks, outcomes) = split_answer(reply.body);
            let ok = count_of(outcomes, b"\"outcome\":\"ok\"");
            if !done.is_empty() {
                let refused = (done.len() as u64).saturating_sub(ok);
                self.tally.borrow_mut().completed(ok, refused);
            }
            for payload in values_of(tasks, b"\"payload\":\"") {
                self.tally.borrow_mut().handed(number_of(payload));
            }
            let leases = values_of(tasks, b"\"lease\":\"");
            leases.map(|token| String::from_utf8_lossy(token).into_owned()).collect()
        });
        sent.await
    }

    async fn finish(&self, wire: &mut Wire, leases: &[String]) -> io::Result<()> {
        let mut body = String::new();
        match leases {
            [lease] if self.plan.single => body = format!(r#"{{"lease":"{lease}"}}"#),
            _ => {
                push_reports(&mut body, "{\"items\":", leases);
                body.push('}');
            }
        }
        let sent = self.until_taken(wire, "/kwq/complete", body.as_bytes(), |reply| {
            count_of(reply.body, b"\"outcome\":\"ok\"")
        });
        let ok = sent.await?;
        let refused = (leases.len() as u64).saturating_sub(ok);
        self.tally.borrow_mut().completed(ok, refused);
        Ok(())
    }

    /// Sends a call until it is not refused for load; times the accepted one.
    async fn until_taken<T>(
        &self,
        wire: &mut Wire,
        path: &str,
        body: &[u8],
        read: impl FnOnce(&Reply<'_>) -> T,
    ) -> io::Result<T> {
        for round in 0..REPEATS_MAX {
            let watch = Stopwatch::start();
            let reply = wire.post(path, body).await?;
            if matches!(reply.status, 200 | 204) {
                self.latency.borrow_mut().record(watch.us());
                return Ok(read(&reply));
            }
            if !(matches!(reply.status, 429 | 503) && reply.not_applied) {
                let text = String::from_utf8_lossy(reply.body).into_owned();
                return Err(io::Error::other(format!("{path}: {} {text}", reply.status)));
            }
            *self.repeated.borrow_mut() += 1;
            sleep(Duration::from_millis(10 + u64::from(round.min(40)))).await;
        }
        Err(io::Error::other(format!("{path}: refused {REPEATS_MAX} times")))
    }
}

fn batch_len(count: u64) -> usize {
    usize::try_from(count).unwrap_or(1)
}

fn push_reports(body: &mut String, head: &str, leases: &[String]) {
    body.push_str(head);
    for (i, lease) in leases.iter().enumerate() {
        let comma = if i == 0 { '[' } else { ',' };
        write!(body, r#"{comma}{{"lease":"{lease}"}}"#).expect("a String accepts every write");
    }
    body.push(']');
}

/// The parts of a consume's answer that list tasks and outcomes, whichever comes first.
fn split_answer(body: &[u8]) -> (&[u8], &[u8]) {
    let tasks = find(body, b"\"tasks\":[", 0);
    let done = find(body, b"\"done\":[", 0);
    match (tasks, done) {
        (Some(tasks), Some(done)) if done < tasks => (&body[tasks..], &body[done..tasks]),
        (Some(tasks), Some(done)) => (&body[tasks..done], &body[done..]),
        (Some(tasks), None) => (&body[tasks..], b""),
        (None, Some(done)) => (b"", &body[done..]),
        (None, None) => (b"", b""),
    }
}

/// The strings that follow a key; none of ours holds an escape.
fn values_of<'a>(bytes: &'a [u8], key: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let from = find(bytes, key, at)? + key.len();
        let length = bytes[from..].iter().position(|byte| *byte == b'"')?;
        at = from + length;
        Some(&bytes[from..at])
    })
}

fn count_of(bytes: &[u8], needle: &[u8]) -> u64 {
    let (mut count, mut at) = (0, 0);
    while let Some(found) = find(bytes, needle, at) {
        (count, at) = (count + 1, found + needle.len());
    }
    count
}

/// The number a payload of ours begins with.
fn number_of(payload: &[u8]) -> Option<u64> {
    std::str::from_utf8(payload.get(..12)?).ok()?.parse().ok()
}

fn number_after(bytes: &[u8], key: &[u8]) -> Option<u64> {
    let from = find(bytes, key, 0)? + key.len();
    let digits = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&bytes[from..from + digits]).ok()?.parse().ok()
}
