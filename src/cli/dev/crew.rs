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
/// Workers replaced in one run; more deaths than these are no accident.
const SPARE: u32 = 100;
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
    url: String,
    job: String,
    token: Option<String>,
    children: Vec<Child>,
    /// Processes started so far; part of a worker's name, which is never used twice.
    started: u32,
    /// Replacements that may still be started.
    spare: u32,
    readers: JoinSet<()>,
    usage: Vec<Arc<Mutex<Usage>>>,
}

impl Crew {
    /// Starts `count` workers for a job.
    pub(super) fn start(
        url: &str,
        token: Option<&str>,
        job: &str,
        count: u16,
    ) -> std::io::Result<Self> {
        let (url, job, token) = (url.to_owned(), job.to_owned(), token.map(str::to_owned));
        let mut crew = Self { url, job, token, spare: SPARE, ..Self::default() };
        for _ in 0..count {
            let child = crew.spawn()?;
            crew.children.push(child);
        }
        Ok(crew)
    }

    fn spawn(&mut self) -> std::io::Result<Child> {
        self.started += 1;
        let parent = std::process::id().to_string();
        let name = format!("dev-{parent}-{}", self.started);
        let mut child = Command::new(std::env::current_exe()?)
            .args(["work", "--pricing", "--quiet", "--url", &self.url, "--job", &self.job])
            .args(["--target", TARGET, "--worker", &name, "--parent", &parent])
            .args(["--endpoint", "local"])
            // Not an argument: those are for everybody on this machine to read.
            .envs(self.token.iter().map(|token| ("KWQ_TOKEN", token)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C in the terminal must reach them once, from here.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        if let Some(stdout) = child.stdout.take() {
            self.listen(stdout);
        }
        Ok(child)
    }

    /// Puts a new worker in the place of each that has ended; the leases of a dead one come back by
    /// themselves. Returns how many were replaced.
    ///
    /// # Errors
    /// A process cannot be started.
    pub(super) fn replace_ended(&mut self) -> std::io::Result<u32> {
        let spare_before = self.spare;
        for at in 0..self.children.len() {
            if self.spare > 0 && matches!(self.children[at].try_wait(), Ok(Some(_))) {
                self.spare -= 1;
                self.children[at] = self.spawn()?;
            }
        }
        Ok(spare_before - self.spare)
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
