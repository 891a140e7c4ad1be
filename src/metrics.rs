//! Floor 1: the metrics of the process. Names stand in `metrics/names.rs`, handles are kept here.
//!
//! A partition counts in plain numbers; its shell publishes them once a second and only differences
//! reach the counters. Must not: be called per task, or take a label value that a client chose.

mod names;
mod record;
#[cfg(test)]
mod tests;

pub use names::{ALL, Declared, Kind};

use crate::model::feed::Feed;
use crate::model::job::JobState;
use crate::model::priority::Priority;
use crate::model::state::TaskState;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, Recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

/// Buckets of a [`PartitionNumbers`] histogram: index = bit length of the milliseconds, at most 25.
pub const BUCKETS: usize = 26;

/// One number per level, index [`Priority::index`].
pub type Levels = [u64; Priority::LEVELS];
/// One histogram per level; index of a value: `(64 - ms.leading_zeros()).min(25)`.
pub type LevelBuckets = [[u64; BUCKETS]; Priority::LEVELS];

macro_rules! words {
    ($($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal),* })*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $(#[doc = concat!("`", $word, "`")] $variant),* }
        impl $name {
            const WORDS: &'static [&'static str] = &[$($word),*];
        }
    )* };
}

words! {
    /// How a consume was answered.
    ConsumeOutcome { Tasks = "tasks", Empty = "empty", Shed = "shed", Error = "error" }
    /// Why a partition was rebuilt.
    RestartCause { Panic = "panic", Log = "log" }
    /// Admission class.
    ShedClass { Submit = "submit", Query = "query", Consume = "consume", Report = "report" }
    /// What was full.
    ShedReason {
        Channel = "channel", Age = "age", Memory = "memory", Disk = "disk", Tracker = "tracker",
        Parked = "parked", Draining = "draining", Recovery = "recovery",
        Connections = "connections"
    }
    /// What failed in the log.
    LogFault { Write = "write", Sync = "sync", Read = "read", Corrupt = "corrupt" }
    /// What of the log takes room; index into [`LogShown::bytes`].
    LogPart { Segment = "segment", Image = "image" }
    /// A client of a log on Kafka; index into [`LogShown::clients`].
    LogClient { Send = "send", Read = "read" }
    /// What went wrong between it and a broker; index into [`ClientShown::faults`].
    LinkFault {
        Send = "send", Receive = "receive", Timeout = "timeout", Disconnect = "disconnect"
    }
    /// What became of a record of an inbox; index into [`PartitionNumbers::inbox`].
    InboxRecord { Taken = "taken", Lost = "lost", Dead = "dead" }
    /// What was asked of the tracker.
    QueryKind { Id = "id", List = "list", Counters = "counters" }
    /// What a connection does.
    ConnectionKind { Open = "open", Poll = "poll", Sse = "sse" }
    /// Why a connection or request was cut.
    Refusal { Cap = "cap", Timeout = "timeout", TooLarge = "too_large" }
    /// Why a caller was not let in.
    Denial {
        Missing = "missing", Wrong = "wrong", Expired = "expired", Role = "role", Rate = "rate"
    }
    /// How a worker is.
    WorkerShown { Active = "active", Draining = "draining", Lost = "lost" }
    /// Why an attempt failed; index into [`PartitionNumbers::failed`].
    FailCause { Error = "error", Crash = "crash", Timeout = "timeout" }
    /// Why a hand-out came back; index into [`PartitionNumbers::released`].
    ReleaseCause { Worker = "worker", Undelivered = "undelivered", Drain = "drain" }
    /// Why a task is dead; index into [`PartitionNumbers::dead`].
    DeadReason { Error = "error", Timeout = "timeout", Crash = "crash" }
    /// How a hand-out fitted its worker; index into [`PartitionNumbers::fits`].
    AffinityResult { None = "none", Hit = "hit", Miss = "miss" }
    /// What was wrong with a token; index into [`PartitionNumbers::lease_rejected`].
    TokenFault { Stale = "stale", Unknown = "unknown" }
}

/// What a partition counted; counters since its start, gauges as of now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartitionNumbers {
    /// Gauge: tasks by state.
    pub states: [u64; TaskState::COUNT],
    /// Gauge: waiting and due.
    pub depth: Levels,
    /// Gauge: age of the oldest waiting task, ms.
    pub oldest_age_ms: Levels,
    /// Gauge: 1 = paused.
    pub paused: Levels,
    /// Counter: admitted by REST.
    pub submitted: Levels,
    /// Counter: hand-outs.
    pub allocated: Levels,
    /// Counter: became RUNNING.
    pub started: Levels,
    /// Counter: completed.
    pub completed: Levels,
    /// Counter: failed attempts by [`FailCause`].
    pub failed: [Levels; 3],
    /// Counter: failed and queued again.
    pub retried: Levels,
    /// Counter: cancelled.
    pub cancelled: Levels,
    /// Counter: given back by [`ReleaseCause`].
    pub released: [u64; 3],
    /// Counter: dead letters by [`DeadReason`].
    pub dead: [u64; 3],
    /// Counter: due → handed out.
    pub wait: LevelBuckets,
    /// Counter: RUNNING → end.
    pub run: LevelBuckets,
    /// Counter: submit → terminal.
    pub total: LevelBuckets,
    /// Gauge: live leases.
    pub leases: u64,
    /// Gauge: age of the oldest one, ms.
    pub lease_oldest_age_ms: u64,
    /// Counter: expired.
    pub leases_expired: u64,
    /// Counter: refused tokens by [`TokenFault`].
    pub lease_rejected: [u64; 2],
    /// Counter: hand-outs by [`AffinityResult`].
    pub fits: [u64; 3],
    /// Counter: records of inboxes by [`InboxRecord`] and level.
    pub inbox: [Levels; 3],
    /// Gauge: 1 = served here.
    pub owned: u64,
    /// Gauge: records replayed and to be replayed after the start; equal = done.
    pub replay: (u64, u64),
    /// Gauge: commands in the channel.
    pub commands: u64,
    /// Gauge: changes that are durable and not in lists and counters.
    pub tracker_lag: u64,
}

/// What the log counted since it was opened; gauges as of now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogShown {
    /// Counter: syncs by bit length of their microseconds.
    pub sync_micros: [u64; BUCKETS],
    /// Counter: syncs by bit length of the records they made durable.
    pub sync_records: [u64; BUCKETS],
    /// Gauge: bytes by [`LogPart`].
    pub bytes: [u64; 2],
    /// Gauge: free space of the file system; `None` = unknown.
    pub free_bytes: Option<u64>,
    /// By [`LogClient`].
    pub clients: [ClientShown; 2],
}

/// What a client of the log tells of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientShown {
    /// Gauge: bytes it keeps.
    pub queued_bytes: u64,
    /// Gauge: 99th percentile of a request to the slowest broker, µs.
    pub round_trip_micros: u64,
    /// Counter: by [`LinkFault`].
    pub faults: [u64; 4],
}

/// Handles of one process; cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Handles>);

/// Handles to record into directly; reached through [`Metrics`].
pub struct Handles {
    /// `kwq_partition_turn_seconds`.
    pub turn_seconds: Histogram,
    /// `kwq_consume_batch_tasks`.
    consume_batch_tasks: Histogram,
    /// `kwq_log_append_seconds`.
    pub log_append_seconds: Histogram,
    /// `kwq_tracker_apply_seconds`.
    pub tracker_apply_seconds: Histogram,
    /// `kwq_consumers_waiting`.
    pub consumers_waiting: Gauge,
    /// `kwq_insecure`.
    pub insecure: Gauge,
    /// `kwq_durability_reduced`.
    pub durability_reduced: Gauge,
    consume: Vec<Counter>,
    restarts: Vec<Counter>,
    shed: Vec<Counter>,
    log_errors: Vec<Counter>,
    query: Vec<Histogram>,
    connections: Vec<Gauge>,
    refused: Vec<Counter>,
    denied: Vec<Counter>,
    /// `kwq_audit_lost_total`.
    pub audit_lost: Counter,
    workers: Vec<Gauge>,
    jobs: Vec<Gauge>,
    feed_lag: Vec<Gauge>,
    flow: Flow,
    shown: Shown,
    log: LogHandles,
    requests: RwLock<BTreeMap<Request, Histogram>>,
    partitions: Mutex<Vec<Published>>,
    published: AtomicU64,
    recorder: PrometheusRecorder,
    exporter: PrometheusHandle,
    process: metrics_process::Collector,
}

/// Route template, method, status.
type Request = (&'static str, &'static str, u16);

/// Counters fed by differences of [`PartitionNumbers`]; levels by [`Priority::index`].
struct Flow {
    submitted: Vec<Counter>,
    allocated: Vec<Counter>,
    started: Vec<Counter>,
    completed: Vec<Counter>,
    failed: Vec<Vec<Counter>>,
    retried: Vec<Counter>,
    cancelled: Vec<Counter>,
    released: Vec<Counter>,
    dead: Vec<Counter>,
    wait: Vec<Histogram>,
    run: Vec<Histogram>,
    total: Vec<Histogram>,
    leases_expired: Counter,
    lease_rejected: Vec<Counter>,
    fits: Vec<Counter>,
    inbox: Vec<Vec<Counter>>,
}

/// Latest numbers of the log and its own handles.
struct LogHandles {
    last: Mutex<LogShown>,
    sync_seconds: Histogram,
    sync_records: Histogram,
    bytes: Vec<Gauge>,
    free_bytes: Gauge,
    clients: Vec<ClientHandles>,
}

/// Of one client.
struct ClientHandles {
    queued_bytes: Gauge,
    round_trip: Gauge,
    faults: Vec<Counter>,
}

/// Gauges over all partitions, set when rendered.
struct Shown {
    states: Vec<Gauge>,
    depth: Vec<Gauge>,
    oldest: Vec<Gauge>,
    paused: Vec<Gauge>,
    leases: Gauge,
    lease_age: Gauge,
}

/// Latest numbers of a partition and its own gauges.
struct Published {
    last: PartitionNumbers,
    owned: Gauge,
    replay: Gauge,
    commands: Gauge,
    tracker_lag: Gauge,
}

impl Deref for Metrics {
    type Target = Handles;
    fn deref(&self) -> &Handles {
        &self.0
    }
}

/// Declares every metric and keeps the handles. Not global: each call is a registry of its own.
#[must_use]
pub fn install(version: &'static str, backend: &'static str) -> Metrics {
    let mut builder = PrometheusBuilder::new();
    for metric in ALL.iter().filter(|m| m.kind == Kind::Histogram) {
        builder = builder
            .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.buckets)
            .expect("no histogram is declared without buckets; a test renders all");
    }
    let recorder = builder.build_recorder();
    describe(&recorder);
    let process = metrics_process::Collector::default();
    metrics::with_local_recorder(&recorder, || process.describe());
    let build = [("version", version), ("backend", backend)];
    gauge(&recorder, &names::BUILD, &build).set(1.0);
    Metrics(Arc::new(handles(recorder, process)))
}

fn describe(recorder: &PrometheusRecorder) {
    for metric in ALL {
        let name = KeyName::from_const_str(metric.name);
        let (unit, help) = (Some(metric.unit), metric.help.into());
        match metric.kind {
            Kind::Counter => recorder.describe_counter(name, unit, help),
            Kind::Gauge => recorder.describe_gauge(name, unit, help),
            Kind::Histogram => recorder.describe_histogram(name, unit, help),
        }
    }
}

fn handles(recorder: PrometheusRecorder, process: metrics_process::Collector) -> Handles {
    let r = &recorder;
    let shed = |class| {
        let with = move |reason: &'static str| [("class", class), ("reason", reason)];
        ShedReason::WORDS.iter().map(move |word| counter(r, &names::SHED, &with(word)))
    };
    Handles {
        turn_seconds: histogram(r, &names::TURN, &[]),
        consume_batch_tasks: histogram(r, &names::BATCH, &[]),
        log_append_seconds: histogram(r, &names::APPEND, &[]),
        tracker_apply_seconds: histogram(r, &names::APPLY, &[]),
        consumers_waiting: gauge(r, &names::WAITING, &[]),
        insecure: gauge(r, &names::INSECURE, &[]),
        durability_reduced: gauge(r, &names::REDUCED, &[]),
        consume: each(r, &names::CONSUME, ConsumeOutcome::WORDS, counter),
        restarts: each(r, &names::RESTARTS, RestartCause::WORDS, counter),
        shed: ShedClass::WORDS.iter().copied().flat_map(shed).collect(),
        log_errors: each(r, &names::LOG_ERRORS, LogFault::WORDS, counter),
        query: each(r, &names::QUERY, QueryKind::WORDS, histogram),
        connections: each(r, &names::CONNECTIONS, ConnectionKind::WORDS, gauge),
        refused: each(r, &names::REFUSED, Refusal::WORDS, counter),
        denied: each(r, &names::DENIED, Denial::WORDS, counter),
        audit_lost: counter(r, &names::AUDIT_LOST, &[]),
        workers: each(r, &names::WORKERS, WorkerShown::WORDS, gauge),
        jobs: each(r, &names::JOBS, &JOB_STATES.map(JobState::name), gauge),
        feed_lag: each(r, &names::FEED_LAG, &Feed::ALL.map(Feed::name), gauge),
        flow: flow(r),
        shown: Shown {
            states: each(r, &names::TASKS, &TaskState::ALL.map(TaskState::name), gauge),
            depth: each(r, &names::DEPTH, LEVELS, gauge),
            oldest: each(r, &names::OLDEST, LEVELS, gauge),
            paused: each(r, &names::PAUSED, LEVELS, gauge),
            leases: gauge(r, &names::LEASES, &[]),
            lease_age: gauge(r, &names::LEASE_AGE, &[]),
        },
        log: LogHandles {
            last: Mutex::default(),
            sync_seconds: histogram(r, &names::SYNC_SECONDS, &[]),
            sync_records: histogram(r, &names::SYNC_RECORDS, &[]),
            bytes: each(r, &names::LOG_BYTES, LogPart::WORDS, gauge),
            free_bytes: gauge(r, &names::DISK_FREE, &[]),
            clients: LogClient::WORDS.iter().map(|client| client_handles(r, client)).collect(),
        },
        requests: RwLock::default(),
        partitions: Mutex::default(),
        published: AtomicU64::new(0),
        exporter: recorder.handle(),
        recorder,
        process,
    }
}

fn client_handles(r: &PrometheusRecorder, client: &'static str) -> ClientHandles {
    let label = ("client", client);
    let fault = |kind| counter(r, &names::KAFKA_FAULTS, &[label, ("kind", kind)]);
    ClientHandles {
        queued_bytes: gauge(r, &names::KAFKA_QUEUED, &[label]),
        round_trip: gauge(r, &names::KAFKA_ROUND_TRIP, &[label]),
        faults: LinkFault::WORDS.iter().map(|kind| fault(kind)).collect(),
    }
}

fn flow(r: &PrometheusRecorder) -> Flow {
    let levels = |metric: &'static Declared| each(r, metric, LEVELS, counter);
    let submitted = |level: &&'static str| {
        counter(r, &names::SUBMITTED, &[("priority", level), ("kind", "rest")])
    };
    let inbox = |outcome: &&'static str| {
        let with = |level: &&'static str| {
            counter(r, &names::INBOX, &[("priority", level), ("outcome", outcome)])
        };
        LEVELS.iter().map(with).collect()
    };
    let failed = |cause: &&'static str| {
        let with = |level: &&'static str| {
            counter(r, &names::FAILED, &[("priority", level), ("cause", cause)])
        };
        LEVELS.iter().map(with).collect()
    };
    Flow {
        submitted: LEVELS.iter().map(submitted).collect(),
        allocated: levels(&names::ALLOCATED),
        started: levels(&names::STARTED),
        completed: levels(&names::COMPLETED),
        failed: FailCause::WORDS.iter().map(failed).collect(),
        retried: levels(&names::RETRIED),
        cancelled: levels(&names::CANCELLED),
        released: each(r, &names::RELEASED, ReleaseCause::WORDS, counter),
        dead: each(r, &names::DEAD, DeadReason::WORDS, counter),
        wait: each(r, &names::WAIT, LEVELS, histogram),
        run: each(r, &names::RUN, LEVELS, histogram),
        total: each(r, &names::TOTAL, LEVELS, histogram),
        leases_expired: counter(r, &names::LEASES_EXPIRED, &[]),
        lease_rejected: each(r, &names::LEASE_REJECTED, TokenFault::WORDS, counter),
        fits: each(r, &names::AFFINITY, AffinityResult::WORDS, counter),
        inbox: InboxRecord::WORDS.iter().map(inbox).collect(),
    }
}

/// Label values of `state` of a job.
const JOB_STATES: [JobState; 6] = [
    JobState::Open,
    JobState::Closed,
    JobState::Cancelled,
    JobState::Failed,
    JobState::CompletedWithErrors,
    JobState::Completed,
];

/// Label values of `priority`, by [`Priority::index`].
const LEVELS: &[&str] = &["1", "2", "3", "4", "5", "6", "7", "8", "9"];

type Labels<'a> = &'a [(&'static str, &'static str)];

/// One handle per word of a metric with one label.
fn each<T>(
    r: &PrometheusRecorder,
    metric: &'static Declared,
    words: &[&'static str],
    make: fn(&PrometheusRecorder, &'static Declared, Labels<'_>) -> T,
) -> Vec<T> {
    words.iter().map(|word| make(r, metric, &[(metric.labels[0], word)])).collect()
}

fn key(metric: &Declared, labels: Labels<'_>) -> Key {
    debug_assert!(labels.iter().map(|(name, _)| name).eq(metric.labels), "{}", metric.name);
    let labels: Vec<Label> =
        labels.iter().map(|(name, value)| Label::from_static_parts(name, value)).collect();
    Key::from_parts(metric.name, labels)
}

const META: Metadata<'static> = Metadata::new("kwq", metrics::Level::INFO, None);

fn counter(r: &PrometheusRecorder, metric: &'static Declared, labels: Labels<'_>) -> Counter {
    let counter = r.register_counter(&key(metric, labels), &META);
    counter.increment(0);
    counter
}

fn gauge(r: &PrometheusRecorder, metric: &'static Declared, labels: Labels<'_>) -> Gauge {
    r.register_gauge(&key(metric, labels), &META)
}

fn histogram(r: &PrometheusRecorder, metric: &'static Declared, labels: Labels<'_>) -> Histogram {
    r.register_histogram(&key(metric, labels), &META)
}
