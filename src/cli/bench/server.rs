//! A server process of the bench's own: the same binary, an empty directory, any free port.

use crate::cli::failure::Failure;
use crate::sim::report::Stopwatch;
use crate::sim::wire::Wire;
use crate::telemetry;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// Longest wait for a server.
const START: Duration = Duration::from_secs(120);

/// How the server is started.
pub(super) struct Spawn {
    pub(super) data_dir: PathBuf,
    pub(super) durability: String,
    pub(super) sets: Vec<String>,
}

/// A running server.
pub(super) struct Server {
    spawn: Spawn,
    child: Child,
    addr: SocketAddr,
}

impl Server {
    /// Starts it and waits until it is ready.
    pub(super) async fn start(spawn: Spawn) -> Result<Self, Failure> {
        let failed = |e: io::Error| {
            Failure::new("bench", format!("the server did not start: {e}"))
                .help("run the same `kwq serve` by hand to see why")
        };
        let (child, addr) = launch(&spawn).map_err(failed)?;
        let server = Self { spawn, child, addr };
        server.wait_ready().await.map_err(failed)?;
        Ok(server)
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Kills it without any warning and starts it again on its data. Time from the start, ms to
    /// listen.
    pub(super) async fn restart(&mut self) -> io::Result<(Stopwatch, u64)> {
        self.child.kill()?;
        self.child.wait()?;
        let watch = Stopwatch::start();
        let (child, addr) = launch(&self.spawn)?;
        (self.child, self.addr) = (child, addr);
        Ok((watch, watch.us() / 1_000))
    }

    /// Waits until every partition serves.
    pub(super) async fn wait_ready(&self) -> io::Result<()> {
        let (watch, mut wire) = (Stopwatch::start(), Wire::new(self.addr, None));
        while watch.elapsed() < START {
            if wire.get("/kwq/health/ready").await.is_ok_and(|reply| reply.status == 200) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Ends it. Its data is thrown away, so there is nothing to drain.
    pub(super) fn stop(mut self) {
        if self.child.kill().is_ok() {
            // It was just killed; the status has nothing to tell.
            let _status = self.child.wait();
        }
    }
}

fn launch(spawn: &Spawn) -> io::Result<(Child, SocketAddr)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", "--listen", "127.0.0.1:0", "--durability", &spawn.durability]);
    command.arg("--data-dir").arg(&spawn.data_dir);
    command.args(["--set", "http.max-per-address=20000", "--set", "http.max-connections=20000"]);
    for set in &spawn.sets {
        command.args(["--set", set]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    match first_address(stderr) {
        Ok(addr) => Ok((child, addr)),
        Err(error) => {
            child.kill()?;
            child.wait()?;
            Err(error)
        }
    }
}

/// Reads what the server says; the address comes first, the rest must be drained or it would block.
fn first_address(stderr: ChildStderr) -> io::Result<SocketAddr> {
    let (send, receive) = sync_channel(1);
    telemetry::spawn_thread("bench-stderr", move || {
        let (mut said, mut told) = (String::new(), false);
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if told {
                continue;
            }
            let addr = line.split_once("listening on http://").and_then(|(_, a)| a.parse().ok());
            said.push_str(&line);
            said.push('\n');
            if let Some(addr) = addr {
                told = send.send(Ok::<SocketAddr, String>(addr)).is_ok();
            }
        }
        if !told {
            let _nobody_waits = send.send(Err(said));
        }
    })?;
    match receive.recv_timeout(START) {
        Ok(Ok(addr)) => Ok(addr),
        Ok(Err(said)) => Err(io::Error::other(said.trim().to_owned())),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
