//! Model of the data directory under power loss, replayed from a trace of system calls.
//!
//! Every file has a *durable* content (what a `fdatasync` or `fsync` that returned 0 covers) and
//! the writes since then; every directory has durable names and the creates, renames and unlinks
//! since its last `fsync`. A write belongs to a sync only if it had returned before the sync began.
//! The trace holds all data, so nothing is guessed; and the replay is proved at each cut: the
//! content of the model must equal the files the killed process left in the page cache.
//!
//! `tracker/` is left out: it may be lost at any time (P13), the cut deletes it or puts it back.

use crate::trace::{self, Call, Event};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Index of a file in the model.
pub(crate) type FileId = usize;

/// One change of a file.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Bytes at a place.
    Write(usize, Vec<u8>),
    /// A range became zeros.
    Zero(usize, usize),
    /// The length was set.
    Size(usize),
}

impl Change {
    /// Applies it to a content.
    pub(crate) fn apply(&self, to: &mut Vec<u8>) {
        let grow = |to: &mut Vec<u8>, len: usize| {
            if to.len() < len {
                to.resize(len, 0);
            }
        };
        match self {
            Self::Write(at, data) => {
                grow(to, at + data.len());
                to.get_mut(*at..at + data.len()).expect("grown").copy_from_slice(data);
            }
            Self::Zero(at, len) => {
                let end = (at + len).min(to.len());
                to.get_mut(*at..end).unwrap_or_default().fill(0);
            }
            Self::Size(len) => to.resize(*len, 0),
        }
    }

    /// Range it touches.
    pub(crate) fn range(&self) -> (usize, usize) {
        match self {
            Self::Write(at, data) => (*at, at + data.len()),
            Self::Zero(at, len) => (*at, at + len),
            Self::Size(_) => (0, 0),
        }
    }
}

/// One file.
#[derive(Default, Debug)]
pub(crate) struct File {
    pub(crate) durable: Vec<u8>,
    pub(crate) current: Vec<u8>,
    /// Changes since the last sync with the number of their return.
    pub(crate) pending: Vec<(u64, Change)>,
    /// Ranges of writes that never returned.
    pub(crate) torn: Vec<(usize, usize)>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    File(FileId),
    Dir,
}

/// One change of a directory.
#[derive(Clone, Debug)]
pub(crate) enum Naming {
    Put(String, Node),
    Take(String),
    Move(String, String),
}

/// Applies a change of names.
pub(crate) fn rename_in(names: &mut BTreeMap<String, Node>, change: &Naming) {
    match change {
        Naming::Put(name, node) => drop(names.insert(name.clone(), *node)),
        Naming::Take(name) => drop(names.remove(name)),
        Naming::Move(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

/// Directory of a relative name, `""` for the root.
pub(crate) fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(dir, _)| dir)
}

#[derive(Clone, Debug)]
struct Open {
    target: Target,
    place: usize,
    append: bool,
    synced: bool,
}

#[derive(Clone, Debug)]
enum Target {
    File(FileId),
    Dir(String),
}

/// The whole model.
#[derive(Default)]
pub(crate) struct Disk {
    root: PathBuf,
    pub(crate) files: Vec<File>,
    pub(crate) names: BTreeMap<String, Node>,
    pub(crate) durable_names: BTreeMap<String, Node>,
    /// Changes of names since the sync of their directory.
    pub(crate) pending_names: Vec<(u64, Naming)>,
    open: BTreeMap<i64, Open>,
    running: BTreeMap<u32, (String, Vec<u8>, u64)>,
    clock: u64,
    /// Syncs that covered something.
    pub(crate) syncs: usize,
    /// What the model could not replay.
    pub(crate) failures: Vec<String>,
}

impl Disk {
    /// The model of a directory whose whole content is durable.
    pub(crate) fn load(root: &Path) -> Self {
        let mut disk = Self { root: root.to_owned(), ..Self::default() };
        disk.scan("");
        disk.durable_names = disk.names.clone();
        disk
    }

    fn scan(&mut self, dir: &str) {
        for entry in std::fs::read_dir(self.root.join(dir)).expect("the directory can be read") {
            let entry = entry.expect("an entry can be read");
            let name = entry.file_name().to_string_lossy().into_owned();
            let name = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            if outside(&name) {
                continue;
            }
            if entry.file_type().expect("it has a type").is_dir() {
                self.names.insert(name.clone(), Node::Dir);
                self.scan(&name);
            } else {
                let current = std::fs::read(entry.path()).expect("a file can be read");
                let file = File { durable: current.clone(), current, ..File::default() };
                self.names.insert(name, Node::File(self.files.len()));
                self.files.push(file);
            }
        }
    }

    /// Replays a whole trace.
    pub(crate) fn replay(&mut self, trace: &[u8]) {
        for line in trace.split(|b| *b == b'\n') {
            match trace::read(line) {
                Event::Begins(call) => self.begins(&call),
                Event::Whole(call, result) => {
                    self.begins(&call);
                    self.returns(call.pid, result);
                }
                Event::Returns(pid, result) => self.returns(pid, result),
                Event::Other => {}
            }
        }
        for (name, args, _) in std::mem::take(&mut self.running).into_values() {
            self.cut_off(&name, &args);
        }
    }

    fn begins(&mut self, call: &Call<'_>) {
        if call.name == "close" {
            // Its number may be given away before the return is seen.
            if let Some((fd, _)) = trace::descriptor(call.args) {
                self.open.remove(&fd);
            }
            return;
        }
        // The data of sockets and pipes need not be kept.
        let about_fd = !call.args.first().is_some_and(|b| *b == b'"' || *b == b'A');
        let known = trace::descriptor(call.args).is_some_and(|(fd, path)| {
            self.open.contains_key(&fd) || path.starts_with(&*self.root.to_string_lossy())
        });
        if about_fd && !known {
            return;
        }
        let entry = (call.name.to_owned(), call.args.to_vec(), self.clock);
        // A thread that begins again without a return was killed: strace makes up its last call.
        if let Some((name, args, _)) = self.running.insert(call.pid, entry) {
            self.cut_off(&name, &args);
        }
    }

    fn returns(&mut self, pid: u32, result: Option<i64>) {
        let Some((name, args, began)) = self.running.remove(&pid) else { return };
        let Some(result) = result else { return self.cut_off(&name, &args) };
        if result < 0 {
            if matches!(name.as_str(), "fdatasync" | "fsync") {
                return self.sync_failed(&args, began);
            }
            return self.cut_off(&name, &args);
        }
        self.clock += 1;
        match name.as_str() {
            "open" | "creat" | "openat" => self.opened(&name, &args, result),
            "dup" | "dup2" | "dup3" | "fcntl" => self.duplicated(&name, &args, result),
            "lseek" => self.with_fd(&args, |_, open| open.place = size(result)),
            "write" | "writev" => self.wrote(&args, result, None),
            "pwrite64" | "pwritev" | "pwritev2" => {
                let tail = trace::tail_numbers(&args);
                let at = tail.get(1).or_else(|| tail.last()).copied();
                self.wrote(&args, result, at.map(size));
            }
            "fdatasync" | "fsync" => self.synced(&args, began),
            "ftruncate" => {
                let len = trace::tail_numbers(&args).last().copied().unwrap_or(0);
                self.change_fd(&args, Change::Size(size(len)));
            }
            "fallocate" => self.allocated(&args),
            "rename" | "renameat" | "renameat2" | "unlink" | "unlinkat" | "rmdir" | "mkdir"
            | "mkdirat" => self.named(&name, &args),
            _ => self.unsupported(&name, &args),
        }
    }

    fn unsupported(&mut self, name: &str, args: &[u8]) {
        let inside = String::from_utf8_lossy(args).contains(&*self.root.to_string_lossy());
        if inside {
            let args = String::from_utf8_lossy(args.get(..120).unwrap_or(args)).into_owned();
            self.failures.push(format!("{name}({args} cannot be replayed"));
        }
    }

    fn with_fd(&mut self, args: &[u8], f: impl FnOnce(&mut Vec<File>, &mut Open)) {
        if let Some((fd, _)) = trace::descriptor(args)
            && let Some(open) = self.open.get_mut(&fd)
        {
            f(&mut self.files, open);
        }
    }

    /// Relative names of the paths of a call, each with its directory argument resolved.
    fn paths(&self, args: &[u8]) -> Vec<Option<String>> {
        let mut all = Vec::new();
        let mut at = 0;
        while let Some((text, next)) = trace::string(args, at) {
            let path = String::from_utf8_lossy(&text).into_owned();
            let before = args.get(at..next - 1).unwrap_or_default();
            let dir = before.iter().position(|b| *b == b'<');
            let dir = dir.map(|d| trace::angle(before.get(d..).unwrap_or_default()));
            let whole = if path.starts_with('/') {
                PathBuf::from(path)
            } else {
                PathBuf::from(dir.unwrap_or_default()).join(path)
            };
            let inside = whole.strip_prefix(&self.root).ok();
            all.push(inside.map(|p| p.to_string_lossy().trim_end_matches('/').to_owned()));
            at = next;
        }
        all
    }

    fn opened(&mut self, call: &str, args: &[u8], fd: i64) {
        self.open.remove(&fd);
        let Some(Some(name)) = self.paths(args).into_iter().next() else { return };
        if outside(&name) {
            return;
        }
        let flags = String::from_utf8_lossy(args).into_owned();
        let has = |flag: &str| flags.contains(flag);
        let target = match self.names.get(&name) {
            _ if name.is_empty() => Target::Dir(name),
            Some(Node::Dir) => Target::Dir(name),
            Some(Node::File(id)) => Target::File(*id),
            None => {
                if !has("O_CREAT") && call != "creat" {
                    return self.failures.push(format!("opened {name}, which is not there"));
                }
                let id = self.files.len();
                self.files.push(File::default());
                self.rename(Naming::Put(name, Node::File(id)));
                Target::File(id)
            }
        };
        if let Target::File(id) = target
            && (has("O_TRUNC") || call == "creat")
        {
            self.change(id, Change::Size(0), false);
        }
        let synced = has("O_SYNC") || has("O_DSYNC");
        self.open.insert(fd, Open { target, place: 0, append: has("O_APPEND"), synced });
    }

    /// `dup` and `fcntl(F_DUPFD…)`: the copy shares the place in the file, which the model does
    /// not do; it is right for positioned writes and proved by the comparison at the cut.
    fn duplicated(&mut self, call: &str, args: &[u8], fd: i64) {
        if call == "fcntl" && !String::from_utf8_lossy(args).contains("F_DUPFD") {
            return;
        }
        if let Some((old, _)) = trace::descriptor(args)
            && let Some(open) = self.open.get(&old).cloned()
        {
            self.open.insert(fd, open);
        }
    }

    fn change(&mut self, id: FileId, change: Change, durable: bool) {
        let clock = self.clock;
        let Some(file) = self.files.get_mut(id) else { return };
        change.apply(&mut file.current);
        if durable {
            change.apply(&mut file.durable);
        } else {
            file.pending.push((clock, change));
        }
    }

    fn change_fd(&mut self, args: &[u8], change: Change) {
        let Some((fd, _)) = trace::descriptor(args) else { return };
        let Some(open) = self.open.get(&fd) else { return };
        if let Target::File(id) = open.target {
            self.change(id, change, false);
        }
    }

    fn wrote(&mut self, args: &[u8], count: i64, at: Option<usize>) {
        let Some((fd, _)) = trace::descriptor(args) else { return };
        let Some(open) = self.open.get(&fd).cloned() else { return };
        let Target::File(id) = open.target else { return };
        let Some(mut data) = trace::data(args) else {
            return self.failures.push("strace shortened the data of a write".into());
        };
        let whole = data.len();
        data.truncate(size(count));
        let end = self.files.get(id).map_or(0, |f| f.current.len());
        let place = at.unwrap_or(if open.append { end } else { open.place });
        if let (None, Some(open)) = (at, self.open.get_mut(&fd)) {
            open.place = place + data.len();
        }
        // Short, or of a thread that is being killed: what strace says it returned is another's.
        if let Some(file) = self.files.get_mut(id).filter(|_| size(count) != whole) {
            file.torn.push((place, place + whole));
        }
        self.change(id, Change::Write(place, data), open.synced);
    }

    fn allocated(&mut self, args: &[u8]) {
        let tail = trace::tail_numbers(args);
        let (Some(at), Some(len)) = (tail.get(tail.len().wrapping_sub(2)), tail.last()) else {
            return;
        };
        let (at, len) = (size(*at), size(*len));
        let text = String::from_utf8_lossy(args).into_owned();
        if text.contains("COLLAPSE") || text.contains("INSERT") {
            return self.failures.push("fallocate that moves bytes".into());
        }
        if text.contains("PUNCH_HOLE") || text.contains("ZERO_RANGE") {
            self.change_fd(args, Change::Zero(at, len));
        }
        let Some((fd, _)) = trace::descriptor(args) else { return };
        let Some(Target::File(id)) = self.open.get(&fd).map(|o| o.target.clone()) else { return };
        let now = self.files.get(id).map_or(0, |f| f.current.len());
        if !text.contains("KEEP_SIZE") && at + len > now {
            self.change(id, Change::Size(at + len), false);
        }
    }

    /// A sync that returned 0 covers what had returned before it began.
    fn synced(&mut self, args: &[u8], began: u64) {
        let Some((fd, _)) = trace::descriptor(args) else { return };
        match self.open.get(&fd).map(|o| o.target.clone()) {
            Some(Target::File(id)) => {
                let Some(file) = self.files.get_mut(id) else { return };
                let covered = file.pending.iter().take_while(|(t, _)| *t <= began).count();
                for (_, change) in file.pending.drain(..covered) {
                    change.apply(&mut file.durable);
                }
                self.syncs += usize::from(covered > 0);
            }
            Some(Target::Dir(dir)) => self.synced_dir(&dir, began),
            None => {}
        }
    }

    /// After EIO the kernel may hold the pages as clean: they never reach the disk, whatever a
    /// later sync of the same file answers.
    fn sync_failed(&mut self, args: &[u8], began: u64) {
        let Some((fd, _)) = trace::descriptor(args) else { return };
        let Some(Target::File(id)) = self.open.get(&fd).map(|o| o.target.clone()) else { return };
        let Some(file) = self.files.get_mut(id) else { return };
        file.pending.retain(|(t, change)| *t > began || matches!(change, Change::Size(_)));
    }

    fn synced_dir(&mut self, dir: &str, began: u64) {
        let durable = &mut self.durable_names;
        self.pending_names.retain(|(t, change)| {
            let name = match change {
                Naming::Put(n, _) | Naming::Take(n) | Naming::Move(_, n) => n,
            };
            let covered = *t <= began && parent(name) == dir;
            if covered {
                rename_in(durable, change);
            }
            !covered
        });
    }

    fn rename(&mut self, change: Naming) {
        rename_in(&mut self.names, &change);
        self.pending_names.push((self.clock, change));
    }

    fn named(&mut self, call: &str, args: &[u8]) {
        let mut paths = self.paths(args).into_iter();
        let (first, second) = (paths.next().flatten(), paths.next().flatten());
        if first.iter().chain(&second).any(|n| outside(n)) {
            return;
        }
        match (first, second) {
            (Some(from), Some(to)) if call.starts_with("rename") => {
                if parent(&from) != parent(&to) || self.names.get(&from) == Some(&Node::Dir) {
                    self.failures.push(format!("rename {from} {to}: not in one directory"));
                }
                self.rename(Naming::Move(from, to));
            }
            (None, None) => {}
            (Some(name), None) if call.starts_with("mkdir") => {
                self.rename(Naming::Put(name, Node::Dir));
            }
            (Some(name), None) => self.rename(Naming::Take(name)),
            (one, other) => self.failures.push(format!("{call} {one:?} {other:?}")),
        }
    }

    /// A write that never returned may have reached the page cache in part.
    fn cut_off(&mut self, name: &str, args: &[u8]) {
        if !name.contains("write") {
            return;
        }
        let Some((fd, _)) = trace::descriptor(args) else { return };
        let Some(open) = self.open.get(&fd).cloned() else { return };
        let Target::File(id) = open.target else { return };
        let len = trace::data(args).map_or(0, |d| d.len());
        let tail = trace::tail_numbers(args);
        let positioned = name.starts_with('p');
        let at = if positioned { tail.get(1).copied().map_or(0, size) } else { open.place };
        if let Some(file) = self.files.get_mut(id) {
            let at = if open.append && !positioned { file.current.len() } else { at };
            file.torn.push((at, at + len));
        }
    }
}

/// The tracker is disposable, and nothing but the log, images and small files is modelled.
pub(crate) fn outside(name: &str) -> bool {
    name == "tracker" || name.starts_with("tracker/")
}

fn size(n: i64) -> usize {
    usize::try_from(n).unwrap_or(0)
}
