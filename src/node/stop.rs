//! SIGINT and SIGTERM, heard from before the first byte is served: a signal that comes early ends
//! the process with 0 too.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The wish to stop. Install it before the node starts.
pub struct StopSignal {
    told: Receiver<()>,
    serving: Arc<AtomicBool>,
}

impl StopSignal {
    /// Listens on a thread of its own. While nothing is served yet the first signal ends the
    /// process; later the second does.
    ///
    /// # Errors
    /// Signals cannot be received.
    pub fn install() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut signals = runtime.block_on(async { Signals::install() })?;
        let (tell, told) = sync_channel(1);
        let serving = Arc::new(AtomicBool::new(false));
        let served = Arc::clone(&serving);
        crate::telemetry::spawn_thread("kwq-signals", move || {
            runtime.block_on(signals.next());
            if !served.load(Ordering::Acquire) {
                tracing::info!("stopped before anything was served");
                std::process::exit(0);
            }
            // Nobody waits any more only when the process is ending anyway.
            tell.send(()).ok();
            runtime.block_on(signals.next());
            tracing::warn!("second signal: leaving at once");
            std::process::exit(0);
        })?;
        Ok(Self { told, serving })
    }

    /// From now on the first signal drains.
    pub(super) fn serving(&self) {
        self.serving.store(true, Ordering::Release);
    }

    /// Blocks until the first signal.
    pub(super) fn wait(&self) {
        // A closed channel means the listening thread is gone; then stopping is the only
        // sane answer.
        self.told.recv().ok();
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn install() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
        }
    }
}
