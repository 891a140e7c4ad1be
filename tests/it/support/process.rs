//! Runs the `kwq` binary for its command-line answers, or beside the test as a worker or a demo.
//! Must not depend on the caller's settings.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::Builder;

use super::wait::eventually;

/// The binary with nothing of the caller's `KWQ_…` environment and no `./kwq.toml` in reach.
pub(super) fn clean(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kwq"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KWQ_") {
            command.env_remove(name);
        }
    }
    command.current_dir(dir).stdin(Stdio::null()).env("NO_COLOR", "1");
    command
}

/// Runs `kwq ARGS…` to its end.
pub(crate) fn kwq(dir: &Path, args: &[&str]) -> Output {
    clean(dir).args(args).output().expect("the binary starts")
}

/// Runs `kwq ARGS…`, which must succeed, and parses each line of its stdout as JSON.
pub(crate) fn kwq_lines(dir: &Path, args: &[&str]) -> Vec<serde_json::Value> {
    let out = kwq(dir, args);
    let (stdout, stderr) =
        (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "kwq {args:?}: {:?}\n{stdout}\n{stderr}", out.status);
    stdout
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

/// A `kwq` process beside the test; ends with it.
pub(crate) struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts `kwq ARGS…`.
    pub(crate) fn start(dir: &Path, args: &[&str]) -> Self {
        let mut command = clean(dir);
        let mut child = command
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = Arc::new(Mutex::new(Vec::new()));
        follow(child.stdout.take().expect("piped"), Arc::clone(&lines));
        follow(child.stderr.take().expect("piped"), Arc::clone(&lines));
        Self { child, lines }
    }

    /// What it has said so far, both streams.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no test panics while it holds this").clone()
    }

    /// Waits for a line with these words.
    pub(crate) fn says(&self, words: &str) -> String {
        eventually(&format!("{words}: {:?}", self.lines()), || {
            self.lines().into_iter().find(|line| line.contains(words))
        })
    }

    /// Its children's process ids.
    pub(crate) fn children(&self) -> Vec<u32> {
        let pid = self.child.id();
        let list = format!("/proc/{pid}/task");
        let threads = std::fs::read_dir(list).into_iter().flatten().flatten();
        let children =
            threads.filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok());
        children.flat_map(|text| numbers(&text)).collect()
    }

    /// Sends a signal, by its name without SIG.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the process ends", || self.child.try_wait().expect("our own child"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a signal to a process the test has started, directly or through another.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(sent.expect("kill exists").success(), "{name} was delivered to {pid}");
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn follow(pipe: impl Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
    let body = move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            lines.lock().expect("no test panics while it holds this").push(line);
        }
    };
    Builder::new().spawn(body).expect("a thread can be had");
}
