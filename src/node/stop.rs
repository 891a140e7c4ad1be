//! SIGINT, SIGTERM, and SIGHUP where it is not for the tokens file: heard from before the first
//! byte is served, so one that comes early ends the process with 0 too.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// May the process leave at once? Puts away what must be before it says yes.
type Leave = Box<dyn Fn() -> bool + Send + Sync>;

/// The wish to stop. Install it before the node starts.
pub struct StopSignal {
    told: Receiver<()>,
    serving: Arc<AtomicBool>,
    leave: Arc<OnceLock<Leave>>,
}

impl StopSignal {
    /// Listens on a thread of its own. While nothing is served yet the first signal ends the
    /// process; later the second does. `hangup`: SIGHUP is one of them.
    ///
    /// # Errors
    /// Signals cannot be received.
    pub fn install(hangup: bool) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut signals = runtime.block_on(async { Signals::install(hangup) })?;
        let (tell, told) = sync_channel(1);
        let serving = Arc::new(AtomicBool::new(false));
        let leave: Arc<OnceLock<Leave>> = Arc::default();
        let (served, may_leave) = (Arc::clone(&serving), Arc::clone(&leave));
        crate::telemetry::spawn_thread("kwq-signals", move || {
            runtime.block_on(signals.next());
            if !served.load(Ordering::Acquire) && may_leave.get().is_none_or(|leave| leave()) {
                tracing::info!("stopped before anything was served");
                std::process::exit(0);
            }
            // Nobody waits any more only when the process is ending anyway.
            tell.send(()).ok();
            runtime.block_on(signals.next());
            tracing::warn!("second signal: leaving at once");
            std::process::exit(0);
        })?;
        Ok(Self { told, serving, leave })
    }

    /// Asked at a first signal that comes before [`Self::serving`], once calls are taken: between
    /// the first call that is answered and the end of the start there must be no gap.
    pub(super) fn ask_first(&self, leave: impl Fn() -> bool + Send + Sync + 'static) {
        // A second node of one process has no say; there is none.
        self.leave.set(Box::new(leave)).ok();
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
    hangup: Option<Signal>,
}

impl Signals {
    fn install(hangup: bool) -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        let hangup = hangup.then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())?, hangup })
    }

    async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = hangup => (),
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
        }
    }
}
