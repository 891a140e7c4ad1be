//! Blocks with proof: every block is bound by its checksum in a table, every piece of the table
//! by its checksum in the head, so a block that is damaged, missing, misplaced or *older* than the
//! head is noticed, whatever the store below does.
//!
//! ```text
//!   head (one block, own CRC32C): cursors, checksums of the table's pieces
//!     └─► table piece: 1,024 checksums ─► page, details, names, marks
//! ```
//! An older head with everything that belongs to it is no damage: it is an earlier checkpoint, and
//! the log tells the rest. What was put since the last commit is held in memory, encoded.

use crate::codec::page::{Summary, summary};
use crate::codec::stored;
use crate::model::id::{Position, TaskSeq};
use crate::model::time::WallMs;
use crate::store::block::{BlockKey, Error, Kind, TrackerStore};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Raised with every change of a stored shape; another version is folded again.
const VERSION: u32 = 8;
/// Checksums in a piece of the table.
const PIECE: usize = 1_024;

/// The one block that is replaced with every checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    version: u32,
    /// Number of this checkpoint.
    pub checkpoint: u64,
    /// How far each partition is folded.
    pub cursors: Vec<Cursor>,
    /// Checksums of the table's pieces by kind and partition.
    pieces: Vec<(u8, u16, Vec<u32>)>,
}

/// How far a partition is folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// First position not folded.
    pub position: Position,
    /// Next sequence number.
    pub next: TaskSeq,
    /// Position and stamp of the last record folded: only the log they come from has that record
    /// there.
    pub witness: Option<(Position, WallMs)>,
}

type Column = (Kind, u16);

/// The checked store.
pub struct Vault {
    store: Box<dyn TrackerStore>,
    table: BTreeMap<Column, Vec<u32>>,
    pieces: BTreeMap<Column, Vec<u32>>,
    changed: BTreeSet<(Column, usize)>,
    summaries: BTreeMap<u16, Vec<Summary>>,
    waiting: BTreeMap<BlockKey, Vec<u8>>,
    waiting_bytes: usize,
    checkpoint: u64,
}

impl Vault {
    /// Opens a store and checks every block of it; cursors of its last checkpoint, none for an
    /// empty store. After `Damaged` nothing of it may be used: [`Self::reset`] it.
    pub fn open(store: Box<dyn TrackerStore>) -> (Self, Result<Head, Error>) {
        let mut vault = Self::empty(store);
        let head = vault.load();
        (vault, head)
    }

    fn empty(store: Box<dyn TrackerStore>) -> Self {
        Self {
            store,
            table: BTreeMap::new(),
            pieces: BTreeMap::new(),
            changed: BTreeSet::new(),
            summaries: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            checkpoint: 0,
        }
    }

    /// Drops everything, stored or waiting.
    ///
    /// # Errors
    /// The store refused.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.table.clear();
        self.pieces.clear();
        self.changed.clear();
        self.summaries.clear();
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.checkpoint = 0;
        self.store.reset()
    }

    /// One block, proven.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn get(&self, key: BlockKey) -> Result<Option<Vec<u8>>, Error> {
        if let Some(bytes) = self.waiting.get(&key) {
            return Ok(Some(bytes.clone()).filter(|bytes| !bytes.is_empty()));
        }
        let Some(wanted) = self.wanted(key) else { return Ok(None) };
        let bytes = self.store.get(key)?.ok_or_else(|| damaged(key, "it is missing"))?;
        if stored::checksum(&bytes) == wanted { Ok(Some(bytes)) } else { Err(stale(key)) }
    }

    /// Keeps a block until the next commit writes it.
    pub fn put(&mut self, key: BlockKey, bytes: Vec<u8>) {
        let column = (key.kind, key.partition);
        let at = usize::try_from(key.number).expect("numbers of blocks fit the address space");
        let sums = self.table.entry(column).or_default();
        if sums.len() <= at {
            sums.resize(at + 1, 0);
        }
        sums[at] = stored::checksum(&bytes);
        self.changed.insert((column, at / PIECE));
        if key.kind == Kind::Page {
            self.summarise(key, &bytes);
        }
        self.waiting_bytes += bytes.len();
        if let Some(old) = self.waiting.insert(key, bytes) {
            self.waiting_bytes -= old.len();
        }
    }

    /// Drops a block with the next commit.
    pub fn remove(&mut self, key: BlockKey) {
        let column = (key.kind, key.partition);
        let at = usize::try_from(key.number).unwrap_or(usize::MAX);
        let sum = self.table.get_mut(&column).and_then(|sums| sums.get_mut(at));
        let Some(sum) = sum.filter(|sum| **sum != 0) else { return };
        *sum = 0;
        self.changed.insert((column, at / PIECE));
        if key.kind == Kind::Page {
            self.set_summary(key, Summary::default());
        }
        if let Some(old) = self.waiting.insert(key, Vec::new()) {
            self.waiting_bytes -= old.len();
        }
    }

    /// Blocks and bytes that wait for the next commit.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.waiting.len(), self.waiting_bytes)
    }

    /// What a stored page holds; `None` when no such page was ever put.
    #[must_use]
    pub fn page_summary(&self, partition: u16, page: u64) -> Option<Summary> {
        self.wanted(BlockKey::new(Kind::Page, partition, page))?;
        let at = usize::try_from(page).ok()?;
        self.summaries.get(&partition)?.get(at).copied()
    }

    /// Is there such a block?
    #[must_use]
    pub fn holds(&self, key: BlockKey) -> bool {
        self.wanted(key).is_some()
    }

    /// Numbers of the blocks of a kind in a partition.
    pub fn numbers(&self, kind: Kind, partition: u16) -> impl Iterator<Item = u64> + '_ {
        let sums = self.table.get(&(kind, partition)).into_iter().flatten();
        (0u64..).zip(sums).filter(|(_, sum)| **sum != 0).map(|(number, _)| number)
    }

    /// Writes what waits together with the cursors, atomically and durably.
    ///
    /// # Errors
    /// The store refused; everything still waits and the next commit tries again.
    pub fn commit(&mut self, cursors: &[Cursor]) -> Result<(), Error> {
        let mut blocks: Vec<(BlockKey, Vec<u8>)> = Vec::with_capacity(self.waiting.len() + 8);
        for (column, piece) in &self.changed {
            let sums = self.table[column].chunks(PIECE).nth(*piece).unwrap_or_default();
            let bytes = stored::encode(&sums.to_vec());
            let proof = self.pieces.entry(*column).or_default();
            if proof.len() <= *piece {
                proof.resize(piece + 1, 0);
            }
            proof[*piece] = stored::checksum(&bytes);
            blocks.push((piece_key(*column, *piece), bytes));
        }
        let pieces = self.pieces.iter().map(|((k, p), sums)| (k.byte(), *p, sums.clone()));
        let head = Head {
            version: VERSION,
            checkpoint: self.checkpoint + 1,
            cursors: cursors.to_vec(),
            pieces: pieces.collect(),
        };
        blocks.push((HEAD, stored::encode(&head)));
        let waiting = std::mem::take(&mut self.waiting);
        blocks.extend(waiting);
        let written = self.store.write(&blocks);
        if written.is_ok() {
            self.changed.clear();
            self.waiting_bytes = 0;
            self.checkpoint += 1;
        } else {
            let data = |key: &BlockKey| !matches!(key.kind, Kind::Meta | Kind::Table);
            self.waiting = blocks.into_iter().filter(|(key, _)| data(key)).collect();
        }
        written
    }

    fn load(&mut self) -> Result<Head, Error> {
        let Some(bytes) = self.store.get(HEAD)? else {
            // Without a head nothing may lie here: it would never be looked at again.
            for kind in Kind::ALL {
                self.store.each(kind, &mut |key, _| Err(damaged(key, "there is no head")))?;
            }
            return Ok(Head::default());
        };
        let head: Head = stored::decode(&bytes).map_err(Error::Damaged)?;
        if head.version != VERSION {
            return Err(Error::Damaged("it was written by another version".to_owned()));
        }
        self.checkpoint = head.checkpoint;
        for (byte, partition, sums) in &head.pieces {
            let kind = Kind::ALL.into_iter().find(|kind| kind.byte() == *byte);
            let kind = kind.ok_or_else(|| Error::Damaged("the head is not ours".to_owned()))?;
            self.load_pieces((kind, *partition), sums)?;
        }
        for kind in Kind::ALL.into_iter().filter(|k| !matches!(k, Kind::Meta | Kind::Table)) {
            self.check(kind)?;
        }
        Ok(head)
    }

    fn load_pieces(&mut self, column: Column, proofs: &[u32]) -> Result<(), Error> {
        let mut all = Vec::with_capacity(proofs.len() * PIECE);
        for (piece, proof) in proofs.iter().enumerate() {
            // A piece may end early; the next one still begins at its own place.
            all.resize(piece * PIECE, 0);
            if *proof == 0 {
                continue;
            }
            let key = piece_key(column, piece);
            let bytes = self.store.get(key)?.ok_or_else(|| damaged(key, "it is missing"))?;
            if stored::checksum(&bytes) != *proof {
                return Err(stale(key));
            }
            let sums: Vec<u32> = stored::decode(&bytes).map_err(Error::Damaged)?;
            all.extend(sums);
        }
        self.table.insert(column, all);
        self.pieces.insert(column, proofs.to_vec());
        Ok(())
    }

    /// Every block that should be there is, as it was written.
    fn check(&mut self, kind: Kind) -> Result<(), Error> {
        let columns = self.table.iter().filter(|((k, _), _)| *k == kind);
        let wanted: usize = columns.map(|(_, s)| s.iter().filter(|sum| **sum != 0).count()).sum();
        let (mut found, mut pages) = (0, Vec::new());
        let table = &self.table;
        self.store.each(kind, &mut |key, bytes| {
            let sums = table.get(&(key.kind, key.partition));
            let at = usize::try_from(key.number).unwrap_or(usize::MAX);
            let sum = sums.and_then(|sums| sums.get(at)).copied().unwrap_or(0);
            if sum != stored::checksum(bytes) {
                return Err(stale(key));
            }
            found += 1;
            if kind == Kind::Page {
                let known = summary(bytes).map_err(|e| damaged(key, &e.to_string()))?;
                pages.push((key, known));
            }
            Ok(())
        })?;
        if found != wanted {
            return Err(Error::Damaged(format!("{found} of {wanted} blocks are there")));
        }
        for (key, known) in pages {
            self.set_summary(key, known);
        }
        Ok(())
    }

    fn wanted(&self, key: BlockKey) -> Option<u32> {
        let sums = self.table.get(&(key.kind, key.partition))?;
        sums.get(usize::try_from(key.number).ok()?).copied().filter(|sum| *sum != 0)
    }

    fn summarise(&mut self, key: BlockKey, bytes: &[u8]) {
        if let Ok(known) = summary(bytes) {
            self.set_summary(key, known);
        }
    }

    fn set_summary(&mut self, key: BlockKey, known: Summary) {
        let all = self.summaries.entry(key.partition).or_default();
        let at = usize::try_from(key.number).expect("numbers of blocks fit the address space");
        if all.len() <= at {
            all.resize(at + 1, Summary::default());
        }
        all[at] = known;
    }
}

const HEAD: BlockKey = BlockKey { kind: Kind::Meta, partition: 0, number: 0 };

fn piece_key((kind, partition): Column, piece: usize) -> BlockKey {
    let number = u64::from(kind.byte()) << 48 | piece as u64;
    BlockKey::new(Kind::Table, partition, number)
}

fn damaged(key: BlockKey, what: &str) -> Error {
    Error::Damaged(format!("block {:?} {}/{}: {what}", key.kind, key.partition, key.number))
}

fn stale(key: BlockKey) -> Error {
    damaged(key, "it is not what the last checkpoint wrote")
}
