//! What waiting costs: memory and threads of parked consumes, and how fast one of them is woken.

use crate::sim::report::{Latency, ProcessUse, Quantiles, Stopwatch};
use crate::sim::wire::Wire;
use futures_util::future::try_join_all;
use serde::Serialize;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Cost of parked consumes.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Idle {
    /// Parked at the same time, each on a connection of its own.
    pub polls: u64,
    /// Growth of the server's memory by one, connection included.
    pub bytes_per_poll: f64,
    /// Threads of the server without them.
    pub threads_before: u64,
    /// Threads with them.
    pub threads_after: u64,
}

/// Time for all of them to be parked, and for memory to settle.
const SETTLE: Duration = Duration::from_secs(3);
/// Time for one consume to be parked.
const PARK: Duration = Duration::from_millis(30);

/// Parks `polls` consumes of a job that does not exist and looks at the server's process.
///
/// # Errors
/// A connection is refused, or a consume does not stay parked.
pub async fn park(
    addr: SocketAddr,
    token: Option<&str>,
    polls: usize,
    pid: Option<u32>,
) -> io::Result<Idle> {
    let usage = || pid.and_then(ProcessUse::of).unwrap_or_default();
    let before = usage();
    let mut wires: Vec<Wire> = (0..polls).map(|_| Wire::new(addr, token)).collect();
    let parked = wires.iter_mut().enumerate().map(|(i, wire)| async move {
        let body = format!(
            r#"{{"worker":"bench-idle-{i}","waitMs":60000,"jobs":["bench-nobody-submits-here"]}}"#
        );
        let reply = wire.post("/kwq/consume", body.as_bytes()).await?;
        let what = format!("a parked consume was answered {}", reply.status);
        Err::<(), _>(io::Error::other(what))
    });
    // All of them stay parked, so the time runs out; an answer is an error.
    if let Ok(answered) = timeout(SETTLE, try_join_all(parked)).await {
        answered?;
    }
    let after = usage();
    let grown = after.rss_bytes.saturating_sub(before.rss_bytes);
    let count = u64::try_from(polls).unwrap_or(u64::MAX);
    Ok(Idle {
        polls: count,
        bytes_per_poll: grown as f64 / count.max(1) as f64,
        threads_before: before.threads,
        threads_after: after.threads,
    })
}

/// Submits to a job one consume is parked for; time from sending the submit to the consume's
/// answer.
///
/// # Errors
/// The server refuses, or does not wake the consume.
pub async fn wake(addr: SocketAddr, token: Option<&str>, rounds: u32) -> io::Result<Quantiles> {
    let (mut worker, mut submitter) = (Wire::new(addr, token), Wire::new(addr, token));
    let job = format!("bench-wake-{}", std::process::id());
    let ask = format!(r#"{{"worker":"{job}","waitMs":20000,"jobs":["{job}"]}}"#);
    let task = format!(r#"{{"groupId":"{job}","payload":"x"}}"#);
    let mut latency = Latency::default();
    for _ in 0..rounds {
        let consume = async {
            let reply = worker.post("/kwq/consume", ask.as_bytes()).await?;
            (reply.status == 200)
                .then(Stopwatch::start)
                .ok_or_else(|| io::ErrorKind::TimedOut.into())
        };
        let submit = async {
            sleep(PARK).await;
            let sent = Stopwatch::start();
            let reply = submitter.post("/kwq/submit", task.as_bytes()).await?;
            match reply.status {
                200 => Ok(sent),
                status => Err(io::Error::other(format!("submit: {status}"))),
            }
        };
        let (answered, sent): (io::Result<Stopwatch>, io::Result<Stopwatch>) =
            tokio::join!(consume, submit);
        let (answered, sent) = (answered?, sent?);
        latency.record(sent.us().saturating_sub(answered.us()));
    }
    Ok(latency.quantiles())
}
