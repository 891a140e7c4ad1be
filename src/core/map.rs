//! Hash map with a fixed seed: replay and live run build the same structure. Never iterated; keep a
//! sorted index for that.

use std::collections::HashMap;
use std::hash::Hash;

/// A map that must not be iterated.
pub type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// An empty map.
#[must_use]
pub fn new<K, V>() -> Map<K, V> {
    HashMap::with_hasher(foldhash::fast::FixedState::with_seed(0x6b77_7121))
}

/// Gives memory back after many entries have gone; a map that is at least a quarter full stays as
/// it is.
pub fn slim<K: Eq + Hash, V>(map: &mut Map<K, V>) {
    if map.capacity() > SLIM_MIN && map.capacity() / 4 > map.len() {
        map.shrink_to(map.len() * 2);
    }
}

/// Maps below this many places are not worth the copy.
const SLIM_MIN: usize = 4_096;
