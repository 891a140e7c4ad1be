//! Standard base64 with padding (RFC 4648, section 4), as the API carries bytes that are no text.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes → text.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let index = usize::try_from(word >> (18 - 6 * place) & 63).expect("6 bits");
            let digit = char::from(ALPHABET[index]);
            out.push(if place > chunk.len() { '=' } else { digit });
        }
    }
    out
}

/// Text → bytes; `None` for anything that [`encode`] would not have written.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let body = text.trim_end_matches('=');
    if text.len() - body.len() > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut word, mut bits) = (0_u32, 0_u32);
    for byte in body.bytes() {
        let digit = ALPHABET.iter().position(|known| *known == byte)?;
        word = (word << 6 | u32::try_from(digit).ok()?) & 0xFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(word >> bits & 0xFF).ok()?);
        }
    }
    (word & ((1 << bits) - 1) == 0).then_some(out)
}
