//! What every black-box test stands on: a real server process, a tiny HTTP client, short verbs.
//! Must not use anything of the product but its binary and the text of the contract.

mod folder;
mod http;
mod process;
mod server;
mod sse;
mod verbs;
mod wait;

pub(crate) use folder::Folder;
pub(crate) use http::{Answer, Conn, Req, is_problem};
pub(crate) use process::{Process, kwq, kwq_lines, signal};
pub(crate) use server::{Server, fair, shared, single};
pub(crate) use sse::{Event, Sse};
pub(crate) use verbs::{encode, ids, int, merge, outcome, sorted, text};
pub(crate) use wait::{eventually, in_background, now_ms, pause, since, start_watch, unique};
