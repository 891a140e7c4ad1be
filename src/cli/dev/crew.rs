//! The worker processes of `kwq dev`: the same binary as `kwq work`, one process each.

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// Time for a worker to finish what it holds: a few prices.
const FINISH: Duration = Duration::from_secs(4);
/// Work fetched at a time.
const TARGET: &str = "250ms";

/// What the curves of a worker were worth.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Usage {
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) saved_seconds: f64,
}

/// The workers.
#[derive(Default)]
pub(super) struct Crew {
    children: Vec<Child>,
    readers: JoinSet<()>,
    usage: Vec<Arc<Mutex<Usage>>>,
}

impl Crew {
    /// Starts `count` workers for a job.
    pub(super) fn start(url: &str, job: &str, count: u16) -> std::io::Result<Self> {
        let mut crew = Self::default();
        let (program, parent) = (std::env::current_exe()?, std::process::id().to_string());
        for i in 1..=count {
            let name = format!("dev-{parent}-{i}");
            let mut command = Command::new(&program);
            command
                .args(["work", "--pricing", "--quiet", "--url", url, "--job", job])
                .args(["--target", TARGET, "--worker", &name, "--parent", &parent])
                .args(["--endpoint", "local"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                // Ctrl-C in the terminal must reach them once, from here.
                .process_group(0)
                .kill_on_drop(true);
            let mut child = command.spawn()?;
            if let Some(stdout) = child.stdout.take() {
                crew.listen(stdout);
            }
            crew.children.push(child);
        }
        Ok(crew)
    }

    fn listen(&mut self, stdout: ChildStdout) {
        let usage = Arc::new(Mutex::new(Usage::default()));
        self.usage.push(Arc::clone(&usage));
        self.readers.spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(latest) = serde_json::from_str(&line) {
                    *usage.lock().unwrap_or_else(PoisonError::into_inner) = latest;
                }
            }
        });
    }

    /// True when workers were started and none is left.
    pub(super) fn all_gone(&mut self) -> bool {
        !self.children.is_empty()
            && self.children.iter_mut().all(|child| matches!(child.try_wait(), Ok(Some(_))))
    }

    /// Asks all to finish, and ends those that do not.
    pub(super) async fn stop(&mut self) {
        for child in &self.children {
            let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            if let Some(id) = id {
                // An error means that it has ended already.
                let _gone = kill_process(id, Signal::TERM);
            }
        }
        let until = Instant::now() + FINISH;
        for child in &mut self.children {
            if timeout_at(until, child.wait()).await.is_err() {
                // Its leases come back by themselves.
                let _gone = child.kill().await;
            }
        }
        self.children.clear();
        while self.readers.join_next().await.is_some() {}
    }

    /// Sum over all workers so far.
    pub(super) fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        for usage in &self.usage {
            let usage = usage.lock().unwrap_or_else(PoisonError::into_inner);
            sum.hits += usage.hits;
            sum.misses += usage.misses;
            sum.saved_seconds += usage.saved_seconds;
        }
        sum
    }
}
