//! Groups: the unit of sync. Records, then one seal a partition touched. Building, and checking
//! while reading.

use crate::codec::Malformed;
use crate::codec::event::OWNER;
use crate::codec::frame::{self, Frame, HEAD_BYTES, Head, KIND_END, KIND_SEAL, Place, Seal};
use crate::log::embedded::segment::Owners;
use crate::model::id::{Epoch, PartitionId, Position};
use crate::model::time::WallMs;
use std::collections::BTreeMap;

/// Bytes of a seal record.
pub(crate) const SEAL_BYTES: usize = HEAD_BYTES + Seal::BYTES;
/// Bytes of the mark that ends a segment.
pub(crate) const END_BYTES: usize = HEAD_BYTES;

/// A batch as encoded by its caller, waiting for its place.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) partition: PartitionId,
    pub(crate) epoch: Epoch,
    /// Kind, stamp and size of each body.
    pub(crate) records: Vec<(u8, WallMs, usize)>,
    pub(crate) bodies: Vec<u8>,
}

impl Encoded {
    /// Bytes in the log, its share of the seals included.
    pub(crate) fn bytes(&self) -> usize {
        self.bodies.len() + self.records.len() * HEAD_BYTES + SEAL_BYTES
    }
}

/// Partitions a group touched, with what their seal repeats.
pub(crate) type Touched = BTreeMap<PartitionId, (Epoch, WallMs)>;

/// Bytes of a group under construction.
pub(crate) struct Builder {
    segment: u64,
    start: u64,
    synced_to: Position,
    records: u32,
    crc: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) touched: Touched,
}

impl Builder {
    /// A group that will be written at `start`.
    pub(crate) fn new(segment: u64, start: u64, synced_to: u64) -> Self {
        Self {
            segment,
            start,
            synced_to: Position(synced_to),
            records: 0,
            crc: 0,
            bytes: Vec::new(),
            touched: Touched::new(),
        }
    }

    fn place(&self) -> Place {
        let position = Position(self.start + self.bytes.len() as u64);
        Place { segment: self.segment, position }
    }

    /// Lays a batch; answers the positions of its records.
    pub(crate) fn add(&mut self, batch: &Encoded, owners: &mut Owners) -> Vec<Position> {
        let mut positions = Vec::with_capacity(batch.records.len());
        let mut rest = batch.bodies.as_slice();
        let mut epoch = batch.epoch;
        for (kind, at, size) in &batch.records {
            let (body, tail) = rest.split_at(*size);
            rest = tail;
            let place = self.place();
            if *kind == OWNER {
                epoch = Epoch(place.position.0);
                owners.insert(batch.partition, epoch);
            }
            let head = Head {
                kind: *kind,
                partition: batch.partition,
                synced_to: self.synced_to,
                epoch,
                at: *at,
            };
            let crc = frame::put(&mut self.bytes, place, &head, body);
            self.crc = crc32c::crc32c_append(self.crc, &crc.to_le_bytes());
            self.records += 1;
            self.touched.insert(batch.partition, (epoch, *at));
            positions.push(place.position);
        }
        positions
    }

    /// Ends the group with a seal for each of `touched`.
    pub(crate) fn seal(&mut self, touched: &Touched) {
        let count = u16::try_from(touched.len()).expect("partitions are bounded");
        for (number, (partition, (epoch, at))) in (0..count).zip(touched) {
            let (synced_to, crc, records) = (self.synced_to, self.crc, self.records);
            let body = Seal { synced_to, crc, records, number, count }.encode();
            let head =
                Head { kind: KIND_SEAL, partition: *partition, synced_to, epoch: *epoch, at: *at };
            let place = self.place();
            frame::put(&mut self.bytes, place, &head, &body);
        }
    }
}

/// The mark behind the last group of a segment that has a successor.
pub(crate) fn end_mark(segment: u64, position: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(END_BYTES);
    let position = Position(position);
    let head = Head {
        kind: KIND_END,
        partition: PartitionId(0),
        synced_to: position,
        epoch: Epoch(0),
        at: WallMs(0),
    };
    frame::put(&mut out, Place { segment, position }, &head, &[]);
    out
}

/// Follows the groups of a segment, record by record.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// Start of the group at hand.
    pub(crate) group_start: u64,
    /// Start of the last whole group that holds records, and partitions of the last whole group.
    pub(crate) last_start: u64,
    pub(crate) last_records: u32,
    pub(crate) touched: Touched,
    at_hand: Touched,
    crc: u32,
    records: u32,
    seals: u16,
}

impl Check {
    /// A group starts at `start`.
    pub(crate) fn new(start: u64) -> Self {
        Self {
            group_start: start,
            last_start: start,
            last_records: 0,
            touched: Touched::new(),
            at_hand: Touched::new(),
            crc: 0,
            records: 0,
            seals: 0,
        }
    }

    /// Takes the next frame; true when it completes its group.
    pub(crate) fn feed(&mut self, frame: &Frame<'_>, position: u64) -> Result<bool, Malformed> {
        match frame.head.kind {
            KIND_END => Err(Malformed("group: end mark inside")),
            KIND_SEAL => self.feed_seal(frame, position),
            _ if self.seals > 0 => Err(Malformed("group: record among its seals")),
            _ => {
                self.crc = crc32c::crc32c_append(self.crc, &frame.crc.to_le_bytes());
                self.records += 1;
                Ok(false)
            }
        }
    }

    fn feed_seal(&mut self, frame: &Frame<'_>, position: u64) -> Result<bool, Malformed> {
        let seal = Seal::decode(frame.body)?;
        if (seal.number, seal.crc, seal.records) != (self.seals, self.crc, self.records) {
            return Err(Malformed("group: seal does not fit its records"));
        }
        self.at_hand.insert(frame.head.partition, (frame.head.epoch, frame.head.at));
        self.seals += 1;
        if self.seals < seal.count {
            return Ok(false);
        }
        (self.last_start, self.last_records) = (self.group_start, self.records);
        self.touched = std::mem::take(&mut self.at_hand);
        self.group_start = position + frame.bytes() as u64;
        (self.crc, self.records, self.seals) = (0, 0, 0);
        Ok(true)
    }

    /// Nothing of a group was seen since the last whole one.
    pub(crate) fn between_groups(&self) -> bool {
        self.records == 0 && self.seals == 0
    }
}
