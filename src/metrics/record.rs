//! Recording and rendering: what the shells call. Nothing here runs per task.

use super::{
    BUCKETS, ConnectionKind, ConsumeOutcome, Denial, Flow, Handles, JOB_STATES, LevelBuckets,
    Levels, LogFault, LogShown, Metrics, PartitionNumbers, Published, QueryKind, Refusal,
    RestartCause, ShedClass, ShedReason, WorkerShown, names,
};
use crate::model::feed::Feed;
use crate::model::id::PartitionId;
use crate::model::job::JobState;
use metrics::{Counter, Histogram, Key, Label, Recorder};
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

/// Publishes of each partition between two upkeeps of the histograms (they come once a second).
const UPKEEP_EVERY: u64 = 5;

impl Metrics {
    /// Counts a consume and the tasks it was given.
    pub fn consumed(&self, outcome: ConsumeOutcome, tasks: usize) {
        self.consume[outcome as usize].increment(1);
        self.consume_batch_tasks.record(small(tasks));
    }

    /// Counts a call refused by admission.
    pub fn shed(&self, class: ShedClass, reason: ShedReason) {
        self.shed[class as usize * ShedReason::WORDS.len() + reason as usize].increment(1);
    }

    /// Counts a partition rebuilt from the log.
    pub fn restarted(&self, cause: RestartCause) {
        self.restarts[cause as usize].increment(1);
    }

    /// Counts a fault of the log.
    pub fn log_error(&self, kind: LogFault) {
        self.log_errors[kind as usize].increment(1);
    }

    /// Records a query of the tracker.
    pub fn queried(&self, kind: QueryKind, seconds: f64) {
        self.query[kind as usize].record(seconds);
    }

    /// A connection (or poll) began.
    pub fn connection_opened(&self, kind: ConnectionKind) {
        self.connections[kind as usize].increment(1.0);
    }

    /// A connection (or poll) ended.
    pub fn connection_closed(&self, kind: ConnectionKind) {
        self.connections[kind as usize].decrement(1.0);
    }

    /// Counts a connection or request that was cut.
    pub fn http_refused(&self, reason: Refusal) {
        self.refused[reason as usize].increment(1);
    }

    /// Counts a call that was not let in.
    pub fn denied(&self, reason: Denial) {
        self.denied[reason as usize].increment(1);
    }

    /// Records a request. `route` is the template of the route table, never the path.
    pub fn http_request(&self, route: &'static str, method: &'static str, code: u16, seconds: f64) {
        let request = (route, method, code);
        let known = self.requests.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = known.get(&request) {
            handle.record(seconds);
            return;
        }
        drop(known);
        let make = || self.request_handle(request);
        let mut known = self.requests.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(request).or_insert_with(make).record(seconds);
    }

    fn request_handle(&self, (route, method, code): super::Request) -> Histogram {
        let labels = vec![
            Label::from_static_parts("route", route),
            Label::from_static_parts("method", method),
            Label::new("code", code.to_string()),
        ];
        let key = Key::from_parts(names::REQUESTS.name, labels);
        self.recorder.register_histogram(&key, &super::META)
    }

    /// Sets the number of workers in a state.
    pub fn set_workers(&self, state: WorkerShown, count: u64) {
        self.workers[state as usize].set(float(count));
    }

    /// Sets the number of jobs in a state.
    pub fn set_jobs(&self, state: JobState, count: u64) {
        let index = JOB_STATES.iter().position(|s| *s == state);
        self.jobs[index.expect("every job state is listed")].set(float(count));
    }

    /// Sets how many records of the log a derived topic does not cover yet.
    pub fn set_feed_lag(&self, feed: Feed, records: u64) {
        self.feed_lag[feed as usize].set(float(records));
    }

    /// Takes the numbers of a partition, once a second. Counters get the difference to last time.
    pub fn publish_partition(&self, partition: PartitionId, numbers: &PartitionNumbers) {
        let mut partitions = self.slots(partition);
        let count = partitions.len();
        let slot = &mut partitions[partition.index()];
        self.flow.add(&slot.last, numbers);
        slot.show(numbers);
        drop(partitions);
        let publishes = self.published.fetch_add(1, Ordering::Relaxed) + 1;
        if publishes.is_multiple_of(UPKEEP_EVERY * u64::try_from(count).unwrap_or(1)) {
            self.exporter.run_upkeep();
        }
    }

    /// Takes numbers as the new start of counting: what a rebuilt partition counted while it
    /// replayed has been published before.
    pub fn rebase_partition(&self, partition: PartitionId, numbers: &PartitionNumbers) {
        self.slots(partition)[partition.index()].show(numbers);
    }

    /// Takes the numbers of the log, once a second. One that was opened again counts from 0.
    pub fn publish_log(&self, now: LogShown) {
        let log = &self.log;
        for (gauge, bytes) in log.bytes.iter().zip(now.bytes) {
            gauge.set(float(bytes));
        }
        if let Some(free) = now.free_bytes {
            log.free_bytes.set(float(free));
        }
        let mut last = log.last.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, (handles, client)) in log.clients.iter().zip(&now.clients).enumerate() {
            handles.queued_bytes.set(float(client.queued_bytes));
            handles.round_trip.set(float(client.round_trip_micros) / 1e6);
            rise(&handles.faults, &last.clients[at].faults, &client.faults);
        }
        let syncs = |shown: &LogShown| shown.sync_records.iter().sum::<u64>();
        if syncs(&now) < syncs(&last) {
            *last = LogShown::default();
        }
        let seconds = |bits| middle(bits) / 1e6;
        record_rise(&log.sync_seconds, &last.sync_micros, &now.sync_micros, seconds);
        record_rise(&log.sync_records, &last.sync_records, &now.sync_records, middle);
        *last = now;
    }

    fn slots(&self, partition: PartitionId) -> MutexGuard<'_, Vec<Published>> {
        let mut slots = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        for number in slots.len()..=partition.index() {
            slots.push(Published::new(&self.0, number));
        }
        slots
    }

    /// The page of `GET /metrics`, Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.sum_up();
        metrics::with_local_recorder(&self.recorder, || self.process.collect());
        self.exporter.render()
    }

    /// Gauges over all partitions.
    fn sum_up(&self) {
        let slots = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let all = || slots.iter().map(|slot| &slot.last);
        let sum = |pick: &dyn Fn(&PartitionNumbers) -> u64| float(all().map(pick).sum());
        let most =
            |pick: &dyn Fn(&PartitionNumbers) -> u64| float(all().map(pick).max().unwrap_or(0));
        let shown = &self.shown;
        for (i, gauge) in shown.states.iter().enumerate() {
            gauge.set(sum(&|numbers| numbers.states[i]));
        }
        for level in 0..shown.depth.len() {
            shown.depth[level].set(sum(&|numbers| numbers.depth[level]));
            shown.oldest[level].set(most(&|numbers| numbers.oldest_age_ms[level]) / 1_000.0);
            shown.paused[level].set(most(&|numbers| numbers.paused[level]));
        }
        shown.leases.set(sum(&|numbers| numbers.leases));
        shown.lease_age.set(most(&|numbers| numbers.lease_oldest_age_ms) / 1_000.0);
    }
}

impl Published {
    fn new(handles: &Handles, number: usize) -> Self {
        let gauge = |metric: &names::Declared| {
            let label = Label::new("partition", number.to_string());
            let key = Key::from_parts(metric.name, vec![label]);
            handles.recorder.register_gauge(&key, &super::META)
        };
        Self {
            last: PartitionNumbers::default(),
            owned: gauge(&names::OWNED),
            replay: gauge(&names::REPLAY),
            commands: gauge(&names::COMMANDS),
            tracker_lag: gauge(&names::LAG),
        }
    }

    fn show(&mut self, numbers: &PartitionNumbers) {
        let (done, whole) = numbers.replay;
        self.owned.set(float(numbers.owned));
        self.replay.set(if whole == 0 { 1.0 } else { float(done) / float(whole) });
        self.commands.set(float(numbers.commands));
        self.tracker_lag.set(float(numbers.tracker_lag));
        self.last.clone_from(numbers);
    }
}

impl Flow {
    fn add(&self, last: &PartitionNumbers, now: &PartitionNumbers) {
        let levels: [(&[Counter], &Levels, &Levels); 6] = [
            (&self.submitted, &last.submitted, &now.submitted),
            (&self.allocated, &last.allocated, &now.allocated),
            (&self.started, &last.started, &now.started),
            (&self.completed, &last.completed, &now.completed),
            (&self.retried, &last.retried, &now.retried),
            (&self.cancelled, &last.cancelled, &now.cancelled),
        ];
        for (counters, old, new) in levels {
            rise(counters, old, new);
        }
        for (outcome, counters) in self.inbox.iter().enumerate() {
            rise(counters, &last.inbox[outcome], &now.inbox[outcome]);
        }
        for (cause, counters) in self.failed.iter().enumerate() {
            rise(counters, &last.failed[cause], &now.failed[cause]);
        }
        rise(&self.released, &last.released, &now.released);
        rise(&self.dead, &last.dead, &now.dead);
        rise(&self.fits, &last.fits, &now.fits);
        rise(&self.lease_rejected, &last.lease_rejected, &now.lease_rejected);
        let expired = now.leases_expired.saturating_sub(last.leases_expired);
        self.leases_expired.increment(expired);
        observe(&self.wait, &last.wait, &now.wait);
        observe(&self.run, &last.run, &now.run);
        observe(&self.total, &last.total, &now.total);
    }
}

/// A counter that fell belongs to a partition that began anew: it waits until it is passed again.
fn rise(counters: &[Counter], last: &[u64], now: &[u64]) {
    for (counter, (old, new)) in counters.iter().zip(last.iter().zip(now)) {
        counter.increment(new.saturating_sub(*old));
    }
}

fn observe(histograms: &[Histogram], last: &LevelBuckets, now: &LevelBuckets) {
    for (histogram, (old, new)) in histograms.iter().zip(last.iter().zip(now)) {
        record_rise(histogram, old, new, middle_seconds);
    }
}

/// Records what came to each bucket as the value in its middle.
fn record_rise(
    histogram: &Histogram,
    last: &[u64; BUCKETS],
    now: &[u64; BUCKETS],
    middle: impl Fn(usize) -> f64,
) {
    for (bits, (before, after)) in last.iter().zip(now).enumerate() {
        let many = usize::try_from(after.saturating_sub(*before)).unwrap_or(usize::MAX);
        if many > 0 {
            histogram.record_many(middle(bits), many);
        }
    }
}

/// Middle of the values of a bit length: 0, 1, 2–3, 4–7 …
fn middle(bits: usize) -> f64 {
    let width = i32::try_from(bits).expect("a bit length is small");
    if bits == 0 { 0.0 } else { 0.75 * 2_f64.powi(width) - 0.5 }
}

/// Middle of the values of a bit length, in seconds: 0, 1, 2–3, 4–7 … ms.
fn middle_seconds(bits: usize) -> f64 {
    let width = i32::try_from(bits).expect("a bit length is small");
    if bits == 0 { 0.0 } else { 0.000_75 * 2_f64.powi(width) }
}

#[expect(clippy::cast_precision_loss, reason = "a shown number may be off by one in 2^53")]
fn float(number: u64) -> f64 {
    number as f64
}

fn small(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
