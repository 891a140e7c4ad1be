//! Walking over rows: the filter by columns, and one partition in one direction, page by page.
//! Pages whose summary cannot match are passed over unread.

use crate::codec::page::Summary;
use crate::model::access::Scopes;
use crate::model::id::{Name, PartitionId, TaskSeq};
use crate::model::limits::PAGE_TASKS;
use crate::model::priority::Priority;
use crate::model::row::Row;
use crate::model::state::TaskState;
use crate::model::time::WallMs;
use crate::model::view::{Order, TaskQuery};
use crate::store::block::Error;
use crate::store::cache::{Cache, PageKey, read};
use crate::store::counts::Counts;
use crate::store::ledger::Ledger;
use crate::store::tagfilter::{TagFilter, Verdict};
use crate::store::vault::Vault;
use std::borrow::Cow;
use std::collections::VecDeque;

/// Rows found ahead at most; what a walk holds stays small however many partitions there are.
const AHEAD: usize = 64;
const PAGE: u64 = PAGE_TASKS as u64;
/// Reading a text from the log costs as much as looking at so many rows.
const TEXT_ROWS: u64 = 32;
/// The same of a block of sets of tags.
const BLOCK_ROWS: u64 = 64;
/// A bit for each state; a purged row is in none.
const ALL_STATES: u16 = (1 << TaskState::COUNT) - 1;

/// The part of a query that columns decide, names turned into numbers.
pub(crate) struct Filter {
    scopes: Scopes,
    states: u16,
    job: Option<u32>,
    worker: Option<u32>,
    class: Option<u32>,
    priority: Option<Priority>,
    since: u64,
    until: u64,
    now: WallMs,
    pub(crate) newest_first: bool,
    pub(crate) tags: Option<TagFilter>,
    /// Stored states that may be shown as one of `states`.
    stored: u16,
}

impl Filter {
    /// `None` when a name was never seen, or is not for this caller, so that nothing can match.
    pub(crate) fn new(query: &TaskQuery, ledger: &Ledger, now: WallMs) -> Option<Self> {
        if query.job.as_ref().is_some_and(|job| !query.scopes.cover(job)) {
            return None;
        }
        let number = |name: &Option<Name>| match name {
            None => Some(None),
            Some(name) => ledger.known(name).map(Some),
        };
        let states = if query.states == 0 { ALL_STATES } else { query.states };
        let bit = |state: TaskState| 1u16 << state.index();
        let mut stored = states;
        if states & bit(TaskState::Pending) != 0 {
            stored |= bit(TaskState::Delayed);
        }
        if states & bit(TaskState::Cancelled) != 0 && ledger.any_marks() {
            TaskState::ALL.iter().filter(|s| s.live()).for_each(|s| stored |= bit(*s));
        }
        Some(Self {
            scopes: query.scopes.clone(),
            states,
            job: number(&query.job)?,
            worker: number(&query.worker)?,
            class: number(&query.class)?,
            priority: query.priority,
            since: query.since.0,
            until: query.until.known().map_or(u64::MAX, |until| until.0),
            now,
            newest_first: query.order == Order::New,
            tags: TagFilter::of(query),
            stored,
        })
    }

    /// Does a row match?
    ///
    /// # Errors
    /// `Damaged`.
    pub(crate) fn verdict(
        &self,
        at: PartitionId,
        seq: TaskSeq,
        row: &Row,
        places: Places<'_>,
    ) -> Result<Verdict, Error> {
        match &self.tags {
            _ if !self.passes(at, seq, row, places.ledger) => Ok(Verdict::No),
            None => Ok(Verdict::Yes),
            Some(tags) => tags.verdict((places.counts, places.vault), at.0, row),
        }
    }

    /// By its columns other than tags.
    fn passes(&self, at: PartitionId, seq: TaskSeq, row: &Row, ledger: &Ledger) -> bool {
        if self.stored >> row.state & 1 == 0
            || self.job.is_some_and(|job| job != row.job)
            || self.worker.is_some_and(|worker| worker != row.worker)
            || self.class.is_some_and(|class| class != row.class)
            || row.submitted < self.since
            || row.submitted >= self.until
            || !self.scopes.everything() && !self.scopes.cover(&ledger.name(row.job))
        {
            return false;
        }
        let marks = ledger.marks(at.0, row.job);
        let state = row.shown_state(seq, &marks, self.now);
        self.states >> state.index() & 1 == 1
            && self.priority.is_none_or(|p| row.shown_priority(seq, &marks) == p)
    }

    fn may_hold(&self, page: &Summary) -> bool {
        page.states & self.stored != 0
            && self.job.is_none_or(|job| page.jobs >> (job % 64) & 1 == 1)
            && page.admitted[0] < self.until
            && page.admitted[1] >= self.since
    }
}

/// Where rows and their names, marks and counters are.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) vault: &'a Vault,
    pub(crate) ledger: &'a Ledger,
    pub(crate) counts: &'a Counts,
}

/// A row that matches, if its text does not tell otherwise.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) seq: TaskSeq,
    pub(crate) row: Row,
    pub(crate) unsure: bool,
}

/// How many rows a page of a list may look at. A walk may always look at one, or a list over more
/// partitions than its budget has rows would never go on.
pub(crate) struct Budget {
    pub(crate) left: u64,
    pub(crate) looked: u64,
}

impl Budget {
    fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
        self.looked += 1;
    }

    /// Texts were read.
    pub(crate) fn spend_texts(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count as u64 * TEXT_ROWS);
    }

    fn spend_blocks(&mut self, count: u64) {
        self.left = self.left.saturating_sub(count * BLOCK_ROWS);
    }
}

/// Walks one partition in one direction.
pub(crate) struct Walk {
    pub(crate) partition: PartitionId,
    /// Next to look at; for newest-first an exclusive upper bound.
    at: u64,
    end: u64,
    newest_first: bool,
    ahead: VecDeque<Found>,
    /// Something was looked at.
    begun: bool,
}

impl Walk {
    pub(crate) fn new(partition: PartitionId, from: u64, end: u64, newest_first: bool) -> Self {
        Self {
            partition,
            at: from.min(end),
            end,
            newest_first,
            ahead: VecDeque::new(),
            begun: false,
        }
    }

    /// The next match, once it is known.
    pub(crate) fn head(&self) -> Option<&Found> {
        self.ahead.front()
    }

    pub(crate) fn take(&mut self) -> Option<Found> {
        self.ahead.pop_front()
    }

    /// Nothing is left to look at.
    pub(crate) fn over(&self) -> bool {
        self.ahead.is_empty() && if self.newest_first { self.at == 0 } else { self.at >= self.end }
    }

    /// Where another walk would have to go on.
    pub(crate) fn cursor(&self) -> u64 {
        match self.head() {
            Some(found) => found.seq.0 + u64::from(self.newest_first),
            None => self.at,
        }
    }

    /// Looks on until there is a match, the end is reached or the budget is used.
    pub(crate) fn look(
        &mut self,
        filter: &Filter,
        places: Places<'_>,
        budget: &mut Budget,
    ) -> Result<(), Error> {
        let Places { cache, vault, ledger, .. } = places;
        while self.ahead.is_empty() && !self.over() && (budget.left > 0 || !self.begun) {
            self.begun = true;
            let page = if self.newest_first { (self.at - 1) / PAGE } else { self.at / PAGE };
            let key: PageKey = (self.partition.0, page);
            let held = cache.peek(key).filter(|rows| !rows.is_empty());
            let stored = vault.page_summary(key.0, key.1);
            let array =
                || ledger.array_of_page(key).map(|array| Summary::of_row(&array.row(array.first)));
            let known = stored.or_else(array).filter(|_| held.is_none());
            // Nothing is stored of a page whose tasks were all purged.
            let gone = held.is_none() && known.is_none();
            let all_alike = stored.is_none() && held.is_none();
            let unlike = all_alike && self.array_fails(key, filter, places)?;
            if gone || unlike || known.is_some_and(|page| !filter.may_hold(&page)) {
                self.at = if self.newest_first { page * PAGE } else { (page + 1) * PAGE };
                self.at = self.at.min(self.end);
                budget.spend();
                continue;
            }
            let rows = match held {
                Some(rows) => Cow::Borrowed(rows),
                None => Cow::Owned(read(key, vault, ledger)?),
            };
            self.look_in(page, &rows, filter, places, budget)?;
        }
        Ok(())
    }

    /// Do the tags of the array tell that no element of its page matches?
    fn array_fails(
        &self,
        key: PageKey,
        filter: &Filter,
        places: Places<'_>,
    ) -> Result<bool, Error> {
        let Some(tags) = &filter.tags else { return Ok(false) };
        let Some(array) = places.ledger.array_of_page(key) else { return Ok(false) };
        let row = array.row(array.first);
        Ok(tags.verdict((places.counts, places.vault), key.0, &row)? == Verdict::No)
    }

    fn look_in(
        &mut self,
        page: u64,
        rows: &[Row],
        filter: &Filter,
        places: Places<'_>,
        budget: &mut Budget,
    ) -> Result<(), Error> {
        let first = page * PAGE;
        let last = if self.newest_first { self.at } else { (first + PAGE).min(self.end) };
        let from = if self.newest_first { first } else { self.at };
        while self.ahead.len() < AHEAD {
            let seq = if self.newest_first {
                self.at.checked_sub(1).filter(|seq| *seq >= from)
            } else {
                Some(self.at).filter(|seq| *seq < last)
            };
            let Some(seq) = seq else { break };
            let place = usize::try_from(seq - first).expect("below 1,024");
            let missing = || Error::Damaged(format!("task {seq} has no row"));
            let row = rows.get(place).ok_or_else(missing)?;
            let verdict = filter.verdict(self.partition, TaskSeq(seq), row, places)?;
            if verdict != Verdict::No {
                let unsure = verdict == Verdict::Unsure;
                self.ahead.push_back(Found { seq: TaskSeq(seq), row: *row, unsure });
            }
            self.at = if self.newest_first { seq } else { seq + 1 };
            budget.spend();
            budget.spend_blocks(filter.tags.as_ref().map_or(0, TagFilter::blocks_read));
            if budget.left == 0 {
                break;
            }
        }
        Ok(())
    }
}
