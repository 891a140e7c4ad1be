//! A disk of a test's own, which can be full.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs that goes away with the test.
pub(crate) struct Mount(pub(crate) PathBuf);

impl Mount {
    /// Of 192 MiB; `None` = nothing may be mounted here.
    pub(crate) fn new(at: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).expect("a directory can be made");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=192m", "kwq-faults"]).arg(&at);
        mount.output().is_ok_and(|o| o.status.success()).then(|| Self(at))
    }

    /// Bytes.
    pub(crate) fn free(&self) -> u64 {
        let out = Command::new("df").args(["-B1", "--output=avail"]).arg(&self.0).output();
        let text = String::from_utf8_lossy(&out.expect("df runs").stdout).into_owned();
        text.lines().nth(1).and_then(|l| l.trim().parse().ok()).expect("df prints a number")
    }

    /// Fills a file so that this many bytes are left.
    pub(crate) fn fill(&self, file: &Path, leave: u64) {
        let size = self.free().saturating_sub(leave).to_string();
        let done = Command::new("fallocate").args(["-l", &size]).arg(file).status();
        assert!(done.is_ok_and(|s| s.success()), "the ballast file can be made");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).output());
    }
}
