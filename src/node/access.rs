//! The tokens file and the audit trail of a node: read at start, read again on SIGHUP, written
//! beside the log.

use crate::api::Guard;
use crate::codec::tokens;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::model::access::Token;
use crate::model::limits;
use crate::store::audit::Audit;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// The guard as the configuration says. A bad file refuses the start.
pub(super) fn guard(config: &Config) -> Result<Arc<Guard>, String> {
    let Some(path) = &config.tokens_file else { return Ok(Arc::default()) };
    let tokens = load(path)?;
    tracing::info!(tokens = tokens.len(), file = %path.display(), "tokens loaded");
    Ok(Arc::new(Guard::new(tokens)))
}

fn load(path: &Path) -> Result<Vec<Token>, String> {
    let told = |what: String| format!("{}: {what}", path.display());
    let file = std::fs::File::open(path).map_err(|error| told(error.to_string()))?;
    let mut text = String::new();
    let mut bounded = file.take(limits::TOKENS_FILE_BYTES_MAX + 1);
    bounded.read_to_string(&mut text).map_err(|error| told(error.to_string()))?;
    if text.len() as u64 > limits::TOKENS_FILE_BYTES_MAX {
        return Err(told(format!("more than {} B", limits::TOKENS_FILE_BYTES_MAX)));
    }
    tokens::parse(&text).map_err(|fault| told(fault.to_string()))
}

/// Reads the file again at each SIGHUP. A bad file changes nothing and is told.
///
/// Without a tokens file SIGHUP ends the process as SIGTERM does.
pub(super) fn reload_on_hangup(config: &Config, guard: &Arc<Guard>) -> io::Result<()> {
    let Some(path) = config.tokens_file.clone() else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut hangups = runtime.block_on(async { signal(SignalKind::hangup()) })?;
    let guard = Arc::clone(guard);
    crate::telemetry::spawn_thread("kwq-reload", move || {
        while runtime.block_on(hangups.recv()).is_some() {
            reload(&path, &guard);
        }
    })?;
    Ok(())
}

fn reload(path: &Path, guard: &Guard) {
    match load(path) {
        Ok(tokens) => {
            tracing::info!(tokens = tokens.len(), file = %path.display(), "tokens loaded again");
            guard.replace(tokens);
        }
        Err(reason) => tracing::warn!(reason, "the tokens file is bad; the old tokens stay"),
    }
}

/// Opens `<data-dir>/audit`.
pub(super) fn audit(config: &Config, metrics: &Metrics) -> Result<Arc<Audit>, String> {
    let dir = config.log.data_dir.join("audit");
    let metrics = metrics.clone();
    let lost = Box::new(move || metrics.audit_lost.increment(1));
    let opened = Audit::open(&dir, limits::AUDIT_QUEUE_MAX, lost);
    opened.map(Arc::new).map_err(|error| format!("{}: {error}", dir.display()))
}
