//! The client against known texts, and against a server that answers from a list.

use super::call::part;
use super::worker::{HandOut, Report};
use super::{Call, Client, Error, Options, Problem, base64};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

#[test]
fn base64_is_that_of_rfc_4648_and_comes_back() {
    let pairs = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
    for (plain, text) in pairs {
        assert_eq!(base64::encode(plain.as_bytes()), text);
        assert_eq!(base64::decode(text).as_deref(), Some(plain.as_bytes()));
    }
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(base64::decode(&base64::encode(&all)), Some(all));
    for bad in ["Zg", "Zg=", "Zh==", "Z===", "====", "Zm9v!"] {
        assert_eq!(base64::decode(bad), None, "{bad} is no base64 that encode would write");
    }
}

#[test]
fn a_path_part_hides_everything_that_means_something_in_a_path() {
    assert_eq!(part("eod-risk_1.2~x"), "eod-risk_1.2~x");
    assert_eq!(part("a/b?c d%é"), "a%2Fb%3Fc%20d%25%C3%A9");
}

#[test]
fn a_payload_comes_back_byte_for_byte_in_each_encoding() {
    let cases: [(&str, &[u8]); 5] = [
        (r#""payload":"a\u00e9\n","encoding":"text""#, "aé\n".as_bytes()),
        (r#""payload":{"x": 1.0},"encoding":"json""#, br#"{"x": 1.0}"#),
        (r#""payload":"s","encoding":"json""#, br#""s""#),
        (r#""payload":"AP8=","encoding":"base64""#, &[0, 255]),
        (r#""encoding":"text""#, b""),
    ];
    for (members, bytes) in cases {
        let text = format!(
            r#"{{"id":"t","ref":"5-0-1","groupId":"j","priority":5,"attempt":1,"lease":"L",
                 {members}}}"#
        );
        let task: HandOut = serde_json::from_str(&text).expect("a hand-out");
        assert_eq!(task.payload_bytes().expect("a payload"), bytes, "{members}");
    }
}

#[test]
fn a_result_that_is_no_text_travels_as_base64_and_an_empty_one_not_at_all() {
    let of = |bytes: &[u8]| {
        let report = Report::complete("L", 1, bytes.to_vec());
        (report.result, report.encoding)
    };
    assert_eq!(of(b"42"), (Some("42".to_owned()), Some("text")));
    assert_eq!(of(&[255]), (Some("/w==".to_owned()), Some("base64")));
    assert_eq!(of(b""), (None, None));
}

#[test]
fn a_refusal_without_problem_json_is_still_understood() {
    let problem = Problem::read(502, b"<html>bad gateway</html>");
    assert_eq!((problem.status, problem.code.as_str()), (502, "http_502"));
    assert!(problem.detail.contains("bad gateway"));
}

#[test]
fn only_plain_http_addresses_are_taken() {
    for url in ["https://h", "ftp://h", "127.0.0.1:8080", "http://"] {
        let options = Options { url: url.to_owned(), ..Options::default() };
        assert!(matches!(Client::new(options), Err(Error::BadUrl(..))), "{url}");
    }
}

/// Answers one request a connection, from a list; the last answer repeats. Keeps what was asked.
fn scripted(answers: &'static [&'static str]) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    crate::telemetry::spawn_thread("scripted", move || {
        for (i, stream) in listener.incoming().take(20).enumerate() {
            let mut stream = stream.expect("a connection");
            let mut request = vec![0; 16 << 10];
            let read = stream.read(&mut request).expect("a request");
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            log.lock().expect("unpoisoned").push(text);
            let answer = answers.get(i).or_else(|| answers.last()).expect("one answer");
            stream.write_all(answer.as_bytes()).expect("the client reads");
        }
    })
    .expect("a thread");
    (addr, asked)
}

fn client(addr: SocketAddr) -> Client {
    Client::new(Options { url: format!("http://{addr}"), ..Options::default() }).expect("a client")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
const BUSY_UNAPPLIED: &str = "HTTP/1.1 503 x\r\nKwq-Applied: no\r\nContent-Length: 47\r\n\
     Connection: close\r\n\r\n{\"code\":\"overloaded\",\"retryAfterMs\":1,\"x\":\"yz\"}";
const BUSY_UNKNOWN: &str = "HTTP/1.1 503 x\r\nContent-Length: 47\r\nConnection: close\r\n\r\n\
     {\"code\":\"overloaded\",\"retryAfterMs\":1,\"x\":\"yz\"}";

#[test]
fn a_call_that_was_not_applied_is_sent_again() {
    let (addr, asked) = scripted(&[BUSY_UNAPPLIED, BUSY_UNAPPLIED, OK]);
    let answer = block_on(
        client(addr).send(Call::post("/kwq/submit").body("application/json", b"{}".to_vec())),
    );
    assert_eq!(answer.expect("the third is fine").status, 200);
    assert_eq!(asked.lock().expect("unpoisoned").len(), 3);
}

#[test]
fn a_submit_in_doubt_is_not_sent_again_unless_it_has_a_key() {
    let (addr, asked) = scripted(&[BUSY_UNKNOWN, OK]);
    let call = Call::post("/kwq/submit").body("application/json", b"{}".to_vec());
    let error = block_on(client(addr).send(call.clone())).expect_err("in doubt");
    assert_eq!(error.code(), Some("overloaded"));
    assert_eq!(asked.lock().expect("unpoisoned").len(), 1);

    let (addr, asked) = scripted(&[BUSY_UNKNOWN, OK]);
    block_on(client(addr).send(call.key("k-1"))).expect("the repeat is fine");
    let asked = asked.lock().expect("unpoisoned");
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|text| text.to_lowercase().contains("idempotency-key: k-1")));
}

#[test]
fn nobody_listening_is_told_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    drop(listener);
    let error = block_on(client(addr).send(Call::get("/kwq"))).expect_err("nobody is there");
    assert!(matches!(error, Error::Unreachable { .. }) && error.passing());
}
