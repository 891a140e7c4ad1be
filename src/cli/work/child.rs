//! One command for one task: payload in, result out, signals by the rules of the contract.
//!
//! Each command leads a process group of its own. So Ctrl-C in a terminal reaches the worker only,
//! which lets commands finish, and a stop reaches what a shell script has started as well.

use crate::client::worker::{HandOut, Report};
use rustix::process::{Pid, Signal, kill_process_group};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};
use tokio::sync::oneshot;

/// Largest result read; the server's limit is lower and decides.
const RESULT_BYTES_MAX: usize = 900 << 10;
/// Part of stderr that becomes the message of a failure.
const MESSAGE_BYTES: usize = 4_096;
/// How long output is waited for after the command itself has ended: something it started may hold
/// the pipes.
const OUTPUT_WAIT: Duration = Duration::from_secs(1);
/// Exit code: the task is bad and will never succeed (`EX_DATAERR`).
const EXIT_BAD_DATA: i32 = 65;
/// Exit code: try again later (`EX_TEMPFAIL`).
const EXIT_TRY_LATER: i32 = 75;

/// A command and how it is stopped.
pub(super) struct Command {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) worker: String,
}

/// How a task ended here.
pub(super) enum End {
    /// Reported.
    Report(Report),
    /// Stopped on request; the asker knows what to report.
    Stopped,
    /// The command cannot be run at all.
    NoCommand(std::io::Error),
}

/// Runs the command once. `stop` fires when the task must not go on.
pub(super) async fn run(
    command: &Command,
    task: &HandOut,
    stop: oneshot::Receiver<Duration>,
) -> End {
    let payload = match task.payload_bytes() {
        Ok(payload) => payload,
        Err(error) => {
            return End::Report(Report::fail(&task.lease, "payload", &error.to_string(), false));
        }
    };
    let mut child = match spawn(command, task) {
        Ok(child) => child,
        Err(error) => return End::NoCommand(error),
    };
    let started = tokio::time::Instant::now();
    let input = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let feeding = feed(input, payload);
    let reading =
        async { tokio::join!(head(stdout, RESULT_BYTES_MAX), tail(stderr, MESSAGE_BYTES)) };
    let waiting = ended(&mut child, stop);
    let piping = async { tokio::join!(feeding, reading).1 };
    tokio::pin!(piping);
    let mut output = None;
    tokio::pin!(waiting);
    let (status, stopped) = loop {
        tokio::select! {
            status = &mut waiting => break status,
            read = &mut piping, if output.is_none() => output = Some(read),
        }
    };
    if output.is_none() {
        output = tokio::time::timeout(OUTPUT_WAIT, piping).await.ok();
    }
    if stopped {
        return End::Stopped;
    }
    let run_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (result, message) = output.unwrap_or_default();
    End::Report(verdict(&task.lease, status, result, &message, run_ms))
}

fn spawn(command: &Command, task: &HandOut) -> std::io::Result<Child> {
    let mut process = tokio::process::Command::new(&command.program);
    process
        .args(&command.arguments)
        .env("KWQ_TASK_ID", &task.id)
        .env("KWQ_TASK_REF", &task.reference)
        .env("KWQ_JOB", &task.group_id)
        .env("KWQ_ATTEMPT", task.attempt.to_string())
        .env("KWQ_PRIORITY", task.priority.to_string())
        .env("KWQ_TAGS", task.tags.join(","))
        .env("KWQ_WORKER", &command.worker)
        .env_remove("KWQ_INDEX")
        .env_remove("TRACEPARENT")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(index) = task.index {
        process.env("KWQ_INDEX", index.to_string());
    }
    if let Some(traceparent) = &task.traceparent {
        process.env("TRACEPARENT", traceparent);
    }
    process.spawn()
}

/// Waits for the end; on `stop` asks with SIGTERM and, after the grace time it names, forces it
/// with SIGKILL. True: it was stopped.
async fn ended(
    child: &mut Child,
    stop: oneshot::Receiver<Duration>,
) -> (std::io::Result<ExitStatus>, bool) {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let grace = tokio::select! {
        biased;
        status = child.wait() => return (status, false),
        told = stop => match told {
            Ok(grace) => grace,
            // The asker has gone without a word: nobody will stop this task any more.
            Err(_) => return (child.wait().await, false),
        },
    };
    signal(group, Signal::TERM);
    if let Ok(status) = tokio::time::timeout(grace, child.wait()).await {
        return (status, true);
    }
    signal(group, Signal::KILL);
    (child.wait().await, true)
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // An error means that it has ended by itself, which is what was wanted.
        let _gone = kill_process_group(group, signal);
    }
}

async fn feed(input: Option<ChildStdin>, payload: Vec<u8>) {
    if let Some(mut input) = input {
        // A command need not read its payload.
        let _unread = input.write_all(&payload).await;
    }
}

/// The first `most` bytes and one more if there are more; the rest is read and dropped, so that the
/// writer goes on.
async fn head(source: Option<impl AsyncRead + Unpin>, most: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut source) = source else { return kept };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = source.read(&mut buffer).await {
        let room = (most + 1).saturating_sub(kept.len()).min(read);
        kept.extend_from_slice(&buffer[..room]);
    }
    kept
}

/// The last `most` bytes.
async fn tail(source: Option<impl AsyncRead + Unpin>, most: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut source) = source else { return kept };
    let mut buffer = vec![0; 4 << 10];
    while let Ok(read @ 1..) = source.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..read]);
        let over = kept.len().saturating_sub(most);
        kept.drain(..over);
    }
    kept
}

/// Exit status → report, by the table of the contract.
pub(super) fn verdict(
    lease: &str,
    status: std::io::Result<ExitStatus>,
    result: Vec<u8>,
    message: &[u8],
    run_ms: u64,
) -> Report {
    let message = String::from_utf8_lossy(message);
    let fail = |class: &str, retryable| {
        let mut report = Report::fail(lease, class, message.trim_end(), retryable);
        report.run_ms = Some(run_ms);
        report
    };
    let status = match status {
        Ok(status) => status,
        Err(error) => return Report::fail(lease, "wait", &error.to_string(), true),
    };
    match (status.code(), status.signal()) {
        (Some(0), _) if result.len() > RESULT_BYTES_MAX => too_large(lease),
        (Some(0), _) => Report::complete(lease, run_ms, result),
        (Some(EXIT_BAD_DATA), _) => fail("exit:65", false),
        (Some(EXIT_TRY_LATER), _) => fail("tempfail", true),
        (Some(code), _) => fail(&format!("exit:{code}"), true),
        (None, Some(signal)) => fail(&format!("signal:{signal}"), true),
        (None, None) => fail("error", true),
    }
}

/// A result no repeat makes smaller.
pub(super) fn too_large(lease: &str) -> Report {
    Report::fail(lease, "result_too_large", "the output is larger than a result may be", false)
}
