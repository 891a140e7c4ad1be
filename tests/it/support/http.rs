//! A tiny blocking HTTP/1.1 client on a plain socket: enough to speak properly and, in raw mode,
//! to speak badly. Must not be clever: no pool, no redirect, no retry.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longer than the longest wait of any route, so that a hang is told from a long poll.
const READ_LIMIT: Duration = Duration::from_secs(100);

/// One request before it is sent.
pub(crate) struct Req {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Req {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        Self { method, path, headers: Vec::new(), body: None }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A JSON body with its type.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.text("application/json", &body.to_string())
    }

    /// Any text under any type.
    pub(crate) fn text(self, kind: &str, body: &str) -> Self {
        self.bytes(kind, body.as_bytes())
    }

    /// Any bytes under any type.
    pub(crate) fn bytes(self, kind: &str, body: &[u8]) -> Self {
        let mut req = self.header("Content-Type", kind);
        req.body = Some(body.to_vec());
        req
    }

    /// The request as it goes over the wire.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut out = head.into_bytes();
        out.extend(self.body.iter().flatten());
        out
    }

    fn is_head(&self) -> bool {
        self.method == "HEAD"
    }
}

/// One answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The first header of this name, whatever its case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(e) => panic!("no JSON ({e}): {} {}", self.status, self.text()),
        }
    }

    /// Asserts the status, shows the body when it differs.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.text());
        self
    }

    /// Asserts a 200 and gives its JSON.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        self.expect(200).json()
    }

    /// Asserts a refusal: status, code and the whole form of problem+json.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        self.expect(status);
        let body = is_problem(self);
        assert_eq!(body["code"], code, "{body}");
        body
    }

    /// As `refused`, and the refusal names this field (or a member of it).
    #[track_caller]
    pub(crate) fn refused_field(&self, code: &str, field: &str) -> Value {
        let body = self.refused(422, code);
        let named = body["field"].as_str().unwrap_or_default();
        assert!(named.starts_with(field), "field {field} expected: {body}");
        body
    }
}

/// api.md 1.2: every refusal carries type, title, status, code and detail.
#[track_caller]
pub(crate) fn is_problem(answer: &Answer) -> Value {
    let kind = answer.header("Content-Type").unwrap_or_default().to_owned();
    assert!(kind.starts_with("application/problem+json"), "{kind}: {}", answer.text());
    let body = answer.json();
    let code = body["code"].as_str().expect("a problem has a code").to_owned();
    assert_eq!(body["type"], format!("/docs/errors/{code}"), "{body}");
    assert_eq!(body["status"], answer.status, "{body}");
    assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
    body
}

/// One open connection.
pub(crate) struct Conn {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Conn {
    pub(crate) fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(READ_LIMIT))?;
        stream.set_write_timeout(Some(READ_LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Whether something can be read without waiting.
    pub(crate) fn readable(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let there = self.stream.peek(&mut [0]).is_ok();
        self.stream.set_nonblocking(false).expect("a socket");
        there
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Sends one request and reads its answer.
    pub(crate) fn call(&mut self, req: &Req) -> io::Result<Answer> {
        // A server may answer and close before it has read everything: then the write fails, the
        // answer is there all the same.
        let sent = self.send(&req.to_bytes());
        match self.answer(req.is_head()) {
            Ok(answer) => Ok(answer),
            Err(e) => sent.and(Err(e)),
        }
    }

    /// Reads one answer; `no_body` after a HEAD.
    pub(crate) fn answer(&mut self, no_body: bool) -> io::Result<Answer> {
        loop {
            let (status, headers) = self.head()?;
            if status == 100 {
                continue;
            }
            let mut answer = Answer { status, headers, body: Vec::new() };
            if !(no_body || status == 204 || status == 304) {
                answer.body = self.body(&answer)?;
            }
            return Ok(answer);
        }
    }

    /// Reads the head of an answer only: its status and headers.
    pub(super) fn head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let status = self.line()?;
        let code = status.split(' ').nth(1).and_then(|c| c.parse().ok());
        let code = code.ok_or_else(|| bad(&format!("status line {status:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok((code, headers));
            }
            let (name, value) = line.split_once(':').ok_or_else(|| bad(&line))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn body(&mut self, answer: &Answer) -> io::Result<Vec<u8>> {
        if answer.header("Transfer-Encoding").is_some_and(|v| v.contains("chunked")) {
            return self.chunks();
        }
        match answer.header("Content-Length").map(str::parse) {
            Some(Ok(length)) => self.take(length),
            Some(Err(_)) => Err(bad("content-length")),
            None => self.rest(),
        }
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk()? {
            body.extend(chunk);
        }
        Ok(body)
    }

    /// The next chunk of a body; `None` = it has come to its end.
    pub(super) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).map_err(|_| bad(&line))?;
        let chunk = self.take(size)?;
        self.line()?;
        Ok((size > 0).then_some(chunk))
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            self.fill()?;
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// Everything until the other side closes.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(std::mem::take(&mut self.buffer));
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut part = [0_u8; 16 * 1024];
        let read = loop {
            match self.stream.read(&mut part) {
                // A read with a time limit ends so when the machine was frozen for a moment.
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend(part.iter().take(read));
        Ok(())
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
