//! Varints and bounded reading: the vocabulary of every hand-laid format.
//!
//! Invariant: no reader panics, reads past its slice, or reserves more memory than the slice could
//! fill.

use crate::codec::Malformed;
use std::str;

/// A u64 needs at most this many varint bytes.
const VARINT_BYTES_MAX: u32 = 10;

/// Appends `value`, seven bits a byte, the lowest first.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

/// Appends a signed value near zero in few bytes.
#[inline]
pub fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, len_u64(bytes.len()));
    out.extend_from_slice(bytes);
}

/// Appends 0 for `None`, else `value + 1`.
pub fn put_option(out: &mut Vec<u8>, value: Option<u64>) {
    put_varint(out, value.map_or(0, |v| v.saturating_add(1)));
}

/// Appends 0 for `None`, else length + 1 and the bytes.
pub fn put_option_str(out: &mut Vec<u8>, text: Option<&str>) {
    put_option(out, text.map(|t| len_u64(t.len())));
    out.extend_from_slice(text.unwrap_or_default().as_bytes());
}

/// Small magnitudes of either sign become small numbers.
#[inline]
#[must_use]
pub fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

/// Inverse of [`zigzag`].
#[inline]
#[must_use]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// A length as a number of the format.
#[inline]
#[must_use]
pub fn len_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A length as a 32-bit number of the format; records are bounded far below
/// (`limits::RECORD_BYTES_MAX`).
#[inline]
#[must_use]
pub fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("records are bounded far below 4 GiB")
}

#[inline]
fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

/// Reads from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Starts at the front of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// A vector for `count` items of which each takes at least one byte here.
    #[must_use]
    pub fn reserve<T>(&self, count: usize) -> Vec<T> {
        const FIRST_MAX: usize = 4_096;
        Vec::with_capacity(count.min(self.rest.len()).min(FIRST_MAX))
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// Fewer are left.
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(Malformed("record: cut short"))?;
        self.rest = tail;
        Ok(head)
    }

    /// One byte.
    ///
    /// # Errors
    /// None is left.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, tail) = self.rest.split_first().ok_or(Malformed("record: cut short"))?;
        self.rest = tail;
        Ok(*first)
    }

    /// Four bytes, little endian.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.take(4)?.try_into().map_err(|_| Malformed("record: cut short"))?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Eight bytes, little endian.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?.try_into().map_err(|_| Malformed("record: cut short"))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// A varint.
    ///
    /// # Errors
    /// Cut short, or more than 64 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for place in 0..VARINT_BYTES_MAX {
            let byte = self.byte()?;
            if place == VARINT_BYTES_MAX - 1 && byte > 1 {
                return Err(Malformed("varint"));
            }
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("varint"))
    }

    /// A varint that fits a smaller number.
    ///
    /// # Errors
    /// As [`Self::varint`], or out of range.
    #[inline]
    pub fn number<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.varint()?).map_err(|_| Malformed("number: out of range"))
    }

    /// A signed varint.
    ///
    /// # Errors
    /// As [`Self::varint`].
    #[inline]
    pub fn zigzag(&mut self) -> Result<i64, Malformed> {
        self.varint().map(unzigzag)
    }

    /// Inverse of [`put_option`].
    ///
    /// # Errors
    /// As [`Self::number`].
    pub fn option<T: TryFrom<u64>>(&mut self) -> Result<Option<T>, Malformed> {
        match self.varint()?.checked_sub(1) {
            None => Ok(None),
            Some(value) => {
                T::try_from(value).map(Some).map_err(|_| Malformed("number: out of range"))
            }
        }
    }

    /// Inverse of [`put_bytes`] for text.
    ///
    /// # Errors
    /// Cut short or not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        let len = self.number()?;
        utf8(self.take(len)?)
    }

    /// Inverse of [`put_option_str`].
    ///
    /// # Errors
    /// Cut short or not UTF-8.
    pub fn option_text(&mut self) -> Result<Option<&'a str>, Malformed> {
        match self.option()? {
            None => Ok(None),
            Some(len) => utf8(self.take(len)?).map(Some),
        }
    }

    /// A byte that must be 0 or 1.
    ///
    /// # Errors
    /// Any other value.
    pub fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            2.. => Err(Malformed("flag")),
        }
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// Something is.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("record: bytes left over")) }
    }
}

/// Text of the format.
///
/// # Errors
/// Not UTF-8.
pub fn utf8(bytes: &[u8]) -> Result<&str, Malformed> {
    str::from_utf8(bytes).map_err(|_| Malformed("text: not UTF-8"))
}
