//! What a scrape shows.

use super::*;
use crate::model::id::PartitionId;

fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{page}")).parse().unwrap()
}

fn metrics() -> Metrics {
    install("0.1.0", "embedded")
}

#[test]
fn every_declared_metric_is_rendered_with_help_and_type() {
    let metrics = metrics();
    metrics.publish_partition(PartitionId(0), &PartitionNumbers { owned: 1, ..Default::default() });
    metrics.http_request("/kwq/consume", "POST", 200, 0.01);
    for histogram in [&metrics.turn_seconds, &metrics.log_append_seconds] {
        histogram.record(0.001);
    }
    metrics.tracker_apply_seconds.record(0.001);
    metrics.queried(QueryKind::Id, 0.001);
    metrics.consumed(ConsumeOutcome::Empty, 0);
    let mut numbers = PartitionNumbers::default();
    for buckets in [&mut numbers.wait, &mut numbers.run, &mut numbers.total] {
        buckets[4][3] = 1;
    }
    metrics.publish_partition(PartitionId(0), &numbers);
    let mut log = LogShown::default();
    (log.sync_micros[12], log.sync_records[1]) = (1, 1);
    metrics.publish_log(log);
    let page = metrics.render();
    for metric in ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert!(page.contains(&format!("# HELP {} ", metric.name)), "no help of {}", metric.name);
        assert!(
            page.contains(&format!("# TYPE {} {kind}\n", metric.name)),
            "{}\n{page}",
            metric.name
        );
        assert_eq!(
            metric.name.ends_with("_total"),
            metric.kind == Kind::Counter,
            "{}",
            metric.name
        );
        assert_eq!(metric.buckets.is_empty(), metric.kind != Kind::Histogram, "{}", metric.name);
    }
    assert!(page.contains("process_resident_memory_bytes "), "{page}");
    assert_eq!(value(&page, "kwq_build_info{version=\"0.1.0\",backend=\"embedded\"}"), 1.0);
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 1_500, "{series} series");
}

#[test]
fn a_log_that_was_opened_again_is_counted_on() {
    let metrics = metrics();
    let mut log = LogShown { bytes: [700, 30], free_bytes: Some(9_000), ..LogShown::default() };
    (log.sync_micros[12], log.sync_records[1], log.sync_records[3]) = (5, 3, 2);
    metrics.publish_log(log.clone());
    metrics.publish_log(log);
    let mut again = LogShown::default();
    (again.sync_micros[12], again.sync_records[1]) = (2, 2);
    metrics.publish_log(again);
    let page = metrics.render();
    assert_eq!(value(&page, "kwq_log_sync_seconds_count"), 7.0);
    assert_eq!(value(&page, "kwq_log_sync_seconds_bucket{le=\"0.002047\"}"), 0.0);
    assert_eq!(value(&page, "kwq_log_sync_seconds_bucket{le=\"0.004095\"}"), 7.0);
    assert_eq!(value(&page, "kwq_log_sync_records_bucket{le=\"1\"}"), 5.0);
    assert_eq!(value(&page, "kwq_log_sync_records_bucket{le=\"7\"}"), 7.0);
    assert_eq!(value(&page, "kwq_log_bytes{kind=\"segment\"}"), 0.0);
    assert_eq!(value(&page, "kwq_disk_free_bytes"), 9_000.0, "unknown is not zero");
}

#[test]
fn only_differences_reach_the_counters() {
    let metrics = metrics();
    let mut numbers = PartitionNumbers::default();
    numbers.submitted[4] = 10;
    numbers.failed[FailCause::Crash as usize][8] = 2;
    metrics.publish_partition(PartitionId(1), &numbers);
    numbers.submitted[4] = 15;
    metrics.publish_partition(PartitionId(1), &numbers);
    metrics.publish_partition(PartitionId(0), &numbers);
    let page = metrics.render();
    let submitted = "kwq_tasks_submitted_total{priority=\"5\",kind=\"rest\"}";
    assert_eq!(value(&page, submitted), 30.0);
    assert_eq!(value(&page, "kwq_tasks_failed_total{priority=\"9\",cause=\"crash\"}"), 4.0);
    metrics.rebase_partition(PartitionId(1), &PartitionNumbers::default());
    numbers.submitted[4] = 1;
    metrics.publish_partition(PartitionId(1), &numbers);
    assert_eq!(value(&metrics.render(), submitted), 31.0);
}

#[test]
fn gauges_are_sums_or_the_worst_of_all_partitions() {
    let metrics = metrics();
    for (partition, pending, age) in [(0, 3, 5_000), (1, 4, 1_500)] {
        let mut numbers = PartitionNumbers { owned: 1, replay: (1, 4), ..Default::default() };
        numbers.states[TaskState::Pending.index()] = pending;
        numbers.depth[8] = pending;
        numbers.oldest_age_ms[8] = age;
        numbers.commands = 7;
        metrics.publish_partition(PartitionId(partition), &numbers);
    }
    let page = metrics.render();
    assert_eq!(value(&page, "kwq_tasks{state=\"PENDING\"}"), 7.0);
    assert_eq!(value(&page, "kwq_queue_depth{priority=\"9\"}"), 7.0);
    assert_eq!(value(&page, "kwq_queue_oldest_age_seconds{priority=\"9\"}"), 5.0);
    assert_eq!(value(&page, "kwq_partition_replay_ratio{partition=\"1\"}"), 0.25);
    assert_eq!(value(&page, "kwq_command_queue_depth{partition=\"0\"}"), 7.0);
}

#[test]
fn a_bit_length_falls_into_the_bucket_of_its_power() {
    for ms in [0_u64, 1, 2, 3, 4, 500, 1_000, 59_999, 16_000_000] {
        let metrics = metrics();
        let bits = usize::try_from(64 - ms.leading_zeros()).unwrap().min(BUCKETS - 1);
        let mut numbers = PartitionNumbers::default();
        numbers.wait[0][bits] = 2;
        metrics.publish_partition(PartitionId(0), &numbers);
        let page = metrics.render();
        let exact = names::POWERS.iter().find(|bound| ms as f64 / 1_000.0 < **bound).unwrap();
        let series = format!("kwq_task_wait_seconds_bucket{{priority=\"1\",le=\"{exact}\"}}");
        assert_eq!(value(&page, &series), 2.0, "{ms} ms");
        let below = names::POWERS.iter().rev().find(|bound| *bound < exact);
        if let Some(below) = below {
            let series = format!("kwq_task_wait_seconds_bucket{{priority=\"1\",le=\"{below}\"}}");
            assert_eq!(value(&page, &series), 0.0, "{ms} ms");
        }
    }
}

#[test]
fn labelled_handles_count_under_their_word() {
    let metrics = metrics();
    metrics.shed(ShedClass::Report, ShedReason::Disk);
    metrics.consumed(ConsumeOutcome::Tasks, 8);
    metrics.connection_opened(ConnectionKind::Poll);
    metrics.connection_opened(ConnectionKind::Poll);
    metrics.connection_closed(ConnectionKind::Poll);
    metrics.set_jobs(JobState::CompletedWithErrors, 6);
    metrics.set_workers(WorkerShown::Lost, 2);
    metrics.http_request("/kwq/jobs/{job}", "GET", 404, 0.2);
    metrics.http_request("/kwq/jobs/{job}", "GET", 404, 0.2);
    let page = metrics.render();
    for (series, expected) in [
        ("kwq_shed_total{class=\"report\",reason=\"disk\"}", 1.0),
        ("kwq_shed_total{class=\"submit\",reason=\"disk\"}", 0.0),
        ("kwq_consume_total{outcome=\"tasks\"}", 1.0),
        ("kwq_consume_batch_tasks_bucket{le=\"10\"}", 1.0),
        ("kwq_http_connections{kind=\"poll\"}", 1.0),
        ("kwq_jobs{state=\"COMPLETED_WITH_ERRORS\"}", 6.0),
        ("kwq_workers{state=\"lost\"}", 2.0),
    ] {
        assert_eq!(value(&page, series), expected, "{series}");
    }
    let request =
        "kwq_http_request_seconds_count{route=\"/kwq/jobs/{job}\",method=\"GET\",code=\"404\"}";
    assert_eq!(value(&page, request), 2.0);
}
