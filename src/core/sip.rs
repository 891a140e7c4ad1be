//! SipHash-2-4: rounds, and the variant with 128 bits of output over bytes of any length.
//!
//! Source: Aumasson, Bernstein, "SipHash: a fast short-input PRF" (2012) and its reference code.

use crate::model::key::Hash128;

/// The first four words of the state under a key.
#[must_use]
pub fn begin(key: [u64; 2]) -> [u64; 4] {
    [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ]
}

/// One round.
pub fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

/// Takes in one word of the message.
pub fn absorb(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
}

/// Hash of a message that comes in pieces.
#[derive(Clone, Debug)]
pub struct Sip128 {
    v: [u64; 4],
    tail: u64,
    length: u64,
}

impl Sip128 {
    /// Begins under a key.
    #[must_use]
    pub fn new(key: [u64; 2]) -> Self {
        let mut v = begin(key);
        v[1] ^= 0xee;
        Self { v, tail: 0, length: 0 }
    }

    /// Adds bytes.
    pub fn bytes(&mut self, mut bytes: &[u8]) {
        while !self.length.is_multiple_of(8)
            && let Some((byte, rest)) = bytes.split_first()
        {
            self.byte(*byte);
            bytes = rest;
        }
        while let Some((word, rest)) = bytes.split_first_chunk::<8>() {
            absorb(&mut self.v, u64::from_le_bytes(*word));
            self.length += 8;
            bytes = rest;
        }
        bytes.iter().for_each(|byte| self.byte(*byte));
    }

    /// Adds a text with its length, so that neighbours cannot run into each other.
    pub fn text(&mut self, text: &[u8]) {
        self.bytes(&(text.len() as u64).to_le_bytes());
        self.bytes(text);
    }

    /// Adds one byte.
    pub fn byte(&mut self, byte: u8) {
        self.tail |= u64::from(byte) << (8 * (self.length % 8));
        self.length += 1;
        if self.length.is_multiple_of(8) {
            absorb(&mut self.v, self.tail);
            self.tail = 0;
        }
    }

    /// The hash.
    #[must_use]
    pub fn finish(mut self) -> Hash128 {
        absorb(&mut self.v, self.tail | (self.length & 0xff) << 56);
        let v = &mut self.v;
        v[2] ^= 0xee;
        let mut half = |flip: u64| {
            v[1] ^= flip;
            (0..4).for_each(|_| round(v));
            v[0] ^ v[1] ^ v[2] ^ v[3]
        };
        Hash128([half(0), half(0xdd)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_reference_code_come_out() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let hash = |n: u8| {
            let mut sip = Sip128::new(key);
            let message: Vec<u8> = (0..n).collect();
            // In uneven pieces.
            message.chunks(3).for_each(|piece| sip.bytes(piece));
            sip.finish().0.map(u64::to_le_bytes).concat()
        };
        let none = "a3817f04ba25a8e66df67214c7550293";
        let one = "da87c1d86b99af44347659119b22fc45";
        let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!((hex(hash(0)).as_str(), hex(hash(1)).as_str()), (none, one));
        let mut whole = Sip128::new(key);
        whole.bytes(&(0..100).collect::<Vec<u8>>());
        assert_eq!(whole.finish().0.map(u64::to_le_bytes).concat(), hash(100));
    }
}
