//! Sparse index of a segment: where an entry begins, about every 64 KiB of file.

/// Bytes of file between two points, at least; the cost of a look-up in bytes read.
pub(super) const STRIDE_BYTES: u64 = 64 << 10;

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// Offset of its record.
    pub(super) offset: u64,
    /// Of its first byte in the file.
    pub(super) place: u64,
}

const _: () = assert!(size_of::<Point>() == 16, "the module states what an index costs");

/// Points in order; the first entry is always one.
#[derive(Debug, Default)]
pub(super) struct Index {
    points: Vec<Point>,
    last: Option<Point>,
}

impl Index {
    /// The next entry.
    pub(super) fn add(&mut self, entry: Point) {
        if self.points.last().is_none_or(|p| entry.place - p.place >= STRIDE_BYTES) {
            self.points.push(entry);
        }
        self.last = Some(entry);
    }

    /// Gives back what was reserved for more.
    pub(super) fn shrink(&mut self) {
        self.points.shrink_to_fit();
    }

    /// The last point at or before an offset.
    pub(super) fn before(&self, offset: u64) -> Option<Point> {
        let behind = self.points.partition_point(|p| p.offset <= offset);
        behind.checked_sub(1).and_then(|at| self.points.get(at)).copied()
    }

    /// The first entry.
    pub(super) fn first(&self) -> Option<Point> {
        self.points.first().copied()
    }

    /// The last entry.
    pub(super) fn last(&self) -> Option<Point> {
        self.last
    }
}
