//! A look at the raw bytes of a request head, for what the protocol library lets pass: framing that
//! two parties could read in two ways (request smuggling, RFC 9112 section 11.2).
//!
//! Must not: keep more than one line, or see anything of a body.

use crate::model::reject::Code;

/// Longest request line; the front refuses URIs above 4 KiB, this is for those that never end.
const REQUEST_LINE_MAX: usize = 16 << 10;
/// Bytes of a header line that are looked at.
const LINE_KEPT: usize = 256;

/// Why a head is refused.
pub(crate) type Fault = (Code, &'static str);

/// Reads one head, in whatever pieces it comes.
#[derive(Debug, Default)]
pub(crate) struct HeadCheck {
    line: Vec<u8>,
    line_bytes: usize,
    /// The end of the line was seen up to its CR.
    returned: bool,
    past_request_line: bool,
    /// The request line names HTTP/1.1, which needs exactly one Host.
    needs_host: bool,
    hosts: u32,
    lengths: u32,
    encodings: u32,
}

impl HeadCheck {
    /// Takes more bytes; true at the end of the head. What follows it is not looked at.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<bool, Fault> {
        for byte in bytes {
            match (byte, self.returned) {
                (b'\n', true) => {
                    self.returned = false;
                    if self.end_line()? {
                        return Ok(true);
                    }
                }
                (b'\n', false) => return Err(bad("a line of the head ends without CR")),
                (_, true) => return Err(bad("a CR in the head without its LF")),
                (b'\r', false) => self.returned = true,
                (_, false) => self.push(*byte)?,
            }
        }
        Ok(false)
    }

    fn push(&mut self, byte: u8) -> Result<(), Fault> {
        self.line_bytes += 1;
        if !self.past_request_line && self.line_bytes > REQUEST_LINE_MAX {
            return Err((Code::UriTooLong, "the request line does not end within 16 KiB"));
        }
        if self.past_request_line && self.line.len() == LINE_KEPT {
            return Ok(());
        }
        self.line.push(byte);
        Ok(())
    }

    /// True when the line was the empty one that ends the head.
    fn end_line(&mut self) -> Result<bool, Fault> {
        let line = std::mem::take(&mut self.line);
        let empty = std::mem::take(&mut self.line_bytes) == 0;
        if !self.past_request_line {
            // Empty lines before a request are skipped (RFC 9112 section 2.2).
            self.past_request_line = !empty;
            self.needs_host = line.ends_with(b"HTTP/1.1");
            return Ok(false);
        }
        if !empty {
            self.header(&line)?;
            return Ok(false);
        }
        if self.needs_host && self.hosts != 1 {
            return Err(bad("HTTP/1.1 needs exactly one Host header"));
        }
        Ok(true)
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Fault> {
        let Some(colon) = line.iter().position(|b| *b == b':') else { return Ok(()) };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.encodings += 1;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(bad("Transfer-Encoding may be chunked only"));
            }
        }
        if self.lengths + self.encodings > 1 {
            return Err(bad("more than one Content-Length or Transfer-Encoding"));
        }
        Ok(())
    }
}

fn bad(detail: &'static str) -> Fault {
    (Code::BadRequest, detail)
}

#[cfg(test)]
mod tests;
