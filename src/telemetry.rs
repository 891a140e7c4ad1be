//! Floor 1: tracing set-up, the panic hook, threads and tasks with a name.
//!
//! Levels: INFO = start, stop, operator acts; WARN = look in the morning; ERROR = data or
//! availability
//! at risk. Must not: log a payload, token or secret, or anything per task above TRACE.

#[cfg(test)]
mod tests;

use std::any::Any;
use std::backtrace::Backtrace;
use std::future::Future;
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::thread::JoinHandle;
use tracing::Instrument;
use tracing_subscriber::EnvFilter;

/// Log lines go to stderr from here on, and panics are logged. `json`: `None` = by the terminal.
///
/// # Errors
/// A text for people: the filter does not parse, or this process logs already.
pub fn install(json: Option<bool>, level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| LineOrNothing(io::stderr()));
    let installed = if json.unwrap_or_else(|| !io::stderr().is_terminal()) {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    } else {
        builder
            .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .try_init()
    };
    installed.map_err(|e| format!("cannot set up logging: {e}"))?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// A log line that cannot be written (full disk, closed pipe) is lost and nothing else: the library
/// would report its failure on the same stream, and that panics.
struct LineOrNothing(io::Stderr);

impl io::Write for LineOrNothing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Whatever was written of it, there is nobody to tell.
        drop(self.0.write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        drop(self.0.flush());
        Ok(())
    }
}

/// Is it a filter of log lines?
///
/// # Errors
/// What is wrong, and what would be right.
pub fn check_level(level: &str) -> Result<(), String> {
    filter(level).map(|_| ())
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    let help = "write a level (error, warn, info, debug, trace) or e.g. info,kwq::log=debug";
    EnvFilter::builder().parse(level).map_err(|e| format!("{e}; {help}"))
}

/// One line with thread, place and text instead of the default print-out.
fn log_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let place = info.location().map_or_else(String::new, ToString::to_string);
    let backtrace = Backtrace::capture().to_string();
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        place,
        reason = panic_text(info.payload()),
        backtrace,
        "a thread panicked"
    );
}

/// The text of a caught panic.
#[must_use]
pub fn panic_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

/// Starts a thread under a name (at most 15 bytes are shown by the system).
///
/// # Errors
/// The system has no more threads.
pub fn spawn_thread<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// Starts a task on the current tokio runtime, inside a span of that name.
///
/// # Panics
/// Outside a runtime.
#[expect(clippy::disallowed_methods, reason = "this is the one place that starts tasks")]
pub fn spawn_named<F>(name: &'static str, future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.instrument(tracing::error_span!("task", name)))
}
