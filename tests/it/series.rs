//! `GET /kwq/stats/series`: numbers over time (`api.md` 8).

use serde_json::{Value, json};

use crate::support::{Server, eventually, int, now_ms};

fn series(server: &Server, names: &str, range: &str) -> Value {
    server.get(&format!("/kwq/stats/series?name={names}&range={range}")).ok()
}

/// The values of one series that are known.
fn known(body: &Value, name: &str) -> Vec<f64> {
    let values = body["series"][name].as_array().unwrap_or_else(|| panic!("{name}: {body}"));
    values.iter().filter_map(Value::as_f64).collect()
}

// What happens shows within a second or two, in every range.
#[test]
fn what_was_counted_is_there_at_once() {
    let server = Server::start(&[]);
    server.add("s", &Value::Array(vec![json!({"maxAttempts": 1}); 6]));
    let held = server.consume("w", "s", &json!({"max": 4}));
    let [done, failed, runs, _] = held.as_slice() else { panic!("four") };
    server.complete(done);
    server.report("fail", &failed["lease"], &json!({})).expect(200);
    server.report("start", &runs["lease"], &json!({})).expect(200);
    for range in ["10m", "6h", "7d"] {
        let names = "submit,allocate,complete,fail,waitP99Ms";
        eventually(range, || {
            let body = series(&server, names, range);
            let seen = |name: &str| known(&body, name).iter().any(|value| *value > 0.0);
            ["submit", "allocate", "complete", "fail"].iter().all(|name| seen(name)).then_some(())
        });
        let body = series(&server, names, range);
        assert!(!known(&body, "waitP99Ms").is_empty(), "there were hand-outs: {body}");
    }
    let latest = |name: &str| known(&series(&server, name, "10m"), name).last().copied();
    eventually("2 wait, 1 runs", || {
        let now = (latest("pending"), latest("running"));
        (now == (Some(2.0), Some(1.0))).then_some(())
    });
    assert!(latest("oldestAgeMs") > Some(0.0));
}

// api.md 8: since process start in R1.
#[test]
fn a_restart_begins_anew() {
    let mut server = Server::start(&[]);
    server.submit(&json!({}));
    eventually("a value", || known(&series(&server, "submit", "10m"), "submit").pop());
    server.terminate();
    let restarted = now_ms();
    server.launch();
    let body = eventually("a value", || {
        Some(series(&server, "submit,pending", "10m")).filter(|b| !known(b, "pending").is_empty())
    });
    assert!(int(&body, "from_ts") >= restarted - 1_000, "{body}");
    let submits: f64 = known(&body, "submit").iter().sum();
    assert_eq!(submits, 0.0, "what was submitted before is not counted again: {body}");
    assert_eq!(known(&body, "pending").last(), Some(&1.0), "{body}");
}
