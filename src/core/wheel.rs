//! One hierarchical timing wheel for lease expiry, run limits, delays and retries.
//!
//! Six levels of 64 slots; a slot of level *k* spans 16 ms × 64^k. Insert and fire are O(1); an
//! occupancy word per level finds
//! the next busy slot. Nothing is ever moved when a lease is renewed: the owner checks the true
//! deadline when an entry fires
//! and puts it back. Entries fire never early and at most one slot (16 ms) late.
//! Source of the idea: Varghese, Lauck, "Hashed and hierarchical timing wheels" (1987).

use crate::model::time::Tick;

const SLOT_MS: u64 = 16;
const LEVELS: usize = 6;
const SLOT_BITS: u32 = 6;
const SLOTS: u64 = 1 << SLOT_BITS;

/// Timing wheel over small copyable entries.
#[derive(Clone, Debug)]
pub struct Wheel<T> {
    /// Slots passed so far; everything due before it has fired.
    cursor: u64,
    levels: [Level<T>; LEVELS],
    len: usize,
}

#[derive(Clone, Debug)]
struct Level<T> {
    busy: u64,
    slots: Vec<Vec<(u64, T)>>,
}

impl<T: Copy> Default for Wheel<T> {
    fn default() -> Self {
        let level = || Level { busy: 0, slots: (0..SLOTS).map(|_| Vec::new()).collect() };
        Self { cursor: 0, levels: std::array::from_fn(|_| level()), len: 0 }
    }
}

impl<T: Copy> Wheel<T> {
    /// Entries inside.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an entry that fires at `due`, or at the next advance if that has passed.
    pub fn insert(&mut self, due: Tick, entry: T) {
        self.len += 1;
        self.place(due.0.div_ceil(SLOT_MS).max(self.cursor), entry);
    }

    /// No entry fires before this; `None` when empty.
    #[must_use]
    pub fn next_due(&self) -> Option<Tick> {
        let at = self.levels.iter().enumerate().filter(|(_, l)| l.busy != 0).map(|(k, level)| {
            let shift = SLOT_BITS * u32::try_from(k).expect("six levels");
            let here = self.cursor >> shift;
            let ahead = level.busy.rotate_right(u32::try_from(here % SLOTS).expect("64 slots"));
            // Level 0 holds its current slot; higher levels were emptied into lower ones on entry.
            (here + u64::from(ahead.trailing_zeros())) << shift
        });
        at.min().map(|slot| Tick(slot.max(self.cursor) * SLOT_MS))
    }

    /// Moves time to `now` and hands over everything that is due, in no particular order.
    pub fn advance(&mut self, now: Tick, fired: &mut Vec<T>) {
        let target = now.0 / SLOT_MS;
        while self.cursor <= target {
            let Some(next) = self.next_due() else {
                self.cursor = target + 1;
                return;
            };
            let next = next.0 / SLOT_MS;
            if next > target {
                self.cursor = target + 1;
                self.cascade();
                return;
            }
            self.cursor = next;
            self.cascade();
            let slot = usize::try_from(self.cursor % SLOTS).expect("64 slots");
            let due = std::mem::take(&mut self.levels[0].slots[slot]);
            self.levels[0].busy &= !(1 << slot);
            self.len -= due.len();
            fired.extend(due.into_iter().map(|(_, entry)| entry));
            self.cursor += 1;
            self.cascade();
        }
    }

    /// Empties the higher slots that begin at or contain the cursor into lower levels.
    fn cascade(&mut self) {
        for k in (1..LEVELS).rev() {
            let shift = SLOT_BITS * u32::try_from(k).expect("six levels");
            let slot = usize::try_from((self.cursor >> shift) % SLOTS).expect("64 slots");
            if self.levels[k].busy >> slot & 1 == 1 {
                self.levels[k].busy &= !(1 << slot);
                for (at, entry) in std::mem::take(&mut self.levels[k].slots[slot]) {
                    self.place(at.max(self.cursor), entry);
                }
            }
        }
    }

    fn place(&mut self, at: u64, entry: T) {
        let distance_bits = 64 - (at ^ self.cursor).leading_zeros();
        let level = (distance_bits.saturating_sub(1) / SLOT_BITS) as usize;
        // Beyond the top level an entry waits in its last slot and is placed again from there.
        let (level, at) = if level >= LEVELS {
            let shift = SLOT_BITS * (u32::try_from(LEVELS).expect("six levels") - 1);
            (LEVELS - 1, self.cursor.saturating_add((SLOTS - 1) << shift))
        } else {
            (level, at)
        };
        let shift = SLOT_BITS * u32::try_from(level).expect("six levels");
        let slot = usize::try_from((at >> shift) % SLOTS).expect("64 slots");
        self.levels[level].busy |= 1 << slot;
        self.levels[level].slots[slot].push((at, entry));
    }
}

#[cfg(test)]
#[path = "wheel_tests.rs"]
mod tests;
