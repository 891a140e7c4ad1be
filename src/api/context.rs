//! What every handler is given.

use crate::actor::handle::KwqHandle;
use crate::api::cursor::Signer;
use crate::config::Config;
use crate::metrics::Metrics;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Cheap to clone; one for the whole server.
#[derive(Clone)]
pub struct ApiContext {
    pub(crate) handle: KwqHandle,
    pub(crate) config: Arc<Config>,
    pub(crate) metrics: Metrics,
    pub(crate) signer: Arc<Signer>,
    /// Connections close after their answer.
    pub(crate) closing: Arc<AtomicBool>,
}

impl ApiContext {
    /// A context over an engine.
    #[must_use]
    pub fn new(handle: KwqHandle, config: &Config, metrics: Metrics) -> Self {
        let signer = Arc::new(Signer::new([handle.random(), handle.random()]));
        let config = Arc::new(config.clone());
        Self { handle, config, metrics, signer, closing: Arc::default() }
    }
}
