//! A directory of one test, removed with it.

use std::path::{Path, PathBuf};

use super::wait::unique;

/// A fresh directory.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes one under the temporary directory.
    pub(crate) fn new(prefix: &str) -> Self {
        let name = format!("{}-{}", unique(prefix), std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory under the temporary one");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A failed removal leaves litter in the temporary directory, never a wrong verdict.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
