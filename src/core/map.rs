//! Hash map with a fixed seed: replay and live run build the same structure. Never iterated; keep a
//! sorted index for that.

use std::collections::HashMap;

/// A map that must not be iterated.
pub type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// An empty map.
#[must_use]
pub fn new<K, V>() -> Map<K, V> {
    HashMap::with_hasher(foldhash::fast::FixedState::with_seed(0x6b77_7121))
}
