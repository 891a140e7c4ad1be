//! Every metric once: name, type, labels, unit, help, buckets. `docs/metrics.md` lists the same.
//!
//! Must not: hold a label whose values a client chooses (job, task, worker, tag, error text).

use metrics::Unit;

/// Type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Goes both ways.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

/// A metric as declared.
#[derive(Debug)]
pub struct Declared {
    /// Name, `kwq_…`, base unit, `_total` on counters.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Label names.
    pub labels: &'static [&'static str],
    /// Unit.
    pub unit: Unit,
    /// Text for people.
    pub help: &'static str,
    /// Upper bounds, histograms only.
    pub buckets: &'static [f64],
}

/// 1 ms … 4.6 h in powers of two: what a partition counts in, see `PartitionNumbers`.
pub(super) const POWERS: &[f64] = &[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096,
    8.192, 16.384, 32.768, 65.536, 131.072, 262.144, 524.288, 1_048.576, 2_097.152, 4_194.304,
    8_388.608, 16_777.216,
];
/// 63 µs … 8.4 s: what the log counts in, see `LogShown`.
const MICRO_POWERS: &[f64] = &[
    0.000_063, 0.000_127, 0.000_255, 0.000_511, 0.001_023, 0.002_047, 0.004_095, 0.008_191,
    0.016_383, 0.032_767, 0.065_535, 0.131_071, 0.262_143, 0.524_287, 1.048_575, 2.097_151,
    4.194_303, 8.388_607,
];
const COUNT_POWERS: &[f64] = &[
    0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 127.0, 255.0, 511.0, 1_023.0, 2_047.0, 4_095.0, 8_191.0,
    16_383.0, 65_535.0,
];
const MICRO: &[f64] = &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.1, 1.0];
const SYNC: &[f64] = &[0.000_25, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.1, 0.5, 2.0];
const HTTP: &[f64] = &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];
const COUNTS: &[f64] = &[0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

macro_rules! declare {
    ($($id:ident $kind:ident $unit:ident $name:literal [$($label:literal)*] $help:literal
       $(in $buckets:ident)?;)*) => {
        $(pub(super) const $id: Declared = Declared {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            unit: Unit::$unit,
            help: $help,
            buckets: declare!(@buckets $($buckets)?),
        };)*
        /// Every metric of kwq itself; `process_*` comes on top.
        pub const ALL: &[&Declared] = &[$(&$id),*];
    };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
}

declare! {
    TASKS Gauge Count "kwq_tasks" ["state"] "Tasks by state, partitions owned here.";
    JOBS Gauge Count "kwq_jobs" ["state"] "Jobs by state.";
    DEPTH Gauge Count "kwq_queue_depth" ["priority"]
        "Tasks waiting and due now, partitions owned here.";
    OLDEST Gauge Seconds "kwq_queue_oldest_age_seconds" ["priority"]
        "Age of the oldest waiting task, partitions owned here.";
    PAUSED Gauge Count "kwq_queue_paused" ["priority"] "1 = the level is paused.";
    SUBMITTED Counter Count "kwq_tasks_submitted_total" ["priority" "kind"]
        "Tasks admitted; kind = rest.";
    ALLOCATED Counter Count "kwq_tasks_allocated_total" ["priority"] "Hand-outs.";
    STARTED Counter Count "kwq_tasks_started_total" ["priority"] "Hand-outs that became RUNNING.";
    COMPLETED Counter Count "kwq_tasks_completed_total" ["priority"] "Tasks completed.";
    FAILED Counter Count "kwq_tasks_failed_total" ["priority" "cause"]
        "Attempts that failed: error, crash (lease expired), timeout (run limit).";
    RETRIED Counter Count "kwq_tasks_retried_total" ["priority"]
        "Failed attempts whose task was queued again.";
    CANCELLED Counter Count "kwq_tasks_cancelled_total" ["priority"] "Tasks cancelled.";
    RELEASED Counter Count "kwq_tasks_released_total" ["cause"]
        "Hand-outs given back: by the worker, undelivered answer, drain (worker deleted).";
    DEAD Counter Count "kwq_tasks_dead_lettered_total" ["reason"]
        "Tasks that became dead letters: error, timeout, crash.";
    WAIT Histogram Seconds "kwq_task_wait_seconds" ["priority"]
        "From due to handed out, without delay and back-off." in POWERS;
    RUN Histogram Seconds "kwq_task_run_seconds" ["priority"]
        "From RUNNING to the end of the attempt." in POWERS;
    TOTAL Histogram Seconds "kwq_task_total_seconds" ["priority"]
        "From submit to a terminal state." in POWERS;
    LEASES Gauge Count "kwq_leases" [] "Live leases, partitions owned here.";
    LEASE_AGE Gauge Seconds "kwq_lease_oldest_age_seconds" [] "Age of the oldest live lease.";
    LEASES_EXPIRED Counter Count "kwq_leases_expired_total" [] "Leases that expired.";
    LEASE_REJECTED Counter Count "kwq_lease_rejected_total" ["reason"]
        "Reports refused with lease_lost: stale (spent or older) or unknown token.";
    OWNED Gauge Count "kwq_partition_owned" ["partition"] "1 = served by this process.";
    REPLAY Gauge Percent "kwq_partition_replay_ratio" ["partition"]
        "Progress of the replay after a start, 0 to 1.";
    COMMANDS Gauge Count "kwq_command_queue_depth" ["partition"]
        "Commands waiting in the bounded channel of the partition.";
    TURN Histogram Seconds "kwq_partition_turn_seconds" []
        "One turn of a partition actor." in MICRO;
    RESTARTS Counter Count "kwq_partition_restarts_total" ["cause"]
        "Partitions rebuilt from the log: panic, log.";
    CONSUME Counter Count "kwq_consume_total" ["outcome"]
        "Consumes by outcome: tasks, empty, shed, error.";
    BATCH Histogram Count "kwq_consume_batch_tasks" [] "Tasks per consume answer." in COUNTS;
    WAITING Gauge Count "kwq_consumers_waiting" [] "Parked long polls: idle capacity.";
    AFFINITY Counter Count "kwq_affinity_total" ["result"]
        "Hand-outs by affinity: hit, miss, none (task or worker has no keys).";
    WORKERS Gauge Count "kwq_workers" ["state"] "Workers: active, draining, lost.";
    SHED Counter Count "kwq_shed_total" ["class" "reason"]
        "Calls refused by admission, by class and by what was full.";
    APPEND Histogram Seconds "kwq_log_append_seconds" []
        "From append to durable." in SYNC;
    SYNC_SECONDS Histogram Seconds "kwq_log_sync_seconds" []
        "One sync of the log." in MICRO_POWERS;
    SYNC_RECORDS Histogram Count "kwq_log_sync_records" []
        "Records made durable by one sync; 0 = seals only." in COUNT_POWERS;
    LOG_BYTES Gauge Bytes "kwq_log_bytes" ["kind"]
        "Size of the log's files: segment, image.";
    DISK_FREE Gauge Bytes "kwq_disk_free_bytes" []
        "Free space of the file system of the data directory.";
    LOG_ERRORS Counter Count "kwq_log_errors_total" ["kind"]
        "Faults of the log: write, sync, read, corrupt.";
    KAFKA_QUEUED Gauge Bytes "kwq_kafka_queued_bytes" ["client"]
        "What a client of the log on Kafka keeps: send = on its way, read = fetched, not yet read.";
    KAFKA_ROUND_TRIP Gauge Seconds "kwq_kafka_round_trip_seconds" ["client"]
        "99th percentile of a request to the slowest broker; of read with the wait of a fetch.";
    KAFKA_FAULTS Counter Count "kwq_kafka_faults_total" ["client" "kind"]
        "Between the log's clients and brokers: send, receive, timeout, disconnect.";
    INBOX Counter Count "kwq_inbox_records_total" ["priority" "outcome"]
        "Inbox records: taken; lost = expired on Kafka unread; dead = dead letters they came to.";
    APPLY Histogram Seconds "kwq_tracker_apply_seconds" [] "One batch of the tracker." in SYNC;
    LAG Gauge Count "kwq_tracker_lag_events" ["partition"]
        "Changes of tasks that are durable and not yet in lists and counters.";
    FEED_LAG Gauge Count "kwq_feed_lag_records" ["topic"]
        "Records of the changelog not yet in a derived topic, partitions owned here.";
    QUERY Histogram Seconds "kwq_tracker_query_seconds" ["kind"]
        "Queries of the tracker: id, list, counters." in HTTP;
    REQUESTS Histogram Seconds "kwq_http_request_seconds" ["route" "method" "code"]
        "HTTP requests by route template; long polls count from wake-up." in HTTP;
    CONNECTIONS Gauge Count "kwq_http_connections" ["kind"]
        "Connections: open; poll = with a parked consume; sse = with a stream of events.";
    REFUSED Counter Count "kwq_http_refused_total" ["reason"]
        "Connections and requests cut: cap, timeout, too_large.";
    DENIED Counter Count "kwq_auth_denied_total" ["reason"]
        "Calls not let in: missing, wrong or expired token, role, rate of wrong tokens.";
    AUDIT_LOST Counter Count "kwq_audit_lost_total" []
        "Lines of the audit trail that were dropped: full queue, or a disk that refuses.";
    INSECURE Gauge Count "kwq_insecure" [] "1 = everybody who reaches the port may do everything.";
    REDUCED Gauge Count "kwq_durability_reduced" [] "1 = less durability than the default.";
    BUILD Gauge Count "kwq_build_info" ["version" "backend"] "Always 1.";
}
