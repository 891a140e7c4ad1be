//! The power cut: proves the replay against the files the killed process left, then puts every file
//! back to a state that power loss allows.

use crate::disk::{Change, Disk, File, Node, outside, parent, rename_in};
use crate::util::Rng;
use std::collections::BTreeMap;
use std::path::Path;

/// Which of the allowed states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Exactly what was synced.
    Strict,
    /// Also a random part of the un-synced 4 KiB pages, one of them torn at 512 B, a random length
    /// of what grew, and a random prefix of the un-synced names.
    Torn,
}

const PAGE: usize = 4_096;
const SECTOR: usize = 512;

/// What a cut took away.
#[derive(Default, Debug)]
pub(crate) struct Taken {
    /// Un-synced bytes that were written and are gone or torn.
    pub(crate) bytes: usize,
    /// Names undone.
    pub(crate) names: usize,
}

/// Compares the model with the directory; every difference is a fault of the harness.
pub(crate) fn differences(disk: &Disk, root: &Path) -> Vec<String> {
    let mut found = disk.failures.clone();
    for (name, node) in &disk.names {
        let path = root.join(name);
        let Node::File(id) = node else {
            if !path.is_dir() {
                found.push(format!("{name} should be a directory"));
            }
            continue;
        };
        let (Ok(real), Some(file)) = (std::fs::read(&path), disk.files.get(*id)) else {
            found.push(format!("{name} should be there"));
            continue;
        };
        if let Some(what) = unlike(file, &real) {
            found.push(format!("{name}: {what}"));
        }
    }
    found
}

fn unlike(file: &File, real: &[u8]) -> Option<String> {
    let in_torn = |at: usize| file.torn.iter().any(|(from, to)| (*from..*to).contains(&at));
    if file.current.len() != real.len() && file.torn.is_empty() {
        return Some(format!("{} bytes, replayed {}", real.len(), file.current.len()));
    }
    let differ = file.current.iter().zip(real).enumerate().filter(|(_, (a, b))| a != b);
    let mut differ = differ.map(|(at, _)| at).filter(|at| !in_torn(*at));
    let first = differ.next()?;
    let last = differ.next_back().unwrap_or(first);
    let some = |bytes: &[u8]| format!("{:02x?}", bytes.get(first..).unwrap_or_default().get(..16));
    Some(format!(
        "bytes {first} to {last} of {} (replayed {}) are not what was replayed: {} there, {} \
         replayed; cut off {:?}; last changes {:?}",
        real.len(),
        file.current.len(),
        some(real),
        some(&file.current),
        file.torn,
        file.pending.iter().rev().take(4).map(|(t, c)| (t, c.range())).collect::<Vec<_>>(),
    ))
}

/// Puts the directory into the chosen state.
pub(crate) fn cut(disk: &Disk, root: &Path, how: Cut, rng: &mut Rng) -> Taken {
    let mut taken = Taken::default();
    let mut names = disk.durable_names.clone();
    let keep = match how {
        Cut::Strict => 0,
        Cut::Torn => rng.index(disk.pending_names.len() + 1),
    };
    taken.names = disk.pending_names.len() - keep;
    for (_, change) in disk.pending_names.iter().take(keep) {
        rename_in(&mut names, change);
    }
    let contents: BTreeMap<&String, Vec<u8>> = names
        .iter()
        .filter(|(name, _)| reachable(&names, name))
        .filter_map(|(name, node)| match node {
            Node::File(id) => disk.files.get(*id).map(|f| (name, after(f, how, rng, &mut taken))),
            Node::Dir => None,
        })
        .collect();
    wipe(root);
    for (name, node) in &names {
        if *node == Node::Dir && reachable(&names, name) {
            std::fs::create_dir_all(root.join(name)).expect("a directory can be made");
        }
    }
    for (name, content) in contents {
        std::fs::write(root.join(name), content).expect("a file can be put back");
    }
    taken
}

/// A file is there only if all its directories are.
fn reachable(names: &BTreeMap<String, Node>, name: &str) -> bool {
    let mut dir = parent(name);
    while !dir.is_empty() {
        if names.get(dir) != Some(&Node::Dir) {
            return false;
        }
        dir = parent(dir);
    }
    true
}

/// Removes all but the tracker, which the caller decides about.
fn wipe(root: &Path) {
    for entry in std::fs::read_dir(root).expect("the directory can be read") {
        let entry = entry.expect("an entry can be read");
        if outside(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let path = entry.path();
        let gone = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        gone.expect("it can be removed");
    }
}

/// The content of one file after the cut.
fn after(file: &File, how: Cut, rng: &mut Rng, taken: &mut Taken) -> Vec<u8> {
    let unsynced: usize = file.pending.iter().map(|(_, c)| c.range().1 - c.range().0).sum();
    if how == Cut::Strict || file.pending.is_empty() {
        taken.bytes += unsynced;
        return file.durable.clone();
    }
    let mut out = file.durable.clone();
    let (synced, now) = (file.durable.len(), file.current.len());
    let len = match rng.range(0, 3) {
        0 => synced,
        1 => now,
        _ => synced.min(now) + rng.index(synced.abs_diff(now) + 1),
    };
    out.resize(len, 0);
    let pages: Vec<usize> = dirty(&file.pending);
    let torn = pages.get(rng.index(pages.len().max(1))).copied();
    for page in pages {
        let (from, to) = (page * PAGE, ((page + 1) * PAGE).min(len).min(now));
        let to = if torn == Some(page) { to.min(from + rng.index(8) * SECTOR) } else { to };
        if from < to && (torn == Some(page) || rng.chance(50)) {
            let new = file.current.get(from..to).unwrap_or_default();
            out.get_mut(from..to).expect("inside both").copy_from_slice(new);
        } else {
            taken.bytes += PAGE;
        }
    }
    out
}

/// Pages touched by un-synced writes, in order.
fn dirty(pending: &[(u64, Change)]) -> Vec<usize> {
    let mut pages = std::collections::BTreeSet::new();
    for (_, change) in pending {
        let (from, to) = change.range();
        if from < to {
            pages.extend(from / PAGE..=(to - 1) / PAGE);
        }
    }
    pages.into_iter().collect()
}
