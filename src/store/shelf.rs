//! Decoded blocks of one kind, a bounded amount of them. What was changed and must make room waits
//! encoded in the vault.

use crate::codec::stored;
use crate::store::block::{BlockKey, Error, Kind};
use crate::store::vault::Vault;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// A block as it is used.
pub trait Shelved: Serialize + DeserializeOwned {
    /// Its kind.
    const KIND: Kind;
    /// Weight of all that are held at most.
    const HELD_MAX: usize;

    /// What it weighs.
    fn weight(&self) -> usize;

    /// Completes what came out of the store.
    #[must_use]
    fn revived(self) -> Self;
}

/// Partition and number.
type Place = (u16, u64);

struct Slot<T> {
    block: T,
    changed: bool,
    used: u64,
    /// As it was known last.
    weight: usize,
}

/// Blocks held.
pub struct Shelf<T> {
    slots: BTreeMap<Place, Slot<T>>,
    weight: usize,
    clock: u64,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { slots: BTreeMap::new(), weight: 0, clock: 0 }
    }
}

impl<T: Shelved> Shelf<T> {
    /// A block to look at.
    ///
    /// # Errors
    /// `Damaged`, also when there is none.
    pub fn get(&mut self, vault: &mut Vault, at: Place) -> Result<&T, Error> {
        self.slot(vault, at).map(|slot| &slot.block)
    }

    /// A block to change.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn change(&mut self, vault: &mut Vault, at: Place) -> Result<&mut T, Error> {
        let slot = self.slot(vault, at)?;
        slot.changed = true;
        Ok(&mut slot.block)
    }

    /// A block to look at without keeping it: answers must not push out what the fold needs.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn with<R>(
        &self,
        vault: &Vault,
        at: Place,
        look: impl FnOnce(&T) -> R,
    ) -> Result<R, Error> {
        match self.slots.get(&at) {
            Some(slot) => Ok(look(&slot.block)),
            None => read(vault, at).map(|block| look(&block)),
        }
    }

    /// Puts a new block.
    pub fn put(&mut self, vault: &mut Vault, at: Place, block: T) {
        self.make_room(vault);
        let weight = block.weight();
        self.weight += weight;
        self.clock += 1;
        self.slots.insert(at, Slot { block, changed: true, used: self.clock, weight });
    }

    /// Hands what changed to the vault.
    pub fn flush(&mut self, vault: &mut Vault) {
        for (at, slot) in self.slots.iter_mut().filter(|(_, slot)| slot.changed) {
            write(vault, *at, &slot.block);
            slot.changed = false;
        }
    }

    fn slot(&mut self, vault: &mut Vault, at: Place) -> Result<&mut Slot<T>, Error> {
        if !self.slots.contains_key(&at) {
            let block = read(vault, at)?;
            self.put(vault, at, block);
            if let Some(slot) = self.slots.get_mut(&at) {
                slot.changed = false;
            }
        }
        self.clock += 1;
        let slot = self.slots.get_mut(&at).expect("put just now");
        // It may have grown since it was used last.
        let weight = slot.block.weight();
        self.weight = self.weight + weight - slot.weight;
        (slot.used, slot.weight) = (self.clock, weight);
        Ok(slot)
    }

    fn make_room(&mut self, vault: &mut Vault) {
        if self.weight < T::HELD_MAX {
            return;
        }
        // A third at once, so that the search for the oldest is paid once in many loads.
        let mut ages: Vec<(u64, Place)> = self.slots.iter().map(|(at, s)| (s.used, *at)).collect();
        ages.sort_unstable();
        for (_, at) in ages {
            if self.weight <= T::HELD_MAX / 3 * 2 {
                break;
            }
            let Some(slot) = self.slots.remove(&at) else { continue };
            self.weight -= slot.weight;
            if slot.changed {
                write(vault, at, &slot.block);
            }
        }
    }
}

fn key<T: Shelved>((partition, number): Place) -> BlockKey {
    BlockKey::new(T::KIND, partition, number)
}

fn read<T: Shelved>(vault: &Vault, at: Place) -> Result<T, Error> {
    let bytes = vault.get(key::<T>(at))?;
    let missing = || Error::Damaged(format!("block {:?} {}/{} is missing", T::KIND, at.0, at.1));
    let block: T = stored::decode_packed(&bytes.ok_or_else(missing)?).map_err(Error::Damaged)?;
    Ok(block.revived())
}

fn write<T: Shelved>(vault: &mut Vault, at: Place, block: &T) {
    vault.put(key::<T>(at), stored::encode_packed(block));
}
