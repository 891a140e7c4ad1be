//! A small blocking HTTP/1.1 client on a plain socket. It tells a call that was certainly not sent
//! from one whose fate is unknown; that difference is what the checker lives on.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What a call is known to have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) enum Verdict {
    /// A whole 2xx answer was read.
    Ok,
    /// A definite refusal: nothing was changed.
    Refused,
    /// It may or may not have happened.
    Unknown,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// No connection: nothing was sent.
    NotSent,
    /// Something was sent and no whole answer came back.
    Lost,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    /// Header lines, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as JSON, `Null` when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// Rules of the API: 2xx done; 4xx not applied; 5xx unknown unless it says `Kwq-Applied: no`.
pub(crate) fn verdict(result: &Result<Answer, NoAnswer>) -> Verdict {
    match result {
        Ok(a) if (200..300).contains(&a.status) => Verdict::Ok,
        Ok(a) if a.header("kwq-applied") == Some("no") => Verdict::Refused,
        Ok(a) if a.status >= 500 => Verdict::Unknown,
        Ok(_) | Err(NoAnswer::NotSent) => Verdict::Refused,
        Err(NoAnswer::Lost) => Verdict::Unknown,
    }
}

/// One kept-alive connection to one address.
pub(crate) struct Client {
    addr: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
    timeout: Duration,
}

impl Client {
    /// A client that connects on its first call.
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self { addr, stream: None, timeout: Duration::from_secs(10) }
    }

    /// The same with another time-out for reading and writing.
    pub(crate) fn with_timeout(addr: SocketAddr, timeout_ms: u64) -> Self {
        Self { addr, stream: None, timeout: Duration::from_millis(timeout_ms) }
    }

    /// The address it speaks to.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// GET.
    pub(crate) fn get(&mut self, path: &str) -> Result<Answer, NoAnswer> {
        self.call("GET", path, &[], b"")
    }

    /// POST of a JSON body.
    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Result<Answer, NoAnswer> {
        let text = serde_json::to_vec(body).expect("a value can be written");
        self.call("POST", path, &[("Content-Type", "application/json")], &text)
    }

    /// Any call.
    pub(crate) fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, NoAnswer> {
        let mut stream = match self.stream.take() {
            Some(s) => s,
            None => self.connect()?,
        };
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: kwq\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if method != "GET" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        let lost = |_: std::io::Error| NoAnswer::Lost;
        stream.get_mut().write_all(&bytes).map_err(lost)?;
        let answer = read_answer(&mut stream).map_err(lost)?;
        if answer.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    fn connect(&self) -> Result<BufReader<TcpStream>, NoAnswer> {
        let open = || -> std::io::Result<TcpStream> {
            let s = TcpStream::connect_timeout(&self.addr, Duration::from_secs(2))?;
            s.set_nodelay(true)?;
            s.set_read_timeout(Some(self.timeout))?;
            s.set_write_timeout(Some(self.timeout))?;
            Ok(s)
        };
        open().map(BufReader::new).map_err(|_| NoAnswer::NotSent)
    }
}

fn bad(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned())
}

fn line(from: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut text = String::new();
    from.read_line(&mut text)?;
    if !text.ends_with('\n') {
        return Err(bad("the connection ended inside an answer"));
    }
    Ok(text.trim_end().to_owned())
}

fn read_answer(from: &mut BufReader<TcpStream>) -> std::io::Result<Answer> {
    let status = line(from)?;
    let status = status.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.ok_or_else(|| bad("no status line"))?;
    let mut headers = Vec::new();
    loop {
        let text = line(from)?;
        if text.is_empty() {
            break;
        }
        if let Some((name, value)) = text.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if status == 204 || status == 304 {
        return Ok(answer);
    }
    if answer.header("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
        answer.body = read_chunks(from)?;
    } else if let Some(len) = answer.header("content-length").and_then(|v| v.parse().ok()) {
        answer.body = vec![0; len];
        from.read_exact(&mut answer.body)?;
    } else {
        from.read_to_end(&mut answer.body)?;
        answer.headers.push(("connection".into(), "close".into()));
    }
    Ok(answer)
}

fn read_chunks(from: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let head = line(from)?;
        let size = head.split(';').next().unwrap_or("").trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| bad("no chunk size"))?;
        let start = body.len();
        body.resize(start + size, 0);
        from.read_exact(body.get_mut(start..).expect("just grown"))?;
        line(from)?;
        if size == 0 {
            return Ok(body);
        }
    }
}
