//! The value of a record of the changelog topic: one batch of one partition.
//!
//! ```text
//! magic u8 · version u8 · count u16 · epoch u64 · number u64 │ count × (kind u8 · at u64 ·
//! length u32) │ bodies
//! ```
//! A batch that begins with `Owner` has no epoch yet, its own offset is it: in its place stands how
//! many partitions the log has. The number counts the batches of an epoch: 0 is that of its
//! `Owner`. A producer that gives one batch up may still send the next, which rests on it: whoever
//! reads sees the hole.
//!
//! Numbers are little-endian. Bodies are those of the embedded log (`codec::event`). The table
//! before the bodies lets a reader take one of them without looking at the others. Kafka guards the
//! bytes on their way and on its disk, so there is no checksum here.
//!
//! Must not: know offsets or topics.

use crate::codec::Malformed;
use crate::codec::bytes::Cursor;
use crate::codec::event::{self, Decoded, Detail, OWNER};
use crate::model::event::Stamped;
use crate::model::id::Epoch;
use crate::model::limits;
use crate::model::time::WallMs;

const MAGIC: u8 = 0x6b;
/// Version of the layout.
const VERSION: u8 = 2;
const HEAD_BYTES: usize = 20;
/// Where the number of a batch stands.
const NUMBER: std::ops::Range<usize> = 12..20;
/// Where its epoch stands.
const EPOCH: std::ops::Range<usize> = 4..12;
const ENTRY_BYTES: usize = 13;

/// Encodes a batch, with the number 0. `epoch`: of a batch that begins with `Owner` as many as the
/// log has partitions.
///
/// # Errors
/// It is empty, holds 65,536 events or more, or one whose body is longer than
/// [`limits::RECORD_BYTES_MAX`].
pub fn encode(epoch: Epoch, events: &[Stamped]) -> Result<Vec<u8>, Malformed> {
    let count = u16::try_from(events.len()).map_err(|_| Malformed("batch: too many events"))?;
    if count == 0 {
        return Err(Malformed("batch: empty"));
    }
    let mut out = vec![0; HEAD_BYTES + events.len() * ENTRY_BYTES];
    let mut table = Vec::with_capacity(events.len() * ENTRY_BYTES);
    for stamped in events {
        let before = out.len();
        let kind = event::encode(&stamped.event, &mut out);
        let length = out.len() - before;
        if length > limits::RECORD_BYTES_MAX {
            return Err(Malformed("batch: an event beyond its limit"));
        }
        let length = u32::try_from(length).map_err(|_| Malformed("batch: length"))?;
        table.push(kind);
        table.extend_from_slice(&stamped.at.0.to_le_bytes());
        table.extend_from_slice(&length.to_le_bytes());
    }
    let mut head = vec![MAGIC, VERSION];
    head.extend_from_slice(&count.to_le_bytes());
    head.extend_from_slice(&epoch.0.to_le_bytes());
    head.extend_from_slice(&0u64.to_le_bytes());
    head.append(&mut table);
    if let Some(place) = out.get_mut(..head.len()) {
        place.copy_from_slice(&head);
    }
    Ok(out)
}

/// Numbers an encoded batch.
pub fn set_number(batch: &mut [u8], number: u64) {
    if let Some(place) = batch.get_mut(NUMBER) {
        place.copy_from_slice(&number.to_le_bytes());
    }
}

/// How many partitions the log has, as its owner says; `None` = this is no `Owner`, or it does not
/// say. Nothing but the head is looked at.
#[must_use]
pub fn partitions(batch: &[u8]) -> Option<u16> {
    let (head, table) = batch.split_at_checked(HEAD_BYTES)?;
    let kwq = head.starts_with(&[MAGIC, VERSION]) && table.first() == Some(&OWNER);
    let said = head.get(EPOCH)?.try_into().map(u64::from_le_bytes).ok()?;
    u16::try_from(said).ok().filter(|many| kwq && *many > 0)
}

/// A batch as read; its bodies are looked at when they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    epoch: Epoch,
    number: u64,
    table: &'a [u8],
    bodies: &'a [u8],
}

/// One event of a batch, not decoded yet.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// Kind of its record.
    pub kind: u8,
    /// Its stamp.
    pub at: WallMs,
    /// Its body.
    pub body: &'a [u8],
}

impl<'a> Value<'a> {
    /// Reads head and table.
    ///
    /// # Errors
    /// Anything that [`encode`] does not write.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let (magic, version) = (cursor.byte()?, cursor.byte()?);
        if magic != MAGIC {
            return Err(Malformed("batch: magic"));
        }
        if version != VERSION {
            return Err(Malformed("batch: of another version of the format"));
        }
        let count = usize::from(u16::from_le_bytes([cursor.byte()?, cursor.byte()?]));
        let epoch = Epoch(cursor.u64()?);
        let number = cursor.u64()?;
        let table = cursor.take(count * ENTRY_BYTES)?;
        let value = Self { epoch, number, table, bodies: cursor.rest() };
        let bodies = value.raws().map(|raw| raw.body.len()).sum::<usize>();
        if count == 0 || bodies != value.bodies.len() || value.raws().count() != count {
            return Err(Malformed("batch: its lengths"));
        }
        Ok(value)
    }

    /// It takes the partition: its offset is the epoch from here on.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.table.first() == Some(&OWNER)
    }

    /// Epoch it was decided under; of no meaning where [`Self::is_owner`].
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Its number among the batches of its epoch; 0 = the `Owner`.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its events in order.
    pub fn raws(&self) -> impl Iterator<Item = Raw<'a>> + use<'a> {
        let mut rest = self.bodies;
        self.table.chunks_exact(ENTRY_BYTES).map_while(move |entry| {
            let mut cursor = Cursor::new(entry);
            let (kind, at, length) = (cursor.byte().ok()?, cursor.u64().ok()?, cursor.u32().ok()?);
            let (body, tail) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            rest = tail;
            Some(Raw { kind, at: WallMs(at), body })
        })
    }
}

impl Raw<'_> {
    /// The event.
    ///
    /// # Errors
    /// As [`event::decode`].
    pub fn decode(&self, detail: Detail) -> Result<Decoded, Malformed> {
        event::decode(self.kind, self.at, self.body, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::Event;
    use crate::model::id::TaskSeq;

    fn owner() -> Stamped {
        let event = Event::Owner { node: "n".into(), addr: "a:1".into(), token_key: [1, 2] };
        Stamped { at: WallMs(7), event }
    }

    fn cancelled(seq: u64) -> Stamped {
        Stamped { at: WallMs(8), event: Event::Cancelled(vec![TaskSeq(seq)]) }
    }

    #[test]
    fn a_batch_is_read_back() {
        let events = [cancelled(1), cancelled(300), owner()];
        let bytes = encode(Epoch(9), &events).unwrap();
        let value = Value::read(&bytes).unwrap();
        assert_eq!((value.epoch(), value.is_owner()), (Epoch(9), false));
        let read: Vec<_> =
            value.raws().map(|raw| raw.decode(Detail::Full).unwrap().stamped).collect();
        assert_eq!(read, events);
        let said = |many| {
            let bytes = encode(Epoch(many), &[owner()]).unwrap();
            (Value::read(&bytes).unwrap().is_owner(), partitions(&bytes))
        };
        assert_eq!((said(0), said(1_024)), ((true, None), (true, Some(1_024))));
        let other = encode(Epoch(9), &[cancelled(1)]).unwrap();
        assert_eq!(partitions(&other), None, "an epoch is no number of partitions");
        assert_eq!((partitions(b""), partitions(b"a record of somebody else")), (None, None));
    }

    /// These bytes lie on the brokers of users.
    #[test]
    fn the_layout_does_not_change() {
        let bytes = encode(Epoch(0x0102), &[cancelled(5)]).unwrap();
        let head = [0x6b, 2, 1, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let table = [26, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0];
        assert_eq!(bytes, [head.as_slice(), &table, &[1, 20]].concat());
    }

    #[test]
    fn what_is_cut_changed_or_longer_is_not_read() {
        let bytes = encode(Epoch(9), &[cancelled(1), cancelled(2)]).unwrap();
        for length in 0..bytes.len() {
            assert!(Value::read(bytes.get(..length).unwrap()).is_err(), "{length}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(Value::read(&longer).is_err());
        for (at, byte) in [(0, 0), (1, 1), (2, 1), (29, 9)] {
            let mut odd = bytes.clone();
            odd[at] = byte;
            assert!(Value::read(&odd).is_err(), "{at}");
        }
        assert!(encode(Epoch(1), &[]).is_err());
        assert!(encode(Epoch(1), &vec![cancelled(1); 65_536]).is_err());
    }
}
