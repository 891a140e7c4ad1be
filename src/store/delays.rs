//! Finds the delayed tasks again at a start. Only pages that may hold one are read.

use crate::model::id::TaskSeq;
use crate::model::limits::PAGE_TASKS;
use crate::model::row::{ArrayRows, Row};
use crate::model::state::TaskState;
use crate::store::block::{Error, Kind};
use crate::store::cache::read;
use crate::store::ledger::Ledger;
use crate::store::vault::Vault;
use crate::store::waiting::{Waiter, Waiting};

const PAGE: u64 = PAGE_TASKS as u64;

/// Adds every task of a partition whose delay ends after `passed`.
///
/// # Errors
/// `Damaged`.
pub(super) fn find(
    vault: &Vault,
    ledger: &Ledger,
    partition: u16,
    passed: u64,
    waiting: &mut Waiting,
) -> Result<(), Error> {
    let waits = |seq: TaskSeq, row: &Row| {
        let cancelled = || ledger.marks(partition, row.job).ended(seq, TaskState::Delayed);
        row.stored_state() == TaskState::Delayed && row.due > passed && cancelled().is_none()
    };
    for page in vault.numbers(Kind::Page, partition).collect::<Vec<_>>() {
        let known = vault.page_summary(partition, page);
        if known.is_none_or(|page| page.states >> TaskState::Delayed.index() & 1 == 0) {
            continue;
        }
        let rows = read((partition, page), vault, ledger)?;
        for (seq, row) in (page * PAGE..).map(TaskSeq).zip(&rows) {
            let element = || row.untouched() && ledger.array_at(partition, seq).is_some();
            if waits(seq, row) && !element() {
                waiting.insert((partition, row.due, seq), Waiter::of(row, 1));
            }
        }
    }
    for array in ledger.arrays(partition) {
        let first = array.row(array.first);
        if waits(array.first, &first) {
            let count = untouched(vault, ledger, partition, array)?;
            if count > 0 {
                let key = (partition, first.due, array.first);
                waiting.insert(key, Waiter::of(&first, count));
            }
        }
    }
    Ok(())
}

/// Elements that nothing has happened to. A page that is not stored holds no others.
fn untouched(
    vault: &Vault,
    ledger: &Ledger,
    partition: u16,
    array: &ArrayRows,
) -> Result<u64, Error> {
    let mut count = array.span.count;
    for page in array.first.0 / PAGE..array.end().0.div_ceil(PAGE) {
        if vault.page_summary(partition, page).is_none() {
            continue;
        }
        let rows = read((partition, page), vault, ledger)?;
        let elements = (page * PAGE..).map(TaskSeq).zip(&rows);
        let own = elements.filter(|(seq, _)| (array.first..array.end()).contains(seq));
        let same = |row: &Row| row.stored_state() == TaskState::Delayed && row.untouched();
        count -= own.filter(|(_, row)| !same(row)).count() as u64;
    }
    Ok(count)
}
