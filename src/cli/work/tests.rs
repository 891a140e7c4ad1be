//! Commands against the table of exit codes; real processes, no server.

use super::child::{Command, End, run, verdict};
use super::duty::Reports;
use crate::client::worker::{HandOut, Report};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::oneshot;

fn task(payload: &str) -> HandOut {
    let text = serde_json::json!({
        "id": "t-1", "ref": "5-0-1", "groupId": "job a", "priority": 7, "attempt": 2, "lease": "L",
        "tags": ["currency:USD", "x"], "payload": payload, "encoding": "text", "index": 17,
        "traceparent": "00-ab",
    });
    serde_json::from_value(text).expect("a hand-out")
}

fn shell(script: &str) -> Command {
    let arguments = vec!["-c".to_owned(), script.to_owned()];
    Command { program: PathBuf::from("/bin/sh"), arguments, worker: "w".to_owned() }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

fn report_of(script: &str, payload: &str) -> Report {
    let (_stop, stopped) = oneshot::channel();
    match block_on(run(&shell(script), &task(payload), stopped)) {
        End::Report(report) => report,
        End::Stopped => panic!("nobody stopped it"),
        End::NoCommand(error) => panic!("{error}"),
    }
}

#[test]
fn stdin_is_the_payload_and_stdout_the_result() {
    let report = report_of("cat", "in and out\n");
    assert_eq!(report.kind, "complete");
    assert_eq!(report.result.as_deref(), Some("in and out\n"));
    assert!(report.run_ms.is_some());
}

#[test]
fn a_payload_nobody_reads_does_no_harm() {
    let report = report_of("echo done", &"x".repeat(1 << 20));
    assert_eq!(report.result.as_deref(), Some("done\n"));
}

#[test]
fn the_environment_names_the_task() {
    let script = "printf '%s|' \"$KWQ_TASK_ID\" \"$KWQ_TASK_REF\" \"$KWQ_JOB\" $KWQ_ATTEMPT \
                  $KWQ_PRIORITY \"$KWQ_TAGS\" $KWQ_INDEX $KWQ_WORKER $TRACEPARENT";
    let report = report_of(script, "");
    let expected = "t-1|5-0-1|job a|2|7|currency:USD,x|17|w|00-ab|";
    assert_eq!(report.result.as_deref(), Some(expected));
}

#[test]
fn exit_codes_become_classes() {
    let cases = [
        ("exit 65", "exit:65", false),
        ("exit 75", "tempfail", true),
        ("exit 3", "exit:3", true),
        ("kill -9 $$", "signal:9", true),
    ];
    for (script, class, retryable) in cases {
        let report = report_of(script, "");
        assert_eq!(report.kind, "fail", "{script}");
        assert_eq!(report.class.as_deref(), Some(class), "{script}");
        assert_eq!(report.retryable, Some(retryable), "{script}");
    }
}

#[test]
fn the_message_is_the_end_of_stderr() {
    let script = "i=0; while [ $i -lt 2000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1";
    let message = report_of(script, "").message.expect("a message");
    assert!(message.len() <= 4_096 && message.ends_with("line 1999"), "{}", message.len());
}

#[test]
fn too_much_output_is_a_failure_that_no_repeat_mends() {
    let report = report_of("head -c 1000000 /dev/zero", "");
    assert_eq!(report.class.as_deref(), Some("result_too_large"));
    assert_eq!(report.retryable, Some(false));
}

#[test]
fn a_stop_ends_the_whole_group_and_reports_nothing() {
    let (stop, stopped) = oneshot::channel();
    // The shell has a child of its own, which holds the pipes.
    let (command, task) = (shell("sleep 60 & wait"), task(""));
    let started = std::time::Duration::from_millis(100);
    let end = block_on(async {
        let running = run(&command, &task, stopped);
        let stopping = async {
            tokio::time::sleep(started).await;
            stop.send(Duration::from_secs(10)).expect("it runs");
        };
        let both = async { tokio::join!(running, stopping).0 };
        tokio::time::timeout(Duration::from_secs(5), both).await
    });
    assert!(matches!(end, Ok(End::Stopped)), "SIGTERM reached the group, no pipe was waited for");
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_after_its_grace() {
    let (stop, stopped) = oneshot::channel();
    let (command, task) = (shell("trap '' TERM; while :; do sleep 0.05; done"), task(""));
    let end = block_on(async {
        let running = run(&command, &task, stopped);
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            stop.send(Duration::from_millis(100)).expect("it runs");
        };
        let both = async { tokio::join!(running, stopping).0 };
        tokio::time::timeout(Duration::from_secs(5), both).await
    });
    assert!(matches!(end, Ok(End::Stopped)));
}

#[test]
fn a_command_that_does_not_exist_is_no_failure_of_the_task() {
    let (_stop, stopped) = oneshot::channel();
    let command = Command {
        program: PathBuf::from("/no/such/command"),
        arguments: Vec::new(),
        worker: "w".to_owned(),
    };
    let end = block_on(run(&command, &task(""), stopped));
    assert!(matches!(end, End::NoCommand(_)));
}

#[test]
fn an_outcome_that_cannot_be_read_is_a_retryable_failure() {
    let error = std::io::Error::other("gone");
    let report = verdict("L", Err(error), Vec::new(), b"", 1);
    assert_eq!((report.kind, report.retryable), ("fail", Some(true)));
}

#[test]
fn reports_keep_their_order_and_come_back_when_unsettled() {
    let mut reports = Reports::default();
    for i in 0..3 {
        reports.push(Report::complete(&format!("L{i}"), 1, Vec::new()));
    }
    let sent = reports.take_for_consume();
    assert!(reports.is_empty() && sent.len() == 3);
    reports.push(Report::complete("L3", 1, Vec::new()));
    reports.put_back(sent, true);
    assert!(reports.take_for_consume().is_empty(), "they must go alone now");
    let again = reports.take_for_report();
    let leases: Vec<&str> = again.iter().map(|report| report.lease.as_str()).collect();
    assert_eq!(leases, ["L0", "L1", "L2", "L3"]);
}

#[test]
fn a_call_never_carries_more_than_a_body_may_hold() {
    let mut reports = Reports::default();
    for i in 0..20 {
        reports.push(Report::complete(&format!("L{i}"), 1, vec![b'x'; 64 << 10]));
    }
    let mut taken = 0;
    while !reports.is_empty() {
        let sent = reports.take_for_report();
        let bytes: usize = sent.iter().map(Report::weight).sum();
        assert!(bytes <= 1 << 20 && !sent.is_empty());
        taken += sent.len();
    }
    assert_eq!(taken, 20);
}
