//! How the reasons why a task is not running look on a terminal.

use super::Context;
use super::human;
use super::out::{Format, View, number, text};
use serde_json::Value;

const VIEW: View = View { id: "id", columns: &[] };

/// Shows an explanation.
pub(super) fn show(context: &Context, body: &str) {
    if context.out.format() != Format::Table {
        return context.out.one(body, &VIEW);
    }
    let why: Value = serde_json::from_str(body).unwrap_or_default();
    lines(&why).iter().for_each(|line| context.out.data(line));
}

fn lines(why: &Value) -> Vec<String> {
    let waited = human::duration(number(why, "waitedMs"));
    let head = format!(
        "{}  {}  waited {waited} · priority {} · partition {}",
        text(why, "id"),
        text(why, "state"),
        text(why, "priority"),
        text(why, "partition")
    );
    let reasons = why.get("reasons").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut lines = vec![head];
    for (place, reason) in (1..).zip(&reasons) {
        let (code, detail) = (text(reason, "code"), text(reason, "detail"));
        lines.push(format!("  {place}  {code:<22} {detail}"));
    }
    if reasons.is_empty() {
        lines.push("  nothing goes first: the next hand-out takes it".to_owned());
    }
    if let Some(start) = why.get("estimatedStart_ts").and_then(Value::as_u64) {
        let rate = why.get("handOutsPerSec").and_then(Value::as_f64).unwrap_or(0.0);
        let stamp = human::stamp(start);
        lines.push(format!("expected start {stamp} ({rate:.1} hand-outs/s in its partition)"));
    }
    lines
}
