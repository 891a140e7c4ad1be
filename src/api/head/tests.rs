//! What passes and what does not, however it is cut.

use super::*;
use proptest::prelude::*;

fn read(head: &str) -> Result<bool, Fault> {
    HeadCheck::default().feed(head.as_bytes())
}

#[test]
fn an_ordinary_head_passes() {
    for head in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\nPOST /kwq/submit HTTP/1.1\r\nhost:x\r\nContent-Length: 2\r\n\r\n{}\n\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        // The end of a head whose beginning came with the request before it.
        "ser-Agent: x\r\nAccept: */*\r\n\r\n",
    ] {
        assert_eq!(read(head), Ok(true), "{head:?}");
    }
    assert_eq!(read("GET / HTTP/1.1\r\nHost: x\r\n"), Ok(false));
}

#[test]
fn framing_that_can_be_read_in_two_ways_is_refused() {
    for head in [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n",
        "GET / HTTP/1.1\nHost: x\n\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    ] {
        assert_eq!(read(head).map_err(|(code, _)| code), Err(Code::BadRequest), "{head:?}");
    }
}

#[test]
fn a_request_line_without_end_is_refused() {
    let line = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70 << 10));
    assert_eq!(read(&line).map_err(|(code, _)| code), Err(Code::UriTooLong));
}

proptest! {
    #[test]
    fn pieces_read_like_the_whole(
        head in concat!(
            "(GET / HTTP/1.1|POST /a HTTP/1.0)\r\n",
            "((Host: x|Content-Length: 2|A: \r?b)\r?\n){0,5}\r\n",
        ),
        cut in 0usize..80,
    ) {
        let (a, b) = head.as_bytes().split_at(cut.min(head.len()));
        let mut check = HeadCheck::default();
        let pieces = check.feed(a).and_then(|done| if done { Ok(true) } else { check.feed(b) });
        prop_assert_eq!(pieces, read(&head));
    }
}
