//! Opening a store: everything in it is as it was written, or it is emptied.

use crate::model::breakdown::TagCaps;
use crate::store::block::{Error, TrackerStore};
use crate::store::counts::Counts;
use crate::store::ledger::Ledger;
use crate::store::vault::{Cursor, Vault};

/// What an open store holds.
type Proven = (Vault, Vec<Cursor>, Ledger, Counts);

/// A store in which everything is as it was written, or an empty one.
///
/// # Errors
/// It cannot even be emptied.
pub(super) fn proven(
    store: Box<dyn TrackerStore>,
    partitions: u16,
    caps: TagCaps,
) -> Result<Proven, Error> {
    let zero = vec![Cursor::default(); usize::from(partitions)];
    let (mut vault, head) = Vault::open(store);
    let known = head.and_then(|head| match head.cursors.len() {
        0 => Ok((zero.clone(), Ledger::default(), Counts::new(caps))),
        same if same == zero.len() => {
            let ledger = Ledger::load(&vault, partitions)?;
            let counts = Counts::load(&vault, &ledger, partitions, caps)?;
            Ok((head.cursors, ledger, counts))
        }
        other => Err(Error::Damaged(format!("it has {other} partitions, not {partitions}"))),
    });
    match known {
        Ok((cursors, ledger, counts)) => Ok((vault, cursors, ledger, counts)),
        Err(doubt) => {
            tracing::warn!(error = %doubt, "the tracker's store is dropped and folded again");
            vault.reset()?;
            Ok((vault, zero, Ledger::default(), Counts::new(caps)))
        }
    }
}
