//! Queues, numbers, cluster, health, metrics (`api.md` 8, 9, 10; `promises.md` 9).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Req, Server, eventually, int, shared, text, unique};

const STATES: [&str; 9] = [
    "BLOCKED",
    "DELAYED",
    "PENDING",
    "ALLOCATED",
    "RUNNING",
    "COMPLETED",
    "ERROR",
    "CANCELLED",
    "EXPIRED",
];

// api.md 8: nine rows, 9 first.
#[test]
fn queues_are_nine_rows_nine_first() {
    let server = Server::start(&[]);
    let job = unique("q");
    server.add(
        &job,
        &json!([{"priority": 9}, {"priority": 4}, {"priority": 4},
        {"priority": 4, "delayMs": 3_600_000}]),
    );
    server.take("q", &job);
    let body = server.get("/kwq/queues").ok();
    let rows = body.as_array().expect("rows");
    let order: Vec<i64> = rows.iter().map(|r| int(r, "priority")).collect();
    assert_eq!(order, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    for row in rows {
        assert_eq!(text(row, "topic"), format!("KWQ-{}", int(row, "priority")));
        assert_eq!(row["paused"], false);
        for name in ["pending", "delayed", "allocated", "running", "oldestAgeMs", "jobs"] {
            assert!(int(row, name) >= 0, "{row}");
        }
        assert!(row["inPerSec"].is_number() && row["outPerSec"].is_number(), "{row}");
    }
    let four = rows.iter().find(|r| r["priority"] == 4).expect("nine rows");
    assert_eq!((int(four, "pending"), int(four, "delayed"), int(four, "jobs")), (2, 1, 1));
    let nine = rows.first().expect("nine rows");
    assert_eq!((int(nine, "pending"), int(nine, "allocated")), (0, 1));
}

// S 11.2, P12: a paused level hands out nothing, others go on; `all` pauses everything.
#[test]
fn a_paused_level_hands_out_nothing() {
    let server = Server::start(&[]);
    let job = unique("level");
    server.add(&job, &json!([{"priority": 9}, {"priority": 5}]));
    let rows = server.post("/kwq/queues/9/pause", &json!({"reason": "test"})).ok();
    assert_eq!(rows[0]["paused"], true);
    assert_eq!(rows[4]["paused"], false);
    let held = server.consume("l", &job, &json!({"max": 9}));
    assert_eq!(held.iter().map(|t| int(t, "priority")).collect::<Vec<_>>(), [5]);
    assert_eq!(server.poke("/kwq/queues/9/resume").ok()[0]["paused"], false);
    assert_eq!(server.consume("l", &job, &json!({"max": 9})).len(), 1);
    let rows = server.poke("/kwq/queues/all/pause").ok();
    assert!(rows.as_array().is_some_and(|r| r.iter().all(|row| row["paused"] == true)));
    server.submit(&json!({"groupId": job}));
    assert!(server.consume("l", &job, &json!({})).is_empty());
    server.poke("/kwq/queues/all/resume").expect(200);
    assert_eq!(server.consume("l", &job, &json!({})).len(), 1);
}

// api.md 8: p = 1…9 or all; else 400.
#[test]
fn a_level_that_does_not_exist_is_refused() {
    for level in ["0", "10", "x", "-1", "5.0"] {
        shared().poke(&format!("/kwq/queues/{level}/pause")).refused(400, "bad_request");
    }
}

// api.md 8: the snapshot of stats/now; exact counts when nothing else runs.
#[test]
fn stats_now_is_exact_and_conserved() {
    let server = Server::start(&[]);
    let (a, b) = (unique("a"), unique("b"));
    server.add(&a, &Value::Array(vec![json!({"maxAttempts": 1}); 6]));
    server.add(&b, &json!([{"delayMs": 3_600_000}]));
    let held = server.consume("s", &a, &json!({"max": 3}));
    let [first, second, _] = held.as_slice() else { panic!("three") };
    server.complete(first);
    server.report("fail", &second["lease"], &json!({})).expect(200);
    let body = server.get("/kwq/stats/now?fresh=true").ok();
    let expected = json!({"BLOCKED": 0, "DELAYED": 1, "PENDING": 3, "ALLOCATED": 1, "RUNNING": 0,
        "COMPLETED": 1, "ERROR": 1, "CANCELLED": 0, "EXPIRED": 0});
    assert_eq!(body["tasks"], expected);
    let sum: i64 = STATES.iter().map(|s| int(&body["tasks"], s)).sum();
    assert_eq!((int(&body, "submitted"), int(&body, "purged")), (sum, 0), "P14");
    assert_eq!(int(&body, "leases"), 1);
    assert_eq!(int(&body, "consumersWaiting"), 0);
    assert!(["ok", "warn", "bad"].contains(&text(&body["verdict"], "level")));
    assert!(body["verdict"]["text"].is_string());
    assert_eq!(body["queues"].as_array().map(Vec::len), Some(9));
    for name in ["submit", "allocate", "complete", "fail"] {
        assert!(body["rates"][name].is_number(), "{body}");
    }
    for name in ["p50Ms", "p95Ms", "p99Ms"] {
        assert!(body["wait"][name].is_number(), "{body}");
    }
    for name in ["idle", "busy", "draining", "lost"] {
        assert!(body["workers"][name].is_u64(), "{body}");
    }
    let jobs = body["jobs"].as_array().expect("jobs");
    assert_eq!(jobs.first().map(|j| (&j["id"], &j["pending"])), Some((&json!(a), &json!(3))));
    assert_eq!(body["partitions"].as_array().map(Vec::len), Some(3));
    assert_eq!(body["partitions"][0]["state"], "READY");
    assert!(body["alerts"].is_array() && int(&body, "ts") > 1_000_000_000_000);
}

// api.md 8: cluster: one node that owns every partition.
#[test]
fn the_cluster_is_one_node_with_all_partitions() {
    let body = shared().get("/kwq/cluster").ok();
    assert_eq!((text(&body, "backend"), text(&body, "durability")), ("embedded", "full"));
    assert!(body["version"].is_string());
    let nodes = body["nodes"].as_array().expect("nodes");
    assert_eq!(nodes.len(), 1);
    assert!(nodes.first().is_some_and(|n| n["node"].is_string() && n["lastSeen_ts"].is_i64()));
    let partitions = body["partitions"].as_array().expect("partitions");
    assert_eq!(partitions.len(), 3);
    for (i, row) in (0..).zip(partitions) {
        assert_eq!((int(row, "partition"), text(row, "state")), (i, "READY"));
        assert_eq!(row["owner"], nodes[0]["node"]);
        assert!(int(row, "pending") >= 0 && row["replayPercent"].is_number(), "{row}");
        assert!(row["position"].is_string() && row["epoch"].is_string(), "strings: {row}");
    }
}

// api.md 14, 15: reduced durability is told with its reasons wherever durability stands.
#[test]
fn reduced_durability_is_told_everywhere() {
    let server = Server::start(&["log.durability=os"]);
    for path in ["/kwq", "/kwq/cluster", "/kwq/health/ready"] {
        let body = server.get(path).ok();
        assert_eq!(body["durability"], "reduced", "{path}");
        let reasons = body["durabilityReasons"].as_array().expect("reasons");
        assert_eq!(reasons, &[json!("log.durability=os")], "{path}");
    }
    let metrics = server.get("/metrics").expect(200).text();
    assert!(metrics.contains("\nkwq_durability_reduced 1"), "{metrics}");
}

// api.md 9: GET /kwq by Accept.
#[test]
fn the_root_answers_text_or_json() {
    let server = shared();
    let plain = server.call(&Req::new("GET", "/kwq").header("Accept", "text/plain"));
    let line = plain.expect(200).text();
    assert!(line.starts_with("kwq ") && line.trim_end().lines().count() == 1, "{line:?}");
    assert!(plain.header("Content-Type").is_some_and(|t| t.starts_with("text/plain")));
    for req in [
        Req::new("GET", "/kwq"),
        Req::new("GET", "/kwq").header("Accept", "application/json"),
        Req::new("GET", "/kwq").header("Accept", "*/*"),
    ] {
        let body = server.call(&req).ok();
        assert_eq!((text(&body, "name"), text(&body, "backend")), ("kwq", "embedded"));
        assert_eq!((int(&body, "partitions"), &body["ready"]), (3, &json!(true)));
        assert_eq!(text(&body, "durability"), "full");
        assert!(line.contains(text(&body, "version")));
    }
}

// api.md 1.1, 8: without tokens on loopback everybody has every role.
#[test]
fn everybody_has_every_role_without_tokens() {
    let body = shared().get("/kwq/me").ok();
    let roles: BTreeSet<String> = crate::support::sorted(&body["roles"]).into_iter().collect();
    let all = ["admin", "operate", "payload", "submit", "view", "work"];
    assert_eq!(roles, all.iter().map(|r| (*r).to_owned()).collect());
    assert!(body["scopes"].is_array() && body["features"].is_array(), "{body}");
    assert_eq!(body["readOnly"], false);
}

// promises.md 9: the body of ready; live; the aliases; HEAD on health.
#[test]
fn health_answers_live_and_ready() {
    let server = shared();
    for path in ["/kwq/health/live", "/livez"] {
        assert_eq!(server.get(path).ok(), json!({"live": true}));
    }
    for path in ["/kwq/health/ready", "/readyz"] {
        let body = server.get(path).ok();
        assert_eq!((&body["ready"], &body["draining"]), (&json!(true), &json!(false)));
        assert_eq!((&body["reasons"], text(&body, "durability")), (&json!([]), "full"));
        let expected = json!({"owned": 3, "ready": 3, "indexing": 0, "failed": 0});
        assert_eq!(body["partitions"], expected);
        let head = server.call(&Req::new("HEAD", path));
        assert!(head.expect(200).body.is_empty());
    }
}

// ecosystem.md 2, api.md 10: Prometheus text with HELP and TYPE; labels never name jobs or tasks.
#[test]
fn metrics_are_prometheus_text_with_bounded_labels() {
    let (server, job, worker) = (shared(), unique("secretjob"), unique("secretworker"));
    let held =
        server.leased(&worker, &job, &json!({"id": unique("secrettask"), "tag": "t:secret"}));
    server.complete(&held);
    let answer = server.get("/metrics");
    let text = answer.expect(200).text();
    let kind = answer.header("Content-Type").unwrap_or_default();
    assert!(kind.starts_with("text/plain") && kind.contains("version=0.0.4"), "{kind}");
    assert!(!text.contains("secret"), "labels never name a job, task, worker or tag");
    let named = |word: &str| -> BTreeSet<&str> {
        text.lines().filter_map(|l| l.strip_prefix(word)?.split(' ').next()).collect()
    };
    let (help, kinds) = (named("# HELP "), named("# TYPE "));
    assert_eq!(help, kinds, "every metric has both lines");
    for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s));
        let known = kinds.contains(name) || base.is_some_and(|b| kinds.contains(b));
        assert!(known, "no TYPE for {line}");
        let value = line.rsplit(' ').next().unwrap_or_default();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    for name in ["kwq_tasks", "kwq_queue_depth", "kwq_build_info", "kwq_consumers_waiting"] {
        assert!(kinds.contains(name), "{name} is missing");
    }
    assert!(text.len() <= 1024 * 1024, "a scrape is at most 1 MiB");
}

// ecosystem.md 2: what one sync of the log takes and holds, what its files take, what is left.
#[test]
fn the_log_shows_its_syncs_and_its_room() {
    let server = Server::start(&["log.partitions=1"]);
    server.submit(&json!({"groupId": "g"}));
    let page = eventually("a sync is counted", || {
        let page = server.get("/metrics").expect(200).text();
        (series(&page, "kwq_log_sync_records_bucket{le=\"0\"}")
            < series(&page, "kwq_log_sync_records_count"))
        .then_some(page)
    });
    assert!(series(&page, "kwq_log_sync_seconds_count") >= 1.0, "{page}");
    assert!(series(&page, "kwq_log_sync_seconds_sum") > 0.0, "{page}");
    assert!(series(&page, "kwq_log_bytes{kind=\"segment\"}") >= f64::from(4 << 20), "{page}");
    assert!(series(&page, "kwq_disk_free_bytes") > 0.0, "{page}");
    server.poke("/kwq/admin/image").expect(200);
    eventually("the image is counted", || {
        let page = server.get("/metrics").expect(200).text();
        (series(&page, "kwq_log_bytes{kind=\"image\"}") > 0.0).then_some(())
    });
}

/// The value of one series; 0 without it.
fn series(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}
