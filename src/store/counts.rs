//! Counters of the tracker: tasks by job, priority and state, by job, tag and state, and the same
//! of all jobs of a partition. Moved by every change of a row, exact at every moment.
//!
//! A change of one task costs one step for each of its tags; a job verb one step for each row of
//! the job's counters (at most 64 keys of 2,001 rows), never one for each task. Held in memory
//! whole: about 1 KB a job and partition. Rows of tags and the sets of tasks lie in blocks of which
//! a bounded amount is held ([`Tally`]: 131,072 rows of at most 300 B; sets: 8 MiB).

use crate::codec::stored;
use crate::core::tally::{Move, Negative, Tally, go};
use crate::model::breakdown::{BARE_KEY, LevelCounts, TagCaps};
use crate::model::id::{Name, PartitionId, TaskSeq};
use crate::model::job::CancelMode;
use crate::model::priority::Priority;
use crate::model::row::{JobMarks, Row};
use crate::model::state::TaskState;
use crate::model::tags::{TagPart, TagSet, split};
use crate::store::block::{BlockKey, Error, Kind};
use crate::store::delays;
use crate::store::ledger::Ledger;
use crate::store::shelf::{Shelf, Shelved};
use crate::store::tagsets::TagSets;
use crate::store::vault::Vault;
use crate::store::waiting::{Waiter, Waiting};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Jobs of a block; block 0 says what the counters rest on.
const JOBS: u32 = 64;
/// Number that stands for all jobs; names are numbered from 1.
pub(super) const WHOLE: u32 = 0;

impl Shelved for Tally {
    const KIND: Kind = Kind::Tallies;
    const HELD_MAX: usize = 1 << 17;

    fn weight(&self) -> usize {
        self.size()
    }

    fn revived(self) -> Self {
        self.indexed()
    }
}

/// What is counted of a job, or of all, in one partition.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Head {
    /// By priority and state.
    pub(super) levels: LevelCounts,
    /// Number of the tally of each key.
    pub(super) keys: BTreeMap<Name, u32>,
    /// A key is not counted.
    pub(super) left_out: bool,
}

/// What stored counters rest on.
#[derive(Serialize, Deserialize)]
struct Basis {
    caps: TagCaps,
    /// Delays that end up to this time have been counted as over, ms.
    drained_to: u64,
}

/// Where a task is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot {
    state: TaskState,
    level: usize,
}

/// All counters.
pub(crate) struct Counts {
    caps: TagCaps,
    pub(super) heads: BTreeMap<(u16, u32), Head>,
    /// Blocks of heads that changed.
    changed: BTreeSet<(u16, u32)>,
    pub(super) tallies: Shelf<Tally>,
    /// Tallies of each partition.
    given: BTreeMap<u16, u32>,
    pub(super) sets: TagSets,
    waiting: Waiting,
    drained_to: u64,
}

impl Counts {
    pub(crate) fn new(caps: TagCaps) -> Self {
        Self {
            caps,
            heads: BTreeMap::new(),
            changed: BTreeSet::new(),
            tallies: Shelf::default(),
            given: BTreeMap::new(),
            sets: TagSets::default(),
            waiting: Waiting::default(),
            drained_to: 0,
        }
    }

    /// Nothing counted yet, under the same caps.
    pub(crate) fn emptied(&self) -> Self {
        Self::new(self.caps)
    }

    /// Reads them back.
    ///
    /// # Errors
    /// `Damaged`, also when they were counted under other caps.
    pub(crate) fn load(
        vault: &Vault,
        ledger: &Ledger,
        partitions: u16,
        caps: TagCaps,
    ) -> Result<Self, Error> {
        let basis: Basis = block(vault, BASIS)?;
        if basis.caps != caps {
            return Err(Error::Damaged("its tags were counted under other limits".to_owned()));
        }
        let sets = TagSets::load(vault, partitions)?;
        let mut counts = Self { sets, drained_to: basis.drained_to, ..Self::new(caps) };
        for partition in 0..partitions {
            for number in vault.numbers(Kind::Counts, partition) {
                let key = BlockKey::new(Kind::Counts, partition, number);
                if key != BASIS {
                    let heads: Vec<(u32, Head)> = block(vault, key)?;
                    let placed = heads.into_iter().map(|(job, head)| ((partition, job), head));
                    counts.heads.extend(placed);
                }
            }
            let last = vault.numbers(Kind::Tallies, partition).last();
            let given = last.and_then(|last| u32::try_from(last + 1).ok()).unwrap_or(0);
            counts.given.insert(partition, given);
            delays::find(vault, ledger, partition, basis.drained_to, &mut counts.waiting)?;
        }
        Ok(counts)
    }

    /// Hands what changed to the vault.
    pub(crate) fn flush(&mut self, vault: &mut Vault) {
        for (partition, number) in std::mem::take(&mut self.changed) {
            let jobs = (partition, number * JOBS)..=(partition, number * JOBS + (JOBS - 1));
            let heads = self.heads.range(jobs).map(|((_, job), head)| (*job, head.clone()));
            let key = BlockKey::new(Kind::Counts, partition, u64::from(number) + 1);
            vault.put(key, stored::encode(&heads.collect::<Vec<_>>()));
        }
        self.tallies.flush(vault);
        self.sets.flush(vault);
        let basis = Basis { caps: self.caps, drained_to: self.drained_to };
        vault.put(BASIS, stored::encode(&basis));
    }

    /// The set of tags of a task that is about to be admitted.
    ///
    /// # Errors
    /// `Damaged`.
    pub(crate) fn tags(
        &mut self,
        vault: &mut Vault,
        (partition, job): (u16, u32),
        text: &Name,
    ) -> Result<u32, Error> {
        if let Some(known) = self.sets.of_text(partition, job, text) {
            return Ok(known);
        }
        let mut cells = Vec::new();
        for tag in TagSet::parse(text).unwrap_or_default().iter() {
            let (key, value) = match split(tag) {
                TagPart::Pair(key, value) => (key, value),
                TagPart::Bare(bare) => (BARE_KEY, bare),
            };
            if let Some(tally) = self.tally(vault, partition, job, key) {
                cells.push((tally, self.row(vault, partition, tally, value)?));
            }
        }
        let set = self.sets.number(vault, partition, cells)?;
        self.sets.remember(partition, job, text, set);
        Ok(set)
    }

    /// Tally of a key in a job; `None` when the job has too many keys.
    fn tally(&mut self, vault: &mut Vault, partition: u16, job: u32, key: &str) -> Option<u32> {
        let most = self.caps.keys;
        let head = self.head(partition, job);
        if let Some(known) = head.keys.get(key) {
            return Some(*known);
        }
        if head.keys.len() >= most {
            head.left_out = true;
            return None;
        }
        let whole = match self.head(partition, WHOLE).keys.get(key).copied() {
            Some(whole) => whole,
            None => self.new_tally(vault, (partition, WHOLE), key, None),
        };
        Some(self.new_tally(vault, (partition, job), key, Some(whole)))
    }

    fn new_tally(
        &mut self,
        vault: &mut Vault,
        (partition, job): (u16, u32),
        key: &str,
        whole: Option<u32>,
    ) -> u32 {
        let given = self.given.entry(partition).or_insert(0);
        let number = *given;
        *given = number.checked_add(1).expect("fewer than 2^32 keys of jobs");
        let tally = Tally::new(whole.unwrap_or(number));
        self.tallies.put(vault, (partition, u64::from(number)), tally);
        self.head(partition, job).keys.insert(Name::from(key), number);
        number
    }

    /// Row of a value, a new one as long as there is room.
    fn row(
        &mut self,
        vault: &mut Vault,
        partition: u16,
        tally: u32,
        value: &str,
    ) -> Result<u16, Error> {
        let at = (partition, u64::from(tally));
        let found = self.tallies.get(vault, at)?;
        if let Some(row) = found.row(value) {
            return Ok(row);
        }
        let (whole, value, most) = (found.whole, Name::from(value), self.caps.values);
        let whole = self.tallies.change(vault, (partition, u64::from(whole)))?;
        let whole_row = whole.place_whole(&value, most);
        Ok(self.tallies.change(vault, at)?.place(&value, whole_row, most))
    }

    /// Counts tasks that were admitted together: `row` is the first of them.
    ///
    /// # Errors
    /// `Damaged`.
    pub(crate) fn admit(
        &mut self,
        vault: &mut Vault,
        (partition, seq): (PartitionId, TaskSeq),
        row: &Row,
        count: u64,
    ) -> Result<(), Error> {
        let state = row.stored_state();
        if state == TaskState::Delayed {
            self.waiting.insert((partition.0, row.due, seq), Waiter::of(row, count));
        }
        // No mark of its job reaches what came after it.
        let level = row.shown_priority(seq, &JobMarks::default()).index();
        self.shift(vault, (partition.0, row), (None, Some(Spot { state, level })), count)
    }

    /// A row was changed.
    ///
    /// # Errors
    /// `Damaged`.
    pub(crate) fn changed(
        &mut self,
        vault: &mut Vault,
        ledger: &Ledger,
        (partition, seq): (PartitionId, TaskSeq),
        (before, after): (&Row, &Row),
    ) -> Result<(), Error> {
        let same = |r: &Row| (r.state, r.due, r.set_priority, r.set_after);
        if same(before) == same(after) {
            return Ok(());
        }
        let marks = ledger.marks(partition.0, before.job);
        let delayed = |row: &Row| row.stored_state() == TaskState::Delayed;
        let entry = (partition.0, before.due, delay_entry(ledger, partition, seq, before));
        let waited = delayed(before) && self.waiting.holds(entry);
        let stays = delayed(before) && delayed(after) && before.due == after.due;
        if waited && !stays {
            self.waiting.take_one(entry);
        }
        if delayed(after) && !stays {
            self.waiting.insert((partition.0, after.due, seq), Waiter::of(after, 1));
        }
        let from = spot(before, seq, &marks, waited);
        let to = spot(after, seq, &marks, waited || !stays);
        self.shift(vault, (partition.0, before), (from, to), 1)
    }

    /// The marks of a job were changed: everything it has is moved in one step.
    ///
    /// # Errors
    /// `Damaged`.
    pub(crate) fn marked(
        &mut self,
        vault: &mut Vault,
        (partition, job): (u16, u32),
        (before, after): (&JobMarks, &JobMarks),
    ) -> Result<(), Error> {
        if let Some(cancel) = after.cancel.filter(|_| after.cancel != before.cancel) {
            self.cancel_job(vault, partition, job, cancel.mode)?;
        }
        if let Some(moved) = after.moved.filter(|_| after.moved != before.moved) {
            self.move_job(partition, job, moved.priority)?;
        }
        Ok(())
    }

    /// Counts as PENDING what was delayed until now.
    ///
    /// # Errors
    /// `Damaged`.
    pub(crate) fn drain(
        &mut self,
        vault: &mut Vault,
        ledger: &Ledger,
        now: u64,
    ) -> Result<(), Error> {
        self.drained_to = self.drained_to.max(now);
        while let Some((partition, seq, waiter)) = self.waiting.pop_due(self.drained_to) {
            let marks = ledger.marks(partition, waiter.job);
            // What its job's cancel reached has been counted as cancelled.
            if marks.ended(seq, TaskState::Delayed).is_none() {
                let level = waiter.level(seq, &marks);
                let row = Row { job: waiter.job, tags: waiter.tags, ..Row::default() };
                let spot = |state| Some(Spot { state, level });
                let way = (spot(TaskState::Delayed), spot(TaskState::Pending));
                self.shift(vault, (partition, &row), way, waiter.count)?;
            }
        }
        Ok(())
    }

    pub(super) fn head(&mut self, partition: u16, job: u32) -> &mut Head {
        self.changed.insert((partition, job / JOBS));
        self.heads.entry((partition, job)).or_default()
    }

    /// Moves tasks that are counted alike.
    fn shift(
        &mut self,
        vault: &mut Vault,
        (partition, row): (u16, &Row),
        (from, to): (Option<Spot>, Option<Spot>),
        count: u64,
    ) -> Result<(), Error> {
        if from == to {
            return Ok(());
        }
        self.shift_levels(partition, row.job, (from, to), count)?;
        let step = Move { from: from.map(|s| s.state), to: to.map(|s| s.state), count };
        if step.from == step.to || row.tags == 0 {
            return Ok(());
        }
        let mut last = None;
        for (number, line) in self.sets.cells(vault, partition, row.tags)? {
            let tally = self.tallies.change(vault, (partition, u64::from(*number)))?;
            let (whole, whole_line) = (tally.whole, tally.whole_row(*line));
            let another_key = last.replace(*number) != Some(*number);
            let rows = [(*number, *line), (whole, whole_line)];
            for (number, line) in rows {
                let tally = self.tallies.change(vault, (partition, u64::from(number)))?;
                tally.shift(line, step).map_err(negative)?;
                if another_key {
                    tally.shift_key(step).map_err(negative)?;
                }
            }
        }
        Ok(())
    }

    fn shift_levels(
        &mut self,
        partition: u16,
        job: u32,
        (from, to): (Option<Spot>, Option<Spot>),
        count: u64,
    ) -> Result<(), Error> {
        for job in [job, WHOLE] {
            let levels = &mut self.head(partition, job).levels;
            if let Some(spot) = from {
                let step = Move { from: Some(spot.state), to: None, count };
                step.apply(&mut levels[spot.level]).map_err(negative)?;
            }
            if let Some(spot) = to {
                levels[spot.level].add(spot.state, count);
            }
        }
        Ok(())
    }

    fn cancel_job(
        &mut self,
        vault: &mut Vault,
        partition: u16,
        job: u32,
        mode: CancelMode,
    ) -> Result<(), Error> {
        let Some(head) = self.heads.get(&(partition, job)).cloned() else { return Ok(()) };
        let reached = || TaskState::ALL.into_iter().filter(move |state| mode.reaches(*state));
        for (level, counts) in head.levels.iter().enumerate() {
            for state in reached() {
                let (from, to) = (Spot { state, level }, TaskState::Cancelled);
                let way = (Some(from), Some(Spot { state: to, level }));
                self.shift_levels(partition, job, way, counts.of(state))?;
            }
        }
        let cancelled =
            |state, count| Move { from: Some(state), to: Some(TaskState::Cancelled), count };
        for number in head.keys.values() {
            let at = (partition, u64::from(*number));
            let tally = self.tallies.change(vault, at)?.clone();
            let whole_at = (partition, u64::from(tally.whole));
            for state in reached() {
                let step = cancelled(state, tally.with_key().of(state));
                for at in [at, whole_at] {
                    self.tallies.change(vault, at)?.shift_key(step).map_err(negative)?;
                }
                for line in tally.rows() {
                    let step = cancelled(state, tally.counts(line).of(state));
                    let rows = [(at, line), (whole_at, tally.whole_row(line))];
                    for (at, line) in rows.into_iter().filter(|_| step.count > 0) {
                        self.tallies.change(vault, at)?.shift(line, step).map_err(negative)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A job is gone: what is left of it is taken from the counters of all jobs.
    ///
    /// # Errors
    /// `Damaged`.
    pub(crate) fn purge_job(
        &mut self,
        vault: &mut Vault,
        partition: u16,
        job: u32,
    ) -> Result<(), Error> {
        self.waiting.forget(partition, job);
        self.sets.forget_texts();
        let Some(head) = self.heads.remove(&(partition, job)) else { return Ok(()) };
        self.changed.insert((partition, job / JOBS));
        let whole = self.head(partition, WHOLE);
        let levels = whole.levels.iter_mut().zip(&head.levels);
        levels.into_iter().try_for_each(|(all, own)| go(all, own)).map_err(negative)?;
        for number in head.keys.values() {
            let at = (partition, u64::from(*number));
            let gone = std::mem::take(self.tallies.change(vault, at)?);
            let whole = self.tallies.change(vault, (partition, u64::from(gone.whole)))?;
            whole.leave(&gone).map_err(negative)?;
        }
        Ok(())
    }

    fn move_job(&mut self, partition: u16, job: u32, priority: Priority) -> Result<(), Error> {
        let Some(head) = self.heads.get(&(partition, job)).cloned() else { return Ok(()) };
        for (level, counts) in head.levels.iter().enumerate() {
            for state in TaskState::ALL.into_iter().filter(|state| state.queued()) {
                let to = Spot { state, level: priority.index() };
                let way = (Some(Spot { state, level }), Some(to));
                self.shift_levels(partition, job, way, counts.of(state))?;
            }
        }
        Ok(())
    }
}

const BASIS: BlockKey = BlockKey { kind: Kind::Counts, partition: 0, number: 0 };

/// The entry among the delayed that a delayed task is part of: an element that nothing has happened
/// to is its array's.
fn delay_entry(ledger: &Ledger, partition: PartitionId, seq: TaskSeq, row: &Row) -> TaskSeq {
    let array = row.untouched().then(|| ledger.array_at(partition.0, seq)).flatten();
    array.map_or(seq, |array| array.first)
}

/// `None` for what is left of a task that is gone: it has no state.
fn spot(row: &Row, seq: TaskSeq, marks: &JobMarks, waits: bool) -> Option<Spot> {
    let level = row.shown_priority(seq, marks).index();
    let stored = TaskState::from_index(usize::from(row.state))?;
    let state = match marks.ended(seq, stored) {
        Some(_) => TaskState::Cancelled,
        None if stored == TaskState::Delayed && !waits => TaskState::Pending,
        None => stored,
    };
    Some(Spot { state, level })
}

fn negative(Negative: Negative) -> Error {
    Error::Damaged("a counter would become negative".to_owned())
}

fn block<T: serde::de::DeserializeOwned>(vault: &Vault, key: BlockKey) -> Result<T, Error> {
    let bytes = vault.get(key)?.ok_or_else(|| Error::Damaged("a block is missing".to_owned()))?;
    stored::decode(&bytes).map_err(Error::Damaged)
}
