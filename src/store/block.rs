//! [`TrackerStore`]: named blocks, written in atomic batches. The seam under the tracker.
//!
//! 1. A batch is all or nothing, also across a crash, and durable when `write` returns.
//! 2. `get` and `each` show what the last successful `write` of a key said.
//! 3. After `reset` the store is empty.
//! 4. Writing an empty block removes it.
//!
//! A store may lie (an old page, a flipped bit): the [`crate::store::vault`] above it notices.

/// Why the store cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The back end refused; what was to be written is still held in memory.
    #[error("{0}")]
    Backing(String),
    /// What is stored is not what was written; drop it and fold again.
    #[error("the tracker's store is damaged: {0}")]
    Damaged(String),
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// 64 arrays.
    Arrays = b'a',
    /// 64 jobs' counters; block 0 what they rest on.
    Counts = b'c',
    /// 16 tasks' histories.
    Details = b'd',
    /// 64 jobs' marks.
    Marks = b'j',
    /// The counters of one tag key.
    Tallies = b'k',
    /// The last checkpoint; one block.
    Meta = b'm',
    /// 256 names.
    Names = b'n',
    /// 1,024 rows.
    Page = b'p',
    /// 64 sets of tags.
    TagSets = b's',
    /// 1,024 checksums of blocks.
    Table = b't',
}

/// Name of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey {
    /// What it holds.
    pub kind: Kind,
    /// Partition; 0 for what all partitions share.
    pub partition: u16,
    /// Number of the block.
    pub number: u64,
}

/// Bytes of an encoded key.
pub const KEY_BYTES: usize = 11;

/// Looks at a block of a walk; an error ends it.
pub type Visit<'a> = &'a mut dyn FnMut(BlockKey, &[u8]) -> Result<(), Error>;

/// Where blocks lie between starts.
pub trait TrackerStore: Send {
    /// One block.
    ///
    /// # Errors
    /// `Damaged`.
    fn get(&self, key: BlockKey) -> Result<Option<Vec<u8>>, Error>;

    /// Every block of a kind, in the order of the keys.
    ///
    /// # Errors
    /// `Damaged`, and what `visit` says.
    fn each(&self, kind: Kind, visit: Visit<'_>) -> Result<(), Error>;

    /// Writes blocks: one atomic batch, durable on return.
    ///
    /// # Errors
    /// `Backing`: nothing of it counts; it may be tried again.
    fn write(&mut self, blocks: &[(BlockKey, Vec<u8>)]) -> Result<(), Error>;

    /// Forgets everything.
    ///
    /// # Errors
    /// `Backing`.
    fn reset(&mut self) -> Result<(), Error>;
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Arrays,
        Self::Counts,
        Self::Details,
        Self::Marks,
        Self::Tallies,
        Self::Meta,
        Self::Names,
        Self::Page,
        Self::TagSets,
        Self::Table,
    ];

    /// First byte of its keys.
    #[must_use]
    pub fn byte(self) -> u8 {
        self as u8
    }
}

impl BlockKey {
    /// A key.
    #[must_use]
    pub fn new(kind: Kind, partition: u16, number: u64) -> Self {
        Self { kind, partition, number }
    }

    /// Kind, then big-endian partition and number, so that keys sort in that order.
    #[must_use]
    pub fn bytes(self) -> [u8; KEY_BYTES] {
        let mut key = [0; KEY_BYTES];
        key[0] = self.kind.byte();
        key[1..3].copy_from_slice(&self.partition.to_be_bytes());
        key[3..].copy_from_slice(&self.number.to_be_bytes());
        key
    }

    /// Inverse of [`Self::bytes`].
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let key: [u8; KEY_BYTES] = bytes.try_into().ok()?;
        let kind = Kind::ALL.into_iter().find(|k| k.byte() == key[0])?;
        let partition = u16::from_be_bytes([key[1], key[2]]);
        let (_, number) = key.split_last_chunk::<8>()?;
        Some(Self { kind, partition, number: u64::from_be_bytes(*number) })
    }
}
