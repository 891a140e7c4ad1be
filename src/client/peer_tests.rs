//! The client of peers against sockets that do what no listener of ours would do. Round trips stand
//! with the listener, in the tests of `api::internal`.

use super::*;
use futures_util::future::{join, join_all};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// A peer that does `act` with each connection, after it has read what is there.
fn peer(mut act: impl FnMut(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    crate::telemetry::spawn_thread("peer", move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let read = stream.read(&mut vec![0; 16 << 10]).expect("a request");
            if read > 0 {
                act(stream);
            }
        }
    })
    .expect("a thread");
    addr.to_string()
}

/// A peer that always answers the same, and closes.
fn answering(answer: &'static str) -> String {
    peer(move |mut stream| drop(stream.write_all(answer.as_bytes())))
}

const LONG: Duration = Duration::from_secs(30);

fn call(addr: &str, limit: Duration) -> Result<Vec<u8>, PeerError> {
    let client = PeerClient::new(None).expect("a client");
    block_on(client.call(addr, b"call".to_vec(), limit))
}

#[track_caller]
fn unknown(result: Result<Vec<u8>, PeerError>) -> String {
    let Err(PeerError::Unknown(text)) = result else { panic!("want Unknown, got {result:?}") };
    text
}

#[track_caller]
fn unreached(result: Result<Vec<u8>, PeerError>) -> String {
    let Err(PeerError::Unreached(text)) = result else { panic!("want Unreached, got {result:?}") };
    text
}

#[test]
fn where_nobody_listens_a_call_is_not_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound").to_string();
    drop(listener);
    let told = call(&addr, LONG);
    assert!(matches!(&told, Err(PeerError::Gone(text)) if text.contains(&addr)), "{told:?}");
}

#[test]
fn a_secret_goes_to_a_host_and_a_port_only() {
    for addr in ["", "u@127.0.0.1:9", "127.0.0.1:9/p", "127.0.0.1:9?q", "127.0.0.1:9#f", "a b:9"] {
        unreached(call(addr, LONG));
    }
    assert_eq!(address("[::1]:9").expect("it is one").as_str(), "http://[::1]:9/internal/call");
    assert!(matches!(PeerClient::new(Some("a\nb")), Err(Error::Setup(_))));
}

#[test]
fn a_peer_that_never_answers_leaves_the_outcome_unknown() {
    let mut held = Vec::new();
    let addr = peer(move |stream| held.push(stream));
    let limit = Duration::from_millis(200);
    assert!(unknown(call(&addr, limit)).contains("200ms"));
}

#[test]
fn a_peer_that_dies_before_or_within_its_answer_leaves_the_outcome_unknown() {
    unknown(call(&answering(""), LONG));
    unknown(call(&answering("HTTP/1.1 200 OK\r\nContent-Le"), LONG));
    unknown(call(&answering("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), LONG));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    unknown(call(&answering(chunked), LONG));
}

#[test]
fn an_answer_without_end_is_read_to_its_bound() {
    let addr = peer(|mut stream| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        drop(stream.write_all(head.as_bytes()));
        let chunk = format!("100000\r\n{}\r\n", "x".repeat(1 << 20));
        while stream.write_all(chunk.as_bytes()).is_ok() {}
    });
    assert!(unknown(call(&addr, LONG)).contains("67108864 B"));
    let body = vec![0; limits::PEER_BYTES_MAX + 1];
    let client = PeerClient::new(None).expect("a client");
    unreached(block_on(client.call(&addr, body, LONG)));
}

#[test]
fn who_took_over_the_port_of_a_peer_has_carried_nothing_out() {
    let told = unreached(call(
        &answering("HTTP/1.1 404 x\r\nContent-Length: 8\r\nConnection: close\r\n\r\nno \x07such"),
        LONG,
    ));
    assert!(told.ends_with("answered 404: no such"), "{told}");
    unreached(call(&answering("HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n"), LONG));
    unknown(call(&answering("HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n"), LONG));
    let away = "HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n";
    assert!(unknown(call(&answering(away), LONG)).contains("answered 302"), "nobody follows");
}

#[test]
fn a_connection_that_the_peer_has_closed_breaks_no_later_call() {
    let (closed, seen) = mpsc::sync_channel(8);
    let addr = peer(move |mut stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        drop(stream);
        closed.send(()).expect("the test waits");
    });
    let client = PeerClient::new(None).expect("a client");
    block_on(async {
        for _ in 0..3 {
            let answer = client.call(&addr, Vec::new(), LONG).await;
            assert_eq!(answer, Ok(b"ok".to_vec()));
            while seen.try_recv().is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // The runtime hears of it.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn a_peer_that_hangs_holds_its_own_places_only() {
    let mut held = Vec::new();
    let hanging = peer(move |stream| held.push(stream));
    let fine = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    let client = PeerClient::new(None).expect("a client");
    let calls = (0..limits::PEER_CALLS_MAX).map(|_| client.call(&hanging, Vec::new(), LONG / 10));
    let more = async {
        let one = client.call(&hanging, Vec::new(), Duration::from_millis(200)).await;
        assert!(unreached(one).contains("64 calls"));
        assert_eq!(client.call(&fine, Vec::new(), LONG).await, Ok(b"ok".to_vec()));
    };
    let (hung, ()) = block_on(join(join_all(calls), more));
    hung.into_iter().for_each(|result| drop(unknown(result)));
}

#[test]
fn a_peer_that_takes_no_connection_is_not_waited_for_again_at_once() {
    block_on(async {
        // Where the queue of a listener is full, the system drops what else wants to connect.
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let listener = socket.listen(1).expect("listens");
        let addr = listener.local_addr().expect("it is bound");
        let second = Duration::from_secs(1);
        let mut queued = Vec::new();
        while let Ok(stream) =
            tokio::time::timeout(second, tokio::net::TcpStream::connect(addr)).await
        {
            queued.push(stream.expect("is queued"));
            assert!(queued.len() < 100, "the queue has a bound");
        }
        let client = PeerClient::new(None).expect("a client");
        let addr = addr.to_string();
        let first = unreached(client.call(&addr, b"call".to_vec(), LONG).await);
        assert!(!first.contains("took no connection"), "the first is tried: {first}");
        let next = unreached(client.call(&addr, b"call".to_vec(), LONG).await);
        assert!(next.contains("took no connection"), "the next is not: {next}");
        tokio::time::sleep(SILENT).await;
        for _ in 0..queued.len() {
            listener.accept().await.expect("one of the queue");
        }
        let later = client.call(&addr, b"call".to_vec(), second).await;
        assert!(unknown(later).contains("no answer"), "it is tried again");
    });
}

#[test]
fn where_a_process_has_ended_nobody_takes_connections() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    assert!(listens(&addr));
    drop(listener);
    assert!(!listens(&addr) && !listens("no address"));
}
