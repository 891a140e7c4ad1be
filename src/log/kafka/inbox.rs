//! The inbox topics `<prefix>-1` … `<prefix>-9`, of the partitions this instance owns.
//!
//! What was pulled is decided and written to the changelog by its partition, together with how far
//! it was taken; so a reader begins where the partition says, and keeps nothing.
//!
//! Must not: decide anything, or commit offsets to Kafka.

use crate::log::Error;
use crate::log::kafka::client::Cluster;
use crate::log::kafka::line::Letter;
use crate::log::kafka::lines::{Head, Lines};
use crate::log::kafka::topics::Topics;
use crate::model::id::PartitionId;
use crate::model::priority::Priority;

/// Records of one inbox that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Whose inbox.
    pub level: Priority,
    /// Offset that was looked for first.
    pub from: u64,
    /// Offset behind the last one.
    pub next: u64,
    /// The records; offsets between them hold none.
    pub letters: Vec<Letter>,
}

/// The reader of the inboxes.
pub struct Inboxes(Lines);

impl Inboxes {
    /// Begins to read for nobody.
    ///
    /// # Errors
    /// `Io`.
    pub fn start(cluster: &Cluster, topics: &Topics) -> Result<Self, Error> {
        // In the order of their indices, so the last one is the most urgent.
        let names = Priority::ASCENDING.map(|level| topics.inbox(level)).to_vec();
        Lines::start(cluster, "the inboxes", names).map(Self)
    }

    /// Reads the inboxes of a partition from these offsets on, one a level from 1 to 9. What had
    /// been read for it before is forgotten.
    pub fn own(&self, id: PartitionId, cursors: [u64; Priority::LEVELS]) {
        self.0.own(id, cursors.to_vec());
    }

    /// Reads them no more.
    pub fn release(&self, id: PartitionId) {
        self.0.release(id);
    }

    /// What comes next of a partition that is read: the index of its highest level that has
    /// anything.
    #[must_use]
    pub fn head(&self, id: PartitionId) -> Head {
        self.0.head(id)
    }

    /// What waits of the highest level that has anything, at most so many records and bytes (one
    /// record may be larger), if that is as urgent as `floor`.
    #[must_use]
    pub fn pull(&self, id: PartitionId, floor: Head, most: (usize, usize)) -> Option<Chunk> {
        let piece = self.0.pull(id, floor, most)?;
        let level = Priority::from_index(piece.topic)?;
        Some(Chunk { level, from: piece.from, next: piece.next, letters: piece.letters })
    }

    /// Lets Kafka forget records that were taken.
    ///
    /// # Errors
    /// `Io`; they stay there and are not read again all the same.
    pub fn trim(&self, id: PartitionId, cursors: [u64; Priority::LEVELS]) -> Result<(), Error> {
        self.0.trim(id, &cursors)
    }
}
