//! Everything at once at 100,000 tasks: three priorities, fifty jobs with weights, affinity, 1 %
//! failures, 0.1 % lost workers, pauses, a cancel, a redrive. The same at any size:
//! `kwq bench mixed --spawn --tasks N`.

use serde_json::Value;

use crate::support::{Folder, int, kwq};

#[test]
fn a_mixed_load_drains_with_exact_counters_and_nothing_lost_or_doubled() {
    let folder = Folder::new("kwq-mixed");
    let dir = folder.path().to_string_lossy().into_owned();
    let args = ["bench", "mixed", "--spawn", "--dir", &dir, "--tasks", "100000", "-o", "json"];
    let out = kwq(folder.path(), &args);
    let report: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out.stderr)));
    assert_eq!(report["findings"], serde_json::json!([]), "{report}");
    assert!(out.status.success(), "{report}");
    // What was to happen did happen.
    for what in ["failedAttempts", "lostWorkers", "redriven", "cancelled", "hits"] {
        assert!(int(&report, what) > 0, "{what}: {report}");
    }
    // The rest are what died in the cancelled job before, and what it refused after.
    let rest = int(&report, "tasks") - int(&report, "completed") - int(&report, "cancelled");
    assert!((0..2_000).contains(&rest), "{report}");
}
