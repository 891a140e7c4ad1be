//! The trail over restarts, torn ends, edits and rotation; a full queue.

use super::files::Trail;
use super::*;
use crate::codec::audit::Fault;
use crate::model::limits;
use crate::model::time::WallMs;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kwq-audit-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        Self(path)
    }
    fn files(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).expect("a directory").map(|e| e.expect("an entry"));
        let mut names: Vec<_> =
            names.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn deed(target: &str) -> Deed {
    Deed {
        at: WallMs(7),
        actor: "token:a".to_owned(),
        from: "::1".to_owned(),
        role: "operate",
        op: "job.pause",
        call: "POST /kwq/jobs/{job}/pause".to_owned(),
        target: target.to_owned(),
        result: "ok",
        job: String::new(),
        operation: String::new(),
        position: String::new(),
    }
}

fn numbers(lines: &[String]) -> Vec<u64> {
    let seq = |line: &String| crate::codec::audit::link(line).expect("a good line").next - 1;
    lines.iter().map(seq).collect()
}

#[test]
fn a_trail_goes_on_after_a_restart_and_is_read_from_anywhere() {
    let folder = Folder::new("restart");
    for round in 0..3 {
        let mut trail = Trail::open(&folder.0).expect("opens");
        for i in 0..4 {
            trail.append(&deed(&format!("{round}-{i}"))).expect("appends");
        }
    }
    let trail = Trail::open(&folder.0).expect("opens");
    assert_eq!(numbers(&trail.read(0, 100).expect("reads")), (1..=12).collect::<Vec<_>>());
    assert_eq!(numbers(&trail.read(5, 3).expect("reads")), [6, 7, 8]);
    assert!(trail.read(12, 100).expect("reads").is_empty());
    assert!(trail.read(u64::MAX, 100).expect("reads").is_empty());
    assert_eq!(check(&folder.0).expect("reads"), Checked { lines: 12, ..Checked::default() });
    assert_eq!(folder.files(), ["1.jsonl"]);
}

#[test]
fn a_torn_end_is_cut_and_the_chain_holds() {
    let folder = Folder::new("torn");
    let mut trail = Trail::open(&folder.0).expect("opens");
    for i in 0..3 {
        trail.append(&deed(&i.to_string())).expect("appends");
    }
    drop(trail);
    let path = folder.0.join("1.jsonl");
    let whole = fs::read(&path).expect("reads");
    for cut in 1..20 {
        fs::write(&path, &whole[..whole.len() - cut]).expect("writes");
        let mut trail = Trail::open(&folder.0).expect("opens");
        trail.append(&deed("again")).expect("appends");
        let lines = numbers(&trail.read(0, 100).expect("reads"));
        assert_eq!(lines, [1, 2, 3], "cut {cut}");
        assert_eq!(check(&folder.0).expect("reads").damage, None);
    }
}

#[test]
fn a_file_that_was_only_begun_does_not_break_the_chain() {
    let folder = Folder::new("begun");
    let mut trail = Trail::open(&folder.0).expect("opens");
    trail.append(&deed("1")).expect("appends");
    drop(trail);
    for rest in ["", "{\"seq\":2"] {
        fs::write(folder.0.join("2.jsonl"), rest).expect("writes");
        let trail = Trail::open(&folder.0).expect("opens");
        assert_eq!(numbers(&trail.read(0, 9).expect("reads")), [1]);
    }
    let mut trail = Trail::open(&folder.0).expect("opens");
    trail.append(&deed("2")).expect("appends");
    assert_eq!(check(&folder.0).expect("reads"), Checked { lines: 2, ..Checked::default() });
}

#[test]
fn what_a_power_cut_leaves_at_the_end_is_cut_off_and_is_no_edit() {
    let folder = Folder::new("power");
    let (path, whole) = written(&folder, 5);
    let ends: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == b'\n').collect();
    // Two pages of zeros, the first of them begins in a line.
    for from in [ends[2] + 1, ends[2] + 40] {
        let mut tail = whole[..from].to_vec();
        tail.resize(from + 8_192, 0);
        fs::write(&path, &tail).expect("writes");
        let found = check(&folder.0).expect("reads");
        assert_eq!(found, Checked { lines: 3, unfinished: true, damage: None });
        // The end of a line whose beginning is lost.
        tail.extend_from_slice(b"cd\"}\n");
        fs::write(&path, &tail).expect("writes");
        let mut trail = Trail::open(&folder.0).expect("opens");
        trail.append(&deed("again")).expect("appends");
        assert_eq!(numbers(&trail.read(0, 9).expect("reads")), [1, 2, 3, 4]);
        assert_eq!(check(&folder.0).expect("reads"), Checked { lines: 4, ..Checked::default() });
    }
}

/// A trail of one file: its path and its bytes.
fn written(folder: &Folder, lines: usize) -> (PathBuf, Vec<u8>) {
    let mut trail = Trail::open(&folder.0).expect("opens");
    for i in 0..lines {
        trail.append(&deed(&i.to_string())).expect("appends");
    }
    let path = folder.0.join("1.jsonl");
    let bytes = fs::read(&path).expect("reads");
    (path, bytes)
}

#[test]
fn one_edited_byte_is_found_wherever_it_stands() {
    let folder = Folder::new("bytes");
    let (path, whole) = written(&folder, 3);
    for at in 0..whole.len() {
        for bit in [1, 0x40] {
            let mut edited = whole.clone();
            edited[at] ^= bit;
            fs::write(&path, &edited).expect("writes");
            let found = check(&folder.0).expect("reads");
            assert!(found.damage.is_some(), "byte {at} bit {bit}: {found:?}");
        }
    }
}

#[test]
fn a_line_that_was_made_unreadable_or_taken_out_is_found_also_after_a_restart() {
    let folder = Folder::new("erased");
    let (path, whole) = written(&folder, 6);
    let text = String::from_utf8(whole).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    let (half, zeros) = (lines[2].split_at(50).0, "\0".repeat(lines[2].len()));
    for erased in 1..=3 {
        for put in ["junk", "", "{}", half, &zeros] {
            let mut edited = lines.clone();
            edited.splice(2..2 + erased, [put]);
            fs::write(&path, edited.join("\n") + "\n").expect("writes");
            let damage = Damage { file: path.clone(), line: 3, fault: Fault::Malformed };
            let expected = Checked { lines: 2, unfinished: false, damage: Some(damage) };
            assert_eq!(check(&folder.0).expect("reads"), expected, "{put}");
            let mut trail = Trail::open(&folder.0).expect("opens all the same");
            trail.append(&deed("later")).expect("appends");
            assert_eq!(check(&folder.0).expect("reads"), expected, "{put}");
        }
    }
    // The last line too, as long as it is not cut off whole.
    fs::write(&path, lines[..5].join("\n") + "\njunk\n").expect("writes");
    let mut trail = Trail::open(&folder.0).expect("opens all the same");
    trail.append(&deed("later")).expect("appends");
    let damage = check(&folder.0).expect("reads").damage.expect("found");
    assert_eq!((damage.line, damage.fault), (6, Fault::Malformed));
}

#[test]
fn an_edit_is_found_and_does_not_stop_the_trail() {
    let folder = Folder::new("edit");
    let mut trail = Trail::open(&folder.0).expect("opens");
    for i in 0..3 {
        trail.append(&deed(&format!("job-{i}"))).expect("appends");
    }
    drop(trail);
    let path = folder.0.join("1.jsonl");
    let text = fs::read_to_string(&path).expect("reads").replace("job-1", "job-9");
    fs::write(&path, text).expect("writes");
    let damage = Damage { file: path, line: 2, fault: Fault::Changed };
    let found = check(&folder.0).expect("reads");
    assert_eq!(found, Checked { lines: 1, unfinished: false, damage: Some(damage) });
    let mut trail = Trail::open(&folder.0).expect("opens all the same");
    trail.append(&deed("job-3")).expect("appends");
    let lines = trail.read(3, 10).expect("reads");
    assert_eq!(numbers(&lines), [4]);
}

#[test]
fn files_are_bounded_and_the_oldest_goes() {
    let folder = Folder::new("rotate");
    let mut trail = Trail::open(&folder.0).expect("opens");
    // Lines of a MiB make a file of 15 lines.
    let long = "x".repeat(1 << 20);
    let count = 15 * 3 + 1;
    for _ in 0..count {
        trail.append(&deed(&long)).expect("appends");
    }
    assert_eq!(folder.files(), ["1.jsonl", "16.jsonl", "31.jsonl", "46.jsonl"]);
    assert_eq!(numbers(&trail.read(14, 3).expect("reads")), [15, 16, 17]);
    for name in folder.files() {
        let bytes = fs::metadata(folder.0.join(name)).expect("a file").len();
        assert!(bytes <= limits::AUDIT_FILE_BYTES);
    }
    drop(trail);
    fs::remove_file(folder.0.join("1.jsonl")).expect("removes");
    let trail = Trail::open(&folder.0).expect("opens");
    assert_eq!(numbers(&trail.read(0, 2).expect("reads")), [16, 17]);
    assert_eq!(check(&folder.0).expect("reads"), Checked { lines: 31, ..Checked::default() });
    // A file begins with the line it is named after, and the one before it is whole.
    for (name, lines) in [("16.jsonl", 0), ("31.jsonl", 15)] {
        let path = folder.0.join(name);
        let text = fs::read_to_string(&path).expect("reads");
        let (_, rest) = text.split_once('\n').expect("lines");
        fs::write(&path, rest).expect("writes");
        let found = check(&folder.0).expect("reads");
        let damage = Damage { file: path.clone(), line: 1, fault: Fault::Unchained };
        assert_eq!(found, Checked { lines, unfinished: false, damage: Some(damage) });
        fs::write(&path, text).expect("writes");
    }
    fs::write(folder.0.join("16.jsonl"), "").expect("writes");
    assert!(check(&folder.0).expect("reads").damage.is_some(), "only the last may be empty");
}

#[test]
fn what_is_queued_is_read_and_written_at_the_end_and_what_does_not_fit_is_counted() {
    let folder = Folder::new("queue");
    let lost = Arc::new(AtomicUsize::new(0));
    let open = || {
        let told = Arc::clone(&lost);
        let lost: Lost = Box::new(move || {
            told.fetch_add(1, Ordering::Relaxed);
        });
        Audit::open(&folder.0, 1, lost).expect("opens")
    };
    let audit = open();
    for i in 0..10_000 {
        audit.note(deed(&i.to_string()));
    }
    audit.close();
    audit.note(deed("too late"));
    drop(audit);
    let (tell, told) = sync_channel(1);
    let again = open();
    let reply: Reply = Box::new(move |lines| tell.send(lines).expect("the test waits"));
    assert_eq!(again.read(0, 20_000, reply), Ok(()));
    let lines = told.recv().expect("answers").expect("reads");
    let lost = lost.load(Ordering::Relaxed);
    assert_eq!(lines.len() + lost, 10_001);
    assert!(lost >= 1 && !lines.is_empty());
}
