//! Server-sent events: the only place that knows their form.

/// Opens a stream: a client that loses it comes back after 2 s.
pub const RETRY: &[u8] = b"retry: 2000\n\n";
/// Says that the stream is alive, to whoever cuts silent connections.
pub const COMMENT: &[u8] = b":\n\n";

/// One event. `data` is JSON and so holds no line end.
#[must_use]
pub fn event(id: u64, kind: &str, data: &[u8]) -> Vec<u8> {
    let mut text = format!("id: {id}\nevent: {kind}\ndata: ").into_bytes();
    text.extend_from_slice(data);
    text.extend_from_slice(b"\n\n");
    text
}
