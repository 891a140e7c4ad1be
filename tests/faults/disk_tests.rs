//! The model of the disk on traces written by hand and on a real strace of a small shell script:
//! what a sync covers stays, what it does not cover goes, names need the sync of their directory.

use crate::cut::{Cut, cut, differences};
use crate::disk::Disk;
use crate::f02_power::require_strace;
use crate::trace;
use crate::util::{Rng, scratch};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory, and a trace of calls on it in which `@` stands for its path.
fn replayed(name: &str, before: &[(&str, &[u8])], lines: &[&str]) -> (PathBuf, Disk) {
    let root = scratch(name);
    for (file, content) in before {
        std::fs::write(root.join(file), content).expect("a file can be written");
    }
    let mut disk = Disk::load(&root);
    let text: String =
        lines.iter().map(|l| format!("7 {}\n", l.replace('@', &root.to_string_lossy()))).collect();
    disk.replay(text.as_bytes());
    (root, disk)
}

/// What is in the directory after a strict cut.
fn strict(root: &Path, disk: &Disk) -> Vec<(String, Vec<u8>)> {
    cut(disk, root, Cut::Strict, &mut Rng::new(1));
    let mut all: Vec<(String, Vec<u8>)> = std::fs::read_dir(root)
        .expect("readable")
        .filter_map(Result::ok)
        .map(|e| {
            let name = e.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(e.path()).unwrap_or_default())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_synced_write_stays_and_an_un_synced_one_goes() {
    let (root, disk) = replayed(
        "disk-write",
        &[("a", b"......")],
        &[
            "openat(AT_FDCWD</>, \"@/a\", O_RDWR|O_CLOEXEC) = 3<@/a>",
            "pwrite64(3<@/a>, \"AB\", 2, 0) = 2",
            "fdatasync(3<@/a>) = 0",
            "pwrite64(3<@/a>, \"C\\0\\377\", 3, 2) = 3",
        ],
    );
    assert_eq!(strict(&root, &disk), [("a".to_owned(), b"AB....".to_vec())]);
}

#[test]
fn a_write_during_a_sync_is_not_covered_and_a_cut_off_sync_covers_nothing() {
    let (root, disk) = replayed(
        "disk-race",
        &[("a", b"....")],
        &[
            "openat(AT_FDCWD</>, \"@/a\", O_RDWR) = 3<@/a>",
            "pwrite64(3<@/a>, \"A\", 1, 0) = 1",
            "fdatasync(3<@/a> <unfinished ...>",
        ],
    );
    assert_eq!(strict(&root, &disk), [("a".to_owned(), b"....".to_vec())]);
    let root = scratch("disk-race");
    std::fs::write(root.join("a"), "....").expect("a file can be written");
    let mut disk = Disk::load(&root);
    let lines = "7 openat(AT_FDCWD</>, \"@/a\", O_RDWR) = 3<@/a>\n\
        7 pwrite64(3<@/a>, \"A\", 1, 0) = 1\n\
        7 fdatasync(3<@/a> <unfinished ...>\n\
        8 pwrite64(3<@/a>, \"B\", 1, 1) = 1\n\
        7 <... fdatasync resumed>) = 0\n";
    disk.replay(lines.replace('@', &root.to_string_lossy()).as_bytes());
    assert_eq!(strict(&root, &disk), [("a".to_owned(), b"A...".to_vec())]);
}

#[test]
fn a_failed_sync_covers_nothing_even_if_a_later_one_returns_0() {
    let (root, disk) = replayed(
        "disk-eio",
        &[("a", b"....")],
        &[
            "openat(AT_FDCWD</>, \"@/a\", O_RDWR) = 3<@/a>",
            "pwrite64(3<@/a>, \"A\", 1, 0) = 1",
            "fdatasync(3<@/a>) = -1 EIO (Input/output error) (INJECTED)",
            "pwrite64(3<@/a>, \"B\", 1, 1) = 1",
            "fdatasync(3<@/a>) = 0",
        ],
    );
    assert_eq!(strict(&root, &disk), [("a".to_owned(), b".B..".to_vec())]);
}

#[test]
fn names_need_the_sync_of_their_directory() {
    let (root, disk) = replayed(
        "disk-names",
        &[("old", b"o")],
        &[
            "openat(AT_FDCWD</>, \"@/kept.tmp\", O_RDWR|O_CREAT, 0666) = 3<@/kept.tmp>",
            "write(3<@/kept.tmp>, \"k\", 1) = 1",
            "fsync(3<@/kept.tmp>) = 0",
            "rename(\"@/kept.tmp\", \"@/kept\") = 0",
            "openat(AT_FDCWD</>, \"@\", O_RDONLY) = 4<@>",
            "fsync(4<@>) = 0",
            "unlink(\"@/old\") = 0",
            "openat(AT_FDCWD</>, \"@/lost\", O_RDWR|O_CREAT, 0666) = 5<@/lost>",
            "write(5<@/lost>, \"l\", 1) = 1",
            "fdatasync(5<@/lost>) = 0",
        ],
    );
    let expected = [("kept".to_owned(), b"k".to_vec()), ("old".to_owned(), b"o".to_vec())];
    assert_eq!(strict(&root, &disk), expected);
}

#[test]
fn a_torn_cut_keeps_what_was_synced_and_only_whole_sectors_of_the_rest() {
    for seed in 0..50 {
        let data = "x".repeat(3 * 4_096);
        let write = format!("pwrite64(3<@/a>, \"{data}\", 12288, 4096) = 12288");
        let (root, disk) = replayed(
            "disk-torn",
            &[("a", b"")],
            &[
                "openat(AT_FDCWD</>, \"@/a\", O_RDWR) = 3<@/a>",
                "fallocate(3<@/a>, 0, 0, 65536) = 0",
                "pwrite64(3<@/a>, \"sync\", 4, 0) = 4",
                "fdatasync(3<@/a>) = 0",
                &write,
            ],
        );
        cut(&disk, &root, Cut::Torn, &mut Rng::new(seed));
        let after = std::fs::read(root.join("a")).expect("it is there");
        assert_eq!(after.len(), 65_536);
        assert!(after.starts_with(b"sync\0"));
        assert!(after.iter().skip(4 * 4_096).all(|b| *b == 0));
        for sector in after.chunks(512).skip(8) {
            let same = sector.iter().all(|b| Some(b) == sector.first());
            assert!(same, "a sector is old or new, never both");
        }
        assert!(after.iter().filter(|b| **b == b'x').count() < 12_288, "one page is torn");
    }
}

#[test]
fn the_replay_of_a_real_trace_equals_the_real_files() {
    require_strace();
    let root = scratch("disk-real").join("data");
    std::fs::create_dir_all(root.join("log")).expect("a directory can be made");
    let file = root.parent().expect("it has one").join("trace");
    let mut disk = Disk::load(&root);
    let script = "printf 'one\\n\\001\\377' > log/a; dd if=/dev/urandom of=log/b bs=3000 count=5 \
        conv=fsync 2>/dev/null; fallocate -l 8192 log/c; mv log/a log/d; printf more >> log/d; \
        truncate -s 100 log/b; rm log/c; printf un-synced > log/e";
    let done = Command::new("strace")
        .args(trace::arguments(&file.to_string_lossy()))
        .args(["sh", "-c", script])
        .current_dir(&root)
        .status();
    assert!(done.is_ok_and(|s| s.success()), "the script runs under strace");
    disk.replay(&std::fs::read(&file).expect("strace left its trace"));
    // Several processes share descriptors here, which one server does not; names and contents
    // must be right all the same.
    assert_eq!(differences(&disk, &root), Vec::<String>::new());
    assert_eq!(disk.names.keys().collect::<Vec<_>>(), ["log", "log/b", "log/d", "log/e"]);
    std::fs::write(root.join("log/e"), "un-sYnced").expect("a file can be written");
    assert_eq!(differences(&disk, &root).len(), 1, "a wrong replay is found");
}

#[test]
fn what_strace_makes_up_of_a_thread_that_is_being_killed_is_a_write_that_never_returned() {
    let open = "openat(AT_FDCWD</>, \"@/a\", O_RDWR|O_CLOEXEC) = 3<@/a>";
    let begins = "pwrite64(3<@/a>, \"AB\", 2, 4 <unfinished ...>";
    // Seen with strace 6.1: an error of no name, and a call of another thread.
    let no_error = "<... pwrite64 resumed>) = -1 (errno 18446744073709551615)";
    let another = "write(5<@/b>, \"x\", 1 <unfinished ...>";
    let less = "<... pwrite64 resumed>) = 1";
    let more = "<... pwrite64 resumed>) = 8";
    for (name, last) in
        [("no-error", no_error), ("another", another), ("less", less), ("more", more)]
    {
        let name = format!("disk-killed-{name}");
        let (root, disk) = replayed(&name, &[("a", b"......")], &[open, begins, last]);
        assert!(differences(&disk, &root).is_empty(), "not one byte of it was written");
        std::fs::write(root.join("a"), "....A.").expect("a file can be written");
        assert!(differences(&disk, &root).is_empty(), "half of it was written");
        std::fs::write(root.join("a"), "....AB").expect("a file can be written");
        assert!(differences(&disk, &root).is_empty(), "all of it was written");
        std::fs::write(root.join("a"), "...!A.").expect("a file can be written");
        assert_eq!(differences(&disk, &root).len(), 1, "outside of it");
    }
}
