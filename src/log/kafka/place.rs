//! Positions in a partition of the changelog.
//!
//! A position is `(offset + 1) × 65,536 + number of the event in its batch`: rising, the same at
//! every instance, and never 0. Offsets go up to 2^48: at 10,000 batches a second for 890 years.

use crate::model::id::Position;

const NUMBER_BITS: u32 = 16;

/// Position of an event of the batch at this offset.
pub(super) fn position(offset: u64, number: u16) -> Position {
    Position((offset + 1) << NUMBER_BITS | u64::from(number))
}

/// Offset and number in the batch. What lies before every position is the beginning of offset 0.
pub(super) fn offset(position: Position) -> (u64, u16) {
    let number = u16::try_from(position.0 & u64::from(u16::MAX)).unwrap_or_default();
    match (position.0 >> NUMBER_BITS).checked_sub(1) {
        Some(offset) => (offset, number),
        None => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_rise_with_offset_and_number() {
        let places = [(0, 0), (0, 1), (0, u16::MAX), (1, 0), (1 << 40, 7)];
        let positions = places.map(|(at, number)| position(at, number));
        assert!(positions.is_sorted_by(|a, b| a < b) && positions[0] > Position(0));
        assert_eq!(positions.map(offset), places);
        for before in [0, 1, 65_535] {
            assert_eq!(offset(Position(before)), (0, 0));
        }
    }
}
