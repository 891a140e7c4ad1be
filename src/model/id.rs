//! Newtypes for every number that names something. Two bare integers in a signature are a defect.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A short shared text: a job id, worker name, client id. Cheap to clone.
pub type Name = Arc<str>;

macro_rules! id_type {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id_type!(
    /// Number of a partition, 0-based; at most [`crate::model::limits::PARTITIONS_MAX`].
    PartitionId(u16)
);
id_type!(
    /// Dense number of a task in its partition, given at admission; *submit order* means this
    /// order.
    TaskSeq(u64)
);
id_type!(
    /// Number of a hand-out in its partition; rises by one with every lease, never reused in any
    /// epoch.
    LeaseNo(u64)
);
id_type!(
    /// Position of the `Owner` record a partition is served under.
    Epoch(u64)
);
id_type!(
    /// Offset of a record in the log of a partition (embedded: byte offset in the shared segment
    /// series).
    Position(u64)
);

impl TaskSeq {
    /// The sequence number `n` places later.
    #[must_use]
    pub fn plus(self, n: u64) -> Self {
        Self(self.0 + n)
    }
}

impl PartitionId {
    /// Index into per-partition vectors.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
