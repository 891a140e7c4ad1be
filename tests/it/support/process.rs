//! Runs the `kwq` binary for its command-line answers. Must not depend on the caller's settings.

use std::path::Path;
use std::process::{Command, Output, Stdio};

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
