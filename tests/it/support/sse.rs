//! An open stream of server-sent events, read as it comes.

use std::time::Duration;

use serde_json::Value;

use super::http::{Conn, Req};
use super::server::Server;
use super::wait::{since, start_watch};

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: u64,
    pub(crate) kind: String,
    pub(crate) data: Value,
    /// As it came over the wire.
    pub(crate) text: String,
}

/// A stream that is listened to.
pub(crate) struct Sse {
    conn: Conn,
    headers: Vec<(String, String)>,
    unread: String,
    /// Blocks without an event so far: comments and settings.
    pub(crate) asides: Vec<String>,
}

impl Sse {
    /// Opens a stream that must be let in.
    #[track_caller]
    pub(crate) fn open(server: &Server, path: &str, after: Option<&str>) -> Self {
        let req = Req::new("GET", path);
        Self::call(server, after.iter().fold(req, |req, id| req.header("Last-Event-ID", id)))
    }

    #[track_caller]
    pub(crate) fn call(server: &Server, req: Req) -> Self {
        let mut conn = Conn::open(server.addr()).expect("connects");
        conn.send(&req.to_bytes()).expect("sends");
        let (status, headers) = conn.head().expect("a head");
        assert_eq!(status, 200, "{headers:?}");
        Self { conn, headers, unread: String::new(), asides: Vec::new() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let named = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.headers.iter().find(named).map(|(_, value)| value.as_str())
    }

    /// The next event; `None` at the end of the stream.
    #[track_caller]
    pub(crate) fn try_next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.unread.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.unread = rest;
                match event(&block) {
                    Some(event) => return Some(event),
                    None => self.asides.push(block),
                }
            }
            let chunk = self.conn.chunk().expect("the stream goes on or ends well")?;
            self.unread.push_str(&String::from_utf8(chunk).expect("events are text"));
        }
    }

    #[track_caller]
    pub(crate) fn next(&mut self) -> Event {
        self.try_next().expect("the stream goes on")
    }

    /// Reads on to the first event of this kind that fits; within a minute.
    #[track_caller]
    pub(crate) fn until(&mut self, kind: &str, fits: impl Fn(&Event) -> bool) -> Event {
        let begun = start_watch();
        loop {
            let event = self.next();
            if event.kind == kind && fits(&event) {
                return event;
            }
            assert!(since(begun) < Duration::from_secs(60), "no such {kind} came");
        }
    }
}

fn event(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let kind = field("event: ")?.to_owned();
    let id = field("id: ").expect("every event has an id").parse().expect("a number");
    let data = field("data: ").expect("every event has data");
    let data = serde_json::from_str(data).expect("data is JSON");
    Some(Event { id, kind, data, text: block.to_owned() })
}
