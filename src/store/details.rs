//! Histories of tasks that failed or were handed out more than once, sixteen tasks to a block: one
//! key per task costs the store ten times as much.

use crate::codec::stored;
use crate::model::id::{PartitionId, TaskSeq};
use crate::model::row::Details;
use crate::store::block::{BlockKey, Error, Kind};
use crate::store::vault::Vault;
use std::collections::BTreeMap;

/// Tasks of a block.
const BUCKET: u64 = 16;
/// Blocks changed in memory at most.
const BUCKETS_MAX: usize = 1_024;
/// Bytes of text in them at most, roughly.
const BYTES_MAX: usize = 8 << 20;

type Bucket = Vec<(u8, Details)>;

/// What changed since it was last handed to the vault.
#[derive(Default)]
pub struct Histories {
    changed: BTreeMap<(u16, u64), Bucket>,
    bytes: usize,
}

impl Histories {
    /// Drops everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// History of a task.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn get(
        &self,
        vault: &Vault,
        partition: PartitionId,
        seq: TaskSeq,
    ) -> Result<Option<Details>, Error> {
        let (key, slot) = place(partition, seq);
        let stored;
        let bucket = if let Some(bucket) = self.changed.get(&key) {
            bucket
        } else {
            stored = read(vault, key)?;
            &stored
        };
        Ok(bucket.iter().find(|(at, _)| *at == slot).map(|(_, details)| details.clone()))
    }

    /// Replaces the history of a task.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn set(
        &mut self,
        vault: &mut Vault,
        partition: PartitionId,
        seq: TaskSeq,
        details: Details,
    ) -> Result<(), Error> {
        let (key, slot) = place(partition, seq);
        if !self.changed.contains_key(&key) {
            if self.changed.len() >= BUCKETS_MAX || self.bytes >= BYTES_MAX {
                self.flush(vault);
            }
            self.changed.insert(key, read(vault, key)?);
        }
        let bucket = self.changed.get_mut(&key).expect("inserted just now");
        self.bytes += details.error.as_ref().map_or(0, |e| e.message.len()) + 128;
        match bucket.iter_mut().find(|(at, _)| *at == slot) {
            Some((_, old)) => *old = details,
            None => bucket.push((slot, details)),
        }
        Ok(())
    }

    /// Drops the history of a task, if there is one.
    ///
    /// # Errors
    /// `Damaged`.
    pub fn remove(
        &mut self,
        vault: &mut Vault,
        partition: PartitionId,
        seq: TaskSeq,
    ) -> Result<(), Error> {
        let (key, slot) = place(partition, seq);
        if !self.changed.contains_key(&key) {
            if !vault.holds(block(key)) {
                return Ok(());
            }
            if self.changed.len() >= BUCKETS_MAX {
                self.flush(vault);
            }
            self.changed.insert(key, read(vault, key)?);
        }
        let bucket = self.changed.get_mut(&key).expect("inserted just now");
        bucket.retain(|(at, _)| *at != slot);
        Ok(())
    }

    /// Hands everything to the vault.
    pub fn flush(&mut self, vault: &mut Vault) {
        for (key, bucket) in std::mem::take(&mut self.changed) {
            match bucket.is_empty() {
                true => vault.remove(block(key)),
                false => vault.put(block(key), stored::encode_packed(&bucket)),
            }
        }
        self.bytes = 0;
    }
}

fn read(vault: &Vault, key: (u16, u64)) -> Result<Bucket, Error> {
    let bytes = vault.get(block(key))?;
    bytes.map_or(Ok(Bucket::new()), |bytes| stored::decode_packed(&bytes).map_err(Error::Damaged))
}

fn place(partition: PartitionId, seq: TaskSeq) -> ((u16, u64), u8) {
    let slot = u8::try_from(seq.0 % BUCKET).expect("below 16");
    ((partition.0, seq.0 / BUCKET), slot)
}

fn block((partition, bucket): (u16, u64)) -> BlockKey {
    BlockKey::new(Kind::Details, partition, bucket)
}
