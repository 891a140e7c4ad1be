//! The listener for other instances, called by the client of peers and by hand.

use super::*;
use crate::client::{PeerClient, PeerError};
use futures_util::future::join_all;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

const SECRET: &str = "a-secret-of-24-characters";
const LONG: Duration = Duration::from_secs(60);

struct Peer {
    server: InternalServer,
    /// Runs the connections for as long as the listener is used.
    _runtime: tokio::runtime::Runtime,
}

fn listen(secret: Option<&str>, handler: Handler) -> Peer {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime");
    let on = runtime.handle().clone();
    let spawner: Spawner = Arc::new(move |future| {
        on.spawn(future);
    });
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let secret = secret.map(str::to_owned);
    let server = start(listener, vec![spawner], secret, handler).expect("starts");
    Peer { server, _runtime: runtime }
}

fn echo() -> Handler {
    Arc::new(|bytes| Box::pin(async move { bytes.to_vec() }))
}

/// Sends into a channel when it is dropped.
struct Dropped(mpsc::SyncSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.send(()).ok();
    }
}

/// A handler that never answers, and what tells that it was begun, and dropped.
fn hanging() -> (Handler, mpsc::Receiver<()>, mpsc::Receiver<()>) {
    let (begun, begins) = mpsc::sync_channel(8);
    let (dropped, drops) = mpsc::sync_channel(8);
    let handler: Handler = Arc::new(move |_| {
        let (begun, guard) = (begun.clone(), Dropped(dropped.clone()));
        Box::pin(async move {
            let _guard = guard;
            begun.send(()).expect("the test waits");
            std::future::pending().await
        })
    });
    (handler, begins, drops)
}

impl Peer {
    fn addr(&self) -> String {
        self.server.addr().to_string()
    }

    fn connect(&self) -> std::net::TcpStream {
        let stream = std::net::TcpStream::connect(self.server.addr()).expect("connects");
        stream.set_read_timeout(Some(LONG)).expect("sets");
        stream
    }

    /// Sends a request with these header lines, and no more of its body than `body`.
    fn raw(&self, line: &str, headers: &str, body: &str) -> String {
        let mut stream = self.connect();
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}");
        stream.write_all(request.as_bytes()).expect("sends");
        let mut out = Vec::new();
        drop(stream.read_to_end(&mut out));
        String::from_utf8_lossy(&out).to_ascii_lowercase()
    }
}

fn client(secret: Option<&str>) -> PeerClient {
    PeerClient::new(secret).expect("a client")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

const POST: &str = "POST /internal/call";
const CALL: &str = "Content-Type: application/octet-stream\r\nContent-Length: 4\r\n";

#[test]
fn bytes_come_back_with_and_without_a_secret_and_from_runtime_to_runtime() {
    for secret in [None, Some(SECRET)] {
        let peer = listen(secret, echo());
        let client = client(secret);
        for body in [b"".as_slice(), b"call", &[0, 255, 10, 13]] {
            // A runtime each: the connection of the one before has lost its own.
            let answer = block_on(client.call(&peer.addr(), body.to_vec(), LONG));
            assert_eq!(answer.as_deref(), Ok(body));
        }
    }
}

#[test]
fn a_message_of_the_bound_passes_both_ways_and_one_byte_more_does_not() {
    let longer: Handler = Arc::new(|bytes| {
        Box::pin(async move {
            let more = usize::from(bytes.first() == Some(&1));
            vec![7; limits::PEER_BYTES_MAX + more]
        })
    });
    let peer = listen(None, longer);
    let client = client(None);
    let mut body = vec![0; limits::PEER_BYTES_MAX];
    let answer = block_on(client.call(&peer.addr(), body.clone(), LONG));
    assert_eq!(answer.expect("an answer").len(), limits::PEER_BYTES_MAX);
    body[0] = 1;
    let answer = block_on(client.call(&peer.addr(), body, LONG));
    let Err(PeerError::Unknown(text)) = answer else { panic!("it was carried out") };
    assert!(text.contains("500") && text.contains("67108865 B"), "{text}");
    let head = CALL.replace('4', &(limits::PEER_BYTES_MAX + 1).to_string());
    let told = peer.raw(POST, &head, "call");
    assert!(told.starts_with("http/1.1 413") && told.contains("67108865 b"), "{told}");
}

#[test]
fn only_the_secret_opens_and_what_is_sent_without_is_not_read() {
    let told = |peer: &Peer, secret| {
        let answer = block_on(client(secret).call(&peer.addr(), b"call".to_vec(), LONG));
        let Err(PeerError::Unreached(text)) = answer else { panic!("let in: {answer:?}") };
        assert!(text.contains("node.secret there and here differ"), "{text}");
    };
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let counting: Handler = Arc::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Vec::new() })
    });
    let peer = listen(Some(SECRET), Arc::clone(&counting));
    told(&peer, None);
    told(&peer, Some("a-secret-of-24-characterz"));
    told(&listen(None, counting), Some(SECRET));
    // The body is announced and never comes; the answer does.
    let announced = CALL.replace('4', "4000");
    let wrong = format!("{announced}Authorization: Bearer no\r\n");
    for headers in [&announced, &wrong] {
        let told = peer.raw(POST, headers, "");
        assert!(told.starts_with("http/1.1 401") && told.contains("connection: close"), "{told}");
        assert!(told.contains("text/plain") && told.contains("node.secret"), "{told}");
    }
    // Without the secret nobody hears what else is wrong.
    assert!(peer.raw("GET /kwq", "", "").starts_with("http/1.1 401"));
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[test]
fn whatever_is_no_call_is_refused_in_words() {
    let peer = listen(None, echo());
    let chunked = "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n";
    let page = format!("{CALL}Origin: http://127.0.0.1\r\n");
    let packed = format!("{CALL}Content-Encoding: gzip\r\n");
    for (status, line, headers) in [
        ("404", "POST /kwq/submit", CALL),
        ("404", "GET /", ""),
        ("405", "GET /internal/call", ""),
        ("415", POST, "Content-Type: text/plain\r\nContent-Length: 4\r\n"),
        ("415", POST, packed.as_str()),
        ("415", POST, "Content-Length: 4\r\n"),
        ("411", POST, chunked),
        ("403", POST, page.as_str()),
    ] {
        let told = peer.raw(line, headers, "");
        assert!(told.starts_with(&format!("http/1.1 {status}")), "{line} {headers}: {told}");
        assert!(told.contains("text/plain") && told.contains("connection: close"), "{told}");
        assert_eq!(told.contains("\r\nallow: post"), status == "405", "{told}");
        let (_, body) = told.split_once("\r\n\r\n").expect("a body");
        assert!((10..120).contains(&body.len()), "{body}");
    }
}

#[test]
fn calls_hold_bounded_memory_together() {
    let peer = listen(None, echo());
    let announced = CALL.replace('4', &limits::PEER_BYTES_MAX.to_string());
    let request = format!("{POST} HTTP/1.1\r\nHost: x\r\n{announced}\r\n");
    // Announced is as good as sent: the room is taken before it comes.
    let mut held: Vec<_> = (0..4).map(|_| peer.connect()).collect();
    held.iter_mut().for_each(|stream| stream.write_all(request.as_bytes()).expect("sends"));
    let client = client(None);
    let call = || block_on(client.call(&peer.addr(), b"call".to_vec(), LONG));
    let text = loop {
        match call() {
            // The four have not all been looked at.
            Ok(_) => std::thread::yield_now(),
            Err(PeerError::Gone(text) | PeerError::Unreached(text)) => break text,
            Err(PeerError::Unknown(text)) => panic!("{text}"),
        }
    };
    assert!(text.contains("503") && text.contains("try again"), "{text}");
    drop(held);
    while call().is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn a_caller_that_goes_away_takes_the_handler_with_it() {
    let (handler, begins, drops) = hanging();
    let peer = listen(Some(SECRET), handler);
    // Nothing else ends the call: no time limit holds while a call is in hand.
    let mut stream = peer.connect();
    let head = format!("{CALL}Authorization: Bearer {SECRET}\r\n");
    let request = format!("{POST} HTTP/1.1\r\nHost: x\r\n{head}\r\ncall");
    stream.write_all(request.as_bytes()).expect("sends");
    begins.recv_timeout(LONG).expect("it was begun");
    assert!(drops.try_recv().is_err());
    drop(stream);
    drops.recv_timeout(LONG / 4).expect("it was dropped");
    // The client closes when its limit is over, and when its caller drops it.
    let (client, addr) = (client(Some(SECRET)), peer.addr());
    block_on(async {
        let limit = Duration::from_millis(300);
        let late = client.call(&addr, b"call".to_vec(), limit).await;
        assert!(matches!(late, Err(PeerError::Unknown(_))), "{late:?}");
        gone(&drops).await;
        begins.recv_timeout(LONG).expect("it was begun");
        let call = client.call(&addr, b"call".to_vec(), LONG);
        assert!(tokio::time::timeout(limit, call).await.is_err(), "no answer comes");
        gone(&drops).await;
    });
}

/// Waits while the runtime goes on.
async fn gone(drops: &mpsc::Receiver<()>) {
    let dropped = async {
        while drops.try_recv().is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG / 4, dropped).await.expect("it was dropped");
}

#[test]
fn many_calls_at_once_share_few_connections_and_each_gets_its_own_answer() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (open, peak) = (Arc::clone(&now), Arc::clone(&most));
    let peer = listen(
        None,
        Arc::new(move |bytes| {
            let open = Arc::clone(&open);
            peak.fetch_max(open.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                open.fetch_sub(1, Ordering::Relaxed);
                bytes.to_vec()
            })
        }),
    );
    let (client, addr) = (client(None), peer.addr());
    let calls = (0..200_u32).map(|n| client.call(&addr, n.to_le_bytes().to_vec(), LONG));
    let answers = block_on(join_all(calls));
    for (n, answer) in (0..200_u32).zip(answers) {
        assert_eq!(answer, Ok(n.to_le_bytes().to_vec()));
    }
    let most = most.load(Ordering::Relaxed);
    assert!((2..=limits::PEER_CALLS_MAX).contains(&most), "{most} at once");
}

#[test]
fn a_handler_that_panics_costs_its_call_only() {
    let peer = listen(
        None,
        Arc::new(|bytes| {
            assert_ne!(bytes.as_ref(), b"bad", "as planned");
            Box::pin(async move { bytes.to_vec() })
        }),
    );
    let (client, addr) = (client(None), peer.addr());
    block_on(async {
        let bad = client.call(&addr, b"bad".to_vec(), LONG).await;
        assert!(matches!(bad, Err(PeerError::Unknown(_))), "{bad:?}");
        assert_eq!(client.call(&addr, b"good".to_vec(), LONG).await, Ok(b"good".to_vec()));
    });
}

#[test]
fn a_shutdown_waits_for_the_call_in_hand_and_ends_what_is_idle() {
    let (begun, begins) = mpsc::sync_channel(1);
    let go_on = Arc::new(tokio::sync::Notify::new());
    let wait = Arc::clone(&go_on);
    let peer = listen(
        None,
        Arc::new(move |bytes| {
            let (begun, wait) = (begun.clone(), Arc::clone(&wait));
            Box::pin(async move {
                begun.send(()).expect("the test waits");
                wait.notified().await;
                bytes.to_vec()
            })
        }),
    );
    let mut idle = peer.connect();
    let (client, addr) = (client(None), peer.addr());
    let caller = crate::telemetry::spawn_thread("caller", move || {
        block_on(client.call(&addr, b"call".to_vec(), LONG))
    });
    begins.recv_timeout(LONG).expect("it was begun");
    let phase = peer.server.phase.clone();
    let end = crate::telemetry::spawn_thread("closing", move || {
        let mut phase = phase.subscribe();
        block_on(phase.wait_for(|phase| *phase >= Phase::Closing)).expect("it closes");
        go_on.notify_one();
    });
    peer.server.shutdown(LONG);
    let answer = caller.expect("a thread").join().expect("no panic");
    assert_eq!(answer, Ok(b"call".to_vec()));
    assert_eq!(idle.read(&mut [0; 8]).unwrap_or(0), 0, "it was ended");
    assert_eq!(peer.server.seats.available_permits(), limits::PEER_CONNECTIONS_MAX);
    end.expect("a thread").join().expect("no panic");
}

#[test]
fn a_dropped_listener_drops_what_is_in_hand() {
    let (handler, begins, drops) = hanging();
    let Peer { server, _runtime } = listen(None, handler);
    let addr = server.addr().to_string();
    let caller = crate::telemetry::spawn_thread("caller", move || {
        block_on(client(None).call(&addr, b"call".to_vec(), LONG))
    });
    begins.recv_timeout(LONG).expect("it was begun");
    drop(server);
    drops.recv_timeout(LONG / 4).expect("it was dropped");
    let answer = caller.expect("a thread").join().expect("no panic");
    assert!(matches!(answer, Err(PeerError::Unknown(_))), "{answer:?}");
}
