//! The files of the trail: `<first seq>.jsonl`, append only, the oldest removed when there are too
//! many. Each is checked by itself; the first line of a file names the last line of the one before.

use crate::codec::audit::{self, Deed, Fault, Link};
use crate::model::limits;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// An open trail.
pub(super) struct Trail {
    dir: PathBuf,
    link: Link,
    /// First numbers of the files, oldest first; the last is the one that is written.
    firsts: VecDeque<u64>,
    file: Option<File>,
    bytes: u64,
}

/// A broken line of a trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its file.
    pub file: PathBuf,
    /// Its number in the file, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What a check of a whole trail found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Good lines up to the damage.
    pub lines: u64,
    /// Is there a last line that was only begun? The next start cuts it off.
    pub unfinished: bool,
    /// The first broken line.
    pub damage: Option<Damage>,
}

impl Trail {
    /// Opens or makes the directory. A last line that was not written to its end is cut off; a
    /// broken chain is told and gone on with, because a server that does not start records nothing.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let firsts: VecDeque<u64> = firsts(dir)?.into();
        let mut trail =
            Self { dir: dir.to_path_buf(), link: Link::default(), firsts, file: None, bytes: 0 };
        while let Some(last) = trail.firsts.back().copied() {
            let mut file = OpenOptions::new().read(true).write(true).open(path(dir, last))?;
            let text = whole_lines(&mut file)?;
            if text.is_empty() {
                // Begun and nothing written: the chain goes on from the file before.
                fs::remove_file(path(dir, last))?;
                trail.firsts.pop_back();
                continue;
            }
            file.seek(SeekFrom::End(0))?;
            trail.bytes = text.len() as u64;
            trail.file = Some(file);
            trail.link = trail.end_of(last, &text);
            break;
        }
        Ok(trail)
    }

    /// Where the trail goes on behind its last file.
    fn end_of(&self, first: u64, text: &[u8]) -> Link {
        let mut link = Link { next: first, prev: String::new() };
        let mut broken = None;
        for (number, line) in (1..).zip(String::from_utf8_lossy(text).lines()) {
            let step = match number {
                1 => audit::link(line),
                _ => audit::follow(&link, line),
            };
            if step.is_err() {
                broken = Some(number);
            }
            // A line that does not follow may still be whole: then the trail goes on behind it.
            match step.or_else(|_| audit::link(line)) {
                Ok(next) => link = next,
                Err(_) => link.next += 1,
            }
        }
        if let Some(line) = broken {
            let file = path(&self.dir, first);
            tracing::warn!(file = %file.display(), line, "the chain of the audit trail is broken");
        }
        if link.prev.is_empty() { Link { next: link.next, ..Link::default() } } else { link }
    }

    pub(super) fn append(&mut self, deed: &Deed) -> io::Result<()> {
        let (mut line, next) = audit::line(&self.link, deed);
        line.push(b'\n');
        let size = line.len() as u64;
        if self.file.is_none() || self.bytes + size > limits::AUDIT_FILE_BYTES {
            self.rotate()?;
        }
        let file = self.file.as_mut().expect("rotated to one just now");
        if let Err(error) = file.write_all(&line) {
            // What was written of it must not stand in front of the next line.
            file.set_len(self.bytes)?;
            file.seek(SeekFrom::Start(self.bytes))?;
            return Err(error);
        }
        self.bytes += size;
        self.link = next;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        let first = self.link.next;
        let file = OpenOptions::new().write(true).create_new(true).open(path(&self.dir, first))?;
        (self.file, self.bytes) = (Some(file), 0);
        self.firsts.push_back(first);
        while self.firsts.len() > limits::AUDIT_FILES_MAX {
            let oldest = self.firsts.pop_front().expect("counted just now");
            fs::remove_file(path(&self.dir, oldest))?;
        }
        File::open(&self.dir)?.sync_all()
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// At most `limit` lines behind number `after`, oldest first.
    pub(super) fn read(&self, after: u64, limit: usize) -> io::Result<Vec<String>> {
        let begins = self.firsts.iter().rposition(|first| *first <= after.saturating_add(1));
        let mut lines = Vec::new();
        for first in self.firsts.iter().skip(begins.unwrap_or(0)) {
            let file = BufReader::new(File::open(path(&self.dir, *first))?);
            for line in file.split(b'\n') {
                // What a power cut has torn is no answer; `check` tells of it.
                let Ok(line) = String::from_utf8(line?) else { continue };
                if lines.len() < limit && audit::number(&line).is_some_and(|seq| seq > after) {
                    lines.push(line);
                }
            }
        }
        Ok(lines)
    }
}

/// The lines of a file; what a kill or a power cut left behind the last of them is cut off. A line
/// that was edited stays where it is, for [`check`] to find.
fn whole_lines(file: &mut File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let ends = |byte: &u8| *byte == b'\n';
    let mut whole = text.iter().rposition(ends).map_or(0, |at| at + 1);
    // Pages that never reached the disk read as zeros, which no line holds.
    while let Some(body) = whole.checked_sub(1) {
        let begin = text[..body].iter().rposition(ends).map_or(0, |at| at + 1);
        if !text[begin..body].contains(&0) {
            break;
        }
        whole = begin;
    }
    if whole < text.len() {
        tracing::warn!(bytes = text.len() - whole, "an unfinished end of the audit trail was cut");
        text.truncate(whole);
        file.set_len(text.len() as u64)?;
    }
    Ok(text)
}

/// Checks a trail from its oldest file on, up to the first line that is none, was changed, or does
/// not follow the one before. Only behind the last line of the last file there may be one that was
/// just begun: a start cuts it off, and a file is synced before the next one is begun.
///
/// # Errors
/// A file cannot be read.
pub fn check(dir: &Path) -> io::Result<Checked> {
    let mut checked = Checked::default();
    let mut link = None;
    let firsts = firsts(dir)?;
    for first in &firsts {
        let path = path(dir, *first);
        if *first == 1 {
            link = Some(Link::default());
        }
        let mut file = BufReader::new(File::open(&path)?);
        for number in 1.. {
            let mut bytes = Vec::new();
            let last = firsts.last() == Some(first);
            let read = file.read_until(b'\n', &mut bytes)?;
            if read == 0 && (number > 1 || last) {
                break;
            }
            let fault = match whole(&bytes).map(|line| step(link.as_ref(), *first, &line)) {
                Some(Ok(next)) => {
                    checked.lines += 1;
                    link = Some(next);
                    continue;
                }
                Some(Err(fault)) => fault,
                None => Fault::Malformed,
            };
            let due = link.as_ref().map_or(*first, |link| link.next);
            let rest = last && !bytes.ends_with(b"\n");
            if rest && audit::is_unfinished(due, &bytes) {
                checked.unfinished = true;
            } else {
                checked.damage = Some(Damage { file: path, line: number, fault });
            }
            return Ok(checked);
        }
    }
    Ok(checked)
}

/// The text of a line that has its end.
fn whole(bytes: &[u8]) -> Option<String> {
    Some(String::from_utf8_lossy(bytes.strip_suffix(b"\n")?).into_owned())
}

/// Where the trail goes on behind a line. Of the oldest file's first line, whose forerunner is
/// gone, only the number is known: it is the name of the file.
fn step(before: Option<&Link>, first: u64, line: &str) -> Result<Link, Fault> {
    match before {
        Some(before) => audit::follow(before, line),
        None => {
            let next = audit::link(line)?;
            if next.next - 1 == first { Ok(next) } else { Err(Fault::Unchained) }
        }
    }
}

/// First numbers of the files of a directory, rising.
fn firsts(dir: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_suffix(".jsonl")?.parse().ok());
        firsts.extend(number);
    }
    firsts.sort_unstable();
    Ok(firsts)
}

fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first}.jsonl"))
}
