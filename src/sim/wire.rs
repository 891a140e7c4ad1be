//! A small HTTP/1.1 client for load: one kept-alive connection, one request at a time, no
//! allocation per call beyond its buffers. It must cost little, because it shares the machine with
//! what it measures.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Largest answer read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// One connection.
pub struct Wire {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    out: Vec<u8>,
    buffer: Vec<u8>,
    auth: String,
}

/// An answer; its body lies in the connection's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// HTTP status.
    pub status: u16,
    /// `Kwq-Applied: no`: repeating is free of risk.
    pub not_applied: bool,
    /// Body.
    pub body: &'a [u8],
}

struct Head {
    status: u16,
    length: Option<usize>,
    chunked: bool,
    close: bool,
    not_applied: bool,
}

impl Wire {
    /// A connection that is opened by its first call.
    #[must_use]
    pub fn new(addr: SocketAddr, token: Option<&str>) -> Self {
        let auth = token.map_or_else(String::new, |t| format!("Authorization: Bearer {t}\r\n"));
        Self { addr, stream: None, out: Vec::new(), buffer: Vec::new(), auth }
    }

    /// Opens the connection now.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn open(&mut self) -> io::Result<()> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.addr).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// Sends a JSON body and waits for the answer.
    ///
    /// # Errors
    /// The connection broke (it is opened again by the next call); the outcome is unknown.
    pub async fn post(&mut self, path: &str, body: &[u8]) -> io::Result<Reply<'_>> {
        self.call("POST", path, body).await
    }

    /// Reads a route.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub async fn get(&mut self, path: &str) -> io::Result<Reply<'_>> {
        self.call("GET", path, b"").await
    }

    async fn call(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Reply<'_>> {
        self.open().await?;
        self.out.clear();
        let (addr, auth, length) = (self.addr, &self.auth, body.len());
        let head = if body.is_empty() {
            format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\n{auth}\r\n")
        } else {
            format!(
                "{method} {path} HTTP/1.1\r\nHost: {addr}\r\n{auth}\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
            )
        };
        self.out.extend_from_slice(head.as_bytes());
        self.out.extend_from_slice(body);
        match self.exchange().await {
            Ok((head, from)) => {
                if head.close {
                    self.stream = None;
                }
                let body = &self.buffer[from..];
                Ok(Reply { status: head.status, not_applied: head.not_applied, body })
            }
            Err(error) => {
                self.stream = None;
                Err(error)
            }
        }
    }

    async fn exchange(&mut self) -> io::Result<(Head, usize)> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.write_all(&self.out).await?;
        self.buffer.clear();
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n", 0) {
                break end;
            }
            read_more(stream, &mut self.buffer).await?;
        };
        let head = Head::read(&self.buffer[..end]).ok_or(io::ErrorKind::InvalidData)?;
        let from = end + 4;
        if head.chunked {
            unchunk(stream, &mut self.buffer, from).await?;
        } else {
            let length = head.length.unwrap_or(0);
            while self.buffer.len() < from + length {
                read_more(stream, &mut self.buffer).await?;
            }
        }
        Ok((head, from))
    }
}

async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    if buffer.len() > ANSWER_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    buffer.reserve(16 << 10);
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Reads a chunked body and joins it in place behind `from`.
async fn unchunk(stream: &mut TcpStream, buffer: &mut Vec<u8>, from: usize) -> io::Result<()> {
    let (mut at, mut joined) = (from, from);
    loop {
        let line_end = loop {
            if let Some(end) = find(buffer, b"\r\n", at) {
                break end;
            }
            read_more(stream, buffer).await?;
        };
        let size = std::str::from_utf8(&buffer[at..line_end]).ok();
        let size = size.and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok());
        let size = size.ok_or(io::ErrorKind::InvalidData)?;
        let data = line_end + 2;
        while buffer.len() < data + size + 2 {
            read_more(stream, buffer).await?;
        }
        if size == 0 {
            buffer.truncate(joined);
            return Ok(());
        }
        buffer.copy_within(data..data + size, joined);
        joined += size;
        at = data + size + 2;
    }
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let (length, chunked, close, not_applied) = (None, false, false, false);
        let mut head = Self { status, length, chunked, close, not_applied };
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                head.length = value.parse().ok();
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                head.chunked = value.eq_ignore_ascii_case("chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                head.close = value.eq_ignore_ascii_case("close");
            } else if name.eq_ignore_ascii_case("kwq-applied") {
                head.not_applied = value == "no";
            }
        }
        Some(head)
    }
}

/// First place of `needle` at or behind `from`.
#[must_use]
pub fn find(bytes: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let first = *needle.first()?;
    let mut at = from;
    loop {
        let rest = bytes.get(at..)?;
        at += rest.iter().position(|byte| *byte == first)?;
        if bytes.get(at..at + needle.len())? == needle {
            return Some(at);
        }
        at += 1;
    }
}
