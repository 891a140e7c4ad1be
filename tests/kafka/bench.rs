//! `kwq bench kafka` on the real broker: both sides are counted whole, and nothing is left behind.

use crate::broker::address;
use crate::util::wait_until;
use serde_json::Value;
use std::process::Command;

/// Submits over REST per record of a plain client that are needed at least.
const NEEDED: f64 = 0.3;

fn kwq() -> Command {
    Command::new(env!("CARGO_BIN_EXE_kwq"))
}

/// Topics whose names begin like those of the bench.
fn left() -> usize {
    let listed = Command::new("kcat").args(["-L", "-b", address()]).output();
    let listed = listed.expect("kcat runs: apt-get install kcat").stdout;
    String::from_utf8_lossy(&listed).lines().filter(|line| line.contains("kwq-bench-")).count()
}

#[test]
fn the_comparison_with_a_plain_client_counts_every_task_and_cleans_up() {
    let args = ["bench", "kafka", "--kafka", address(), "--rounds", "3", "--tasks", "20000"];
    let ran = kwq().args(args).args(["-o", "json"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{said}");
    let report: Value = serde_json::from_slice(&ran.stdout).expect("one document");
    let rounds = report["rounds"].as_array().expect("a list").iter().filter_map(Value::as_f64);
    let rounds: Vec<f64> = rounds.collect();
    assert_eq!(rounds.len(), 3, "{report}");
    // Both sides of a round see the same machine, but not the same moment of it: the best counts.
    assert!(rounds.iter().any(|ratio| *ratio >= NEEDED), "{report}");
    for books in report["books"].as_array().into_iter().flatten() {
        assert_eq!((&books["acked"], &books["lost"]), (&20_000.into(), &0.into()), "{report}");
    }
    assert!(wait_until(5_000, || left() == 0), "its topics are deleted");
}

#[test]
fn a_broker_that_is_not_there_is_said() {
    let args = ["bench", "kafka", "--kafka", "127.0.0.1:1", "--rounds", "1"];
    let ran = kwq().args(args).output().expect("it runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.code() != Some(0) && said.contains("127.0.0.1:1"), "{said}");
}
