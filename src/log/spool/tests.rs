//! The spool from outside: what goes in comes out, or an error does.

use super::*;
use std::fs;

struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kwq-spool-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        Self(path)
    }
}
impl Drop for TempDir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
#[test]
fn smoke() {
    let dir = TempDir::new("smoke");
    let (spool, _) = Spool::open(&dir.0, 100).unwrap();
    for n in 0..20u64 {
        spool.append(n * 2, &vec![7; n as usize]).unwrap();
    }
    assert_eq!(spool.read(4).unwrap().unwrap().len(), 2);
    assert_eq!(spool.read(5).unwrap(), None);
}
